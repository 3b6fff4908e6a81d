//! The `tidewire` program: arguments in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tidewire::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is gone too, the exit code is all that is left to say.
            let _ = writeln!(std::io::stderr(), "tidewire: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
