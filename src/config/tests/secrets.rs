//! Secrets that stand elsewhere, and the order of those that stand together.

use super::*;

fn app(secrets: &str) -> String {
    format!("[[apps]]\nid = \"a\"\nkey = \"k\"\n{secrets}\n")
}

fn signature(loaded: &Loaded) -> String {
    let app = loaded.settings.apps.by_id("a").unwrap();
    app.secrets.sign(b"x")
}

#[test]
fn the_first_one_signs() {
    let variables = [("ONE", "one"), ("TWO", "two")];
    for (secrets, first) in [
        ("secret = \"one\"\nsecrets = [\"two\"]", "one"),
        ("secrets = [\"two\", \"one\"]", "two"),
        ("secret = \"${ONE}\"", "one"),
        ("secrets = [\"${TWO}\", \"${ONE}\"]", "two"),
        // Only a whole value names a variable.
        ("secret = \"a${ONE}\"", "a${ONE}"),
        ("secret = \"$ONE\"", "$ONE"),
    ] {
        let loaded = load_text(&app(secrets), &variables).unwrap();
        let expected = Secret::new(first).sign(b"x");
        assert_eq!(signature(&loaded), expected, "{secrets}");
    }
}

#[test]
fn variables_that_cannot_be_used() {
    for (given, expected) in [
        (
            "secret = \"${UNSET}\"",
            "secret in [[apps]]: the environment variable UNSET is not set",
        ),
        (
            "secrets = [\"x\", \"${UNSET}\"]",
            "secrets in [[apps]]: the environment variable UNSET is not set",
        ),
        (
            "secret = \"${EMPTY}\"",
            "secret in [[apps]]: the environment variable EMPTY: expected a secret text, found an empty one",
        ),
        (
            "secret = \"${LINE}\"",
            "secret in [[apps]]: the environment variable LINE: expected a text without control characters and without white space around it",
        ),
        (
            "secret = \"${not a name}\"",
            "secret in [[apps]]: expected the name of an environment variable between \"${\" and \"}\"",
        ),
    ] {
        let variables = [("EMPTY", ""), ("LINE", "hidden\n")];
        let expected = format!("apps.toml:4: {expected}");
        refused(&app(given), &variables, &[&expected]);
    }
    refused(
        &app("secret = \"s\"\napi_tokens = [\"${UNSET}\"]"),
        &[],
        &["apps.toml:5: api_tokens in [[apps]]: the environment variable UNSET is not set"],
    );
    refused(
        &format!("[admin]\ntoken = \"${{UNSET}}\"\n{APP}"),
        &[],
        &["apps.toml:2: token in [admin]: the environment variable UNSET is not set"],
    );
}

#[test]
fn files_that_cannot_be_used() {
    for (path, expected) in [
        (
            "absent/secret",
            "cannot read absent/secret: No such file or directory (os error 2)",
        ),
        (
            "/dev/null",
            "cannot read /dev/null: it is a device: expected a regular file, which can be read again when it changes",
        ),
        (
            "Cargo.toml",
            "Cargo.toml: expected a text without control characters and without white space around it",
        ),
        ("", "expected the path of a file, found an empty text"),
    ] {
        let expected = format!("apps.toml:4: secret_file in [[apps]]: {expected}");
        refused(
            &app(&format!("secret_file = \"{path}\"")),
            &[],
            &[&expected],
        );
    }
}

#[test]
fn the_environment_is_printed_without_its_values() {
    let environment: Environment = [("NAME", "hidden")].into_iter().collect();
    assert_eq!(format!("{environment:?}"), "{\"NAME\"}");
}
