//! The command line: what can be asked of the `tidewire` program, and the exit code of each answer.
//!
//! Commands write their answers to stdout and nothing else there. What goes wrong is an [`Error`], which `main` writes
//! to stderr. Knows `config` and `server`, and speaks to others as a `client`.

mod admin_api;
mod advice;
mod api;
mod apps;
mod channels;
mod doctor;
mod generated_app;
mod health;
mod help;
mod history;
mod members;
mod remote;
mod request;
mod sign;
mod source;
mod tail;
mod target;
mod terminate;
mod text;
mod trigger;

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::config::{self, Environment, GeneratedApp, Loaded, PLACES, Sources, Watch};
use crate::{server, telemetry};

/// A self-hosted realtime server that speaks the Pusher Channels protocol.
#[derive(Debug, Parser)]
#[command(version, after_help = help::SHORT, after_long_help = help::LONG)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

/// Where settings come from.
#[derive(Debug, Args)]
struct Settings {
    /// The configuration file [default: apps.toml here, else /etc/tidewire/apps.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    listening: Listening,
}

/// The flags that stand for settings of the server: their names are the keys of `[server]`. Before a command they say
/// where a server is that listens so.
#[derive(Debug, Default, Args)]
struct Listening {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port to listen on; 0: any free one
    #[arg(long, value_name = "NUMBER")]
    port: Option<String>,
    /// A path before all paths, such as /realtime
    #[arg(long, value_name = "PATH")]
    path_prefix: Option<String>,
    /// Worker threads
    #[arg(long, value_name = "NUMBER")]
    workers: Option<String>,
}

