//! `SOKETI_ADAPTER_DRIVER` and what it needs: Soketi says in many variables what `[redis]` says in few keys.

use serde_json::Value as Json;

use super::{Reading, Refused, expected};

const DRIVER: &str = "SOKETI_ADAPTER_DRIVER";
const CLUSTER_MODE: &str = "SOKETI_ADAPTER_REDIS_CLUSTER_MODE";
const HOST: &str = "SOKETI_DB_REDIS_HOST";
const PORT: &str = "SOKETI_DB_REDIS_PORT";
const DB: &str = "SOKETI_DB_REDIS_DB";
const SENTINELS: &str = "SOKETI_DB_REDIS_SENTINELS";
const SENTINEL_PASSWORD: &str = "SOKETI_DB_REDIS_SENTINEL_PASSWORD";
const INSTANCE: &str = "SOKETI_DB_REDIS_INSTANCE_NAME";
const NODES: &str = "SOKETI_DB_REDIS_CLUSTER_NODES";
const USERNAME: &str = "SOKETI_DB_REDIS_USERNAME";
const PASSWORD: &str = "SOKETI_DB_REDIS_PASSWORD";
const KEY_PREFIX: &str = "SOKETI_DB_REDIS_KEY_PREFIX";
const PREFIX: &str = "SOKETI_ADAPTER_REDIS_PREFIX";

/// `[redis]`, if Soketi's nodes are meant to find each other there.
pub(super) fn translate(reading: &mut Reading<'_>) -> Result<String, Refused> {
    let off = format!("{DRIVER} is not redis");
    match reading.take(DRIVER).as_deref() {
        Some("redis") => {}
        Some("local") => {
            reading.notice(format!("{DRIVER}=local is so anyway, without [redis]"));
            return Ok(off);
        }
        None => return Ok(off),
        // Nodes that are meant to be one would otherwise serve too, each its own clients.
        Some(other) => {
            let what = "redis or local, for nodes find each other only so here";
            return Err((DRIVER, expected(what, other)));
        }
    }
    if let Some(ours) = reading.variable_set(&["redis.url", "redis.sentinel", "redis.cluster"]) {
        reading.is_outdone_by(DRIVER, &ours);
        return Ok(format!("{ours} is set"));
    }
    let is_cluster = reading.switch(CLUSTER_MODE)?.unwrap_or(false);
    let sentinels = reading.given.get(SENTINELS);
    let has_sentinels = sentinels.is_some_and(|text| text != "null");
    let because = match (is_cluster, has_sentinels) {
        (true, _) => {
            let what = "[{\"host\":\"r1\",\"port\":6379}] of servers of the Redis Cluster, which \
                        SOKETI_ADAPTER_REDIS_CLUSTER_MODE asks for";
            addresses(reading, NODES, "redis.cluster", what)?;
            format!("{CLUSTER_MODE} is true")
        }
        (false, true) => of_sentinels(reading)?,
        (false, false) => standalone(reading)?,
    };
    reading.pass_on(USERNAME, "redis.username");
    password(reading, PASSWORD, "redis.password");
    prefix(reading);
    Ok(because)
}

fn of_sentinels(reading: &mut Reading<'_>) -> Result<String, Refused> {
    let what = "[{\"host\":\"s1\",\"port\":26379}]";
    addresses(reading, SENTINELS, "redis.sentinel", what)?;
    let (name, primary) = match reading.take(INSTANCE) {
        Some(primary) => (INSTANCE, primary),
        None => (SENTINELS, "mymaster".to_owned()),
    };
    reading.set(&[name], "redis.sentinel_master", Some(primary));
    password(reading, SENTINEL_PASSWORD, "redis.sentinel_password");
    if reading.given.get(DB).is_some_and(|db| db == "0") {
        reading.take(DB);
    }
    let because = "with sentinels it is database 0; prefix in [redis] keeps clusters apart";
    reading.unused(&[DB], because);
    Ok(format!("{SENTINELS} is set"))
}

fn standalone(reading: &mut Reading<'_>) -> Result<String, Refused> {
    let given = [HOST, PORT, DB].into_iter();
    let given = given.filter(|name| reading.given.contains_key(*name));
    let mut names: Vec<&str> = given.collect();
    if names.is_empty() {
        names.push(DRIVER);
    }
    let host = host_in_url(reading.take(HOST).as_deref().unwrap_or("127.0.0.1"));
    let port = port(reading, PORT, "6379")?;
    let database = reading.take(DB).unwrap_or_else(|| "0".to_owned());
    if database.parse::<u32>().is_err() {
        return Err((DB, expected("the number of a database", &database)));
    }
    let url = format!("redis://{host}:{port}/{database}");
    reading.set(&names, "redis.url", Some(url));
    reading.unused(&[NODES], &format!("{CLUSTER_MODE} is not true"));
    Ok(format!("{SENTINELS} is not set"))
}

/// Sets a password, unless ours is in a file.
fn password(reading: &mut Reading<'_>, name: &str, path: &str) {
    match reading.variable_set(&[&format!("{path}_file")]) {
        Some(ours) if reading.take(name).is_some() => reading.is_outdone_by(name, &ours),
        Some(_) => {}
        None => reading.pass_on(name, path),
    }
}

/// Soketi has one for keys and one for topics. What differs in either is kept apart.
fn prefix(reading: &mut Reading<'_>) {
    let (of_keys, of_topics) = (reading.take(KEY_PREFIX), reading.take(PREFIX));
    let names = [(KEY_PREFIX, &of_keys), (PREFIX, &of_topics)];
    let given = names.iter().filter(|(_, text)| text.is_some());
    let given: Vec<&str> = given.map(|(name, _)| *name).collect();
    let text = of_keys.unwrap_or_default() + &of_topics.unwrap_or_default();
    reading.set(&given, "redis.prefix", Some(text));
}

/// The port that a name says, or else the usual one.
pub(super) fn port(
    reading: &mut Reading<'_>,
    name: &'static str,
    usual: &str,
) -> Result<String, Refused> {
    let port = reading.take(name).unwrap_or_else(|| usual.to_owned());
    match port.parse::<u16>() {
        Ok(1..) => Ok(port),
        _ => Err((name, expected("a port from 1 to 65535", &port))),
    }
}

/// Sets a list of addresses to what a name says as `[{"host":"a","port":1}]`.
fn addresses(
    reading: &mut Reading<'_>,
    name: &'static str,
    path: &str,
    what: &str,
) -> Result<(), Refused> {
    let list: Option<Vec<Json>> = reading
        .take(name)
        .and_then(|text| serde_json::from_str(&text).ok());
    let address = |entry: &Json| {
        let host = host_in_url(entry.get("host")?.as_str()?);
        Some(match entry.get("port") {
            Some(Json::String(port)) => format!("{host}:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host,
        })
    };
    let all: Option<Vec<String>> = list.and_then(|list| list.iter().map(address).collect());
    let all = all.filter(|all| !all.is_empty());
    let all = all.ok_or_else(|| (name, format!("expected a list like {what}")))?;
    reading.set(&[name], path, Some(all.join(",")));
    Ok(())
}

/// An IPv6 address in brackets, anything else as it is.
pub(super) fn host_in_url(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
