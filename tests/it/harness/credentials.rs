//! An app as its backend knows it: id, key, secret, and everything it signs.

use std::time::{SystemTime, UNIX_EPOCH};

use tidewire::auth::{Secret, body_md5, channel_string, request_string, user_string};

/// Id, key and secret.
#[derive(Clone, Copy)]
pub(crate) struct Credentials {
    pub(crate) id: &'static str,
    pub(crate) key: &'static str,
    pub(crate) secret: &'static str,
}

/// The app of every test server.
pub(crate) const APP: Credentials = Credentials {
    id: "app-id",
    key: "app-key",
    secret: "app-secret",
};

/// The second app, where a test needs one.
pub(crate) const OTHER_APP: Credentials = Credentials {
    id: "other-id",
    key: "other-key",
    secret: "other-secret",
};

impl Credentials {
    /// `key:signature` for a subscription.
    pub(crate) fn channel_auth(
        &self,
        socket_id: &str,
        channel: &str,
        channel_data: Option<&str>,
    ) -> String {
        let socket_id = socket_id.parse().expect("a socket id");
        self.auth(&channel_string(socket_id, channel, channel_data))
    }

    /// `key:signature` for a sign-in.
    pub(crate) fn user_auth(&self, socket_id: &str, user_data: &str) -> String {
        let socket_id = socket_id.parse().expect("a socket id");
        self.auth(&user_string(socket_id, user_data))
    }

    fn auth(&self, message: &str) -> String {
        format!("{}:{}", self.key, self.sign(message))
    }

    /// Lower-case hex HMAC-SHA256.
    pub(crate) fn sign(&self, message: &str) -> String {
        Secret::new(self.secret).sign(message.as_bytes())
    }

    /// The authentication parameters that every SDK adds, unsigned.
    pub(crate) fn auth_params(&self, body: &str) -> Vec<(String, String)> {
        let mut params = vec![
            ("auth_key".to_owned(), self.key.to_owned()),
            ("auth_timestamp".to_owned(), now().to_string()),
            ("auth_version".to_owned(), "1.0".to_owned()),
        ];
        if !body.is_empty() {
            params.push(("body_md5".to_owned(), body_md5(body.as_bytes())));
        }
        params
    }

    /// The signature over these parameters.
    pub(crate) fn request_signature(
        &self,
        method: &str,
        path: &str,
        params: &[(String, String)],
    ) -> String {
        self.sign(&request_string(method, path, params))
    }

    /// A signed request target in the dialect of node: parameters sorted, values not encoded, signature last.
    /// `target` may have a query, which is signed too.
    pub(crate) fn target(&self, method: &str, target: &str, body: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut params = self.auth_params(body);
        params.extend(
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        params.sort();
        let signature = self.request_signature(method, path, &params);
        format!("{path}?{}&auth_signature={signature}", raw_query(&params))
    }
}

/// `k=v&k=v`, not encoded.
pub(crate) fn raw_query(params: &[(String, String)]) -> String {
    let pairs: Vec<String> = params
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join("&")
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(elapsed.unwrap().as_secs()).unwrap()
}
