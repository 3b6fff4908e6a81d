//! The cryptography behind `jsonwebtoken`: ring's, which TLS uses as well. It verifies and never signs.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, new_error};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: |algorithm, key| {
        if algorithm.family() != key.family() {
            return Err(new_error(ErrorKind::InvalidKeyFormat));
        }
        Ok(Box::new(ByRing {
            algorithm: *algorithm,
            key: key.clone(),
        }))
    },
    // They make keys of keys, which nobody here does.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the library use it. What has been installed already is this one.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let verified = match self.algorithm {
            Algorithm::HS256 => self.hmac(hmac::HMAC_SHA256, message, signature),
            Algorithm::HS384 => self.hmac(hmac::HMAC_SHA384, message, signature),
            Algorithm::HS512 => self.hmac(hmac::HMAC_SHA512, message, signature),
            Algorithm::RS256 => self.rsa(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Algorithm::RS384 => self.rsa(&RSA_PKCS1_2048_8192_SHA384, message, signature),
            Algorithm::RS512 => self.rsa(&RSA_PKCS1_2048_8192_SHA512, message, signature),
            Algorithm::PS256 => self.rsa(&RSA_PSS_2048_8192_SHA256, message, signature),
            Algorithm::PS384 => self.rsa(&RSA_PSS_2048_8192_SHA384, message, signature),
            Algorithm::PS512 => self.rsa(&RSA_PSS_2048_8192_SHA512, message, signature),
            Algorithm::ES256 => self.plain(&ECDSA_P256_SHA256_FIXED, message, signature),
            Algorithm::ES384 => self.plain(&ECDSA_P384_SHA384_FIXED, message, signature),
            Algorithm::EdDSA => self.plain(&ED25519, message, signature),
            _ => None,
        };
        verified.ok_or_else(Error::new)
    }
}

impl ByRing {
    fn hmac(&self, with: hmac::Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let key = hmac::Key::new(with, self.key.try_get_as_bytes().ok()?);
        hmac::verify(&key, message, signature).ok()
    }

    fn rsa(&self, with: &'static RsaParameters, message: &[u8], signature: &[u8]) -> Option<()> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(_) => self.plain(with, message, signature),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(with, message, signature).ok()
            }
        }
    }

    fn plain(
        &self,
        with: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<()> {
        let key = UnparsedPublicKey::new(with, self.key.try_get_as_bytes().ok()?);
        key.verify(message, signature).ok()
    }
}
