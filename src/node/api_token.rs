//! A backend's API token: compared in constant time, refused in the clear, and costly to guess.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::App;
use crate::limits::Failures;
use crate::net::Client;

/// What looks at API tokens. Clones share what they count.
#[derive(Debug, Clone)]
pub struct ApiTokens {
    allow_plain: bool,
    wrong: Arc<Failures>,
}

/// Why an API token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiTokenRefused {
    /// It came in the clear from another machine.
    Plain,
    /// It is none of the app's.
    Wrong,
    /// The same, and too many such came from the address: how long it should wait.
    TooMany(Duration),
}

impl ApiTokens {
    /// `allow_plain`: over plain HTTP from other machines too.
    #[must_use]
    pub fn new(allow_plain: bool) -> Self {
        Self {
            allow_plain,
            wrong: Arc::default(),
        }
    }

    /// Whether nobody on the way can read what a client sends, or that is allowed.
    #[must_use]
    pub fn may_come_from(&self, client: Client) -> bool {
        client.secure || client.is_local() || self.allow_plain
    }

    /// Whether a text is one of the app's tokens. All are compared, so that the time does not tell which one came close.
    #[must_use]
    pub fn is_known(app: &App, given: &str) -> bool {
        let matching = app.api_tokens.iter().filter(|known| known.equals(given));
        matching.count() > 0
    }

    /// Looks at a token that a client sends for an app.
    ///
    /// # Errors
    /// It proves nothing.
    pub fn check(&self, app: &App, given: &str, client: Client) -> Result<(), ApiTokenRefused> {
        if !self.may_come_from(client) {
            return Err(ApiTokenRefused::Plain);
        }
        if Self::is_known(app, given) {
            return Ok(());
        }
        match self.record_wrong(client) {
            Ok(()) => Err(ApiTokenRefused::Wrong),
            Err(wait) => Err(ApiTokenRefused::TooMany(wait)),
        }
    }

    /// Counts a wrong token or password.
    ///
    /// # Errors
    /// How long its address should wait: too many came from there.
    pub fn record_wrong(&self, client: Client) -> Result<(), Duration> {
        self.wrong.record(client.address, Instant::now())
    }
}
