//! One request to one endpoint: signed when it is sent, never redirected, answered in time or failed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Method;
use actix_http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use bytes::Bytes;
use rustls::ClientConfig;
use tokio::time::timeout;
use tracing::info;

use crate::app::{App, Webhook};
use crate::{fetch, pem};

const KEY: HeaderName = HeaderName::from_static("x-pusher-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-pusher-signature");
const PRODUCT: HeaderValue =
    HeaderValue::from_static(concat!("tidewire/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is read of an answer, so that its connection can be used again; nothing in it matters.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long that may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It was answered, but not with 2xx. A redirect is such an answer.
    #[error("answered with status {0}")]
    Status(u16),
    /// No connection, or no HTTP on it.
    #[error("not sent: {0}")]
    Exchange(#[from] fetch::Error),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl Failure {
    /// Whether the endpoint may refuse this request and take others: it was answered with 500, or with a 4xx that does
    /// not ask for patience.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Status(400..=407 | 409..=424 | 426..=428 | 430..=499 | 500)
        )
    }
}

/// Whom all endpoints believe: public authorities.
pub(super) fn tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    Ok(Arc::new(fetch::tls(pem::public_authorities())?))
}

/// The HTTP client of one endpoint. Endpoints share no connection.
pub(super) struct Sender {
    tls: Arc<ClientConfig>,
    /// None without a host, which `config` refuses.
    server: Option<fetch::Server>,
    app: Arc<App>,
    webhook: Webhook,
    timeout: Duration,
}

impl Sender {
    pub(super) fn new(
        tls: Arc<ClientConfig>,
        app: Arc<App>,
        webhook: Webhook,
        timeout: Duration,
    ) -> Self {
        Self {
            server: fetch::Server::of(&webhook.url, &tls),
            tls,
            app,
            webhook,
            timeout,
        }
    }

    /// A sender to the same endpoint with a new configuration.
    pub(super) fn renewed(&self, app: Arc<App>, webhook: Webhook) -> Self {
        Self::new(Arc::clone(&self.tls), app, webhook, self.timeout)
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    pub(super) fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// The URL for logs: without its query, which may hold a token.
    pub(super) fn url(&self) -> String {
        let url = &self.webhook.url;
        let scheme = url.scheme_str().unwrap_or_default();
        let authority = url.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{}", url.path())
    }

    /// Makes one attempt. Returns the status of the answer.
    pub(super) async fn send(&self, body: Bytes) -> Result<u16, Failure> {
        let server = self.server.as_ref().ok_or(fetch::Error::Closed)?;
        let request = self.request(body);
        let answer = timeout(self.timeout, server.send(request))
            .await
            .map_err(|_| Failure::Timeout(self.timeout))??;
        let status = answer.status;
        // Read only for the connection's sake: whatever comes of it, the status is the answer.
        if answer.has_end() {
            let _ = timeout(ANSWER_TIMEOUT, answer.body(ANSWER_BYTES)).await;
        }
        if status.is_success() {
            Ok(status.as_u16())
        } else {
            Err(Failure::Status(status.as_u16()))
        }
    }

    fn request(&self, body: Bytes) -> fetch::Request {
        let mut headers = HeaderMap::new();
        // Added one by one: a header may be there several times.
        for (name, value) in &self.webhook.headers {
            headers.append(name.clone(), value.clone());
        }
        let own = [
            (KEY, HeaderValue::from_str(self.app.key.as_str())),
            (
                SIGNATURE,
                HeaderValue::from_str(&self.app.secrets.sign(&body)),
            ),
        ];
        for (name, value) in own {
            // Keys of other characters than a header takes would not pass any URL either.
            if let Ok(value) = value {
                headers.insert(name, value);
            }
        }
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, PRODUCT);
        }
        headers.insert(CONTENT_TYPE, JSON);
        fetch::Request {
            method: Method::POST,
            url: self.webhook.url.clone(),
            headers,
            body,
        }
    }

    /// Logs once if the endpoint is not on the public internet, which may be intended or a mistake.
    pub(super) async fn note_private(&self) {
        let url = &self.webhook.url;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(443);
        // A name that nobody knows yet is told by the first attempt.
        let Ok(mut addresses) = tokio::net::lookup_host((host, port)).await else {
            return;
        };
        if addresses.any(|address| is_private(address.ip())) {
            info!(app.id = %self.app.id, url = self.url(), "a webhook goes to a private network");
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}
