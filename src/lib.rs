//! Tidewire: a self-hosted realtime server that speaks the Pusher Channels protocol.
//!
//! The modules in reading order; imports go only upwards in this list (`tests/tidy.rs` holds them to it).

pub mod bounded;
pub mod clock;
pub mod host_port;
pub mod protocol;

pub mod auth;
pub mod fetch;
pub mod limits;
pub mod metrics;
pub mod pem;

pub mod rules;
pub mod source;

pub mod channel_log;
pub mod token;

pub mod app;
pub mod feed;
pub mod net;
pub mod slack;
pub mod spool;
pub mod supervise;

pub mod client;

pub mod hub;
pub mod registry;

pub mod webhook;

pub mod adapter;

pub mod node;

pub mod http;
pub mod transport;

pub mod admin;

pub mod config;

pub mod app_store;
pub mod server;
pub mod telemetry;

pub mod cli;

#[doc(hidden)]
pub mod fuzzing;
