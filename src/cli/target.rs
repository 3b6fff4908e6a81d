//! Who asks whom: the app, the server, and the authorities to trust, from flags, environment and configuration.
//!
//! The configuration is read only where the flags leave something open, so that a command works against any server
//! from a folder that has none.

use std::cell::OnceCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Error;
use crate::app::{App, AppId, AppKey, Apps};
use crate::auth::{Secret, Secrets};
use crate::client::{Address, Credentials, Trust};
use crate::config::{self, Admin, Server, Settings, Sources};

/// The environment's credentials, for what `--key` or `--app` leave open.
const ID: &str = "TIDEWIRE_APP_ID";
const KEY: &str = "TIDEWIRE_APP_KEY";
const SECRET: &str = "TIDEWIRE_APP_SECRET";

/// The settings, read when they are first needed.
pub(super) struct Configuration {
    sources: Sources,
    settings: OnceCell<Settings>,
}

impl Configuration {
    pub(super) fn new(sources: Sources) -> Self {
        Self {
            sources,
            settings: OnceCell::new(),
        }
    }

    pub(super) fn settings(&self) -> Result<&Settings, Error> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = config::load(&self.sources).map_err(Error::Open)?.settings;
        Ok(self.settings.get_or_init(|| settings))
    }

    /// `[server]`, which needs no app.
    fn server(&self) -> Result<Server, Error> {
        match self.settings() {
            Ok(settings) => Ok(settings.server.clone()),
            // The first error says more.
            Err(error) => Ok(self.without_app().map_err(|_| error)?.server),
        }
    }

    /// `[admin]`, which needs no app either.
    pub(super) fn admin(&self) -> Result<Admin, Error> {
        let settings = config::load(&self.sources).map(|loaded| loaded.settings);
        let settings = settings.or_else(|error| self.without_app().map_err(|_| error));
        Ok(settings?.admin)
    }

    fn without_app(&self) -> Result<Settings, config::Error> {
        config::without_app(&self.sources)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.sources.environment.value(name)?;
        value.to_str().filter(|text| !text.is_empty())
    }
}

/// The flags that name an app.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "App and server")]
pub(super) struct Identity {
    /// The app's id [default: the only one of the configuration]
    #[arg(long, visible_alias = "app-id", value_name = "ID")]
    pub(super) app: Option<String>,
    /// The app's key, for an app that is not in the configuration
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Its secret. Everybody on this machine can read it in the list of processes: rather use --secret-file, or set
    /// `TIDEWIRE_APP_SECRET`
    #[arg(long, value_name = "SECRET", value_parser = secret, conflicts_with = "secret_file")]
    secret: Option<Secret>,
    /// A file that holds its secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Identity {
    /// The app that is meant: given by flags, with the environment for what is missing; else the one of the
    /// configuration that is named, or the only one.
    pub(super) fn credentials(
        &self,
        configuration: &Configuration,
        in_path: Option<&str>,
    ) -> Result<Credentials, Error> {
        let secret = match &self.secret_file {
            Some(path) => Some(read_secret(path)?),
            None => self.secret.clone(),
        };
        if self.key.is_none() && secret.is_none() {
            let apps = &configuration.settings()?.apps;
            return Ok(self.configured(apps, in_path)?.into());
        }
        let key = self.key.as_deref().or_else(|| configuration.variable(KEY));
        let key = key.ok_or_else(|| {
            let text = format!("which app? Give its key too, with --key or as {KEY}");
            Error::Usage(text)
        })?;
        let secret = secret.or_else(|| configuration.variable(SECRET).map(Secret::new));
        if secret.is_none()
            && let Some(known) = known(configuration, key)
        {
            return Ok(known);
        }
        let id = self.app.as_deref().or(in_path);
        let id = id.or_else(|| configuration.variable(ID));
        Ok(Credentials {
            id: id.map(AppId::new),
            key: AppKey::new(key),
            secrets: secret.and_then(|secret| Secrets::new(vec![secret])),
        })
    }

