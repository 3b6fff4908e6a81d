//! The load bench: starts servers or takes running ones, puts a known load on them from another CPU, and tells what
//! it cost. `benches/README.md` says how to run it and what the figures mean.
//!
//! `cli` is the command line, `target` what is measured, `bare` the framework without a server of ours in it, `client` the load, `scenarios` which load, `report` what is
//! printed, `plan` what a load would be; `process` and `machine` ask the system.

mod bare;
mod cli;
mod client;
mod figures;
mod machine;
mod payload;
mod plan;
mod process;
mod report;
mod requests;
mod scenarios;
mod target;
mod wire;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Command, Options, Scenario};
use report::Report;
use scenarios::Bench;

/// Whatever ends a run: a text for the one who started it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Says something beside the results.
fn note(text: &str) {
    eprintln!("load: {text}");
}

fn main() -> ExitCode {
    if let Some(port) = bare::port() {
        return ended(bare::serve(&port));
    }
    let options = Options::parse();
    match &options.command {
        Some(Command::Load(scenario)) => ended(run(&options, scenario)),
        Some(Command::Plan(plan)) => {
            let mut stdout = std::io::stdout();
            ended(
                stdout
                    .write_all(plan.table().as_bytes())
                    .map_err(Into::into),
            )
        }
        // `cargo bench` runs every bench; this one waits to be told what to do.
        None => {
            eprint!("{}", Options::command().render_long_help());
            ExitCode::SUCCESS
        }
    }
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Every target once, and again, as often as was asked for.
fn run(options: &Options, scenario: &Scenario) -> Result<()> {
    let targets = options.targets()?;
    let cpus = options.cpus();
    cpus.pin_client()?;
    machine::raise_file_limit();
    let bench = Bench {
        cpus: cpus.clone(),
        log: options.log.clone(),
        server_lines: options.server_lines.clone(),
        app_lines: options.app_lines.clone(),
    };
    let mut report = Report::new(scenario, cpus);
    for run in 1..=options.runs {
        for target in &targets {
            note(&format!("run {run} of {}: {}", options.runs, target.name));
            let (_, load) = scenario.load();
            let figures = load
                .run(&bench, target)
                .map_err(|error| format!("{}: {error}", target.name))?;
            report.add(&target.name, run, figures)?;
        }
    }
    report.print_table();
    Ok(())
}
