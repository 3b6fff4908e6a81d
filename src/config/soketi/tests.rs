//! What Soketi's names become, and what is told about them.

use std::fs;

use super::*;
use crate::config::{GeneratedApp, Loaded, Sources, load};

const CREDENTIALS: [(&str, &str); 3] = [
    ("SOKETI_DEFAULT_APP_ID", "1"),
    ("SOKETI_DEFAULT_APP_KEY", "k"),
    ("SOKETI_DEFAULT_APP_SECRET", "s3cret"),
];

pub(super) fn loaded(variables: &[(&str, &str)]) -> Result<Loaded, crate::config::Error> {
    load(&Sources {
        environment: variables.iter().copied().collect(),
        ..Sources::default()
    })
}

/// With an app.
#[track_caller]
fn with_app(variables: &[(&str, &str)]) -> Loaded {
    loaded(&[&CREDENTIALS, variables].concat()).unwrap()
}

/// What is wrong, of an environment with an app.
#[track_caller]
pub(super) fn refused(variables: &[(&str, &str)]) -> String {
    let error = loaded(&[&CREDENTIALS, variables].concat());
    error.map(|_| ()).unwrap_err().to_string()
}

/// What is told beyond the app's credentials.
fn told(loaded: &Loaded) -> Vec<&str> {
    let mut told: Vec<&str> = loaded.notices.iter().map(String::as_str).collect();
    told.retain(|line| !line.contains("TIDEWIRE_APP_"));
    told
}

#[test]
fn every_name_is_in_the_documentation() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documentation = fs::read_to_string(root.join("docs/migration.md")).unwrap();
    let missing: Vec<String> = TABLE
        .iter()
        .map(|row| format!("`{}`", row.name))
        .filter(|name| !documentation.contains(name))
        .collect();
    assert!(missing.is_empty(), "not in docs/migration.md: {missing:?}");
}

#[test]
fn no_name_hides_another() {
    for (at, row) in TABLE.iter().enumerate() {
        for earlier in &TABLE[..at] {
            let hides = match earlier.name.strip_suffix('*') {
                Some(beginning) => row.name.starts_with(beginning),
                None => row.name == earlier.name,
            };
            assert!(!hides, "{} hides {}", earlier.name, row.name);
        }
    }
}

