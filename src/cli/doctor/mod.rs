//! `tidewire doctor`: every step from a name to an event, one after the other, and what to change at the first that
//! fails.

mod report;
mod steps;

use clap::Args;

use super::target::{Authorities, Configuration, Identity};
use super::{Error, print, tail};
use crate::client::{Address, Dialer};
use report::Report;
use steps::Diagnosis;

const AFTER_HELP: &str = "\
Examples:
  tidewire doctor ws://127.0.0.1:6001
  tidewire doctor https://realtime.example.com/realtime --app 1001
  tidewire doctor wss://ws-mt1.pusher.com --app 3 --key 278d425bdf
  tidewire doctor wss://realtime.example.com --origin https://app.example.com
      as a page of that origin would connect

URL is what clients use: scheme, host, port and the path before /app/. It connects to what URL
says (in Pusher's cloud, to the API's host too) and to nothing else: it follows no redirection
and uses no proxy of the environment. It subscribes to a private channel with a random name of
its own and publishes one event there. Without the app's secret it ends before the publish.

Exit codes: 0 no step failed, else the first that did: 10 resolve, 11 tcp, 12 tls, 13 upgrade,
14 protocol, 15 subscribe, 16 publish, 17 event; 2 wrong usage, 78 wrong configuration.

See also: tidewire tail, tidewire trigger, tidewire sign.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Doctor {
    /// Where clients connect, as `wss://realtime.example.com`
    url: String,
    /// Where backends publish, if that is elsewhere
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// The page to claim to be, as `https://app.example.com`
    #[arg(long, value_name = "ORIGIN", value_parser = tail::origin)]
    origin: Option<String>,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    authorities: Authorities,
}

impl Doctor {
    /// Examines.
    pub(super) fn run(self, configuration: &Configuration) -> Result<(), Error> {
        let usage = |error: crate::client::InvalidAddress| Error::Usage(error.to_string());
        let address = Address::parse(&self.url).map_err(usage)?;
        let api = match &self.api_url {
            Some(url) => Address::parse(url).map_err(usage)?,
            None => address.for_api(),
        };
        let credentials = self.identity.credentials(configuration, None)?;
        if credentials.secrets.is_some() && credentials.id.is_none() {
            let text = "the publish needs the app's id: give --app, or set TIDEWIRE_APP_ID";
            return Err(Error::Usage(text.to_owned()));
        }
        let diagnosis = Diagnosis {
            dialer: Dialer {
                address: address.for_sockets(),
                trust: self.authorities.trust()?,
                origin: self.origin,
            },
            api,
            credentials,
        };
        let mut report = Report::new(!self.json);
        actix_rt::System::new().block_on(diagnosis.examine(&mut report));
        if self.json {
            print(&report.json(&diagnosis.dialer.address))?;
        }
        report.verdict()
    }
}
