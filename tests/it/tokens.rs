//! `[apps.jwt]` beyond what transcripts can say: keys in a file and at a URL, the end of tokens, and reloads.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{
    Config, Jwks, Nodes, PATIENCE, Provider, ProviderKey, RedisServer, Server, Ws, eventually,
    free_port, hs256, jwk_set, jwt, now,
};

const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

fn with_secret() -> Config {
    Config::new()
        .app("jwt.secret", "\"jwt-secret\"")
        .app("jwt.leeway_seconds", "0")
}

fn with_provider(provider: &Provider) -> Config {
    Config::new().app("jwt.jwks_url", &format!("{:?}", provider.url()))
}

/// Claims of user 7 for some channels, which end so many seconds from now.
fn claims(seconds: i64, channels: &[&str]) -> String {
    json!({"sub": "7", "exp": now() + seconds, "channels": channels}).to_string()
}

/// Signs in and returns the answer.
fn answer_to(ws: &mut Ws, token: &str) -> String {
    ws.sign_in_by(token);
    ws.text()
}

fn accepted(server: &Server, token: &str) {
    let answer = answer_to(&mut Ws::connect(server), token);
    assert!(answer.contains("pusher:signin_success"), "{answer}");
}

fn refused(server: &Server, token: &str, text: &str) {
    let answer = answer_to(&mut Ws::connect(server), token);
    assert!(answer.contains(text), "{answer}");
}

#[test]
fn a_rotated_key_is_read_at_once_and_a_flood_of_wrong_ids_reads_no_more() {
    let [a, b, unknown] = ["a", "b", "c"].map(ProviderKey::new);
    let provider = Provider::start(Jwks::Body(jwk_set(&[&a])));
    let config = with_provider(&provider);
    let server = Server::start(&config);
    assert_eq!(provider.asked(), 0, "nobody has shown a token");
    for _ in 0..3 {
        accepted(&server, &a.sign(&claims(60, &[])));
    }
    assert_eq!(provider.asked(), 1);

    provider.answer(Jwks::Body(jwk_set(&[&b])));
    accepted(&server, &a.sign(&claims(60, &[])));
    assert_eq!(provider.asked(), 1);
    accepted(&server, &b.sign(&claims(60, &[])));
    assert_eq!(provider.asked(), 2);
    let gone =
        "no key of the app has the key id and the algorithm of the token: the keys were read";
    refused(&server, &a.sign(&claims(60, &[])), gone);

    let mut flooding: Vec<Ws> = (0..5).map(|_| Ws::connect(&server)).collect();
    let token = unknown.sign(&claims(60, &[]));
    for round in 0..20 {
        for ws in &mut flooding {
            ws.sign_in_by(&token);
            ws.subscribe_by(&token, &format!("private-{round}"));
        }
    }
    for ws in &mut flooding {
        for _ in 0..20 {
            assert!(ws.text().contains(gone));
            for _ in 0..3 {
                assert!(ws.text().contains("error"));
            }
        }
    }
    assert_eq!(provider.asked(), 2);
    assert_eq!(server.counter("jwks_reads"), 2);
    assert_eq!(server.counter("jwks_failures"), 0);
    let by_key = [("reason", "token_key")];
    assert_eq!(server.labelled("signins_refused_total", &by_key), 101);
    accepted(&server, &b.sign(&claims(60, &[])));

    // A configuration that says the same place goes on with what was read there, even if nobody is there now.
    provider.answer(Jwks::Silent);
    let before = server.counter("reloads");
    server.rewrite(&config.app("name", "\"renamed\"").toml());
    server.hang_up();
    eventually(PATIENCE, "the reload", || {
        (server.counter("reloads") > before).then_some(())
    });
    accepted(&server, &b.sign(&claims(60, &[])));
    assert_eq!(provider.asked(), 2);
    let log = server.log();
    assert!(!log.contains(&token[..20]), "no token is logged");
}

