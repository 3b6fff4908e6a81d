//! Sources: what payment providers and queues send to `POST /apps/{id}/sources/{name}`, and the events that it becomes.
//! Verify (`signature`, `sns`), parse (`message`), route (`template`).
//!
//! `config` makes a [`Source`] a part of its app. Nothing here knows apps, channels or who publishes.
//! A template sees a [`Message`] only, and there is one only of what was verified, or for a dry run.

mod history;
mod message;
mod signature;
mod sns;
mod template;
#[cfg(test)]
mod tests;

use std::time::Duration;

use actix_http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use history::{Attempt, History};
pub use message::{Message, excerpt, header_line};
pub use signature::{Encoding, Part, Signature, TimestampPlace};
pub use sns::Sns;
pub use template::{Condition, Template, Templates};

use crate::auth::{Secret, bearer_token};

/// The longest body that is read, in bytes: SNS sends no more.
pub const BODY_BYTES: usize = 256 * 1024;

const SNS_RAW: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");
const SNS_TOPIC: HeaderName = HeaderName::from_static("x-amz-sns-topic-arn");
const SNS_ID: HeaderName = HeaderName::from_static("x-amz-sns-message-id");

/// One source of an app.
#[derive(Debug)]
pub struct Source {
    /// The last segment of its path.
    pub name: String,
    /// What it is called in the configuration.
    pub kind: String,
    /// How a delivery proves where it comes from.
    pub proof: Proof,
    /// The delivery's id, where it stands in no header. An empty text is none.
    pub id: Option<Template>,
    /// What becomes of a delivery.
    pub routes: Vec<Route>,
    /// All templates of it.
    pub templates: Templates,
    /// How far a timestamp may be off.
    pub tolerance: Duration,
    /// How long a delivery's id is remembered.
    pub dedupe: Duration,
    /// For how long a delivery that was kept is tried; none: a delivery that cannot be published is refused.
    pub store: Option<Duration>,
    /// What was delivered last.
    pub history: History,
}

/// How a delivery proves where it comes from.
#[derive(Debug)]
pub enum Proof {
    /// An HMAC over its bytes.
    Signature(Signature),
    /// The signature in a message of Amazon SNS.
    Sns(Sns),
    /// A user name and a password, with which SNS sends messages that are not signed. Confirmations are.
    Password {
        /// The name.
        username: Secret,
        /// Any of them will do.
        passwords: Vec<Secret>,
        /// For confirmations.
        sns: Sns,
    },
    /// A bearer token.
    Token {
        /// Any of them will do.
        tokens: Vec<Secret>,
        /// Where the delivery's id stands.
        id_header: Option<HeaderName>,
    },
}

/// One `[[apps.sources.routes]]`.
#[derive(Debug)]
pub struct Route {
    /// Whether it is for a message; none: for each.
    pub when: Option<Condition>,
    /// Where to.
    pub channels: Vec<Template>,
    /// The event's name.
    pub event: Template,
    /// The event's data; none: the message as it came.
    pub data: Option<Template>,
}

/// A request, of which nothing is known yet.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body as it came.
    pub body: &'a [u8],
    /// When it came, in milliseconds since 1970.
    pub time_ms: u64,
}

/// What a delivery is that proved where it comes from.
#[derive(Debug)]
pub enum Verified {
    /// It says something.
    Message(Message),
    /// SNS asked whether a subscription is wanted, and was told that it is.
    Confirmed,
    /// SNS said that a subscription has ended.
    Unsubscribed,
}

/// What is to be published for a message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Routed {
    /// The delivery's id.
    pub id: Option<String>,
    /// An event for each route that it fits.
    pub events: Vec<RoutedEvent>,
}

/// One event.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoutedEvent {
    /// The route's place among all, from 0.
    pub route: usize,
    /// Names of channels, unchecked.
    pub channels: Vec<String>,
    /// The event's name, unchecked.
    pub event: String,
    /// Its data, of any length.
    pub data: String,
}

