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