#[test]
fn only_who_shows_a_token_waits_for_keys_and_all_for_one_reading() {
    let key = ProviderKey::new("a");
    let provider = Provider::start(Jwks::Silent);
    let server = Server::start(&with_provider(&provider));
    let mut waiting: Vec<Ws> = (0..10).map(|_| Ws::connect(&server)).collect();
    for ws in &mut waiting {
        ws.sign_in_by(&key.sign(&claims(60, &[])));
    }
    eventually(PATIENCE, "a reading", || {
        (provider.asked() > 0).then_some(())
    });
    // Both workers serve everybody else meanwhile.
    for _ in 0..4 {
        let mut other = Ws::connect(&server);
        other.subscribe("private-x", None);
        server.trigger("private-x", "e", "1");
        assert_eq!(other.json()["event"], "e");
    }
    assert_eq!(server.counter("jwks_failures"), 0, "it is still waited for");
    for ws in &mut waiting {
        assert!(
            ws.text()
                .contains("the keys that verify tokens cannot be read now")
        );
    }
    assert_eq!((provider.asked(), server.counter("jwks_failures")), (1, 1));
    let unread = [("reason", "token_keys_unread")];
    assert_eq!(server.labelled("signins_refused_total", &unread), 10);
    assert!(server.log().contains("the keys of jwks_url cannot be read"));
}

#[test]
fn a_provider_that_has_no_set_of_keys_lets_nobody_in() {
    let key = ProviderKey::new("a");
    let elsewhere = Provider::start(Jwks::Body(jwk_set(&[&key])));
    for (answer, why) in [
        (
            Jwks::Redirect(302, elsewhere.url()),
            "answered with status 302",
        ),
        (
            Jwks::Redirect(500, elsewhere.url()),
            "answered with status 500",
        ),
        (Jwks::Endless, "longer than 262144 bytes"),
        (Jwks::Trickle, "no answer within 5 s"),
        (Jwks::Body("<html>".to_owned()), "it is not a JWK set"),
    ] {
        let provider = Provider::start(answer);
        let server = Server::start(&with_provider(&provider));
        for _ in 0..3 {
            refused(&server, &key.sign(&claims(60, &[])), "cannot be read now");
        }
        assert_eq!((provider.asked(), elsewhere.asked()), (1, 0));
        assert!(server.log().contains(why), "{why}: {}", server.log());
    }
    let nobody = format!("\"http://127.0.0.1:{}/jwks\"", free_port());
    let server = Server::start(&Config::new().app("jwt.jwks_url", &nobody));
    refused(&server, &key.sign(&claims(60, &[])), "cannot be read now");
}

/// A folder with an RSA key, and openssl at work in it.
struct Rsa(PathBuf);

impl Rsa {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidewire-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let rsa = Self(folder);
        rsa.openssl("genrsa -out private.pem 2048");
        rsa.openssl("rsa -in private.pem -pubout -out public.pem");
        rsa
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let command = command.args(arguments.split_whitespace());
        let status = command.current_dir(&self.0).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "openssl {arguments}");
    }

    fn sign(&self, algorithm: &str, options: &str, claims: &str) -> String {
        jwt(&format!(r#"{{"alg":"{algorithm}"}}"#), claims, |message| {
            fs::write(self.0.join("message"), message).unwrap();
            self.openssl(&format!(
                "dgst -sha256 -sign private.pem {options} -out signature message"
            ));
            fs::read(self.0.join("signature")).unwrap()
        })
    }
}

