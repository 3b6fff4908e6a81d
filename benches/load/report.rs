//! What is printed: a line of JSON for every run on stdout, and a table of all of them on stderr.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cli::Scenario;
use crate::figures::Figures;
use crate::machine::{Machine, commit};
use crate::process::Cpus;
use crate::{Result, note};

/// Everything that was found out.
pub(crate) struct Report<'a> {
    scenario: &'a Scenario,
    cpus: Cpus,
    commit: String,
    machine: Machine,
    command: String,
    runs: Vec<(String, Figures)>,
}

/// One line of results.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'static str,
    target: &'a str,
    run: u32,
    figures: &'a Figures,
    parameters: &'a Scenario,
    commit: &'a str,
    machine: &'a Machine,
    cpus: &'a Cpus,
    command: &'a str,
    time: u64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(scenario: &'a Scenario, cpus: Cpus) -> Self {
        let arguments = std::env::args().skip(1).filter(|text| text != "--bench");
        let arguments: Vec<String> = arguments.collect();
        Self {
            scenario,
            cpus,
            commit: commit(),
            machine: Machine::this(),
            command: format!("cargo bench --bench load -- {}", arguments.join(" ")),
            runs: Vec::new(),
        }
    }

    /// Keeps one run's figures and prints their line.
    pub(crate) fn add(&mut self, target: &str, run: u32, figures: Figures) -> Result<()> {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = Line {
            scenario: self.scenario.name(),
            target,
            run,
            figures: &figures,
            parameters: self.scenario,
            commit: &self.commit,
            machine: &self.machine,
            cpus: &self.cpus,
            command: &self.command,
            time: elapsed.map_or(0, |now| now.as_secs()),
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
        self.runs.push((target.to_owned(), figures));
        Ok(())
    }

    /// A row for each figure, the targets side by side: the least, the middle and the most of all runs, and how the
    /// middle relates to the first target's.
    pub(crate) fn print_table(&self) {
        let mut targets: Vec<&str> = Vec::new();
        for (target, _) in &self.runs {
            if !targets.contains(&target.as_str()) {
                targets.push(target);
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.runs.iter().flat_map(|(_, figures)| figures.iter()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let rows: Vec<Vec<String>> = std::iter::once(heads(&targets))
            .chain(names.iter().map(|name| self.row(name, &targets)))
            .collect();
        note(&format!("{}: {}", self.scenario.name(), self.command));
        eprint!("{}", aligned(&rows));
    }

    fn row(&self, name: &str, targets: &[&str]) -> Vec<String> {
        let mut row = vec![name.to_owned()];
        let mut first = None;
        for target in targets {
            let mut values: Vec<f64> = self
                .runs
                .iter()
                .filter(|(known, _)| known == target)
                .filter_map(|(_, figures)| figures.get(name))
                .collect();
            values.sort_by(f64::total_cmp);
            let middle = middle(&values);
            row.push(match (&values[..], middle) {
                ([], _) | (_, None) => "-".to_owned(),
                ([only], _) => number(*only),
                ([least, .., most], Some(middle)) => {
                    format!(
                        "{} / {} / {}",
                        number(*least),
                        number(middle),
                        number(*most)
                    )
                }
            });
            if target == &targets[0] {
                first = middle;
            } else {
                row.push(match middle.zip(first) {
                    Some((value, first)) if first > 0.0 => format!("×{:.2}", value / first),
                    _ => String::new(),
                });
            }
        }
        row
    }
}

fn heads(targets: &[&str]) -> Vec<String> {
    let mut heads = vec![String::new()];
    for (index, target) in targets.iter().enumerate() {
        heads.push((*target).to_owned());
        if index > 0 {
            heads.push(String::new());
        }
    }
    heads
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(half).copied();
    }
    Some(f64::midpoint(
        *sorted.get(half.checked_sub(1)?)?,
        *sorted.get(half)?,
    ))
}

/// Three digits where there are decimals.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 100.0 {
        format!("{value:.1}")
    } else if value.abs() >= 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&if column == 0 {
                format!("  {cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
