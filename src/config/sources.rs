//! What `[[apps.sources]]` takes, and what becomes of it.

use std::collections::HashSet;
use std::time::Duration;

use actix_http::header::HeaderName;
use serde::{Deserialize, Serialize};

use super::check::{Check, Reported};
use super::raw;
use super::values::Name;
use crate::auth::{Secret, SigningKey};
use crate::host_port::{is_loopback, split};
use crate::pem;
use crate::source::{
    Encoding, History, Part, Proof, Route, Signature, Sns, Source, Templates, TimestampPlace,
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

/// The value of `encoding`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DigestEncoding {
    Hex,
    Base64,
}

/// The value of `key`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyEncoding {
    Text,
    Hex,
    Base64,
}

/// The name of a header.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct SourceHeader(HeaderName);

impl TryFrom<String> for SourceHeader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.parse().map(Self);
        name.map_err(|_| format!("expected the name of a header, found {text:?}"))
    }
}

impl From<SourceHeader> for String {
    fn from(header: SourceHeader) -> Self {
        header.0.as_str().to_owned()
    }
}

/// The value of `signed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Signed {
    text: String,
    parts: Vec<Part>,
}

impl TryFrom<String> for Signed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = Part::parse_all(&text).map_err(|problem| {
            format!("expected what is signed, like \"{{timestamp}}.{{body}}\", found {text:?}: {problem}")
        })?;
        Ok(Self { text, parts })
    }
}

impl From<Signed> for String {
    fn from(signed: Signed) -> Self {
        signed.text
    }
}

impl SourceKind {
    fn name(self) -> &'static str {
        match self {
            Self::Sns => "sns",
            Self::SnsRaw => "sns-raw",
            Self::Phoenixd => "phoenixd",
            Self::Stripe => "stripe",
            Self::StandardWebhooks => "standard-webhooks",
            Self::Github => "github",
            Self::Hmac => "hmac",
            Self::Token => "token",
        }
    }

    /// Whether a key says something for this kind.
    fn takes(self, key: &str) -> bool {
        match key {
            "topics" | "sns_test" => matches!(self, Self::Sns | Self::SnsRaw),
            "secret" => self != Self::Sns,
            "username" | "password" => self == Self::SnsRaw,
            "token" => self == Self::Token,
            "id" | "id_header" => matches!(self, Self::Hmac | Self::Token),
            _ => self == Self::Hmac,
        }
    }
}

/// One table, with its place.
struct Table<'a> {
    raw: &'a raw::Source,
    kind: SourceKind,
    at: String,
}

/// The sources of the app that stands `at` a path.
pub(super) fn built(
    raw: &[raw::Source],
    at: &str,
    check: &mut Check<'_, '_>,
) -> Result<Vec<Source>, Reported> {
    let mut names = HashSet::new();
    let mut sources = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let at = format!("{at}.sources.{index}");
        let missing = |check: &mut Check<'_, '_>, key: &str| {
            let text =
                "a source needs a name and a kind, like name = \"invoices\" and kind = \"sns\"";
            check.report(&format!("{at}.{key}"), text)
        };
        let Name(name) = raw.name.as_ref().ok_or_else(|| missing(check, "name"))?;
        let kind = raw.kind.ok_or_else(|| missing(check, "kind"))?;
        if !names.insert(name) {
            let text = format!("another source of this app is called \"{name}\"");
            return Err(check.report(&format!("{at}.name"), text));
        }
        let table = Table { raw, kind, at };
        table.check_keys(check)?;
        let mut templates = Templates::default();
        let id = table.id(&mut templates, check)?;
        let store = raw.store.unwrap_or(kind == SourceKind::Phoenixd);
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        sources.push(Source {
            name: name.clone(),
            kind: kind.name(),
            proof: table.proof(check)?,
            id,
            routes: table.routes(&mut templates, check)?,
            templates,
            tolerance: seconds(raw.tolerance_seconds),
            dedupe: seconds(raw.dedupe_seconds),
            store: store.then(|| seconds(raw.retry_seconds)),
            history: History::default(),
        });
    }
    Ok(sources)
}