impl Settings {
    /// `behind`: the flags that stand behind the command.
    fn sources(self, behind: Listening) -> Sources {
        let before = self.listening;
        let flags = [
            ("host", behind.host.or(before.host)),
            ("port", behind.port.or(before.port)),
            ("path_prefix", behind.path_prefix.or(before.path_prefix)),
            ("workers", behind.workers.or(before.workers)),
        ];
        Sources {
            file: self.config,
            places: PLACES.map(PathBuf::from).into(),
            environment: Environment::of_process(),
            flags: flags
                .into_iter()
                .filter_map(|(key, text)| Some((key, text?)))
                .collect(),
            generated_app: None,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop
    #[command(after_help = help::SERVE)]
    Serve(Listening),
    /// Check the settings as serve does, and print the effective ones with secrets masked
    #[command(after_help = help::CHECK_CONFIG)]
    CheckConfig {
        /// Print instead which rule of [[apps.channels]] holds for a channel, and what follows
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        #[command(flatten)]
        listening: Listening,
    },
    /// Ask a running server whether it is alive, or ready
    Health(health::Health),
    #[command(flatten)]
    Remote(Box<remote::Remote>),
    /// Print what makes a shell complete this program's commands and flags
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        // These are tested.
        /// The shell
        #[arg(value_parser = PossibleValuesParser::new(["bash", "zsh", "fish"]).try_map(|name| name.parse::<Shell>()))]
        shell: Shell,
    },
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// If it cannot be done; the text says what to put right.
    pub fn run(self) -> Result<(), Error> {
        let sources = |behind| self.settings.sources(behind);
        let command = self.command.unwrap_or(Command::Serve(Listening::default()));
        match command {
            Command::Serve(flags) => serve(sources(flags)),
            Command::CheckConfig { channel, listening } => {
                check_config(&config::load(&sources(listening))?, channel.as_deref())
            }
            Command::Health(health) => print(&health.ask(&sources(Listening::default()))?),
            Command::Remote(remote) => remote.run(sources(Listening::default())),
            Command::Completions { shell } => print(&completions(shell)),
        }
    }
}

fn serve(mut sources: Sources) -> Result<(), Error> {
    // Without random bytes there is none, and then no app at all is an error.
    sources.generated_app = GeneratedApp::random().ok();
    let loaded = config::load(&sources)?;
    telemetry::start(&loaded.settings.log)?;
    match &loaded.file {
        Some(file) => tracing::info!(file = %file.display(), "configuration read"),
        None => tracing::info!("no configuration file"),
    }
    for notice in &loaded.notices {
        tracing::info!("{notice}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(generated) = sources
        .generated_app
        .as_ref()
        .filter(|_| loaded.is_generated)
    {
        generated_app::tell(generated, loaded.settings.log.format);
    }
    let watch = Watch::new(sources, &loaded);
    Ok(server::run(loaded.settings, watch)?)
}

fn check_config(loaded: &Loaded, channel: Option<&str>) -> Result<(), Error> {
    let notices = loaded.notices.iter().map(|line| ("notice", line));
    let warnings = loaded.warnings.iter().map(|line| ("warning", line));
    for (kind, line) in notices.chain(warnings) {
        // One that cannot be written has no reader; the answer on stdout is what counts.
        let _ = writeln!(io::stderr(), "{kind}: {line}");
    }
    if let Some(name) = channel {
        let channel = channels::name(name)?;
        let reports = loaded.settings.apps.policy_reports(&channel);
        let tables = reports
            .iter()
            .map(|report| channels::policy_table(&json!(report)));
        return print(&tables.collect::<Vec<_>>().join("\n"));
    }
    let file = match &loaded.file {
        Some(file) => format!("# file: {}", file.display()),
        None => "# no file".to_owned(),
    };
    print(&format!("{file}\n{}", loaded.to_toml()?))
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidewire", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// What a file holds that a flag names, or stdin for `-`.
fn read_file(flag: &str, file: &Path) -> Result<Vec<u8>, Error> {
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    let shown = file.display();
    read.map_err(|error| Error::Usage(format!("{flag}: cannot read {shown}: {error}")))
}

/// Writes an answer, with one line end.
fn print(answer: &str) -> Result<(), Error> {
    is_read(answer).map(|_| ())
}

/// The same; false if the reader has gone away, having seen enough.
fn is_read(answer: &str) -> Result<bool, Error> {
    match writeln!(io::stdout(), "{}", answer.trim_end_matches('\n')) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::Output(error)),
    }
}

/// Says something by the way, or what is wrong while a command goes on.
fn complain(text: &str) {
    // Whoever does not read stderr does not miss the answer.
    let _ = writeln!(io::stderr(), "tidewire: {}", text::printable_lines(text));
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error("the configuration cannot be used:\n{0}")]
    Config(#[from] config::Error),
    /// The configuration, of which a command needs what its flags leave open.
    #[error(
        "the configuration cannot be used:\n{0}\nThis command does without one if it is told the server with --url or \
         --cluster, and the app with --app, --key and --secret-file"
    )]
    Open(config::Error),
    /// The arguments do not go together, or not with the configuration.
    #[error("{0}")]
    Usage(String),
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// Serving.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// No answer from the server.
    #[error("no answer from {url}: {reason}.\n{hint}")]
    NoAnswer {
        /// The server.
        url: String,
        /// What the client library says.
        reason: String,
        /// What to look at.
        hint: &'static str,
    },
    /// The server said no.
    #[error("the server answered {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body.
        text: String,
    },
    /// A command that goes on until it is stopped was stopped by something.
    #[error("{0}")]
    Stopped(String),
    /// The doctor has found something, and told it.
    #[error("the first step that failed is {step}")]
    Diagnosed {
        /// Which step.
        step: &'static str,
        /// Its class.
        exit_code: u8,
    },
    /// The server that was asked is not well, or nobody answered.
    #[error("{0}")]
    Unhealthy(String),
    /// The effective settings could not be written as TOML.
    #[error("cannot write the settings as TOML: {0}")]
    Toml(#[from] toml::ser::Error),
    /// Stdout.
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

impl Error {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Open(_)
            | Self::Server(server::Error::Files(_) | server::Error::AppStore(_)) => 78,
            Self::Usage(_) => 2,
            Self::Telemetry(_)
            | Self::Server(_)
            | Self::NoAnswer { .. }
            | Self::Refused { .. }
            | Self::Stopped(_)
            | Self::Unhealthy(_)
            | Self::Toml(_)
            | Self::Output(_) => 1,
            Self::Diagnosed { exit_code, .. } => *exit_code,
        }
    }
}
