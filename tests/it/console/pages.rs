//! The pages: every file that they name is there, as what it is, and says what a browser may do with it.

use std::collections::BTreeSet;

use super::{get, with_token};
use crate::harness::{Config, Response, Server};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn content_type(answer: &Response) -> &str {
    answer.head.header("content-type").unwrap_or_default()
}

/// What a page or a module names as its own: `src="…"`, `href="…"`, `from "./…"`.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for before in [
        "src=\"",
        "href=\"",
        "from \"./",
        "import \"./",
        "import(\"./",
    ] {
        for rest in text.split(before).skip(1) {
            let name = rest.split('"').next().unwrap();
            if !name.starts_with('#') && !name.is_empty() {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_file_that_the_page_needs_is_there() {
    let server = Server::start(&Config::new());
    let (mut known, mut next) = (BTreeSet::new(), vec![String::new()]);
    while let Some(name) = next.pop() {
        if !known.insert(name.clone()) {
            continue;
        }
        let file = get(&server, &format!("/console/{name}"), &[]);
        assert_eq!(file.status(), 200, "{name}");
        let expected = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(content_type(&file), expected, "{name}");
        assert_eq!(
            file.head.header("cache-control"),
            Some("no-cache"),
            "{name}"
        );
        let tag = file.head.header("etag").expect("a tag");
        let again = get(
            &server,
            &format!("/console/{name}"),
            &[("If-None-Match", tag)],
        );
        assert_eq!((again.status(), again.body.as_str()), (304, ""), "{name}");
        next.extend(names(&file.body));
    }
    assert!(known.len() > 20, "{known:?}");
    for missing in [
        "/console/nothing.js",
        "/console/../Cargo.toml",
        "/console/assets/main.js",
    ] {
        assert_eq!(get(&server, missing, &[]).status(), 404, "{missing}");
    }
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let server = Server::start(&with_token());
    for path in [
        "/",
        "/live",
        "/metrics",
        "/console/",
        "/console/main.js",
        "/console/nothing",
        "/console/api/session",
        "/nowhere",
    ] {
        let answer = get(&server, path, &[]);
        let header = |name| answer.head.header(name);
        assert_eq!(header("content-security-policy"), Some(POLICY), "{path}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
        let cache = header("cache-control");
        let is_file = path == "/console/" || path == "/console/main.js";
        let expected = if is_file { "no-cache" } else { "no-store" };
        assert_eq!(cache, Some(expected), "{path}");
    }
    server.kill();
}

#[test]
fn a_browser_is_led_to_the_console_and_a_shell_to_the_paths() {
    let server = Server::start(&Config::new());
    let browser = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for path in ["/", "/console"] {
        let led = get(&server, path, &browser);
        assert_eq!(
            (led.status(), led.head.header("location")),
            (303, Some("/console/")),
            "{path}"
        );
    }
    let text = get(&server, "/", &[("Accept", "*/*")]);
    assert_eq!(text.status(), 200);
    assert!(text.body.contains("/console/"), "{text:?}");
}
