//! Rules for channels that change while connections have them, or wait for them. What holds otherwise is in
//! `tests/transcripts/rule_*.txt`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::config::{Folder, run, stderr, stdout};
use crate::harness::{
    APP, Config, Nodes, OTHER_APP, PATIENCE, RedisServer, Server, Ws, eventually, hs256, now,
};
use crate::reload::change_now;

/// The app of every test, with rules.
fn ruled(rules: &str) -> Config {
    Config::new().app("channels", &format!("[{rules}]"))
}

fn signed_in(server: &Server, user: &str) -> Ws {
    let mut ws = Ws::connect(server);
    ws.sign_in(&format!(r#"{{"id":"{user}"}}"#));
    assert!(ws.text().contains("signin_success"));
    ws
}

fn succeeded(channel: &str) -> String {
    format!(
        r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}"#
    )
}

/// Reads the refusal of a subscription that was there or waited, behind whatever events come before it. Returns the
/// numbers of these, and the reason.
fn refused(ws: &mut Ws, channel: &str) -> (Vec<u64>, String) {
    let mut numbers = Vec::new();
    loop {
        let frame: Value = serde_json::from_str(&ws.text()).unwrap();
        match frame["event"].as_str().unwrap() {
            "n" => numbers.push(frame["data"].as_str().unwrap().parse().unwrap()),
            "pusher:error" => assert_eq!(frame["data"]["code"], Value::Null),
            "pusher:subscription_error" => {
                assert_eq!(frame["channel"], channel);
                let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                assert_eq!(
                    (&data["type"], &data["status"]),
                    (&"AuthError".into(), &401.into())
                );
                let internal: Value = serde_json::from_str(&ws.text()).unwrap();
                assert_eq!(internal["event"], "pusher_internal:subscription_error");
                return (numbers, data["error"].as_str().unwrap().to_owned());
            }
            other => panic!("unexpected: {other}"),
        }
    }
}

/// Ends the publishing of a test, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const OPEN: &str = r#"{ match = "other.*", subscribe = "signed-in" }"#;
const FOR_USERS: &str = r#"{ match = "user.{user_id}", subscribe = "user" }"#;

/// Whoever a new rule forbids a channel is told so and gets nothing that is published from then on; whoever it does not
/// forbid it misses nothing. Events are published all the time meanwhile.
fn a_new_rule_ends_what_it_forbids(server: &Server, config: impl Fn(&str) -> Config) {
    let mut own = signed_in(server, "7");
    let mut other = signed_in(server, "8");
    let mut nobody = Ws::connect(server);
    for ws in [&mut own, &mut other, &mut nobody] {
        ws.subscribe("user.7", None);
    }
    nobody.subscribe("other", None);
    let ended = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let stop = Stop(&ended);
        let publisher = scope.spawn(|| {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                server.trigger("user.7", "n", &number.to_string());
                number += 1;
            }
            number
        });
        change_now(server, &config(FOR_USERS));
        let (before, why) = refused(&mut nobody, "user.7");
        assert_eq!(
            why,
            "user.7 is for connections that have signed in (subscribe = \"user\" in the app's channel rules), and this \
             one has not"
        );
        assert_eq!(before, (0..before.len() as u64).collect::<Vec<u64>>());
        let (_, why) = refused(&mut other, "user.7");
        assert_eq!(
            why,
            "user.7 is only for the connections signed in as that user"
        );
        // A while longer: what is published now reaches the one only.
        change_now(server, &config(FOR_USERS));
        drop(stop);
        publisher.join().unwrap()
    });
    for number in 0..published {
        let expected = format!(r#"{{"event":"n","channel":"user.7","data":"{number}"}}"#);
        assert_eq!(own.text(), expected);
    }
    server.trigger("user.7", "n", "last");
    assert!(own.text().contains("last"));
    server.trigger("other", "e", "");
    assert!(nobody.text().contains(r#""channel":"other""#));
    other.silent();
    // They are gone from the counts too, and can subscribe to what they may.
    let count = server.get("/apps/app-id/channels/user.7?info=subscription_count");
    assert_eq!(count.json()["subscription_count"], 1);
    other.subscribe("user.8", None);
}

#[test]
fn a_new_rule_ends_what_it_forbids_and_nothing_more_reaches_it() {
    let server = Server::start(&ruled(OPEN));
    a_new_rule_ends_what_it_forbids(&server, ruled);
}

#[test]
fn a_new_rule_ends_what_it_forbids_over_redis_too() {
    let nodes = Nodes::over(RedisServer::shared(), 1, &ruled(OPEN));
    let server = nodes.for_connection();
    let redis = RedisServer::shared().url();
    a_new_rule_ends_what_it_forbids(server, |rules| {
        ruled(rules)
            .redis("url", &format!("{redis:?}"))
            .redis("prefix", &format!("{:?}", nodes.prefix()))
    });
}

/// A token for some channels, of user 7.
fn token(channels: &str) -> String {
    let exp = now() + 3600;
    let claims = format!(r#"{{"sub":"7","exp":{exp},"channels":{channels}}}"#);
    hs256("jwt-secret", &claims)
}

/// A new rule for tokens leaves who has shown one that names the channel, for the subscription or to sign in, and ends
/// everybody else, who is not held.
fn a_new_rule_for_tokens_ends_what_shows_none(server: &Server, config: impl Fn(&str) -> Config) {
    let mut connections: Vec<Ws> = (0..5).map(|_| Ws::connect(server)).collect();
    let [own, signed_in, other_token, signed, nobody] = &mut connections[..] else {
        panic!("five");
    };
    own.subscribe_by(&token(r#"["private-*"]"#), "private-7");
    assert_eq!(own.text(), succeeded("private-7"));
    for (ws, channels) in [
        (&mut *signed_in, r#"["{any}","private-7"]"#),
        (&mut *other_token, r#"["private-8"]"#),
    ] {
        ws.sign_in_by(&token(channels));
        assert!(ws.text().contains("signin_success"));
        ws.subscribe("7", None);
        ws.subscribe("private-7", None);
    }
    signed.sign_in(r#"{"id":"7"}"#);
    assert!(signed.text().contains("signin_success"));
    signed.subscribe("private-7", None);
    nobody.subscribe("7", None);
    change_now(server, &config(r#"{ match = "*7", subscribe = "token" }"#));
    for channel in ["7", "private-7"] {
        server.trigger(channel, "n", "0");
        let (early, why) = refused(other_token, channel);
        let expected = format!("The token does not name {channel}");
        assert_eq!((early, why), (Vec::new(), expected));
    }
    for (ws, channel) in [(&mut *signed, "private-7"), (&mut *nobody, "7")] {
        let (early, why) = refused(ws, channel);
        assert!(early.is_empty() && why.contains("needs a token"), "{why}");
    }
    for channel in ["7", "private-7"] {
        let expected = format!(r#"{{"event":"n","channel":"{channel}","data":"0"}}"#);
        assert_eq!(signed_in.text(), expected);
    }
    assert!(own.text().contains("private-7"));
    for ws in &mut connections {
        ws.silent();
    }
}

fn without_rules_for_tokens(rules: &str) -> Config {
    ruled(rules).app("jwt.secret", "\"jwt-secret\"")
}

#[test]
fn a_new_rule_for_tokens_leaves_who_has_shown_one() {
    let server = Server::start(&without_rules_for_tokens(""));
    a_new_rule_for_tokens_ends_what_shows_none(&server, without_rules_for_tokens);
    let nodes = Nodes::over(RedisServer::shared(), 1, &without_rules_for_tokens(""));
    let redis = RedisServer::shared().url();
    a_new_rule_for_tokens_ends_what_shows_none(nodes.for_connection(), |rules| {
        without_rules_for_tokens(rules)
            .redis("url", &format!("{redis:?}"))
            .redis("prefix", &format!("{:?}", nodes.prefix()))
    });
}

/// A subscription that was authorized by a signature waits for a token as well, when a rule asks for one meanwhile; one
/// that waits for a token without any auth is on a name that no prefix protects.
#[test]
fn what_is_held_follows_a_rule_for_tokens() {
    let rules = |of_private, of_public| {
        without_rules_for_tokens(&format!(
            r#"{{ match = "private-x", subscribe = "{of_private}" }}, {{ match = "x", subscribe = "{of_public}" }}"#
        ))
    };
    let server = Server::start(&rules("signed-in", "token"));
    let mut connections: Vec<Ws> = (0..2).map(|_| Ws::connect(&server)).collect();
    for ws in &mut connections {
        ws.send_subscribe("private-x", None);
        ws.send_subscribe("x", None);
        ws.silent();
    }
    change_now(&server, &rules("token", "signed-in"));
    let [named, other] = &mut connections[..] else {
        panic!("two");
    };
    named.sign_in_by(&token(r#"["private-x"]"#));
    other.sign_in_by(&token(r#"["x"]"#));
    for ws in [&mut *named, &mut *other] {
        assert!(ws.text().contains("signin_success"));
    }
    assert_eq!(named.text(), succeeded("private-x"));
    assert_eq!(
        refused(other, "private-x").1,
        "The token does not name private-x"
    );
    for ws in &mut connections {
        assert_eq!(ws.text(), succeeded("x"));
    }
}

/// An id with a dot fits no `{user_id}`: whoever runs the server is told so, once.
#[test]
fn an_id_that_fits_no_rule_for_users_is_logged_once() {
    const LINE: &str = "{user_id} in the rules of channels fits no such id";
    let server = Server::start(&ruled(FOR_USERS));
    for user in ["7", "a.b", "c.d"] {
        signed_in(&server, user);
    }
    assert_eq!(server.log().matches(LINE).count(), 1);
    let server = Server::start(&ruled(OPEN));
    signed_in(&server, "a.b");
    assert_eq!(server.log().matches(LINE).count(), 0);
}

#[test]
fn a_rule_for_nobody_ends_all() {
    let server = Server::start(&Config::new());
    let mut one = signed_in(&server, "7");
    let mut two = Ws::connect(&server);
    one.subscribe("log", None);
    one.subscribe("presence-log", Some(r#"{"user_id":"7"}"#));
    two.subscribe("log", None);
    change_now(
        &server,
        &ruled(r#"{ match = "*log", subscribe = "nobody" }"#),
    );
    server.trigger("log", "n", "0");
    for channel in ["log", "presence-log"] {
        assert!(refused(&mut one, channel).0.is_empty());
    }
    assert!(refused(&mut two, "log").0.is_empty());
    server.await_count("subscriptions", 0);
    one.silent();
    two.silent();
}

#[test]
fn what_is_held_follows_the_rules_that_hold_now() {
    let users = r#"{ match = "a", subscribe = "signed-in" }, { match = "b", subscribe = "signed-in" }, { match = "c", subscribe = "signed-in" }"#;
    let server = Server::start(&ruled(users));
    let mut ws = Ws::connect(&server);
    for channel in ["a", "b", "c"] {
        ws.send_subscribe(channel, None);
    }
    ws.silent();
    let then = r#"{ match = "a", subscribe = "anyone" }, { match = "b", subscribe = "nobody" }, { match = "c", subscribe = "signed-in" }"#;
    change_now(&server, &ruled(then));
    assert_eq!(ws.text(), succeeded("a"));
    refused(&mut ws, "b");
    ws.silent();
    ws.sign_in(r#"{"id":"7"}"#);
    assert!(ws.text().contains("signin_success"));
    assert_eq!(ws.text(), succeeded("c"));
}

/// Nothing of a connection may be said on a channel that it has lost, even before it has been told.
#[test]
fn client_events_end_with_the_subscription() {
    let private = |subscribe: &str| {
        let rule = format!(r#"{{ match = "private-x", subscribe = "{subscribe}" }}"#);
        ruled(&rule).app("client_events", "true")
    };
    let server = Server::start(&private("anyone"));
    let mut stays = signed_in(&server, "7");
    let mut goes = Ws::connect(&server);
    for ws in [&mut stays, &mut goes] {
        ws.subscribe("private-x", None);
    }
    change_now(&server, &private("signed-in"));
    goes.send(r#"{"event":"client-e","channel":"private-x","data":{}}"#);
    refused(&mut goes, "private-x");
    assert!(goes.text().contains("not subscribed to channel private-x"));
    stays.silent();
}

#[test]
fn a_reload_that_leaves_the_rules_as_they_are_ends_nothing() {
    let server = Server::start(&ruled(FOR_USERS));
    let mut own = signed_in(&server, "7");
    own.subscribe("user.7", None);
    change_now(&server, &ruled(FOR_USERS).app("name", "\"renamed\""));
    server.trigger("user.7", "n", "0");
    assert!(own.text().contains(r#""event":"n""#));
}

/// What a command prints.
fn printed(folder: &Folder, arguments: &[&str]) -> String {
    let output = run(&mut folder.tidewire(arguments));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// Rules of which the second is behind the first for some names.
const SHOWN: &str = r#"{ match = "user.*", cache = true }, { match = "*.{user_id}.notes", subscribe = "user",
    client_events = true, subscription_count = false, history = { events = 100, seconds = 3600 },
    rewind = { events = 1, seconds = 60 } }"#;

/// Names, and what holds for them by [`SHOWN`].
fn reports() -> [(&'static str, Value); 6] {
    let notes = json!({
        "rule": 2, "match": "*.{user_id}.notes", "subscribe": "user", "subscription_count": false,
        "history": {"events": 100, "seconds": 3600}, "rewind": {"events": 1, "seconds": 60},
    });
    let mut private = notes.clone();
    private["kind"] = json!("private");
    private["client_events"] = json!(true);
    let user = json!({"rule": 1, "match": "user.*", "cache": true});
    let presence = json!({"kind": "presence", "subscription_count": false});
    [
        ("open", json!({})),
        ("user.7.notes", user),
        ("a.7.notes", notes),
        ("private-a.7.notes", private),
        ("cache-a", json!({"cache": true})),
        ("presence-a", presence),
    ]
    .map(|(name, differs)| {
        let mut report = json!({
            "app": APP.id, "channel": name, "kind": "public", "rule": null, "match": null, "subscribe": "anyone",
            "cache": false, "history": null, "rewind": null, "client_events": false, "subscription_count": true,
        });
        for (key, value) in differs.as_object().unwrap() {
            report[key] = value.clone();
        }
        (name, report)
    })
}

#[test]
fn which_rule_holds_is_shown_alike_everywhere() {
    let config = ruled(SHOWN).app("subscription_count", "true");
    let config = config.other_app(OTHER_APP);
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    change_now(&server, &config);
    let folder = Folder::with(&config.toml());
    let url = format!("http://{}", server.public);
    for (name, expected) in reports() {
        let shown = server.admin(&format!("/config?channel={name}")).json();
        assert_eq!(shown[0], expected, "{name}");
        assert_eq!(
            (&shown[1]["app"], &shown[1]["rule"]),
            (&json!(OTHER_APP.id), &Value::Null)
        );
        let path = format!("/console/api/apps/app-id/channels/{name}");
        assert_eq!(server.admin(&path).json()["policy"], expected, "{name}");
        let answer = server.get(&format!("/apps/app-id/channels/{name}?info=rule"));
        let answer = answer.json();
        assert_eq!(answer, json!({"occupied": false, "rule": expected}));

        let asked = ["channels", "--rule", name, "--app", APP.id, "--url", &url];
        let table = printed(&folder, &asked);
        let raw = printed(&folder, &[&asked[..], &["--json"]].concat());
        assert_eq!(serde_json::from_str::<Value>(&raw).unwrap(), answer);
        let checked = printed(&folder, &["check-config", "--channel", name]);
        assert!(
            checked.starts_with(&format!("{table}\nSETTING ")),
            "{checked}"
        );
    }
}

#[test]
fn which_rule_holds_is_a_table_on_the_command_line() {
    let folder = Folder::with(&ruled(SHOWN).toml());
    let table = printed(&folder, &["check-config", "--channel", "b.7.notes"]);
    assert_eq!(
        table,
        "SETTING             VALUE\napp                 app-id\nchannel             b.7.notes\n\
         kind                public\nrule                2\nmatch               *.{user_id}.notes\n\
         subscribe           user\ncache               false\nhistory             100 events, 3600 s\n\
         rewind              1 events, 60 s\nclient_events       false\nsubscription_count  false\n"
    );
}

#[test]
fn the_rule_of_what_is_no_name_is_not_shown() {
    let server = Server::start(&Config::new());
    let answer = server.admin("/config?channel=a%20b");
    assert_eq!(answer.status(), 400);
    assert!(
        answer.body.contains("the character ' ' is not allowed"),
        "{answer:?}"
    );
    assert_eq!(server.admin("/config?chanel=a").status(), 400);
    let folder = Folder::with(&Config::new().toml());
    for arguments in [
        ["check-config", "--channel", "a b"],
        ["channels", "--rule", "a b"],
    ] {
        let output = run(&mut folder.tidewire(&arguments));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("the character ' ' is not allowed"));
    }
}

#[test]
fn a_rule_that_is_refused_leaves_those_in_place_that_hold() {
    let server = Server::start(&ruled(FOR_USERS));
    let mut other = signed_in(&server, "8");
    for (wrong, problem) in [
        (
            r#"{ match = "user.*", subscrib = "anyone" }"#,
            "unknown key \"subscrib\" in [[apps.channels]]; did you mean \"subscribe\"?",
        ),
        (
            r#"{ match = "{user_id}.user.*", subscribe = "anyone" }, { match = "*.{user_id}.*", subscribe = "user" }"#,
            "in \"*.{user_id}.*\" one name can be read as several",
        ),
    ] {
        server.rewrite(&ruled(wrong).toml());
        server.hang_up();
        eventually(PATIENCE, "the problem is told", || {
            let error = server.admin("/health").json()["config"]["error"].take();
            error.as_str()?.contains(problem).then_some(())
        });
        other.send_subscribe("user.7", None);
        refused(&mut other, "user.7");
        assert_eq!(server.admin("/config?channel=user.7").json()[0]["rule"], 1);
    }
}
