//! A signed request to the HTTP API: what is signed, and how (protocol §4.2).

use percent_encoding::utf8_percent_encode;

use super::Error;
use crate::auth::{body_md5, request_string};
use crate::client::{Credentials, ESCAPED};
use crate::clock;

/// A request, not yet signed.
pub(super) struct Request {
    /// In upper case.
    method: String,
    /// Without a mount prefix, escaped as it will be sent.
    path: String,
    /// Decoded.
    query: Vec<(String, String)>,
    /// None when empty.
    body: Option<String>,
}

impl Request {
    /// Takes a path with an optional query, as typed.
    pub(super) fn new(method: &str, path: &str, body: Option<String>) -> Result<Self, Error> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::Usage(format!("not an HTTP method: \"{method}\"")));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if !path.starts_with('/') || !is_url_text(path) {
            return Err(Error::Usage(format!(
                "expected a path like /apps/1001/events, with special characters escaped (\"#\" as %23), found \
                 \"{path}\""
            )));
        }
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        if let Some((key, _)) = query.iter().find(|(key, _)| key.starts_with("auth_")) {
            let text = format!("the path's query has {key} already, which signing adds");
            return Err(Error::Usage(text));
        }
        Ok(Self {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query,
            body: body.filter(|body| !body.is_empty()),
        })
    }

    /// The same request without the mount prefix, which is not signed.
    pub(super) fn without_prefix(mut self, prefix: &str) -> Self {
        if let Some(rest) = self.path.strip_prefix(prefix)
            && rest.starts_with('/')
        {
            self.path = rest.to_owned();
        }
        self
    }

    /// The app's id that the path names.
    pub(super) fn app_id(&self) -> Option<&str> {
        self.path.strip_prefix("/apps/")?.split('/').next()
    }

    /// Upper case.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// None when empty.
    pub(super) fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// The URL under a base, signed at a time in seconds of the Unix epoch.
    pub(super) fn signed_url(
        &self,
        base: &str,
        app: &Credentials,
        timestamp: u64,
    ) -> Result<String, Error> {
        let secrets = app.secrets.as_ref().ok_or_else(|| {
            Error::Usage(format!(
                "the HTTP API needs the secret of the app with the key {}: give --secret-file, or set \
                 TIDEWIRE_APP_SECRET",
                app.key
            ))
        })?;
        let mut query = self.query.clone();
        let mut add = |key: &str, value: String| query.push((key.to_owned(), value));
        add("auth_key", app.key.to_string());
        add("auth_timestamp", timestamp.to_string());
        add("auth_version", "1.0".to_owned());
        if let Some(body) = &self.body {
            add("body_md5", body_md5(body.as_bytes()));
        }
        let signed = request_string(&self.method, &self.path, &query);
        query.push(("auth_signature".to_owned(), secrets.sign(signed.as_bytes())));
        let query: Vec<String> = query
            .iter()
            .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)))
            .collect();
        Ok(format!("{base}{}?{}", self.path, query.join("&")))
    }
}

/// The path of an app in the HTTP API, with what is behind it; `rest` is escaped already.
pub(super) fn app_path(app: &Credentials, rest: &str) -> Result<String, Error> {
    let id = app.id.as_ref().ok_or_else(|| {
        Error::Usage(format!(
            "the HTTP API needs the id of the app with the key {}: give --app, or set TIDEWIRE_APP_ID",
            app.key
        ))
    })?;
    Ok(format!("/apps/{}/{rest}", encoded(id.as_str())))
}

/// The time to sign with.
pub(super) fn now() -> u64 {
    // A clock before 1970 is one that the server will call expired, with both times in its answer.
    clock::now_seconds()
}

/// Whether a text can stand in a URL's path as it is. Brackets and braces are left out because curl expands them.
fn is_url_text(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:@%/".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

/// A text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
