//! `Jwks`: the keys at a URL. They are read when a token needs them, kept, and read again when they are old or when a
//! token names a key that is not among them. Whoever verifies waits for a reading only if no known key fits, and then
//! for one that all others share.

use std::sync::Arc;
use std::time::Duration;

use actix_http::header::{ACCEPT, HeaderValue};
use actix_http::{StatusCode, Uri};
use jsonwebtoken::jwk::Jwk;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::Fault;
use super::keys::Key;
use crate::fetch;
use crate::metrics::Metrics;
use crate::supervise;

/// How long a reading may take as a whole.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a set, and the most keys in it.
const MAX_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 100;

/// After this time a set is read again. The keys at hand are used meanwhile.
const FRESH: Duration = Duration::from_secs(600);

/// A set that could not be read again for so long is not used any more.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// How often a set is read because a token names an unknown key.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(60);

/// After a reading that failed there is none for so long.
const PAUSE: Duration = Duration::from_secs(10);

/// The JWK set at one URL, fetched when it is needed and kept.
#[derive(Debug)]
pub struct Jwks {
    url: Uri,
    tls: Arc<ClientConfig>,
    set: watch::Sender<Set>,
}

/// What is known of them.
#[derive(Debug, Clone, Default)]
struct Set {
    keys: Arc<[Key]>,
    /// When they were read; none: never.
    read: Option<Instant>,
    /// When they were last read for the sake of an unknown key.
    for_unknown: Option<Instant>,
    /// When the last reading failed, if it did.
    failed: Option<Instant>,
    /// Whether somebody is reading them.
    reading: bool,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Exchange(#[from] fetch::Error),
    #[error("it has no host")]
    NoHost,
    #[error("answered with status {0}")]
    Status(u16),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("it is not a JWK set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has {0} keys, allowed are {MAX_KEYS}")]
    TooMany(usize),
}

impl Set {
    fn has(&self, fits: &impl Fn(&Key) -> bool) -> bool {
        let is_usable = self.read.is_some_and(|read| read.elapsed() < MAX_AGE);
        is_usable && self.keys.iter().any(fits)
    }

    /// Begins a reading if it is time for one. Returns whether it did.
    fn begin(&mut self, is_known: bool, now: Instant) -> bool {
        let since = |then: Option<Instant>| then.map(|then| now - then);
        let is_due = match since(self.read) {
            None => true,
            Some(age) if is_known => age >= FRESH,
            Some(_) => since(self.for_unknown).is_none_or(|age| age >= UNKNOWN_INTERVAL),
        };
        if self.reading || !is_due || since(self.failed).is_some_and(|age| age < PAUSE) {
            return false;
        }
        if !is_known && self.read.is_some() {
            self.for_unknown = Some(now);
        }
        self.reading = true;
        true
    }
}

impl Jwks {
    /// The set at an `http` or `https` URL. Nothing is fetched yet.
    pub fn new(url: Uri, tls: Arc<ClientConfig>) -> Self {
        Self {
            url,
            tls,
            set: watch::Sender::default(),
        }
    }

    /// Goes on with what an earlier configuration has read, if it was from the same URL.
    pub(super) fn continue_from(&self, former: &Self) {
        if self.url == former.url {
            let known = former.set.borrow().clone();
            self.set.send_replace(Set {
                reading: false,
                ..known
            });
        }
    }

    /// The keys, one of which fits at least. Must be called on a worker.
    ///
    /// # Errors
    /// None fits, or they could not be read.
    pub(super) async fn keys(
        self: &Arc<Self>,
        fits: impl Fn(&Key) -> bool,
        metrics: &Metrics,
    ) -> Result<Arc<[Key]>, Fault> {
        let mut known = self.set.subscribe();
        let is_known = known.borrow().has(&fits);
        let begins = |set: &mut Set| set.begin(is_known, Instant::now());
        if self.set.send_if_modified(begins) {
            metrics.jwks_reads.inc();
            supervise::spawn(Arc::clone(self).read(metrics.clone()));
        }
        if !is_known {
            // The sender is this one, so it is there for as long as this waits.
            let _ = known.wait_for(|set| !set.reading).await;
        }
        let set = known.borrow();
        match set.read {
            Some(_) if set.has(&fits) => Ok(Arc::clone(&set.keys)),
            Some(read) if set.failed.is_none() => {
                Err(Fault::UnknownKey(Some(read.elapsed().as_secs())))
            }
            _ => Err(Fault::NoKeys),
        }
    }

