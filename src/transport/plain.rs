//! Plain WebSockets on `/plain/{key}?channels=…`: what their clients ask for, in the query and in messages. The frames of
//! WebSockets are the affair of `ws`.

use std::sync::Arc;

use super::commands::Commands;
use super::listening::{Refused, Wish, identify, show_token};
use crate::hub::Ending;
use crate::metrics::MessageRefused;
use crate::net::Client;
use crate::node::{ApiTokens, Token};
use crate::protocol::{ErrorCode, PlainAnswer, PlainCommand};

/// What the request for a plain WebSocket asks for.
pub(super) struct Start {
    pub(super) wish: Wish,
    pub(super) client: Client,
    pub(super) tokens: ApiTokens,
}

impl Start {
    /// Carries it out.
    ///
    /// # Errors
    /// The connection ends: its token proves nothing.
    pub(super) async fn run(self, commands: &mut Commands) -> Result<(), Ending> {
        let token = identify(commands, &self.tokens, &self.wish, self.client).await;
        let token = token.map_err(|refused| Ending::Close {
            code: refused.close_code(),
            text: refused.text,
        })?;
        for channel in &self.wish.channels {
            subscribe(commands, channel, token.as_ref()).await;
        }
        Ok(())
    }
}

/// Carries one message out and answers it.
pub(super) async fn command(commands: &mut Commands, text: &str) {
    match PlainCommand::parse(text) {
        Ok(PlainCommand::Ping) => answer(commands, PlainAnswer::Pong),
        Ok(PlainCommand::Subscribe { channels, token }) => {
            let token = match token {
                None => None,
                Some(token) => match show_token(commands, &token).await {
                    Ok(token) => token,
                    Err(refused) => return refuse(commands, None, &refused),
                },
            };
            for channel in &channels {
                subscribe(commands, channel, token.as_ref()).await;
            }
            // A newer token may name fewer channels.
            commands.review().await;
        }
        Ok(PlainCommand::Unsubscribe(channels)) => {
            for channel in &channels {
                unsubscribe(commands, channel).await;
            }
        }
        Err(error) => {
            let (reason, said) = (MessageRefused::Malformed, (ErrorCode::None, None));
            commands.refuse(|tallies| &tallies.messages, reason, said, &error);
        }
    }
}

async fn subscribe(commands: &mut Commands, text: &str, token: Option<&Token>) {
    let node = Arc::clone(&commands.node);
    let session = &mut commands.session;
    let listening = async {
        session.take_subscribe()?;
        let name = session.channel_name(text)?;
        let room = session.room();
        node.listen(session, &name, token, (None, room)).await
    };
    match listening.await {
        Ok(listening) => {
            answer(commands, PlainAnswer::Subscribed(text));
            node.begin(&commands.session, &listening);
        }
        Err(error) => {
            let refused = commands.refuse_listener(text, &error);
            refuse(commands, Some(text), &refused);
        }
    }
}

async fn unsubscribe(commands: &mut Commands, channel: &str) {
    let node = Arc::clone(&commands.node);
    match node.unsubscribe(&mut commands.session, channel).await {
        Ok(()) => answer(commands, PlainAnswer::Unsubscribed(channel)),
        Err(error) => {
            let refused = commands.refuse_listener(channel, &error);
            refuse(commands, Some(channel), &refused);
        }
    }
}

/// Tells what is refused.
pub(super) fn refuse(commands: &Commands, channel: Option<&str>, refused: &Refused) {
    let error = PlainAnswer::Error {
        channel,
        code: refused.status,
        message: &refused.text,
    };
    answer(commands, error);
}

fn answer(commands: &Commands, answer: PlainAnswer<'_>) {
    commands.peer().send_bytes(answer.encode().bytes());
}
