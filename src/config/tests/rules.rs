//! `[[apps.channels]]`: every key as it is taken, and in which words it is refused.

use super::*;
use crate::rules::{Retention, Rule, WhoMaySubscribe};

/// An app with one rule.
fn ruled(rule: &str) -> String {
    format!("{APP}[[apps.channels]]\n{rule}")
}

#[test]
fn every_key_of_a_rule_is_taken() {
    let rule = |text: &str| -> Rule {
        let apps = load_text(&ruled(text), &[]).unwrap().settings.apps;
        apps.by_key("k")
            .unwrap()
            .rules
            .iter()
            .next()
            .unwrap()
            .clone()
    };
    let kept = |events: u32, seconds: u32| Retention {
        events: events.try_into().unwrap(),
        seconds: seconds.try_into().unwrap(),
    };
    let all = rule(
        "match = \"a.{user_id}.*\"\nsubscribe = \"user\"\ncache = true\nhistory = { events = 10000, seconds = 604800 }\n\
         rewind = { events = 1, seconds = 2 }\nclient_events = true\nsubscription_count = false",
    );
    assert_eq!(all.pattern.as_str(), "a.{user_id}.*");
    assert_eq!(all.subscribe, WhoMaySubscribe::User);
    assert!(all.cache);
    assert_eq!(all.history, Some(kept(10_000, 604_800)));
    assert_eq!(all.rewind, Some(kept(1, 2)));
    assert_eq!(
        (all.client_events, all.subscription_count),
        (Some(true), Some(false))
    );
    let least = rule("match = \"*\"");
    assert_eq!(least.subscribe, WhoMaySubscribe::Anyone);
    assert!(!least.cache && least.history.is_none() && least.rewind.is_none());
    assert_eq!(
        (least.client_events, least.subscription_count),
        (None, None)
    );
    for one in ["anyone", "signed-in", "token", "nobody"] {
        let rule = rule(&format!(
            "match = \"a\"\nsubscribe = \"{one}\"\n[apps.jwt]\nsecret = \"t\""
        ));
        assert_eq!(rule.subscribe.name(), one);
    }
}

