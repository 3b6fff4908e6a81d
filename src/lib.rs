//! Tidewire: a self-hosted realtime server that speaks the Pusher Channels protocol.

pub mod app;
pub mod auth;
pub mod protocol;
