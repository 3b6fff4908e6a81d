//! What reviews would otherwise have to check by eye: every file says what it owns, long files are long for a reason,
//! imports follow the direction of the architecture, and the documents are whole (`tidy/docs.rs`).

#![expect(
    clippy::expect_used,
    reason = "clippy's allowance for tests does not reach helpers, and a test may end at the first surprise"
)]

#[path = "tidy/docs.rs"]
mod docs;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From here on (tests excluded) a file's name is on [`LONG_FILES`].
const LONG: usize = 500;

/// Files over the limit, and why each is one idea.
const LONG_FILES: &[(&str, &str)] = &[];

/// Which modules of the crate each module may import, apart from itself. A new module is a new row.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli", "config", "server", "telemetry"]),
    (
        "cli",
        &[
            "app",
            "auth",
            "client",
            "clock",
            "config",
            "fetch",
            "http",
            "protocol",
            "server",
            "source",
            "telemetry",
        ],
    ),
    (
        "server",
        &[
            "adapter",
            "admin",
            "app",
            "app_store",
            "auth",
            "clock",
            "config",
            "feed",
            "http",
            "hub",
            "limits",
            "metrics",
            "net",
            "node",
            "protocol",
            "registry",
            "spool",
            "supervise",
            "transport",
            "webhook",
        ],
    ),
    ("app_store", &["app", "config"]),
    ("telemetry", &["config"]),
    (
        "config",
        &[
            "adapter",
            "app",
            "auth",
            "bounded",
            "clock",
            "host_port",
            "limits",
            "net",
            "fetch",
            "pem",
            "protocol",
            "rules",
            "source",
            "token",
            "webhook",
        ],
    ),
    // Transports never touch the adapter or the registry, and never each other.
    (
        "transport",
        &[
            "app",
            "auth",
            "feed",
            "hub",
            "limits",
            "metrics",
            "net",
            "node",
            "protocol",
            "slack",
            "supervise",
        ],
    ),
    (
        "http",
        &[
            "app",
            "auth",
            "clock",
            "feed",
            "limits",
            "metrics",
            "net",
            "node",
            "protocol",
            "rules",
            "source",
            "spool",
            "supervise",
            "webhook",
        ],
    ),
    // The console publishes and explains signatures as the public API does, and asks it to.
    (
        "admin",
        &[
            "app",
            "app_store",
            "auth",
            "clock",
            "feed",
            "host_port",
            "http",
            "limits",
            "metrics",
            "net",
            "node",
            "protocol",
            "source",
            "supervise",
            "webhook",
        ],
    ),
    (
        "node",
        &[
            "adapter",
            "app",
            "auth",
            "channel_log",
            "clock",
            "feed",
            "hub",
            "limits",
            "metrics",
            "net",
            "protocol",
            "registry",
            "rules",
            "token",
            "webhook",
        ],
    ),
    (
        "adapter",
        &[
            "app",
            "auth",
            "channel_log",
            "clock",
            "feed",
            "hub",
            "limits",
            "metrics",
            "protocol",
            "registry",
            "rules",
            "slack",
            "supervise",
            "webhook",
        ],
    ),
    (
        "webhook",
        &[
            "app",
            "auth",
            "bounded",
            "clock",
            "feed",
            "fetch",
            "limits",
            "metrics",
            "pem",
            "protocol",
            "spool",
            "supervise",
        ],
    ),
    // Neither knows the other.
    (
        "registry",
        &[
            "app",
            "auth",
            "channel_log",
            "clock",
            "limits",
            "metrics",
            "protocol",
            "rules",
            "slack",
        ],
    ),
    (
        "hub",
        &[
            "app",
            "auth",
            "channel_log",
            "limits",
            "metrics",
            "net",
            "protocol",
            "rules",
            "slack",
            "supervise",
            "token",
        ],
    ),
    // Speaks to servers as a stranger does.
    (
        "client",
        &[
            "app",
            "auth",
            "clock",
            "fetch",
            "host_port",
            "pem",
            "protocol",
        ],
    ),
    (
        "app",
        &[
            "auth", "bounded", "metrics", "protocol", "rules", "source", "token",
        ],
    ),
    (
        "token",
        &[
            "auth",
            "clock",
            "fetch",
            "metrics",
            "protocol",
            "rules",
            "supervise",
        ],
    ),
    ("source", &["auth", "fetch", "limits", "pem"]),
    ("spool", &[]),
    ("rules", &["bounded", "protocol"]),
    ("channel_log", &["protocol", "rules"]),
    ("auth", &["protocol"]),
    ("net", &["clock", "limits", "metrics"]),
    // Anyone may tell it something; it knows nobody who does.
    ("feed", &["app", "clock", "metrics", "protocol"]),
    ("limits", &["slack"]),
    ("metrics", &["protocol"]),
    // What serde reads numbers of settings with.
    ("bounded", &[]),
    // Only the fuzz targets use it.
    ("fuzzing", &["adapter", "net", "transport"]),
    ("host_port", &[]),
    ("slack", &[]),
    ("supervise", &[]),
    // Requests to servers of others, whoever makes them.
    ("fetch", &["clock"]),
    ("clock", &[]),
    ("pem", &[]),
    ("protocol", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every Rust file below a folder, with its path as written in this file.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .to_string_lossy();
                found.push((name.into_owned(), read(&path)));
            }
        }
    }
    found.sort();
    found
}

