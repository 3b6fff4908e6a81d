//! Calls of the HTTP API: signed, sent, and answered, or why not.

use std::time::{Duration, SystemTime};

use actix_http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, HttpDate};
use actix_http::{Method, Uri};
use bytes::Bytes;
use clap::Args;
use tokio::time::timeout;

use super::Error;
use super::request::{Request, app_path, now};
use super::target::{Authorities, Configuration, Identity, ServerTarget};
use super::text::printable_lines;
use crate::client::{Address, Credentials, Trust};
use crate::fetch;

/// How long the server may take. It answers at once, unless its cluster is away.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer that is read.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The longest refusal that is shown: some proxies answer with whole pages.
const REFUSAL_CHARS: usize = 2000;

/// The flags of the commands that call the HTTP API.
#[derive(Debug, Args)]
pub(super) struct ApiArgs {
    /// Print the server's answer as it is
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    target: ServerTarget,
    #[command(flatten)]
    authorities: Authorities,
}

impl ApiArgs {
    /// The API that is meant.
    pub(super) fn api(&self, configuration: &Configuration) -> Result<Api, Error> {
        let app = self.identity.credentials(configuration, None)?;
        let address = self.target.address(configuration)?;
        Ok(Api::new(&address, app, self.authorities.trust()?))
    }
}

/// The HTTP API of one server, for one app.
pub(super) struct Api {
    http: Http,
    app: Credentials,
}

/// One server that is asked over HTTP.
pub(super) struct Http {
    /// Its URL, without a slash at its end.
    pub(super) base: String,
    pub(super) trust: Trust,
    /// What to look at if it cannot be reached.
    pub(super) hint: &'static str,
}

/// What a server answered.
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The body, as text, without line ends behind it.
    pub(super) text: String,
    headers: HeaderMap,
}

/// How far a publish got, where that is not the whole cluster.
pub(super) const DELIVERY: &str = "x-tidewire-delivery";

impl Api {
    pub(super) fn new(address: &Address, app: Credentials, trust: Trust) -> Self {
        Self {
            http: Http {
                base: address.for_api().http(),
                trust,
                hint: UNREACHABLE,
            },
            app,
        }
    }

    /// Where it is.
    pub(super) fn base(&self) -> &str {
        &self.http.base
    }

    /// Calls and takes nothing but success. `path` is what is behind the app's.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, Error> {
        actix_rt::System::new().block_on(async { self.call(method, path, body).await?.accepted() })
    }

    /// Calls and takes any answer.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, Error> {
        let path = app_path(&self.app, path)?;
        let request = Request::new(method, &path, body)?;
        let url = request.signed_url(self.base(), &self.app, now())?;
        // Of two methods, as the API has no more.
        let method = match request.method() {
            "POST" => Method::POST,
            _ => Method::GET,
        };
        let mut headers = HeaderMap::new();
        if request.body().is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = request.body().unwrap_or_default().to_owned();
        let sent = self.http.exchange(method, &url, headers, body.into());
        sent.await
    }

    /// Sends what proves itself to a path of the app, and takes nothing but success: what the server says.
    pub(super) fn deliver(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<String, Error> {
        let url = format!("{}{}", self.base(), app_path(&self.app, path)?);
        let sent = self.http.exchange(Method::POST, &url, headers, body);
        let answered = actix_rt::System::new().block_on(sent)?;
        Ok(answered.accepted()?.text)
    }
}

impl Http {
    /// Sends to a URL of this server and takes any answer.
    pub(super) async fn exchange(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let unusable = || Error::Usage(format!("no URL that can be called: {}", self.base));
        let url: Uri = url.parse().map_err(|_| unusable())?;
        let server = fetch::Server::of(&url, &self.trust.config()).ok_or_else(unusable)?;
        let sent = fetch::Request {
            method,
            url,
            headers,
            body,
        };
        let sent = timeout(TIMEOUT, server.send(sent)).await;
        let sent = sent.map_err(|_| self.no_answer(too_slow(), SLOW))?;
        let response = sent.map_err(|error| {
            let hint = match &error {
                fetch::Error::Connect(..) => self.hint,
                _ => NO_HTTP,
            };
            self.no_answer(error.to_string(), hint)
        })?;
        let (status, headers) = (response.status.as_u16(), response.headers.clone());
        let broken = |reason| {
            let hint = "The answer broke off, the request may have been carried out.";
            self.no_answer(reason, hint)
        };
        let text = timeout(TIMEOUT, response.body(ANSWER_BYTES)).await;
        let text = text.map_err(|_| broken(too_slow()))?;
        let text = text.map_err(|error| broken(error.to_string()))?;
        Ok(Answer {
            status,
            text: String::from_utf8_lossy(&text).trim_end().to_owned(),
            headers,
        })
    }

    fn no_answer(&self, reason: String, hint: &'static str) -> Error {
        Error::NoAnswer {
            url: self.base.clone(),
            reason,
            hint,
        }
    }
}

impl Answer {
    /// What a header says.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answering server's clock.
    pub(super) fn date(&self) -> Option<SystemTime> {
        let date = self.header("date")?.parse::<HttpDate>().ok()?;
        Some(date.into())
    }

    /// Itself if it is a success.
    pub(super) fn accepted(self) -> Result<Self, Error> {
        match (self.status, self.header("location")) {
            (200..300, _) => Ok(self),
            (300..400, Some(location)) => Err(Error::Refused {
                status: self.status,
                text: printable_lines(&format!(
                    "it redirects to {location}. Give that server's URL with --url: a signed request cannot follow"
                )),
            }),
            _ => Err(Error::Refused {
                status: self.status,
                text: self.refusal(),
            }),
        }
    }

    /// What a refusal says, fit for a terminal.
    pub(super) fn refusal(&self) -> String {
        let text: String = self.text.chars().take(REFUSAL_CHARS).collect();
        printable_lines(&text)
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<serde_json::Value, Error> {
        serde_json::from_str(&self.text).map_err(|error| Error::Refused {
            status: self.status,
            text: format!("not JSON ({error}): {}", self.refusal()),
        })
    }
}

const SLOW: &str =
    "The server took too long, the request may have been carried out. Its log says more.";

fn too_slow() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

const UNREACHABLE: &str = "Is the server running there? Check --url, or host and port in [server], and that nothing between here and there \
     blocks the port. An https server needs a certificate of a public authority, or of one in --ca-file. `tidewire \
     doctor URL` looks at each step.";

const NO_HTTP: &str =
    "Is it a tidewire server that answers there, and is http:// or https:// right?";
