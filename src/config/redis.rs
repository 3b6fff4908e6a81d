//! `[redis]`: its keys together say where Redis is, who this node is to it and how to speak to it; or what is in the
//! way.

use std::sync::Arc;

use super::error::path;
use super::raw;
use super::redis_url::{self, HostPort, Server};
use super::secrets::{SecretReader, reference, secret_in};
use super::tls;
use super::tree::Tree;
use super::values::{FilePath, Masked, Token};
use super::wrong::{Wrong, at, both, ensure, required};
use crate::adapter::redis::{Address, LogLimits, Login, Settings, Tls, Topology};
use crate::fetch::client_tls;
use crate::pem;

/// The settings; none if the section is empty.
pub(super) fn settings(
    raw: &raw::Redis,
    tree: &Tree,
    secrets: &mut SecretReader<'_>,
) -> Result<Option<Settings>, Wrong> {
    if !has_place(raw, tree)? {
        return Ok(None);
    }
    let url = raw.url.as_ref().map(|url| server(&url.0, secrets));
    let url = url.transpose().map_err(at("url"))?;
    let of_url = url.as_ref().map(|url| url.login.clone());
    let given = Credentials {
        beginning: "",
        username: raw.username.as_ref(),
        password: raw.password.as_ref(),
        file: raw.password_file.as_ref(),
    };
    let login = given.login(of_url.unwrap_or_default(), secrets);
    let tls = self::tls(raw, url.as_ref().is_some_and(|url| url.tls), secrets);
    let topology = topology(raw, url, secrets);
    let ((topology, login), tls) = both(both(topology, login), tls)?;
    Ok(Some(Settings {
        topology,
        login,
        tls,
        prefix: raw.prefix.0.clone(),
        lease: raw.lease,
        publish_timeout: raw.publish_timeout,
        on_outage: raw.on_outage,
        log: LogLimits {
            events: raw.log_events,
            bytes: raw.log_bytes,
            seconds: raw.log_seconds,
        },
    }))
}

/// A section that says anything must say where Redis is, and once. Nodes that are meant to be one would otherwise
/// serve too, each its own clients.
fn has_place(raw: &raw::Redis, tree: &Tree) -> Result<bool, Wrong> {
    let is_given = |key: &str| tree.node(&path(&format!("redis.{key}"))).is_some();
    let without_sentinel = |key: &str| {
        let fits = raw.sentinel.is_some() || !is_given(key);
        ensure(fits, key, || "it is for sentinel, which must be set too")
    };
    let name = without_sentinel("sentinel_master");
    let user = without_sentinel("sentinel_username");
    let password = without_sentinel("sentinel_password");
    let file = without_sentinel("sentinel_password_file");
    both(both(name, user), both(password, file))?;
    let places = ["url", "sentinel", "cluster"].into_iter();
    let given: Vec<&str> = places.filter(|key| is_given(key)).collect();
    match given[..] {
        [] if tree.has_keys(&path("redis")) => Err(Wrong::table(
            "[redis] does not say where Redis is: set url, or sentinel with sentinel_master, or cluster",
        )),
        [] => Ok(false),
        [_] => Ok(true),
        [first, .., last] => {
            let origin = tree.origin(&path(&format!("redis.{first}")));
            let text = format!(
                "{first} is set too, at {}: only one of url, sentinel and cluster says where Redis is",
                origin.map(|origin| origin.to_string()).unwrap_or_default()
            );
            Err(Wrong::key(last, text))
        }
    }
}

/// What a URL says, or the variable that holds it.
fn server(given: &str, secrets: &SecretReader<'_>) -> Result<Server, String> {
    let text = secrets.text(given)?;
    redis_url::server(text).map_err(|problem| match reference(given) {
        Some(name) => format!("the environment variable {name}: {problem}"),
        None => problem,
    })
}

fn topology(
    raw: &raw::Redis,
    url: Option<Server>,
    secrets: &mut SecretReader<'_>,
) -> Result<Topology, Wrong> {
    if let Some(url) = url {
        return Ok(Topology::Standalone(url.address, url.database));
    }
    if let Some(cluster) = &raw.cluster {
        return Ok(Topology::Cluster(addresses("cluster", cluster)?));
    }
    let sentinels = addresses("sentinel", raw.sentinel.as_deref().unwrap_or_default());
    let text =
        "sentinel_master must be set too: the name under which the sentinels watch the primary";
    let primary = required(&raw.sentinel_master, "sentinel", text);
    let given = Credentials {
        beginning: "sentinel_",
        username: raw.sentinel_username.as_ref(),
        password: raw.sentinel_password.as_ref(),
        file: raw.sentinel_password_file.as_ref(),
    };
    let login = given.login(Login::default(), secrets);
    let ((sentinels, primary), login) = both(both(sentinels, primary), login)?;
    Ok(Topology::Sentinel {
        sentinels,
        primary: primary.0.clone(),
        login,
    })
}

