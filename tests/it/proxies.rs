//! Behind proxies: whose word counts on where a client is and whether it came over TLS, and the PROXY protocol.

use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use crate::harness::{Config, Http, PATIENCE, Server, TARGET, Wire, Ws, eventually, request};

const FROM: &str = "192.0.2.7";

/// Waits for the line about a connection, which says where its client is.
fn await_address(server: &Server, address: &str) {
    let said = format!("address={address} ");
    eventually(PATIENCE, &said, || {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains("connected"));
        // At the end of a line there is no space.
        let mut lines = lines.map(|line| format!("{line} "));
        lines.any(|line| line.contains(&said)).then_some(())
    });
}

#[test]
fn a_trusted_proxy_tells_where_the_client_is() {
    let server = Server::start(&Config::new());
    let forwarded = ("X-Forwarded-For", "1.1.1.1, 192.0.2.7");
    let mut ws = Ws::open(&server, TARGET, &[forwarded]);
    ws.established();
    await_address(&server, FROM);
    let mut ws = Ws::open(
        &server,
        TARGET,
        &[("Forwarded", "for=192.0.2.8;proto=https")],
    );
    ws.established();
    await_address(&server, "192.0.2.8");
}

#[test]
fn nobody_else_does() {
    let trusted = Config::new().server("trusted_proxies", "[\"10.0.0.0/8\"]");
    let server = Server::start(&trusted.app("tls_only", "true"));
    let claims = [
        ("X-Forwarded-For", FROM),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=192.0.2.7;proto=https"),
    ];
    let mut ws = Ws::open(&server, TARGET, &claims);
    assert_eq!(ws.closed().0, 4000, "it did not come over TLS");
    assert!(!server.log().contains(FROM));
}

#[test]
fn a_token_in_the_clear_is_refused_as_the_proxy_tells_it() {
    let server = Server::start(&Config::new().app("api_tokens", "[\"the-token\"]"));
    let ask = |headers: &[(&str, &str)]| {
        let bearer = ("Authorization", "Bearer the-token");
        let headers = [&[bearer], headers].concat();
        let mut http = Http::connect(server.public);
        http.request("GET", "/apps/app-id/channels", &headers, "")
            .status()
    };
    let client = ("X-Forwarded-For", FROM);
    assert_eq!(ask(&[]), 200, "from this machine");
    assert_eq!(ask(&[client]), 403, "in the clear from elsewhere");
    assert_eq!(ask(&[client, ("X-Forwarded-Proto", "http")]), 403);
    assert_eq!(ask(&[client, ("X-Forwarded-Proto", "https")]), 200);
}

/// A proxy appends the client's address to whatever the client wrote.
#[test]
fn what_cannot_be_read_makes_the_client_unknown() {
    let server = Server::start(&Config::new().app("api_tokens", "[\"the-token\"]"));
    let ask = |lines: &str| {
        let mut wire = Wire::connect(server.public);
        let head = format!(
            "GET /apps/app-id/channels HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token\r\n{lines}\r\n"
        );
        // `ÿ` stands for a byte that is no text.
        let bytes: Vec<u8> = head.chars().map(|c| u8::try_from(c).unwrap()).collect();
        wire.write(&bytes).expect("the server reads");
        wire.read_head().status
    };
    for unreadable in [
        "X-Forwarded-For: \u{ff}, 192.0.2.7\r\n",
        "X-Forwarded-For: \u{ff}\r\n",
        "X-Forwarded-For: 127.0.0.1, \u{ff}\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: \u{ff}\r\n",
        "Forwarded: for=\u{ff}\r\n",
        "Forwarded: for=192.0.2.7;by=\u{ff}\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\u{ff}\r\n",
    ] {
        assert_eq!(ask(unreadable), 403, "{unreadable:?}");
    }
    let mut wire = Wire::connect(server.public);
    let head = format!(
        "GET {TARGET} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: "
    );
    wire.write(&[head.as_bytes(), b"\xff\r\n\r\n"].concat())
        .expect("the server reads");
    assert_eq!(wire.read_head().status, 101);
    eventually(PATIENCE, "a connection from nowhere", || {
        let log = server.log();
        let mut lines = log.lines().filter(|line| line.contains("connected"));
        lines.any(|line| !line.contains("address=")).then_some(())
    });
    let refused = "reason=\"plain_token\"";
    assert!(server.log().lines().any(|line| line.contains(refused)));
    let tells = |line: &str| line.contains(refused) && line.contains("address=127.");
    assert!(!server.log().lines().any(tells), "nobody came from here");
}

