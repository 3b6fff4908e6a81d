//! Which rule a name has, and what follows: tables, and properties against the plainest possible matcher.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> ChannelPattern {
    ChannelPattern::parse(text).unwrap()
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text, 200).unwrap()
}

fn rule(text: &str, subscribe: WhoMaySubscribe) -> Rule {
    Rule {
        pattern: pattern(text),
        subscribe,
        cache: false,
        history: None,
        rewind: None,
        client_events: None,
        subscription_count: None,
    }
}

/// What `{user_id}` stands for in each way to read the name as the pattern says.
fn readings(pattern: &str, name: &str) -> Vec<String> {
    let Some(first) = pattern.chars().next() else {
        return vec![String::new(); usize::from(name.is_empty())];
    };
    match first {
        '*' => (0..=name.len())
            .flat_map(|end| readings(&pattern[1..], &name[end..]))
            .collect(),
        '{' => {
            let (placeholder, rest) = pattern[1..].split_once('}').unwrap();
            let ends = (1..=name.len()).take_while(|end| !name[..*end].contains('.'));
            ends.flat_map(|end| {
                let behind = readings(rest, &name[end..]).into_iter();
                behind.map(move |other| match placeholder {
                    USER_ID => name[..end].to_owned(),
                    _ => other,
                })
            })
            .collect()
        }
        _ if name.starts_with(first) => readings(&pattern[1..], &name[1..]),
        _ => Vec::new(),
    }
}

/// Patterns and names that meet often: of few characters.
const PATTERN: &str = r"(\{user_id\})?([ab.-]|\*|\{x\}){0,4}(\{y\}|[ab.]{1,2}\{z\})?[ab.]{0,2}";
const NAME: &str = "[ab.-]{1,9}";

/// A text that is one at least, with a `{user_id}` in it at some place.
fn with_user(text: &str, at: usize) -> String {
    let text = text.replace("{user_id}", "");
    let places: Vec<usize> = (0..=text.len())
        .filter(|&at| text[..at].matches('{').count() == text[..at].matches('}').count())
        .collect();
    let (before, behind) = text.split_at(places[at % places.len()]);
    format!("{before}{{user_id}}{behind}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_pattern_fits_what_it_can_be_read_as(text in PATTERN, names in prop::collection::vec(NAME, 1..8)) {
        prop_assume!(ChannelPattern::parse(&text).is_ok());
        let read = pattern(&text);
        for name in names {
            let readings = readings(&text, &name);
            prop_assert_eq!(read.fits(&name), !readings.is_empty(), "{} {}", text, name);
            if let Some(value) = read.value_of(USER_ID, &name) {
                prop_assert!(readings.contains(&value.to_owned()), "{} {} {}", text, name, value);
            }
        }
    }

    #[test]
    fn the_first_rule_that_fits_is_the_one_that_a_name_has(
        texts in prop::collection::vec(PATTERN, 0..12), names in prop::collection::vec(NAME, 1..12),
    ) {
        let texts: Vec<String> = texts
            .into_iter()
            .filter(|text| ChannelPattern::parse(text).is_ok())
            .collect();
        let rules = texts.iter().map(|text| rule(text, WhoMaySubscribe::Anyone));
        let rules = Rules::new(rules.collect());
        for text in names {
            let expected = texts.iter().position(|pattern| !readings(pattern, &text).is_empty());
            prop_assert_eq!(rules.number(&name(&text)), expected, "{:?} {}", texts, text);
        }
    }

    #[test]
    fn a_definite_placeholder_is_read_in_one_way(
        text in PATTERN, at in 0..8usize, names in prop::collection::vec(NAME, 1..20),
    ) {
        let text = with_user(&text, at);
        let is_definite = ChannelPattern::parse(&text).is_ok_and(|read| read.is_definite(USER_ID));
        for name in names.iter().filter(|_| is_definite) {
            let values: BTreeSet<String> = readings(&text, name).into_iter().collect();
            prop_assert!(values.len() <= 1, "{} {} {:?}", text, name, values);
        }
    }
}

#[test]
fn a_name_has_one_rule() {
    let texts = [
        "user.{user_id}.invoices",
        "user.*",
        "private-user.{id}",
        "presence-*",
        "a.{x}-{y}",
        "a.*",
        "{x}.{y}.{z}",
    ];
    let rules = texts.map(|text| rule(text, WhoMaySubscribe::Anyone));
    let rules = Rules::new(rules.into());
    for (text, expected) in [
        ("user.7.invoices", Some(0)),
        ("user.7.8.invoices", Some(1)),
        ("user..invoices", Some(1)),
        ("user.7", Some(1)),
        ("user.", Some(1)),
        ("user", None),
        ("private-user.7", Some(2)),
        ("private-user.7.invoices", Some(6)),
        ("private-encrypted-user.7", None),
        ("presence-user.7", Some(3)),
        ("cache-user.7", None),
        ("a.1-2", Some(4)),
        ("a.1-2.3", Some(5)),
        ("a.-2", Some(5)),
        ("a", None),
        ("x.y.z", Some(6)),
        ("x.y.z.", None),
    ] {
        assert_eq!(rules.number(&name(text)), expected, "{text}");
    }
    assert_eq!(rules.number(&name("#server-to-user-7")), None);
}

/// Names are whatever clients send: none of them may cost a worker its time.
#[test]
fn no_name_makes_a_search_long() {
    let many = "*a".repeat(100) + "b";
    let rules = Rules::new(vec![rule(&many, WhoMaySubscribe::Anyone)]);
    assert_eq!(rules.number(&name(&"a".repeat(200))), None);
    assert!(!pattern(&many).fits(&"a".repeat(200)));
}