impl Table<'_> {
    fn report(&self, check: &mut Check<'_, '_>, key: &str, text: impl Into<String>) -> Reported {
        check.report(&format!("{}.{key}", self.at), text)
    }

    /// A key that has no effect is a mistake.
    fn check_keys(&self, check: &mut Check<'_, '_>) -> Result<(), Reported> {
        let raw = self.raw;
        let given = [
            ("topics", !raw.topics.is_empty()),
            ("sns_test", raw.sns_test.is_some()),
            ("secret", raw.secret.is_some()),
            ("secret", raw.secret_file.is_some()),
            ("secret", !raw.secrets.is_empty()),
            ("username", raw.username.is_some()),
            ("password", raw.password.is_some()),
            ("token", raw.token.is_some()),
            ("id", raw.id.is_some()),
            ("id_header", raw.id_header.is_some()),
            ("header", raw.header.is_some()),
            ("prefix", raw.prefix.is_some()),
            ("signed", raw.signed.is_some()),
            ("encoding", raw.encoding.is_some()),
            ("key", raw.key.is_some()),
            ("timestamp_header", raw.timestamp_header.is_some()),
        ];
        match given
            .into_iter()
            .find(|(key, given)| *given && !self.kind.takes(key))
        {
            None => Ok(()),
            Some((key, _)) => {
                let text = format!("the kind \"{}\" takes no {key}", self.kind.name());
                Err(self.report(check, key, text))
            }
        }
    }

    /// All secrets that are given, of which there must be one.
    fn secrets(&self, check: &mut Check<'_, '_>) -> Result<Vec<Secret>, Reported> {
        let raw = self.raw;
        let mut given = Vec::new();
        let single = [
            ("token", &raw.token),
            ("password", &raw.password),
            ("secret", &raw.secret),
        ];
        for (key, text) in single {
            given.extend(text.iter().map(|text| (key, check.secrets.resolve(text))));
        }
        if let Some(path) = &raw.secret_file {
            given.push(("secret_file", check.secrets.read(&path.0)));
        }
        for text in &raw.secrets {
            given.push(("secrets", check.secrets.resolve(text)));
        }
        let mut secrets = Vec::new();
        for (key, secret) in given {
            secrets.push(check.or_report(&format!("{}.{key}", self.at), secret)?);
        }
        if secrets.is_empty() {
            let key = match self.kind {
                SourceKind::SnsRaw => "password",
                SourceKind::Token => "token",
                _ => "secret",
            };
            let text = format!("the kind \"{}\" needs a {key}", self.kind.name());
            return Err(self.report(check, key, text));
        }
        Ok(secrets)
    }

    fn proof(&self, check: &mut Check<'_, '_>) -> Result<Proof, Reported> {
        match self.kind {
            SourceKind::Sns if self.raw.topics.is_empty() => {
                let text = "the kind \"sns\" needs topics, like [\"arn:aws:sns:us-east-1:123456789012:InvoiceEvents\"]: \
                            anybody has topics";
                Err(self.report(check, "topics", text))
            }
            SourceKind::Sns => Ok(Proof::Sns(self.sns(check)?)),
            SourceKind::SnsRaw => Ok(Proof::Password {
                username: Secret::new(self.raw.username.as_deref().unwrap_or_default()),
                passwords: self.secrets(check)?,
                sns: self.sns(check)?,
                id_header: HeaderName::from_static("x-amz-sns-message-id"),
            }),
            SourceKind::Token => Ok(Proof::Token {
                tokens: self.secrets(check)?,
                id_header: self.raw.id_header.clone().map(|header| header.0),
            }),
            _ => self.signature(check).map(Proof::Signature),
        }
    }

    fn sns(&self, check: &mut Check<'_, '_>) -> Result<Sns, Reported> {
        let topics = self.raw.topics.clone();
        let (authorities, stand_in) = match &self.raw.sns_test {
            None => (pem::public_authorities(), None),
            Some(test) => {
                if !matches!(split(&test.host), Ok((host, Some(_))) if is_loopback(host)) {
                    let text = "sns_test is for tests on one machine: its host must be a loopback address and a port, like \
                                \"127.0.0.1:4566\"";
                    return Err(self.report(check, "sns_test", text));
                }
                let path = test.ca_file.as_ref().map_or("", |path| path.0.as_str());
                let read = check.secrets.file(path, pem::authorities);
                let authorities = check.or_report(&format!("{}.sns_test", self.at), read)?;
                (authorities, Some(test.host.clone()))
            }
        };
        let sns = Sns::new(topics, authorities, stand_in).map_err(|error| error.to_string());
        check.or_report(&format!("{}.topics", self.at), sns)
    }

    /// The signature of a kind: of all but `hmac` the keys are the only thing that the file says.
    fn signature(&self, check: &mut Check<'_, '_>) -> Result<Signature, Reported> {
        let raw = self.raw;
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
        let mut key_encoding = Encoding::Text;
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
                key_encoding = Encoding::Base64;
                Signature {
                    header: header("webhook-signature"),
                    separator: Some(' '),
                    prefix: "v1,".to_owned(),
                    encoding: Encoding::Base64,
                    signed: vec![Part::Id, dot(), Part::Timestamp, dot(), Part::Body],
                    timestamp: Some(TimestampPlace::Header(header("webhook-timestamp"))),
                    id_header: Some(header("webhook-id")),
                    ..plain
                }
            }
            SourceKind::Github => Signature {
                header: header("x-hub-signature-256"),
                prefix: "sha256=".to_owned(),
                id_header: Some(header("x-github-delivery")),
                ..plain
            },
            SourceKind::Hmac => {
                key_encoding = raw.key.map_or(Encoding::Text, |key| match key {
                    KeyEncoding::Text => Encoding::Text,
                    KeyEncoding::Hex => Encoding::Hex,
                    KeyEncoding::Base64 => Encoding::Base64,
                });
                self.described(plain, check)?
            }
            _ => plain,
        };
        let keys = self.keys(key_encoding, check)?;
        Ok(Signature { keys, ..signature })
    }

    /// The keys that the secrets stand for.
    fn keys(
        &self,
        encoding: Encoding,
        check: &mut Check<'_, '_>,
    ) -> Result<Vec<SigningKey>, Reported> {
        let mut keys = Vec::new();
        for secret in self.secrets(check)? {
            let text = match self.kind {
                SourceKind::StandardWebhooks => secret.expose().trim_start_matches("whsec_"),
                _ => secret.expose(),
            };
            let key = encoding.decode(text).filter(|key| !key.is_empty());
            let key = key.ok_or_else(|| {
                let text = format!("a secret is not in {encoding:?}, as key or the kind says");
                self.report(check, "secret", text)
            })?;
            keys.push(SigningKey::new(&key));
        }
        Ok(keys)
    }

    /// The signature that the keys of `hmac` describe.
    fn described(
        &self,
        plain: Signature,
        check: &mut Check<'_, '_>,
    ) -> Result<Signature, Reported> {
        let raw = self.raw;
        let header = raw.header.clone().ok_or_else(|| {
            let text = "the kind \"hmac\" needs a header: where the signature stands";
            self.report(check, "header", text)
        })?;
        let timestamp = raw.timestamp_header.clone();
        let signature = Signature {
            header: header.0,
            prefix: raw.prefix.clone().unwrap_or_default(),
            encoding: match raw.encoding {
                Some(DigestEncoding::Base64) => Encoding::Base64,
                Some(DigestEncoding::Hex) | None => Encoding::Hex,
            },
            signed: raw
                .signed
                .clone()
                .map_or(plain.signed, |signed| signed.parts),
            timestamp: timestamp.map(|header| TimestampPlace::Header(header.0)),
            id_header: raw.id_header.clone().map(|header| header.0),
            ..plain
        };
        let signs = |part| signature.signed.contains(&part);
        // A time that nobody signs says nothing, and what is signed must be somewhere.
        let problem = match () {
            () if signs(Part::Timestamp) != signature.timestamp.is_some() => {
                "{timestamp} in signed and timestamp_header go together"
            }
            () if signs(Part::Id) && signature.id_header.is_none() => {
                "{id} in signed needs an id_header"
            }
            () => return Ok(signature),
        };
        Err(self.report(check, "signed", problem))
    }

    /// The template of the delivery's id, for kinds that have it in the body.
    fn id(
        &self,
        templates: &mut Templates,
        check: &mut Check<'_, '_>,
    ) -> Result<Option<crate::source::Template>, Reported> {
        let text = match self.kind {
            SourceKind::Stripe => Some("{{ body.id | default('') }}"),
            SourceKind::Phoenixd => Some("{{ body.paymentHash | default('') }}"),
            _ => self.raw.id.as_deref(),
        };
        let template = text.map(|text| templates.template(text)).transpose();
        check.or_report(&format!("{}.id", self.at), template)
    }

    fn routes(
        &self,
        templates: &mut Templates,
        check: &mut Check<'_, '_>,
    ) -> Result<Vec<Route>, Reported> {
        let mut routes = Vec::new();
        for (index, raw) in self.raw.routes.iter().enumerate() {
            let at = |key: &str| format!("{}.routes.{index}.{key}", self.at);
            let missing = |check: &mut Check<'_, '_>, key: &str| {
                let text = "a route needs channels and an event, like channels = [\"invoice.{{ message.id }}\"] and \
                            event = \"paid\"";
                check.report(&at(key), text)
            };
            if raw.channels.is_empty() {
                return Err(missing(check, "channels"));
            }
            let event = raw.event.as_ref().ok_or_else(|| missing(check, "event"))?;
            let mut channels = Vec::new();
            for (place, text) in raw.channels.iter().enumerate() {
                let template = templates.template(text);
                channels.push(check.or_report(&at(&format!("channels.{place}")), template)?);
            }
            let when = raw.when.as_ref().map(|text| templates.condition(text));
            let data = raw.data.as_ref().map(|text| templates.template(text));
            routes.push(Route {
                when: check.or_report(&at("when"), when.transpose())?,
                channels,
                event: check.or_report(&at("event"), templates.template(event))?,
                data: check.or_report(&at("data"), data.transpose())?,
            });
        }
        Ok(routes)
    }
}
