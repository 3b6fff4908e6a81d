//! Tidewire: a self-hosted realtime server that speaks the Pusher Channels protocol.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod protocol;
pub mod server;
pub mod telemetry;
