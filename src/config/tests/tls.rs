//! `[redis]` over TLS: the files that are taken, what they do in a handshake, and what is said of the others.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;

/// Of "redis.test" until 2124, signed by itself; made for these tests.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBJjCB2aADAgECAgEBMAUGAytlcDAYMRYwFAYDVQQDDA10aWRld2lyZSB0ZXN0
MCAXDTI0MDEwMTAwMDAwMFoYDzIxMjQwMTAxMDAwMDAwWjAYMRYwFAYDVQQDDA10
aWRld2lyZSB0ZXN0MCowBQYDK2VwAyEAOzVI9MTyEuD9Vq57uQ1rGLu4nEXh8KT+
p1RkRtCr7TejRjBEMBUGA1UdEQQOMAyCCnJlZGlzLnRlc3QwDAYDVR0TAQH/BAIw
ADAdBgNVHQ4EFgQUAXMtkI3h5S2dtlfgopVLSVE48kUwBQYDK2VwA0EAi16gjHN/
iDvPX7KXuAjpm3rAh8nmVMCuApSflUJO2MlgZiD0N4sKCRmeZ+g+wwslAx/Py2kK
JK0rHB7NeTzeAA==
-----END CERTIFICATE-----
";

const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIE25AscKexcMeyi5X1zPbCZ/ZHnvRG3VNXSE2TClIDRa
-----END PRIVATE KEY-----
";

const OTHER_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIk3B8YBogPDPz9nOE8r+NlxSTkH3O8hQEbkkKu86XAg
-----END PRIVATE KEY-----
";

/// A new directory that goes when its test ends.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidewire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// Where the configuration is.
    pub(super) fn sources(&self) -> Sources {
        Sources {
            file: Some(self.0.join("apps.toml")),
            ..Sources::default()
        }
    }

    /// What comes of a `[redis]` in a file that stands here.
    fn redis(&self, section: &str) -> Result<crate::adapter::redis::Settings, String> {
        self.write("apps.toml", format!("[redis]\n{section}\n{APP}"));
        match load(&self.sources()) {
            Ok(loaded) => Ok(loaded.settings.redis.unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind in the temporary directory does not change what the test found.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn with_certificates(name: &str) -> Folder {
    let folder = Folder::new(name);
    for (name, text) in [
        ("one.pem", CERTIFICATE),
        ("one.key", KEY),
        ("two.key", OTHER_KEY),
    ] {
        folder.write(name, text);
    }
    folder
}

/// Speaks with a server that has the certificate, and says whether it was shown one.
fn handshake(client: &rustls::ClientConfig) -> Result<bool, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    let name = "redis.test".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client.clone()), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().is_some())
}

#[test]
fn a_handshake_goes_as_the_files_say() {
    let folder = with_certificates("handshake");
    let place = "sentinel = [\"h\"]\nsentinel_master = \"m\"";
    for (section, expected) in [
        ("url = \"rediss://h\"\nca_file = \"one.pem\"", Ok(false)),
        (
            &format!("{place}\ntls = true\nca_file = \"one.pem\""),
            Ok(false),
        ),
        (
            "url = \"redis://h\"\ntls = true\nca_file = \"one.pem\"\ncert_file = \"one.pem\"\nkey_file = \"one.key\"",
            Ok(true),
        ),
        // The public authorities do not know it.
        (
            "cluster = [\"h\"]\ntls = true",
            Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            )),
        ),
    ] {
        let tls = folder.redis(section).unwrap().tls.unwrap();
        assert_eq!(handshake(&tls.0), expected, "{section}");
    }
    for section in [
        "url = \"redis://h\"",
        "cluster = [\"h\"]\ntls = false",
        place,
    ] {
        assert!(folder.redis(section).unwrap().tls.is_none(), "{section}");
    }
}