/// Rules, and the one line that is said of each.
const WRONG: &[(&str, &str)] = &[
    (
        "match = \"a\"\nhistroy = true",
        "apps.toml:7: unknown key \"histroy\" in [[apps.channels]]; did you mean \"history\"? Valid: match, subscribe, cache, history, rewind, client_events, subscription_count",
    ),
    (
        "match = \"a\"\nmatch = \"b\"",
        "apps.toml:7: this is not TOML: duplicate key \"match\", which is given above already",
    ),
    (
        "cache = true",
        "apps.toml:5: match in [[apps.channels]]: a rule needs a match: the names that it is for, like \"invoice.{id}\"",
    ),
    (
        "match = 7",
        "apps.toml:6: match in [[apps.channels]]: expected a text in quotes, found 7",
    ),
    (
        "match = [\"a\"]",
        "apps.toml:6: match in [[apps.channels]]: expected a text in quotes, found a list",
    ),
    (
        "match = \"\"",
        "apps.toml:6: match in [[apps.channels]]: expected a pattern like \"user.{user_id}.invoices\" or \"private-*\", found \"\": the pattern is empty",
    ),
    (
        "match = \"a b\"",
        "apps.toml:6: match in [[apps.channels]]: expected a pattern like \"user.{user_id}.invoices\" or \"private-*\", found \"a b\": the character ' ' is in no channel name",
    ),
    (
        "match = \"{a\"",
        "apps.toml:6: match in [[apps.channels]]: expected a pattern like \"user.{user_id}.invoices\" or \"private-*\", found \"{a\": a placeholder is written {name}, with a name of letters, digits and _",
    ),
    (
        "match = \"{}\"",
        "apps.toml:6: match in [[apps.channels]]: expected a pattern like \"user.{user_id}.invoices\" or \"private-*\", found \"{}\": a placeholder is written {name}, with a name of letters, digits and _",
    ),
    (
        "match = \"{a}.{a}\"",
        "apps.toml:6: match in [[apps.channels]]: expected a pattern like \"user.{user_id}.invoices\" or \"private-*\", found \"{a}.{a}\": the placeholder {a} stands there twice",
    ),
    (
        "match = \"a\"\nsubscribe = \"users\"",
        "apps.toml:7: subscribe in [[apps.channels]]: expected \"anyone\" or \"signed-in\" or \"user\" or \"token\" or \"nobody\", found the text \"users\"; did you mean \"user\"?",
    ),
    (
        "match = \"a\"\nsubscribe = true",
        "apps.toml:7: subscribe in [[apps.channels]]: expected a text in quotes, found true",
    ),
    (
        "match = \"invoice.{id}\"\nsubscribe = \"user\"",
        "apps.toml:7: subscribe in [[apps.channels]]: \"user\" needs {user_id} in match, where \"invoice.{id}\" has none: it stands for the id of the user who may subscribe",
    ),
    (
        "match = \"{user_id}{x}\"\nsubscribe = \"user\"",
        "apps.toml:7: subscribe in [[apps.channels]]: \"user\" needs a match that names one user, and in \"{user_id}{x}\" one name can be read as several: put a . between {user_id} and other wildcards, and * on one side of it only",
    ),
    (
        "match = \"*.{user_id}.*\"\nsubscribe = \"user\"",
        "apps.toml:7: subscribe in [[apps.channels]]: \"user\" needs a match that names one user, and in \"*.{user_id}.*\" one name can be read as several: put a . between {user_id} and other wildcards, and * on one side of it only",
    ),
    (
        "match = \"a\"\nsubscribe = \"token\"",
        "apps.toml:7: subscribe in [[apps.channels]]: \"token\" needs [apps.jwt], which says how tokens are verified, and the app has none",
    ),
    (
        "match = \"a\"\ncache = 1",
        "apps.toml:7: cache in [[apps.channels]]: expected true or false, found 1",
    ),
    (
        "match = \"a\"\nhistory = true",
        "apps.toml:7: history in [[apps.channels]]: expected { events = …, seconds = … }, found true",
    ),
    (
        "match = \"a\"\nhistory = { events = 5 }",
        "apps.toml:7: history in [[apps.channels]]: seconds is missing",
    ),
    (
        "match = \"a\"\nhistory = { events = 0, seconds = 1 }",
        "apps.toml:7: events in [apps.channels.history]: expected a whole number from 1 to 10000, found 0",
    ),
    (
        "match = \"a\"\nhistory = { events = 1, seconds = 604801 }",
        "apps.toml:7: seconds in [apps.channels.history]: expected a whole number from 1 to 604800, found 604801",
    ),
    (
        "match = \"a\"\nrewind = { events = 10001, seconds = 1 }",
        "apps.toml:7: events in [apps.channels.rewind]: expected a whole number from 1 to 10000, found 10001",
    ),
    (
        "match = \"a\"\nrewind = { events = 1, seconds = 1, bytes = 1 }",
        "apps.toml:7: unknown key \"bytes\" in [apps.channels.rewind]. Valid: events, seconds",
    ),
    (
        "match = \"a\"\nclient_events = \"yes\"",
        "apps.toml:7: client_events in [[apps.channels]]: expected true or false, found the text \"yes\"",
    ),
    (
        "match = \"a\"\nsubscription_count = 0",
        "apps.toml:7: subscription_count in [[apps.channels]]: expected true or false, found 0",
    ),
];

#[test]
fn one_line_says_what_is_wrong_with_a_rule() {
    for (rule, expected) in WRONG {
        refused(&ruled(rule), &[], &[expected]);
    }
    refused(
        &format!("{APP}[apps.channels]\nmatch = \"a\""),
        &[],
        &[
            "apps.toml:5: channels in [[apps]]: expected a list, found a table: begin each with [[apps.channels]], in two brackets",
        ],
    );
    let long = format!("match = \"{}\"", "a".repeat(1025));
    let error = load_text(&ruled(&long), &[]).map(|_| ()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the pattern has more than 1024 characters")
    );
}