fn behind_proxy_protocol() -> Config {
    Config::new().server("proxy_protocol", "true")
}

/// A connection that begins with these bytes.
fn begun(server: &Server, header: &[u8]) -> Wire {
    let mut wire = Wire::connect(server.public);
    wire.write(header).expect("the server reads");
    wire
}

fn version_2(tls: bool) -> Vec<u8> {
    let (from, to) = (format!("{FROM}:4711"), "192.0.2.1:6001");
    let address = ProxiedAddress::stream(from.parse().unwrap(), to.parse().unwrap());
    let mut header = ProxyHeader::with_address(address);
    if tls {
        header.append_tlv(Tlv::Ssl(SslInfo::new(true, false, false, 0)));
    }
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_proxy_protocol_tells_where_the_client_is() {
    let line = format!("PROXY TCP4 {FROM} 192.0.2.1 4711 6001\r\n");
    for header in [line.into_bytes(), version_2(false)] {
        let server = Server::start(&behind_proxy_protocol());
        let mut ws = Ws::over(begun(&server, &header), TARGET, &[]).expect("an upgrade");
        ws.established();
        await_address(&server, FROM);
        let mut http = Http::over(begun(&server, &header));
        assert_eq!(http.request("GET", "/", &[], "").status(), 200);
        // A health check of the proxy's own.
        let mut http = Http::over(begun(&server, b"PROXY UNKNOWN\r\n"));
        assert_eq!(http.request("GET", "/", &[], "").status(), 200);
    }
}

#[test]
fn whom_a_proxy_hides_is_not_taken_for_one_of_this_machine() {
    let server = Server::start(&behind_proxy_protocol().app("api_tokens", "[\"the-token\"]"));
    let ask = |header: &[u8]| {
        let mut http = Http::over(begun(&server, header));
        let bearer = [("Authorization", "Bearer the-token")];
        http.request("GET", "/apps/app-id/channels", &bearer, "")
            .status()
    };
    assert_eq!(ask(b"PROXY UNKNOWN\r\n"), 403);
    assert_eq!(ask(b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 6001\r\n"), 200);
}

#[test]
fn its_second_version_tells_of_tls() {
    let server = Server::start(&behind_proxy_protocol().app("tls_only", "true"));
    let mut ws = Ws::over(begun(&server, &version_2(true)), TARGET, &[]).expect("an upgrade");
    ws.established();
    let mut ws = Ws::over(begun(&server, &version_2(false)), TARGET, &[]).expect("an upgrade");
    assert_eq!(ws.closed().0, 4000);
}

#[test]
fn without_the_header_nothing_is_served() {
    let server = Server::start(&behind_proxy_protocol());
    for bytes in [&request("GET", "/", &[], "")[..], "PROXY TCP4 nonsense\r\n"] {
        let mut http = Http::connect(server.public);
        http.write(bytes);
        http.ended();
    }
    eventually(PATIENCE, "both are counted and logged", || {
        let counted = server.counter("connections_not_begun") == 2;
        let log = server.log();
        (counted && log.contains("no header of the PROXY protocol")).then_some(())
    });
}

#[test]
fn who_is_no_trusted_proxy_cannot_send_it() {
    let server =
        Server::start(&behind_proxy_protocol().server("trusted_proxies", "[\"10.0.0.1\"]"));
    let mut http = Http::over(begun(&server, &version_2(true)));
    http.ended();
    eventually(PATIENCE, "the reason is logged", || {
        let told = |line: &str| {
            line.contains("in no network of trusted_proxies") && line.contains("address=127.0.0.1")
        };
        server.log().lines().any(told).then_some(())
    });
}
