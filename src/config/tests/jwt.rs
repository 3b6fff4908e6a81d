//! `[apps.jwt]`: which keys it takes, what does not fit, and what is shown of it.

use super::*;

/// Ed25519, as `openssl pkey -pubout` writes it.
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

fn with(jwt: &str) -> String {
    format!("{APP}[apps.jwt]\n{jwt}")
}

/// A file with a text, gone at the end of the test.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidewire-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn each_kind_of_key_makes_a_verifier_and_no_secret_is_shown() {
    let file = KeyFile::new("jwt-public", PUBLIC);
    let path = file.0.display();
    for jwt in [
        "secret = \"hidden\"",
        "secret = \"${HIDDEN}\"\nsecrets = [\"hidden\"]",
        "secrets = [\"hidden\", \"${HIDDEN}\"]\nalgorithms = [\"HS512\"]",
        &format!("public_key_file = \"{path}\""),
        "jwks_url = \"https://id.example.com/jwks\"\naudience = \"a\"\nissuer = \"i\"",
        "jwks_url = \"http://localhost:8080/jwks?x\"\nalgorithms = [\"ES256\", \"EdDSA\"]",
        "jwks_url = \"http://[::1]/jwks\"\non_expiry = \"close\"",
    ] {
        let loaded = load_text(&with(jwt), &[("HIDDEN", "hidden")]).unwrap();
        let app = loaded.settings.apps.by_key("k").unwrap();
        assert!(app.tokens.is_some(), "{jwt}");
        let toml = loaded.to_toml().unwrap();
        assert!(toml.contains("[apps.jwt]"), "{toml}");
        for shown in [toml, format!("{loaded:?}")] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
    }
    assert!(
        load_text(APP, &[])
            .unwrap()
            .settings
            .apps
            .by_key("k")
            .unwrap()
            .tokens
            .is_none()
    );
}

/// A section, and the one line that is said of it.
const WRONG: &[(&str, &str)] = &[
    (
        "",
        "5: [apps.jwt] needs keys that verify tokens: secret, secrets, public_key_file or jwks_url",
    ),
    (
        "secrets = []",
        "5: [apps.jwt] needs keys that verify tokens: secret, secrets, public_key_file or jwks_url",
    ),
    (
        "secret = \"\"",
        "6: secret in [apps.jwt]: expected a secret text, found an empty one",
    ),
    (
        "secret = \"${NONE}\"",
        "6: secret in [apps.jwt]: the environment variable NONE is not set",
    ),
    (
        "secret = \"s3cret\"",
        "6: secret in [apps.jwt]: it is a secret of the app as well, with which events are published: tokens need one of their own",
    ),
    (
        "secret = \"s\"\njwks_url = \"https://a.b/\"",
        "7: jwks_url in [apps.jwt]: tokens are verified with one kind of key, and there is secret too: keep one of the two",
    ),
    (
        "jwks_url = \"http://a.b/\"",
        "6: jwks_url in [apps.jwt]: expected a URL like \"https://id.example.com/.well-known/jwks.json\": https, or http to this machine, without user and fragment; found \"http://a.b/\"",
    ),
    (
        "jwks_url = \"https://me:c4tch@a.b/\"",
        "6: jwks_url in [apps.jwt]: expected a URL like \"https://id.example.com/.well-known/jwks.json\": https, or http to this machine, without user and fragment; found \"https://***@a.b/\"",
    ),
    (
        "secret = \"s\"\nalgorithms = [\"RS256\"]",
        "7: algorithms in [apps.jwt]: RS256 is not for keys of secret: possible are HS256, HS384, HS512",
    ),
    (
        "jwks_url = \"https://a.b/\"\nalgorithms = [\"HS256\"]",
        "7: algorithms in [apps.jwt]: HS256 is not for keys of jwks_url: possible are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
    ),
    (
        "secret = \"s\"\nalgorithms = [\"none\"]",
        "7: algorithms in [apps.jwt]: expected \"HS256\" or \"HS384\" or \"HS512\" or \"ES256\" or \"ES384\" or \"RS256\" or \"RS384\" or \"RS512\" or \"PS256\" or \"PS384\" or \"PS512\" or \"EdDSA\", found the text \"none\"",
    ),
    (
        "secret = \"s\"\nleeway_seconds = 3601",
        "7: leeway_seconds in [apps.jwt]: expected a whole number from 0 to 3600, found 3601",
    ),
    (
        "secret = \"s\"\non_expiry = \"stay\"",
        "7: on_expiry in [apps.jwt]: expected \"reconnect\" or \"close\", found the text \"stay\"",
    ),
    (
        "public_key_file = \"/nowhere\"",
        "6: public_key_file in [apps.jwt]: cannot read /nowhere: No such file or directory (os error 2)",
    ),
];

#[test]
fn what_does_not_fit_is_said() {
    for (jwt, expected) in WRONG {
        refused(&with(jwt), &[], &[&format!("apps.toml:{expected}")]);
    }
}

#[test]
fn a_file_that_does_not_fit_is_named() {
    let private = KeyFile::new(
        "jwt-private",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let public = KeyFile::new("jwt-mixed", PUBLIC);
    let [private, public] = [&private, &public].map(|file| file.0.display());
    let is_private = format!("{private}: it is a private key, where the public one belongs");
    for (jwt, expected) in [
        (
            &format!("public_key_file = \"{public}\"\nalgorithms = [\"ES256\"]"),
            "7: algorithms in [apps.jwt]: ES256 is not for keys of public_key_file: possible are EdDSA",
        ),
        (
            &format!("public_key_file = \"{private}\""),
            &format!("6: public_key_file in [apps.jwt]: {is_private}"),
        ),
    ] {
        refused(&with(jwt), &[], &[&format!("apps.toml:{expected}")]);
    }
}
