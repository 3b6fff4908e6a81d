//! `POST /apps/{id}/events` and `/batch_events` (protocol §4.4, §4.5).

use std::collections::HashSet;
use std::sync::Arc;

use actix_http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Api;
use super::error::ApiError;
use super::idempotency;
use super::signed::{Signed, cut_character};
use crate::app::App;
use crate::node::{
    Counts, DeliveryScope, KeyRefused, Node, Publication, PublishOutcome, Unavailable,
};
use crate::protocol::{
    ChannelKind, ChannelName, EventName, SocketId, excerpt, parse, parse_object,
};

/// The body of a publish, unchecked: raw values, so that an error can name the key.
#[derive(Deserialize)]
struct EventBody<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    channels: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
    socket_id: Option<&'a RawValue>,
    info: Option<&'a RawValue>,
    idempotency_key: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    batch: Option<Vec<&'a RawValue>>,
}

/// Which counts a publisher wants back, as an idempotency key remembers it: bits.
#[derive(Clone, Copy)]
struct Wanted(u8);

impl Wanted {
    const NOTHING: Self = Self(0);
    /// Whether there is an `info` at all, perhaps an empty one.
    const INFO: Self = Self(1);
    const USERS: Self = Self(2);
    const SUBSCRIPTIONS: Self = Self(4);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A checked publish.
pub(super) struct Request {
    pub(super) publication: Publication,
    /// Its own idempotency key.
    pub(super) key: Option<Arc<str>>,
    wanted: Wanted,
}

impl Request {
    /// The bits of an answer that an idempotency key remembers for repeats.
    pub(super) fn note(&self) -> u8 {
        self.wanted.0
    }
}

/// Checks a body and publishes it. `key` covers the request.
async fn check_and_publish(
    node: &Node,
    app: &App,
    body: &[u8],
    key: Option<&Arc<str>>,
) -> Result<(Request, PublishOutcome), ApiError> {
    let body: EventBody<'_> = parse_body(body)?;
    let mut request = check(app, &body)?;
    idempotency::mark(app, std::slice::from_mut(&mut request), key);
    node.admit_events(app, 1)?;
    let published = node.publish(app, &request.publication).await?;
    Ok((request, published))
}

/// `POST /events`: `{}`, or the counts of its channels.
pub(super) async fn publish(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let key = signed.idempotency_key()?;
    let published =
        check_and_publish(signed.node(), &signed.app, &signed.body, key.as_ref()).await?;
    let answer = Answer::of(signed, std::slice::from_ref(&published.1));
    let (request, published) = published;
    let Some(infos) = infos(signed, &request, &published).await? else {
        return Ok(answer.empty());
    };
    let names = request.publication.channels.iter().map(|c| c.to_string());
    let channels: Map<String, Value> = names.zip(infos).collect();
    Ok(answer.json(&serde_json::json!({ "channels": channels })))
}

/// An event that an operator publishes from the console.
pub struct OperatorPublish<'a> {
    /// The name of the channel.
    pub channel: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// The event's data.
    pub data: &'a str,
    /// The idempotency key.
    pub idempotency_key: Option<&'a str>,
}

/// The answer that the API would have given.
pub struct Outcome {
    /// The status: 200, or that of an error.
    pub status: u16,
    /// The answer's body.
    pub body: String,
    /// How many subscriptions the channel had; none if the event was not published or the count is not known.
    pub subscriptions: Option<usize>,
}

impl Api {
    /// Publishes an operator's event as the app's backend would: with the same body, checks, limits and errors. It
    /// needs no signature and is not counted as a request.
    pub async fn publish_for_operator(&self, app: &App, publish: &OperatorPublish<'_>) -> Outcome {
        let body = serde_json::json!({
            "name": publish.event, "channel": publish.channel, "data": publish.data,
            "idempotency_key": publish.idempotency_key,
        });
        let body = body.to_string();
        let most = app.limits.event_body_bytes();
        let taken = if !app.enabled {
            Err(ApiError::AppDisabled)
        } else if body.len() > most {
            Err(ApiError::BodyTooLarge(most))
        } else {
            check_and_publish(&self.node, app, body.as_bytes(), None).await
        };
        match taken {
            Ok((_, published)) => Outcome {
                status: 200,
                body: "{}".to_owned(),
                subscriptions: published.subscriptions,
            },
            Err(error) => Outcome {
                status: error.status().as_u16(),
                body: error.to_string(),
                subscriptions: None,
            },
        }
    }
}

