//! Which endpoint a path is, found by its segments: the paths are few, and a router's patterns would cost more than
//! everything else about a request but its signature.

use std::borrow::Cow;

use actix_http::Method;
use percent_encoding::percent_decode_str;

/// What there is. The order is that of the API's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/`.
    Alive,
    /// `/app/{key}` and `/plain/{key}`, where WebSockets live.
    WebSocket,
    /// `/sse/{key}`, where streams are asked for without a body.
    Stream,
    /// `/apps/{app_id}/events`.
    Events,
    /// `/apps/{app_id}/batch_events`.
    BatchEvents,
    /// `/apps/{app_id}/channels`.
    Channels,
    /// `/apps/{app_id}/channels/{channel}`.
    Channel,
    /// `/apps/{app_id}/channels/{channel}/users`.
    Users,
    /// `/apps/{app_id}/channels/{channel}/events`.
    History,
    /// `/apps/{app_id}/users/{user_id}/terminate_connections`. The Python SDK leaves `/apps/{id}` out; the app is then
    /// the one of the `auth_key` (protocol §4.8).
    Terminate,
    /// `/apps/{app_id}/sources/{name}`.
    Source,
}

impl Endpoint {
    /// What `Allow` says.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Stream => "GET, OPTIONS",
            _ if self.takes(&Method::POST) => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether a method is answered, aside from OPTIONS. HEAD is GET without the body, which is left out as it is sent.
    pub(super) fn takes(self, method: &Method) -> bool {
        match self {
            Self::Events | Self::BatchEvents | Self::Terminate | Self::Source => {
                method == Method::POST
            }
            // Those that it is for do not come here.
            Self::Stream => false,
            Self::Alive
            | Self::WebSocket
            | Self::Channels
            | Self::Channel
            | Self::Users
            | Self::History => matches!(*method, Method::GET | Method::HEAD),
        }
    }

    /// Whether it is of the API, for those who prove who they are.
    pub(super) fn is_api(self) -> bool {
        !matches!(self, Self::Alive | Self::WebSocket | Self::Stream)
    }

    /// Whether it publishes.
    pub(super) fn is_publish(self) -> bool {
        matches!(self, Self::Events | Self::BatchEvents)
    }
}

/// A path that leads somewhere, with what it names, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub(super) endpoint: Endpoint,
    app: Option<&'a str>,
    /// The channel or the user, where there is one.
    name: &'a str,
}

impl<'a> Route<'a> {
    /// The endpoint of a path, with or without the prefix.
    pub(super) fn of(path: &'a str, prefix: &str) -> Option<Self> {
        let behind = path.strip_prefix(prefix);
        behind.and_then(Self::bare).or_else(|| Self::bare(path))
    }

    fn bare(path: &'a str) -> Option<Self> {
        if path == "/" {
            return Some(Self {
                endpoint: Endpoint::Alive,
                app: None,
                name: "",
            });
        }
        let mut segments = path.strip_prefix('/')?.split('/');
        let mut next = || segments.next().unwrap_or_default();
        let parts = [next(), next(), next(), next(), next()];
        // No path has more segments. A slash at the end makes it another path, so what is empty there is not there.
        if segments.next().is_some() || path.ends_with('/') {
            return None;
        }
        let (endpoint, app, name) = match parts {
            ["app" | "plain", key, "", "", ""] | ["resume", _, "app", key, ""] => {
                (Endpoint::WebSocket, None, key)
            }
            ["sse", key, "", "", ""] => (Endpoint::Stream, None, key),
            ["apps", app, "events", "", ""] => (Endpoint::Events, Some(app), app),
            ["apps", app, "batch_events", "", ""] => (Endpoint::BatchEvents, Some(app), app),
            ["apps", app, "channels", "", ""] => (Endpoint::Channels, Some(app), app),
            ["apps", app, "channels", name, ""] => (Endpoint::Channel, Some(app), name),
            ["apps", app, "channels", name, "users"] => (Endpoint::Users, Some(app), name),
            ["apps", app, "channels", name, "events"] => (Endpoint::History, Some(app), name),
            ["apps", app, "users", name, "terminate_connections"] => {
                (Endpoint::Terminate, Some(app), name)
            }
            ["apps", app, "sources", name, ""] => (Endpoint::Source, Some(app), name),
            ["users", name, "terminate_connections", "", ""] => (Endpoint::Terminate, None, name),
            _ => return None,
        };
        let is_named = !name.is_empty() && app != Some("");
        is_named.then_some(Self {
            endpoint,
            app,
            name,
        })
    }

