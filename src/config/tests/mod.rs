//! Tables of what may be said and what may not, without a process or a real environment.

use super::*;
use crate::auth::Secret;

mod jwt;
mod redis;
mod redis_refused;
mod refused;
mod rules;
mod secrets;
mod tls;

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s3cret\"\n";

fn load_text(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, Error> {
    load_all(file, variables, &[])
}

fn load_all(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Loaded, Error> {
    let environment: Environment = variables.iter().copied().collect();
    let flags: Vec<_> = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    match Tree::parse("apps.toml", file) {
        Ok(tree) => {
            let secrets = SecretReader {
                environment: Some(&environment),
                folder: Path::new(""),
                files: &mut Files::default(),
            };
            checked(tree, environment.input(), &flags, secrets, None)
        }
        Err(problem) => Err(Error::Problems(vec![problem])),
    }
}

#[track_caller]
fn refused(file: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let error = load_text(file, variables).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), expected.join("\n"), "{file}");
}

#[test]
fn defaults() {
    let Settings {
        server,
        admin,
        webhooks,
        redis,
        app_store,
        apps,
        log,
    } = load_text(APP, &[]).unwrap().settings;
    assert_eq!((server.host.as_str(), server.port), ("0.0.0.0", 6001));
    assert_eq!(server.path_prefix, "");
    assert_eq!(server.activity_timeout, 120);
    assert_eq!(
        server.workers,
        std::thread::available_parallelism().unwrap().get()
    );
    assert_eq!(server.max_connections, None);
    assert_eq!(server.outbox_bytes, 1 << 20);
    assert_eq!(server.inbox_bytes, 64 << 20);
    assert_eq!(server.cache_bytes, 64 << 20);
    assert_eq!(server.drain_seconds, 10);
    assert!(!server.allow_plain_tokens);
    assert_eq!((admin.host.as_str(), admin.port), ("127.0.0.1", 9601));
    assert!(admin.token.is_none() && app_store.is_none());
    assert_eq!(log, Log::default());
    assert_eq!(webhooks.linger.as_secs(), 3);
    assert_eq!(
        (webhooks.timeout.as_secs(), webhooks.retry.as_secs()),
        (10, 300)
    );
    assert_eq!(
        (webhooks.queue_events, webhooks.dead_letters),
        (10_000, 1000)
    );
    assert_eq!(
        (webhooks.batch_size, webhooks.batch_window.as_millis()),
        (100, 200)
    );
    assert!(redis.is_none());
    assert!(webhooks.spool.is_none() && apps.by_key("k").unwrap().webhooks.is_empty());
    let app = apps.by_key("k").unwrap();
    assert!(app.enabled && app.subscription_count && app.watchlist && !app.client_events);
    assert!(app.name.is_none() && app.allowed_origins.is_empty() && app.api_tokens.is_empty());
    assert_eq!(app.authorize_within, None);
    assert_eq!((app.resume.seconds, app.resume.ping_seconds), (120, 5));
    assert_eq!(app.idempotency.as_secs(), 120);
    assert_eq!(app.limits, crate::app::Limits::default());
}

/// Every key with a value that is not its default, so that none can be forgotten on the way.
const EVERY_KEY: &str = r#"
        [server]
        host = "[::1]"
        port = 0
        path_prefix = "realtime/"
        activity_timeout = 30
        workers = 3
        max_connections = 7
        connections_per_ip = 8
        connects_per_ip_per_second = 9
        outbox_bytes = 65_536
        inbox_bytes = 0x20_0000
        cache_bytes = 100000
        drain_seconds = 0
        allow_plain_tokens = true
        [admin]
        host = "0.0.0.0"
        port = 0
        token = "operator"
        [[apps]]
        id = "1"
        key = "2"
        secret = "three"
        secrets = ["four", "${FIVE}"]
        name = "Invoices"
        enabled = false
        client_events = true
        subscription_count = false
        watchlist = false
        tls_only = true
        allowed_origins = ["https://*.example.com", "null"]
        authorize_within = 5
        resume_seconds = 7
        resume_ping_seconds = 1
        idempotency_seconds = 6
        api_tokens = ["t"]
        [apps.limits]
        connections = 11
        connections_per_user = 10
        events_per_second = 21
        reads_per_second = 22
        messages_per_second = 23
        subscribes_per_second = 24
        client_events_per_second = 12
        channels_per_connection = 13
        presence_members = 14
        presence_member_bytes = 15
        event_bytes = 16
        channels_per_event = 17
        batch_events = 18
        channel_name_length = 19
        event_name_length = 20
    "#;

