//! `Credentials`: an app as its backend knows it, and what it signs for a client.

use crate::app::{App, AppId, AppKey};
use crate::auth::{Secrets, channel_string, user_string};
use crate::protocol::SocketId;

/// An app's id, key and secrets, as far as they are known. Printing it prints no secret.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The app's id, which the HTTP API needs and clients do not.
    pub id: Option<AppId>,
    /// The public key.
    pub key: AppKey,
    /// The secrets, which public channels do not need.
    pub secrets: Option<Secrets>,
}

impl From<&App> for Credentials {
    fn from(app: &App) -> Self {
        Self {
            id: Some(app.id.clone()),
            key: app.key.clone(),
            secrets: Some(app.secrets.clone()),
        }
    }
}

impl Credentials {
    /// The `auth` of a subscription; none without a secret.
    pub fn channel_auth(
        &self,
        socket_id: SocketId,
        channel: &str,
        channel_data: Option<&str>,
    ) -> Option<String> {
        self.auth(&channel_string(socket_id, channel, channel_data))
    }

    /// The `auth` of a sign-in; none without a secret.
    pub fn user_auth(&self, socket_id: SocketId, user_data: &str) -> Option<String> {
        self.auth(&user_string(socket_id, user_data))
    }

    fn auth(&self, message: &str) -> Option<String> {
        let signature = self.secrets.as_ref()?.sign(message.as_bytes());
        Some(format!("{}:{signature}", self.key))
    }
}