#[test]
fn the_server_and_the_log() {
    let loaded = with_app(&[
        ("SOKETI_HOST", "127.0.0.1"),
        ("SOKETI_PORT", "7001"),
        ("SOKETI_PATH_PREFIX", "/ws"),
        ("SOKETI_SHUTDOWN_GRACE_PERIOD", "2500"),
        ("SOKETI_DEBUG", "1"),
        ("SOKETI_METRICS_SERVER_PORT", "9700"),
        ("SOKETI_METRICS_HOST", "127.0.0.2"),
        ("SOKETI_METRICS_ENABLED", "true"),
    ]);
    let settings = &loaded.settings;
    let server = &settings.server;
    assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 7001));
    assert_eq!(
        (server.path_prefix.as_str(), server.drain_seconds),
        ("/ws", 3)
    );
    let admin = &settings.admin;
    assert_eq!((admin.host.as_str(), admin.port), ("127.0.0.2", 9700));
    assert!(admin.soketi_metric_names);
    assert_eq!(settings.log.filter, DEBUG);
    let expected =
        "SOKETI_PORT is understood as port in [server]; the name here is TIDEWIRE_SERVER__PORT";
    assert!(told(&loaded).contains(&expected), "{:?}", loaded.notices);
    assert_eq!(told(&loaded).len(), 8, "{:?}", loaded.notices);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn certificates() {
    let files = [
        ("SOKETI_SSL_CERT", "/absent/tls.crt"),
        ("SOKETI_SSL_KEY", "/absent/tls.key"),
    ];
    let error = refused(&files);
    let expected = "SOKETI_SSL_CERT: cert in [server.tls]: cannot read /absent/tls.crt: ";
    assert!(error.starts_with(expected), "{error}");
    let error = refused(&files[..1]);
    let expected = "SOKETI_SSL_CERT: cert in [server.tls]: key must be set too";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn the_app_and_its_limits() {
    let loaded = with_app(&[
        ("SOKETI_DEFAULT_APP_ENABLED", "0"),
        ("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true"),
        ("SOKETI_DEFAULT_APP_MAX_CONNS", "12"),
        ("SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC", "-1"),
        ("SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC", "-1"),
        ("SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC", "13"),
        ("SOKETI_DEFAULT_APP_USER_AUTHENTICATION", "true"),
        ("SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH", "101"),
        ("SOKETI_EVENT_MAX_BATCH_SIZE", "11"),
        ("SOKETI_EVENT_MAX_CHANNELS_AT_ONCE", "102"),
        ("SOKETI_EVENT_MAX_NAME_LENGTH", "103"),
        ("SOKETI_EVENT_MAX_SIZE_IN_KB", "100"),
        ("SOKETI_PRESENCE_MAX_MEMBERS", "104"),
        ("SOKETI_PRESENCE_MAX_MEMBER_SIZE", "2"),
    ]);
    let app = loaded.settings.apps.by_key("k").unwrap();
    assert_eq!(app.id.as_str(), "1");
    assert!(app.secrets.include("s3cret"));
    assert!(!app.enabled && app.client_events);
    assert_eq!(app.authorize_within.unwrap().as_secs(), 30);
    let limits = &app.limits;
    assert_eq!(limits.connections.unwrap().get(), 12);
    assert_eq!(limits.events_per_second, None);
    assert_eq!(limits.reads_per_second.unwrap().get(), 13);
    assert_eq!(limits.client_events_per_second, 1_000_000);
    assert_eq!((limits.channel_name_length, limits.batch_events), (101, 11));
    assert_eq!(
        (limits.channels_per_event, limits.event_name_length),
        (102, 103)
    );
    assert_eq!(limits.event_bytes, 100 * 1024);
    assert_eq!(
        (limits.presence_members, limits.presence_member_bytes),
        (104, 2048)
    );
    assert_eq!(loaded.notices.len(), 17, "{:?}", loaded.notices);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let told = format!("{:?}", loaded.notices);
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn ours_win() {
    let loaded = loaded(&[
        ("TIDEWIRE_APP_ID", "2"),
        ("TIDEWIRE_APP_KEY", "ours"),
        ("TIDEWIRE_APP_SECRET", "secret"),
        ("SOKETI_DEFAULT_APP_ID", "1"),
        ("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true"),
        ("TIDEWIRE_SERVER__PORT", "1"),
        ("SOKETI_PORT", "2"),
        ("TIDEWIRE_LOG", "warn"),
        ("SOKETI_DEBUG", "true"),
        ("TIDEWIRE_REDIS__URL", "redis://ours"),
        ("SOKETI_ADAPTER_DRIVER", "redis"),
    ])
    .unwrap();
    assert_eq!(loaded.settings.server.port, 1);
    assert_eq!(loaded.settings.log.filter, "warn");
    let app = loaded.settings.apps.by_id("2").unwrap();
    assert!(app.client_events);
    for expected in [
        "SOKETI_DEFAULT_APP_ID has no effect: TIDEWIRE_APP_ID is set and wins",
        "SOKETI_PORT has no effect: TIDEWIRE_SERVER__PORT is set and wins",
        "SOKETI_DEBUG has no effect: TIDEWIRE_LOG is set and wins",
        "SOKETI_ADAPTER_DRIVER has no effect: TIDEWIRE_REDIS__URL is set and wins",
    ] {
        let told = &loaded.notices;
        assert!(told.iter().any(|line| line == expected), "{told:?}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let loaded = with_app(&[
        ("SOKETI_DB_MYSQL_HOST", "db"),
        ("SOKETI_DB_MYSQL_PASSWORD", "hidden"),
        ("SOKETI_DB_POOLING_ENABLED", "1"),
        ("SOKETI_QUEUE_DRIVER", "sync"),
        ("SOKETI_SSL_PASS", "hidden"),
        ("SOKETI_SSL_CA", ""),
        ("SOKETI_DB_REDIS_HOST", "redis"),
        ("SOKETI_DEFAULT_APP_MAX_CONNECTIONS", "5"),
        ("SOKETI_PORT", "tcp://10.0.0.1:6001"),
        ("SOKETI_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert_eq!(loaded.settings.server.port, 6001);
    let expected = [
        "SOKETI_DB_POOLING_ENABLED: not supported, apps are in memory, and one connection looks",
        "without effect, because SOKETI_APP_MANAGER_DRIVER is not mysql: SOKETI_DB_MYSQL_HOST, SOKETI_DB_MYSQL_PASSWORD",
        "SOKETI_SSL_PASS: not supported, ",
        "Soketi has no setting of these environment variables' names, they are ignored: \
         SOKETI_DEFAULT_APP_MAX_CONNECTIONS (did you mean SOKETI_DEFAULT_APP_MAX_CONNS?)",
        "without effect, because SOKETI_ADAPTER_DRIVER is not redis: SOKETI_DB_REDIS_HOST",
    ];
    assert_eq!(
        loaded.warnings.len(),
        expected.len(),
        "{:#?}",
        loaded.warnings
    );
    for expected in expected {
        let found = loaded
            .warnings
            .iter()
            .any(|line| line.starts_with(expected));
        assert!(found, "{expected} in {:#?}", loaded.warnings);
    }
    let told = format!("{:?}{:?}", loaded.warnings, loaded.notices);
    assert!(!told.contains("hidden"), "{told}");
    assert_eq!(
        self::told(&loaded),
        [
            "SOKETI_QUEUE_DRIVER=sync is so anyway: webhooks wait in a queue of this process, and with spool in \
          [webhooks] on its disk"
        ]
    );
}

/// A name, a value that it cannot have, and what is said.
const REFUSED: &[[&str; 3]] = &[
    [
        "SOKETI_PORT",
        "abc",
        "SOKETI_PORT: port in [server]: expected a whole number from 0 to 65535, found the text \"abc\"",
    ],
    [
        "SOKETI_PORT",
        "70000",
        "SOKETI_PORT: port in [server]: expected a whole number from 0 to 65535, found 70000",
    ],
    [
        "SOKETI_DEFAULT_APP_ENABLED",
        "yes",
        "SOKETI_DEFAULT_APP_ENABLED: enabled in [[apps]]: expected true or false, found the text \"yes\"",
    ],
    [
        "SOKETI_DEFAULT_APP_MAX_CONNS",
        "many",
        "SOKETI_DEFAULT_APP_MAX_CONNS: connections in [apps.limits]: expected a whole number from 1 to ",
    ],
    [
        "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
        "0",
        "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC: events_per_second in [apps.limits]: expected a whole number from 1 to 65535, found 0",
    ],
    [
        "SOKETI_EVENT_MAX_SIZE_IN_KB",
        "10kB",
        "SOKETI_EVENT_MAX_SIZE_IN_KB: expected a number of kilobytes, found the text \"10kB\"",
    ],
    [
        "SOKETI_DEBUG",
        "loud",
        "SOKETI_DEBUG: expected true or false, found the text \"loud\"",
    ],
    [
        "SOKETI_ADAPTER_DRIVER",
        "cluster",
        "SOKETI_ADAPTER_DRIVER: expected redis or local, for nodes find each other only so here, found the text \"cluster\"",
    ],
    [
        "SOKETI_METRICS_HOST",
        "0.0.0.0",
        "SOKETI_METRICS_HOST: host in [admin]: \"0.0.0.0\" is reachable from beyond this machine: set token in [admin] too",
    ],
    [
        "SOKETI_DEFAULT_APP_USER_AUTHENTICATION",
        "maybe",
        "SOKETI_DEFAULT_APP_USER_AUTHENTICATION: expected true or false",
    ],
    [
        "SOKETI_WEBHOOKS_BATCHING",
        "maybe",
        "SOKETI_WEBHOOKS_BATCHING: expected true or false",
    ],
    [
        "SOKETI_DEFAULT_APP_WEBHOOKS",
        "{\"url\":\"hidden\"}",
        "SOKETI_DEFAULT_APP_WEBHOOKS: expected a list like ",
    ],
    [
        "SOKETI_DEFAULT_APP_WEBHOOKS",
        "[{\"url\":\"https://a.b\",\"event_types\":[\"channel_ocupied\"]}]",
        "SOKETI_DEFAULT_APP_WEBHOOKS: events in [[apps.webhooks]]: expected \"channel_occupied\" or \"channel_vacated\" or \"member_added\" or \"member_removed\" or \"client_event\" or \"cache_miss\" or \"subscription_count\", found the text \"channel_ocupied\"; did you mean \"channel_occupied\"?",
    ],
];

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    for [name, text, expected] in REFUSED.iter().copied() {
        let error = refused(&[(name, text)]);
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[test]
fn the_certificate_is_the_servers() {
    let nowhere = "/nowhere/server.pem";
    let error = refused(&[("SOKETI_SSL_CERT", nowhere), ("SOKETI_SSL_KEY", nowhere)]);
    for name in ["SOKETI_SSL_CERT: ", "SOKETI_SSL_KEY: "] {
        assert!(error.contains(name), "{error}");
    }
    assert!(error.contains("cannot read /nowhere/server.pem"), "{error}");
}

#[test]
fn half_an_app_is_none() {
    let error = loaded(&CREDENTIALS[..2]).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SOKETI_DEFAULT_APP_ID: SOKETI_DEFAULT_APP_SECRET must be set too: the three together make an app"
    );
}

#[test]
fn what_is_said_of_an_app_holds_for_the_generated_one_and_not_for_the_file() {
    let options = [("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true")];
    let mut sources = Sources {
        environment: options.into_iter().collect(),
        generated_app: Some(GeneratedApp::random().unwrap()),
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    assert!(loaded.is_generated);
    assert!(loaded.settings.apps.iter().all(|app| app.client_events));
    sources.file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/apps.toml").into());
    let loaded = load(&sources).unwrap();
    assert!(!loaded.is_generated);
    assert!(!loaded.settings.apps.iter().any(|app| app.client_events));
    let expected =
        "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES has no effect: the environment has no app";
    let told = &loaded.warnings;
    assert!(
        told.iter().any(|line| line.starts_with(expected)),
        "{told:?}"
    );
}

#[test]
fn webhooks_of_json() {
    let loaded = with_app(&[
        (
            "SOKETI_DEFAULT_APP_WEBHOOKS",
            r#"[
                {"url": "https://a.b/one", "event_types": ["channel_occupied", "client_event"], "headers": {"X-Token": "t", "X-Pusher-Key": "k"},
                 "filter": {"channel_name_starts_with": "private-"}},
                {"lambda_function": "f", "event_types": ["member_added"], "lambda": {}},
                {"url": "https://a.b/three", "event_types": []}
            ]"#,
        ),
        ("SOKETI_WEBHOOKS_BATCHING", "true"),
        ("SOKETI_WEBHOOKS_BATCHING_DURATION", "50"),
    ]);
    let app = loaded.settings.apps.by_key("k").unwrap();
    let [webhook] = &app.webhooks[..] else {
        panic!("{:?}", app.webhooks);
    };
    assert_eq!(webhook.url.to_string(), "https://a.b/one");
    assert!(webhook.batch);
    assert_eq!((webhook.events.len(), webhook.headers.len()), (2, 1));
    assert!(webhook.channels[0].fits("private-x") && !webhook.channels[0].fits("x"));
    assert_eq!(loaded.settings.webhooks.batch_window.as_millis(), 50);
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
    assert!(
        loaded.warnings.iter().any(|warning| {
            warning.contains("SOKETI_DEFAULT_APP_WEBHOOKS")
                && warning
                    .contains("x-pusher-key is a header of the webhook itself and is left out")
        }),
        "{:?}",
        loaded.warnings
    );
}

/// What Soketi's variables become in `[redis]`.
#[track_caller]
fn redis_of(variables: &[(&str, &str)]) -> (toml::Table, Vec<String>) {
    let driver = [("SOKETI_ADAPTER_DRIVER", "redis")];
    let loaded = with_app(&[&driver, variables].concat());
    let settings: toml::Table = loaded.to_toml().unwrap().parse().unwrap();
    (
        settings["redis"].as_table().unwrap().clone(),
        loaded.warnings,
    )
}

#[test]
fn one_redis() {
    let (redis, warnings) = redis_of(&[]);
    assert_eq!(redis["url"].as_str(), Some("redis://127.0.0.1:6379/0"));
    assert!(warnings.is_empty());
    let (redis, warnings) = redis_of(&[
        ("SOKETI_DB_REDIS_HOST", "::1"),
        ("SOKETI_DB_REDIS_PORT", "7000"),
        ("SOKETI_DB_REDIS_DB", "3"),
        ("SOKETI_DB_REDIS_USERNAME", "me"),
        ("SOKETI_DB_REDIS_PASSWORD", "hidden"),
        ("SOKETI_DB_REDIS_KEY_PREFIX", "a:"),
        ("SOKETI_ADAPTER_REDIS_PREFIX", "b"),
        ("SOKETI_DB_REDIS_INSTANCE_NAME", "unused"),
    ]);
    assert_eq!(redis["url"].as_str(), Some("redis://[::1]:7000/3"));
    assert_eq!(redis["username"].as_str(), Some("me"));
    assert_eq!(redis["password"].as_str(), Some("***"));
    assert_eq!(redis["prefix"].as_str(), Some("a:b"));
    assert_eq!(
        warnings,
        [
            "without effect, because SOKETI_DB_REDIS_SENTINELS is not set: SOKETI_DB_REDIS_INSTANCE_NAME"
        ]
    );
}

#[test]
fn sentinels_and_a_cluster() {
    let list = r#"[{"host":"s1","port":26379},{"host":"s2","port":"26380"}]"#;
    let (redis, warnings) = redis_of(&[
        ("SOKETI_DB_REDIS_SENTINELS", list),
        ("SOKETI_DB_REDIS_SENTINEL_PASSWORD", "hidden"),
        ("SOKETI_DB_REDIS_DB", "2"),
    ]);
    let sentinels: Vec<_> = redis["sentinel"].as_array().unwrap().iter().collect();
    assert_eq!(sentinels.len(), 2);
    assert_eq!(sentinels[1].as_str(), Some("s2:26380"));
    assert_eq!(redis["sentinel_master"].as_str(), Some("mymaster"));
    assert_eq!(redis["sentinel_password"].as_str(), Some("***"));
    assert!(
        warnings[0].ends_with(": SOKETI_DB_REDIS_DB"),
        "{warnings:?}"
    );
    let (redis, warnings) = redis_of(&[
        ("SOKETI_ADAPTER_REDIS_CLUSTER_MODE", "true"),
        (
            "SOKETI_DB_REDIS_CLUSTER_NODES",
            r#"[{"host":"r1","port":7000}]"#,
        ),
        ("SOKETI_DB_REDIS_HOST", "unused"),
    ]);
    assert_eq!(redis["cluster"][0].as_str(), Some("r1:7000"));
    assert!(
        warnings[0].ends_with(": SOKETI_DB_REDIS_HOST"),
        "{warnings:?}"
    );
    for (variables, expected) in [
        (
            &[("SOKETI_DB_REDIS_PORT", "x")][..],
            "SOKETI_DB_REDIS_PORT: expected a port from 1 to 65535, found the text \"x\"",
        ),
        (
            &[("SOKETI_DB_REDIS_DB", "x")],
            "SOKETI_DB_REDIS_DB: expected the number of a database",
        ),
        (
            &[("SOKETI_DB_REDIS_HOST", "a b")],
            "SOKETI_DB_REDIS_HOST: url in [redis]: expected ",
        ),
        (
            &[("SOKETI_DB_REDIS_SENTINELS", "s1:1")],
            "SOKETI_DB_REDIS_SENTINELS: expected a list like ",
        ),
        (
            &[("SOKETI_ADAPTER_REDIS_CLUSTER_MODE", "true")],
            "SOKETI_DB_REDIS_CLUSTER_NODES: expected a list like ",
        ),
        (
            &[("SOKETI_DB_REDIS_KEY_PREFIX", "{a}")],
            "SOKETI_DB_REDIS_KEY_PREFIX: prefix in [redis]: expected ",
        ),
    ] {
        let driver = [("SOKETI_ADAPTER_DRIVER", "redis")];
        let error = refused(&[&driver, variables].concat());
        assert!(error.starts_with(expected), "{error}");
    }
}
