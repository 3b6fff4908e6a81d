//! Both code tables: `CloseCode` ends a connection, `ErrorCode` is told in a `pusher:error` and the connection stays.
//! No numeric code of the protocol appears anywhere else.
//!
//! What a stock pusher-js does with a close is in its `getCloseAction`: 4000–4099 and from 4300 on it never comes back
//! by itself, 4100–4199 it comes back after a second, 4200–4299 at once.

/// Why the server ends a connection. The texts are the real service's where they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 4000: the app wants TLS, and this came without. pusher-js comes back at once, over `wss`.
    TlsOnly,
    /// 4001: no app has that key.
    UnknownApp,
    /// 4003: the app is switched off.
    AppDisabled,
    /// 4004: the app's `connections` limit is reached.
    OverQuota,
    /// 4005: an upgrade somewhere else than on `/app/{key}`.
    PathNotFound,
    /// 4006: `version` is unreadable.
    BadVersion,
    /// 4007: `protocol` is not one of [`super::VERSIONS`].
    UnsupportedProtocol,
    /// 4008: no `protocol` at all.
    NoProtocol,
    /// 4009: neither signed in nor on a private channel within the app's `authorize_within`.
    Unauthorized,
    /// 4009: the page's `Origin` is not one of the app's `allowed_origins`.
    OriginRefused,
    /// 4009: the application asked for the end of this user's connections.
    Terminated,
    /// 4009: the token that the connection signed in with has ended, and the app wants no reconnection.
    TokenEndedForGood,
    /// 4100: the client reads more slowly than it is sent to, and its outbox is full.
    SlowConsumer,
    /// 4100: the client sends ten times as fast as the app allows.
    TooFast,
    /// 4100: this node's share of the app's `connections` is used up, but not the limit.
    OverShare,
    /// 4200: this server goes down; come back to it or to another one at once.
    ShuttingDown,
    /// 4200: an operator has closed this one connection, which may come back.
    Operator,
    /// 4200: the token that the connection signed in with has ended; come back with a new one.
    TokenEnded,
    /// 4201: neither traffic nor an answer to a ping.
    NoPong,
    /// 1002: the frames break RFC 6455.
    ProtocolViolation,
    /// 1003: a binary frame.
    Binary,
    /// 1007: a text frame that is not UTF-8.
    NotUtf8,
    /// 1009: a message over the limit.
    TooBig,
}

impl CloseCode {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 23] = [
        Self::TlsOnly,
        Self::UnknownApp,
        Self::AppDisabled,
        Self::OverQuota,
        Self::PathNotFound,
        Self::BadVersion,
        Self::UnsupportedProtocol,
        Self::NoProtocol,
        Self::Unauthorized,
        Self::OriginRefused,
        Self::Terminated,
        Self::TokenEndedForGood,
        Self::SlowConsumer,
        Self::TooFast,
        Self::OverShare,
        Self::ShuttingDown,
        Self::Operator,
        Self::TokenEnded,
        Self::NoPong,
        Self::ProtocolViolation,
        Self::Binary,
        Self::NotUtf8,
        Self::TooBig,
    ];

    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TlsOnly => "tls_only",
            Self::UnknownApp => "unknown_app",
            Self::AppDisabled => "app_disabled",
            Self::OverQuota => "over_quota",
            Self::PathNotFound => "path_not_found",
            Self::BadVersion => "bad_version",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::NoProtocol => "no_protocol",
            Self::Unauthorized => "unauthorized",
            Self::OriginRefused => "origin_refused",
            Self::Terminated => "terminated",
            Self::TokenEndedForGood => "token_ended_for_good",
            Self::SlowConsumer => "slow_consumer",
            Self::TooFast => "too_fast",
            Self::OverShare => "over_share",
            Self::ShuttingDown => "shutting_down",
            Self::Operator => "operator",
            Self::TokenEnded => "token_ended",
            Self::NoPong => "no_pong",
            Self::ProtocolViolation => "protocol_violation",
            Self::Binary => "binary",
            Self::NotUtf8 => "not_utf8",
            Self::TooBig => "too_big",
        }
    }

    /// The number in the close frame.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::TlsOnly => 4000,
            Self::UnknownApp => 4001,
            Self::AppDisabled => 4003,
            Self::OverQuota => 4004,
            Self::PathNotFound => 4005,
            Self::BadVersion => 4006,
            Self::UnsupportedProtocol => 4007,
            Self::NoProtocol => 4008,
            Self::Unauthorized
            | Self::OriginRefused
            | Self::Terminated
            | Self::TokenEndedForGood => 4009,
            Self::SlowConsumer | Self::TooFast | Self::OverShare => 4100,
            Self::ShuttingDown | Self::Operator | Self::TokenEnded => 4200,
            Self::NoPong => 4201,
            Self::ProtocolViolation => 1002,
            Self::Binary => 1003,
            Self::NotUtf8 => 1007,
            Self::TooBig => 1009,
        }
    }

    /// The code that a server has closed with; the first one where several share a number.
    #[must_use]
    pub fn of_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// What it says when nothing more precise is known.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::TlsOnly => "Application only accepts SSL connections, reconnect using wss://",
            Self::UnknownApp => "Application does not exist",
            Self::AppDisabled => "Application disabled",
            Self::OverQuota => "Application is over connection quota",
            Self::PathNotFound => "Path not found: connect to /app/{key}",
            Self::BadVersion => "Invalid version string format",
            Self::UnsupportedProtocol => "Unsupported protocol version",
            Self::NoProtocol => "No protocol version supplied",
            Self::Unauthorized => "Connection not authorized within timeout",
            Self::OriginRefused => "Origin not allowed",
            Self::Terminated => "You got disconnected by the app.",
            Self::TokenEndedForGood => "The token has expired",
            Self::SlowConsumer => "Over capacity: the client reads too slowly",
            Self::TooFast => "Over capacity: the client sends too fast",
            Self::OverShare => "Over capacity: this node has no room for the application yet",
            Self::ShuttingDown => "Server is shutting down, reconnect immediately",
            Self::Operator => "Closed by an operator, reconnect immediately",
            Self::TokenEnded => "The token has expired, reconnect with a new one",
            Self::NoPong => "Pong reply not received",
            Self::ProtocolViolation => "Frames must follow RFC 6455",
            Self::Binary => "Binary frames are not part of the protocol",
            Self::NotUtf8 => "A text frame must be UTF-8",
            Self::TooBig => "Message too big",
        }
    }

    /// Whether a `pusher:error` event precedes the close frame: for the protocol's own codes, for every client
    /// version (pusher-js acts the same on whichever comes first).
    #[must_use]
    pub fn is_announced(self) -> bool {
        self.number() >= 4000
    }
}

