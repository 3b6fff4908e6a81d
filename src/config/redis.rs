//! `[redis]`: its keys together say where Redis is, who this node is to it and how to speak to it; or what is in the
//! way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::{Table, Value};

use super::elsewhere::{Elsewhere, reference, secret_in};
use super::error::{Problem, Step};
use super::files::Files;
use super::raw;
use super::redis_url::{self, HostPort, Server};
use super::tls;
use super::tree::Tree;
use super::values::{FilePath, Masked, Word};
use crate::adapter::redis::{Address, LogLimits, Login, Place, Settings, Tls};

/// The settings; none if the section is empty or a problem was told.
pub(super) fn settings(
    raw: &raw::Redis,
    tree: &Tree,
    elsewhere: &mut Elsewhere<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let mut section = Section {
        raw,
        tree,
        elsewhere,
        problems,
    };
    section.settings().ok().flatten()
}

/// The section as it is, for finding out what changed: secrets are not masked, and files count by what was in them.
/// Nobody sees this.
pub(super) fn compared(raw: &raw::Redis, folder: &Path, files: &Files) -> Table {
    let mut section = Table::try_from(raw).unwrap_or_default();
    let secret = |masked: &Option<Masked>| masked.as_ref().map(|masked| masked.0.clone());
    let file = |path: &Option<FilePath>| {
        let path = &path.as_ref()?.0;
        Some(format!("{path} {:?}", files.content(&folder.join(path))))
    };
    for (key, text) in [
        ("url", raw.url.as_ref().map(|url| url.0.clone())),
        ("password", secret(&raw.password)),
        ("password_file", file(&raw.password_file)),
        ("sentinel_password", secret(&raw.sentinel_password)),
        ("sentinel_password_file", file(&raw.sentinel_password_file)),
        ("ca_file", file(&raw.ca_file)),
        ("cert_file", file(&raw.cert_file)),
        ("key_file", file(&raw.key_file)),
    ] {
        if let Some(text) = text {
            section.insert(key.to_owned(), Value::String(text));
        }
    }
    section
}

struct Section<'a, 'e> {
    raw: &'a raw::Redis,
    tree: &'a Tree,
    elsewhere: &'a mut Elsewhere<'e>,
    problems: &'a mut Vec<Problem>,
}

/// A problem was told.
struct Told;

/// A user, a password and a file with a password; with the keys they were given under.
struct Credentials<'a> {
    keys: [&'static str; 3],
    username: Option<&'a Word>,
    password: Option<&'a Masked>,
    password_file: Option<&'a FilePath>,
}

impl Section<'_, '_> {
    fn settings(&mut self) -> Result<Option<Settings>, Told> {
        let raw = self.raw;
        self.sentinels_own_keys()?;
        if !self.has_place()? {
            return Ok(None);
        }
        let url = self.url()?;
        let of_url = url.as_ref().map(|url| url.login.clone());
        let login = self.login(
            &Credentials {
                keys: ["username", "password", "password_file"],
                username: raw.username.as_ref(),
                password: raw.password.as_ref(),
                password_file: raw.password_file.as_ref(),
            },
            of_url.unwrap_or_default(),
        );
        let tls = self.tls(url.as_ref().is_some_and(|url| url.tls));
        let place = self.place(url);
        let seconds = |number: u32| Duration::from_secs(number.into());
        Ok(Some(Settings {
            place: place?,
            login: login?,
            tls: tls?,
            prefix: raw.prefix.0.clone(),
            lease: seconds(raw.lease_seconds),
            publish_timeout: seconds(raw.publish_timeout),
            on_outage: raw.on_outage,
            log: LogLimits {
                events: raw.log_events,
                bytes: raw.log_bytes,
                seconds: raw.log_seconds,
            },
        }))
    }

    /// What means nothing without `sentinel`.
    fn sentinels_own_keys(&mut self) -> Result<(), Told> {
        let raw = self.raw;
        let mut told = Ok(());
        if raw.sentinel.is_none() {
            for (key, given) in [
                ("sentinel_master", raw.sentinel_master.is_some()),
                ("sentinel_username", raw.sentinel_username.is_some()),
                ("sentinel_password", raw.sentinel_password.is_some()),
                (
                    "sentinel_password_file",
                    raw.sentinel_password_file.is_some(),
                ),
            ] {
                if given {
                    told = Err(self.say(key, "it is for sentinel, which must be set too"));
                }
            }
        }
        told
    }

