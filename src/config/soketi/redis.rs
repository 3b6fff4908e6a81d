//! `SOKETI_ADAPTER_DRIVER` and what it needs: Soketi says in many variables what `[redis]` says in few keys.

use serde_json::Value as Json;

use super::{Reading, expected, is_on, over, whole};
use crate::config::error::variable;

const DRIVER: &str = "ADAPTER_DRIVER";
const CLUSTER_MODE: &str = "ADAPTER_REDIS_CLUSTER_MODE";
const HOST: &str = "DB_REDIS_HOST";
const PORT: &str = "DB_REDIS_PORT";
const DB: &str = "DB_REDIS_DB";
const SENTINELS: &str = "DB_REDIS_SENTINELS";
const SENTINEL_PASSWORD: &str = "DB_REDIS_SENTINEL_PASSWORD";
const INSTANCE: &str = "DB_REDIS_INSTANCE_NAME";
const NODES: &str = "DB_REDIS_CLUSTER_NODES";
const USERNAME: &str = "DB_REDIS_USERNAME";
const PASSWORD: &str = "DB_REDIS_PASSWORD";
const KEY_PREFIX: &str = "DB_REDIS_KEY_PREFIX";
const PREFIX: &str = "ADAPTER_REDIS_PREFIX";

/// All but the driver.
const PARTS: [&str; 12] = [
    HOST,
    PORT,
    DB,
    USERNAME,
    PASSWORD,
    SENTINELS,
    SENTINEL_PASSWORD,
    INSTANCE,
    CLUSTER_MODE,
    NODES,
    KEY_PREFIX,
    PREFIX,
];

/// Adds `[redis]`, if Soketi's nodes are meant to find each other there.
pub(super) fn add(reading: &mut Reading<'_>) {
    let driver = reading.text(DRIVER);
    match driver.as_deref() {
        Some("redis") => {}
        Some("local") | None => {
            if driver.is_some() {
                let name = whole(DRIVER);
                reading.notice(format!("{name}=local is so anyway, without [redis]"));
            }
            return reading.idle(&PARTS, &format!("{} is not redis", whole(DRIVER)));
        }
        // Nodes that are meant to be one would otherwise serve too, each its own clients.
        Some(other) => {
            let text = expected(
                "redis or local, for nodes find each other only so here",
                other,
            );
            return reading.refuse(DRIVER, text);
        }
    }
    let places = ["redis.url", "redis.sentinel", "redis.cluster"];
    if let Some(path) = places.into_iter().find(|path| reading.is_set(path)) {
        reading.outdone(DRIVER, path);
        let ours = variable(path.split('.'));
        return reading.idle(&PARTS, &format!("{ours} is set"));
    }
    let cluster = reading.text(CLUSTER_MODE).map(|text| is_on(&text));
    match (cluster, reading.text(SENTINELS)) {
        (Some(Err(problem)), _) => reading.refuse(CLUSTER_MODE, problem),
        (Some(Ok(true)), _) => of_cluster(reading),
        (_, Some(sentinels)) if sentinels != "null" => of_sentinels(reading, &sentinels),
        _ => standalone(reading),
    }
    if let Some(username) = reading.text(USERNAME) {
        reading.set(USERNAME, "redis.username", Some(username));
    }
    secret(reading, PASSWORD, "redis.password");
    prefix(reading);
}

fn of_cluster(reading: &mut Reading<'_>) {
    let given = reading.text(NODES).unwrap_or_default();
    let what = "[{\"host\":\"r1\",\"port\":6379}] of servers of the Redis Cluster, which \
                SOKETI_ADAPTER_REDIS_CLUSTER_MODE asks for";
    put_addresses(reading, NODES, "redis.cluster", &given, what);
    let idle = [HOST, PORT, DB, SENTINELS, SENTINEL_PASSWORD, INSTANCE];
    reading.idle(&idle, &format!("{} is true", whole(CLUSTER_MODE)));
}

