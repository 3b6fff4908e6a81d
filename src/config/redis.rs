//! `[redis]`: its keys together say where Redis is, who this node is to it and how to speak to it; or what is in the
//! way.

use std::sync::Arc;

use super::check::{Check, Reported};
use super::error::path;
use super::raw;
use super::redis_url::{self, HostPort, Server};
use super::secrets::{reference, secret_in};
use super::tls;
use super::values::{FilePath, Masked, Token};
use crate::adapter::redis::{Address, LogLimits, Login, Settings, Tls, Topology};

/// The settings; none if the section is empty or a problem was reported.
pub(super) fn settings(raw: &raw::Redis, check: &mut Check<'_, '_>) -> Option<Settings> {
    Section { raw, check }.settings().ok().flatten()
}

struct Section<'a, 'c, 'e> {
    raw: &'a raw::Redis,
    check: &'a mut Check<'c, 'e>,
}

/// A user, a password and a file with a password; with what their keys begin with.
struct Credentials<'a>(
    &'static str,
    Option<&'a Token>,
    Option<&'a Masked>,
    Option<&'a FilePath>,
);

impl Section<'_, '_, '_> {
    fn settings(&mut self) -> Result<Option<Settings>, Reported> {
        let raw = self.raw;
        self.sentinels_own_keys()?;
        if !self.has_place()? {
            return Ok(None);
        }
        let url = self.url()?;
        let of_url = url.as_ref().map(|url| url.login.clone());
        let (name, file) = (raw.username.as_ref(), raw.password_file.as_ref());
        let given = Credentials("", name, raw.password.as_ref(), file);
        let login = self.login(&given, of_url.unwrap_or_default());
        let tls = self.tls(url.as_ref().is_some_and(|url| url.tls));
        let place = self.place(url);
        Ok(Some(Settings {
            topology: place?,
            login: login?,
            tls: tls?,
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

    /// What means nothing without `sentinel`.
    fn sentinels_own_keys(&mut self) -> Result<(), Reported> {
        let mut outcome = Ok(());
        if self.raw.sentinel.is_none() {
            for key in [
                "sentinel_master",
                "sentinel_username",
                "sentinel_password",
                "sentinel_password_file",
            ] {
                if self.is_given(key) {
                    outcome = Err(self.report(key, "it is for sentinel, which must be set too"));
                }
            }
        }
        outcome
    }

    /// A section that says anything must say where Redis is, and once. Nodes that are meant to be one would otherwise
    /// serve too, each its own clients.
    fn has_place(&mut self) -> Result<bool, Reported> {
        let places = ["url", "sentinel", "cluster"].into_iter();
        let given: Vec<&str> = places.filter(|key| self.is_given(key)).collect();
        match given[..] {
            [] if self.check.tree.has_keys(&path("redis")) => {
                let text = "[redis] does not say where Redis is: set url, or sentinel with sentinel_master, or cluster";
                Err(self.check.report_section("redis", text))
            }
            [] => Ok(false),
            [_] => Ok(true),
            [first, .., last] => {
                let origin = self.check.origin(&format!("redis.{first}"));
                let origin = origin.map(|origin| origin.to_string()).unwrap_or_default();
                let text = format!(
                    "{first} is set too, at {origin}: only one of url, sentinel and cluster says where Redis is"
                );
                Err(self.report(last, text))
            }
        }
    }

    fn url(&mut self) -> Result<Option<Server>, Reported> {
        let Some(url) = &self.raw.url else {
            return Ok(None);
        };
        let text = self.check.secrets.text(&url.0);
        let server = text.and_then(|text| {
            redis_url::server(text).map_err(|problem| match reference(&url.0) {
                Some(name) => format!("the environment variable {name}: {problem}"),
                None => problem,
            })
        });
        server.map(Some).map_err(|text| self.report("url", text))
    }

    fn place(&mut self, url: Option<Server>) -> Result<Topology, Reported> {
        let raw = self.raw;
        if let Some(url) = url {
            return Ok(Topology::Standalone(url.address, url.database));
        }
        if let Some(cluster) = &raw.cluster {
            return Ok(Topology::Cluster(self.addresses("cluster", cluster)?));
        }
        let sentinel = raw.sentinel.as_deref().unwrap_or_default();
        let sentinels = self.addresses("sentinel", sentinel);
        let primary = raw.sentinel_master.as_ref().ok_or_else(|| {
            let text = "sentinel_master must be set too: the name under which the sentinels watch the primary";
            self.report("sentinel", text)
        });
        let name = raw.sentinel_username.as_ref();
        let file = raw.sentinel_password_file.as_ref();
        let given = Credentials("sentinel_", name, raw.sentinel_password.as_ref(), file);
        let login = self.login(&given, Login::default());
        Ok(Topology::Sentinel {
            sentinels: sentinels?,
            primary: primary?.0.clone(),
            login: login?,
        })
    }

    fn addresses<const PORT: u16>(
        &mut self,
        key: &str,
        given: &[HostPort<PORT>],
    ) -> Result<Vec<Address>, Reported> {
        if given.is_empty() {
            return Err(self.report(key, "expected at least one \"host:port\", found none"));
        }
        Ok(given.iter().map(|address| address.0.clone()).collect())
    }

    /// User and password are each said once, in the URL or by a key: of two, one would be changed in vain some day.
    fn login(&mut self, given: &Credentials<'_>, of_url: Login) -> Result<Login, Reported> {
        let Credentials(beginning, name, ..) = given;
        if name.is_some() && of_url.username.is_some() {
            let key = format!("{beginning}username");
            return Err(self.report(&key, "url has a user too: say it in one place"));
        }
        let password = match self.password(given)? {
            Some((key, _)) if of_url.password.is_some() => {
                return Err(self.report(&key, "url has a password too: say it in one place"));
            }
            Some((_, password)) => Some(password),
            None => of_url.password,
        };
        let (key, username) = match name {
            Some(name) => (format!("{beginning}username"), Some(name.0.clone())),
            None => ("url".to_owned(), of_url.username),
        };
        if username.is_some() && password.is_none() {
            let text = format!(
                "a user needs a password: set {beginning}password or {beginning}password_file too"
            );
            return Err(self.report(&key, text));
        }
        Ok(Login { username, password })
    }

    /// The password and the key that gave it.
    fn password(&mut self, given: &Credentials<'_>) -> Result<Option<(String, String)>, Reported> {
        let Credentials(beginning, _, text, path) = given;
        let file_key = format!("{beginning}password_file");
        let secrets = &mut self.check.secrets;
        let (key, found) = match (text, path) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let text = format!("{beginning}password is set too: say it in one place");
                return Err(self.report(&file_key, text));
            }
            (Some(text), None) => {
                let found = secrets.text(&text.0).map(str::to_owned);
                (format!("{beginning}password"), found)
            }
            (None, Some(path)) => {
                let made = |text: &str| secret_in(text).map(str::to_owned);
                (file_key, secrets.file(&path.0, made))
            }
        };
        match found {
            Ok(password) => Ok(Some((key, password))),
            Err(text) => Err(self.report(&key, text)),
        }
    }

    fn tls(&mut self, of_url: bool) -> Result<Option<Tls>, Reported> {
        let raw = self.raw;
        if of_url && raw.tls == Some(false) {
            let text = "url begins with rediss://, which is TLS: leave tls out, or write redis://";
            return Err(self.report("tls", text));
        }
        if !of_url && raw.tls != Some(true) {
            // Whoever names a certificate does not want to speak in the clear.
            let mut named = ["ca_file", "cert_file", "key_file"].into_iter();
            let text =
                "it is for TLS, which is off: set tls = true, or a url that begins with rediss://";
            return match named.find(|key| self.is_given(key)) {
                Some(key) => Err(self.report(key, text)),
                None => Ok(None),
            };
        }
        let authorities = match &raw.ca_file {
            Some(path) => self.made_of("ca_file", path, tls::authorities),
            None => Ok(tls::public_authorities()),
        };
        let store = authorities.as_ref().ok().cloned();
        let store = store.unwrap_or_else(rustls::RootCertStore::empty);
        let files = [raw.cert_file.as_ref(), raw.key_file.as_ref()];
        let keys = ["cert_file", "key_file"];
        let made = |identity| tls::client(store, Some(identity));
        let shown = tls::identity(self.check, "redis", keys, files, made);
        let public = authorities?;
        let shown = shown?;
        let config = match shown {
            Some(config) => config,
            None => {
                tls::client(public, None).map_err(|error| self.report("tls", error.to_string()))?
            }
        };
        Ok(Some(Tls(Arc::new(config))))
    }

    fn is_given(&self, key: &str) -> bool {
        self.check.origin(&format!("redis.{key}")).is_some()
    }

    fn made_of<T>(
        &mut self,
        key: &str,
        path: &FilePath,
        made: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<T, Reported> {
        let made = self.check.secrets.file(&path.0, made);
        made.map_err(|text| self.report(key, text))
    }

    fn report(&mut self, key: &str, text: impl Into<String>) -> Reported {
        self.check.report(&format!("redis.{key}"), text)
    }
}
