//! The two texts in which metrics are exposed: Prometheus' own (0.0.4) and OpenMetrics (1.0.0). They differ in the names
//! behind `# TYPE`, in escapes, and in the end.
//!
//! Knows the format and no metric. Each family's head is written once, its samples follow.

use std::fmt::{Display, Write as _};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

/// What kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its samples' names end in `_total`; the family's does not.
    Counter,
    /// A counter of somebody else's whose name does not end so, for which OpenMetrics has no type.
    OddCounter,
    Gauge,
    Histogram,
}

/// A text under way.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// A family whose head is written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: String,
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Format {
    const OPEN_METRICS: &'static str = "application/openmetrics-text";

    /// The one that an `Accept` header prefers; Prometheus' own where it does not say.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        let weight = |media: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            let weights = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next()?.eq_ignore_ascii_case(media);
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                is_it.then(|| weight.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            });
            weights.fold(0.0, f32::max)
        };
        let open = weight(Self::OPEN_METRICS);
        if open > 0.0 && open >= weight("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::with_capacity(64 * 1024),
        }
    }

    /// Writes a family's head; the help is a sentence, with or without its full stop.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let samples = match kind {
            Kind::Counter => format!("{name}_total"),
            Kind::OddCounter | Kind::Gauge | Kind::Histogram => name.to_owned(),
        };
        let head = match self.format {
            Format::Prometheus => &samples,
            Format::OpenMetrics => name,
        };
        let kind = match (kind, self.format) {
            (Kind::OddCounter, Format::OpenMetrics) => "unknown",
            (Kind::Counter | Kind::OddCounter, _) => "counter",
            (Kind::Gauge, _) => "gauge",
            (Kind::Histogram, _) => "histogram",
        };
        let help = escaped(help.trim().trim_end_matches('.'));
        // Writing into a String cannot fail.
        let _ = write!(self.text, "# HELP {head} {help}\n# TYPE {head} {kind}\n");
        Family {
            text: &mut self.text,
            name: samples,
        }
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.part("", labels, None, value)
    }

    /// The buckets of a histogram, cumulated, with its count and sum. `counts` has one number more than `bounds`.
    pub(super) fn buckets(
        &mut self,
        labels: Labels<'_>,
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> &mut Self {
        let mut within = 0;
        let bounds = bounds.iter().map(|bound| format!("{bound:?}"));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counts) {
            within += count;
            self.part("_bucket", labels, Some(("le", &bound)), within);
        }
        self.part("_sum", labels, None, sum);
        self.part("_count", labels, None, within)
    }

    fn part(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        last: Option<(&str, &str)>,
        value: impl Display,
    ) -> &mut Self {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (label, text) in labels.iter().copied().chain(last) {
            let _ = write!(self.text, "{separator}{label}=\"{}\"", escaped(text));
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// Both formats read these escapes, in labels and in helps, but for a quotation mark in the older one's helps, which
/// ours do not have.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition
            .family("a", Kind::Counter, "Things.")
            .sample(&[("app", "1\n\"\\")], 3);
        exposition
            .family("b_bytes", Kind::OddCounter, "B")
            .sample(&[], 0.5);
        exposition.family("c", Kind::Histogram, "C").buckets(
            &[("w", "0")],
            &[0.0001, 1.0],
            &[1, 0, 2],
            7.5,
        );
        exposition.finish()
    }

    #[test]
    fn both_texts() {
        assert_eq!(
            text(Format::Prometheus),
            "# HELP a_total Things\n# TYPE a_total counter\na_total{app=\"1\\n\\\"\\\\\"} 3\n\
             # HELP b_bytes B\n# TYPE b_bytes counter\nb_bytes 0.5\n\
             # HELP c C\n# TYPE c histogram\nc_bucket{w=\"0\",le=\"0.0001\"} 1\nc_bucket{w=\"0\",le=\"1.0\"} 1\n\
             c_bucket{w=\"0\",le=\"+Inf\"} 3\nc_sum{w=\"0\"} 7.5\nc_count{w=\"0\"} 3\n"
        );
        let open = text(Format::OpenMetrics);
        assert!(open.starts_with("# HELP a Things\n# TYPE a counter\na_total{"));
        assert!(open.contains("# TYPE b_bytes unknown\n"));
        assert!(open.ends_with("c_count{w=\"0\"} 3\n# EOF\n"));
    }

    #[test]
    fn the_accepted_format() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, format) in [
            (None, Prometheus),
            (Some("*/*"), Prometheus),
            (Some("text/html, text/plain"), Prometheus),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2",
                ),
                OpenMetrics,
            ),
            (
                Some(
                    "text/plain;version=0.0.4;q=0.6, application/openmetrics-text; version=1.0.0; q=0.5",
                ),
                Prometheus,
            ),
            (Some("Application/OpenMetrics-Text"), OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Prometheus),
            (Some("application/openmetrics-text;q=x"), Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept:?}");
        }
    }
}
