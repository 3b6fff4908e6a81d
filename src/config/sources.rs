//! What `[[apps.sources]]` takes, and what becomes of it.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use actix_http::header::HeaderName;
use serde::{Deserialize, Serialize};

use super::raw;
use super::secrets::SecretReader;
use super::values::Name;
use super::webhooks::HeaderText;
use super::wrong::{Wrong, at, both, each, ensure, required};
use crate::auth::{Secret, SigningKey};
use crate::host_port::{is_loopback, split};
use crate::pem;
use crate::source::{
    Encoding, History, Part, Proof, Route, Signature, Sns, Source, Template, Templates,
    TimestampPlace,
};

/// The value of `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SourceKind {
    Sns,
    SnsRaw,
    Phoenixd,
    Stripe,
    StandardWebhooks,
    Github,
    Hmac,
    Token,
}

/// As the file says it.
impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl SourceKind {
    /// Whether a key says something for this kind.
    fn takes(self, key: &str) -> bool {
        match key {
            "topics" | "sns_test" => matches!(self, Self::Sns | Self::SnsRaw),
            "secret" | "secret_file" | "secrets" => self != Self::Sns,
            "username" | "password" => self == Self::SnsRaw,
            "token" => self == Self::Token,
            "id" | "id_header" => matches!(self, Self::Hmac | Self::Token),
            "header" | "prefix" | "signed" | "encoding" | "key" | "timestamp_header" => {
                self == Self::Hmac
            }
            _ => true,
        }
    }
}

/// One table.
struct Table<'a> {
    raw: &'a raw::Source,
    kind: SourceKind,
}

/// The sources of an app.
pub(super) fn built(
    raw: &[raw::Source],
    secrets: &mut SecretReader<'_>,
) -> Result<Vec<Source>, Wrong> {
    let mut names = HashSet::new();
    each("sources", raw, |raw| {
        let text = "a source needs a name and a kind, like name = \"invoices\" and kind = \"sns\"";
        let Name(name) = required(&raw.name, "name", text)?;
        let kind = *required(&raw.kind, "kind", text)?;
        ensure(names.insert(name), "name", || {
            format!("another source of this app is called \"{name}\"")
        })?;
        Table { raw, kind }.source(name, secrets)
    })
}