#[test]
fn every_key_arrives() {
    let loaded = load_text(EVERY_KEY, &[("FIVE", "five")]).unwrap();
    let Settings {
        server,
        admin,
        apps,
        ..
    } = &loaded.settings;
    assert_eq!((server.host.as_str(), server.port), ("::1", 0));
    assert_eq!(server.path_prefix, "/realtime");
    assert_eq!((server.activity_timeout, server.workers), (30, 3));
    assert_eq!(server.max_connections.unwrap().get(), 7);
    let by_address = [server.connections_per_ip, server.connects_per_ip_per_second];
    assert_eq!(by_address.map(|limit| limit.unwrap().get()), [8, 9]);
    assert_eq!(server.outbox_bytes, 65_536);
    assert_eq!(server.inbox_bytes, 0x20_0000);
    assert_eq!((server.cache_bytes, server.drain_seconds), (100_000, 0));
    assert!(server.allow_plain_tokens);
    assert_eq!((admin.host.as_str(), admin.port), ("0.0.0.0", 0));
    assert!(admin.token.as_ref().unwrap().equals("operator"));
    let app = apps.by_id("1").unwrap();
    assert_eq!(app.key.as_str(), "2");
    assert_eq!(app.secrets.sign(b"x"), Secret::new("three").sign(b"x"));
    assert!(app.secrets.include("four") && app.secrets.include("five"));
    assert_eq!(app.name.as_deref(), Some("Invoices"));
    assert!(!app.enabled && app.client_events && !app.subscription_count);
    assert!(!app.watchlist && app.tls_only);
    assert!(app.allowed_origins[0].allows("https://a.example.com"));
    assert!(app.allowed_origins[1].allows("null"));
    assert_eq!(app.authorize_within.unwrap().as_secs(), 5);
    assert_eq!((app.resume.seconds, app.resume.ping_seconds), (7, 1));
    assert_eq!(app.idempotency.as_secs(), 6);
    assert!(app.api_tokens[0].equals("t"));
    limits_arrive(&app.limits);
    // What is printed is what was read, without its secrets.
    let printed = loaded.to_toml().unwrap();
    for secret in ["three", "four", "FIVE", "operator", "\"t\""] {
        assert!(!printed.contains(secret), "{printed}");
    }
    let again = load_text(&printed, &[]).unwrap();
    assert_eq!(again.to_toml().unwrap(), printed);
}

fn limits_arrive(limits: &crate::app::Limits) {
    assert_eq!(limits.connections.unwrap().get(), 11);
    assert_eq!(limits.connections_per_user.unwrap().get(), 10);
    assert_eq!(limits.events_per_second.unwrap().get(), 21);
    let rates = [
        limits.reads_per_second,
        limits.messages_per_second,
        limits.subscribes_per_second,
    ];
    assert_eq!(rates.map(|rate| rate.unwrap().get()), [22, 23, 24]);
    assert_eq!(limits.client_events_per_second, 12);
    assert_eq!(
        [
            limits.channels_per_connection,
            limits.presence_members,
            limits.presence_member_bytes,
            limits.event_bytes,
            limits.channels_per_event,
            limits.batch_events,
            limits.channel_name_length,
            limits.event_name_length,
        ],
        [13, 14, 15, 16, 17, 18, 19, 20]
    );
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let shipped = load_text(include_str!("../../../apps.toml"), &[]).unwrap();
    let id = "[[apps]]\nid = \"1001\"\nkey = \"app-key\"\nsecret = \"app-secret\"\nname = \"Development\"";
    let defaults = load_text(id, &[]).unwrap();
    assert_eq!(shipped.to_toml().unwrap(), defaults.to_toml().unwrap());
    // Keys without a default stand there as comments.
    for key in [
        "# workers = ",
        "# max_connections = ",
        "# token = ",
        "# connections = ",
        "# connections_per_user = ",
        "# events_per_second = ",
        "# reads_per_second = ",
        "# messages_per_second = ",
        "# subscribes_per_second = ",
        "# connections_per_ip = ",
        "# connects_per_ip_per_second = ",
        "# secrets = ",
        "# secret_file = ",
    ] {
        assert!(include_str!("../../../apps.toml").contains(key), "{key}");
    }
    let [warning] = &shipped.warnings[..] else {
        panic!("{:?}", shipped.warnings);
    };
    assert!(warning.starts_with("app 1001 uses the shipped development secret"));
    // Several SDKs take an id of digits only.
    let mut apps = shipped.settings.apps.iter();
    assert!(apps.all(|app| app.id.as_str().bytes().all(|byte| byte.is_ascii_digit())));
    let local = load_text(id, &[("TIDEWIRE_SERVER__HOST", "::1")]).unwrap();
    assert!(local.warnings.is_empty());
}

