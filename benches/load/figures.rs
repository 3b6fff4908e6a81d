//! What one run found out: names with units, in the order in which they are read.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::process::Usage;

/// Named numbers. The unit is part of the name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Vec<(String, f64)>);

impl Figures {
    pub(crate) fn push(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    /// A count. They stay far below the 2^52 that a float holds.
    pub(crate) fn count(&mut self, name: impl Into<String>, value: u64) {
        self.push(name, value as f64);
    }

    /// CPU time for each of `count` things, the user's part of it, and the system's.
    pub(crate) fn cpu_each(&mut self, what: &str, cpu: Usage, count: u64) {
        let each = |micros: f64| share(micros, count);
        self.push(format!("cpu_us_per_{what}"), each(cpu.micros()));
        self.push(format!("user_us_per_{what}"), each(cpu.user));
        self.push(format!("system_us_per_{what}"), each(cpu.system));
    }

    /// How many in a second.
    pub(crate) fn per_second(&mut self, what: &str, count: u64, wall: Duration) {
        let each = share(wall.as_secs_f64(), count).max(1e-9);
        self.push(format!("{what}_per_second"), 1.0 / each);
    }

    /// p50, p99, p99.9 and the longest, in milliseconds.
    pub(crate) fn times(&mut self, what: &str, times: &Histogram<u64>) {
        for (name, nanos) in [
            ("p50", times.value_at_quantile(0.5)),
            ("p99", times.value_at_quantile(0.99)),
            ("p999", times.value_at_quantile(0.999)),
            ("max", times.max()),
        ] {
            self.push(format!("{what}_{name}_ms"), millis(nanos));
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| *value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            // Three decimals are below what any of these measures tells apart.
            let value = (value * 1000.0).round() / 1000.0;
            if value.fract() == 0.0 {
                map.serialize_entry(name, &(value as i64))?;
            } else {
                map.serialize_entry(name, &value)?;
            }
        }
        map.end()
    }
}

/// Durations in nanoseconds, up to an hour, told apart by three digits.
pub(crate) fn durations() -> crate::Result<Histogram<u64>> {
    const HOUR: u64 = 3_600_000_000_000;
    Ok(Histogram::new_with_max(HOUR, 3)?)
}

/// A part of something that may not have happened at all.
pub(crate) fn share(whole: f64, count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    whole / count as f64
}

pub(crate) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