    /// The id of the app, if the path names one.
    pub(super) fn app(&self) -> Option<Cow<'a, str>> {
        Some(percent_decode_str(self.app?).decode_utf8_lossy())
    }

    /// The channel or the user that it names.
    pub(super) fn name(&self) -> Cow<'a, str> {
        percent_decode_str(self.name).decode_utf8_lossy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, prefix: &str) -> Option<(Endpoint, String, String)> {
        let route = Route::of(path, prefix)?;
        let app = route.app().unwrap_or_default().into_owned();
        Some((route.endpoint, app, route.name().into_owned()))
    }

    #[test]
    fn every_path() {
        for (path, prefix, endpoint, app, name) in [
            ("/", "", Endpoint::Alive, "", ""),
            ("/app/k", "", Endpoint::WebSocket, "", "k"),
            ("/resume/token/app/k", "", Endpoint::WebSocket, "", "k"),
            ("/plain/k", "", Endpoint::WebSocket, "", "k"),
            ("/sse/k", "", Endpoint::Stream, "", "k"),
            ("/apps/1/events", "", Endpoint::Events, "1", "1"),
            (
                "/apps/a%20b/batch_events",
                "",
                Endpoint::BatchEvents,
                "a b",
                "a b",
            ),
            ("/apps/1/channels", "", Endpoint::Channels, "1", "1"),
            ("/apps/1/channels/a%3Bb", "", Endpoint::Channel, "1", "a;b"),
            (
                "/apps/1/channels/users/users",
                "",
                Endpoint::Users,
                "1",
                "users",
            ),
            (
                "/apps/1/channels/a%3Bb/events",
                "",
                Endpoint::History,
                "1",
                "a;b",
            ),
            (
                "/apps/1/users/a%2Fb/terminate_connections",
                "",
                Endpoint::Terminate,
                "1",
                "a/b",
            ),
            ("/apps/1/sources/a", "", Endpoint::Source, "1", "a"),
            (
                "/users/7/terminate_connections",
                "",
                Endpoint::Terminate,
                "",
                "7",
            ),
            ("/rt/apps/1/events", "/rt", Endpoint::Events, "1", "1"),
            ("/rt/", "/rt", Endpoint::Alive, "", ""),
            ("/apps/1/events", "/rt", Endpoint::Events, "1", "1"),
            // The prefix ends at a slash, however much it looks like the beginning of a segment.
            ("/apps/1/events", "/a", Endpoint::Events, "1", "1"),
            ("/apps/1/events", "/apps", Endpoint::Events, "1", "1"),
        ] {
            let expected = (endpoint, app.to_owned(), name.to_owned());
            assert_eq!(
                found(path, prefix),
                Some(expected),
                "{path} behind {prefix:?}"
            );
        }
    }

    #[test]
    fn and_no_other() {
        for path in [
            "",
            "*",
            "//",
            "/rt",
            "/app",
            "/app/",
            "/app/k/",
            "/apps//events",
            "/apps/1/events/",
            "/apps/1/channels/",
            "/apps/1/channels//users",
            "/apps/1/channels/x/users/",
            "/apps/1/channels/x/users/y",
            "/apps/1/users//terminate_connections",
            "/users//terminate_connections",
            "/apps/1/nothing",
        ] {
            assert_eq!(found(path, ""), None, "{path}");
        }
        assert_eq!(found("/rtx/apps/1/events", "/rt"), None);
    }
}
