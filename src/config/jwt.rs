//! What `[apps.jwt]` takes, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use super::raw;
use super::secrets::SecretReader;
use super::wrong::{Wrong, at};
use crate::auth::Secrets;
use crate::token::{Algorithm, AlgorithmFamily, ClaimRules, Jwks, Key, Keys, Tokens, listed};
use crate::{fetch, pem};

/// What a JWK set may hold keys for: they are public.
const OF_JWKS: [AlgorithmFamily; 3] = [
    AlgorithmFamily::Rsa,
    AlgorithmFamily::Ec,
    AlgorithmFamily::Ed,
];

/// Said of a secret that has two uses.
const SHARED: &str = "it is a secret of the app as well, with which events are published: tokens need one of their own";

/// The tokens of an app whose own secrets are these.
pub(super) fn built(
    raw: &raw::Jwt,
    own: &Secrets,
    secrets: &mut SecretReader<'_>,
) -> Result<Tokens, Wrong> {
    let given = given(raw);
    if let [first, second, ..] = given[..] {
        let text = format!(
            "tokens are verified with one kind of key, and there is {first} too: keep one of the two"
        );
        return Err(Wrong::key(second, text));
    }
    let Some(kind) = given.first() else {
        let text = "[apps.jwt] needs keys that verify tokens: secret, secrets, public_key_file or jwks_url";
        return Err(Wrong::table(text));
    };
    let (keys, possible) = keys(raw, own, secrets).map_err(at(kind))?;
    let mut given = raw.algorithms.iter();
    if let Some(strange) = given.find(|algorithm| !possible.contains(algorithm)) {
        let text = format!(
            "{strange:?} is not for keys of {kind}: possible are {}",
            listed(&possible)
        );
        return Err(Wrong::key("algorithms", text));
    }
    let algorithms = match raw.algorithms.is_empty() {
        true => possible,
        false => raw.algorithms.clone(),
    };
    let claims = ClaimRules {
        audience: raw.audience.clone(),
        issuer: raw.issuer.clone(),
        user_claim: raw.user_claim.clone(),
        channels_claim: raw.channels_claim.clone(),
        leeway: Duration::from_secs(raw.leeway_seconds.into()),
        require_exp: raw.require_exp,
    };
    Ok(Tokens::new(keys, algorithms, claims, raw.on_expiry))
}

/// The kinds of key that are given, by a setting of each.
fn given(raw: &raw::Jwt) -> Vec<&'static str> {
    let given = [
        ("secret", raw.secret.is_some()),
        ("secrets", raw.secret.is_none() && !raw.secrets.is_empty()),
        ("public_key_file", raw.public_key_file.is_some()),
        ("jwks_url", raw.jwks_url.is_some()),
    ];
    let given = given.iter().filter(|(_, is_given)| *is_given);
    given.map(|(key, _)| *key).collect()
}

/// The keys of the one kind that is given, and what they are for.
fn keys(
    raw: &raw::Jwt,
    own: &Secrets,
    secrets: &mut SecretReader<'_>,
) -> Result<(Keys, Vec<Algorithm>), String> {
    if let Some(file) = &raw.public_key_file {
        let key = secrets.file(&file.0, Key::of_public_pem)?;
        let possible = key.algorithms().to_vec();
        return Ok((Keys::Fixed(Arc::new([key])), possible));
    }
    if let Some(url) = &raw.jwks_url {
        let tls = fetch::tls(pem::public_authorities()).map_err(|error| error.to_string())?;
        let url = url.0.parse().map_err(|_| "it cannot be asked for")?;
        let jwks = Jwks::new(url, Arc::new(tls));
        let possible = OF_JWKS.iter().flat_map(AlgorithmFamily::algorithms);
        return Ok((Keys::Fetched(Arc::new(jwks)), possible.copied().collect()));
    }
    let mut keys = Vec::new();
    for secret in raw.secret.iter().chain(&raw.secrets) {
        let text = secrets.text(&secret.0)?;
        if own.include(text) {
            return Err(SHARED.to_owned());
        }
        keys.extend(Key::of_secret(text));
    }
    let possible = keys.first().map_or(&[][..], Key::algorithms).to_vec();
    Ok((Keys::Fixed(keys.into()), possible))
}
