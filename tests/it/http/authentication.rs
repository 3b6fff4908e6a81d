//! Who may use the HTTP API: every refusal in its words, and the dialects of the server SDKs (protocol §4.2, §4.9).

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use super::{EVENTS, assert_is, assert_refused, body};
use crate::console::Watcher;
use crate::harness::{
    APP, Config, Credentials, Http, OTHER_APP, Response, Server, Ws, event_body, now, raw_query,
};

/// A query of the given parameters in that order, signed at the end.
fn signed_query(method: &str, path: &str, params: &[(String, String)]) -> String {
    let signature = APP.request_signature(method, path, params);
    format!("{path}?{}&auth_signature={signature}", raw_query(params))
}

/// The parameters of a publish with one of them replaced (or taken away), signed as they then are.
fn publish_with(server: &Server, name: &str, value: Option<&str>) -> Response {
    let body = body();
    let mut params = APP.auth_params(&body);
    params.retain(|(known, _)| known != name);
    if let Some(value) = value {
        params.push((name.to_owned(), value.to_owned()));
    }
    let target = signed_query("POST", EVENTS, &params);
    Http::connect(server.public).request("POST", &target, &[], &body)
}

#[test]
fn authentication_says_what_is_missing_or_wrong() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let with = |name: &str, value: Option<&str>| publish_with(&server, name, value);
    assert_refused(&with("auth_key", None), 401, "Missing parameter: auth_key");
    assert_refused(&with("auth_key", Some("nobody")), 401, "Unknown auth_key");
    assert_refused(&with("auth_version", None), 401, "Version required");
    assert_refused(
        &with("auth_version", Some("2.0")),
        401,
        "Version not supported",
    );
    assert_refused(&with("auth_timestamp", None), 401, "Timestamp required");
    assert_refused(&with("auth_timestamp", Some("noon")), 401, "");
    assert_refused(&with("body_md5", None), 401, "");
    let wrong_md5 = with("body_md5", Some("d41d8cd98f00b204e9800998ecf8427e"));
    assert_refused(&wrong_md5, 401, "");
    let computed = tidewire::auth::body_md5(body().as_bytes());
    assert!(wrong_md5.body.contains(&computed), "{wrong_md5:?}");

    // Key and path must be of one and the same app.
    let other = Credentials {
        id: "app-id",
        ..OTHER_APP
    };
    let body = body();
    let target = other.target("POST", EVENTS, &body);
    let response = Http::connect(server.public).request("POST", &target, &[], &body);
    assert_refused(&response, 401, "");
    let target = APP.target("POST", "/apps/no-such-app/events", &body);
    let response = Http::connect(server.public).request("POST", &target, &[], &body);
    assert!(matches!(response.status(), 401 | 404), "{response:?}");
}

#[test]
fn a_wrong_signature_is_shown_what_should_have_been_signed() {
    let server = Server::start(&Config::new());
    let body = body();
    let mut params = APP.auth_params(&body);
    params.sort();
    let target = format!("{EVENTS}?{}&auth_signature=abc", raw_query(&params));
    let response = Http::connect(server.public).request("POST", &target, &[], &body);
    let expected = format!(
        "Invalid signature: you should have sent HmacSHA256Hex(\"POST\\n{EVENTS}\\n{}\", your_secret_key), but you sent \"abc\"",
        raw_query(&params)
    );
    assert_refused(&response, 401, &expected);
    assert!(!response.body.contains(APP.secret));

    let unsigned = format!("{EVENTS}?{}", raw_query(&params));
    let response = Http::connect(server.public).request("POST", &unsigned, &[], &body);
    assert_refused(&response, 401, "");
    let other_body = event_body("x", "e", "2");
    let target = APP.target("POST", EVENTS, &body);
    let response = Http::connect(server.public).request("POST", &target, &[], &other_body);
    assert_refused(&response, 401, "");
    let response = Http::connect(server.public).request("POST", EVENTS, &[], &body);
    assert_refused(&response, 401, "Missing parameter: auth_key");
    for way in ["tidewire sign", "api_tokens"] {
        assert!(response.body.contains(way), "{response:?}");
    }
}

