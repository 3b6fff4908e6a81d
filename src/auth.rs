//! HMAC-SHA256 over what the protocol signs: channels, users, HTTP requests; and bearer tokens. Checks are
//! constant-time, a `Secret` prints nothing, and nobody else compares signatures.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::protocol::SocketId;

/// A shared secret: an app's, or an API token. Printing it prints no part of it.
#[derive(Clone)]
pub struct Secret(Arc<Keyed>);

struct Keyed {
    text: Box<str>,
    key: SigningKey,
}

impl Secret {
    /// Wraps the text.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Keyed {
            text: text.into(),
            key: SigningKey::new(text.as_bytes()),
        }))
    }

    /// Whether a given text is this secret, in constant time for texts of one length.
    pub fn equals(&self, given: &str) -> bool {
        self.0.text.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The text, for a request that must bear it.
    pub fn expose(&self) -> &str {
        &self.0.text
    }

    /// The lower-case hex HMAC-SHA256 of a message.
    pub fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.0.key.digest([message]))
    }

    /// Whether `signature` is the hex HMAC-SHA256 of the message, in letters of either case, in constant time.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let mut given = [0; 32];
        if hex::decode_to_slice(signature, &mut given).is_err() {
            return false;
        }
        let expected = self.0.key.digest([message]);
        // As words: byte by byte, comparing took longer than signing.
        words(&expected).ct_eq(&words(&given)).into()
    }
}

fn words(digest: &[u8; 32]) -> [u64; 4] {
    let (words, _) = digest.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_le_bytes(words[at]))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key of bytes that signs messages in parts. Printing it prints nothing.
///
/// The key is taken in already, which is half of the work for a message of this protocol.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Of a key of any length.
    pub fn new(key: &[u8]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "HMAC-SHA256 accepts keys of every length"
        )]
        let mac = Hmac::new_from_slice(key).expect("any key length");
        Self(mac)
    }

    /// The HMAC-SHA256 of the parts, one behind the other.
    pub fn digest<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether that is a given digest, in constant time for digests of its length.
    pub fn verifies<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>, given: &[u8]) -> bool {
        self.digest(parts).as_slice().ct_eq(given).into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An app's secrets, at least one: all of them verify, so that one can be replaced while backends still use the other;
/// the first one signs.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Keeps their order; none if there are none.
    pub fn new(secrets: Vec<Secret>) -> Option<Self> {
        (!secrets.is_empty()).then_some(Self(secrets))
    }

    /// The first one's signature.
    pub fn sign(&self, message: &[u8]) -> String {
        self.0[0].sign(message)
    }

    /// The signature of each, in their order.
    pub fn sign_with_each(&self, message: &[u8]) -> impl Iterator<Item = String> {
        self.0.iter().map(|secret| secret.sign(message))
    }

    /// Whether `signature` is one of theirs. All are tried, so that the time does not tell which one it is.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let verifying = |secret: &&Secret| secret.verifies(message, signature);
        self.0.iter().filter(verifying).count() > 0
    }

    /// Whether a given text is one of them.
    pub fn include(&self, given: &str) -> bool {
        self.0.iter().filter(|secret| secret.equals(given)).count() > 0
    }
}

