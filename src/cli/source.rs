//! `tidewire source`: what a source would publish for a delivery, and a delivery as its provider would send it.

use std::path::PathBuf;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::json;

use super::api::Api;
use super::request::now;
use super::target::{Authorities, Configuration, Identity, ServerTarget};
use super::text::printable_lines;
use super::{Error, read_file};
use crate::app::App;
use crate::http::dry_run;
use crate::source::{Delivery, Source, header_line};

const AFTER_HELP: &str = "\
Examples:
  tidewire source test invoices --file payload.json
  tidewire source test github --file push.json --header 'X-GitHub-Event: push'
  tidewire source send stripe --file event.json

Exit codes: 0 done, 1 a template fails, the server refused it or did not answer, 2 wrong usage,
78 wrong configuration.

See also: tidewire trigger, tidewire tail.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SourceCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what a source of the configuration would publish, and publish nothing
    Test(Payload),
    /// Sign a delivery as its provider would, and send it to the server
    Send {
        #[command(flatten)]
        payload: Payload,
        /// The delivery's id [default: a random one]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        #[command(flatten)]
        target: ServerTarget,
        #[command(flatten)]
        authorities: Authorities,
    },
}

/// A delivery.
#[derive(Debug, Args)]
struct Payload {
    /// The source's name
    name: String,
    /// The file with the body; -: read it from stdin
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// A header of the delivery, as `Name: value`; may be given several times
    #[arg(long = "header", value_name = "HEADER", value_parser = header_line)]
    headers: Vec<(HeaderName, HeaderValue)>,
    #[command(flatten)]
    identity: Identity,
}

impl SourceCommand {
    /// Does it, and returns what there is to print.
    pub(super) fn run(self, configuration: &Configuration) -> Result<String, Error> {
        match self.action {
            Action::Test(payload) => {
                let app = payload.app(configuration)?;
                payload.test(app, payload.source(app)?)
            }
            Action::Send {
                payload,
                id,
                target,
                authorities,
            } => {
                let app = payload.app(configuration)?;
                let source = payload.source(app)?;
                let body = payload.body()?;
                let id = id.unwrap_or_else(|| format!("tidewire-{:016x}", rand::random::<u64>()));
                let signed = source.sign(&body, &id, now()).ok_or_else(|| {
                    let text = "messages of SNS are signed with Amazon's key: publish to the topic instead, or see what would \
                                be published with `tidewire source test`";
                    Error::Usage(text.to_owned())
                })?;
                let mut headers = payload.headers();
                for (name, value) in signed {
                    let value = HeaderValue::from_str(&value)
                        .map_err(|_| Error::Usage(format!("{name} cannot be sent in a header")))?;
                    headers.insert(name, value);
                }
                let path = format!("sources/{}", source.name);
                let address = target.address(configuration)?;
                Api::new(&address, app.into(), authorities.trust()?).deliver(&path, headers, body)
            }
        }
    }
}

impl Payload {
    fn app<'a>(&self, configuration: &'a Configuration) -> Result<&'a App, Error> {
        let id = self.identity.credentials(configuration, None)?.id;
        let apps = &configuration.settings()?.apps;
        let app = id.and_then(|id| apps.by_id(id.as_str()));
        let missing = || Error::Usage("the app is not in the configuration".to_owned());
        app.map(AsRef::as_ref).ok_or_else(missing)
    }

    fn source<'a>(&self, app: &'a App) -> Result<&'a Source, Error> {
        app.source(&self.name).ok_or_else(|| {
            let known: Vec<&str> = app
                .sources
                .iter()
                .map(|source| source.name.as_str())
                .collect();
            let (name, id, known) = (&self.name, &app.id, known.join(", "));
            Error::Usage(format!(
                "app {id} has no source \"{name}\"; it has: {known}"
            ))
        })
    }

    fn headers(&self) -> HeaderMap {
        self.headers.iter().cloned().collect()
    }

    fn body(&self) -> Result<Bytes, Error> {
        read_file("--file", &self.file).map(Bytes::from)
    }

    fn test(&self, app: &App, source: &Source) -> Result<String, Error> {
        let (headers, body) = (self.headers(), self.body()?);
        let delivery = Delivery {
            headers: &headers,
            body: &body,
            time_ms: now() * 1000,
        };
        let routed = dry_run(app, source, delivery).map_err(Error::Stopped)?;
        let events = routed.events.iter().map(|event| {
            json!({"route": event.route + 1, "channels": event.channels, "event": event.event, "data": event.data})
        });
        let shown = json!({"id": routed.id, "events": events.collect::<Vec<_>>()});
        Ok(printable_lines(
            &serde_json::to_string_pretty(&shown).unwrap_or_default(),
        ))
    }
}
