//! What is refused, and in which words.

use proptest::prelude::*;

use super::*;

/// A file, and the one line that is said of it.
const WRONG: &[(&str, &str)] = &[
    (
        "[server]\nprot = 1",
        "apps.toml:2: unknown key \"prot\" in [server]; did you mean \"port\"? Valid: host, port, path_prefix, sticky_host, activity_timeout, workers, max_connections, connections_per_ip, connects_per_ip_per_second, outbox_bytes, inbox_bytes, cache_bytes, history_bytes, drain_seconds, allow_plain_tokens, trusted_proxies, proxy_protocol, tls",
    ),
    (
        "[sever]\nport = 1",
        "apps.toml:1: unknown key \"sever\" at the top level; did you mean \"server\"? Valid: server, admin, webhooks, redis, app_store, apps",
    ),
    (
        "\"server.port\" = 1",
        "apps.toml:1: unknown key \"server.port\" at the top level; did you mean \"server\"? Valid: server, admin, webhooks, redis, app_store, apps",
    ),
    (
        "xyz = 1",
        "apps.toml:1: unknown key \"xyz\" at the top level. Valid: server, admin, webhooks, redis, app_store, apps",
    ),
    (
        "[admin]\nport = -1",
        "apps.toml:2: port in [admin]: expected a whole number from 0 to 65535, found -1",
    ),
    (
        "[server]\nport = 65536",
        "apps.toml:2: port in [server]: expected a whole number from 0 to 65535, found 65536",
    ),
    (
        "[server]\nport = \"80\"",
        "apps.toml:2: port in [server]: expected a whole number from 0 to 65535, found the text \"80\"",
    ),
    (
        "[server]\nport = 99999999999999999999",
        "apps.toml:2: port in [server]: expected a whole number from 0 to 65535, found 100000000000000000000",
    ),
    (
        "[server]\nactivity_timeout = 1.5",
        "apps.toml:2: activity_timeout in [server]: expected a whole number from 1 to 3600, found 1.5",
    ),
    (
        "[server]\nworkers = 0",
        "apps.toml:2: workers in [server]: expected a whole number from 1 to 1024, found 0",
    ),
    (
        "[server]\nhost = 1",
        "apps.toml:2: host in [server]: expected a text in quotes, found 1",
    ),
    (
        "[server]\nhost = 2026-01-01",
        "apps.toml:2: host in [server]: expected a text in quotes, found a date",
    ),
    (
        "[server]\nallow_plain_tokens = 1",
        "apps.toml:2: allow_plain_tokens in [server]: expected true or false, found 1",
    ),
    (
        "server = 1",
        "apps.toml:1: server at the top level: expected a table, [server], found 1",
    ),
    (
        "[apps]\nid = \"a\"",
        "apps.toml:1: apps at the top level: expected a list, found a table: begin each with [[apps]], in two brackets",
    ),
    (
        "[[apps]]\n[apps.api_tokens]\na = 1",
        "apps.toml:2: api_tokens in [[apps]]: expected a list, found a table",
    ),
    (
        "[[apps]]\n[apps.webhooks]\nbatch = true",
        "apps.toml:2: webhooks in [[apps]]: expected a list, found a table: begin each with [[apps.webhooks]], in two brackets",
    ),
    (
        "[apps]\nid = \"a\"\n[[apps]]",
        "apps.toml:3: this is not TOML: duplicate key \"apps\": begin each app with [[apps]], in two brackets",
    ),
    (
        "[server]\nport = 1\n[admin]\n[server]",
        "apps.toml:4: this is not TOML: duplicate key \"server\", which is given above already",
    ),
    (
        "[[apps]]\nallowed_origins = \"*\"",
        "apps.toml:2: allowed_origins in [[apps]]: expected a list, found a text: write it in brackets, [\"…\"]",
    ),
    (
        "[[apps]]\napi_tokens = [5]",
        "apps.toml:2: api_tokens in [[apps]]: expected a text in quotes",
    ),
    (
        "[[apps]]\nsecret = 12345",
        "apps.toml:2: secret in [[apps]]: expected a text in quotes",
    ),
    (
        "[[apps]]\nsecret = \"\"",
        "apps.toml:2: secret in [[apps]]: expected a secret text, found an empty one",
    ),
    (
        "[[apps]]\nsecret = \"hidden\\n\"",
        "apps.toml:2: secret in [[apps]]: expected a text without control characters and without white space around it",
    ),
    (
        "[[apps]]\nlimits_scope = \"world\"",
        "apps.toml:2: limits_scope in [[apps]]: expected \"node\" or \"cluster\", found the text \"world\"",
    ),
    (
        "[[apps]]\n[apps.limits]\nevent_bytes = 0",
        "apps.toml:3: event_bytes in [apps.limits]: expected a whole number from 1 to 16777216, found 0",
    ),
    (
        "[server]\nport = 1\nport = 2",
        "apps.toml:3: this is not TOML: duplicate key \"port\", which is given above already",
    ),
    (
        "",
        "no apps: add [[apps]] with id, key and secret to the file, or set TIDEWIRE_APP_ID, TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET, or keep apps in a database, with [app_store]",
    ),
    (
        "\n[[apps]]\nid = \"a\"\nkey = \"k\"",
        "apps.toml:2: an app needs a secret: id, key and secret must be given",
    ),
];