    /// One reading, which has been begun.
    async fn read(self: Arc<Self>, metrics: Metrics) {
        let fetched = timeout(TIMEOUT, self.fetch()).await;
        let read = fetched.unwrap_or(Err(Problem::Timeout));
        // A token of its query is nobody's business.
        let url = self.url.to_string();
        let url = url.split('?').next();
        match &read {
            Ok(keys) => info!(url, keys = keys.len(), "the keys of jwks_url are read"),
            Err(problem) => {
                metrics.jwks_failures.inc();
                warn!(url, %problem, "the keys of jwks_url cannot be read");
            }
        }
        self.set.send_modify(|set| {
            set.reading = false;
            let now = Instant::now();
            match read {
                Ok(keys) => {
                    set.keys = keys.into();
                    set.read = Some(now);
                    set.failed = None;
                }
                Err(_) => set.failed = Some(now),
            }
        });
    }

    async fn fetch(&self) -> Result<Vec<Key>, Problem> {
        let server = fetch::Server::of(&self.url, &self.tls).ok_or(Problem::NoHost)?;
        let mut request = fetch::Request::get(self.url.clone());
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(ACCEPT, json);
        let answer = server.send(request).await?;
        // A redirect too: the keys are those of the URL that was configured.
        if answer.status != StatusCode::OK {
            return Err(Problem::Status(answer.status.as_u16()));
        }
        keys_of(&answer.body(MAX_BYTES).await?)
    }
}

/// The keys of a set that are for signatures. One that cannot be understood says nothing about the others.
fn keys_of(text: &[u8]) -> Result<Vec<Key>, Problem> {
    #[derive(Deserialize)]
    struct JwkSet<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    let set: JwkSet<'_> = serde_json::from_slice(text)?;
    if set.keys.len() > MAX_KEYS {
        return Err(Problem::TooMany(set.keys.len()));
    }
    let jwks = set.keys.iter();
    let jwks = jwks.filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok());
    Ok(jwks.filter_map(|jwk| Key::of_jwk(&jwk)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(seconds: impl Fn(u64) -> Instant) -> Set {
        Set {
            read: Some(seconds(0)),
            ..Set::default()
        }
    }

    #[test]
    fn an_unknown_key_is_asked_for_at_once_and_then_once_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut set = set(at);
        let mut begun = Vec::new();
        for second in 0..150 {
            if set.begin(false, at(second)) {
                begun.push(second);
                assert!(!set.begin(false, at(second)), "one at a time");
                set.reading = false;
            }
        }
        assert_eq!(begun, [0, 60, 120]);
    }

    #[test]
    fn known_keys_are_read_again_when_they_are_old_and_after_a_failure_with_a_pause() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut set = set(at);
        assert!(!set.begin(true, at(599)));
        assert!(set.begin(true, at(600)));
        set.reading = false;
        set.failed = Some(at(602));
        assert!(!set.begin(true, at(611)) && !set.begin(false, at(611)));
        assert!(set.begin(true, at(612)));
        let mut never = Set::default();
        assert!(never.begin(false, at(0)));
        never.reading = false;
        // What is there first costs an unknown key nothing.
        never.read = Some(at(1));
        assert!(never.begin(false, at(2)));
    }

    #[test]
    fn only_keys_for_signatures_are_taken() {
        let ed = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        let set = format!(
            r#"{{"keys":[{{"kid":"a",{ed}}},{{"kid":"b","use":"enc",{ed}}},{{"kid":"c","alg":"RS256",{ed}}},
                {{"kid":"d","kty":"oct","k":"c2VjcmV0"}},{{"kid":"e","kty":"RSA","n":"AQAB","e":"AQAB"}},
                {{"kid":"f","kty":"new"}},{{"kid":"g","use":"sig","alg":"EdDSA",{ed}}},7]}}"#
        );
        let keys = keys_of(set.as_bytes()).unwrap();
        let fitting = |id| {
            let fits = |key: &&Key| key.fits(jsonwebtoken::Algorithm::EdDSA, id);
            keys.iter().filter(fits).count()
        };
        assert_eq!(
            (fitting(Some("a")), fitting(Some("g")), fitting(None)),
            (1, 1, 2)
        );
        let text = format!(r#"{{"keys":[{}7]}}"#, "7,".repeat(MAX_KEYS));
        assert!(matches!(
            keys_of(text.as_bytes()),
            Err(Problem::TooMany(101))
        ));
        for no_set in ["", "[]", "{}", r#"{"keys":7}"#] {
            assert!(matches!(keys_of(no_set.as_bytes()), Err(Problem::Json(_))));
        }
    }
}
