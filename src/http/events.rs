//! `POST /apps/{id}/events` and `/batch_events` (protocol §4.4, §4.5).

use std::collections::HashSet;

use actix_http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Api;
use super::error::ApiError;
use super::signed::Signed;
use crate::app::App;
use crate::node::{DeliveryScope, Node, Publication, PublishOutcome};
use crate::protocol::{
    ChannelKind, ChannelName, EventName, SocketId, excerpt, parse, parse_object,
};

/// The body of a publish, unchecked: raw values, so that an error can name the key.
#[derive(Deserialize)]
struct EventBody<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    socket_id: Option<&'a RawValue>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    batch: Option<Vec<&'a RawValue>>,
}

/// Which counts a publisher wants back.
#[derive(Clone, Copy, Default)]
struct RequestedCounts {
    user_count: bool,
    subscription_count: bool,
}

/// A checked publish.
struct Request {
    publication: Publication,
    requested_counts: Option<RequestedCounts>,
}

/// Checks a body and publishes it.
async fn check_and_publish(
    node: &Node,
    app: &App,
    body: &[u8],
) -> Result<(Request, PublishOutcome), ApiError> {
    let body: EventBody<'_> = parse_body(body)?;
    let request = check(app, &body)?;
    node.admit_events(app, 1)?;
    let published = node.publish(app, &request.publication).await?;
    Ok((request, published))
}

/// `POST /events`: `{}`, or the counts of its channels.
pub(super) async fn publish(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let (request, published) = check_and_publish(signed.node(), &signed.app, &signed.body).await?;
    let Some(requested_counts) = request.requested_counts else {
        return Ok(empty(published.scope));
    };
    let mut channels = Map::new();
    for channel in &request.publication.channels {
        let info = counts(signed.node(), &signed.app, channel, requested_counts).await?;
        channels.insert(channel.to_string(), info);
    }
    Ok(accepted(published.scope).json(serde_json::json!({ "channels": channels })))
}

/// An event that an operator wants published.
pub struct OperatorPublish<'a> {
    /// Where.
    pub channel: &'a str,
    /// Its name.
    pub event: &'a str,
    /// Its data.
    pub data: &'a str,
}

/// How the API would have answered.
pub struct Outcome {
    /// 200, or why not.
    pub status: u16,
    /// The answer's body.
    pub body: String,
    /// How many subscriptions the channel had, if it was published and that is known.
    pub subscriptions: Option<usize>,
}

impl Api {
    /// Publishes an operator's event as if the app's backend had sent it: the same body, the same checks, the same
    /// limits, the same errors. Only the signature is left out, and nobody counts it as a request.
    pub async fn publish_for_operator(&self, app: &App, publish: &OperatorPublish<'_>) -> Outcome {
        let body = serde_json::json!({
            "name": publish.event, "channel": publish.channel, "data": publish.data,
        });
        let body = body.to_string();
        let most = app.limits.event_body_bytes();
        let taken = if !app.enabled {
            Err(ApiError::AppDisabled)
        } else if body.len() > most {
            Err(ApiError::BodyTooLarge(most))
        } else {
            check_and_publish(&self.node, app, body.as_bytes()).await
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
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    signed.node().admit_events(&signed.app, requests.len())?;
    let mut scope = DeliveryScope::Everywhere;
    for request in &requests {
        let publication = &request.publication;
        let published = signed.node().publish(&signed.app, publication).await?;
        scope = scope.min(published.scope);
    }
    if requests
        .iter()
        .all(|request| request.requested_counts.is_none())
    {
        return Ok(empty(scope));
    }
    let mut infos = Vec::new();
    for request in &requests {
        let requested_counts = request.requested_counts.unwrap_or_default();
        for channel in &request.publication.channels {
            infos.push(counts(signed.node(), &signed.app, channel, requested_counts).await?);
        }
    }
    Ok(accepted(scope).json(serde_json::json!({ "batch": infos })))
}

/// `{}`.
fn empty(scope: DeliveryScope) -> HttpResponse {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    accepted(scope)
        .insert_header((CONTENT_TYPE, JSON))
        .body("{}")
}

/// 200; a header says so where the event did not get to the whole cluster.
fn accepted(scope: DeliveryScope) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    if scope == DeliveryScope::ThisNode {
        response.insert_header(("X-Tidewire-Delivery", "local"));
    }
    response
}

/// Counts after the publish was accepted; what does not apply to the channel is left out.
async fn counts(
    node: &Node,
    app: &App,
    channel: &ChannelName,
    requested_counts: RequestedCounts,
) -> Result<Value, ApiError> {
    let mut info = Map::new();
    if requested_counts.user_count || requested_counts.subscription_count {
        let counts = node.counts(app, channel).await?;
        if requested_counts.user_count && channel.kind() == ChannelKind::Presence {
            info.insert("user_count".to_owned(), counts.users.into());
        }
        if requested_counts.subscription_count {
            info.insert("subscription_count".to_owned(), counts.subscriptions.into());
        }
    }
    Ok(Value::Object(info))
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

/// What is wrong with a body that ends in the middle of a character.
pub(super) fn cut_character(body: &[u8]) -> Option<String> {
    let error = std::str::from_utf8(body).err()?;
    let rest = body.len() - error.valid_up_to();
    error.error_len().is_none().then(|| {
        format!(
            "The body is cut inside a character: its last {rest} bytes are only the beginning of one. Content-Length counts bytes, not characters"
        )
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
    let requested_counts = string("info", body.info)?
        .map(|info| requested_counts(&info))
        .transpose()?;
    Ok(Request {
        publication: Publication {
            event,
            data,
            channels,
            except,
        },
        requested_counts,
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

fn requested_counts(info: &str) -> Result<RequestedCounts, ApiError> {
    let mut requested_counts = RequestedCounts::default();
    for attribute in info
        .split(',')
        .map(str::trim)
        .filter(|attribute| !attribute.is_empty())
    {
        match attribute {
            "user_count" => requested_counts.user_count = true,
            "subscription_count" => requested_counts.subscription_count = true,
            _ => return Err(unknown_info(attribute, "user_count, subscription_count")),
        }
    }
    Ok(requested_counts)
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
