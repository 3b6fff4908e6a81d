//! What all nodes of a cluster share: messages, names of keys and topics, scripts. All of it is fixed by
//! [`message::WIRE_VERSION`].

pub(crate) mod keys;
pub(crate) mod last_event_codec;
pub(crate) mod message;
pub(crate) mod scripts;
