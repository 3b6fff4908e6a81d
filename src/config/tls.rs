//! Certificates with their keys, in files that the settings name.

use rustls::crypto::ring;
use rustls::sign::CertifiedKey;

use super::secrets::SecretReader;
use super::values::FilePath;
use super::wrong::{Wrong, at, both};
use crate::fetch::Identity;
use crate::pem::{certificates, private_key};

/// Who somebody is, as it stands in two files, which two settings name.
pub(super) struct IdentityFiles {
    identity: Identity,
    keys: [&'static str; 2],
    files: [String; 2],
}

/// Who the server is. The key must be the certificate's.
pub(super) fn server((certificates, key): Identity) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(certificates, key, &ring::default_provider())
}

/// The certificate and the key that two settings name, by their keys; none if neither does.
pub(super) fn identity(
    keys: [&'static str; 2],
    files: [Option<&FilePath>; 2],
    secrets: &mut SecretReader<'_>,
) -> Result<Option<IdentityFiles>, Wrong> {
    let lacks = |given, lacking, what| {
        let text = format!("{lacking} must be set too: the file of its {what}");
        Err(Wrong::key(given, text))
    };
    let [cert, key] = match files {
        [Some(cert), Some(key)] => [&cert.0, &key.0],
        [None, None] => return Ok(None),
        [Some(_), None] => return lacks(keys[0], keys[1], "private key"),
        [None, Some(_)] => return lacks(keys[1], keys[0], "certificate chain"),
    };
    let certificates = secrets.file(cert, certificates).map_err(at(keys[0]));
    let private_key = secrets.file(key, private_key).map_err(at(keys[1]));
    Ok(Some(IdentityFiles {
        identity: both(certificates, private_key)?,
        keys,
        files: [cert, key].map(|path| secrets.folder.join(path).display().to_string()),
    }))
}

impl IdentityFiles {
    /// What is made of them.
    pub(super) fn made<T>(
        self,
        make: impl FnOnce(Identity) -> Result<T, rustls::Error>,
    ) -> Result<T, Wrong> {
        let (keys, [cert, key]) = (self.keys, self.files);
        make(self.identity).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let text = format!("{key}: it is not the key of the first certificate in {cert}");
                Wrong::key(keys[1], text)
            }
            rustls::Error::InvalidCertificate(_) => {
                let text = format!("{cert}: the certificate in it is not one of X.509");
                Wrong::key(keys[0], text)
            }
            _ => {
                let text = format!("{key}: expected a key of RSA, ECDSA or Ed25519");
                Wrong::key(keys[1], text)
            }
        })
    }
}
