//! The encoding of a cache channel's last event in Redis: the length of the event's name (2 bytes), the name, the data.

use std::time::Instant;

use crate::channel_log::{LAST_EVENT_TTL, LastEvent};

/// Encodes an event.
pub(crate) fn write(event: &LastEvent) -> Vec<u8> {
    // Names are a few hundred characters at most.
    let length = u16::try_from(event.event.len()).unwrap_or(u16::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(event.event.as_bytes());
    out.extend_from_slice(event.data.as_bytes());
    out
}

/// Decodes an event, as if it had just been kept; `None` if the bytes are malformed.
pub(crate) fn read(bytes: &[u8]) -> Option<LastEvent> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (event, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(LastEvent {
        event: std::str::from_utf8(event).ok()?.into(),
        data: std::str::from_utf8(data).ok()?.into(),
        expires: Instant::now() + LAST_EVENT_TTL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_event_is_read_as_it_was_written(event in ".{0,200}", data in ".{0,2000}") {
            let expires = Instant::now();
            let written = write(&LastEvent { event: event.as_str().into(), data: data.as_str().into(), expires });
            let found = read(&written).unwrap();
            prop_assert_eq!((&*found.event, &*found.data), (event.as_str(), data.as_str()));
        }

        #[test]
        fn anything_may_stand_there(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let _ = read(&bytes);
        }
    }
}