/// Why a delivery is not taken. No text holds a secret, a digest that would be right, or what was sent.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// 401.
    #[error("the header {0} is missing")]
    HeaderMissing(HeaderName),
    /// 401.
    #[error("the header {header} holds no digest like {expected} in {encoding}")]
    NoDigest {
        /// Where it belongs.
        header: HeaderName,
        /// What it begins with.
        expected: String,
        /// How it is written.
        encoding: &'static str,
    },
    /// 401.
    #[error("the timestamp is missing or no time")]
    NoTimestamp,
    /// 401.
    #[error(
        "the timestamp is {seconds} s {}, and {tolerance} s are tolerated",
        if *is_old { "old" } else { "in the future" }
    )]
    Timestamp {
        /// How far it is off.
        seconds: u64,
        /// In which direction.
        is_old: bool,
        /// How far it may be.
        tolerance: u64,
    },
    /// 401.
    #[error("the digest in {0} differs: another secret, or the body was changed on its way")]
    Digest(HeaderName),
    /// 401.
    #[error("the message's Signature is not of its content and the certificate's key")]
    SnsSignature,
    /// 401, and how to prove it.
    #[error("the header Authorization holds no {} of this source", if *is_basic { "user name and password" } else { "bearer token" })]
    Credentials {
        /// Basic, or else Bearer.
        is_basic: bool,
        /// Whether there was something that could have been right.
        was_given: bool,
    },
    /// 400.
    #[error("it is no message of Amazon SNS: {0}")]
    NotSns(String),
    /// 403.
    #[error("its TopicArn is not in topics")]
    Topic,
    /// 403.
    #[error("its {key} is none of SNS: expected {expected}")]
    Address {
        /// Which one.
        key: &'static str,
        /// What it must be.
        expected: String,
    },
    /// 503.
    #[error("SNS cannot be asked: {0}")]
    Unreachable(String),
    /// 422.
    #[error("{place}: {problem}")]
    Template {
        /// Which template.
        place: String,
        /// What it says.
        problem: String,
    },
}

impl Source {
    /// Checks where a delivery comes from, and confirms the subscription if it asks for that. `now` is in seconds since
    /// 1970.
    ///
    /// # Errors
    /// It is not known to come from there.
    pub async fn verify(&self, delivery: Delivery<'_>, now: u64) -> Result<Verified, Refused> {
        let Delivery { headers, body, .. } = delivery;
        match &self.proof {
            Proof::Signature(signature) => {
                signature.verify(headers, body, now, self.tolerance)?;
            }
            Proof::Token { tokens, .. } => check_token(headers, tokens)?,
            Proof::Sns(sns) => return self.verify_sns(sns, delivery, now).await,
            Proof::Password {
                username,
                passwords,
                sns,
            } => {
                check_password(headers, username, passwords)?;
                // Only messages come raw.
                if headers.get(SNS_RAW).is_none_or(|raw| raw != "true") {
                    return self.verify_sns(sns, delivery, now).await;
                }
                let topic = headers.get(SNS_TOPIC);
                let topic = topic.and_then(|topic| topic.to_str().ok());
                sns.check_topic(topic.unwrap_or_default())?;
            }
        }
        Ok(Verified::Message(self.message(delivery, None)))
    }

    async fn verify_sns(
        &self,
        sns: &Sns,
        delivery: Delivery<'_>,
        now: u64,
    ) -> Result<Verified, Refused> {
        let envelope = sns::Envelope::parse(delivery.body)?;
        sns.verify(&envelope, now, self.dedupe).await?;
        Ok(match envelope.kind {
            sns::Kind::SubscriptionConfirmation => {
                sns.confirm(&envelope).await?;
                Verified::Confirmed
            }
            sns::Kind::UnsubscribeConfirmation => Verified::Unsubscribed,
            sns::Kind::Notification => Verified::Message(self.message(delivery, Some(&envelope))),
        })
    }

    /// What a delivery says, within its envelope if it has one.
    fn message(&self, delivery: Delivery<'_>, envelope: Option<&sns::Envelope>) -> Message {
        let of_header = || {
            let header = match &self.proof {
                Proof::Signature(Signature { id_header, .. }) | Proof::Token { id_header, .. } => {
                    id_header.as_ref()?
                }
                Proof::Password { .. } => &SNS_ID,
                Proof::Sns(_) => return None,
            };
            let id = delivery.headers.get(header)?.to_str().ok()?;
            Some(id.to_owned()).filter(|id| !id.is_empty())
        };
        let id = envelope.map(|envelope| envelope.message_id.clone());
        let inner = envelope.map(|envelope| envelope.message.as_str());
        Message::new(&self.name, delivery, inner, id.or_else(of_header))
    }

    /// What would be published for a delivery if it proved where it comes from. A body that is no message of SNS counts
    /// as what one would hold.
    ///
    /// # Errors
    /// A template or a condition fails.
    pub fn dry_run(&self, delivery: Delivery<'_>) -> Result<Routed, Refused> {
        let envelope = match &self.proof {
            Proof::Sns(_) => sns::Envelope::parse(delivery.body).ok(),
            _ => None,
        };
        self.route(&self.message(delivery, envelope.as_ref()))
    }

