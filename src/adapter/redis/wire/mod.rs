//! What all nodes of a cluster share: messages, names of keys and topics, scripts. [`message::WIRE_VERSION`] fixes all
//! of it.

pub(crate) mod keys;
pub(crate) mod last_event_codec;
pub(crate) mod message;
pub(crate) mod peer_message;
pub(crate) mod scripts;