fn addresses<const PORT: u16>(key: &str, given: &[HostPort<PORT>]) -> Result<Vec<Address>, Wrong> {
    ensure(
        !given.is_empty(),
        key,
        || "expected at least one \"host:port\", found none",
    )?;
    Ok(given.iter().map(|address| address.0.clone()).collect())
}

/// A user, a password and a file with a password, of keys that begin alike.
struct Credentials<'a> {
    beginning: &'static str,
    username: Option<&'a Token>,
    password: Option<&'a Masked>,
    file: Option<&'a FilePath>,
}

impl Credentials<'_> {
    /// User and password are each said once, in the URL or by a key: of two, one would be changed in vain some day.
    fn login(&self, of_url: Login, secrets: &mut SecretReader<'_>) -> Result<Login, Wrong> {
        let key = |name: &str| format!("{}{name}", self.beginning);
        let twice = |what: &str| format!("url has a {what} too: say it in one place");
        let name_key = key("username");
        let is_single = self.username.is_none() || of_url.username.is_none();
        ensure(is_single, &name_key, || twice("user"))?;
        let (password_key, password) = self.password(secrets)?;
        let is_single = password.is_none() || of_url.password.is_none();
        ensure(is_single, &password_key, || twice("password"))?;
        let password = password.or(of_url.password);
        let (name_key, username) = match self.username {
            Some(name) => (name_key, Some(name.0.clone())),
            None => ("url".to_owned(), of_url.username),
        };
        ensure(username.is_none() || password.is_some(), &name_key, || {
            let [text, file] = ["password", "password_file"].map(key);
            format!("a user needs a password: set {text} or {file} too")
        })?;
        Ok(Login { username, password })
    }

    /// The password, and the key that gave it.
    fn password(&self, secrets: &mut SecretReader<'_>) -> Result<(String, Option<String>), Wrong> {
        let key = format!("{}password", self.beginning);
        let file_key = format!("{key}_file");
        let Some(file) = self.file else {
            let text = self.password.map(|text| secrets.text(&text.0)).transpose();
            let text = text.map_err(at(&key))?.map(str::to_owned);
            return Ok((key, text));
        };
        ensure(self.password.is_none(), &file_key, || {
            format!("{key} is set too: say it in one place")
        })?;
        let text = secrets.file(&file.0, |text| secret_in(text).map(str::to_owned));
        let text = text.map_err(at(&file_key))?;
        Ok((file_key, Some(text)))
    }
}

fn tls(
    raw: &raw::Redis,
    of_url: bool,
    secrets: &mut SecretReader<'_>,
) -> Result<Option<Tls>, Wrong> {
    ensure(
        !of_url || raw.tls != Some(false),
        "tls",
        || "url begins with rediss://, which is TLS: leave tls out, or write redis://",
    )?;
    let keys = ["cert_file", "key_file"];
    let files = [raw.cert_file.as_ref(), raw.key_file.as_ref()];
    if !of_url && raw.tls != Some(true) {
        // Whoever names a certificate does not want to speak in the clear.
        let named = [
            ("ca_file", raw.ca_file.as_ref()),
            (keys[0], files[0]),
            (keys[1], files[1]),
        ];
        let text =
            "it is for TLS, which is off: set tls = true, or a url that begins with rediss://";
        return match named.iter().find(|(_, file)| file.is_some()) {
            Some((key, _)) => Err(Wrong::key(key, text)),
            None => Ok(None),
        };
    }
    let authorities = match &raw.ca_file {
        Some(path) => secrets
            .file(&path.0, pem::authorities)
            .map_err(at("ca_file")),
        None => Ok(pem::public_authorities()),
    };
    let identity = tls::identity(keys, files, secrets);
    let (authorities, identity) = both(authorities, identity)?;
    let config = match identity {
        Some(identity) => identity.made(|identity| client_tls(authorities, Some(identity)))?,
        None => {
            client_tls(authorities, None).map_err(|error| Wrong::key("tls", error.to_string()))?
        }
    };
    Ok(Some(Tls(Arc::new(config))))
}
