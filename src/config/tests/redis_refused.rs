//! `[redis]`: what is refused, and in which words.

use super::redis::file;
use super::*;

const NO_PLACE: &str =
    "[redis] does not say where Redis is: set url, or sentinel with sentinel_master, or cluster";

/// A section, the line, and what is said of it.
const WRONG: &[(&str, usize, &str)] = &[
    ("lease_seconds = 15", 1, NO_PLACE),
    ("tls = true\npassword = \"hidden\"", 1, NO_PLACE),
    (
        "ulr = \"redis://h\"",
        2,
        "unknown key \"ulr\" in [redis]; did you mean \"url\"? Valid: url, sentinel, sentinel_master, sentinel_username, sentinel_password, sentinel_password_file, cluster, username, password, password_file, tls, ca_file, cert_file, key_file, prefix, lease_seconds, publish_timeout, on_outage, log_events, log_bytes, log_seconds",
    ),
    (
        "url = \"redis://:hidden@h:x\"",
        2,
        "url in [redis]: expected \"redis://[user[:password]@]host[:port][/db]\", or \"rediss://…\" for TLS; its port is not a number from 1 to 65535; in user and password write \"/\" as %2F, \"#\" as %23, \"?\" as %3F, \"@\" as %40, \"%\" as %25",
    ),
    (
        "url = \"\"",
        2,
        "url in [redis]: expected \"redis://[user[:password]@]host[:port][/db]\", or \"rediss://…\" for TLS; it does not begin with redis:// or rediss://",
    ),
    (
        "url = \"${UNSET}\"",
        2,
        "url in [redis]: the environment variable UNSET is not set",
    ),
    (
        "url = \"${HIDDEN}\"",
        2,
        "url in [redis]: the environment variable HIDDEN: expected \"redis://[user[:password]@]host[:port][/db]\", or \"rediss://…\" for TLS; it does not begin with redis:// or rediss://",
    ),
    (
        "url = \"redis://h\"\ncluster = [\"h\"]",
        3,
        "cluster in [redis]: url is set too, at apps.toml:2: only one of url, sentinel and cluster says where Redis is",
    ),
    (
        "cluster = [\"h\"]\nsentinel_master = \"m\"\nsentinel = [\"h\"]",
        2,
        "cluster in [redis]: sentinel is set too, at apps.toml:4: only one of url, sentinel and cluster says where Redis is",
    ),
    (
        "sentinel = [\"h\"]",
        2,
        "sentinel in [redis]: sentinel_master must be set too: the name under which the sentinels watch the primary",
    ),
    (
        "url = \"redis://h\"\nsentinel_master = \"m\"",
        3,
        "sentinel_master in [redis]: it is for sentinel, which must be set too",
    ),
    (
        "sentinel_master = \"m\"",
        2,
        "sentinel_master in [redis]: it is for sentinel, which must be set too",
    ),
    (
        "cluster = [\"h\"]\nsentinel_password_file = \"m\"",
        3,
        "sentinel_password_file in [redis]: it is for sentinel, which must be set too",
    ),
    (
        "sentinel = [\"h\"]\nsentinel_master = \"a b\"",
        3,
        "sentinel_master in [redis]: expected a name without white space; found \"a b\"",
    ),
    (
        "sentinel = []\nsentinel_master = \"m\"",
        2,
        "sentinel in [redis]: expected at least one \"host:port\", found none",
    ),
    (
        "cluster = []",
        2,
        "cluster in [redis]: expected at least one \"host:port\", found none",
    ),
    (
        "cluster = \"h\"",
        2,
        "cluster in [redis]: expected a list, found a text: write it in brackets, [\"…\"]",
    ),
    (
        "cluster = [\n\"h\",\n\"h:x\",\n]",
        4,
        "cluster in [redis]: expected \"host:port\"; its port is not a number from 1 to 65535; found \"h:x\"",
    ),
    (
        "cluster = [\"redis://:hidden@h\"]",
        2,
        "cluster in [redis]: expected \"host:port\", without scheme, user and password",
    ),
    (
        "url = \"redis://u:hidden@h\"\nusername = \"k\"",
        3,
        "username in [redis]: url has a user too: say it in one place",
    ),
    (
        "url = \"redis://u:hidden@h\"\npassword = \"hidden\"",
        3,
        "password in [redis]: url has a password too: say it in one place",
    ),
    (
        "url = \"redis://h\"\npassword = \"hidden\"\npassword_file = \"f\"",
        4,
        "password_file in [redis]: password is set too: say it in one place",
    ),
    (
        "url = \"redis://h\"\npassword_file = \"absent\"",
        3,
        "password_file in [redis]: cannot read absent: No such file or directory (os error 2)",
    ),
    (
        "url = \"redis://h\"\npassword_file = \"/dev/null\"",
        3,
        "password_file in [redis]: cannot read /dev/null: it is a device: expected a regular file, which can be read again when it changes",
    ),
    (
        "url = \"redis://h\"\npassword = \"${UNSET}\"",
        3,
        "password in [redis]: the environment variable UNSET is not set",
    ),
    (
        "url = \"redis://h\"\npassword = \"\"",
        3,
        "password in [redis]: expected a secret text, found an empty one",
    ),
    (
        "cluster = [\"h\"]\nusername = \"k\"",
        3,
        "username in [redis]: a user needs a password: set password or password_file too",
    ),
    (
        "url = \"redis://hidden@h\"",
        2,
        "url in [redis]: a user needs a password: set password or password_file too",
    ),
    (
        "sentinel = [\"h\"]\nsentinel_master = \"m\"\nsentinel_username = \"k\"",
        4,
        "sentinel_username in [redis]: a user needs a password: set sentinel_password or sentinel_password_file too",
    ),
    (
        "url = \"rediss://h\"\ntls = false",
        3,
        "tls in [redis]: url begins with rediss://, which is TLS: leave tls out, or write redis://",
    ),
    (
        "url = \"redis://h\"\nca_file = \"ca.pem\"",
        3,
        "ca_file in [redis]: it is for TLS, which is off: set tls = true, or a url that begins with rediss://",
    ),
    (
        "cluster = [\"h\"]\ntls = false\nkey_file = \"key.pem\"",
        4,
        "key_file in [redis]: it is for TLS, which is off: set tls = true, or a url that begins with rediss://",
    ),
    (
        "url = \"rediss://h\"\ncert_file = \"cert.pem\"",
        3,
        "cert_file in [redis]: key_file must be set too: the file of its private key",
    ),
    (
        "url = \"rediss://h\"\nkey_file = \"key.pem\"",
        3,
        "key_file in [redis]: cert_file must be set too: the file of its certificate chain",
    ),
    (
        "prefix = \"{a}\"",
        2,
        "prefix in [redis]: expected 1 to 64 letters, digits, \"-\", \"_\", \".\" and \":\"; found \"{a}\"",
    ),
    (
        "on_outage = \"remote\"",
        2,
        "on_outage in [redis]: expected \"error\" or \"local\", found the text \"remote\"",
    ),
    (
        "lease_seconds = 2",
        2,
        "lease_seconds in [redis]: expected a whole number from 3 to 3600, found 2",
    ),
    (
        "publish_timeout = 0",
        2,
        "publish_timeout in [redis]: expected a whole number from 1 to 60, found 0",
    ),
    (
        "log_events = 10001",
        2,
        "log_events in [redis]: expected a whole number from 0 to 10000, found 10001",
    ),
    (
        "log_bytes = 1023",
        2,
        "log_bytes in [redis]: expected a whole number from 1024 to 16777216, found 1023",
    ),
    (
        "log_seconds = 0",
        2,
        "log_seconds in [redis]: expected a whole number from 1 to 3600, found 0",
    ),
];

