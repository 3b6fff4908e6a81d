//! What one wants to hear: the channels, who one is on them, and which were refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::Error;
use crate::protocol::{ChannelKind, ChannelName, UserId};

/// The longest name that any server takes.
const NAME_CHARS: usize = 200;
/// Who one is on presence channels, if nothing else is said.
const NOBODY: &str = "tidewire-tail";

/// One channel.
pub(super) struct Wanted {
    pub(super) channel: String,
    pub(super) is_signed: bool,
    pub(super) channel_data: Option<String>,
}

/// What is wanted.
pub(super) struct Plan {
    pub(super) wanted: Vec<Wanted>,
    pub(super) user_data: Option<String>,
    /// What carries the events that are sent to the signed-in user. A client asks for it once it is signed in.
    pub(super) user_channel: Option<String>,
    refused: BTreeSet<String>,
    last_refusal: Option<String>,
}

impl Plan {
    pub(super) fn new(
        channels: &[String],
        user_data: Option<String>,
        user_id: Option<&str>,
        user_info: Option<&str>,
    ) -> Result<Self, Error> {
        if channels.is_empty() && user_data.is_none() {
            let text = "name at least one channel, or sign in with --user-data";
            return Err(Error::Usage(text.to_owned()));
        }
        let user = user_data.as_deref().map(user).transpose()?;
        let info = user_info.map(|text| object("--user-info", text));
        let info = info.transpose()?;
        let member = match (user_id, &user_data) {
            (Some(id), _) => Some(member(id, info)),
            // A signed-in user is known already.
            (None, Some(_)) => None,
            (None, None) => Some(member(NOBODY, None)),
        };
        let mut wanted: Vec<Wanted> = Vec::new();
        for name in channels {
            let channel = ChannelName::parse(name, NAME_CHARS)
                .map_err(|error| Error::Usage(format!("{name:?} is no channel: {error}")))?;
            if !channel.kind().is_listed() {
                let text = "what is sent to a user is got by signing in as that user: --user-data";
                return Err(Error::Usage(format!("{name}: {text}")));
            }
            if wanted.iter().any(|known| known.channel == *name) {
                continue;
            }
            let is_presence = channel.kind() == ChannelKind::Presence;
            wanted.push(Wanted {
                channel: name.clone(),
                is_signed: channel.kind().needs_auth(),
                channel_data: member.clone().filter(|_| is_presence),
            });
        }
        Ok(Self {
            wanted,
            user_data,
            user_channel: user.map(|user| ChannelName::server_to_user(&user).to_string()),
            refused: BTreeSet::new(),
            last_refusal: None,
        })
    }

    /// A new connection: what was refused may be accepted now.
    pub(super) fn begin(&mut self) {
        self.refused.clear();
        self.last_refusal = None;
    }

    pub(super) fn refuse(&mut self, channel: &str) {
        // Only what was asked for: the server's word alone must not fill memory.
        if self.wanted.iter().any(|wanted| wanted.channel == channel) {
            self.refused.insert(channel.to_owned());
        }
    }

    /// Whether a refusal was not told just now.
    pub(super) fn is_news(&mut self, message: &str) -> bool {
        let is_news = self.last_refusal.as_deref() != Some(message);
        self.last_refusal = is_news.then(|| message.to_owned());
        is_news
    }

    /// Whether anything can still arrive.
    pub(super) fn is_waiting(&self) -> bool {
        self.user_data.is_some() || self.refused.len() < self.wanted.len()
    }
}

/// The user that signs in.
fn user(text: &str) -> Result<UserId, Error> {
    let data = object("--user-data", text)?;
    let id = data["id"].as_str().and_then(UserId::new);
    id.ok_or_else(|| {
        let expected = r#"expected an object with the user's "id" as a text, as {"id":"7"}"#;
        Error::Usage(format!("--user-data: {expected}"))
    })
}

fn member(id: &str, info: Option<Value>) -> String {
    let mut member = json!({ "user_id": id });
    if let Some(info) = info {
        member["user_info"] = info;
    }
    member.to_string()
}

fn object(flag: &str, text: &str) -> Result<Value, Error> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err(Error::Usage(format!("{flag}: expected a JSON object"))),
        Err(error) => Err(Error::Usage(format!(
            "{flag}: expected a JSON object: {error}"
        ))),
    }
}