#[test]
fn precedence() {
    let file = format!("[server]\nport = 1\nworkers = 1\ndrain_seconds = 1\n{APP}");
    let variables = [
        ("TIDEWIRE_SERVER__PORT", "2"),
        ("TIDEWIRE_SERVER__WORKERS", "2"),
        ("TIDEWIRE_SERVER__PATH_PREFIX", "123"),
        ("TIDEWIRE_SERVER__ALLOW_PLAIN_TOKENS", "true"),
        ("TIDEWIRE_ADMIN__TOKEN", "9"),
        ("TIDEWIRE_LOG", "debug"),
        ("TIDEWIRE_LOG_FORMAT", "json"),
        ("PATH", "secrets"),
    ];
    let flags = [("port", "3")];
    let Settings {
        server, admin, log, ..
    } = load_all(&file, &variables, &flags).unwrap().settings;
    assert_eq!(
        (server.port, server.workers, server.drain_seconds),
        (3, 2, 1)
    );
    assert_eq!(server.path_prefix, "/123");
    assert!(server.allow_plain_tokens);
    assert!(admin.token.unwrap().equals("9"));
    assert_eq!(
        (log.filter.as_str(), log.format),
        ("debug", LogFormat::Json)
    );
}

#[test]
fn the_environment_adds_an_app() {
    let variables = [
        ("TIDEWIRE_APP_ID", "7"),
        ("TIDEWIRE_APP_KEY", "8"),
        ("TIDEWIRE_APP_SECRET", "nine"),
    ];
    for (file, count) in [("", 1), (APP, 2)] {
        let apps = load_text(file, &variables).unwrap().settings.apps;
        assert_eq!(apps.len(), count);
        assert!(apps.by_id("7").unwrap().secrets.include("nine"));
    }
    refused(
        "",
        &variables[..1],
        &[
            "TIDEWIRE_APP_ID: TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET must be set too: the three together make an app",
        ],
    );
    refused(
        "[[apps]]\nid = \"7\"\nkey = \"other\"\nsecret = \"other\"",
        &variables,
        &[
            "TIDEWIRE_APP_ID: id in [[apps]]: \"7\" is taken by the app at apps.toml:2, each needs its own: the environment adds an app, it does not replace one of the file",
        ],
    );
    refused(
        "",
        &[variables[0], variables[1], ("TIDEWIRE_APP_SECRET", "")],
        &["TIDEWIRE_APP_SECRET: secret in [[apps]]: expected a secret text, found an empty one"],
    );
}

#[test]
fn webhooks_are_checked_and_their_headers_masked() {
    let with = |webhook: &str| format!("{APP}\n[[apps.webhooks]]\n{webhook}");
    let loaded = load_text(
        &with(
            "url = \"https://example.com/w?t=query-token\"\nevents = [\"member_added\"]\nchannels = [\"presence-*\"]\n\
             batch = true\nheaders = { Authorization = \"Bearer header-token\" }",
        ),
        &[],
    )
    .unwrap();
    let toml = loaded.to_toml().unwrap();
    assert!(toml.contains("https://example.com/w?***"), "{toml}");
    let webhook = &loaded.settings.apps.by_key("k").unwrap().webhooks[0];
    assert!(webhook.batch && webhook.headers.len() == 1);
    for shown in [
        toml,
        format!("{:?}", webhook.headers),
        format!("{:?}", loaded.raw),
    ] {
        assert!(!shown.contains("-token"), "{shown}");
    }
}

#[test]
fn a_webhooks_own_headers_are_left_out_with_a_warning() {
    let toml = format!(
        "{APP}\n[[apps.webhooks]]\nurl = \"https://a.b/\"\nheaders = {{ X-Pusher-Key = \"x\", Host = \"y\", X-A = \"z\" }}"
    );
    let loaded = load_text(&toml, &[]).unwrap();
    let webhook = &loaded.settings.apps.by_key("k").unwrap().webhooks[0];
    assert_eq!(webhook.headers.len(), 1);
    let [host, key] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings);
    };
    for (warning, name) in [(host, "host"), (key, "x-pusher-key")] {
        let said = format!("{name} is a header of the webhook itself and is left out");
        assert!(
            warning.contains(&said) && warning.contains("apps.toml:"),
            "{warning}"
        );
        assert!(!warning.contains('"'), "{warning}");
    }
}