#[test]
fn one_line_says_what_is_wrong() {
    for (file, expected) in WRONG {
        refused(file, &[], &[expected]);
    }
}

#[test]
fn variables_are_as_strict() {
    for (variable, expected) in [
        (
            ("TIDEWIRE_ADMIN__PROT", "1"),
            "TIDEWIRE_ADMIN__PROT: unknown key \"prot\" in [admin]; did you mean TIDEWIRE_ADMIN__PORT? Valid: host, port, token, soketi_metric_names",
        ),
        (
            ("TIDEWIRE_SEVER__PORT", "1"),
            "TIDEWIRE_SEVER__PORT: unknown key \"sever\" at the top level; did you mean TIDEWIRE_SERVER__PORT? Valid: server, admin, webhooks, redis, app_store, apps",
        ),
        (
            ("TIDEWIRE_SERVER__PORT", ""),
            "TIDEWIRE_SERVER__PORT: port in [server]: expected a whole number from 0 to 65535, found the text \"\"",
        ),
        (
            ("TIDEWIRE_SERVER__PORT__X", "1"),
            "TIDEWIRE_SERVER__PORT__X: port in [server]: expected a whole number from 0 to 65535, found a table",
        ),
        (
            ("TIDEWIRE_SERVER__ALLOW_PLAIN_TOKENS", "yes"),
            "TIDEWIRE_SERVER__ALLOW_PLAIN_TOKENS: allow_plain_tokens in [server]: expected true or false, found the text \"yes\"",
        ),
        (
            ("TIDEWIRE_SERVER.PORT__X", "1"),
            "TIDEWIRE_SERVER.PORT__X: unknown key \"server.port\" at the top level; did you mean TIDEWIRE_SERVER__X? Valid: server, admin, webhooks, redis, app_store, apps",
        ),
        (("TIDEWIRE_SERVER", "1"), ""),
        (
            ("TIDEWIRE_APPS__0__ID", "1"),
            "TIDEWIRE_APPS__0__ID: the environment adds one app, by TIDEWIRE_APP_ID, TIDEWIRE_APP_KEY, TIDEWIRE_APP_SECRET; others are [[apps]] of the file",
        ),
        (
            ("TIDEWIRE_LOG_FORMAT", "xml"),
            "TIDEWIRE_LOG_FORMAT: expected \"human\" or \"json\", found the text \"xml\"",
        ),
        (
            ("TIDEWIRE_LOG", "debg"),
            "TIDEWIRE_LOG: expected a level (error, warn, info, debug, trace, off) or a filter like \"info,tidewire::ws=debug\", found the text \"debg\"; \"debg\" is no level, did you mean \"debug\"?",
        ),
        (
            ("TIDEWIRE_SERVER_PORT", "7000"),
            "TIDEWIRE_SERVER_PORT: no setting has this name; did you mean TIDEWIRE_SERVER__PORT?",
        ),
        (
            ("TIDEWIRE_LOG", "a=b=c"),
            "TIDEWIRE_LOG: expected a level (error, warn, info, debug, trace, off) or a filter like \"info,tidewire::ws=debug\", found the text \"a=b=c\"; \"c\" is no level",
        ),
    ] {
        if expected.is_empty() {
            assert_eq!(load_text(APP, &[variable]).unwrap().warnings.len(), 1);
        } else {
            refused(APP, &[variable], &[expected]);
        }
    }
}

