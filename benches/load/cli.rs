//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::Result;
use crate::plan::Plan;
use crate::process::Cpus;
use crate::scenarios::{self, Load};
use crate::target::{App, Dialect, Source, Target, parse_url};

/// Puts a known load on a server and tells what it cost.
///
/// Without --server and --url, the server of this checkout is started, in its release build. Several targets are
/// measured in turn, so that one run compares them.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench load --")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// How often every target is measured
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub(crate) runs: u32,

    /// A tidewire binary to start, as PATH or NAME=PATH; may be repeated
    #[arg(long = "server", global = true, value_name = "PATH")]
    servers: Vec<String>,

    /// The same, and each connection has a token with which it could resume
    #[arg(long = "resumable", global = true, value_name = "PATH")]
    resumables: Vec<String>,

    /// The same without tokens, over TLS; publishes go beside it
    #[arg(long = "tls", global = true, value_name = "PATH")]
    tls: Vec<String>,

    /// The floor's binary, measured beside the others
    #[arg(long, global = true, value_name = "PATH")]
    floor: Option<PathBuf>,

    /// Measure the bare HTTP framework beside the others: with http only
    #[arg(long, global = true)]
    bare: bool,

    /// A running server, as ws://HOST:PORT, or floor://HOST:PORT for a running floor; may be repeated
    #[arg(long = "url", global = true, value_name = "URL")]
    urls: Vec<String>,

    /// The process of the --url at the same place, or several with commas between them. It is read, never moved: start
    /// it with taskset where it shall run
    #[arg(long = "pid", global = true, value_name = "PID")]
    pids: Vec<String>,

    /// An app of the servers at --url
    #[arg(long, global = true, value_name = "ID", default_value = "1001")]
    app_id: String,

    /// Its key
    #[arg(long, global = true, value_name = "KEY", default_value = "app-key")]
    key: String,

    /// Its secret
    #[arg(
        long,
        global = true,
        value_name = "SECRET",
        default_value = "app-secret"
    )]
    secret: String,

    /// CPUs of the servers that are started here, as 0 or 0,2; default: the first one allowed
    #[arg(long, global = true, value_name = "LIST", value_delimiter = ',')]
    server_cpus: Vec<usize>,

    /// CPUs of this client; default: the second one allowed
    #[arg(long, global = true, value_name = "LIST", value_delimiter = ',')]
    client_cpus: Vec<usize>,

    /// Pin nothing
    #[arg(long, global = true)]
    no_pin: bool,

    /// What servers started here log, as `TIDEWIRE_LOG`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,

    /// A line of [server] for servers started here, as 'workers = 2'; may be repeated
    #[arg(long = "server-setting", global = true, value_name = "LINE")]
    pub(crate) server_lines: Vec<String>,

    /// A line of the app, as '`subscription_count` = true'; may be repeated
    #[arg(long = "app-setting", global = true, value_name = "LINE")]
    pub(crate) app_lines: Vec<String>,

    /// What cargo says to every bench
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Load(Scenario),
    /// Nothing is measured: what a load will be for nodes and Redis, as a table (docs/sizing.md)
    Plan(Plan),
}

/// Which load.
#[derive(Debug, Clone, Subcommand, Serialize)]
#[serde(untagged)]
pub(crate) enum Scenario {
    /// Many subscribers of one channel
    Fanout(scenarios::Fanout),
    /// Many channels with one subscriber each
    Unicast(scenarios::Unicast),
    /// Publishes that nobody listens to, each after the answer to the one before
    Http(scenarios::Http),
    /// Connections that wait: their memory
    Idle(scenarios::Idle),
    /// The latency of small channels beside a large one
    Mixed(scenarios::Mixed),
    /// Connections that come, subscribe, and go all at once
    Connect(scenarios::Connect),
    /// Connections that come and go while others listen
    Churn(scenarios::Churn),
    /// One channel on two nodes over Redis, beside the same on one node
    Cluster(scenarios::Cluster),
    /// Overload: readers that stop reading in a flood
    Slow(scenarios::Slow),
    /// Overload: many events at once for many subscribers, every one counted
    Burst(scenarios::Burst),
    /// Overload: very many connections that all stay up
    Many(scenarios::Many),
    /// A day in half an hour: everything at once on two nodes over Redis, and what is left of it afterwards
    Soak(scenarios::Soak),
    /// Growth: the same with one channel and with very many
    Channels(scenarios::Channels),
    /// Apps in a database: start, memory, and what looking for changes costs
    Apps(scenarios::Apps),
}