    /// What is to be published for a message.
    ///
    /// # Errors
    /// A template or a condition fails: nothing is to be published.
    pub fn route(&self, message: &Message) -> Result<Routed, Refused> {
        let failed = |place: &str| {
            let place = place.to_owned();
            move |problem| Refused::Template { place, problem }
        };
        let mut id = message.id.clone();
        if let (None, Some(template)) = (&id, &self.id) {
            let text = self.templates.render(template, &message.context);
            id = Some(text.map_err(failed("id"))?).filter(|id| !id.is_empty());
        }
        let shown = id.clone().map_or(Value::from(""), Value::from);
        let context = context! { id => shown, ..message.context.clone() };
        let mut events = Vec::new();
        for (at, route) in self.routes.iter().enumerate() {
            let place = |key: &str| failed(&format!("{key} of route {}", at + 1));
            let render = |key: &str, template: &Template| {
                self.templates
                    .render(template, &context)
                    .map_err(place(key))
            };
            if let Some(condition) = &route.when
                && !self
                    .templates
                    .holds(condition, &context)
                    .map_err(place("when"))?
            {
                continue;
            }
            let channels = route
                .channels
                .iter()
                .map(|template| render("channels", template));
            events.push(RoutedEvent {
                route: at,
                channels: channels.collect::<Result<_, _>>()?,
                event: render("event", &route.event)?,
                data: match &route.data {
                    Some(template) => render("data", template)?,
                    None => message.text.clone().ok_or_else(|| {
                        place("data")(
                            "the body is no text (UTF-8), and there is no template".to_owned(),
                        )
                    })?,
                },
            });
        }
        Ok(Routed { id, events })
    }

    /// The headers with which its provider would send a body; none for SNS, which signs with a key of its own. `id` is
    /// the delivery's, `now` in seconds since 1970.
    pub fn sign(&self, body: &[u8], id: &str, now: u64) -> Option<Vec<(HeaderName, String)>> {
        match &self.proof {
            Proof::Signature(signature) => Some(signature.sign(body, id, now)),
            Proof::Sns(_) => None,
            Proof::Password {
                username,
                passwords,
                sns,
            } => {
                let password = passwords.first()?.expose();
                let basic = BASE64.encode(format!("{}:{password}", username.expose()));
                Some(vec![
                    (AUTHORIZATION, format!("Basic {basic}")),
                    (SNS_RAW, "true".to_owned()),
                    (SNS_TOPIC, sns.topic().to_owned()),
                    (SNS_ID, id.to_owned()),
                ])
            }
            Proof::Token { tokens, id_header } => {
                let token = tokens.first()?.expose();
                let mut headers = vec![(AUTHORIZATION, format!("Bearer {token}"))];
                headers.extend(id_header.iter().map(|name| (name.clone(), id.to_owned())));
                Some(headers)
            }
        }
    }

    /// Whether it is proved by a text that anybody on the way could read, unless TLS hides it.
    pub fn sends_its_secret(&self) -> bool {
        matches!(self.proof, Proof::Password { .. } | Proof::Token { .. })
    }
}

/// A text of a bounded length that stands for an id.
pub fn digest(id: &str) -> String {
    hex::encode(Sha256::digest(id))
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()
}

/// All are compared, so that the time does not tell which one came close.
fn is_any(secrets: &[Secret], given: &str) -> bool {
    secrets.iter().filter(|secret| secret.equals(given)).count() > 0
}

fn check_token(headers: &HeaderMap, tokens: &[Secret]) -> Result<(), Refused> {
    let given = authorization(headers).and_then(bearer_token);
    match given.is_some_and(|given| is_any(tokens, given)) {
        true => Ok(()),
        false => Err(Refused::Credentials {
            is_basic: false,
            was_given: given.is_some(),
        }),
    }
}

fn check_password(
    headers: &HeaderMap,
    username: &Secret,
    passwords: &[Secret],
) -> Result<(), Refused> {
    let given = authorization(headers).and_then(|value| {
        let (scheme, text) = value.split_once(' ')?;
        let text = BASE64.decode(text.trim()).ok()?;
        scheme.eq_ignore_ascii_case("basic").then_some(())?;
        String::from_utf8(text).ok()
    });
    let (user, password) = given
        .as_deref()
        .and_then(|given| given.split_once(':'))
        .unwrap_or_default();
    // Both are looked at in any case.
    match is_any(passwords, password) & username.equals(user) {
        true => Ok(()),
        false => Err(Refused::Credentials {
            is_basic: true,
            was_given: given.is_some(),
        }),
    }
}