#[test]
fn webhooks_of_some_channels_and_not_of_others() {
    use crate::protocol::{ChannelName, WebhookKind};
    let toml = format!(
        "{APP}\n[[apps.webhooks]]\nurl = \"https://a.b/\"\nchannels = [\"!private-encrypted-*\"]\n\
         [[apps.webhooks]]\nurl = \"https://a.b/\"\nchannels = [\"!private-x\", \"private-*\"]\nevents = [\"subscription_count\"]"
    );
    let loaded = load_text(&toml, &[]).unwrap();
    let [all, some] = &loaded.settings.apps.by_key("k").unwrap().webhooks[..] else {
        panic!("two webhooks");
    };
    let (occupied, count) = (WebhookKind::ChannelOccupied, WebhookKind::SubscriptionCount);
    for (webhook, kind, channel, wanted) in [
        (all, occupied, "x", true),
        (all, occupied, "private-x", true),
        (all, occupied, "private-encrypted-x", false),
        // It is asked for by name.
        (all, count, "x", false),
        (some, count, "private-y", true),
        (some, count, "private-x", false),
        (some, count, "x", false),
        (some, occupied, "private-y", false),
    ] {
        let name = ChannelName::parse(channel, 200).unwrap();
        assert_eq!(webhook.wants(kind, &name), wanted, "{kind:?} {channel}");
    }
}

#[test]
fn wrong_webhooks_are_refused_with_their_place() {
    let with = |webhook: &str| format!("{APP}\n[[apps.webhooks]]\n{webhook}");
    for (webhook, expected) in [
        ("batch = true", "a webhook needs a url"),
        (
            "url = \"ftp://example.com/\"",
            "expected a URL like \"https://example.com/webhooks\", http or https, without user and fragment (a token goes into headers); found \"ftp://example.com/\"",
        ),
        ("url = \"/webhooks\"", "; found \"/webhooks\""),
        (
            "url = \"https://user:pass@example.com/\"",
            "; found \"https://***@example.com/\"",
        ),
        (
            "url = \"htps://us@er:pa?ss@example.com/w?pass\"",
            "; found \"htps://***@example.com/w?***\"",
        ),
        (
            "url = \"htps://example.com/w?t=to@pass\"",
            "; found \"htps://***\"",
        ),
        (
            "url = \"user:pass@example.com\"",
            "; found \"***@example.com\"",
        ),
        (
            "url = \"https://a.b/w#pass\"",
            "; found \"https://a.b/w#***\"",
        ),
        ("url = \"https://a b/\"", "; found \"https://a b/\""),
        (
            "url = \"https://a.b/\"\nevents = [\"channel_ocupied\"]",
            "did you mean \"channel_occupied\"?",
        ),
        (
            "url = \"https://a.b/\"\nchannels = [\"a b\"]",
            "expected a channel's name or a pattern",
        ),
        (
            "url = \"https://a.b/\"\nheaders = { \"a b\" = \"x\" }",
            "expected the name of a header",
        ),
        (
            "url = \"https://a.b/\"\n[[apps.webhooks]]\nurl = \"https://a.b/\"",
            "another webhook of this app",
        ),
        (
            "url = \"https://a.b/\"\nevent = []",
            "did you mean \"events\"?",
        ),
    ] {
        let error = load_text(&with(webhook), &[])
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("apps.toml:"),
            "{error}"
        );
        assert!(!error.contains("pass"), "{error}");
    }
}

/// The first file that is there counts, and what it names is looked for beside it.
#[test]
fn a_file_is_looked_for_at_the_default_places() {
    let folder = std::env::temp_dir().join(format!("tidewire-lookup-{}", std::process::id()));
    let places = ["here", "etc"].map(|name| folder.join(name).join("apps.toml"));
    for place in &places {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    }
    let mut sources = Sources {
        places: places.to_vec(),
        ..Sources::default()
    };
    let error = load(&sources).map(|_| ()).unwrap_err().to_string();
    let [here, etc] = places.each_ref().map(|place| place.display());
    let expected = format!("no apps: there is no {here} and no {etc}. Name a file");
    assert!(error.starts_with(&expected), "{error}");
    let of_file = "[[apps]]\nid = \"etc\"\nkey = \"k\"\nsecret_file = \"s\"\n";
    std::fs::write(&places[1], of_file).unwrap();
    std::fs::write(folder.join("etc/s"), "of-the-file").unwrap();
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.file.as_ref(), Some(&places[1]));
    let app = loaded.settings.apps.by_id("etc").unwrap();
    assert!(app.secrets.include("of-the-file"));
    std::fs::write(&places[0], APP).unwrap();
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.file.as_ref(), Some(&places[0]));
    // One that is named is the only one that is looked for.
    sources.file = Some(folder.join("absent.toml"));
    assert!(matches!(load(&sources), Err(Error::Read { .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}
