//! `TIDEWIRE_LOG`: a filter of the `tracing` family that says something. The family itself takes any word for the name
//! of a module, and then logs nothing but that.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::error::nearest;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// What most log lines' modules are below.
const OURS: &str = "tidewire";

/// The filter, or what is wrong with it.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    let hint = directives.iter().find_map(|directive| hint(directive));
    let text_of_all = directives.join(",");
    if hint.is_none() && text_of_all.parse::<Targets>().is_ok() {
        return Ok(text_of_all);
    }
    Err(format!(
        "expected a level ({}) or a filter like \"info,tidewire::ws=debug\", found the text {text:?}{}",
        LEVELS.join(", "),
        hint.unwrap_or_default()
    ))
}

/// What is wrong with one part of a filter.
fn hint(directive: &str) -> Option<String> {
    if directive.contains(['[', ']', '{', '}', '"']) {
        return Some("; lines are chosen by their module and level only".to_owned());
    }
    let (target, level) = match directive.rsplit_once('=') {
        Some((target, level)) => (Some(target), level),
        None if directive.contains("::") || directive == OURS => (Some(directive), "trace"),
        None => (None, directive),
    };
    if level.is_empty() || level.parse::<LevelFilter>().is_err() {
        return Some(match nearest(&level.to_ascii_lowercase(), &LEVELS) {
            Some(meant) => format!("; {level:?} is no level, did you mean \"{meant}\"?"),
            None => format!("; {level:?} is no level"),
        });
    }
    let root = target?.split("::").next()?;
    let is_typo = root != OURS && strsim::osa_distance(root, OURS) <= 2;
    is_typo.then(|| format!("; nothing logs as {root:?}, did you mean \"{OURS}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_something_is_taken() {
        for (given, kept) in [
            ("info", "info"),
            ("DEBUG", "DEBUG"),
            ("off", "off"),
            ("tidewire", "tidewire"),
            ("tidewire=trace", "tidewire=trace"),
            ("info, tidewire::ws=debug", "info,tidewire::ws=debug"),
            ("warn,tidewire::http", "warn,tidewire::http"),
            ("info,actix_web=warn", "info,actix_web=warn"),
        ] {
            assert_eq!(filter(given).as_deref(), Ok(kept), "{given}");
        }
    }

    #[test]
    fn what_would_silence_the_log_is_refused_with_what_was_meant() {
        for (given, hint) in [
            ("debg", "; \"debg\" is no level, did you mean \"debug\"?"),
            ("Inof", "; \"Inof\" is no level, did you mean \"info\"?"),
            (
                "warning",
                "; \"warning\" is no level, did you mean \"warn\"?",
            ),
            ("xyz", "; \"xyz\" is no level"),
            ("", "; \"\" is no level"),
            ("info,", "; \"\" is no level"),
            (
                "info,tidewire::ws=debg",
                "; \"debg\" is no level, did you mean \"debug\"?",
            ),
            ("tidewire=", "; \"\" is no level"),
            (
                "tidewrie=debug",
                "; nothing logs as \"tidewrie\", did you mean \"tidewire\"?",
            ),
            (
                "info,tidewir::ws=debug",
                "; nothing logs as \"tidewir\", did you mean \"tidewire\"?",
            ),
            (
                "tidewire[conn{app=1}]=trace",
                "; lines are chosen by their module and level only",
            ),
            ("tidewire=debug=info", ""),
        ] {
            let error = filter(given).unwrap_err();
            assert!(
                error.ends_with(&format!("found the text {given:?}{hint}")),
                "{error}"
            );
        }
    }
}
