//! Redis over TLS, with an authority and a certificate of one's own on both sides.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Config, Nodes, PATIENCE, RedisServer, Server, Ws, eventually, new_folder};

use super::{event, publish};

/// What an authority has signed: the server's certificate and a client's.
struct Papers {
    folder: PathBuf,
}

impl Papers {
    fn make() -> Self {
        let papers = Self {
            folder: new_folder(),
        };
        papers.openssl("req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt");
        for (name, more) in [
            ("server", "-addext subjectAltName=IP:127.0.0.1"),
            ("client", ""),
        ] {
            papers.openssl(&format!(
                "req -x509 -newkey ed25519 -nodes -days 2 -subj /CN={name} {more} -addext basicConstraints=CA:FALSE \
                 -CA ca.crt -CAkey ca.key -keyout {name}.key -out {name}.crt"
            ));
        }
        papers
    }

    fn openssl(&self, arguments: &str) {
        let status = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .stderr(Stdio::null())
            .status()
            .expect("openssl exists");
        assert!(status.success(), "openssl {arguments}");
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A server that speaks TLS on another port, and only to those whom the authority knows.
    fn server(&self) -> RedisServer {
        let [ca, cert, key] = ["ca.crt", "server.crt", "server.key"].map(|name| self.path(name));
        RedisServer::with_tls(&[
            ("tls-ca-cert-file", &ca),
            ("tls-cert-file", &cert),
            ("tls-key-file", &key),
            ("tls-auth-clients", "yes"),
        ])
    }

    fn config(&self, redis: &RedisServer) -> Config {
        let quoted = |text: String| format!("{text:?}");
        Config::new()
            .redis("url", &quoted(redis.tls_url()))
            .redis("ca_file", &quoted(self.path("ca.crt")))
    }

    fn with_client(&self, config: &Config) -> Config {
        let quoted = |name: &str| format!("{:?}", self.path(name));
        let config = config.clone().redis("cert_file", &quoted("client.crt"));
        config.redis("key_file", &quoted("client.key"))
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.folder);
    }
}

#[test]
fn nodes_show_their_certificate_and_check_the_servers() {
    let papers = Papers::make();
    let redis = papers.server();
    let known = papers.config(&redis);
    let nodes = Nodes::same(&papers.with_client(&known), 2);
    let mut subscriber = Ws::subscribed(&nodes[0], "x");
    assert_eq!(publish(&nodes[1], "x", "1").status(), 200);
    assert_eq!(subscriber.text(), event("x", "1"));
}

#[test]
fn who_cannot_be_trusted_is_said() {
    let papers = Papers::make();
    let redis = papers.server();
    let foreign = Papers::make();
    // Without a certificate, and with an authority that does not know the server.
    let nameless = Server::start(&papers.config(&redis));
    let doubting = Server::start(&foreign.with_client(&foreign.config(&redis)));
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