/// `POST /batch_events`: all or nothing is checked; `{}`, or an array with an entry for each event.
pub(super) async fn publish_batch(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let key = signed.idempotency_key()?;
    let body: BatchBody<'_> = parse_body(&signed.body)?;
    let batch = body.batch.ok_or_else(|| missing("batch"))?;
    let max = signed.app.limits.batch_events;
    if batch.len() > max {
        return Err(bad(format!(
            "Batch too large: {} events, allowed are {max}",
            batch.len()
        )));
    }
    let check = |(at, raw): (usize, &&RawValue)| {
        let event = parse_object(raw.get());
        check(
            &signed.app,
            &event.map_err(|reason| bad(format!("\"batch\", event {}: {reason}", at + 1)))?,
        )
    };
    let requests = batch.iter().enumerate().map(check);
    let mut requests = requests.collect::<Result<Vec<_>, _>>()?;
    idempotency::mark(&signed.app, &mut requests, key.as_ref());
    signed.node().admit_events(&signed.app, requests.len())?;
    let publications: Vec<_> = requests.iter().map(|r| &r.publication).collect();
    let published = signed.node().publish_all(&signed.app, &publications).await;
    let published = published.map_err(|error| match error {
        Unavailable::Key(index, KeyRefused::Reused) => {
            ApiError::KeyReused(format!("\"batch\", event {} (index {index}): ", index + 1))
        }
        other => other.into(),
    })?;
    let answer = Answer::of(signed, &published);
    let mut all = Vec::new();
    let mut is_wanted = false;
    for (request, published) in requests.iter().zip(&published) {
        let infos = infos(signed, request, published).await?;
        is_wanted |= infos.is_some();
        let nothing = || {
            request
                .publication
                .channels
                .iter()
                .map(|_| Map::new().into())
        };
        all.extend(infos.unwrap_or_else(|| nothing().collect()));
    }
    match is_wanted {
        true => Ok(answer.json(&serde_json::json!({ "batch": all }))),
        false => Ok(answer.empty()),
    }
}

/// What the head of an answer to accepted events says of them.
struct Answer(HttpResponseBuilder);

impl Answer {
    /// 200; headers say whether an event did not get to the whole cluster, and whether all of them had been published
    /// before.
    fn of(signed: &Signed<'_>, published: &[PublishOutcome]) -> Self {
        let mut response = HttpResponse::Ok();
        if published
            .iter()
            .any(|published| published.scope == DeliveryScope::ThisNode)
        {
            response.insert_header(("X-Tidewire-Delivery", "local"));
        }
        if !published.is_empty() && published.iter().all(PublishOutcome::is_repeat) {
            response.insert_header((idempotency::REPLAYED, "true"));
            signed.app.metrics.publishes_replayed.inc();
        }
        Self(response)
    }

    /// `{}`.
    fn empty(mut self) -> HttpResponse {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        self.0.insert_header((CONTENT_TYPE, JSON)).body("{}")
    }

    fn json(mut self, body: &Value) -> HttpResponse {
        self.0.json(body)
    }
}

/// What the answer says of each channel of an accepted event: for a repeat what the first one's answer said. None if the
/// publisher did not ask.
async fn infos(
    signed: &Signed<'_>,
    request: &Request,
    published: &PublishOutcome,
) -> Result<Option<Vec<Value>>, ApiError> {
    let channels = request.publication.channels.iter();
    let first = published.first.as_ref();
    let wanted = first.map_or(request.wanted, |first| Wanted(first.note));
    if !wanted.has(Wanted::INFO) {
        return Ok(None);
    }
    let mut infos = Vec::with_capacity(channels.len());
    for (at, channel) in channels.enumerate() {
        let counts = match first {
            Some(first) => first.counts.get(at).copied().unwrap_or_default(),
            None if wanted.has(Wanted::USERS) || wanted.has(Wanted::SUBSCRIPTIONS) => {
                signed.node().counts(&signed.app, channel).await?
            }
            None => Counts::default(),
        };
        let mut info = Map::new();
        if wanted.has(Wanted::USERS) && channel.kind() == ChannelKind::Presence {
            info.insert("user_count".to_owned(), counts.users.into());
        }
        if wanted.has(Wanted::SUBSCRIPTIONS) {
            info.insert("subscription_count".to_owned(), counts.subscriptions.into());
        }
        infos.push(Value::Object(info));
    }
    Ok(Some(infos))
}

fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| match cut_character(body) {
        Some(cut) => bad(cut),
        None => bad(format!("The body is not UTF-8: {error}")),
    })?;
    parse_object(text).map_err(|reason| {
        bad(format!(
            "The body is not a JSON object as expected: {reason}"
        ))
    })
}

