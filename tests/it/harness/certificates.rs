//! Certificates for a test, made by openssl: an authority and what it has signed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::new_folder;

/// A folder of PEM files: `ca.crt` and `ca.key` of the authority, `NAME.crt` and `NAME.key` of whom it signed. It goes
/// at the end of the test.
pub(crate) struct TestCertificates {
    folder: PathBuf,
}

impl TestCertificates {
    /// An authority.
    pub(crate) fn new() -> Self {
        let certificates = Self {
            folder: new_folder(),
        };
        certificates.openssl("req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt");
        certificates
    }

    /// Signs a certificate for a name, with more arguments of `openssl req`.
    pub(crate) fn sign(&self, name: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ed25519 -nodes -days 2 -subj /CN={name} {more} -addext basicConstraints=CA:FALSE \
             -CA ca.crt -CAkey ca.key -keyout {name}.key -out {name}.crt"
        ));
    }

    /// The same for a server on this machine.
    pub(crate) fn sign_server(&self, name: &str) {
        self.sign(name, "-addext subjectAltName=DNS:localhost,IP:127.0.0.1");
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The same as a TOML text.
    pub(crate) fn quoted(&self, name: &str) -> String {
        format!("{:?}", self.path(name))
    }

    /// The text of a file.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Puts a copy of a file in the place of another in one step.
    pub(crate) fn replace(&self, name: &str, with: &str) {
        let new = self.folder.join("new");
        std::fs::copy(self.folder.join(with), &new).unwrap();
        std::fs::rename(new, self.folder.join(name)).unwrap();
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
}

impl Drop for TestCertificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
