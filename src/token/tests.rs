//! Tokens without a server: claims at every edge, signatures of every family, and texts that are none.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::claims::Claims;
use super::{Algorithm, ClaimRules, Fault, Key, Keys, OnExpiry, Token, Tokens};
use crate::metrics::Metrics;
use crate::protocol::Member;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn rules() -> ClaimRules {
    ClaimRules {
        audience: None,
        issuer: None,
        user_claim: "sub".to_owned(),
        channels_claim: "channels".to_owned(),
        leeway: Duration::from_secs(30),
        require_exp: false,
    }
}

fn read(rules: &ClaimRules, claims: &str) -> Result<Token, Fault> {
    let claims: Claims = serde_json::from_str(claims).unwrap();
    rules.read(claims, NOW)
}

fn refused(rules: &ClaimRules, claims: &str) -> String {
    match read(rules, claims) {
        Ok(_) => format!("{claims} is accepted"),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn the_end_is_exp_and_the_leeway() {
    for (exp, lasts) in [
        ("1800000000", Some(30_000)),
        ("1799999971", Some(1000)),
        ("1799999970.5", Some(500)),
        ("1800000000000000000000000000000", None),
        ("1.8e9", Some(30_000)),
    ] {
        let token = read(&rules(), &format!(r#"{{"exp":{exp}}}"#)).unwrap();
        assert_eq!(token.lasts, lasts.map(Duration::from_millis), "{exp}");
    }
    assert_eq!(read(&rules(), r#"{"exp":null}"#).unwrap().lasts, None);
    for (exp, text) in [
        ("1799999970", "the token expired 30 s ago"),
        ("1799999958", "the token expired 42 s ago"),
        ("-1", "the token expired 1800000001 s ago"),
    ] {
        assert_eq!(refused(&rules(), &format!(r#"{{"exp":{exp}}}"#)), text);
    }
}

#[test]
fn a_claim_that_is_not_as_expected_is_named() {
    let strict = ClaimRules {
        audience: Some("shop".to_owned()),
        issuer: Some("https://id.example.com".to_owned()),
        require_exp: true,
        ..rules()
    };
    let all = r#""exp":1800000060,"aud":["x","shop"],"iss":"https://id.example.com""#;
    read(&strict, &format!("{{{all}}}")).unwrap();
    for (claims, text) in [
        ("{}", "the token has no exp"),
        (r#"{"exp":"never"}"#, "the token's exp: invalid type"),
        (
            r#"{"exp":1800000060,"nbf":"now"}"#,
            "the token's nbf: invalid type",
        ),
        (
            r#"{"exp":1800000060,"nbf":1800000031}"#,
            "the token is valid only in 31 s",
        ),
        (
            r#"{"exp":1800000060,"nbf":1800000030}"#,
            "the token has no aud",
        ),
        (
            r#"{"exp":1800000060,"aud":"x"}"#,
            r#"the token's aud is "x", expected is "shop""#,
        ),
        (
            r#"{"exp":1800000060,"aud":["x"]}"#,
            r#"the token's aud is ["x"], expected is "shop""#,
        ),
        (
            r#"{"exp":1800000060,"aud":{"shop":1}}"#,
            "the token's aud: ",
        ),
        (r#"{"exp":1800000060,"aud":"shop"}"#, "the token has no iss"),
        (
            r#"{"exp":1800000060,"aud":"shop","iss":"x"}"#,
            r#"the token's iss is "x", expected is "https://id.example.com""#,
        ),
        (
            r#"{"exp":1800000060,"aud":"shop","iss":["https://id.example.com"]}"#,
            "the token's iss: invalid type",
        ),
        (
            &format!(r#"{{{all},"channels":"a"}}"#),
            "the token's channels: invalid type",
        ),
        (
            &format!(r#"{{{all},"channels":["a b"]}}"#),
            r#"the token's channels: "a b": the character ' '"#,
        ),
    ] {
        let refused = refused(&strict, claims);
        assert!(refused.starts_with(text), "{claims}: {refused}");
    }
}

#[test]
fn a_token_has_so_many_patterns() {
    let patterns = |count| {
        let patterns: Vec<String> = (0..count).map(|i| format!("\"c{i}\"")).collect();
        format!(r#"{{"channels":[{}]}}"#, patterns.join(","))
    };
    assert!(read(&rules(), &patterns(100)).unwrap().names("c99"));
    assert_eq!(
        refused(&rules(), &patterns(101)),
        "the token's channels has 101 patterns, allowed are 100"
    );
}

#[test]
fn claims_of_other_names_say_the_user_and_the_channels() {
    let named = ClaimRules {
        user_claim: "uid".to_owned(),
        channels_claim: "https://example.com/channels".to_owned(),
        ..rules()
    };
    let claims = r#"{"uid":12345678901234567890,"info":{"name" : "Ada"},"watchlist":["8"],"https://example.com/channels":["user.{id}.*","presence-a"]}"#;
    let token = read(&named, claims).unwrap();
    assert!(token.names("user.7.invoices") && token.names("presence-a"));
    assert!(!token.names("user.7") && !token.names("presence-ab") && !token.names(""));
    let member = Member::parse(&token.channel_data().unwrap(), 1024).unwrap();
    assert_eq!(member.id.as_str(), "12345678901234567890");
    assert_eq!(member.info.as_deref(), Some(r#"{"name" : "Ada"}"#));
    assert_eq!(
        token.user_data().unwrap(),
        r#"{"id":12345678901234567890,"user_info":{"name" : "Ada"},"watchlist":["8"]}"#
    );
    let nobody = read(&named, r#"{"sub":"7","uid":null}"#).unwrap();
    let missing = Fault::Claim("the token has no uid".to_owned());
    assert_eq!(nobody.user_data(), Err(missing.clone()));
    assert_eq!(nobody.channel_data(), Err(missing));
}

/// A token of a header and claims, signed by `sign`.
fn token(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(secret: &str, header: &str, claims: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    token(header, claims, |message| {
        hmac::sign(&key, message).as_ref().to_vec()
    })
}

fn tokens(keys: Vec<Key>) -> Tokens {
    let algorithms = keys.iter().flat_map(|key| key.algorithms().to_vec());
    let algorithms = algorithms.collect();
    Tokens::new(
        Keys::Fixed(keys.into()),
        algorithms,
        rules(),
        OnExpiry::Reconnect,
    )
}

fn of_secrets(secrets: &[&str]) -> Tokens {
    let keys = secrets.iter().filter_map(|secret| Key::of_secret(secret));
    tokens(keys.collect())
}

#[tokio::test]
async fn each_of_several_secrets_verifies() {
    let (tokens, metrics) = (of_secrets(&["new", "old"]), Metrics::default());
    let header = r#"{"alg":"HS256","typ":"JWT","kid":"whatever"}"#;
    for secret in ["new", "old"] {
        let token = hs256(secret, header, r#"{"channels":["a"]}"#);
        assert!(tokens.verify(&token, &metrics).await.unwrap().names("a"));
    }
    let other = tokens.verify(&hs256("other", header, "{}"), &metrics).await;
    assert_eq!(other.err(), Some(Fault::Signature));
}

#[tokio::test]
async fn headers_choose_no_algorithm_that_the_key_is_not_for() {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    // RFC 8410's frame around 32 bytes.
    let der = [
        hex::decode("302a300506032b6570032100").unwrap(),
        pair.public_key().as_ref().to_vec(),
    ]
    .concat();
    let text = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let key = Key::of_public_pem(&pem).unwrap();
    assert_eq!(key.algorithms(), [Algorithm::EdDSA]);
    let (tokens, metrics) = (tokens(vec![key]), Metrics::default());
    let sign = |message: &[u8]| pair.sign(message).as_ref().to_vec();
    let good = token(r#"{"alg":"EdDSA"}"#, "{}", sign);
    tokens.verify(&good, &metrics).await.unwrap();
    for (alg, secret) in [("HS256", &*pem), ("none", ""), ("NONE", ""), ("RS256", "")] {
        let forged = hs256(secret, &format!(r#"{{"alg":"{alg}"}}"#), "{}");
        let fault = tokens.verify(&forged, &metrics).await.err();
        let given = alg.to_owned();
        let allowed = "EdDSA".to_owned();
        assert_eq!(fault, Some(Fault::Algorithm { given, allowed }));
    }
    // As HMAC's, the text of the key is no secret: the family of the key decides.
    let crit = token(r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#, "{}", sign);
    assert!(matches!(
        tokens.verify(&crit, &metrics).await,
        Err(Fault::Format(_))
    ));
}

#[test]
fn a_key_that_is_no_public_one_is_refused() {
    assert!(Key::of_secret("").is_none());
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (text, problem) in [
        ("", "expected a public key"),
        (private, "it is a private key"),
    ] {
        assert!(Key::of_public_pem(text).unwrap_err().starts_with(problem));
    }
}

fn verified(tokens: &Tokens, text: &str) -> Result<Token, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime
        .unwrap()
        .block_on(tokens.verify(text, &Metrics::default()))
}

proptest! {
    #[test]
    fn a_token_counts_until_its_end_and_not_after(ago in -100_000i64..100_000, leeway in 0u64..3600) {
        let rules = ClaimRules { leeway: Duration::from_secs(leeway), ..rules() };
        let exp = 1_800_000_000 - ago;
        let left = leeway as i64 - ago;
        match read(&rules, &format!(r#"{{"exp":{exp}}}"#)) {
            Ok(token) => prop_assert_eq!(token.lasts, Some(Duration::from_secs(left.unsigned_abs()))),
            Err(fault) => prop_assert!(left <= 0 && fault == Fault::Expired(ago.unsigned_abs())),
        }
    }

    #[test]
    fn no_other_text_is_a_token(text in "\\PC{0,80}|[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}") {
        prop_assert!(verified(&of_secrets(&["s"]), &text).is_err());
    }

    #[test]
    fn changing_any_character_breaks_a_token(at in any::<prop::sample::Index>(), other in "[A-Za-z0-9_.-]") {
        let good = hs256("s", r#"{"alg":"HS256"}"#, r#"{"sub":"7","channels":["private-a"]}"#);
        let tokens = of_secrets(&["s"]);
        prop_assert!(verified(&tokens, &good).is_ok());
        let at = at.index(good.len());
        let mut changed = good.clone();
        changed.replace_range(at..=at, &other);
        prop_assert!(changed == good || verified(&tokens, &changed).is_err());
    }
}

#[test]
fn a_token_that_is_too_long_is_not_looked_at() {
    let tokens = of_secrets(&["s"]);
    let long = hs256(
        "s",
        r#"{"alg":"HS256"}"#,
        &format!(r#"{{"x":"{}"}}"#, "y".repeat(8192)),
    );
    let fault = verified(&tokens, &long).err();
    assert_eq!(fault, Some(Fault::TooLong(long.len())));
}
