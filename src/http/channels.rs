//! `GET /apps/{id}/channels`, `/channels/{name}` and `/channels/{name}/users` (protocol §4.6, §4.7).

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::events::{self, bad, channel_name, unknown_info};
use super::signed::Signed;
use crate::protocol::ChannelKind;
use crate::rules::PolicyReport;

/// What is known of one channel, in the order in which the real service says it.
#[derive(Default, Serialize)]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    occupied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<PolicyReport<'a>>,
}

/// `GET /channels`: the occupied ones. Always an object, also when empty: PHP walks it as one.
pub(super) async fn list(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let prefix = signed.parameter("filter_by_prefix").unwrap_or_default();
    let wanted = attributes(signed, &["user_count", "subscription_count"])?;
    let users = wanted.contains(&"user_count");
    if users && !prefix.starts_with("presence-") {
        return Err(bad(
            "user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-"
                .to_owned(),
        ));
    }
    let found = signed.node().channels(&signed.app, prefix).await?;
    let channels: BTreeMap<&str, Info<'_>> = found
        .iter()
        .map(|(name, counts)| {
            let info = Info {
                user_count: users.then_some(counts.users),
                subscription_count: wanted
                    .contains(&"subscription_count")
                    .then_some(counts.subscriptions),
                ..Info::default()
            };
            (name.as_str(), info)
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "channels": channels })))
}

/// `GET /channels/{name}`: 200 also when nobody is there.
pub(super) async fn one(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let channel = channel_name(&signed.app, &signed.name())?;
    let wanted = attributes(
        signed,
        &["user_count", "subscription_count", "cache", "rule"],
    )?;
    let users = wanted.contains(&"user_count");
    if users && channel.kind() != ChannelKind::Presence {
        return Err(bad(
            "Cannot retrieve the user count unless the channel is a presence channel".to_owned(),
        ));
    }
    let known = signed.node().channel_info(&signed.app, &channel).await?;
    let cache = known
        .last_event
        .map(|(event, left)| json!({ "data": &*event.data, "ttl": left.as_secs() }));
    Ok(HttpResponse::Ok().json(Info {
        occupied: Some(known.counts.subscriptions > 0),
        user_count: users.then_some(known.counts.users),
        subscription_count: wanted
            .contains(&"subscription_count")
            .then_some(known.counts.subscriptions),
        cache: wanted
            .contains(&"cache")
            .then_some(cache.unwrap_or(Value::Null)),
        rule: wanted
            .contains(&"rule")
            .then(|| signed.app.policy_report(&channel)),
    }))
}

/// `GET /channels/{name}/users`: 200 also when nobody is there.
pub(super) async fn users(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let channel = channel_name(&signed.app, &signed.name())?;
    if channel.kind() != ChannelKind::Presence {
        return Err(bad(
            "Cannot retrieve the users unless the channel is a presence channel".to_owned(),
        ));
    }
    let users = signed.node().members(&signed.app, &channel, false).await?;
    let users: Vec<Value> = users
        .iter()
        .map(|user| json!({ "id": user.id.as_str() }))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "users": users })))
}

/// The attributes of `info`, all of them known.
fn attributes<'a>(signed: &'a Signed<'_>, known: &[&str]) -> Result<Vec<&'a str>, ApiError> {
    let info = signed.parameter("info").unwrap_or_default();
    let wanted: Vec<&str> = events::attributes(info).collect();
    match wanted.iter().find(|attribute| !known.contains(attribute)) {
        Some(unknown) => Err(unknown_info(unknown, &known.join(", "))),
        None => Ok(wanted),
    }
}