fn of_sentinels(reading: &mut Reading<'_>, given: &str) {
    let what = "[{\"host\":\"s1\",\"port\":26379}]";
    put_addresses(reading, SENTINELS, "redis.sentinel", given, what);
    let (name, primary) = match reading.text(INSTANCE) {
        Some(primary) => (INSTANCE, primary),
        None => (SENTINELS, "mymaster".to_owned()),
    };
    reading.set(name, "redis.sentinel_master", Some(primary));
    secret(reading, SENTINEL_PASSWORD, "redis.sentinel_password");
    let because = format!("{} is set", whole(SENTINELS));
    reading.idle(&[HOST, PORT, NODES], &because);
    if reading.text(DB).is_some_and(|db| db != "0") {
        let because = "with sentinels it is database 0; prefix in [redis] keeps clusters apart";
        reading.idle(&[DB], because);
    }
}

fn standalone(reading: &mut Reading<'_>) {
    let host = reading.text(HOST);
    let port = reading.text(PORT).unwrap_or_else(|| "6379".to_owned());
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        let text = expected("a port from 1 to 65535", &port);
        return reading.refuse(PORT, text);
    }
    let database = reading.text(DB).unwrap_or_else(|| "0".to_owned());
    if database.parse::<u32>().is_err() {
        let text = expected("the number of a database", &database);
        return reading.refuse(DB, text);
    }
    let given = [HOST, PORT, DB].into_iter();
    let mut names: Vec<&str> = given
        .filter(|name| reading.given.contains_key(*name))
        .collect();
    if names.is_empty() {
        names.push(DRIVER);
    }
    let name = if host.is_some() { HOST } else { DRIVER };
    let host = in_url(host.as_deref().unwrap_or("127.0.0.1"));
    let url = format!("redis://{host}:{port}/{database}");
    put(reading, name, &names, "redis.url", url);
    let idle = [SENTINEL_PASSWORD, INSTANCE];
    reading.idle(&idle, &format!("{} is not set", whole(SENTINELS)));
    reading.idle(&[NODES], &format!("{} is not true", whole(CLUSTER_MODE)));
}

/// Sets a password, unless ours is in a file.
fn secret(reading: &mut Reading<'_>, name: &str, path: &str) {
    let file = format!("{path}_file");
    match reading.text(name) {
        Some(_) if reading.is_set(&file) => reading.outdone(name, &file),
        Some(password) => reading.set(name, path, Some(password)),
        None => {}
    }
}

/// Soketi has one for keys and one for topics. What differs in either is kept apart.
fn prefix(reading: &mut Reading<'_>) {
    let given = [KEY_PREFIX, PREFIX].map(|name| (name, reading.text(name)));
    let text: String = given
        .iter()
        .filter_map(|(_, text)| text.as_deref())
        .collect();
    let first = given.iter().find(|(_, text)| text.is_some());
    if let Some((name, _)) = first {
        reading.set(name, "redis.prefix", Some(text));
    }
    if let [(_, Some(_)), (second, Some(_))] = &given {
        let name = whole(second);
        reading.notice(format!(
            "{name} is understood as the end of prefix in [redis]"
        ));
    }
}

/// Sets the key that says where Redis or a database is, of which none of ours is set. Several variables may say it together.
pub(super) fn put(reading: &mut Reading<'_>, name: &str, names: &[&str], path: &str, text: String) {
    reading.out.overrides.push(over(name, path, text.into()));
    let names: Vec<String> = names.iter().map(|name| whole(name)).collect();
    let verb = if names.len() > 1 { "are" } else { "is" };
    let (section, key) = path.rsplit_once('.').unwrap_or_default();
    reading.notice(format!(
        "{} {verb} understood as {key} in [{section}]; the name here is {}",
        names.join(", "),
        variable(path.split('.'))
    ));
}

/// The same for a list of addresses.
fn put_addresses(reading: &mut Reading<'_>, name: &str, path: &str, json: &str, expected: &str) {
    match addresses(json) {
        Some(list) => put(reading, name, &[name], path, list),
        None => reading.refuse(name, format!("expected a list like {expected}")),
    }
}

/// Ours for `[{"host":"a","port":1}]`; none if it is not such a list.
fn addresses(json: &str) -> Option<String> {
    let list: Vec<Json> = serde_json::from_str(json).ok()?;
    let address = |entry: &Json| {
        let host = in_url(entry.get("host")?.as_str()?);
        Some(match entry.get("port") {
            Some(Json::String(port)) => format!("{host}:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host,
        })
    };
    let all: Option<Vec<String>> = list.iter().map(address).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.join(","))
}

/// An IPv6 address in brackets, anything else as it is.
pub(super) fn in_url(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
