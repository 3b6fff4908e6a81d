//! The paths of pusher-js over HTTP.

/// Where a request of a session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// The app's key.
    pub(super) key: &'a str,
    /// `{key}/{n}/{session}`: the session's name. Whoever knows it is the client, so it is neither logged nor told.
    pub(super) session: &'a str,
    pub(super) kind: Kind,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An answer with lines as they come.
    Streaming,
    /// An answer with the next lines.
    Polling,
    /// Messages of the client.
    Send,
    /// A transport that is not served.
    Other,
}

/// The longest name of a session that is read; pusher-js makes 12 characters at most.
const SESSION_BYTES: usize = 64;

impl<'a> Route<'a> {
    /// Reads `[/pusher]/app/{key}/{n}/{session}/{kind}`, the path without the server's prefix and `/resume/{token}`. Paths
    /// below `/pusher` and `/app/{key}` that are no such path are of a kind that is not served. None: other paths.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let below = path
            .strip_prefix("/pusher")
            .filter(|rest| rest.starts_with('/'));
        let other = |key| Self {
            key,
            session: "",
            kind: Kind::Other,
        };
        let Some(rest) = below.unwrap_or(path).strip_prefix("/app/") else {
            return below.map(|_| other(""));
        };
        let (key, rest) = match rest.split_once('/') {
            Some((key, rest)) if !key.is_empty() => (key, rest),
            // The address of a WebSocket.
            _ => return below.map(|_| other("")),
        };
        let mut parts = rest.split('/');
        let (Some(number), Some(name), Some(kind), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Some(other(key));
        };
        let is_legal = |part: &str| {
            let is_legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            !part.is_empty() && part.bytes().all(is_legal)
        };
        let length = number.len() + 1 + name.len();
        if !is_legal(number) || !is_legal(name) || length > SESSION_BYTES {
            return Some(other(key));
        }
        let kind = match kind {
            "xhr_streaming" => Kind::Streaming,
            "xhr" => Kind::Polling,
            "xhr_send" => Kind::Send,
            _ => return Some(other(key)),
        };
        // All of it is one part of the path, from the key on.
        let from = path.len() - rest.len() - 1 - key.len();
        Some(Self {
            key,
            session: &path[from..from + key.len() + 1 + length],
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, session, kind) in [
            (
                "/app/k/7/abcdefgh/xhr_streaming",
                "k/7/abcdefgh",
                Kind::Streaming,
            ),
            ("/pusher/app/k/999/0v/xhr", "k/999/0v", Kind::Polling),
            ("/app/app/1/2/xhr_send", "app/1/2", Kind::Send),
            ("/app/k/7/abcdefgh/eventsource", "", Kind::Other),
            ("/app/k/7/abcdefgh/xhr/", "", Kind::Other),
            ("/app/k/7/a.b/xhr", "", Kind::Other),
            ("/app/k//abcdefgh/xhr", "", Kind::Other),
            ("/app/k/info", "", Kind::Other),
            ("/app/k/", "", Kind::Other),
            ("/pusher/info", "", Kind::Other),
            ("/pusher/1/abcdefgh/xhr", "", Kind::Other),
        ] {
            let route = Route::of(path).unwrap();
            assert_eq!((route.session, route.kind), (session, kind), "{path}");
        }
        for path in [
            "/",
            "/app/k",
            "/app/",
            "/apps/1/events",
            "/pusherx/info",
            "/pusher",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
        let long = format!("/app/k/1/{}/xhr", "x".repeat(SESSION_BYTES - 1));
        assert_eq!(Route::of(&long).unwrap().kind, Kind::Other);
    }
}
