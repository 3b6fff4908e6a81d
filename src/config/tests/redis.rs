//! `[redis]`: what it may say and what comes of it.

use super::*;
use crate::adapter::redis::{Address, LogLimits, Login, OnOutage, Settings as Redis, Topology};

/// A configuration with this section.
pub(super) fn file(section: &str) -> String {
    format!("[redis]\n{section}\n{APP}")
}

#[track_caller]
fn redis(section: &str, variables: &[(&str, &str)]) -> Redis {
    let loaded = load_text(&file(section), variables).unwrap();
    loaded.settings.redis.unwrap()
}

fn address(host: &str, port: u16) -> Address {
    let host = host.to_owned();
    Address { host, port }
}

fn login(username: &str, password: &str) -> Login {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Login {
        username: given(username),
        password: given(password),
    }
}

#[test]
fn an_empty_section_is_none() {
    for file in [APP.to_owned(), file("")] {
        let loaded = load_text(&file, &[]).unwrap();
        assert!(loaded.settings.redis.is_none());
        assert!(!loaded.to_toml().unwrap().contains("redis"));
    }
}

#[test]
fn a_url_is_enough() {
    let Redis {
        topology,
        login: who,
        tls,
        prefix,
        lease,
        publish_timeout,
        on_outage,
        log,
    } = redis("url = \"redis://h\"", &[]);
    assert_eq!(topology, Topology::Standalone(address("h", 6379), 0));
    assert_eq!(who, Login::default());
    assert!(tls.is_none());
    assert_eq!(prefix, "tidewire");
    assert_eq!((lease.as_secs(), publish_timeout.as_secs()), (15, 2));
    assert_eq!(on_outage, OnOutage::Error);
    let expected = LogLimits {
        events: 1024,
        bytes: 262_144,
        seconds: 60,
    };
    assert_eq!(log, expected);
}

const EVERY_OTHER_KEY: &str = r#"
    username = "node"
    password = "hidden"
    prefix = "live:1"
    lease_seconds = 3
    publish_timeout = 60
    on_outage = "local"
    log_events = 0
    log_bytes = 1024
    log_seconds = 1
"#;

const SENTINEL: &str = r#"
    sentinel = ["s1", "[::1]:7000"]
    sentinel_master = "mymaster"
    sentinel_username = "watcher"
    sentinel_password = "${HIDDEN}"
"#;

#[test]
fn every_key_arrives() {
    let variables = [("HIDDEN", "hidden too")];
    let sentinel = Topology::Sentinel {
        sentinels: vec![address("s1", 26379), address("::1", 7000)],
        primary: "mymaster".to_owned(),
        login: login("watcher", "hidden too"),
    };
    let cluster = Topology::Cluster(vec![address("r1", 6379), address("r2", 7001)]);
    for (section, place) in [
        (
            "url = \"redis://h:1/2\"",
            Topology::Standalone(address("h", 1), 2),
        ),
        (SENTINEL, sentinel),
        ("cluster = [\"r1\", \"r2:7001\"]", cluster),
    ] {
        let file = file(&format!("{section}{EVERY_OTHER_KEY}"));
        let loaded = load_text(&file, &variables).unwrap();
        let redis = loaded.settings.redis.as_ref().unwrap();
        assert_eq!(redis.topology, place);
        assert_eq!(redis.login, login("node", "hidden"));
        assert_eq!(redis.prefix, "live:1");
        assert_eq!(redis.lease.as_secs(), 3);
        assert_eq!(redis.publish_timeout.as_secs(), 60);
        assert_eq!(redis.on_outage, OnOutage::Local);
        let expected = LogLimits {
            events: 0,
            bytes: 1024,
            seconds: 1,
        };
        assert_eq!(redis.log, expected);
        // What is printed is what was read, without its secrets.
        let printed = loaded.to_toml().unwrap();
        for text in [&printed, &format!("{loaded:?}")] {
            assert!(!text.to_lowercase().contains("hidden"), "{text}");
        }
        let again = load_text(&printed, &variables).unwrap();
        assert_eq!(again.to_toml().unwrap(), printed);
    }
}

#[test]
fn passwords_of_the_url_are_printed_masked() {
    let printed = |url: &str| {
        let file = file(&format!("url = \"{url}\""));
        let variables = [("REDIS_URL", "rediss://u:hidden@h")];
        let loaded = load_text(&file, &variables).unwrap();
        assert!(!format!("{loaded:?}").contains("hidden"));
        let printed: toml::Table = loaded.to_toml().unwrap().parse().unwrap();
        printed["redis"]["url"].as_str().unwrap().to_owned()
    };
    for (url, expected) in [
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://:hidden@h/", "redis://:***@h/"),
        ("rediss://u%40:hid%2Fden:@h", "rediss://u%40:***@h"),
        ("redis://u:hidden@hidden@h", "redis://u:***@h"),
        ("${REDIS_URL}", "${REDIS_URL}"),
    ] {
        assert_eq!(printed(url), expected);
    }
}