/// The text without its unit tests. A declaration, `mod tests;`, hides nothing: what follows it is code.
fn without_tests(text: &str) -> String {
    let mut parts = text.split("\n#[cfg(test)]\nmod tests {");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // As rustfmt writes it, a module ends with the first brace that begins a line.
        code.push_str(part.split_once("\n}\n").map_or("", |(_, after)| after));
    }
    code
}

#[test]
fn only_inline_tests_are_left_out() {
    let inline = "a\n#[cfg(test)]\nmod tests {\n    b\n}\n";
    assert_eq!(without_tests(inline), "a");
    let between = "a\n#[cfg(test)]\nmod tests {\n    b\n}\n\nc\n";
    assert_eq!(without_tests(between), "a\nc\n");
    let declared = "#[cfg(test)]\nmod tests;\nb\n";
    assert_eq!(without_tests(declared), declared);
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<String> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "without //! at the top: {silent:?}");
}

#[test]
fn long_files_are_listed_with_their_reason() {
    let long: BTreeSet<String> = files("src")
        .into_iter()
        .filter(|(_, text)| without_tests(text).lines().count() > LONG)
        .map(|(name, _)| name)
        .collect();
    let listed: BTreeSet<String> = LONG_FILES
        .iter()
        .map(|(name, reason)| {
            assert!(!reason.is_empty(), "{name} has no reason");
            (*name).to_owned()
        })
        .collect();
    assert_eq!(long, listed, "files over {LONG} lines, and the list");
}

/// Tasks and threads that `supervise` does not look after, and why each may end alone.
const UNSUPERVISED: &[(&str, usize, &str)] = &[
    (
        "src/adapter/redis/connection/mod.rs",
        1,
        "its link notices, and connects again",
    ),
    (
        "src/adapter/redis/link/asking.rs",
        1,
        "one answer each; they end with what waits for it, and are counted",
    ),
    (
        "src/adapter/redis/mod.rs",
        1,
        "the thread holds nothing but supervised links",
    ),
    (
        "src/adapter/redis/ops/queries.rs",
        1,
        "one answer each; it waits no longer than its time",
    ),
    (
        "src/admin/console/feed.rs",
        2,
        "one watcher each; the page connects again",
    ),
    (
        "src/hub/mod.rs",
        1,
        "one answer each; who asks waits no longer than its time",
    ),
    (
        "src/server/worker.rs",
        2,
        "one connection each; the client connects again",
    ),
    (
        "src/supervise.rs",
        1,
        "through it all are spawned, and counted",
    ),
    (
        "src/token/jwks.rs",
        1,
        "one reading each; the next token begins another",
    ),
    (
        "src/transport/mod.rs",
        1,
        "one connection each; the client connects again",
    ),
    ("src/webhook/endpoint.rs", 1, "a note for the log"),
];