#[test]
fn what_a_cluster_injects_is_no_mistake() {
    let variables = [
        ("TIDEWIRE_PORT", "tcp://10.0.0.1:6001"),
        ("TIDEWIRE_PORT_6001_TCP_ADDR", "10.0.0.1"),
        ("TIDEWIRE_SERVICE_HOST", "10.0.0.1"),
        ("TIDEWIRE_SERVER_PORT", "tcp://10.0.0.1:6001"),
        ("SOKETI_PORT", "tcp://10.0.0.1:6001"),
        ("SOKETI_METRICS_SERVER_PORT", "tcp://10.0.0.1:9601"),
    ];
    let loaded = load_text(APP, &variables).unwrap();
    assert_eq!(loaded.settings.server.port, 6001);
    assert_eq!(loaded.settings.admin.port, 9601);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.notices, Vec::<String>::new());
    let odd = load_text(APP, &[("TIDEWIRE_VERSION", "1")]).unwrap();
    let expected =
        "no setting has these environment variables' names, they are ignored: TIDEWIRE_VERSION";
    assert_eq!(odd.warnings, [expected]);
}

#[test]
fn values_must_fit_together() {
    refused(
        &format!("{APP}{APP}"),
        &[],
        &[
            "apps.toml:6: id in [[apps]]: \"a\" is taken by the app at apps.toml:2, each needs its own",
            "apps.toml:7: key in [[apps]]: \"k\" is taken by the app at apps.toml:3, each needs its own",
        ],
    );
    refused(
        &format!("[admin]\nhost = \"::\"\nport = 6001\n{APP}[apps.limits]\nevent_bytes = 1000000"),
        &[],
        &[
            "apps.toml:2: host in [admin]: \"::\" is reachable from beyond this machine: set token in [admin] too, or listen on 127.0.0.1",
            "apps.toml:3: port in [admin]: 6001 is the port of [server] too: the two listeners need their own",
            "apps.toml:9: event_bytes in [apps.limits]: messages of this size need outbox_bytes of at least 2004096 in [server], where it is 1048576",
        ],
    );
    // The variable that breaks a rule is named, not the file.
    refused(
        APP,
        &[("TIDEWIRE_ADMIN__PORT", "6001")],
        &[
            "TIDEWIRE_ADMIN__PORT: port in [admin]: 6001 is the port of [server] too: the two listeners need their own",
        ],
    );
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    refused(
        "[server]\nworkers = 0\nport = \"x\"\n[[apps]]\nid = \"/\"\nkey = \"\"\n",
        &[("TIDEWIRE_SERVER__PORT", "y")],
        &[
            "apps.toml:2: workers in [server]: expected a whole number from 1 to 1024, found 0",
            "apps.toml:3: port in [server]: expected a whole number from 0 to 65535, found the text \"x\"",
            "apps.toml:5: id in [[apps]]: expected a text of letters, digits, \"-\", \"_\", \".\" and \"~\", because it is part of URLs; found \"/\"",
            "apps.toml:6: key in [[apps]]: expected a text of letters, digits, \"-\", \"_\", \".\" and \"~\", because it is part of URLs; found \"\"",
            "TIDEWIRE_SERVER__PORT: port in [server]: expected a whole number from 0 to 65535, found the text \"y\"",
        ],
    );
}

#[test]
fn no_message_shows_a_secret() {
    let secret = "c4tch-me";
    for file in [
        format!("[[apps]]\nsecret = \"{secret}"),
        format!("[[apps]]\nsecret = {secret}"),
        format!("[[apps]]\nsecret = [\"{secret}\"]"),
        format!("[[apps]]\nsecret = {{ text = \"{secret}\" }}"),
        format!("[[apps]]\nsecret = \"{secret} \""),
        format!("[[apps]]\napi_tokens = \"{secret}\""),
        format!("[admin]\ntoken = \"\\u0007{secret}\""),
    ] {
        let error = load_text(&file, &[]).map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
        assert!(error.starts_with("apps.toml:2: "), "{error}");
    }
    let loaded = load_text(APP, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("s3cret"));
}

proptest! {
    /// Whatever a slip of the hand does to a file, it is taken or refused with a place, and shows no secret.
    #[test]
    fn a_damaged_file_is_only_refused(at in any::<prop::sample::Index>(), gone in 0..40_usize, put in "[\\PC\n\"\\[\\]{}=,]{0,12}") {
        let mut file: Vec<char> = include_str!("../../../apps.toml").replace("app-secret", "c4tch-me").chars().collect();
        let at = at.index(file.len());
        let end = (at + gone).min(file.len());
        file.splice(at..end, put.chars());
        let file: String = file.into_iter().collect();
        if let Err(error) = load_text(&file, &[]) {
            let text = error.to_string();
            prop_assert!(!text.contains("c4tch-me"), "{}", text);
            prop_assert!(text.starts_with("apps.toml:") || text.starts_with("no apps: "), "{}", text);
        }
    }
}
