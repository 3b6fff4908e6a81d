//! Variables that begin with `TIDEWIRE_` and that no setting has: what was meant, or who put them there.
//!
//! A name that is nearly a setting's stops the start, since whoever set it believes that it has an effect. What
//! Kubernetes and Docker inject for a service called "tidewire" is nobody's mistake; anything else is only odd.

use super::environment::{APP_KEYS, CONFIG, LOG, LOG_FORMAT, PREFIX, app_variable};
use super::error::{Fault, variable};
use super::raw::Raw;
use super::read::read;
use super::tree::{Override, Tree};

/// Whether Kubernetes or Docker set it for a service or a linked container.
pub(super) fn is_injected(name: &str, value: &str) -> bool {
    let of_a_port = |rest: &str| {
        let number = rest.split('_').next().unwrap_or(rest);
        rest.contains('_') && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_ENV_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || (name.ends_with("_NAME") && value.starts_with('/'))
        || name.split("_PORT_").skip(1).any(of_a_port)
}

/// What was most likely meant by a name that nothing has, as the end of a message.
pub(super) fn meant(stray: &str) -> Option<String> {
    let own = [CONFIG, LOG, LOG_FORMAT].map(str::to_owned);
    let of_app = APP_KEYS.map(app_variable);
    let known: Vec<String> = own.into_iter().chain(of_app).chain(settings()).collect();
    let like = known
        .iter()
        .map(|name| (distance(stray, name), name))
        .min_by_key(|(distance, _)| *distance);
    if let Some((0..=2, name)) = like {
        return Some(format!("did you mean {name}?"));
    }
    let rest = stray.strip_prefix(PREFIX)?;
    if rest.starts_with("APP_") {
        let names = APP_KEYS.map(app_variable).join(", ");
        return Some(format!(
            "the environment's app has {names}; everything else is said in [[apps]] of the file"
        ));
    }
    let of_server = keys_under(&["server"])
        .into_iter()
        .find(|key| key.eq_ignore_ascii_case(rest))
        .map(|key| variable(["server", key].into_iter()));
    // TIDEWIRE_LOG_LEVEL, TIDEWIRE_CONFIG_FILE.
    let shorter = [LOG, CONFIG].into_iter().find(|name| {
        let more = stray.strip_prefix(name);
        more.is_some_and(|more| more.starts_with('_'))
    });
    of_server
        .or_else(|| shorter.map(str::to_owned))
        .map(|name| format!("did you mean {name}?"))
}

/// How many slips of the hand lie between two names; underscores do not count.
fn distance(stray: &str, name: &str) -> usize {
    let bare = |name: &str| name.trim_start_matches(PREFIX).replace('_', "");
    let (stray, name) = (bare(stray), bare(name));
    let distance = strsim::osa_distance(&stray, &name);
    // In a short name two slips make any other.
    if distance == 2 && name.len() < 6 {
        usize::MAX
    } else {
        distance
    }
}

/// The variables of all settings of all sections.
fn settings() -> Vec<String> {
    let mut found = Vec::new();
    add(&mut Vec::new(), &mut found);
    found
}

fn add(path: &mut Vec<&'static str>, found: &mut Vec<String>) {
    let keys = keys_under(path);
    if keys.is_empty() && path.len() > 1 {
        found.push(variable(path.iter().copied()));
    }
    for key in keys {
        path.push(key);
        add(path, found);
        path.pop();
    }
}

/// The keys of a table: asking for one that cannot exist is answered with those that do.
fn keys_under(section: &[&str]) -> Vec<&'static str> {
    let names = section.iter().copied().chain(["?"]);
    let asked = Override {
        path: names.map(str::to_owned).collect(),
        value: "".into(),
    };
    let problems = Tree::new()
        .below(&[asked])
        .map(|tree| read::<Raw>(&tree).err());
    let problems = problems.ok().flatten().unwrap_or_default();
    problems
        .into_iter()
        .find_map(|problem| match problem.fault {
            Fault::UnknownKey(valid) if problem.path.len() == section.len() + 1 => {
                Some(valid.to_vec())
            }
            _ => None,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clusters_inject_is_known() {
        for (name, value, injected) in [
            ("TIDEWIRE_PORT", "tcp://10.0.0.1:6001", true),
            ("TIDEWIRE_PORT", "6001", false),
            ("TIDEWIRE_SERVER_PORT", "tcp://10.0.0.1:6001", true),
            ("TIDEWIRE_SERVER_PORT", "6001", false),
            ("TIDEWIRE_PORT_6001_TCP", "tcp://10.0.0.1:6001", true),
            ("TIDEWIRE_PORT_6001_TCP_ADDR", "10.0.0.1", true),
            ("TIDEWIRE_PORT_6001_UDP_PROTO", "udp", true),
            ("TIDEWIRE_PORT_X", "1", false),
            ("TIDEWIRE_SERVICE_HOST", "10.0.0.1", true),
            ("TIDEWIRE_ADMIN_SERVICE_PORT_METRICS", "9601", true),
            ("TIDEWIRE_NAME", "/web/tidewire", true),
            ("TIDEWIRE_NAME", "web", false),
            ("TIDEWIRE_ENV_PATH", "/bin", true),
            ("TIDEWIRE_APP_KEYY", "k", false),
        ] {
            assert_eq!(is_injected(name, value), injected, "{name}={value}");
        }
    }

    #[test]
    fn near_names_are_found_and_others_are_not() {
        for (stray, expected) in [
            ("TIDEWIRE_SERVER_PORT", "TIDEWIRE_SERVER__PORT"),
            ("TIDEWIRE_SERVER_PROT", "TIDEWIRE_SERVER__PORT"),
            ("TIDEWIRE_PORT", "TIDEWIRE_SERVER__PORT"),
            ("TIDEWIRE_SERVER_TLS_CERT", "TIDEWIRE_SERVER__TLS__CERT"),
            ("TIDEWIRE_REDIS_URL", "TIDEWIRE_REDIS__URL"),
            ("TIDEWIRE_ADMIN_TOKEN", "TIDEWIRE_ADMIN__TOKEN"),
            ("TIDEWIRE_APP_KEYY", "TIDEWIRE_APP_KEY"),
            ("TIDEWIRE_APPKEY", "TIDEWIRE_APP_KEY"),
            ("TIDEWIRE_APP_SECRETS", "TIDEWIRE_APP_SECRET"),
            ("TIDEWIRE_LOGS", "TIDEWIRE_LOG"),
            ("TIDEWIRE_LOG_LEVEL", "TIDEWIRE_LOG"),
            ("TIDEWIRE_LOGFORMAT", "TIDEWIRE_LOG_FORMAT"),
            ("TIDEWIRE_CONFIG_FILE", "TIDEWIRE_CONFIG"),
        ] {
            let expected = format!("did you mean {expected}?");
            assert_eq!(meant(stray), Some(expected), "{stray}");
        }
        let of_app = meant("TIDEWIRE_APP_CLIENT_EVENTS").unwrap();
        assert!(of_app.contains("said in [[apps]] of the file"), "{of_app}");
        for stray in [
            "TIDEWIRE_VERSION",
            "TIDEWIRE_IMAGE",
            "TIDEWIRE_URL",
            "TIDEWIRE_SERVER",
        ] {
            assert_eq!(meant(stray), None, "{stray}");
        }
    }
}