/// What a subscription's `auth` signs: `socket_id:channel` and, whenever the client sent it, `:channel_data` in its
/// raw text (protocol §3.3).
pub fn channel_string(socket_id: SocketId, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// What a sign-in's `auth` signs: `socket_id::user::user_data` (protocol §3.10).
pub fn user_string(socket_id: SocketId, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// What `auth_signature` signs: method, path and the other query parameters, keys in lower case and sorted, values
/// decoded (protocol §4.2). `query` holds decoded pairs in the order of arrival.
pub fn request_string<T: AsRef<str>>(method: &str, path: &str, query: &[(T, T)]) -> String {
    let mut pairs: Vec<(Cow<'_, str>, &str)> = query
        .iter()
        .map(|(key, value)| (lower_case(key.as_ref()), value.as_ref()))
        .filter(|(key, _)| key != "auth_signature")
        .collect();
    // Stable, so that the values of a repeated key (`k[]=a&k[]=b`) keep their order.
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let bytes: usize = pairs.iter().map(|(k, v)| k.len() + v.len() + 2).sum();
    let mut text = String::with_capacity(method.len() + path.len() + 2 + bytes);
    text.extend([method, "\n", path, "\n"]);
    for (at, (key, value)) in pairs.iter().enumerate() {
        let separator = if at == 0 { "" } else { "&" };
        text.extend([separator, key, "=", value]);
    }
    text
}

fn lower_case(key: &str) -> Cow<'_, str> {
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return key.to_ascii_lowercase().into();
    }
    key.into()
}

/// The lower-case hex MD5 of a request body, for `body_md5`.
pub fn body_md5(body: &[u8]) -> String {
    use md5::Digest as _;
    let mut text = [0; 32];
    // Both lengths are known. The crate's function for strings goes character by character.
    let _ = hex::encode_to_slice(md5::Md5::digest(body), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What is kept of a secret that need only be recognised: its SHA-256. Compared in constant time.
#[derive(Clone)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a text.
    pub fn of(text: &str) -> Self {
        use sha2::Digest as _;
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether both are of one text.
    pub fn equals(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The token of an `Authorization` header's value, if that is of the scheme `Bearer`, in whatever case (RFC 9110 §11.1).
pub fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> Secret {
        Secret::new("7ad3773142a6692b25b8")
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Test vectors of protocol §12.
    #[test]
    fn documented_values() {
        let socket: SocketId = "1234.1234".parse().unwrap();
        for (message, signature) in [
            (
                channel_string(socket, "private-foobar", None),
                "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
            ),
            (
                user_string(socket, r#"{"id":"12345"}"#),
                "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
            ),
            (
                channel_string(
                    socket,
                    "presence-foobar",
                    Some(r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#),
                ),
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            ),
            (
                channel_string(
                    socket,
                    "presence-foobar",
                    Some(r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#),
                ),
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
        ] {
            assert_eq!(secret().sign(message.as_bytes()), signature);
            assert!(secret().verifies(message.as_bytes(), signature));
            assert!(secret().verifies(message.as_bytes(), &signature.to_uppercase()));
        }
    }

    #[test]
    fn documented_requests() {
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(body_md5(body), "ec365a775a4cd0599faeb73354201b6f");
        let post = pairs(&[
            ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
            ("auth_signature", "ignored"),
            ("auth_version", "1.0"),
            ("Auth_Key", "278d425bdf160c739803"),
            ("auth_timestamp", "1353088179"),
        ]);
        assert_eq!(
            secret().sign(request_string("POST", "/apps/3/events", &post).as_bytes()),
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
        let mut get = pairs(&[
            ("auth_key", "278d425bdf160c739803"),
            ("auth_timestamp", "1353088179"),
            ("auth_version", "1.0"),
            ("filter_by_prefix", "presence-"),
            ("info", "user_count"),
        ]);
        let sign = |query: &[(String, String)]| {
            secret().sign(request_string("GET", "/apps/3/channels", query).as_bytes())
        };
        assert_eq!(
            sign(&get),
            "16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291"
        );
        get.extend(pairs(&[("body_md5", &body_md5(b""))]));
        assert_eq!(
            sign(&get),
            "f3f17c61ae491cc9085db68b22076e9b772e3bcb301659d655153ee3f9782aba"
        );
    }

    #[test]
    fn all_secrets_verify_and_the_first_one_signs() {
        let (new, old) = (Secret::new("new"), Secret::new("old"));
        let secrets = Secrets::new(vec![new.clone(), old.clone()]).unwrap();
        assert_eq!(secrets.sign(b"x"), new.sign(b"x"));
        for (secret, known) in [(new, true), (old, true), (secret(), false)] {
            assert_eq!(secrets.verifies(b"x", &secret.sign(b"x")), known);
        }
        assert!(secrets.include("old") && !secrets.include("older"));
        assert_eq!(format!("{secrets:?}"), "Secrets([***, ***])");
        assert!(Secrets::new(Vec::new()).is_none());
    }

    #[test]
    fn repeated_keys_keep_their_order() {
        let query = pairs(&[("k[]", "b"), ("a", "1"), ("k[]", "a")]);
        assert_eq!(
            request_string("GET", "/x", &query),
            "GET\n/x\na=1&k[]=b&k[]=a"
        );
    }

    #[test]
    fn a_fingerprint_is_recognised() {
        assert!(Fingerprint::of("a").equals(&Fingerprint::of("a")));
        assert!(!Fingerprint::of("a").equals(&Fingerprint::of("b")));
    }

    #[test]
    fn a_secret_prints_nothing() {
        assert_eq!(format!("{:?}", secret()), "***");
    }

    proptest! {
        #[test]
        fn flipping_any_byte_breaks_a_signature(message in proptest::collection::vec(any::<u8>(), 1..64), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let signature = secret().sign(&message);
            prop_assert!(secret().verifies(&message, &signature));
            let mut other = message.clone();
            other[at.index(message.len())] ^= 1 << bit;
            prop_assert!(!secret().verifies(&other, &signature));
            let mut forged = signature.clone().into_bytes();
            forged[at.index(64)] ^= 1 << (bit % 4);
            prop_assert!(!secret().verifies(&message, &String::from_utf8_lossy(&forged)));
            prop_assert!(!Secret::new("other").verifies(&message, &signature));
        }

        #[test]
        fn any_text_as_signature_is_only_wrong(signature in "\\PC{0,80}") {
            prop_assert!(!secret().verifies(b"x", &signature));
        }

        #[test]
        fn the_order_of_arrival_does_not_matter(mut query in proptest::collection::btree_map("[a-z_]{1,8}", "\\PC{0,8}", 0..6).prop_map(|m| m.into_iter().collect::<Vec<_>>())) {
            let sorted = request_string("GET", "/x", &query);
            query.reverse();
            prop_assert_eq!(request_string("GET", "/x", &query), sorted);
        }
    }
}
