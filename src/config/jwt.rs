//! What `[apps.jwt]` takes, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Reported};
use super::raw;
use crate::auth::Secrets;
use crate::token::{Algorithm, ClaimRules, Jwks, Key, Keys, Tokens, listed};
use crate::{fetch, pem};

/// What a JWK set may hold keys for: they are public.
const OF_JWKS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Said of a secret that has two uses.
const SHARED: &str = "it is a secret of the app as well, with which events are published: tokens need one of their own";

/// The tokens of the app whose section stands `at` a path. `secrets` are the app's own.
pub(super) fn built(
    raw: &raw::Jwt,
    at: &str,
    secrets: &Secrets,
    check: &mut Check<'_, '_>,
) -> Result<Tokens, Reported> {
    let given = given(raw);
    if let [first, second, ..] = given[..] {
        let text = format!(
            "tokens are verified with one kind of key, and there is {first} too: keep one of the two"
        );
        return Err(check.report(&format!("{at}.{second}"), text));
    }
    let Some(kind) = given.first() else {
        let text = "[apps.jwt] needs keys that verify tokens: secret, secrets, public_key_file or jwks_url";
        return Err(check.report_section(at, text));
    };
    let (keys, possible) = keys(raw, &format!("{at}.{kind}"), secrets, check)?;
    let strange = raw
        .algorithms
        .iter()
        .find(|algorithm| !possible.contains(algorithm));
    if let Some(strange) = strange {
        let text = format!(
            "{strange:?} is not for keys of {kind}: possible are {}",
            listed(&possible)
        );
        return Err(check.report(&format!("{at}.algorithms"), text));
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

/// The keys of the one kind that is given `at` a key, and what they are for.
fn keys(
    raw: &raw::Jwt,
    at: &str,
    secrets: &Secrets,
    check: &mut Check<'_, '_>,
) -> Result<(Keys, Vec<Algorithm>), Reported> {
    match (&raw.public_key_file, &raw.jwks_url) {
        (Some(file), _) => {
            let key = check.secrets.file(&file.0, Key::of_public_pem);
            let key = check.or_report(at, key)?;
            let possible = key.algorithms().to_vec();
            Ok((Keys::Fixed(Arc::new([key])), possible))
        }
        (_, Some(url)) => {
            let tls = fetch::tls(pem::public_authorities()).map_err(|error| error.to_string());
            let url = url.0.parse().ok().zip(tls.ok());
            let made = url.ok_or_else(|| "it cannot be asked for".to_owned());
            let (url, tls) = check.or_report(at, made)?;
            let jwks = Jwks::new(url, Arc::new(tls));
            Ok((Keys::Fetched(Arc::new(jwks)), OF_JWKS.to_vec()))
        }
        (None, None) => {
            let mut keys = Vec::new();
            for secret in raw.secret.iter().chain(&raw.secrets) {
                let key =
                    check
                        .secrets
                        .text(&secret.0)
                        .and_then(|text| match secrets.include(text) {
                            true => Err(SHARED.to_owned()),
                            false => Ok(Key::of_secret(text)),
                        });
                keys.extend(check.or_report(at, key)?);
            }
            let possible = keys.first().map_or(&[][..], Key::algorithms).to_vec();
            Ok((Keys::Fixed(keys.into()), possible))
        }
    }
}