#[test]
fn one_line_says_what_is_wrong() {
    for (section, line, expected) in WRONG {
        let variables = [("HIDDEN", "http://hidden")];
        let expected = format!("apps.toml:{line}: {expected}");
        assert!(!expected.contains("hidden"));
        refused(&file(section), &variables, &[&expected]);
    }
}

#[test]
fn variables_that_are_refused() {
    for (section, variable, expected) in [
        ("", ("TIDEWIRE_REDIS__PREFIX", "x"), NO_PLACE),
        (
            "url = \"redis://h\"",
            ("TIDEWIRE_REDIS__CLUSTER", "h"),
            "cluster in [redis]: url is set too, at apps.toml:2: only one of url, sentinel and cluster says where Redis is",
        ),
        (
            "url = \"redis://h\"",
            ("TIDEWIRE_REDIS__URL", ""),
            "url in [redis]: expected \"redis://[user[:password]@]host[:port][/db]\", or \"rediss://…\" for TLS; it does not begin with redis:// or rediss://",
        ),
        (
            "",
            ("TIDEWIRE_REDIS__CLUSTER", "a,,b"),
            "cluster in [redis]: expected \"host:port\"; its host is neither a name nor an address (IPv6 stands in brackets); found \"\"",
        ),
        (
            "url = \"redis://h\"",
            ("TIDEWIRE_REDIS__TLS", "yes"),
            "tls in [redis]: expected true or false, found the text \"yes\"",
        ),
    ] {
        let file = if section.is_empty() {
            APP.to_owned()
        } else {
            file(section)
        };
        let expected = format!("{}: {expected}", variable.0);
        refused(&file, &[variable], &[&expected]);
    }
    // A section of the file stands where the file opens it, whatever else is laid over it.
    let expected = format!("apps.toml:1: {NO_PLACE}");
    let variables = [("TIDEWIRE_REDIS__PREFIX", "x")];
    refused(&file("lease_seconds = 15"), &variables, &[&expected]);
}

#[test]
fn problems_of_several_keys_are_told_together() {
    refused(
        &file("sentinel = []\nusername = \"u\"\nkey_file = \"k\"\nsentinel_username = \"s\""),
        &[],
        &[
            "apps.toml:2: sentinel in [redis]: expected at least one \"host:port\", found none",
            "apps.toml:2: sentinel in [redis]: sentinel_master must be set too: the name under which the sentinels watch the primary",
            "apps.toml:3: username in [redis]: a user needs a password: set password or password_file too",
            "apps.toml:4: key_file in [redis]: it is for TLS, which is off: set tls = true, or a url that begins with rediss://",
            "apps.toml:5: sentinel_username in [redis]: a user needs a password: set sentinel_password or sentinel_password_file too",
        ],
    );
}