impl Table<'_> {
    fn source(&self, name: &str, secrets: &mut SecretReader<'_>) -> Result<Source, Wrong> {
        self.check_keys()?;
        let Self { raw, kind } = self;
        let mut templates = Templates::default();
        let store = raw.store.unwrap_or(*kind == SourceKind::Phoenixd);
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Ok(Source {
            name: name.to_owned(),
            kind: kind.to_string(),
            id: self.id(&mut templates)?,
            proof: self.proof(secrets)?,
            routes: each("routes", &raw.routes, |raw| route(raw, &mut templates))?,
            templates,
            tolerance: seconds(raw.tolerance_seconds),
            dedupe: seconds(raw.dedupe_seconds),
            store: store.then(|| seconds(raw.retry_seconds)),
            history: History::default(),
        })
    }

    /// A key that has no effect is a mistake.
    fn check_keys(&self) -> Result<(), Wrong> {
        // What is not given is not written, or is an empty list.
        let given = toml::Table::try_from(self.raw).unwrap_or_default();
        let is_given = |value: &toml::Value| value.as_array().is_none_or(|list| !list.is_empty());
        let mut given = given.iter().filter(|(_, value)| is_given(value));
        match given.find(|(key, _)| !self.kind.takes(key)) {
            None => Ok(()),
            Some((key, _)) => {
                let text = format!("the kind \"{}\" takes no {key}", self.kind);
                Err(Wrong::key(key, text))
            }
        }
    }

    /// All secrets that are given, of which there must be one.
    fn secrets(&self, secrets: &mut SecretReader<'_>) -> Result<Vec<Secret>, Wrong> {
        let Self { raw, kind } = self;
        let (key, single) = match kind {
            SourceKind::SnsRaw => ("password", raw.password.as_ref()),
            SourceKind::Token => ("token", raw.token.as_ref()),
            _ => ("secret", None),
        };
        let single = single.map(|text| secrets.resolve(text).map_err(at(key)));
        let more = secrets.all(raw.secret.as_ref(), raw.secret_file.as_ref(), &raw.secrets);
        let (single, more) = both(single.transpose(), more)?;
        let all: Vec<Secret> = single.into_iter().chain(more).collect();
        ensure(!all.is_empty(), key, || {
            format!("the kind \"{kind}\" needs a {key}")
        })?;
        Ok(all)
    }

    fn proof(&self, secrets: &mut SecretReader<'_>) -> Result<Proof, Wrong> {
        let raw = self.raw;
        match self.kind {
            SourceKind::Sns if raw.topics.is_empty() => {
                let text = "the kind \"sns\" needs topics, like [\"arn:aws:sns:us-east-1:123456789012:InvoiceEvents\"]: \
                            anybody has topics";
                Err(Wrong::key("topics", text))
            }
            SourceKind::Sns => Ok(Proof::Sns(self.sns(secrets)?)),
            SourceKind::SnsRaw => Ok(Proof::Password {
                username: Secret::new(raw.username.as_deref().unwrap_or_default()),
                passwords: self.secrets(secrets)?,
                sns: self.sns(secrets)?,
            }),
            SourceKind::Token => Ok(Proof::Token {
                tokens: self.secrets(secrets)?,
                id_header: raw.id_header.as_ref().and_then(HeaderText::name),
            }),
            _ => {
                let (signature, encoding) = self.signature()?;
                let keys = self.keys(encoding, secrets)?;
                Ok(Proof::Signature(Signature { keys, ..signature }))
            }
        }
    }

    fn sns(&self, secrets: &mut SecretReader<'_>) -> Result<Sns, Wrong> {
        let (authorities, stand_in) = match &self.raw.sns_test {
            None => (pem::public_authorities(), None),
            Some(test) => {
                let is_local =
                    matches!(split(&test.host), Ok((host, Some(_))) if is_loopback(host));
                ensure(is_local, "sns_test", || {
                    "sns_test is for tests on one machine: its host must be a loopback address and a port, like \
                     \"127.0.0.1:4566\""
                })?;
                let path = test.ca_file.as_ref().map_or("", |path| path.0.as_str());
                let authorities = secrets.file(path, pem::authorities);
                (
                    authorities.map_err(at("sns_test"))?,
                    Some(test.host.clone()),
                )
            }
        };
        let sns = Sns::new(self.raw.topics.clone(), authorities, stand_in);
        sns.map_err(|error| Wrong::key("topics", error.to_string()))
    }

    /// The signature of a kind, without the keys, and how these are written.
    fn signature(&self) -> Result<(Signature, Encoding), Wrong> {
        let header = HeaderName::from_static;
        let plain = Signature {
            header: header("x-phoenix-signature"),
            separator: None,
            prefix: String::new(),
            encoding: Encoding::Hex,
            signed: vec![Part::Body],
            timestamp: None,
            id_header: None,
            keys: Vec::new(),
        };
        let dot = || Part::Text(".".to_owned());
        let signature = match self.kind {
            SourceKind::Stripe => Signature {
                header: header("stripe-signature"),
                separator: Some(','),
                prefix: "v1=".to_owned(),
                signed: vec![Part::Timestamp, dot(), Part::Body],
                timestamp: Some(TimestampPlace::Field("t=".to_owned())),
                ..plain
            },
            SourceKind::StandardWebhooks => {
                let signature = Signature {
                    header: header("webhook-signature"),
                    separator: Some(' '),
                    prefix: "v1,".to_owned(),
                    encoding: Encoding::Base64,
                    signed: vec![Part::Id, dot(), Part::Timestamp, dot(), Part::Body],
                    timestamp: Some(TimestampPlace::Header(header("webhook-timestamp"))),
                    id_header: Some(header("webhook-id")),
                    ..plain
                };
                return Ok((signature, Encoding::Base64));
            }
            SourceKind::Github => Signature {
                header: header("x-hub-signature-256"),
                prefix: "sha256=".to_owned(),
                id_header: Some(header("x-github-delivery")),
                ..plain
            },
            SourceKind::Hmac => {
                let encoding = self.raw.key.unwrap_or(Encoding::Text);
                return Ok((described(self.raw, plain)?, encoding));
            }
            _ => plain,
        };
        Ok((signature, Encoding::Text))
    }

    /// The keys that the secrets stand for.
    fn keys(
        &self,
        encoding: Encoding,
        secrets: &mut SecretReader<'_>,
    ) -> Result<Vec<SigningKey>, Wrong> {
        let secrets = self.secrets(secrets)?;
        let keys = secrets.iter().map(|secret| {
            let text = match self.kind {
                SourceKind::StandardWebhooks => secret.expose().trim_start_matches("whsec_"),
                _ => secret.expose(),
            };
            let key = encoding.decode(text).filter(|key| !key.is_empty());
            key.map(|key| SigningKey::new(&key)).ok_or_else(|| {
                let text = format!("a secret is not in {encoding:?}, as key or the kind says");
                Wrong::key("secret", text)
            })
        });
        keys.collect()
    }

    /// The template of the delivery's id, for kinds that have it in the body.
    fn id(&self, templates: &mut Templates) -> Result<Option<Template>, Wrong> {
        let text = match self.kind {
            SourceKind::Stripe => Some("{{ body.id | default('') }}"),
            SourceKind::Phoenixd => Some("{{ body.paymentHash | default('') }}"),
            _ => self.raw.id.as_deref(),
        };
        let template = text.map(|text| templates.template(text).map_err(at("id")));
        template.transpose()
    }
}

