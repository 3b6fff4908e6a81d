//! What the console's pages ask and have done, as JSON. Each is one question to the node, or to the public API where
//! that does the same for backends.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::admin::Admin;
use crate::admin::access::SameOrigin;
use crate::admin::problem::{Problem, read};
use crate::app::App;
use crate::http::{ExplainRequest, OperatorPublish, PastEvent};
use crate::node::{ConnectionInfo, ConnectionQuery, Order, Unavailable};
use crate::protocol::{ChannelKind, ChannelName, Member, SocketId, excerpt};

/// How many channels or connections are listed unless more are asked for.
const LIMIT: usize = 200;

/// How many are listed at most.
const MOST: usize = 1000;

/// How many of the events that are kept of a channel are shown.
const PAST_EVENTS: usize = 20;

/// Bytes of a body that are read beside the event or request in it.
const REST_BYTES: usize = 64 * 1024;

/// Bytes of a request that is to be explained.
pub(super) const REQUEST_BYTES: usize = 1024 * 1024;

pub(in crate::admin) type ApiResult = Result<HttpResponse, Problem>;

/// `GET session`: who this is for, and which apps there are.
pub(super) async fn session(admin: Data<Admin>, _: SameOrigin) -> HttpResponse {
    let apps = admin.apps();
    let app = |app: &Arc<App>| {
        json!({
            "id": app.id.as_str(), "key": app.key.as_str(), "name": app.name, "enabled": app.enabled,
        })
    };
    HttpResponse::Ok().json(json!({
        "access": if admin.token.is_some() { "token" } else { "loopback" },
        "version": env!("CARGO_PKG_VERSION"),
        "node": admin.node.feed().node(),
        "clustered": admin.cluster.is_some(),
        "apps": apps.iter().map(app).collect::<Vec<Value>>(),
    }))
}

/// `GET series`: the charts' numbers.
pub(super) async fn series(admin: Data<Admin>, _: SameOrigin) -> HttpResponse {
    HttpResponse::Ok().json(admin.series.json())
}

/// What of many is wanted.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    find: String,
    limit: Option<usize>,
}

impl Listing {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT).min(MOST)
    }
}

/// `GET apps/{id}/channels?prefix=&limit=`: the occupied ones of the whole cluster.
pub(super) async fn channels(
    admin: Data<Admin>,
    _: SameOrigin,
    app: Path<String>,
    listing: Query<Listing>,
) -> ApiResult {
    let app = admin.app(&app)?;
    let found = admin.node.channels(&app, &listing.prefix).await?;
    let shown = found.iter().take(listing.limit()).map(|(name, counts)| {
        let members = (name.kind() == ChannelKind::Presence).then_some(counts.users);
        json!({
            "name": name.as_str(), "kind": name.kind().name(), "cache": app.policy(name).cache,
            "subscriptions": counts.subscriptions, "members": members,
        })
    });
    let channels: Vec<Value> = shown.collect();
    Ok(HttpResponse::Ok().json(json!({ "channels": channels, "total": found.len() })))
}

/// `GET apps/{id}/channels/{name}`: who is there, what is kept of it, and which rule holds.
pub(super) async fn channel(
    admin: Data<Admin>,
    _: SameOrigin,
    path: Path<(String, String)>,
) -> ApiResult {
    let (app, name) = path.into_inner();
    let app = admin.app(&app)?;
    let name = percent_decode_str(&name).decode_utf8_lossy().into_owned();
    let channel = ChannelName::parse(&name, app.limits.channel_name_length).map_err(|reason| {
        bad(format!(
            "Invalid channel name {:?}: {reason}",
            excerpt(&name)
        ))
    })?;
    let known = admin.node.channel_info(&app, &channel).await?;
    let members = match channel.kind() {
        ChannelKind::Presence => {
            let members = admin.node.members(&app, &channel, true).await?;
            Some(members.iter().map(member).collect::<Vec<Value>>())
        }
        _ => None,
    };
    let last_event = known
        .last_event
        .map(|(event, _)| json!({ "event": &*event.event, "data": &*event.data }));
    let wanted = (Order::Descending, None, PAST_EVENTS);
    let past = admin.node.history(&app, &channel, wanted).await?;
    let past = past.map(|page| {
        page.events
            .iter()
            .filter_map(PastEvent::of)
            .collect::<Vec<_>>()
    });
    let report = app.policy_report(&channel);
    Ok(HttpResponse::Ok().json(json!({
        "name": channel.as_str(),
        "kind": channel.kind().name(),
        "cache": report.policy.cache,
        "subscriptions": known.counts.subscriptions,
        "members": members,
        "last_event": last_event,
        "history": past,
        "policy": report,
    })))
}

