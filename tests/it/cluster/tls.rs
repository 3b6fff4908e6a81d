//! Redis over TLS, with an authority and a certificate of one's own on both sides.

use crate::harness::{
    Config, Nodes, PATIENCE, RedisServer, Server, TestCertificates, Ws, eventually,
};

use super::{event, publish};

/// Both sides of what an authority has signed: the server's certificate and a client's.
fn certificates() -> TestCertificates {
    let certificates = TestCertificates::new();
    certificates.sign("server", "-addext subjectAltName=IP:127.0.0.1");
    certificates.sign("client", "");
    certificates
}

/// A server that speaks TLS on another port, and only to those whom the authority knows.
fn server(certificates: &TestCertificates) -> RedisServer {
    let [ca, cert, key] =
        ["ca.crt", "server.crt", "server.key"].map(|name| certificates.path(name));
    RedisServer::with_tls(&[
        ("tls-ca-cert-file", &ca),
        ("tls-cert-file", &cert),
        ("tls-key-file", &key),
        ("tls-auth-clients", "yes"),
    ])
}

fn config(certificates: &TestCertificates, redis: &RedisServer) -> Config {
    Config::new()
        .redis("url", &format!("{:?}", redis.tls_url()))
        .redis("ca_file", &certificates.quoted("ca.crt"))
}

fn with_client(certificates: &TestCertificates, config: &Config) -> Config {
    let config = config
        .clone()
        .redis("cert_file", &certificates.quoted("client.crt"));
    config.redis("key_file", &certificates.quoted("client.key"))
}

#[test]
fn nodes_show_their_certificate_and_check_the_servers() {
    let certificates = certificates();
    let redis = server(&certificates);
    let known = config(&certificates, &redis);
    let nodes = Nodes::same(&with_client(&certificates, &known), 2);
    let mut subscriber = Ws::subscribed(&nodes[0], "x");
    assert_eq!(publish(&nodes[1], "x", "1").status(), 200);
    assert_eq!(subscriber.text(), event("x", "1"));
}

#[test]
fn who_cannot_be_trusted_is_said() {
    let (ours, foreign) = (certificates(), certificates());
    let redis = server(&ours);
    // Without a certificate, and with an authority that does not know the server.
    let nameless = Server::start(&config(&ours, &redis));
    let doubting = Server::start(&with_client(&foreign, &config(&foreign, &redis)));
    for server in [&nameless, &doubting] {
        eventually(PATIENCE, "the node says why it is not ready", || {
            let ready = server.admin("/ready");
            let is_said = ["ertificate", "TLS", "alert"]
                .iter()
                .any(|word| ready.body.contains(word));
            (ready.status() == 503 && is_said).then_some(())
        });
    }
}

/// Either side may be the one that is wrong about TLS.
#[test]
fn a_port_of_the_other_kind_is_said() {
    let certificates = certificates();
    let redis = server(&certificates);
    let plain = redis.url();
    let tls = redis.tls_url();
    for (url, expected) in [
        (
            plain.replace("redis://", "rediss://"),
            "it does not seem to speak TLS on this port; without TLS write redis://",
        ),
        (
            tls.replace("rediss://", "redis://"),
            "if it speaks TLS on this port, write rediss://",
        ),
    ] {
        let server = Server::start(&Config::new().redis("url", &format!("{url:?}")));
        eventually(PATIENCE, "the node says why it is not ready", || {
            let ready = server.admin("/ready");
            (ready.status() == 503 && ready.body.contains(expected)).then_some(())
        });
    }
}
