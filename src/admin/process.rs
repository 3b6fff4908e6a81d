//! What the system says of this process, read from `/proc` when somebody asks. Where there is no `/proc`, nothing is
//! said.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::exposition::{Exposition, Kind, Labels};

/// The numbers under their usual names.
pub(super) struct Process {
    stat: Option<Stat>,
    started: Option<f64>,
    open_files: Option<usize>,
    max_files: Option<u64>,
}

/// What is used of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    user_seconds: f64,
    system_seconds: f64,
    threads: u64,
    /// After the machine's start.
    started_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

/// A number's name, kind and help.
type Row = (
    &'static str,
    Kind,
    &'static str,
    fn(&Process) -> Option<f64>,
);

#[rustfmt::skip]
const NUMBERS: [Row; 7] = [
    ("cpu_seconds", Kind::Counter, "CPU time spent, in user and system mode", |of| of.cpu_seconds().map(|(user, system)| user + system)),
    ("resident_memory_bytes", Kind::Gauge, "Resident memory", |of| Some(of.stat.as_ref()?.resident_bytes as f64)),
    ("virtual_memory_bytes", Kind::Gauge, "Virtual memory", |of| Some(of.stat.as_ref()?.virtual_bytes as f64)),
    ("open_fds", Kind::Gauge, "Open files; every connection is one", |of| Some(of.open_files? as f64)),
    ("max_fds", Kind::Gauge, "How many files may be open", |of| Some(of.max_files? as f64)),
    ("start_time_seconds", Kind::Gauge, "When the process was started, in seconds since 1970", |of| of.started),
    ("threads", Kind::Gauge, "Threads", |of| Some(of.stat.as_ref()?.threads as f64)),
];

impl Process {
    pub(super) fn read() -> Self {
        let text = fs::read_to_string("/proc/self/stat").ok();
        let stat = text.and_then(|text| Stat::parse(&text));
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("btime "));
            line?.trim().parse::<f64>().ok()
        });
        Self {
            started: booted
                .zip(stat.as_ref())
                .map(|(booted, stat)| booted + stat.started_seconds),
            stat,
            // The one that reads the folder is not counted.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| files.count().saturating_sub(1)),
            max_files: getrlimit(Resource::Nofile).current,
        }
    }

    /// Adds all numbers that there are; `prefix` is empty but for Soketi's names.
    pub(super) fn write(&self, out: &mut Exposition, prefix: &str, labels: Labels<'_>) {
        for (name, kind, help, of) in NUMBERS {
            // Soketi has none.
            let is_left_out = name == "threads" && !prefix.is_empty();
            if let Some(value) = of(self).filter(|_| !is_left_out) {
                let name = format!("{prefix}process_{name}");
                out.family(&name, kind, help).sample(labels, value);
            }
        }
    }

    /// CPU time in user and in system mode.
    pub(super) fn cpu_seconds(&self) -> Option<(f64, f64)> {
        let stat = self.stat.as_ref()?;
        Some((stat.user_seconds, stat.system_seconds))
    }
}

impl Stat {
    /// `proc(5)`: the second field is a name in parentheses that may contain anything, the numbers follow.
    fn parse(text: &str) -> Option<Self> {
        let (_, numbers) = text.rsplit_once(") ")?;
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        // By the numbers of the manual page, whose third field is the first one here.
        let field = |number: usize| numbers.get(number - 3)?.parse::<u64>().ok();
        let seconds = |number| Some(field(number)? as f64 / clock_ticks_per_second() as f64);
        Some(Self {
            user_seconds: seconds(14)?,
            system_seconds: seconds(15)?,
            threads: field(20)?,
            started_seconds: seconds(22)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let text =
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 5 0 1000 4096 3 18446744073709551615";
        let ticks = clock_ticks_per_second() as f64;
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.user_seconds, stat.system_seconds),
            (150.0 / ticks, 50.0 / ticks)
        );
        assert_eq!((stat.threads, stat.virtual_bytes), (5, 4096));
        assert_eq!(stat.resident_bytes, 3 * page_size() as u64);
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }
}
