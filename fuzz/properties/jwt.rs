//! A token: what is verified has the HMAC of the app's secret, its claims hold now, and no bit of it can be changed. The
//! first byte says whether what follows is a whole token or its claims, which are then signed.

use std::cell::OnceCell;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
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
        let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", BASE64.encode(bytes));
        let token = format!("{signed}.{}", BASE64.encode(hmac(&signed)));
        match verifier.verify(&token) {
            Ok(verified) => {
                holds_now(bytes, &verified);
                let changed = format!("{signed}.{}", BASE64.encode(flipped(&hmac(&signed), *mode)));
                let refused = verifier.verify(&changed);
                assert!(matches!(refused, Err(Fault::Signature)));
            }
            Err(fault) => assert!(fault != Fault::Signature && !fault.to_string().contains(SECRET)),
        }
    });
}

/// What the claims say must hold.
fn holds_now(claims: &[u8], verified: &Token) {
    let claims: serde_json::Value = serde_json::from_slice(claims).unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let end = claims["exp"].as_f64().unwrap();
    assert!(end + 31.0 > now, "it has expired");
    assert!(
        claims["nbf"]
            .as_f64()
            .is_none_or(|begin| begin <= now + 31.0),
        "it has not begun"
    );
    assert_eq!(verified.channel_data().is_ok(), !claims["sub"].is_null());
    if let Ok(data) = verified.channel_data() {
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["user_id"], claims["sub"]);
    }
    let patterns = claims["channels"].as_array().map_or(0, Vec::len);
    assert!(patterns <= 100);
    assert!(
        patterns > 0 || !verified.names("private-a"),
        "nothing is named by nothing"
    );
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
