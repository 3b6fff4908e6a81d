//! `SOKETI_DEFAULT_APP_WEBHOOKS`: JSON that says what `[[apps.webhooks]]` says. What it holds may be secret, so no message
//! shows it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Reading, Refused, columns, is_on};
use crate::config::rows::valued;

const WEBHOOKS: &str = "SOKETI_DEFAULT_APP_WEBHOOKS";
const BATCHING: &str = "SOKETI_WEBHOOKS_BATCHING";

/// One of Soketi's.
#[derive(Deserialize)]
struct Webhook {
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    event_types: Vec<String>,
    filter: Option<Filter>,
}

#[derive(Deserialize)]
struct Filter {
    channel_name_starts_with: Option<String>,
    channel_name_ends_with: Option<String>,
}

/// The webhooks of the environment's app.
pub(super) fn translate(reading: &mut Reading<'_>) -> Result<String, Refused> {
    let batch = reading.given.get(BATCHING).map(|text| is_on(text));
    let batch = batch.transpose().map_err(|problem| (BATCHING, problem))?;
    let Some(text) = reading.take(WEBHOOKS) else {
        return Ok(format!("{WEBHOOKS} is not set"));
    };
    reading.take(BATCHING);
    let batch = batch.unwrap_or(false);
    let given: Vec<Webhook> = serde_json::from_str(&text).map_err(|_| {
        let text = "expected a list like [{\"url\":\"https://example.com/webhooks\",\"event_types\":[\"channel_occupied\"]}]";
        (WEBHOOKS, text.to_owned())
    })?;
    let mut webhooks = Vec::new();
    for (number, webhook) in (1..).zip(given) {
        let lacks = match &webhook {
            webhook if webhook.event_types.is_empty() => "event_types and is left out",
            Webhook { url: None, .. } => {
                "url and is left out; functions of AWS Lambda are not supported, call them by their URL"
            }
            _ => {
                webhooks.push(ours(webhook, batch));
                continue;
            }
        };
        reading.warn(format!(
            "{WEBHOOKS}: the webhook number {number} has no {lacks}"
        ));
    }
    let webhooks = valued(&webhooks.into());
    reading.set_of_app(WEBHOOKS, "webhooks", Some(webhooks.kind));
    if batch {
        reading.notice(format!(
            "{BATCHING} is understood as batch of these webhooks; its place here is the file, in [[apps.webhooks]]"
        ));
    }
    Ok(String::new())
}

/// The same out of a column: a list or its text, of which anything that is none counts as empty, as with Soketi.
pub(super) fn of_column(value: &Value) -> Vec<Value> {
    let given = in_column(value).unwrap_or_default().into_iter();
    let told = given.filter(Webhook::is_told);
    told.map(|webhook| ours(webhook, false)).collect()
}

fn in_column(value: &Value) -> Option<Vec<Webhook>> {
    serde_json::from_value(columns::json(value)?).ok()
}

/// What of a column has no effect, if there is anything.
pub(super) fn left_out_of_column(value: &Value) -> Option<String> {
    match in_column(value) {
        _ if value.is_null() || value == "" => None,
        None => Some("the webhooks are no list of objects and count as none".to_owned()),
        Some(given) if given.iter().all(Webhook::is_told) => None,
        Some(_) => Some(
            "webhooks without a url or without event_types are left out; call functions of AWS Lambda by their URL"
                .to_owned(),
        ),
    }
}

impl Webhook {
    /// Soketi's tells of nothing without types, ours would of everything.
    fn is_told(&self) -> bool {
        self.url.is_some() && !self.event_types.is_empty()
    }
}

/// As the file would say it.
fn ours(webhook: Webhook, batch: bool) -> Value {
    let channels = webhook.filter.and_then(|filter| {
        let begin = filter.channel_name_starts_with.unwrap_or_default();
        let end = filter.channel_name_ends_with.unwrap_or_default();
        (!begin.is_empty() || !end.is_empty()).then(|| format!("{begin}*{end}"))
    });
    let mut entries = json!({
        "events": webhook.event_types,
        "channels": Vec::from_iter(channels),
        "headers": webhook.headers,
        "batch": batch,
    });
    if let Some(url) = webhook.url {
        entries["url"] = url.into();
    }
    entries
}
