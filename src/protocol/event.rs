//! `EventName`: a name that an application may publish.

use super::named::shown_as_text;

/// A published or client event's name: any characters, within the app's length, not in a reserved namespace.
#[derive(Clone, PartialEq, Eq)]
pub struct EventName(String);

/// Why a text is not an event name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventName {
    /// Nothing there.
    #[error("the event name is empty")]
    Empty,
    /// Over the app's limit.
    #[error("the event name has {len} characters, allowed are {max}")]
    TooLong {
        /// Its length in characters.
        len: usize,
        /// The app's limit `event_name_length`.
        max: usize,
    },
    /// Starts with `pusher`. The text is the real service's.
    #[error("The 'pusher' namespace is reserved for internal usage")]
    Reserved,
}

impl EventName {
    /// Checks a name; `max_len` counts characters. Laravel sends back-slashes and dots, so the charset is free.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str, max_len: usize) -> Result<Self, InvalidEventName> {
        if text.is_empty() {
            return Err(InvalidEventName::Empty);
        }
        // The real service matches the bare word, so that `pusher-notification` is reserved too.
        if text.starts_with("pusher") {
            return Err(InvalidEventName::Reserved);
        }
        let len = text.chars().count();
        if len > max_len {
            return Err(InvalidEventName::TooLong { len, max: max_len });
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

shown_as_text!(EventName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for good in [
            "a",
            "App\\Events\\Paid",
            "invoice.paid",
            ".x",
            "client-x",
            "ü",
            "Pusher",
        ] {
            assert!(EventName::parse(good, 200).is_ok(), "{good}");
        }
        assert_eq!(EventName::parse("", 200), Err(InvalidEventName::Empty));
        for reserved in [
            "pusher:x",
            "pusher_internal:x",
            "pusher-notification",
            "pusher",
        ] {
            assert_eq!(
                EventName::parse(reserved, 200),
                Err(InvalidEventName::Reserved)
            );
        }
        assert!(EventName::parse(&"ü".repeat(200), 200).is_ok());
        assert_eq!(
            EventName::parse(&"ü".repeat(201), 200),
            Err(InvalidEventName::TooLong { len: 201, max: 200 })
        );
    }
}