impl Scenario {
    /// Its name and what it does.
    pub(crate) fn load(&self) -> (&'static str, &dyn Load) {
        match self {
            Self::Fanout(load) => ("fanout", load),
            Self::Unicast(load) => ("unicast", load),
            Self::Http(load) => ("http", load),
            Self::Idle(load) => ("idle", load),
            Self::Mixed(load) => ("mixed", load),
            Self::Connect(load) => ("connect", load),
            Self::Churn(load) => ("churn", load),
            Self::Cluster(load) => ("cluster", load),
            Self::Slow(load) => ("slow", load),
            Self::Burst(load) => ("burst", load),
            Self::Many(load) => ("many", load),
            Self::Soak(load) => ("soak", load),
            Self::Channels(load) => ("channels", load),
            Self::Apps(load) => ("apps", load),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.load().0
    }
}

impl Options {
    /// Everything that is to be measured, in the order of the table.
    pub(crate) fn targets(&self) -> Result<Vec<Target>> {
        let mut targets: Vec<Target> = self.servers.iter().map(|text| binary(text)).collect();
        targets.extend(self.resumables.iter().map(|text| Target {
            dialect: Dialect::Resumable,
            ..binary(text)
        }));
        targets.extend(self.tls.iter().map(|text| Target {
            dialect: Dialect::Tls,
            ..binary(text)
        }));
        if self.urls.len() != self.pids.len() {
            return Err("every --url needs a --pid: the costs are read from its process".into());
        }
        for (url, pids) in self.urls.iter().zip(&self.pids) {
            targets.push(self.running(url, pids)?);
        }
        if targets.is_empty() {
            targets.push(Target {
                name: "tidewire".to_owned(),
                dialect: Dialect::Pusher,
                source: Source::Binary(env!("CARGO_BIN_EXE_tidewire").into()),
            });
        }
        targets.extend(self.floor.iter().map(|path| Target {
            name: "floor".to_owned(),
            dialect: Dialect::Floor,
            source: Source::Binary(path.clone()),
        }));
        if self.bare {
            if !matches!(self.command, Some(Command::Load(Scenario::Http(_)))) {
                return Err("--bare has no WebSockets: it goes with http only".into());
            }
            targets.push(Target {
                name: "bare".to_owned(),
                dialect: Dialect::Pusher,
                source: Source::Bare,
            });
        }
        Ok(targets)
    }

    fn running(&self, url: &str, pids: &str) -> Result<Target> {
        let (dialect, address, host) = parse_url(url)?;
        let pids = pids.split(',').map(|pid| pid.trim().parse());
        Ok(Target {
            name: url.to_owned(),
            dialect,
            source: Source::Running {
                address,
                host,
                app: App {
                    id: self.app_id.clone(),
                    key: self.key.clone(),
                    secret: self.secret.clone(),
                },
                pids: pids
                    .collect::<std::result::Result<_, _>>()
                    .map_err(|error| format!("--pid: {error}"))?,
            },
        })
    }

    /// Who runs where.
    pub(crate) fn cpus(&self) -> Cpus {
        if self.no_pin {
            return Cpus::anywhere();
        }
        let mut cpus = Cpus::apart();
        if !self.server_cpus.is_empty() {
            cpus.server = Some(self.server_cpus.clone());
        }
        if !self.client_cpus.is_empty() {
            cpus.client = Some(self.client_cpus.clone());
        }
        cpus
    }
}

/// `PATH` or `NAME=PATH`.
fn binary(text: &str) -> Target {
    let (name, path) = text.split_once('=').unwrap_or((text, text));
    Target {
        name: name.to_owned(),
        dialect: Dialect::Pusher,
        source: Source::Binary(path.into()),
    }
}