/// Wherever a secret is sent in the clear, its owner is told, and nobody else sees it in a log or a console.
#[test]
fn a_secret_in_the_place_of_something_else_is_told_and_never_shown() {
    let config = Config::new().app("api_tokens", r#"["token-1"]"#);
    let server = Server::start(&config.other_app(OTHER_APP));
    let mut watcher = Watcher::of(&server);
    let secret = APP.secret;
    let ask = |target: &str, headers: &[(&str, &str)]| {
        Http::connect(server.public).request("GET", target, headers, "")
    };
    let told = |response: &Response, instead: &str| {
        assert_eq!(response.status(), 401, "{response:?}");
        for part in ["is the secret of app app-id", instead, "replace it"] {
            assert!(response.body.contains(part), "{part}: {response:?}");
        }
        assert!(!response.body.contains(secret), "{response:?}");
    };
    let path = "/apps/app-id/channels";
    let as_key = Credentials { key: secret, ..APP };
    told(
        &ask(&as_key.target("GET", path, ""), &[]),
        "app's key, app-key",
    );
    let of_other = format!("/apps/other-id/channels?auth_key={secret}");
    told(&ask(&of_other, &[]), "app's key, app-key");
    let as_id = format!("/apps/{secret}/channels");
    told(
        &ask(&APP.target("GET", &as_id, ""), &[]),
        "app's id, app-id",
    );
    let escaped = format!("/apps/{}/channels", secret.replace('-', "%2D"));
    told(&ask(&escaped, &[]), "app's id, app-id");
    let bearer = format!("Bearer {secret}");
    let headers = [("Authorization", &*bearer)];
    told(&ask(path, &headers), "api_tokens");
    let right = APP.target("GET", path, "");
    let as_signature = format!("{}={secret}", right.rsplit_once('=').unwrap().0);
    told(&ask(&as_signature, &[]), "signed with");
    // Where it is nothing that the API looks at.
    for target in [
        format!("/apps/{secret}/nothing"),
        format!("/app/{secret}"),
        format!("/{secret}"),
    ] {
        let response = ask(&target, &[]);
        assert!(matches!(response.status(), 404 | 426), "{response:?}");
        assert!(!response.body.contains(secret), "{response:?}");
    }
    // One of them was for the other app.
    for _ in 0..8 {
        watcher.next("refused");
    }
    let shown = format!("{:?}", watcher.seen);
    assert!(shown.contains("/apps/***/channels"), "{shown}");
    let log = server.log();
    assert!(log.contains("/apps/***/channels") && log.contains("reason=\"secret\""));
    for place in [shown, log] {
        let found = place.contains(secret) || place.contains(&secret.replace('-', "%2D"));
        assert!(!found, "{place}");
    }
}

#[test]
fn the_clock_may_be_off_by_less_than_ten_minutes() {
    let server = Server::start(&Config::new());
    let at = |offset: i64| {
        publish_with(
            &server,
            "auth_timestamp",
            Some(&(now() + offset).to_string()),
        )
    };
    // Two seconds of room where the clock's own going would decide.
    assert_is(&at(-598), 200, "{}");
    assert_is(&at(598), 200, "{}");
    assert_refused(&at(-600), 401, "Timestamp expired: Given timestamp (");
    let late = at(602);
    assert_refused(&late, 401, "Timestamp expired: Given timestamp (");
    assert!(
        late.body.contains("not within 600s of server time ("),
        "{late:?}"
    );
    assert_refused(&at(-now()), 401, "Timestamp expired");
    assert_refused(&at(i64::MAX - 2 * now()), 401, "Timestamp expired");
    let finer = at(now() * 999);
    let milliseconds =
        "Timestamp expired: auth_timestamp is in milliseconds and must be in seconds";
    assert_refused(&finer, 401, milliseconds);
}

/// What the SDKs' queries look like on the wire (protocol §4.9).
#[test]
fn every_dialect_of_signing_is_understood() {
    let server = Server::start(&Config::new());
    let path = "/apps/app-id/channels";
    let extra = [("filter_by_prefix", "presence-"), ("info", "user_count")];
    let mut params = APP.auth_params("");
    params.extend(extra.map(|(k, v)| (k.to_owned(), v.to_owned())));
    params.sort();
    let signature = APP.request_signature("GET", path, &params);
    let signature_first = format!("{path}?auth_signature={signature}&{}", raw_query(&params));
    let mut all = params.clone();
    all.push(("auth_signature".to_owned(), signature.clone()));
    all.sort();
    let sorted_together = format!("{path}?{}", raw_query(&all));
    let mut reversed = all.clone();
    reversed.reverse();
    let unordered = format!("{path}?{}", raw_query(&reversed));
    let encoded = sorted_together
        .replace("presence-", "presence%2d")
        .replace('_', "%5F");
    let capitals = sorted_together.replace("auth_key=", "AUTH_KEY=");
    for target in [
        signature_first,
        sorted_together,
        unordered,
        encoded,
        capitals,
    ] {
        let response = Http::connect(server.public).request("GET", &target, &[], "");
        assert_is(&response, 200, r#"{"channels":{}}"#);
    }

    // python signs the MD5 of nothing.
    params.push(("body_md5".to_owned(), tidewire::auth::body_md5(b"")));
    let python = signed_query("GET", path, &params);
    let response = Http::connect(server.public).request("GET", &python, &[], "");
    assert_is(&response, 200, r#"{"channels":{}}"#);
}

/// The Python SDK leaves `/apps/{id}` out of one path; the app is then the key's (protocol §4.8).
#[test]
fn pythons_path_for_terminating_is_understood() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let path = "/users/7/terminate_connections";
    let response = server.post(path, "{}");
    assert_is(&response, 200, "{}");
    let body = "{}";
    let target = OTHER_APP
        .target("POST", path, body)
        .replace("other-key", "app-key");
    let response = Http::connect(server.public).request("POST", &target, &[], body);
    assert_refused(&response, 401, "Invalid signature");
}

/// Hex digits are the same in either case, in the MD5 of the body as in signatures, and those of clients.
#[test]
fn hex_is_hex() {
    let server = Server::start(&Config::new());
    let body = body();
    let upper = tidewire::auth::body_md5(body.as_bytes()).to_uppercase();
    assert_is(&publish_with(&server, "body_md5", Some(&upper)), 200, "{}");
    let target = APP.target("POST", EVENTS, &body);
    let (rest, signature) = target.rsplit_once('=').unwrap();
    let target = format!("{rest}={}", signature.to_uppercase());
    let response = Http::connect(server.public).request("POST", &target, &[], &body);
    assert_is(&response, 200, "{}");
    // A digit less, or none of sixteen, is no signature in any case.
    for wrong in [&signature.to_uppercase()[1..], &"G".repeat(64)] {
        let target = format!("{rest}={wrong}");
        let response = Http::connect(server.public).request("POST", &target, &[], &body);
        assert_refused(&response, 401, "Invalid signature");
    }

    let mut ws = Ws::connect(&server);
    let upper = |auth: String| {
        let (key, signature) = auth.split_once(':').unwrap();
        format!("{key}:{}", signature.to_uppercase())
    };
    let auth = upper(APP.channel_auth(ws.socket_id(), "private-x", None));
    let send = |ws: &mut Ws, event: &str, data: serde_json::Value| {
        ws.send(&serde_json::json!({"event": event, "data": data}).to_string());
    };
    let data = serde_json::json!({"channel": "private-x", "auth": auth});
    send(&mut ws, "pusher:subscribe", data);
    assert!(ws.text().contains("subscription_succeeded"));
    let user = r#"{"id":"7"}"#;
    let auth = upper(APP.user_auth(ws.socket_id(), user));
    let data = serde_json::json!({"auth": auth, "user_data": user});
    send(&mut ws, "pusher:signin", data);
    assert!(ws.text().contains("signin_success"));
}

/// Values are signed decoded and come encoded or not, whatever the client's library thinks.
#[test]
fn values_may_come_encoded_or_not() {
    let server = Server::start(&Config::new());
    let path = "/apps/app-id/channels";
    for (value, on_the_wire) in [
        ("a,b;c=d@e", "a,b;c=d@e"),
        ("a,b;c=d@e", "a%2Cb%3Bc%3Dd%40e"),
        ("a b", "a%20b"),
        ("a+b", "a+b"),
        ("a+b", "a%2Bb"),
        // Form rules: php's http_build_query among others.
        ("a b", "a+b"),
        ("é%", "%C3%A9%25"),
        ("", ""),
    ] {
        let mut params = APP.auth_params("");
        params.push(("filter_by_prefix".to_owned(), value.to_owned()));
        let signature = APP.request_signature("GET", path, &params);
        params.pop();
        let target = format!(
            "{path}?{}&filter_by_prefix={on_the_wire}&auth_signature={signature}",
            raw_query(&params)
        );
        let response = Http::connect(server.public).request("GET", &target, &[], "");
        assert_is(&response, 200, r#"{"channels":{}}"#);
    }
}

/// The path is signed as sent, or decoded.
#[test]
fn channel_names_in_the_path_may_be_encoded() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.subscribe("a;b=c@d,e", None);
    let encoded = "/apps/app-id/channels/a%3Bb%3Dc%40d%2Ce";
    let decoded = "/apps/app-id/channels/a;b=c@d,e";
    for (sent, signed) in [(encoded, encoded), (encoded, decoded), (decoded, decoded)] {
        let params = APP.auth_params("");
        let signature = APP.request_signature("GET", signed, &params);
        let target = format!("{sent}?{}&auth_signature={signature}", raw_query(&params));
        let response = Http::connect(server.public).request("GET", &target, &[], "");
        assert_is(&response, 200, r#"{"occupied":true}"#);
    }
}

#[test]
fn a_prefix_is_accepted_signed_or_not() {
    let server = Server::start(&Config::new().server("path_prefix", "\"/realtime\""));
    for (sent, signed) in [
        ("/realtime/apps/app-id/channels", "/apps/app-id/channels"),
        (
            "/realtime/apps/app-id/channels",
            "/realtime/apps/app-id/channels",
        ),
        ("/apps/app-id/channels", "/apps/app-id/channels"),
        ("/apps/app-id/channels", "/realtime/apps/app-id/channels"),
    ] {
        let params = APP.auth_params("");
        let signature = APP.request_signature("GET", signed, &params);
        let target = format!("{sent}?{}&auth_signature={signature}", raw_query(&params));
        let response = Http::connect(server.public).request("GET", &target, &[], "");
        assert_is(&response, 200, r#"{"channels":{}}"#);
    }
    assert_eq!(server.get("/realtimes/apps/app-id/channels").status(), 404);
}

#[test]
fn a_bearer_token_replaces_the_signature_where_the_app_has_one() {
    let config = Config::new()
        .app("api_tokens", r#"["token-1", "token-2"]"#)
        .other_app(OTHER_APP);
    let server = Server::start(&config);
    let publish = |path: &str, authorization: &str| {
        let headers = [("Authorization", authorization)];
        Http::connect(server.public).request("POST", path, &headers, &body())
    };
    assert_is(&publish(EVENTS, "Bearer token-1"), 200, "{}");
    assert_is(&publish(EVENTS, "bearer token-2"), 200, "{}");
    assert_eq!(publish(EVENTS, "Bearer token-3").status(), 401);
    assert_eq!(publish(EVENTS, "Bearer ").status(), 401);
    assert_eq!(publish(EVENTS, "Basic token-1").status(), 401);
    assert_eq!(
        publish("/apps/other-id/events", "Bearer token-1").status(),
        401
    );
    assert_is(&server.post(EVENTS, &body()), 200, "{}");
}

/// From beyond loopback a token over plain HTTP is refused, unless the server is told otherwise; so is not a signature.
#[test]
fn a_plain_token_is_for_loopback() {
    let Some(own_address) = address_beyond_loopback() else {
        // Nobody can come from beyond loopback to a machine without a network.
        return;
    };
    for (allowed, status) in [("false", 403), ("true", 200)] {
        let config = Config::new()
            .server("host", "\"0.0.0.0\"")
            .server("allow_plain_tokens", allowed)
            .app("api_tokens", r#"["token-1"]"#);
        let mut server = Server::start(&config);
        let headers = [("Authorization", "Bearer token-1")];
        let port = server.public.port();
        let mut http = Http::connect((own_address, port).into());
        let response = http.request("POST", EVENTS, &headers, &body());
        assert_eq!(response.status(), status, "{response:?}");
        let mut http = Http::connect((own_address, port).into());
        assert_is(&http.signed(&APP, "POST", EVENTS, &body()), 200, "{}");
        server.public.set_ip(Ipv4Addr::LOCALHOST.into());
        let response = Http::connect(server.public).request("POST", EVENTS, &headers, &body());
        assert_is(&response, 200, "{}");
    }
}

/// The address that this machine would send from. Connecting a UDP socket sends nothing.
fn address_beyond_loopback() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}
