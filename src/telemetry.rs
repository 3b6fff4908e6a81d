//! Where log lines go: to stderr, as text for people or JSON for machines. Stdout is for answers.

use std::io::IsTerminal;

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// Libraries that log an error for whatever a peer sends, without a bound. We count what they refuse and log some of it
/// ourselves; who wants to hear them says so by name.
const QUIET: &str = "actix_http=off";

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is none; `config` refuses such ones.
    #[error("not a log filter: {0}")]
    Filter(#[from] ParseError),
    /// Something else in this process logs already.
    #[error("logging was started twice: {0}")]
    Started(#[from] TryInitError),
}

/// Starts logging, once per process.
///
/// # Errors
/// If the filter is none, or logging was started before.
pub fn start(log: &Log) -> Result<(), Error> {
    let filter: Targets = format!("{QUIET},{}", log.filter).parse()?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // The filter comes first: the most that it takes is then known without asking it.
    let filtered = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Human => filtered.with(lines).try_init(),
        LogFormat::Json => filtered.with(lines.json()).try_init(),
    }?;
    Ok(())
}
