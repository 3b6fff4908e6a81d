//! Both code tables: `CloseCode` ends a connection, `ErrorCode` is told in a `pusher:error` and the connection stays.
//! No numeric code of the protocol appears anywhere else.
//!
//! What a stock pusher-js does with a close is in its `getCloseAction`: 4000–4099 and from 4300 on it never comes back
//! by itself, 4100–4199 it comes back after a second, 4200–4299 at once.

/// Declares [`CloseCode`], a row a code: its number in the close frame, its name in metrics and logs, and its text, which
/// is the real service's where that is known.
macro_rules! close_codes {
    ($($(#[$when:meta])* $code:ident $number:literal $name:literal $text:literal,)+) => {
        /// Why the server ends a connection.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CloseCode {
            $($(#[$when])* $code,)+
        }

        impl CloseCode {
            /// All of them, in the order of their declaration.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$code),+];

            /// Its name in metrics and logs.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// The number in the close frame.
            pub fn number(self) -> u16 {
                match self {
                    $(Self::$code => $number,)+
                }
            }

            /// What it says when nothing more precise is known.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)+
                }
            }
        }
    };
}

close_codes! {
    /// The app wants TLS, and this came without. pusher-js comes back at once, over `wss`.
    TlsOnly 4000 "tls_only" "Application only accepts SSL connections, reconnect using wss://",
    /// No app has that key.
    UnknownApp 4001 "unknown_app" "Application does not exist",
    /// The app is switched off.
    AppDisabled 4003 "app_disabled" "Application disabled",
    /// The app's `connections` limit is reached.
    OverQuota 4004 "over_quota" "Application is over connection quota",
    /// An upgrade somewhere else than on `/app/{key}`.
    PathNotFound 4005 "path_not_found" "Path not found: connect to /app/{key}",
    /// `version` is unreadable.
    BadVersion 4006 "bad_version" "Invalid version string format",
    /// `protocol` is not one of [`super::VERSIONS`].
    UnsupportedProtocol 4007 "unsupported_protocol" "Unsupported protocol version",
    /// No `protocol` at all.
    NoProtocol 4008 "no_protocol" "No protocol version supplied",
    /// Neither signed in nor on a private channel within the app's `authorize_within`.
    Unauthorized 4009 "unauthorized" "Connection not authorized within timeout",
    /// The page's `Origin` is not one of the app's `allowed_origins`.
    OriginRefused 4009 "origin_refused" "Origin not allowed",
    /// The application asked for the end of this user's connections.
    Terminated 4009 "terminated" "You got disconnected by the app.",
    /// The token that the connection signed in with has ended, and the app wants no reconnection.
    TokenEndedForGood 4009 "token_ended_for_good" "The token has expired",
    /// The client reads more slowly than it is sent to, and its outbox is full.
    SlowConsumer 4100 "slow_consumer" "Over capacity: the client reads too slowly",
    /// The client sends ten times as fast as the app allows.
    TooFast 4100 "too_fast" "Over capacity: the client sends too fast",
    /// This node's share of the app's `connections` is used up, but not the limit.
    OverShare 4100 "over_share" "Over capacity: this node has no room for the application yet",
    /// This server goes down; come back to it or to another one at once.
    ShuttingDown 4200 "shutting_down" "Server is shutting down, reconnect immediately",
    /// An operator has closed this one connection, which may come back.
    Operator 4200 "operator" "Closed by an operator, reconnect immediately",
    /// The token that the connection signed in with has ended; come back with a new one.
    TokenEnded 4200 "token_ended" "The token has expired, reconnect with a new one",
    /// Neither traffic nor an answer to a ping.
    NoPong 4201 "no_pong" "Pong reply not received",
    /// The frames break RFC 6455.
    ProtocolViolation 1002 "protocol_violation" "Frames must follow RFC 6455",
    /// A binary frame.
    Binary 1003 "binary" "Binary frames are not part of the protocol",
    /// A text frame that is not UTF-8.
    NotUtf8 1007 "not_utf8" "A text frame must be UTF-8",
    /// A message over the limit.
    TooBig 1009 "too_big" "Message too big",
}

impl CloseCode {
    /// The code that a server has closed with; the first one where several share a number.
    pub fn of_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Whether a `pusher:error` event precedes the close frame: for the protocol's own codes, for every client
    /// version (pusher-js acts the same on whichever comes first).
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
