//! The columns of Soketi's table of apps, and what each stands for here. Each may be named as in its JSON file too.

use serde_json::{Value, json};

use super::value::Form;
use super::webhooks;
use crate::config::rows::Entries;

/// One column.
pub(in crate::config) struct Column {
    /// Its name.
    pub(in crate::config) name: &'static str,
    /// Its name in Soketi's file; the same where it is one word.
    camel: &'static str,
    /// Our key, by its path in an app.
    pub(in crate::config) key: &'static str,
    kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Switch,
    Number(Form),
    /// Kilobytes, perhaps with a fraction; bytes here.
    Kilobytes,
    /// Whether users must sign in: within seconds here.
    SignIn,
    Webhooks,
}

/// Within how many seconds Soketi wants a user to sign in.
const SIGN_IN_SECONDS: u32 = 30;

const fn column(name: &'static str, camel: &'static str, key: &'static str, kind: Kind) -> Column {
    Column {
        name,
        camel,
        key,
        kind,
    }
}

const fn number(name: &'static str, camel: &'static str, key: &'static str) -> Column {
    column(name, camel, key, Kind::Number(Form::AsIs))
}

const fn unlimited(
    name: &'static str,
    camel: &'static str,
    key: &'static str,
    below: i64,
    by: Option<&'static str>,
) -> Column {
    column(
        name,
        camel,
        key,
        Kind::Number(Form::Unlimited { below, by }),
    )
}

/// All of them, one a line.
#[rustfmt::skip]
pub(in crate::config) const COLUMNS: &[Column] = &[
    column("id", "id", "id", Kind::Text),
    column("key", "key", "key", Kind::Text),
    column("secret", "secret", "secret", Kind::Text),
    column("enabled", "enabled", "enabled", Kind::Switch),
    column("enable_client_messages", "enableClientMessages", "client_events", Kind::Switch),
    column("enable_user_authentication", "enableUserAuthentication", "authorize_within", Kind::SignIn),
    unlimited("max_connections", "maxConnections", "limits.connections", 1, None),
    unlimited("max_backend_events_per_sec", "maxBackendEventsPerSecond", "limits.events_per_second", 0, None),
    unlimited("max_client_events_per_sec", "maxClientEventsPerSecond", "limits.client_events_per_second", 0, Some("1000000")),
    unlimited("max_read_req_per_sec", "maxReadRequestsPerSecond", "limits.reads_per_second", 0, None),
    number("max_presence_members_per_channel", "maxPresenceMembersPerChannel", "limits.presence_members"),
    column("max_presence_member_size_in_kb", "maxPresenceMemberSizeInKb", "limits.presence_member_bytes", Kind::Kilobytes),
    number("max_channel_name_length", "maxChannelNameLength", "limits.channel_name_length"),
    number("max_event_channels_at_once", "maxEventChannelsAtOnce", "limits.channels_per_event"),
    number("max_event_name_length", "maxEventNameLength", "limits.event_name_length"),
    column("max_event_payload_in_kb", "maxEventPayloadInKb", "limits.event_bytes", Kind::Kilobytes),
    number("max_event_batch_size", "maxEventBatchSize", "limits.batch_events"),
    column("webhooks", "webhooks", "webhooks", Kind::Webhooks),
];

impl Column {
    /// The names that it may have.
    pub(in crate::config) fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name, self.camel].into_iter()
    }

    /// What a value is for the file; none: the default. An error says what was expected.
    pub(in crate::config) fn ours(&self, value: &Value) -> Result<Option<Value>, String> {
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if text.is_empty() {
            return Ok(None);
        }
        Ok(match self.kind {
            Kind::Text => Some(text.into()),
            Kind::Switch => Some(switch(&text)?.into()),
            Kind::SignIn => Some(if switch(&text)? { SIGN_IN_SECONDS } else { 0 }.into()),
            Kind::Number(form) => form.ours(&text)?.map(typed),
            Kind::Kilobytes => Form::Kilobytes.ours(&text)?.map(typed),
            Kind::Webhooks => Some(webhooks::of_column(value).into()),
        })
    }

    /// Whether what our own column says of the key is said more exactly there: within how long users must sign in.
    pub(in crate::config) fn says_less_than(&self, own: Option<&Value>, value: &Value) -> bool {
        matches!(self.kind, Kind::SignIn) && own.is_some() && *value != json!(0)
    }

    /// What it holds for a value of ours, which may be left out. What it has no room for goes back to what is `said`.
    pub(in crate::config) fn theirs(&self, value: Option<Value>, said: &mut Entries) -> Value {
        let Some(value) = value else {
            return match self.kind {
                Kind::Switch => json!(i32::from(self.name == "enabled")),
                Kind::SignIn => json!(0),
                // Those of the connection and of rates may not be null.
                Kind::Number(Form::Unlimited { .. }) => json!(-1),
                _ => Value::Null,
            };
        };
        match self.kind {
            Kind::Switch => json!(i32::from(value == json!(true))),
            Kind::SignIn => {
                let is_on = value.as_u64().is_some_and(|seconds| seconds > 0);
                if is_on && value != json!(SIGN_IN_SECONDS) {
                    said.insert(self.key.to_owned(), value);
                }
                json!(i32::from(is_on))
            }
            Kind::Kilobytes => {
                let bytes = value.as_u64().unwrap_or_default();
                if bytes % 1024 != 0 {
                    // A column of whole numbers would round it.
                    let (table, key) = self.key.split_once('.').unwrap_or(("", self.key));
                    let table = said.entry(table).or_insert_with(|| json!({}));
                    table[key] = value;
                    return Value::Null;
                }
                json!(bytes / 1024)
            }
            Kind::Webhooks => {
                // Ours say more than Soketi's: they stay in our words.
                if value.as_array().is_some_and(|list| !list.is_empty()) {
                    said.insert(self.key.to_owned(), value);
                }
                Value::Null
            }
            Kind::Text | Kind::Number(_) => value,
        }
    }
}

/// JSON, or the text of JSON.
pub(in crate::config) fn json(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    super::is_on(text)
}

/// A number where it is one; what reads the key says what is wrong with anything else.
fn typed(text: String) -> Value {
    match text.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) => text.into(),
    }
}