/// The signature that the keys of `hmac` describe.
fn described(raw: &raw::Source, plain: Signature) -> Result<Signature, Wrong> {
    let header = raw.header.as_ref().and_then(HeaderText::name);
    let text = "the kind \"hmac\" needs a header: where the signature stands";
    let timestamp = raw.timestamp_header.as_ref().and_then(HeaderText::name);
    let signed = raw.signed.as_deref().map(Part::parse_all).transpose();
    let signature = Signature {
        header: required(&header, "header", text)?.clone(),
        prefix: raw.prefix.clone().unwrap_or_default(),
        encoding: raw.encoding.unwrap_or(Encoding::Hex),
        signed: signed.map_err(at("signed"))?.unwrap_or(plain.signed),
        timestamp: timestamp.map(TimestampPlace::Header),
        id_header: raw.id_header.as_ref().and_then(HeaderText::name),
        ..plain
    };
    ensure(
        signature.encoding != Encoding::Text,
        "encoding",
        || "a digest is no text: expected \"hex\" or \"base64\"",
    )?;
    // A time that nobody signs says nothing, and what is signed must be somewhere.
    let signs = |part| signature.signed.contains(&part);
    let has_time = signature.timestamp.is_some();
    ensure(
        signs(Part::Timestamp) == has_time,
        "signed",
        || "{timestamp} in signed and timestamp_header go together",
    )?;
    let has_id = signature.id_header.is_some();
    ensure(
        !signs(Part::Id) || has_id,
        "signed",
        || "{id} in signed needs an id_header",
    )?;
    Ok(signature)
}

fn route(raw: &raw::SourceRoute, templates: &mut Templates) -> Result<Route, Wrong> {
    let text = "a route needs channels and an event, like channels = [\"invoice.{{ message.id }}\"] and \
                event = \"paid\"";
    ensure(!raw.channels.is_empty(), "channels", || text)?;
    let event = required(&raw.event, "event", text)?;
    let when = raw.when.as_ref().map(|text| templates.condition(text));
    let data = raw.data.as_ref().map(|text| templates.template(text));
    Ok(Route {
        when: when.transpose().map_err(at("when"))?,
        channels: each("channels", &raw.channels, |text| {
            templates.template(text).map_err(at(""))
        })?,
        event: templates.template(event).map_err(at("event"))?,
        data: data.transpose().map_err(at("data"))?,
    })
}
