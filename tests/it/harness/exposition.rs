//! A strict reader of Prometheus' text format 0.0.4: what a stock Prometheus would not take fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// The families of one answer, by the name behind `# TYPE`.
pub(crate) struct Exposition(BTreeMap<String, Family>);

/// One family.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    /// Names, labels and values as they stand.
    pub(crate) samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Family {
    /// The labels that its samples have; `le` belongs to the format.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|(_, labels, _)| labels.keys());
        labels.map(String::as_str).filter(|l| *l != "le").collect()
    }
}

impl Exposition {
    pub(crate) fn read(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut help: Option<(String, String)> = None;
        let mut current = String::new();
        let mut seen = BTreeSet::new();
        assert!(text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').expect("a help has a text");
                help = Some((name.to_owned(), text.to_owned()));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let (of, help) = help.take().expect("a help before the type");
                assert_eq!(of, name);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = Family {
                    kind: kind.to_owned(),
                    help,
                    samples: Vec::new(),
                };
                let former = families.insert(name.to_owned(), family);
                assert!(former.is_none(), "{name} is there twice");
                name.clone_into(&mut current);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a sample");
                assert!(seen.insert(series.to_owned()), "{series} is there twice");
                let (name, labels) = read_series(series);
                let family = families.get_mut(&current).expect("a type before samples");
                let suffixes: &[&str] = match family.kind.as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                let suffix = name.strip_prefix(&current).expect("a sample of its family");
                assert!(suffixes.contains(&suffix), "{line} in {current}");
                family.samples.push((name, labels, value.parse().unwrap()));
            }
        }
        for (name, family) in &families {
            assert!(!family.help.is_empty(), "{name}");
        }
        Self(families)
    }

    /// Names and families.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.0.iter().map(|(name, family)| (name.as_str(), family))
    }

    /// Every name that a query may use: families, and the series of histograms.
    pub(crate) fn series(&self) -> BTreeSet<&str> {
        let samples = self.0.values().flat_map(|family| &family.samples);
        samples.map(|(name, ..)| name.as_str()).collect()
    }

    /// The sum of the samples of that name with these labels; they must be there.
    pub(crate) fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let samples = self.0.values().flat_map(|family| &family.samples);
        let found: Vec<f64> = samples
            .filter(|(sample, ..)| sample == name)
            .filter(|(_, labels, _)| {
                let has =
                    |(label, value): &(&str, &str)| labels.get(*label).is_some_and(|v| v == value);
                wanted.iter().all(has)
            })
            .map(|(.., value)| *value)
            .collect();
        assert!(!found.is_empty(), "no {name} with {wanted:?}");
        found.iter().sum()
    }
}

/// `name` or `name{label="value",…}`.
fn read_series(series: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, rest)) = series.split_once('{') else {
        return (checked(series), BTreeMap::new());
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}').expect("labels end");
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect("a label's value");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a label's value ends") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    other => panic!("an escape \\{other} in {series}"),
                }),
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(checked(label), value).is_none(), "{series}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (checked(name), labels)
}

fn checked(name: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    assert!(!name.is_empty() && name.chars().all(is_name), "{name:?}");
    name.to_owned()
}