/// What a client does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comeback {
    /// It stays away until somebody changes something.
    Never,
    /// It comes back after a second, and later each time.
    AfterAPause,
    /// It comes back at once.
    AtOnce,
}

/// What the number of a close means for the client (pusher-js `getCloseAction`); those of other protocols than this one
/// say nothing about the next attempt.
#[must_use]
pub fn comeback(number: u16) -> Comeback {
    match number {
        4000..4100 | 4300..5000 => Comeback::Never,
        4200..4300 => Comeback::AtOnce,
        _ => Comeback::AfterAPause,
    }
}

/// A refusal that leaves the connection open. Never one of 4000 to 4299: clients that look at the code before the
/// connection ends take it for its end (Pysher reconnects on 4100 and loses its channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// `null`: what most refused commands carry.
    None,
    /// 4301: client events, subscriptions or messages come faster than the app allows. As a close code it would stop
    /// pusher-js for good.
    TooFast,
    /// 4302: the watchlist was cut.
    WatchlistTooLong,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::TooFast, Self::WatchlistTooLong];

    /// The number in the `pusher:error` event.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::TooFast => Some(4301),
            Self::WatchlistTooLong => Some(4302),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pusher-js 8 `getCloseAction`: which action our codes lead to is part of the contract.
    #[test]
    fn bands() {
        let count = |band: std::ops::Range<u16>| {
            CloseCode::ALL
                .iter()
                .filter(|code| band.contains(&code.number()))
                .count()
        };
        assert_eq!(count(4000..4100), 12, "these stop the client");
        assert_eq!(
            count(4100..4200),
            3,
            "one that reads too slowly, sends too fast or finds no room on its node comes back after a pause"
        );
        assert_eq!(count(4200..4300), 4, "these come back at once");
        assert_eq!(
            count(4300..5000),
            0,
            "as a close code these would stop the client for good"
        );
        assert!(
            CloseCode::ALL
                .iter()
                .all(|code| code.is_announced() == (code.number() >= 4000))
        );
    }

    #[test]
    fn no_refusal_reads_as_the_end_of_the_connection() {
        for code in ErrorCode::ALL {
            assert!(
                code.number().is_none_or(|number| number >= 4300),
                "{code:?}"
            );
        }
    }

    #[test]
    fn texts_fit_into_a_close_frame() {
        assert!(CloseCode::ALL.iter().all(|code| code.text().len() <= 123));
    }
}
