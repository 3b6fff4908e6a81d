//! The columns of Soketi's table of apps, and what each stands for here. Each may be named as in its JSON file too.

use serde_json::{Value, json};

use super::value::{Form, is_on};
use super::webhooks;
use crate::app::Limits;
use crate::config::rows::{Entries, Width, set};

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

const NUMBER: Kind = Kind::Number(Form::AsIs);
/// No limit, if it is lower than zero.
const RATE: Kind = Kind::Number(Form::Unlimited { below: 0, by: None });
const COUNT: Kind = Kind::Number(Form::Unlimited { below: 1, by: None });
/// Here, this always has a limit.
const CLIENT_RATE: Kind = Kind::Number(Form::Unlimited {
    below: 0,
    by: Some("1000000"),
});

/// All of them, one a line.
#[rustfmt::skip]
pub(in crate::config) const COLUMNS: &[Column] = &[
    column("id", "id", "id", Kind::Text),
    column("key", "key", "key", Kind::Text),
    column("secret", "secret", "secret", Kind::Text),
    column("enabled", "enabled", "enabled", Kind::Switch),
    column("enable_client_messages", "enableClientMessages", "client_events", Kind::Switch),
    column("enable_user_authentication", "enableUserAuthentication", "authorize_within", Kind::SignIn),
    column("max_connections", "maxConnections", "limits.connections", COUNT),
    column("max_backend_events_per_sec", "maxBackendEventsPerSecond", "limits.events_per_second", RATE),
    column("max_client_events_per_sec", "maxClientEventsPerSecond", "limits.client_events_per_second", CLIENT_RATE),
    column("max_read_req_per_sec", "maxReadRequestsPerSecond", "limits.reads_per_second", RATE),
    column("max_presence_members_per_channel", "maxPresenceMembersPerChannel", "limits.presence_members", NUMBER),
    column("max_presence_member_size_in_kb", "maxPresenceMemberSizeInKb", "limits.presence_member_bytes", Kind::Kilobytes),
    column("max_channel_name_length", "maxChannelNameLength", "limits.channel_name_length", NUMBER),
    column("max_event_channels_at_once", "maxEventChannelsAtOnce", "limits.channels_per_event", NUMBER),
    column("max_event_name_length", "maxEventNameLength", "limits.event_name_length", NUMBER),
    column("max_event_payload_in_kb", "maxEventPayloadInKb", "limits.event_bytes", Kind::Kilobytes),
    column("max_event_batch_size", "maxEventBatchSize", "limits.batch_events", NUMBER),
    column("webhooks", "webhooks", "webhooks", Kind::Webhooks),
];

impl Column {
    /// The names that it may have.
    pub(in crate::config) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name, self.camel].into_iter()
    }

    /// What a row says under either name.
    pub(in crate::config) fn value<'r>(&self, row: &'r Entries) -> &'r Value {
        let given = |name| row.get(name).filter(|value| !value.is_null());
        self.names().find_map(given).unwrap_or(&Value::Null)
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
            Kind::Switch => Some(is_on(&text)?.into()),
            Kind::SignIn => Some(if is_on(&text)? { SIGN_IN_SECONDS } else { 0 }.into()),
            Kind::Number(form) => form.ours(&text)?.map(typed),
            Kind::Kilobytes => Form::Kilobytes.ours(&text)?.map(typed),
            Kind::Webhooks => {
                let webhooks = webhooks::of_column(value);
                (!webhooks.is_empty()).then(|| webhooks.into())
            }
        })
    }

    /// Whether what our own column says of the key is said more exactly there: within how long users must sign in.
    pub(in crate::config) fn says_less_than(&self, own: Option<&Value>, value: &Value) -> bool {
        matches!(self.kind, Kind::SignIn) && own.is_some() && *value != json!(0)
    }

    /// What it holds for a value of ours; none: the default. What it has no room for goes back to what is `said`.
    pub(in crate::config) fn theirs(
        &self,
        value: Option<Value>,
        width: Width,
        said: &mut Entries,
    ) -> Value {
        let Some(value) = value else {
            return self.default();
        };
        let (theirs, has_room) = match self.kind {
            Kind::Text => (value.clone(), true),
            Kind::Switch => (json!(i32::from(value == json!(true))), true),
            Kind::SignIn => {
                let is_on = value.as_u64().is_some_and(|seconds| seconds > 0);
                let is_exact = !is_on || value == json!(SIGN_IN_SECONDS);
                (json!(i32::from(is_on)), is_exact)
            }
            Kind::Number(Form::Unlimited { .. }) => (value.clone(), true),
            Kind::Number(_) => fitting(value.as_u64(), width),
            // A column of whole numbers would round it.
            Kind::Kilobytes => {
                let bytes = value.as_u64().filter(|bytes| bytes % 1024 == 0);
                fitting(bytes.map(|bytes| bytes / 1024), width)
            }
            // Ours say more than Soketi's: they stay in our words.
            Kind::Webhooks => (Value::Null, value == json!([])),
        };
        if !has_room {
            set(said, self.key, value);
        }
        theirs
    }

    /// What it holds for our default. Those of connections, rates and switches may not be null.
    fn default(&self) -> Value {
        match self.kind {
            Kind::Switch => json!(i32::from(self.name == "enabled")),
            Kind::SignIn => json!(0),
            Kind::Number(Form::Unlimited { by: None, .. }) => json!(-1),
            // -1 would be no limit.
            Kind::Number(Form::Unlimited { .. }) => {
                json!(Limits::default().client_events_per_second)
            }
            Kind::Text => json!(""),
            Kind::Number(_) | Kind::Kilobytes | Kind::Webhooks => Value::Null,
        }
    }
}

/// A number as a column holds it, and whether it does.
fn fitting(number: Option<u64>, width: Width) -> (Value, bool) {
    match number {
        Some(number) if width == Width::Any || number <= 127 => (number.into(), true),
        _ => (Value::Null, false),
    }
}

/// What of a row's webhooks has no effect here, if there is anything.
pub(in crate::config) fn webhooks_left_out(value: &Value) -> Option<String> {
    webhooks::left_out_of_column(value)
}

/// JSON, or the text of JSON.
pub(in crate::config) fn json(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

/// A number where it is one; what reads the key says what is wrong with anything else.
fn typed(text: String) -> Value {
    match text.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) => text.into(),
    }
}
