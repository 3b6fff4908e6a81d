//! A client's message: whatever is read as a command is written as one in one way, and that is read as the same command.
//! A refusal does not repeat more than the beginning of what was sent.

use serde_json::json;
use tidewire::protocol::ClientFrame;
use tidewire::protocol::client::{ClientEvent, InvalidClientFrame, Subscribe};

/// More than any refusal says, without what serde says of a place.
const MOST_SAID: usize = 2048;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match ClientFrame::parse(text) {
        Ok(frame) => {
            if let ClientFrame::Subscribe(subscribe) = &frame {
                assert_ne!(subscribe.auth.as_deref(), Some(""), "an empty auth is none");
                assert_ne!(subscribe.channel_data.as_deref(), Some(""));
            }
            let written = written(&frame);
            assert_eq!(ClientFrame::parse(&written), Ok(frame), "{written}");
        }
        Err(InvalidClientFrame::Data { event, .. }) => assert!(event.len() <= text.len()),
        Err(error) => assert!(error.to_string().len() <= MOST_SAID, "{error}"),
    }
}

/// A command as pusher-js would send it.
fn written(frame: &ClientFrame) -> String {
    let value = match frame {
        ClientFrame::Ping => json!({"event": "pusher:ping", "data": {}}),
        ClientFrame::Pong => json!({"event": "pusher:pong", "data": {}}),
        ClientFrame::Subscribe(Subscribe {
            channel,
            auth,
            channel_data,
        }) => json!({
            "event": "pusher:subscribe",
            "data": {"channel": channel, "auth": auth, "channel_data": channel_data},
        }),
        ClientFrame::Unsubscribe { channel } => {
            json!({"event": "pusher:unsubscribe", "data": {"channel": channel}})
        }
        ClientFrame::Signin { auth, user_data } => {
            json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})
        }
        ClientFrame::ClientEvent(ClientEvent {
            event,
            channel,
            data,
        }) => json!({"event": event, "channel": channel, "data": data}),
    };
    value.to_string()
}