    /// A section that says anything must say where Redis is, and once. Nodes that are meant to be one would otherwise
    /// serve too, each its own clients.
    fn has_place(&mut self) -> Result<bool, Told> {
        match self.raw.places()[..] {
            [] if self.tree.has_keys(&path(&[])) => {
                let text = "[redis] does not say where Redis is: set url, or sentinel with sentinel_master, or cluster";
                let origin = self.tree.origin(&path(&[]));
                self.problems.push(Problem::at(origin, &[], text));
                Err(Told)
            }
            [] => Ok(false),
            [_] => Ok(true),
            [first, .., last] => {
                let origin = self.tree.origin(&path(&[first]));
                let origin = origin.map(ToString::to_string).unwrap_or_default();
                let text = format!(
                    "{first} is set too, at {origin}: only one of url, sentinel and cluster says where Redis is"
                );
                Err(self.say(last, text))
            }
        }
    }

    fn url(&mut self) -> Result<Option<Server>, Told> {
        let Some(url) = &self.raw.url else {
            return Ok(None);
        };
        let text = self.elsewhere.text(&url.0);
        let server = text.and_then(|text| {
            redis_url::server(text).map_err(|problem| match reference(&url.0) {
                Some(name) => format!("the environment variable {name}: {problem}"),
                None => problem,
            })
        });
        server.map(Some).map_err(|text| self.say("url", text))
    }

    fn place(&mut self, url: Option<Server>) -> Result<Place, Told> {
        let raw = self.raw;
        if let Some(url) = url {
            return Ok(Place::Standalone(url.address, url.database));
        }
        if let Some(cluster) = &raw.cluster {
            return Ok(Place::Cluster(self.addresses("cluster", cluster)?));
        }
        let sentinel = raw.sentinel.as_deref().unwrap_or_default();
        let sentinels = self.addresses("sentinel", sentinel);
        let primary = raw.sentinel_master.as_ref().ok_or_else(|| {
            let text = "sentinel_master must be set too: the name under which the sentinels watch the primary";
            self.say("sentinel", text)
        });
        let login = self.login(
            &Credentials {
                keys: [
                    "sentinel_username",
                    "sentinel_password",
                    "sentinel_password_file",
                ],
                username: raw.sentinel_username.as_ref(),
                password: raw.sentinel_password.as_ref(),
                password_file: raw.sentinel_password_file.as_ref(),
            },
            Login::default(),
        );
        Ok(Place::Sentinel {
            sentinels: sentinels?,
            primary: primary?.0.clone(),
            login: login?,
        })
    }

    fn addresses<const PORT: u16>(
        &mut self,
        key: &str,
        given: &[HostPort<PORT>],
    ) -> Result<Vec<Address>, Told> {
        if given.is_empty() {
            return Err(self.say(key, "expected at least one \"host:port\", found none"));
        }
        Ok(given.iter().map(|address| address.0.clone()).collect())
    }

    /// User and password are each said once, in the URL or by a key: of two, one would be changed in vain some day.
    fn login(&mut self, given: &Credentials<'_>, of_url: Login) -> Result<Login, Told> {
        let [username_key, password_key, file_key] = given.keys;
        if given.username.is_some() && of_url.username.is_some() {
            return Err(self.say(username_key, "url has a user too: say it in one place"));
        }
        let password = match self.password(given)? {
            Some((key, _)) if of_url.password.is_some() => {
                return Err(self.say(key, "url has a password too: say it in one place"));
            }
            Some((_, password)) => Some(password),
            None => of_url.password,
        };
        let (key, username) = match given.username {
            Some(username) => (username_key, Some(username.0.clone())),
            None => ("url", of_url.username),
        };
        if username.is_some() && password.is_none() {
            let text = format!("a user needs a password: set {password_key} or {file_key} too");
            return Err(self.say(key, text));
        }
        Ok(Login { username, password })
    }