/// Keys, the line of the wrong one, and what is said of it; `AT` is the folder.
const UNUSABLE: &[(&str, usize, &str)] = &[
    (
        "ca_file = \"absent.pem\"",
        3,
        "ca_file in [redis]: cannot read AT/absent.pem: No such file or directory (os error 2)",
    ),
    (
        "ca_file = \"binary.pem\"",
        3,
        "ca_file in [redis]: cannot read AT/binary.pem: stream did not contain valid UTF-8",
    ),
    (
        "ca_file = \"one.key\"",
        3,
        "ca_file in [redis]: AT/one.key: there is no PEM certificate in it",
    ),
    (
        "ca_file = \"cut.pem\"",
        3,
        "ca_file in [redis]: AT/cut.pem: its PEM is damaged",
    ),
    (
        "ca_file = \"other.pem\"",
        3,
        "ca_file in [redis]: AT/other.pem: a certificate in it is not one of X.509",
    ),
    (
        "cert_file = \"two.key\"\nkey_file = \"one.key\"",
        3,
        "cert_file in [redis]: AT/two.key: there is no PEM certificate in it",
    ),
    (
        "cert_file = \"other.pem\"\nkey_file = \"one.key\"",
        3,
        "cert_file in [redis]: AT/other.pem: the certificate in it is not one of X.509",
    ),
    (
        "cert_file = \"one.pem\"\nkey_file = \"one.pem\"",
        4,
        "key_file in [redis]: AT/one.pem: there is no PEM private key in it that is not encrypted",
    ),
    (
        "cert_file = \"one.pem\"\nkey_file = \"locked.key\"",
        4,
        "key_file in [redis]: AT/locked.key: there is no PEM private key in it that is not encrypted",
    ),
    (
        "cert_file = \"one.pem\"\nkey_file = \"cut.key\"",
        4,
        "key_file in [redis]: AT/cut.key: its PEM is damaged",
    ),
    (
        "cert_file = \"one.pem\"\nkey_file = \"other.key\"",
        4,
        "key_file in [redis]: AT/other.key: expected a key of RSA, ECDSA or Ed25519",
    ),
    (
        "cert_file = \"one.pem\"\nkey_file = \"two.key\"",
        4,
        "key_file in [redis]: AT/two.key: it is not the key of the first certificate in AT/one.pem",
    ),
];

#[test]
fn files_that_cannot_be_used() {
    let folder = with_certificates("no-certificates");
    folder.write("binary.pem", [0x30, 0x82, 0xff]);
    let cut = |text: &str| text.split("-----END").next().unwrap().to_owned();
    folder.write("cut.pem", cut(CERTIFICATE));
    folder.write("cut.key", cut(KEY));
    folder.write(
        "other.pem",
        "-----BEGIN CERTIFICATE-----\naGlkZGVu\n-----END CERTIFICATE-----\n",
    );
    folder.write(
        "other.key",
        "-----BEGIN PRIVATE KEY-----\naGlkZGVu\n-----END PRIVATE KEY-----\n",
    );
    folder.write("locked.key", KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let at = folder.0.display();
    for (files, line, expected) in UNUSABLE {
        let error = folder.redis(&format!("url = \"rediss://h\"\n{files}"));
        let expected = expected.replace("AT/", &format!("{at}/"));
        assert_eq!(
            error.unwrap_err(),
            format!("{at}/apps.toml:{line}: {expected}")
        );
    }
    // All that one reading can find.
    let error =
        folder.redis("url = \"rediss://h\"\nca_file = \"x\"\ncert_file = \"y\"\nkey_file = \"z\"");
    assert_eq!(error.unwrap_err().lines().count(), 3);
}

#[tokio::test]
async fn a_reload_tells_what_waits_for_a_restart() {
    let folder = with_certificates("reload");
    let write = |url: &str, more: &str| {
        let text = format!("[redis]\nurl = \"{url}\"\nca_file = \"ca.pem\"\n{more}\n{APP}");
        folder.write("apps.toml", text);
    };
    folder.write("ca.pem", CERTIFICATE);
    write("rediss://:one@h", "");
    let loaded = load(&folder.sources()).unwrap();
    let mut watch = Watch::new(folder.sources(), &loaded);
    assert!(watch.reload().await.unwrap().warnings.is_empty());
    // Another password, which is masked wherever it is shown.
    write("rediss://:two@h", "");
    let reload = async |watch: &mut Watch| {
        let Reloaded { warnings, apps, .. } = watch.reload().await.unwrap();
        assert_eq!(apps.len(), 1);
        warnings.join("\n").replace(
            "these changes need a restart, until then they have no effect: ",
            "",
        )
    };
    assert_eq!(reload(&mut watch).await, "url in [redis]");
    write("rediss://:one@h", "prefix = \"other\"");
    folder.write("ca.pem", CERTIFICATE.to_owned() + CERTIFICATE);
    assert_eq!(
        reload(&mut watch).await,
        "ca_file in [redis], prefix in [redis]"
    );
    folder.write("apps.toml", APP);
    assert_eq!(
        reload(&mut watch).await,
        "ca_file in [redis], url in [redis]"
    );
    write("rediss://:one@h", "");
    folder.write("ca.pem", CERTIFICATE);
    assert_eq!(reload(&mut watch).await, "");
}
