//! `SOKETI_DEFAULT_APP_WEBHOOKS`: JSON that says what `[[apps.webhooks]]` says. What it holds may be secret, so no message
//! shows it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Reading, columns, is_on, whole};
use crate::config::rows::valued;

const WEBHOOKS: &str = "DEFAULT_APP_WEBHOOKS";
const BATCHING: &str = "WEBHOOKS_BATCHING";

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

/// Adds the webhooks of the environment's app.
pub(super) fn add(reading: &mut Reading<'_>) {
    let batch = match reading.text(BATCHING).map(|text| is_on(&text)) {
        Some(Err(problem)) => return reading.refuse(BATCHING, problem),
        Some(Ok(batch)) => batch,
        None => false,
    };
    let Some(text) = reading.text(WEBHOOKS) else {
        return reading.idle(&[BATCHING], &format!("{} is not set", whole(WEBHOOKS)));
    };
    let Ok(given) = serde_json::from_str::<Vec<Webhook>>(&text) else {
        let text = "expected a list like [{\"url\":\"https://example.com/webhooks\",\"event_types\":[\"channel_occupied\"]}]";
        return reading.refuse(WEBHOOKS, text.to_owned());
    };
    let mut webhooks = Vec::new();
    for (number, webhook) in (1..).zip(given) {
        // Soketi's tells of nothing then, ours would of everything.
        if webhook.event_types.is_empty() {
            reading.warn(format!(
                "{}: the webhook number {number} has no event_types and is left out",
                whole(WEBHOOKS)
            ));
        } else if webhook.url.is_none() {
            reading.warn(format!(
                "{}: the webhook number {number} has no url and is left out; functions of AWS Lambda are not supported, \
                 call them by their URL",
                whole(WEBHOOKS)
            ));
        } else {
            webhooks.push(ours(webhook, batch));
        }
    }
    let webhooks = valued(&webhooks.into(), Some(&whole(WEBHOOKS)));
    reading.set_of_app(WEBHOOKS, "webhooks", Some(webhooks.kind));
    if batch {
        let name = whole(BATCHING);
        reading.notice(format!(
            "{name} is understood as batch of these webhooks; its place here is the file, in [[apps.webhooks]]"
        ));
    }
}

/// The same out of a column: a list or its text, of which anything that is none counts as empty.
pub(super) fn of_column(value: &Value) -> Vec<Value> {
    let given = columns::json(value).and_then(|list| serde_json::from_value(list).ok());
    let given: Vec<Webhook> = given.unwrap_or_default();
    let told = given.into_iter();
    let told = told.filter(|webhook| webhook.url.is_some() && !webhook.event_types.is_empty());
    told.map(|webhook| ours(webhook, false)).collect()
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
