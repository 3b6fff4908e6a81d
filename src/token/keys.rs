//! `Key`: a key and the algorithms that it is for. No key takes part in an algorithm of another family.

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};

use crate::auth::Secret;

/// The least bytes of an RSA modulus that are verified with: 2048 bits.
const RSA_BYTES: usize = 256;

/// One key that signatures are checked with. Printing it prints nothing of a secret.
#[derive(Debug)]
pub struct Key {
    /// As a token's header names it; none: it is asked whatever the header says.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
    /// The text of a shared secret.
    pub(super) secret: Option<Secret>,
}

impl Key {
    /// A shared secret, for HS256, HS384 and HS512. None for an empty text.
    pub fn of_secret(secret: &str) -> Option<Self> {
        let key = Self::new(None, DecodingKey::from_secret(secret.as_bytes()).ok()?)?;
        let secret = Some(Secret::new(secret));
        Some(Self { secret, ..key })
    }

    /// A public key in PEM: of RSA for RS… and PS…, of P-256 for ES256, of P-384 for ES384, Ed25519 for `EdDSA`.
    ///
    /// # Errors
    /// Says what is wrong with the text, without showing it.
    pub fn of_public_pem(text: &str) -> Result<Self, &'static str> {
        if text.contains("PRIVATE KEY") {
            return Err("it is a private key, where the public one belongs");
        }
        let pem = text.as_bytes();
        DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .ok()
            .and_then(|key| Self::new(None, key))
            .ok_or(
                "expected a public key in PEM: RSA of 2048 bits or more, P-256, P-384 or Ed25519",
            )
    }

    /// A public key of a JWK set; none if it is not for signatures, or of no kind that is known here. A symmetric one
    /// would be a secret that everybody can read.
    pub(super) fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let is_for_signatures = matches!(
            common.public_key_use,
            None | Some(PublicKeyUse::Signature | PublicKeyUse::Other(_))
        );
        let key = DecodingKey::from_jwk(jwk).ok()?;
        if !is_for_signatures || key.family() == AlgorithmFamily::Hmac {
            return None;
        }
        let mut key = Self::new(common.key_id.clone(), key)?;
        if let Some(only) = common.key_algorithm {
            key.algorithms
                .retain(|algorithm| only == (*algorithm).into());
        }
        Some(key)
    }

    /// None for a key that no algorithm takes.
    fn new(id: Option<String>, key: DecodingKey) -> Option<Self> {
        let bytes = match key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => bytes.len(),
            DecodingKeyKind::RsaModulusExponent { n, .. } => n.len(),
        };
        let algorithms = match (key.family(), bytes) {
            (AlgorithmFamily::Hmac, _) => AlgorithmFamily::Hmac.algorithms(),
            (AlgorithmFamily::Rsa, RSA_BYTES..) => AlgorithmFamily::Rsa.algorithms(),
            // The points of the two curves.
            (AlgorithmFamily::Ec, 65) => &[Algorithm::ES256],
            (AlgorithmFamily::Ec, 97) => &[Algorithm::ES384],
            (AlgorithmFamily::Ed, 32) => &[Algorithm::EdDSA],
            _ => return None,
        };
        Some(Self {
            id,
            algorithms: algorithms.to_vec(),
            key,
            secret: None,
        })
    }

    /// The algorithms that it may verify.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether a token with that algorithm and key id may be signed with it.
    pub(super) fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.algorithms.contains(&algorithm)
            && (id.is_none() || self.id.is_none() || self.id.as_deref() == id)
    }
}