impl Drop for Rsa {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_public_key_verifies_its_own_algorithms_and_is_no_secret() {
    let rsa = Rsa::new("rsa");
    let public = rsa.0.join("public.pem");
    let pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32";
    let by_file = Config::new().app("jwt.public_key_file", &format!("{public:?}"));
    let server = Server::start(&by_file);
    accepted(&server, &rsa.sign("RS256", "", &claims(60, &[])));
    accepted(&server, &rsa.sign("PS256", pss, &claims(60, &[])));
    refused(
        &server,
        &rsa.sign("PS256", "", &claims(60, &[])),
        "signature is not of a key",
    );
    // The classic forgery: everybody has the public key.
    for secret in [
        fs::read_to_string(&public).unwrap(),
        fs::read_to_string(&public).unwrap().trim().to_owned(),
    ] {
        let forged = hs256(&secret, &claims(60, &[]));
        refused(&server, &forged, "algorithm HS256 is not allowed");
    }
    drop(server);
    let only = by_file.app("jwt.algorithms", "[\"RS256\"]");
    let server = Server::start(&only);
    accepted(&server, &rsa.sign("RS256", "", &claims(60, &[])));
    refused(
        &server,
        &rsa.sign("PS256", pss, &claims(60, &[])),
        "algorithm PS256 is not allowed: expected one of RS256",
    );
}

/// What rests on a token ends with it, on whichever node, and nothing else does.
fn ends(nodes: &Nodes) {
    let mut ws = Ws::connect(nodes.for_connection());
    ws.subscribe("private-signed", None);
    ws.subscribe_by(
        &hs256("jwt-secret", &claims(3600, &["private-*"])),
        "private-long",
    );
    assert_eq!(ws.json()["event"], SUCCEEDED);
    let short = hs256("jwt-secret", &claims(2, &["private-*", "presence-*"]));
    for channel in ["private-short", "presence-short"] {
        ws.subscribe_by(&short, channel);
        assert_eq!(ws.json()["event"], SUCCEEDED);
    }
    // One that is left and entered again rests on its new token.
    ws.subscribe_by(&short, "private-again");
    assert_eq!(ws.json()["event"], SUCCEEDED);
    ws.unsubscribe("private-again");
    ws.subscribe("private-again", None);
    for channel in ["private-short", "presence-short"] {
        let text = format!("The token of the subscription to {channel} has ended");
        assert!(ws.text().contains(&text));
        let error = ws.told("pusher:subscription_error");
        assert_eq!(
            (&error["type"], &error["status"]),
            (&json!("AuthError"), &json!(401))
        );
        assert_eq!(ws.json()["event"], "pusher_internal:subscription_error");
    }
    let all = [
        "private-signed",
        "private-long",
        "private-again",
        "private-short",
        "presence-short",
    ];
    for channel in all {
        nodes.for_request().trigger(channel, "e", "1");
    }
    for channel in &all[..3] {
        assert_eq!(ws.json()["channel"], *channel);
    }
    ws.silent();
    let counted = nodes.count("subscriptions");
    assert_eq!(counted, 3);
}

#[test]
fn subscriptions_end_with_their_token() {
    ends(&Nodes::without_redis(&with_secret()));
    ends(&Nodes::over(RedisServer::shared(), 2, &with_secret()));
}

#[test]
fn a_connection_ends_with_the_token_of_its_sign_in() {
    for (on_expiry, code) in [("reconnect", 4200), ("close", 4009)] {
        let config = with_secret().app("jwt.on_expiry", &format!("{on_expiry:?}"));
        let server = Server::start(&config);
        let mut ws = Ws::connect(&server);
        let token = hs256("jwt-secret", &claims(2, &["private-*"]));
        let begun = now();
        assert!(answer_to(&mut ws, &token).contains("signin_success"));
        ws.subscribe_by(&token, "private-x");
        assert_eq!(ws.json()["event"], SUCCEEDED);
        assert_eq!(ws.closed().0, code);
        assert!(now() > begun, "not before its time");
    }
}

/// Names without prefix that a rule gives to tokens: by one of their own, or by that of the sign-in.
fn ends_by_rule(nodes: &Nodes) {
    let short = |name: &str| hs256("jwt-secret", &claims(2, &[name]));
    let mut own = Ws::connect(nodes.for_connection());
    let mut signed_in = Ws::connect(nodes.for_connection());
    own.subscribe_by(&short("invoice.7"), "invoice.7");
    assert_eq!(own.json()["event"], SUCCEEDED);
    signed_in.send_subscribe("invoice.8", None);
    assert!(answer_to(&mut signed_in, &short("invoice.8")).contains("signin_success"));
    assert_eq!(signed_in.json()["event"], SUCCEEDED);
    assert!(own.text().contains("has ended"));
    own.told("pusher:subscription_error");
    assert_eq!(own.json()["event"], "pusher_internal:subscription_error");
    assert_eq!(signed_in.closed().0, 4200);
    nodes.for_request().trigger("invoice.7", "e", "1");
    own.silent();
    eventually(PATIENCE, "nobody is there any more", || {
        (nodes.count("subscriptions") == 0).then_some(())
    });
}

#[test]
fn what_a_rule_for_tokens_let_in_ends_with_the_token() {
    let rule = r#"[{ match = "invoice.*", subscribe = "token" }]"#;
    let config = with_secret().app("channels", rule);
    ends_by_rule(&Nodes::without_redis(&config));
    ends_by_rule(&Nodes::over(RedisServer::shared(), 2, &config));
}

#[test]
fn a_second_sign_in_takes_the_place_of_the_first_token() {
    let server = Server::start(&with_secret());
    let mut ws = Ws::connect(&server);
    assert!(answer_to(&mut ws, &hs256("jwt-secret", &claims(2, &[]))).contains("signin_success"));
    let long = hs256("jwt-secret", &claims(3600, &[]));
    assert!(answer_to(&mut ws, &long).contains("signin_success"));
    // This one ends after the first.
    ws.subscribe_by(
        &hs256("jwt-secret", &claims(4, &["private-x"])),
        "private-x",
    );
    assert_eq!(ws.json()["event"], SUCCEEDED);
    assert!(ws.text().contains("has ended"));
    ws.told("pusher:subscription_error");
    assert_eq!(ws.json()["event"], "pusher_internal:subscription_error");
    ws.silent();
}

#[test]
fn leeway_is_time_after_exp_and_a_token_may_have_none() {
    let config = with_secret().app("jwt.leeway_seconds", "60");
    let server = Server::start(&config);
    accepted(&server, &hs256("jwt-secret", &claims(-30, &[])));
    refused(
        &server,
        &hs256("jwt-secret", &claims(-90, &[])),
        "the token expired 9",
    );
    refused(
        &server,
        &hs256("jwt-secret", r#"{"sub":"7"}"#),
        "the token has no exp",
    );
    drop(server);
    let server = Server::start(&config.app("jwt.require_exp", "false"));
    accepted(&server, &hs256("jwt-secret", r#"{"sub":"7"}"#));
    accepted(&server, &hs256("jwt-secret", r#"{"sub":"7","exp":1e300}"#));
}

#[test]
fn a_reload_decides_on_what_comes_and_lets_live_what_is() {
    let server = Server::start(&with_secret());
    let token = hs256("jwt-secret", &claims(3600, &["private-*"]));
    let mut ws = Ws::connect(&server);
    ws.subscribe_by(&token, "private-x");
    assert_eq!(ws.json()["event"], SUCCEEDED);
    for (config, text) in [
        (
            with_secret().app("jwt.secret", "\"another\""),
            "signature is not of a key",
        ),
        (Config::new(), "auth must have the format key:signature"),
    ] {
        let before = server.counter("reloads");
        server.rewrite(&config.toml());
        server.hang_up();
        eventually(PATIENCE, "the reload", || {
            (server.counter("reloads") > before).then_some(())
        });
        let data = json!({"auth": token, "user_data": "{\"id\":\"7\"}"});
        ws.send(&json!({"event": "pusher:signin", "data": data}).to_string());
        assert!(ws.text().contains(text));
    }
    server.trigger("private-x", "e", "1");
    assert_eq!(ws.json()["channel"], "private-x");
}
