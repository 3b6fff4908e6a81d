//! `tidewire health`: asks the admin port of a running server how it is, for a container without a shell.
//!
//! Needs no more of the configuration than where that port is: a server goes on when its file breaks, and so must this.

use std::time::Duration;

use actix_http::Uri;
use clap::Args;

use super::Error;
use super::target::local;
use crate::client::{Address, Trust};
use crate::config::{Sources, admin_address};
use crate::fetch;

const AFTER_HELP: &str = "\
Examples:
  tidewire health
      ask the server that the configuration here describes
  tidewire health --ready
      ask whether it takes connections: not while it drains or has no Redis
  tidewire health --url http://10.0.0.7:9601
      ask another one
  HEALTHCHECK CMD [\"/tidewire\", \"health\"]
      in a Dockerfile

Liveness says that the process answers; a server that is not ready is alive. Restart what is
not alive, send no clients to what is not ready. The answer must come within two seconds.

Exit codes: 0 it is, 1 it is not or did not answer (the reason is on stderr, in one line),
2 wrong usage.

See also: tidewire check-config, tidewire serve.";

/// How long the whole answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Health {
    /// The admin port [default: host and port of [admin]]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask whether it is ready for clients, not only alive
    #[arg(long)]
    ready: bool,
}

impl Health {
    /// Asks and returns the answer, if it is a good one.
    pub(super) fn ask(&self, sources: &Sources) -> Result<String, Error> {
        let address = match &self.url {
            Some(url) => {
                Address::parse(url).map_err(|error| Error::Usage(format!("--url: {error}")))?
            }
            None => match admin_address(sources) {
                (_, 0) => {
                    let text = "port in [admin] is 0, any free one: name it with --url";
                    return Err(Error::Unhealthy(text.to_owned()));
                }
                (host, port) => local(&host, port, ""),
            },
        };
        let base = address.http();
        let url = format!("{base}/{}", if self.ready { "ready" } else { "live" });
        let answer = async { tokio::time::timeout(TIMEOUT, get(&url)).await };
        match actix_rt::System::new().block_on(answer) {
            Ok(answer) => answer.map_err(Error::Unhealthy),
            Err(_) => Err(Error::Unhealthy(format!(
                "no answer from {url} within {} seconds",
                TIMEOUT.as_secs()
            ))),
        }
    }
}

/// Takes as long as it takes.
async fn get(url: &str) -> Result<String, String> {
    let trust = Trust::public().map_err(|error| error.to_string())?;
    let unusable = |_| format!("no URL that can be called: {url}");
    let url: Uri = url.parse().map_err(unusable)?;
    let server = fetch::Server::of(&url, &trust.config()).ok_or("no host")?;
    let sent = server.send(fetch::Request::get(url.clone())).await;
    let response = sent.map_err(|error| format!("no answer from {url}: {error}"))?;
    let status = response.status;
    let text = response.body(ANSWER_BYTES).await;
    let text = text.map_err(|error| format!("the answer from {url} broke off: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default().trim();
    if status.is_success() {
        Ok(line.to_owned())
    } else {
        Err(format!("{url} answers {}: {line}", status.as_u16()))
    }
}
