//! `Retry`: whether and when to come back after a connection, by the rules that close codes stand for.

use std::time::Duration;

use super::error::{Error, TlsFault};
use crate::protocol::error::{Comeback, comeback};

/// The first pause, and the longest one.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A connection that lived that long ends the growth of pauses.
const LIVED: Duration = Duration::from_secs(10);

/// Decides when to reconnect, by how the last connections ended.
#[derive(Debug, Default)]
pub struct Retry {
    /// Connections and attempts in a row that were over at once.
    brief: u32,
}

impl Retry {
    /// The pause before the next attempt, after a connection (or an attempt) that lasted `lasted` and ended with
    /// `error`; none: do not reconnect. `jitter` is from 0 to 1.
    pub fn after(&mut self, error: &Error, lasted: Duration, jitter: f64) -> Option<Duration> {
        if lasted >= LIVED {
            self.brief = 0;
        }
        let comeback = match error {
            Error::Closed { code, .. } => code.map_or(Comeback::AfterAPause, comeback),
            Error::NotUpgraded(answer) => match answer.status {
                408 | 425 | 429 | 500.. => Comeback::AfterAPause,
                _ => Comeback::Never,
            },
            Error::NoSecret(_) => Comeback::Never,
            Error::Tls {
                fault: TlsFault::Refused(_) | TlsFault::Other(_),
                ..
            } => Comeback::AfterAPause,
            Error::Tls { .. } => Comeback::Never,
            Error::Resolve { .. }
            | Error::Tcp { .. }
            | Error::BadUpgrade { .. }
            | Error::NotHttp(_)
            | Error::NoAnswer
            | Error::Timeout { .. }
            | Error::Broken(_)
            | Error::Silent(_)
            | Error::ProtocolViolation(_) => Comeback::AfterAPause,
        };
        match comeback {
            Comeback::Never => None,
            // Who says it again and again is not to be asked again and again.
            Comeback::AtOnce if self.brief == 0 => {
                self.brief = 1;
                Some(Duration::ZERO)
            }
            Comeback::AtOnce | Comeback::AfterAPause => Some(self.pause(jitter)),
        }
    }

    /// Doubles with each brief connection, and is up to a half longer than that by chance, so that those who were
    /// cut off together do not come back together.
    fn pause(&mut self, jitter: f64) -> Duration {
        let grown = FIRST.saturating_mul(1 << self.brief.min(16)).min(LONGEST);
        self.brief = self.brief.saturating_add(1);
        grown.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16) -> Error {
        Error::Closed {
            code: Some(code),
            reason: String::new(),
        }
    }

    #[test]
    fn by_the_close_codes() {
        let long = Duration::from_secs(60);
        for (error, pause) in [
            (closed(4000), None),
            (closed(4001), None),
            (closed(4099), None),
            (closed(4100), Some(1)),
            (closed(4199), Some(1)),
            (closed(4200), Some(0)),
            (closed(4299), Some(0)),
            (closed(4300), None),
            (closed(1000), Some(1)),
            (closed(1006), Some(1)),
            (Error::Broken(String::new()), Some(1)),
            (Error::NoSecret(String::new()), None),
        ] {
            let waited = Retry::default().after(&error, long, 0.0);
            assert_eq!(waited, pause.map(Duration::from_secs), "{error}");
        }
    }

    #[test]
    fn pauses_grow_until_a_connection_lives() {
        let mut retry = Retry::default();
        let brief = Duration::from_millis(1);
        let mut waits = |error: &Error, lasted| retry.after(error, lasted, 0.0).unwrap().as_secs();
        let broken = Error::Broken(String::new());
        let grown: Vec<u64> = (0..7).map(|_| waits(&broken, brief)).collect();
        assert_eq!(grown, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(waits(&broken, LIVED), 1);
        assert_eq!(waits(&closed(4200), LIVED), 0);
        // A server that always says so is not asked in a circle.
        assert_eq!(waits(&closed(4200), brief), 2);
        assert_eq!(waits(&closed(4200), brief), 4);
    }

    #[test]
    fn chance_adds_up_to_a_half() {
        let wait = |jitter| {
            Retry::default()
                .after(&closed(4100), LIVED, jitter)
                .unwrap()
        };
        assert_eq!(wait(0.0), Duration::from_secs(1));
        assert_eq!(wait(1.0), Duration::from_millis(1500));
    }
}
