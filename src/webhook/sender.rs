//! One request to one endpoint: signed when it is sent, never redirected, answered in time or failed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use awc::error::SendRequestError;
use awc::{Client, Connector};
use bytes::Bytes;
use tokio::time::timeout;
use tracing::info;

use crate::app::{App, Webhook};

/// What is read of an answer, so that its connection can be used again; nothing in it matters.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long that may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It was answered, but not with 2xx. A redirect is such an answer.
    #[error("answered with status {0}")]
    Status(u16),
    /// No connection, or no HTTP on it.
    #[error("not sent: {0}")]
    Exchange(#[from] SendRequestError),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// The HTTP client of all endpoints. They share nothing but its pool of idle connections.
pub(super) fn client() -> Client {
    Client::builder()
        // An endpoint has one request under way at a time: the number of connections is bounded by that.
        .connector(Connector::new().limit(0))
        .disable_redirects()
        // `Sender::send` bounds the whole exchange.
        .disable_timeout()
        .finish()
}

/// How to reach one endpoint.
pub(super) struct Sender {
    client: Client,
    app: Arc<App>,
    webhook: Webhook,
    timeout: Duration,
}

impl Sender {
    pub(super) fn new(client: Client, app: Arc<App>, webhook: Webhook, timeout: Duration) -> Self {
        Self {
            client,
            app,
            webhook,
            timeout,
        }
    }

    /// The way to the same endpoint as the configuration has it now.
    pub(super) fn renewed(&self, app: Arc<App>, webhook: Webhook) -> Self {
        Self::new(self.client.clone(), app, webhook, self.timeout)
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    pub(super) fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// The URL for people: without its query, which may hold a token.
    pub(super) fn place(&self) -> String {
        let url = &self.webhook.url;
        let scheme = url.scheme_str().unwrap_or_default();
        let authority = url.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{}", url.path())
    }

    /// One attempt; the status that it was answered with.
    pub(super) async fn send(&self, body: Bytes) -> Result<u16, Failure> {
        let mut request = self
            .client
            .post(self.webhook.url.clone())
            .insert_header((
                "User-Agent",
                concat!("tidewire/", env!("CARGO_PKG_VERSION")),
            ))
            .insert_header(("Content-Type", "application/json"))
            .insert_header(("X-Pusher-Key", self.app.key.as_str()))
            .insert_header(("X-Pusher-Signature", self.app.secrets.sign(&body)));
        for (name, value) in &self.webhook.headers {
            request = request.insert_header((name.clone(), value.clone()));
        }
        let mut answer = timeout(self.timeout, request.send_body(body))
            .await
            .map_err(|_| Failure::Timeout(self.timeout))??;
        // Read only for the connection's sake: whatever comes of it, the status is the answer.
        let _ = timeout(ANSWER_PATIENCE, answer.body().limit(ANSWER_BYTES)).await;
        let status = answer.status();
        if status.is_success() {
            Ok(status.as_u16())
        } else {
            Err(Failure::Status(status.as_u16()))
        }
    }

    /// Says once if the endpoint is not on the public internet: right for many, and good to know if it is a mistake.
    pub(super) async fn note_private(&self) {
        let url = &self.webhook.url;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(443);
        // A name that nobody knows yet is told by the first attempt.
        let Ok(mut addresses) = tokio::net::lookup_host((host, port)).await else {
            return;
        };
        if addresses.any(|address| is_private(address.ip())) {
            info!(app.id = %self.app.id, url = self.place(), "a webhook goes to a private network");
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}
