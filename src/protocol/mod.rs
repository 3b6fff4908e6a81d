//! The Pusher Channels wire: names, frames, codes. Pure: no I/O, no clock, nothing else of ours.
//!
//! Supported are protocol versions 4 to 7 ([`VERSIONS`]) with every channel kind. Not supported are `SockJS`' own kinds of
//! transport (iframes, JSONP) and binary frames, which the protocol does not have.

pub mod channel;
pub mod client;
pub mod encoded;
pub mod error;
pub mod event;
pub mod form;
mod json;
pub mod line;
mod named;
pub mod plain;
pub mod resume;
pub mod server;
pub mod socket_id;
pub mod sse;
pub mod transport;
pub mod user;
pub mod webhook;

pub use channel::{ChannelKind, ChannelName};
pub use client::ClientFrame;
pub use encoded::Encoded;
pub use error::{CloseCode, ErrorCode};
pub use event::EventName;
pub use form::{Form, Forms};
pub(crate) use json::{parse, parse_object};
pub use line::Line;
pub(crate) use named::{named, shown_as_text};
pub use plain::{PlainAnswer, PlainCommand};
pub use resume::{PositionKey, ResumeToken, Resumed};
pub use server::ServerFrame;
pub use socket_id::SocketId;
pub use sse::SseStyle;
pub use transport::Transport;
pub use user::{Member, User, UserId};
pub use webhook::{WebhookEvent, WebhookKind};

/// The protocol versions that a client may ask for with `?protocol=`.
/// 1 to 3 lack the `pusher:` prefix or present-day presence events and are refused with 4007.
pub const VERSIONS: std::ops::RangeInclusive<u8> = 4..=7;

/// Shortens untrusted text for an error message or a log line, on a character boundary.
pub(crate) fn excerpt(text: &str) -> &str {
    beginning(text, 200)
}

/// As much of a text as has so many bytes, up to a character boundary.
pub(crate) fn beginning(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// A request's path without the prefix that the server is mounted at; the path itself where it is not below that. A
/// prefix ends where a segment ends: `/a` is no prefix of `/app`. It is empty or begins with a slash and ends without.
pub(crate) fn unmounted<'a>(path: &'a str, prefix: &str) -> &'a str {
    path.strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_with_a_segment() {
        for (path, prefix, rest) in [
            ("/app/k", "", "/app/k"),
            ("/a/app/k", "/a", "/app/k"),
            ("/app/k", "/a", "/app/k"),
            ("/apps/1/events", "/ap", "/apps/1/events"),
            ("/a/b/app/k", "/a/b", "/app/k"),
            ("/a/bapp/k", "/a/b", "/a/bapp/k"),
            ("/a", "/a", "/a"),
            ("/a/a/app/k", "/a", "/a/app/k"),
        ] {
            assert_eq!(unmounted(path, prefix), rest, "{path} {prefix}");
        }
    }
}
