//! What was signed for one is worth nothing in another's hands: another connection, channel, member or app.

use super::cost::Cost;
use crate::harness::{
    APP, Config, Credentials, Http, OTHER_APP, Response, Server, Ws, event_body, now, raw_query,
};

fn subscribe(ws: &mut Ws, channel: &str, auth: &str, channel_data: Option<&str>) -> String {
    let mut data = serde_json::json!({"channel": channel, "auth": auth});
    if let Some(channel_data) = channel_data {
        data["channel_data"] = channel_data.into();
    }
    ws.send(&serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string());
    ws.text()
}

/// Reads the frames that follow upon the first one of a refusal.
fn read_refusal(ws: &mut Ws, first: &str) {
    assert!(first.contains(r#""event":"pusher:error""#), "{first}");
    let second = ws.text();
    assert!(second.contains("pusher:subscription_error"), "{second}");
    assert!(second.contains("AuthError"), "{second}");
    let third = ws.text();
    assert!(
        third.contains("pusher_internal:subscription_error"),
        "{third}"
    );
}

#[test]
fn a_subscription_s_signature_is_of_one_connection_channel_and_member() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let mut owner = Ws::connect(&server);
    owner.subscribe("private-x", None);
    let mut thief = Ws::connect(&server);
    let before = Cost::of(&server);
    let (own, theirs) = (thief.socket_id().to_owned(), owner.socket_id().to_owned());
    let ada = r#"{"user_id":"ada"}"#;
    let admin = r#"{"user_id":"ada","user_info":{"admin":true}}"#;
    let of_presence = APP.channel_auth(&own, "presence-x", Some(ada));
    let of_other_app =
        |credentials: &Credentials| credentials.channel_auth(&own, "private-x", None);
    let swapped = of_other_app(&OTHER_APP).replace(OTHER_APP.key, APP.key);
    for (channel, auth, data) in [
        // Of another connection.
        (
            "private-x",
            APP.channel_auth(&theirs, "private-x", None),
            None,
        ),
        // Of another channel, by a suffix and by a kind.
        (
            "private-x",
            APP.channel_auth(&own, "private-xy", None),
            None,
        ),
        (
            "presence-x",
            APP.channel_auth(&own, "private-x", Some(ada)),
            Some(ada),
        ),
        // Of another member, and of one who was nobody.
        ("presence-x", of_presence.clone(), Some(admin)),
        (
            "presence-x",
            APP.channel_auth(&own, "presence-x", None),
            Some(ada),
        ),
        // What follows the colon of one belongs to the other.
        (
            "private-x",
            APP.channel_auth(&own, "private-x:{}", None),
            Some("{}:"),
        ),
        // Of another app, with its key and with this app's.
        ("private-x", of_other_app(&OTHER_APP), None),
        ("private-x", swapped, None),
        // A sign-in's.
        ("private-x", APP.user_auth(&own, "private-x"), None),
    ] {
        for _ in 0..3 {
            let first = subscribe(&mut thief, channel, &auth, data);
            read_refusal(&mut thief, &first);
        }
    }
    assert_eq!(server.count("subscriptions"), 1);
    before.await_descriptors(&server);
    assert!(before.grown_kib(&server) < 4096);
    // Neither lost anything by it.
    server.trigger("private-x", "e", "1");
    assert!(owner.text().contains(r#""event":"e""#));
    thief.subscribe("presence-x", Some(ada));
    owner.silent();
    thief.silent();
}

#[test]
fn what_was_signed_for_a_connection_that_is_gone_is_worth_nothing() {
    let server = Server::start(&Config::new());
    let gone = Ws::connect(&server);
    let auth = APP.channel_auth(gone.socket_id(), "private-x", None);
    gone.close();
    server.await_count("sockets", 0);
    let mut ws = Ws::connect(&server);
    let first = subscribe(&mut ws, "private-x", &auth, None);
    read_refusal(&mut ws, &first);
    // One's own is good for as long as the connection: after an unsubscribe it is given again by SDKs.
    let own = APP.channel_auth(ws.socket_id(), "private-x", None);
    for _ in 0..3 {
        let answer = subscribe(&mut ws, "private-x", &own, None);
        assert!(answer.contains("subscription_succeeded"), "{answer}");
        ws.unsubscribe("private-x");
    }
    ws.silent();
}

#[test]
fn a_sign_in_s_signature_is_of_one_connection_and_user() {
    let server = Server::start(&Config::new());
    let mut ada = Ws::signed_in(&server, r#"{"id":"ada"}"#);
    let mut thief = Ws::connect(&server);
    let bob = r#"{"id":"bob"}"#;
    let own = thief.socket_id().to_owned();
    let mut sign_in = |auth: &str, user_data: &str| {
        let data = serde_json::json!({"auth": auth, "user_data": user_data});
        thief.send(&serde_json::json!({"event": "pusher:signin", "data": data}).to_string());
        let answer = thief.text();
        assert!(answer.contains(r#""event":"pusher:error""#), "{answer}");
    };
    for auth in [
        APP.user_auth(ada.socket_id(), r#"{"id":"ada"}"#),
        APP.user_auth(&own, r#"{"id":"eve"}"#),
        APP.channel_auth(&own, ":user", Some(bob)),
        OTHER_APP.user_auth(&own, r#"{"id":"ada"}"#),
    ] {
        sign_in(&auth, r#"{"id":"ada"}"#);
    }
    assert_eq!(server.count("users"), 1);
    server.post("/apps/app-id/users/ada/terminate_connections", "{}");
    assert_eq!(ada.closed().0, 4009);
    thief.silent();
}

#[test]
fn a_request_s_signature_is_of_one_path_body_and_time() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let mut bystander = Ws::subscribed(&server, "x");
    let body = event_body("x", "e", "1");
    let events = "/apps/app-id/events";
    let signed = APP.target("POST", events, &body);
    let post = |target: &str, body: &str| -> Response {
        let mut http = Http::connect(server.public);
        http.request("POST", target, &[], body)
    };
    assert_eq!(post(&signed, &body).status(), 200);
    let query = signed.split_once('?').unwrap().1;
    let stale = |age: i64| {
        let mut params = APP.auth_params(&body);
        params[1].1 = (now() - age).to_string();
        params.sort();
        let signature = APP.request_signature("POST", events, &params);
        format!("{events}?{}&auth_signature={signature}", raw_query(&params))
    };
    for (target, body) in [
        (signed.clone(), event_body("x", "e", "2")),
        (format!("/apps/app-id/batch_events?{query}"), body.clone()),
        (format!("/apps/other-id/events?{query}"), body.clone()),
        (OTHER_APP.target("POST", events, &body), body.clone()),
        (format!("{signed}&socket_id=1.1"), body.clone()),
        (stale(700), body.clone()),
        (stale(-700), body.clone()),
    ] {
        assert_eq!(post(&target, &body).status(), 401, "{target} {body}");
    }
    assert!(bystander.text().contains(r#""data":"1""#));
    bystander.silent();
}
