//! The documents: links lead somewhere, every page has a table of contents, and every setting and every metric has its
//! row.

use std::collections::{BTreeMap, BTreeSet};

use crate::{read, root};

/// A paragraph of more characters is more than five lines.
const PARAGRAPH: usize = 600;

/// Every document that people are sent to, by its path.
fn documents() -> Vec<String> {
    let mut found: Vec<String> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(str::to_owned)
    .into();
    for folder in ["docs", "benches", "examples"] {
        below(folder, &mut found);
    }
    found.sort();
    found
}

/// The Markdown files of a folder and of the folders in it.
fn below(folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let path = format!("{folder}/{}", name.to_string_lossy());
        if entry.path().is_dir() && name != "node_modules" {
            below(&path, found);
        } else if entry.path().extension().is_some_and(|ext| ext == "md") {
            found.push(path);
        }
    }
}

/// The lines of a document outside its code blocks.
fn prose(path: &str) -> Vec<String> {
    let mut in_code = false;
    let text = read(&root().join(path));
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    lines.map(str::to_owned).collect()
}

/// What a document links to: `[text](target)` and `src="target"`.
fn targets(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (opening, closing) in [("](", ')'), ("src=\"", '"')] {
        for line in lines {
            let ends = line.split(opening).skip(1);
            found.extend(
                ends.filter_map(|rest| rest.split_once(closing))
                    .map(|(to, _)| to.to_owned()),
            );
        }
    }
    found
}

/// The headings of a level and the anchors that a forge gives them.
fn headings(lines: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for line in lines {
        let level = line.chars().take_while(|c| *c == '#').count();
        let Some(title) = line[level..].strip_prefix(' ').filter(|_| level > 0) else {
            continue;
        };
        let kept = |c: &char| c.is_alphanumeric() || ['-', '_', ' '].contains(c);
        let anchor: String = title.to_lowercase().chars().filter(kept).collect();
        found.push((level, anchor.replace(' ', "-")));
    }
    found
}

/// A path with its `..` resolved.
fn resolved(page: &str, target: &str) -> String {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in documents() {
        for target in targets(&prose(&page)) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() {
                page.clone()
            } else {
                resolved(&page, path)
            };
            let is_there = root().join(&path).exists()
                && (anchor.is_empty()
                    || headings(&prose(&path))
                        .iter()
                        .any(|(_, known)| known == anchor));
            if !is_there {
                broken.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_is_found_from_the_readme_and_has_a_table_of_contents() {
    let linked = targets(&prose("README.md"));
    for page in documents().iter().filter(|page| page.starts_with("docs/")) {
        assert!(linked.contains(page), "README.md has no link to {page}");
        let lines = prose(page);
        let own = targets(&lines);
        for (_, anchor) in headings(&lines).iter().filter(|(level, _)| *level == 2) {
            assert!(
                own.contains(&format!("#{anchor}")),
                "{page} has no link to its #{anchor}"
            );
        }
    }
}

#[test]
fn paragraphs_are_short() {
    for page in documents() {
        if page != "README.md" && !page.starts_with("docs/") {
            continue;
        }
        for block in prose(&page).split(String::is_empty) {
            let starts_item =
                |line: &&String| line.starts_with(['-', '|', '#']) || line.starts_with("1.");
            // A list is read item by item, a table row by row.
            let (items, lines): (Vec<_>, Vec<_>) = block.iter().partition(starts_item);
            let paragraph = lines.iter().map(|line| line.chars().count()).sum();
            let longest = items
                .iter()
                .map(|line| line.chars().count())
                .chain([paragraph])
                .max();
            assert!(
                longest < Some(PARAGRAPH),
                "{page} has a paragraph of more than five lines: {block:#?}"
            );
        }
    }
}

/// The keys of apps.toml with their sections, and their values where they are set: `key = value`, commented out or not.
fn settings() -> BTreeMap<(String, String), Option<String>> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in read(&root().join("apps.toml")).lines() {
        let is_set = !line.starts_with('#');
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[') {
            let end = name.find(']').expect("the end of a section's name");
            section = name[..end].trim_start_matches('[').to_owned();
        } else if let Some((key, value)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            let value = value.split("  #").next().unwrap_or(value).trim();
            let value = value
                .rsplit_once(" # ")
                .map_or(value, |(value, _)| value.trim());
            found.insert(
                (section.clone(), key.to_owned()),
                is_set.then(|| value.to_owned()),
            );
        }
    }
    found
}

/// The rows `| key | default | meaning |` of a page, by the section of the file that their heading names.
fn rows(page: &str) -> BTreeMap<(String, String), String> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in prose(page) {
        if let Some(title) = line.strip_prefix("## `[") {
            section = title.trim_matches(['[', ']', '`']).to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [key, default, meaning] = cells[..]
            && line.starts_with("| `")
            && !section.is_empty()
        {
            assert!(!meaning.is_empty(), "{line}");
            let key = (section.clone(), key.trim_matches('`').to_owned());
            assert_eq!(found.insert(key, default.to_owned()), None, "twice: {line}");
        }
    }
    found
}

/// The shipped configuration has every key with its default, which tests of `config` see to.
#[test]
fn every_setting_has_its_row() {
    let (shipped, documented) = (settings(), rows("docs/configuration.md"));
    let names = |keys: Vec<&(String, String)>| keys.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(documented.keys().collect()),
        names(shipped.keys().collect())
    );
    // The development app is no default.
    let app = ["id", "key", "secret", "name"];
    for ((section, key), value) in &shipped {
        if let Some(value) = value
            && !(section == "apps" && app.contains(&key.as_str()))
        {
            let default = &documented[&(section.clone(), key.clone())];
            assert_eq!(
                default,
                &format!("`{value}`"),
                "the default of {key} in [{section}]"
            );
        }
    }
}