    /// The password and the key that gave it.
    fn password(
        &mut self,
        given: &Credentials<'_>,
    ) -> Result<Option<(&'static str, String)>, Told> {
        let [_, password_key, file_key] = given.keys;
        let (key, found) = match (given.password, given.password_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let text = format!("{password_key} is set too: say it in one place");
                return Err(self.say(file_key, text));
            }
            (Some(text), None) => {
                let text = self.elsewhere.text(&text.0);
                (password_key, text.map(str::to_owned))
            }
            (None, Some(path)) => {
                let made = |text: &str| secret_in(text).map(str::to_owned);
                (file_key, self.elsewhere.file(&path.0, made))
            }
        };
        match found {
            Ok(password) => Ok(Some((key, password))),
            Err(text) => Err(self.say(key, text)),
        }
    }

    fn tls(&mut self, of_url: bool) -> Result<Option<Tls>, Told> {
        let raw = self.raw;
        if of_url && raw.tls == Some(false) {
            let text = "url begins with rediss://, which is TLS: leave tls out, or write redis://";
            return Err(self.say("tls", text));
        }
        if !of_url && raw.tls != Some(true) {
            let named = [
                ("ca_file", &raw.ca_file),
                ("cert_file", &raw.cert_file),
                ("key_file", &raw.key_file),
            ];
            // Whoever names a certificate does not want to speak in the clear.
            return match named.into_iter().find(|(_, path)| path.is_some()) {
                Some((key, _)) => {
                    let text = "it is for TLS, which is off: set tls = true, or a url that begins with rediss://";
                    Err(self.say(key, text))
                }
                None => Ok(None),
            };
        }
        let authorities = match &raw.ca_file {
            Some(path) => self.made_of("ca_file", path, tls::authorities),
            None => Ok(tls::public_authorities()),
        };
        let identity = self.identity()?;
        let config = tls::client(authorities?, identity);
        let config = config.map_err(|error| self.identity_problem(&error))?;
        Ok(Some(Tls(Arc::new(config))))
    }

    fn identity(&mut self) -> Result<Option<tls::Identity>, Told> {
        let raw = self.raw;
        match (&raw.cert_file, &raw.key_file) {
            (Some(certificate), Some(key)) => {
                let certificate = self.made_of("cert_file", certificate, tls::certificates);
                let key = self.made_of("key_file", key, tls::private_key);
                Ok(Some((certificate?, key?)))
            }
            (Some(_), None) => {
                Err(self.say("cert_file", "key_file must be set too: its private key"))
            }
            (None, Some(_)) => {
                Err(self.say("key_file", "cert_file must be set too: its certificate"))
            }
            (None, None) => Ok(None),
        }
    }

    /// What is wrong with a certificate and a key that could be read.
    fn identity_problem(&mut self, error: &rustls::Error) -> Told {
        let shown = |path: &Option<FilePath>| {
            let path = path.as_ref().map(|path| path.0.as_str());
            let path = self.elsewhere.folder.join(path.unwrap_or_default());
            path.display().to_string()
        };
        let certificate = shown(&self.raw.cert_file);
        let key = shown(&self.raw.key_file);
        match error {
            rustls::Error::InconsistentKeys(_) => {
                let text = format!("{key}: it is not the key of the certificate in {certificate}");
                self.say("key_file", text)
            }
            rustls::Error::InvalidCertificate(_) => {
                let text = format!("{certificate}: the certificate in it is not one of X.509");
                self.say("cert_file", text)
            }
            _ => {
                let text = format!("{key}: expected a key of RSA, ECDSA or Ed25519");
                self.say("key_file", text)
            }
        }
    }

    fn made_of<T>(
        &mut self,
        key: &str,
        path: &FilePath,
        made: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<T, Told> {
        let made = self.elsewhere.file(&path.0, made);
        made.map_err(|text| self.say(key, text))
    }

    fn say(&mut self, key: &str, text: impl Into<String>) -> Told {
        let path = path(&[key]);
        self.problems
            .push(Problem::at(self.tree.origin(&path), &path, text));
        Told
    }
}

/// The section, or a key of it.
fn path(keys: &[&str]) -> Vec<Step> {
    let path = ["redis"].iter().chain(keys);
    path.map(|key| Step::Key((*key).to_owned())).collect()
}