#[test]
fn long_lived_tasks_are_supervised() {
    let mut found = Vec::new();
    for (name, text) in files("src") {
        let is_tests = name.contains("/tests/") || name.ends_with("tests.rs");
        let text = without_tests(&text);
        let count: usize = [
            "spawn_local(",
            "tokio::spawn(",
            "supervise::spawn(",
            "thread::spawn(",
            ".spawn(run)",
        ]
        .iter()
        .map(|call| text.matches(call).count())
        .sum();
        if count > 0 && !is_tests {
            found.push((name, count));
        }
    }
    let listed: Vec<(String, usize)> = UNSUPERVISED
        .iter()
        .map(|(name, count, reason)| {
            assert!(!reason.is_empty(), "{name} has no reason");
            ((*name).to_owned(), *count)
        })
        .collect();
    assert_eq!(
        found, listed,
        "spawned tasks without supervision, and the list"
    );
}

#[test]
fn imports_follow_the_architecture() {
    let mut wrong = Vec::new();
    for (name, text) in files("src") {
        let module = module_of(&name);
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(known, _)| *known == module) else {
            wrong.push(format!("{name}: module {module} has no row in MAY_IMPORT"));
            continue;
        };
        let root = if module == "main" {
            "tidewire::"
        } else {
            "crate::"
        };
        for import in imports(&without_tests(&text), root) {
            if import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `src/hub/inbox.rs` and `src/hub.rs` are both `hub`.
fn module_of(file: &str) -> String {
    let below = file.strip_prefix("src/").unwrap_or(file);
    let first = below.split('/').next().unwrap_or(below);
    first.trim_end_matches(".rs").to_owned()
}

/// The crate's modules that a text names behind `root`, in `use` declarations or inline.
fn imports(text: &str, root: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    code.split(root)
        .skip(1)
        .flat_map(first_names)
        // A macro or item of the crate root is no module.
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

/// The first name of a path, or the first of each in `{a::b, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut begin = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&group[begin..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&group[begin..at]));
                begin = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn paths_are_read_as_written() {
    let text = "use crate::a::{B, c};\nuse crate::{d, e::{F, g}, h};\nfn f() { crate::i::j() }\n// crate::k\n";
    let found: Vec<String> = imports(text, "crate::").into_iter().collect();
    assert_eq!(found, ["a", "d", "e", "h", "i"]);
}

/// The rows of the tables of limits, cell by cell.
fn limits() -> Vec<Vec<String>> {
    let text = read(&root().join("docs/limits.md"));
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.filter(|row| !row.starts_with("| What grows"))
        .map(|row| {
            let cells = row.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// `file: name` of a test, or a transcript's file.
fn is_test(named: &str) -> bool {
    let Some((file, test)) = named.split_once(": ") else {
        let path = root().join(named);
        return named.starts_with("tests/transcripts/") && path.is_file();
    };
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    let (sync, spawned) = (format!("\nfn {test}("), format!("\nasync fn {test}("));
    // In a module of unit tests.
    let indented = [
        format!("\n    fn {test}("),
        format!("\n    async fn {test}("),
    ];
    [sync, spawned]
        .iter()
        .chain(&indented)
        .any(|f| text.contains(f))
}

#[test]
fn every_limit_names_the_tests_that_drive_it_to_its_edge() {
    let rows = limits();
    assert!(rows.len() > 20, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for cells in &rows {
        let what = &cells[0];
        let named = cells.get(3).map_or("", String::as_str);
        let tests: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            wrong.push(format!("{what}: no test"));
        }
        let unknown = tests.iter().filter(|test| !is_test(test));
        wrong.extend(unknown.map(|test| format!("{what}: there is no {test}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
