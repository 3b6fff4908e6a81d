//! Signatures of HMAC-SHA256 over the bytes of a request. What differs from one provider to the other is data: where the
//! digest and the time stand, and what is signed.

use std::time::Duration;

use actix_http::header::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use serde::{Deserialize, Serialize};

use super::Refused;
use crate::auth::SigningKey;

/// More digests than any provider sends while it replaces a secret.
const DIGESTS: usize = 16;

/// The signature scheme of one provider.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The header that holds the digests.
    pub header: HeaderName,
    /// The character between several digests.
    pub separator: Option<char>,
    /// The prefix of a digest of this scheme; texts without it are ignored.
    pub prefix: String,
    /// How digests are encoded.
    pub encoding: Encoding,
    /// The parts of the text that is signed, in their order.
    pub signed: Vec<Part>,
    /// Where the time of signing is found, in seconds since 1970.
    pub timestamp: Option<TimestampPlace>,
    /// The header with the delivery's id.
    pub id_header: Option<HeaderName>,
    /// The keys. All of them verify, the first one signs.
    pub keys: Vec<SigningKey>,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As they are. Only keys are.
    Text,
    /// Hexadecimal, in letters of either case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A fixed text.
    Text(String),
    /// The body as it came.
    Body,
    /// The timestamp as it came.
    Timestamp,
    /// The delivery's id as it came.
    Id,
}

/// Where the timestamp of a signature is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimestampPlace {
    /// In a header of its own.
    Header(HeaderName),
    /// In the signature's header, behind this prefix.
    Field(String),
}

impl Encoding {
    /// The bytes of a text; none if it is not in this encoding.
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Text => Some(text.as_bytes().to_vec()),
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => BASE64.decode(text).ok(),
        }
    }

    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Base64 => BASE64.encode(bytes),
            Self::Text | Self::Hex => hex::encode(bytes),
        }
    }
}

impl Part {
    /// Reads the parts of a text such as `{timestamp}.{body}`.
    ///
    /// # Errors
    /// There is something else in braces, or the body is not signed.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((fixed, behind)) = rest.split_once('{') {
            let (name, behind) = behind
                .split_once('}')
                .ok_or_else(|| "a \"{\" has no \"}\"".to_owned())?;
            parts.push(Self::Text(fixed.to_owned()));
            parts.push(match name {
                "body" => Self::Body,
                "timestamp" => Self::Timestamp,
                "id" => Self::Id,
                other => {
                    return Err(format!(
                        "there is no {{{other}}}: {{body}}, {{timestamp}} and {{id}} are signed"
                    ));
                }
            });
            rest = behind;
        }
        parts.push(Self::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Self::Text(text) if text.is_empty()));
        match parts.contains(&Self::Body) {
            true => Ok(parts),
            false => Err("{body} is not in it, so anybody could replace the body".to_owned()),
        }
    }
}

impl Signature {
    /// Checks a request. Every key is tried with every digest, so that the time does not tell which came close.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: u64,
        tolerance: Duration,
    ) -> Result<(), Refused> {
        let value = text_of(headers, &self.header)?;
        let timestamp = self.timestamp(headers, value)?;
        if let Some(timestamp) = timestamp {
            let seconds = timestamp.parse().map_err(|_| Refused::NoTimestamp)?;
            check_age(seconds, now, tolerance)?;
        }
        let id = match &self.id_header {
            Some(header) if self.signed.contains(&Part::Id) => text_of(headers, header)?,
            _ => "",
        };
        let digests = self.fields(value);
        let digests = digests.filter_map(|field| field.strip_prefix(self.prefix.as_str()));
        let digests = digests.filter_map(|digest| self.encoding.decode(digest));
        let digests: Vec<Vec<u8>> = digests.take(DIGESTS).collect();
        if digests.is_empty() {
            return Err(Refused::NoDigest {
                header: self.header.clone(),
                expected: format!("{}…", self.prefix),
                encoding: match self.encoding {
                    Encoding::Base64 => "base64",
                    Encoding::Text | Encoding::Hex => "hexadecimal digits",
                },
            });
        }
        let parts = |()| self.parts(body, timestamp.unwrap_or_default(), id);
        let matching = self.keys.iter().flat_map(|key| {
            let digests = digests.iter();
            digests.filter(move |digest| key.verifies(parts(()), digest))
        });
        match matching.count() {
            0 => Err(Refused::Digest(self.header.clone())),
            _ => Ok(()),
        }
    }

    /// The headers that a provider would send with a body.
    pub(super) fn sign(&self, body: &[u8], id: &str, now: u64) -> Vec<(HeaderName, String)> {
        let timestamp = now.to_string();
        let Some(key) = self.keys.first() else {
            return Vec::new();
        };
        let digest = self
            .encoding
            .encode(&key.digest(self.parts(body, &timestamp, id)));
        let mut value = format!("{}{digest}", self.prefix);
        let mut headers = Vec::new();
        match &self.timestamp {
            Some(TimestampPlace::Header(name)) => headers.push((name.clone(), timestamp)),
            Some(TimestampPlace::Field(prefix)) => {
                let separator = self.separator.map(String::from).unwrap_or_default();
                value = format!("{prefix}{timestamp}{separator}{value}");
            }
            None => {}
        }
        headers.push((self.header.clone(), value));
        headers.extend(
            self.id_header
                .iter()
                .map(|name| (name.clone(), id.to_owned())),
        );
        headers
    }

    fn parts<'a>(
        &'a self,
        body: &'a [u8],
        timestamp: &'a str,
        id: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.signed.iter().map(move |part| match part {
            Part::Text(text) => text.as_bytes(),
            Part::Body => body,
            Part::Timestamp => timestamp.as_bytes(),
            Part::Id => id.as_bytes(),
        })
    }

    fn timestamp<'a>(
        &self,
        headers: &'a HeaderMap,
        value: &'a str,
    ) -> Result<Option<&'a str>, Refused> {
        match &self.timestamp {
            None => Ok(None),
            Some(TimestampPlace::Header(name)) => text_of(headers, name).map(Some),
            Some(TimestampPlace::Field(prefix)) => {
                let timestamp = self
                    .fields(value)
                    .find_map(|field| field.strip_prefix(&**prefix));
                timestamp.map(Some).ok_or(Refused::NoTimestamp)
            }
        }
    }

    fn fields<'a>(&self, value: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let separator = self.separator;
        value.split(move |c| Some(c) == separator).map(str::trim)
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refused> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Refused::HeaderMissing(name.clone()))
}

/// Whether a time is near enough to another, both in seconds since 1970.
pub(super) fn check_age(seconds: u64, now: u64, tolerance: Duration) -> Result<(), Refused> {
    if now.abs_diff(seconds) <= tolerance.as_secs() {
        return Ok(());
    }
    Err(Refused::Timestamp {
        seconds: now.abs_diff(seconds),
        is_old: seconds < now,
        tolerance: tolerance.as_secs(),
    })
}