#[test]
fn user_and_password_come_from_the_url_or_keys_or_files() {
    let variables = [
        ("PASSWORD", "of-variable"),
        ("REDIS_URL", "rediss://u:of%2Durl@h:7000/3"),
    ];
    let folder = tls::Folder::new("passwords");
    folder.write("secret", "of-file\n");
    let path = folder.sources().file.unwrap().with_file_name("secret");
    let file = format!("password_file = \"{}\"", path.display());
    for (section, expected) in [
        ("url = \"redis://h\"", login("", "")),
        ("url = \"redis://:@h\"", login("", "")),
        ("url = \"redis://:of-url@h\"", login("", "of-url")),
        ("url = \"${REDIS_URL}\"", login("u", "of-url")),
        (
            "url = \"redis://u@h\"\npassword = \"of-key\"",
            login("u", "of-key"),
        ),
        (
            "url = \"redis://:of-url@h\"\nusername = \"k\"",
            login("k", "of-url"),
        ),
        (
            "cluster = [\"h\"]\npassword = \"${PASSWORD}\"",
            login("", "of-variable"),
        ),
        (
            &format!("cluster = [\"h\"]\nusername = \"k\"\n{file}"),
            login("k", "of-file"),
        ),
    ] {
        assert_eq!(redis(section, &variables).login, expected, "{section}");
    }
    let of_variable = redis("url = \"${REDIS_URL}\"", &variables);
    assert!(of_variable.tls.is_some());
    assert_eq!(
        of_variable.topology,
        Topology::Standalone(address("h", 7000), 3)
    );
    let section = format!("sentinel = [\"h\"]\nsentinel_master = \"m\"\nsentinel_{file}");
    let Topology::Sentinel { login: who, .. } = redis(&section, &[]).topology else {
        panic!("{section}");
    };
    assert_eq!(who, login("", "of-file"));
}

#[test]
fn the_environment_is_above_the_file() {
    let section = "url = \"redis://file\"\nlease_seconds = 20\nlog_events = 1";
    let variables = [
        ("TIDEWIRE_REDIS__URL", "redis://:123@variable/1"),
        ("TIDEWIRE_REDIS__LEASE_SECONDS", "30"),
        ("TIDEWIRE_REDIS__PREFIX", "7"),
        ("TIDEWIRE_REDIS__ON_OUTAGE", "local"),
        ("TIDEWIRE_REDIS__TLS", "true"),
    ];
    let found = redis(section, &variables);
    assert_eq!(
        found.topology,
        Topology::Standalone(address("variable", 6379), 1)
    );
    assert_eq!(found.login, login("", "123"));
    assert_eq!((found.lease.as_secs(), found.log.events), (30, 1));
    assert_eq!(found.prefix, "7");
    assert_eq!(found.on_outage, OnOutage::Local);
    assert!(found.tls.is_some());
    // Without any file. A list's parts are separated by commas.
    let variables = [
        ("TIDEWIRE_REDIS__SENTINEL", "a:1, b,[::1]:2"),
        ("TIDEWIRE_REDIS__SENTINEL_MASTER", "1"),
    ];
    let redis = load_text(APP, &variables).unwrap().settings.redis.unwrap();
    let Topology::Sentinel { sentinels, .. } = redis.topology else {
        panic!("{redis:?}");
    };
    let expected = [address("a", 1), address("b", 26379), address("::1", 2)];
    assert_eq!(sentinels, expected);
}

/// The lines that have a default say it.
#[test]
fn the_shipped_comments_say_the_defaults() {
    let shipped = include_str!("../../../apps.toml");
    let (_, section) = shipped.split_once("\n# [redis]").unwrap();
    let (section, _) = section.split_once("\n\n").unwrap();
    let lines = section.lines().skip(1);
    let lines = lines.map(|line| line.strip_prefix("# ").unwrap());
    let with_default = [
        "tls",
        "prefix",
        "lease_seconds",
        "publish_timeout",
        "on_outage",
        "log_events",
        "log_bytes",
        "log_seconds",
    ];
    let lines: Vec<&str> = lines
        .filter(|line| with_default.contains(&line.split(" = ").next().unwrap()))
        .collect();
    assert_eq!(lines.len(), with_default.len());
    let url = "url = \"redis://h\"\n";
    let said = redis(&format!("{url}{}", lines.join("\n")), &[]);
    assert_eq!(format!("{said:?}"), format!("{:?}", redis(url, &[])));
}