    fn configured<'a>(&self, apps: &'a Apps, in_path: Option<&str>) -> Result<&'a App, Error> {
        let mut ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
        ids.sort_unstable();
        let named = match (self.app.as_deref().or(in_path), ids.as_slice()) {
            (Some(id), _) => id,
            (None, [only]) => only,
            (None, _) => {
                let text = format!("which app? Name one with --app: {}", ids.join(", "));
                return Err(Error::Usage(text));
            }
        };
        let app = apps.by_id(named).map(AsRef::as_ref);
        app.ok_or_else(|| {
            let known = ids.join(", ");
            Error::Usage(format!(
                "no app has the id \"{named}\". The configuration has: {known}. For another one, give --key and \
                 --secret-file too"
            ))
        })
    }
}

/// The app of a key without a secret. No configuration, no such app: public channels need neither.
fn known(configuration: &Configuration, key: &str) -> Option<Credentials> {
    let apps = &configuration.settings().ok()?.apps;
    apps.by_key(key).map(|app| Credentials::from(app.as_ref()))
}

fn secret(text: &str) -> Result<Secret, &'static str> {
    config::check_secret(text).map(|()| Secret::new(text))
}

fn read_secret(path: &Path) -> Result<Secret, Error> {
    let shown = path.display();
    let text = read_text("--secret-file", path)?;
    let secret = config::secret_in(&text).map(Secret::new);
    secret.map_err(|error| Error::Usage(format!("--secret-file: {shown}: {error}")))
}

fn read_text(flag: &str, path: &Path) -> Result<String, Error> {
    let shown = path.display();
    std::fs::read_to_string(path)
        .map_err(|error| Error::Usage(format!("{flag}: cannot read {shown}: {error}")))
}

/// The flags that name a server.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "App and server")]
pub(super) struct ServerTarget {
    /// The server, as http://, https://, ws:// or wss:// [default: the configured host, port and path
    /// prefix; beside TLS the listener without]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A cluster of Pusher's cloud instead, such as mt1 or eu
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    cluster: Option<String>,
}

impl ServerTarget {
    /// The server that is meant.
    pub(super) fn address(&self, configuration: &Configuration) -> Result<Address, Error> {
        if let Some(cluster) = &self.cluster {
            return Address::cluster(cluster).map_err(|error| usage("--cluster", &error));
        }
        match &self.url {
            Some(url) => Address::parse(url).map_err(|error| usage("--url", &error)),
            None => configured(&configuration.server()?),
        }
    }
}

fn usage(flag: &str, error: &dyn std::error::Error) -> Error {
    Error::Usage(format!("{flag}: {error}"))
}

fn configured(server: &Server) -> Result<Address, Error> {
    let plain = server.tls.as_ref().map(|tls| &tls.plain);
    // A listener beside TLS is the one for backends.
    let (tls, host, port) = match plain {
        None => (false, &server.host, server.port),
        Some(Some((host, port))) => (false, host, *port),
        Some(None) => (true, &server.host, server.port),
    };
    if port == 0 {
        let text = "the configured port is 0, any free one: name the server with --url";
        return Err(Error::Usage(text.to_owned()));
    }
    let address = local(host, port, &server.path_prefix);
    Ok(Address { tls, ..address })
}

/// Where a listener of this machine is reached: one that listens on all addresses, by the loopback one.
pub(super) fn local(host: &str, port: u16, prefix: &str) -> Address {
    let host = if host.parse() == Ok(Ipv4Addr::UNSPECIFIED) {
        "127.0.0.1"
    } else if host.parse() == Ok(Ipv6Addr::UNSPECIFIED) {
        "::1"
    } else {
        host
    };
    Address {
        tls: false,
        host: host.to_owned(),
        port,
        prefix: prefix.to_owned(),
    }
}

/// The flag that says whom to believe.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "App and server")]
pub(super) struct Authorities {
    /// A PEM file of the authorities to trust, instead of the public ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Authorities {
    pub(super) fn trust(&self) -> Result<Trust, Error> {
        let Some(path) = &self.ca_file else {
            return Trust::public().map_err(|error| usage("the public authorities", &error));
        };
        let shown = path.display();
        let pem = read_text("--ca-file", path)?;
        Trust::only(&pem).map_err(|error| usage(&format!("--ca-file: {shown}"), &error))
    }
}
