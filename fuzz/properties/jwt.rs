//! A token: what is verified has the HMAC of the app's secret, its claims hold now, and no bit of it can be changed. The
//! first byte says whether what follows is a whole token, or its claims or its header, which are then signed.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::Sha256;
use tidewire::metrics::Metrics;
use tidewire::token::{Algorithm, ClaimRules, Fault, Key, Keys, OnExpiry, Token, Tokens};
use tokio::runtime::{Builder, Runtime};

const SECRET: &str = "a secret that is long enough for everybody";

struct Verifier {
    tokens: Tokens,
    metrics: Metrics,
    runtime: Runtime,
}

impl Verifier {
    fn new() -> Self {
        let rules = ClaimRules {
            audience: None,
            issuer: None,
            user_claim: "sub".to_owned(),
            channels_claim: "channels".to_owned(),
            leeway: Duration::from_secs(30),
            require_exp: true,
        };
        let keys = Keys::Fixed([Key::of_secret(SECRET).unwrap()].into());
        Self {
            tokens: Tokens::new(keys, vec![Algorithm::HS256], rules, OnExpiry::default()),
            metrics: Metrics::default(),
            runtime: Builder::new_current_thread().build().unwrap(),
        }
    }

    fn verify(&self, token: &str) -> Result<Token, Fault> {
        self.runtime
            .block_on(self.tokens.verify(token, &self.metrics))
    }
}

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static VERIFIER: OnceCell<Verifier> = const { OnceCell::new() };
    }
    let [mode, bytes @ ..] = bytes else { return };
    VERIFIER.with(|verifier| {
        let verifier = verifier.get_or_init(Verifier::new);
        if mode % 2 == 0 {
            let Ok(token) = std::str::from_utf8(bytes) else {
                return;
            };
            if verifier.verify(token).is_ok() {
                let (signed, signature) = token.rsplit_once('.').unwrap();
                assert_eq!(BASE64.decode(signature).unwrap(), hmac(signed));
            }
            return;
        }
        // An even mode is a whole token, whose seeds have 0.
        let header = r#"{"alg":"HS256","typ":"JWT"}"#.as_bytes();
        let claims = r#"{"exp":9e9}"#.as_bytes();
        let is_header = mode % 4 == 3;
        let (header, claims) = match is_header {
            true => (bytes, claims),
            false => (header, bytes),
        };
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let token = format!("{signed}.{}", BASE64.encode(hmac(&signed)));
        match verifier.verify(&token) {
            Ok(verified) => {
                if is_header {
                    says_how(header);
                }
                holds_now(claims, &verified);
                let changed = format!("{signed}.{}", BASE64.encode(flipped(&hmac(&signed), *mode)));
                let refused = verifier.verify(&changed);
                assert!(matches!(refused, Err(Fault::Signature)));
            }
            Err(fault) => assert!(fault != Fault::Signature && !fault.to_string().contains(SECRET)),
        }
    });
}

/// A header by which a token was verified.
fn says_how(header: &[u8]) {
    let header = members(header);
    assert_eq!(member::<String>(&header, "alg").as_deref(), Some("HS256"));
    assert_eq!(member::<Vec<String>>(&header, "crit"), None);
}

/// What the claims say must hold.
fn holds_now(claims: &[u8], verified: &Token) {
    let claims = members(claims);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let end: f64 = member(&claims, "exp").unwrap();
    assert!(end + 31.0 > now, "it has expired");
    assert!(
        member::<f64>(&claims, "nbf").is_none_or(|begin| begin <= now + 31.0),
        "it has not begun"
    );
    let user = claims
        .get("sub")
        .map(|user| user.get())
        .filter(|user| *user != "null");
    let data = verified.channel_data().ok();
    assert_eq!(data.is_some(), user.is_some());
    if let Some(data) = data {
        let data = members(data.as_bytes());
        assert_eq!(data.get("user_id").map(|id| id.get()), user);
        assert!(
            data.keys()
                .all(|key| key == "user_id" || key == "user_info")
        );
    }
    let patterns: Vec<String> = member(&claims, "channels").unwrap_or_default();
    assert!(patterns.len() <= 100);
    assert!(
        !patterns.is_empty() || !verified.names("private-a"),
        "nothing is named by nothing"
    );
}

/// The members of a JSON object.
fn members(object: &[u8]) -> HashMap<String, Box<RawValue>> {
    serde_json::from_slice(object).unwrap()
}

/// A member's value, if it has one.
fn member<T: DeserializeOwned>(members: &HashMap<String, Box<RawValue>>, name: &str) -> Option<T> {
    let value = members.get(name)?;
    serde_json::from_str::<Option<T>>(value.get()).unwrap()
}

fn hmac(text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn flipped(bytes: &[u8], bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[usize::from(bit / 8) % 32] ^= 1 << (bit % 8);
    bytes
}