/// Checks the body in the order in which a reader would.
fn check(app: &App, body: &EventBody<'_>) -> Result<Request, ApiError> {
    let limits = &app.limits;
    let name = string("name", body.name)?.ok_or_else(|| missing("name"))?;
    let event = EventName::parse(&name, limits.event_name_length)?;
    let data = string("data", body.data)?.ok_or_else(|| missing("data"))?;
    check_data(app, &data)?;
    let channels = channels(app, channel_names(body)?)?;
    let except = match string("socket_id", body.socket_id)? {
        Some(text) => Some(
            text.parse::<SocketId>()
                .map_err(|e| bad(format!("Invalid socket_id: {e}")))?,
        ),
        None => None,
    };
    let wanted = match string("info", body.info)? {
        Some(info) => wanted(&info)?,
        None => Wanted::NOTHING,
    };
    let key = string("idempotency_key", body.idempotency_key)?
        .map(|key| idempotency::checked("idempotency_key", &key))
        .transpose()?;
    Ok(Request {
        publication: Publication {
            event,
            data,
            channels,
            except,
            once: None,
        },
        key,
        wanted,
    })
}

pub(super) fn check_data(app: &App, data: &str) -> Result<(), ApiError> {
    let most = app.limits.event_bytes;
    match data.len() > most {
        true => Err(ApiError::DataTooLarge(most)),
        false => Ok(()),
    }
}

/// `channels`, or the single `channel` that PHP and batches send.
fn channel_names(body: &EventBody<'_>) -> Result<Vec<String>, ApiError> {
    match (given(body.channels), string("channel", body.channel)?) {
        (Some(_), Some(_)) => Err(bad(
            "An event has either channels or channel, not both".to_owned()
        )),
        (Some(raw), None) => serde_json::from_str(raw.get())
            .map_err(|_| bad("Expected channels parameter to be an array of strings".to_owned())),
        (None, Some(name)) => Ok(vec![name]),
        (None, None) => Err(missing("channels")),
    }
}

/// The channels of an event, without doubles.
pub(super) fn channels(app: &App, names: Vec<String>) -> Result<Vec<ChannelName>, ApiError> {
    let max = app.limits.channels_per_event;
    if names.is_empty() || names.len() > max {
        return Err(bad(format!(
            "An event needs 1 to {max} channels, this one has {}",
            names.len()
        )));
    }
    if let [name] = &names[..] {
        return Ok(vec![channel_name(app, name)?]);
    }
    let mut seen = HashSet::with_capacity(names.len());
    let mut channels = Vec::with_capacity(names.len());
    for name in &names {
        let channel = channel_name(app, name)?;
        if seen.insert(name) {
            channels.push(channel);
        }
    }
    Ok(channels)
}

/// A channel name in a body or a path.
pub(super) fn channel_name(app: &App, name: &str) -> Result<ChannelName, ApiError> {
    ChannelName::parse(name, app.limits.channel_name_length).map_err(|reason| {
        ApiError::ChannelName {
            name: excerpt(name).to_owned(),
            reason,
        }
    })
}

fn wanted(info: &str) -> Result<Wanted, ApiError> {
    let mut wanted = Wanted::INFO;
    for attribute in attributes(info) {
        wanted.0 |= match attribute {
            "user_count" => Wanted::USERS.0,
            "subscription_count" => Wanted::SUBSCRIPTIONS.0,
            _ => return Err(unknown_info(attribute, "user_count, subscription_count")),
        };
    }
    Ok(wanted)
}

/// The attributes of an `info`.
pub(super) fn attributes(info: &str) -> impl Iterator<Item = &str> {
    let attributes = info.split(',').map(str::trim);
    attributes.filter(|attribute| !attribute.is_empty())
}

pub(super) fn unknown_info(attribute: &str, known: &str) -> ApiError {
    bad(format!(
        "info should be a comma separated list of attributes: {known}; {:?} is none",
        excerpt(attribute)
    ))
}

/// A value that is there: `null` counts as missing.
fn given(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

fn string(key: &str, raw: Option<&RawValue>) -> Result<Option<String>, ApiError> {
    let Some(raw) = given(raw) else {
        return Ok(None);
    };
    let expected = |hint: &str| bad(format!("Expected {key} parameter to be a string{hint}"));
    if !raw.get().starts_with('"') {
        let hint = if key == "data" {
            ": send the JSON of an object as text"
        } else {
            ""
        };
        return Err(expected(hint));
    }
    parse(raw.get())
        .map(Some)
        .map_err(|reason| expected(&format!(" of valid Unicode: {reason}")))
}

pub(super) fn bad(text: String) -> ApiError {
    ApiError::BadRequest(text)
}

fn missing(key: &str) -> ApiError {
    bad(format!("Missing required parameter: {key}"))
}
