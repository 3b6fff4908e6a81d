//! What pages of other origins may read. A page that may not connect is told so in the answer, which it must be able to
//! read: so nothing is decided here.

use crate::node::Node;

/// The headers for the pages that a request may come from.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    /// The page's, where the app names the origins that it allows.
    origin: Option<String>,
}

impl Cors {
    /// For a request to the app with that key from a page of that origin.
    pub(super) fn of(node: &Node, key: Option<&str>, origin: Option<&str>) -> Self {
        let apps = node.apps();
        let app = key.and_then(|key| apps.by_key(key));
        let names_origins = app.is_some_and(|app| !app.allowed_origins.is_empty());
        Self {
            origin: origin.filter(|_| names_origins).map(str::to_owned),
        }
    }

    /// Names and values. There are no cookies, so nobody has credentials to allow.
    pub(super) fn headers(&self) -> Vec<(&'static str, &str)> {
        match &self.origin {
            Some(origin) => vec![("Access-Control-Allow-Origin", origin), ("Vary", "Origin")],
            None => vec![("Access-Control-Allow-Origin", "*")],
        }
    }

    /// The same as lines of a head.
    pub(super) fn lines(&self) -> String {
        let headers = self.headers().into_iter();
        headers
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect()
    }
}
