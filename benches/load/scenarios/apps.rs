//! Apps in a database: the start with many, the memory of each, and what looking for changes costs.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use super::{Bench, Load};
use crate::figures::{Figures, share};
use crate::process::Usage;
use crate::target::{Config, Dialect, Server, Source, Target, free_port};
use crate::{Result, note};

const TABLE: &str = "tidewire_bench_apps";

/// How many rows one statement inserts.
const AT_ONCE: usize = 500;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Apps {
    /// Rows
    #[arg(long, default_value_t = 10_000)]
    apps: usize,
    /// How long the server looks at the table, once a second: without a change, and again with one row changed each time
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// The database, of which the table `tidewire_bench_apps` is dropped first; default: a file of `SQLite`
    #[arg(long)]
    database: Option<String>,
}

impl Load for Apps {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        match (&target.source, target.dialect) {
            (Source::Binary(_), Dialect::Pusher | Dialect::Resumable | Dialect::Tls) => {}
            _ => return Err("this scenario starts the server itself: leave others out".into()),
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("apps-{}-{}.db", std::process::id(), free_port()?));
        let url = match &self.database {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", file.display()),
        };
        let figures = self.measured(bench, target, &url);
        let _ = std::fs::remove_file(file);
        figures
    }
}

impl Apps {
    fn measured(&self, bench: &Bench, target: &Target, url: &str) -> Result<Figures> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = |sql: String| -> Result<()> { runtime.block_on(run(url, sql)) };
        if self.database.is_some() {
            run(format!("DROP TABLE IF EXISTS {TABLE}"))?;
        }
        let config = || {
            Bench::config().more(&format!(
                "[app_store]\nurl = {url:?}\ntable = \"{TABLE}\"\ncreate = true\nrefresh_seconds = 1\n"
            ))
        };
        let none = started(bench, target, config())?;
        let quiet = self.cpu(&none.0, |_| Ok(()))?;
        let empty_kib = none.0.resident_kib()?;
        drop(none);
        let key = if url.starts_with("mysql") {
            "`key`"
        } else {
            "\"key\""
        };
        for first in (0..self.apps).step_by(AT_ONCE) {
            let rows = first..(first + AT_ONCE).min(self.apps);
            let rows: Vec<String> = rows
                .map(|id| format!("('{id}', 'bench-key-{id}', 'bench-secret-{id}')"))
                .collect();
            let rows = rows.join(", ");
            run(format!(
                "INSERT INTO {TABLE} (id, {key}, secret) VALUES {rows}"
            ))?;
        }

        let (server, start) = started(bench, target, config())?;
        let full_kib = server.resident_kib()?;
        let unchanged = self.cpu(&server, |_| Ok(()))?;
        let changed = self.cpu(&server, |second| {
            run(format!(
                "UPDATE {TABLE} SET max_connections = {} WHERE id = '1'",
                second + 1
            ))
        })?;
        let each = |usage: Usage| share(usage.micros() / 1000.0, u64::from(self.seconds));
        let mut figures = Figures::default();
        figures.count("apps", self.apps as u64);
        figures.push("start_ms", start.as_secs_f64() * 1000.0);
        figures.push("kib_per_app", share(full_kib - empty_kib, self.apps as u64));
        figures.push("cpu_ms_per_second_without_apps", each(quiet));
        figures.push("cpu_ms_per_unchanged_look", each(unchanged));
        figures.push("cpu_ms_per_changed_look", each(changed));
        Ok(figures)
    }

    /// What the server spends over the seconds, in each of which something is done.
    fn cpu(&self, server: &Server, work: impl Fn(u32) -> Result<()>) -> Result<Usage> {
        let before = server.usage()?;
        for second in 0..self.seconds {
            work(second)?;
            thread::sleep(Duration::from_secs(1));
        }
        Ok(server.usage()?.since(before))
    }
}

/// A server, and how long it took until it listened.
fn started(bench: &Bench, target: &Target, config: Config) -> Result<(Server, Duration)> {
    let begun = Instant::now();
    let server = bench.start(target, config)?;
    let taken = begun.elapsed();
    note(&format!("started in {} ms", taken.as_millis()));
    Ok((server, taken))
}

async fn run(url: &str, sql: String) -> Result<()> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}