fn member(member: &Member) -> Value {
    // It was JSON when it was taken in.
    let info = member.info.as_deref();
    let info = info.and_then(|info| serde_json::from_str::<Value>(info).ok());
    json!({ "user_id": member.id.as_str(), "user_info": info })
}

/// `GET apps/{id}/connections?limit=&find=`: this node's, the youngest first.
pub(super) async fn connections(
    admin: Data<Admin>,
    _: SameOrigin,
    app: Path<String>,
    listing: Query<Listing>,
) -> ApiResult {
    let app = admin.app(&app)?;
    let query = ConnectionQuery {
        app: app.id.clone(),
        find: listing.find.trim().to_owned(),
        limit: listing.limit(),
    };
    let found = admin.node.list_connections(&query).await;
    let connections: Vec<Value> = found.connections.iter().map(connection).collect();
    Ok(HttpResponse::Ok().json(json!({ "connections": connections, "total": found.total })))
}

fn connection(connection: &ConnectionInfo) -> Value {
    json!({
        "socket_id": connection.socket_id.to_string(),
        "user_id": connection.user_id.as_ref().map(|user| user.as_str()),
        "address": connection.address.map(|address| address.to_string()),
        "origin": connection.origin,
        "transport": connection.transport.name(),
        "protocol": connection.protocol,
        "client": connection.client,
        "subscriptions": connection.subscriptions,
        "subscription_count": connection.subscription_count,
        "outbox_bytes": connection.outbox_bytes,
        "age_seconds": connection.age_seconds,
    })
}

/// `POST apps/{id}/connections/{socket_id}/close`: closes one of this node's with 4200, at which clients come back at
/// once.
pub(super) async fn close(
    admin: Data<Admin>,
    _: SameOrigin,
    path: Path<(String, String)>,
) -> ApiResult {
    let (app, socket_id) = path.into_inner();
    let app = admin.app(&app)?;
    let socket_id: SocketId = socket_id
        .parse()
        .map_err(|error| bad(format!("Invalid socket_id: {error}")))?;
    if !admin.node.close_connection(&app.id, socket_id).await {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "No such connection on this node: it has ended, or another node has it",
        ));
    }
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Deserialize)]
struct Event {
    channel: String,
    event: String,
    data: String,
    idempotency_key: Option<String>,
}

/// `POST apps/{id}/events`: publishes as the app's backend would.
pub(super) async fn publish(
    admin: Data<Admin>,
    _: SameOrigin,
    app: Path<String>,
    payload: Payload,
) -> ApiResult {
    let app = admin.app(&app)?;
    let most = app.limits.event_body_bytes() + REST_BYTES;
    let event: Event = read(payload, most).await?;
    let wish = OperatorPublish {
        channel: &event.channel,
        event: &event.event,
        data: &event.data,
        idempotency_key: event.idempotency_key.as_deref(),
    };
    let outcome = admin.api.publish_for_operator(&app, &wish).await;
    Ok(HttpResponse::Ok().json(json!({
        "status": outcome.status, "body": outcome.body, "subscriptions": outcome.subscriptions,
    })))
}

#[derive(Deserialize)]
struct PastedRequest {
    app: Option<String>,
    method: String,
    url: String,
    #[serde(default)]
    body: String,
}

/// `POST signature`: what of a request's signature is wrong.
pub(super) async fn signature(admin: Data<Admin>, _: SameOrigin, payload: Payload) -> ApiResult {
    let pasted: PastedRequest = read(payload, REQUEST_BYTES).await?;
    let explained = admin.api.explain(&ExplainRequest {
        app: pasted.app.as_deref(),
        method: &pasted.method,
        url: &pasted.url,
        body: &pasted.body,
    });
    Ok(HttpResponse::Ok().json(json!({
        "ok": explained.is_ok(),
        "steps": explained.steps,
        "string_to_sign": explained.string_to_sign,
    })))
}

/// What is not there.
pub(in crate::admin) async fn unknown(_: SameOrigin, request: HttpRequest) -> ApiResult {
    let text = format!(
        "Nothing is here for {:?} on {:?}",
        request.method().as_str(),
        excerpt(request.path())
    );
    Err(Problem::new(StatusCode::NOT_FOUND, text))
}

fn bad(text: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, text)
}

impl Admin {
    /// The app of a path.
    pub(super) fn app(&self, id: &str) -> Result<Arc<App>, Problem> {
        let id = percent_decode_str(id).decode_utf8_lossy();
        let apps = self.node.apps();
        let app = apps.by_id(&id).cloned();
        app.ok_or_else(|| {
            let text = format!("No app with the id {:?} on this server", excerpt(&id));
            Problem::new(StatusCode::NOT_FOUND, text)
        })
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}
