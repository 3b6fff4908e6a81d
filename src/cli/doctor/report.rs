//! `Report`: what each step found and how long it took, for people as it happens or for machines at the end.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Error;
use crate::cli::text::{printable, printable_json, wrapped};
use crate::client::Address;
use crate::protocol::named;

named! {
    /// The steps, in their order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub(super) enum Step {
        Resolve = "resolve",
        Tcp = "tcp",
        Tls = "tls",
        Upgrade = "upgrade",
        Protocol = "protocol",
        Subscribe = "subscribe",
        Publish = "publish",
        Event = "event",
    }
}

impl Step {
    /// From 10 on in their order. Part of the interface: `--help` lists them.
    fn exit_code(self) -> u8 {
        10 + self as u8
    }
}

/// What was found at one step.
#[derive(Serialize)]
struct Finding {
    step: Step,
    status: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All findings.
pub(super) struct Report {
    findings: Vec<Finding>,
    is_told: bool,
}

impl Report {
    /// Tells people as it goes, if it is to.
    pub(super) fn new(is_told: bool) -> Self {
        Self {
            findings: Vec::new(),
            is_told,
        }
    }

    /// A step that went well; the advice is for what will not go well for ever.
    pub(super) fn ok(&mut self, step: Step, took: Duration, found: &str, advice: Option<String>) {
        self.add(Finding {
            advice,
            ..Finding::new(step, "ok", Some(took), found)
        });
    }

    /// The step at which it ended.
    pub(super) fn failed(&mut self, step: Step, took: Duration, found: &str, advice: String) {
        self.add(Finding {
            advice: Some(advice),
            ..Finding::new(step, "failed", Some(took), found)
        });
    }

    /// A step that was not taken, though nothing failed.
    pub(super) fn skipped(&mut self, step: Step, why: &str) {
        self.add(Finding::new(step, "skipped", None, why));
    }

    fn add(&mut self, finding: Finding) {
        if self.is_told {
            // Whoever does not read it gets the exit code.
            let _ = io::stdout().write_all(finding.lines().as_bytes());
        }
        self.findings.push(finding);
    }

    fn failure(&self) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.status == "failed")
    }

    /// For machines.
    pub(super) fn json(&self, address: &Address) -> String {
        let steps: Vec<Value> = Step::ALL
            .into_iter()
            .map(|step| {
                let known = self.findings.iter().find(|finding| finding.step == step);
                known.map_or_else(
                    || json!({"step": step, "status": "not reached"}),
                    |finding| json!(finding),
                )
            })
            .collect();
        let failed = self.failure().map(|finding| finding.step);
        let report = json!({
            "url": address.ws(),
            "ok": failed.is_none(),
            "failed": failed,
            "exit_code": failed.map_or(0, Step::exit_code),
            "steps": steps,
        });
        printable_json(&report.to_string())
    }

    /// The exit code.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        match self.failure() {
            None => Ok(()),
            Some(finding) => Err(Error::Diagnosed {
                exit_code: finding.step.exit_code(),
                step: finding.step.name(),
            }),
        }
    }
}

impl Finding {
    fn new(step: Step, status: &'static str, took: Option<Duration>, found: &str) -> Self {
        Self {
            step,
            status,
            found: found.to_owned(),
            // To a tenth.
            ms: took.map(|took| (took.as_secs_f64() * 10_000.0).round() / 10.0),
            advice: None,
        }
    }

    fn lines(&self) -> String {
        const INDENT: &str = "           ";
        const WIDTH: usize = 88;
        let took = self.ms.map(|ms| format!("{ms:.1} ms"));
        let status = if self.status == "failed" {
            "FAILED"
        } else {
            self.status
        };
        let mut lines = format!(
            "{:<10} {status:<8}{:>10}  {}\n",
            self.step.name(),
            took.unwrap_or_default(),
            printable(&self.found)
        );
        let advice = self.advice.as_deref().map(printable);
        let advice = advice.iter().flat_map(|advice| wrapped(advice, WIDTH));
        for (number, line) in advice.enumerate() {
            let mark = if number == 0 { "→" } else { " " };
            lines.push_str(&format!("{INDENT}{mark} {line}\n"));
        }
        lines
    }
}
