//! What the fuzz target of Redis' replies calls: the connection's reader and all that is made of a value.

use redis::Value;

use super::connection::{Connection, ValueExt as _};
use super::link::register_reply::{Registered, read_members};
use super::wire::last_event_codec;
use super::wire::message::{Content, Message, VERSION_BYTE};

/// Reads a connection on which these bytes come, so many at a time. Returns the values as they print, and why it ended.
pub async fn values_of(bytes: &[u8], at_a_time: usize) -> (Vec<Value>, String) {
    let (stream, mut redis) = tokio::io::duplex(at_a_time.max(1));
    let send = async {
        // The reader may give the connection up before all was sent.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut redis, bytes).await;
        drop(redis);
    };
    let read = async {
        let mut connection = Connection::new(Box::new(stream));
        let mut values = Vec::new();
        loop {
            if let Err(error) = connection.exchange(&mut values).await {
                return (values, error.0);
            }
        }
    };
    tokio::join!(read, send).0
}

/// Gives a value to every reader that a reply may come to: each takes it or says why not.
pub fn survives_readers(value: &Value) {
    let _ = value.clone().text();
    let _ = value.clone().number();
    let _ = value.clone().texts();
    let _ = value.clone().pairs().and_then(read_members);
    if let Ok(values) = value.clone().list() {
        let _ = Registered::read(&mut values.into_iter(), [7; 8]);
    }
    if let Ok(Some(bytes)) = value.clone().bytes() {
        let _ = last_event_codec::read(&bytes);
        let _ = logged_again(&bytes);
    }
}

/// Decodes a message and encodes it again, if it is an event of a log.
#[must_use]
pub fn logged_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let Message::Logged(logged) = Message::decode(bytes.to_vec().into())? else {
        return None;
    };
    let kind = match logged.content {
        Content::Event { .. } => b'E',
        Content::Terminate => b'T',
    };
    let mut again = vec![VERSION_BYTE, kind];
    again.extend_from_slice(&logged.at.run);
    again.extend_from_slice(&logged.at.seq.to_be_bytes());
    again.extend_from_slice(&logged.time.to_be_bytes());
    again.extend_from_slice(&logged.content.body(&logged.id));
    Some(again)
}
