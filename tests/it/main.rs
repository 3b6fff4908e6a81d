//! Black-box tests: every test starts the real binary on free ports and speaks to it over sockets.
//!
//! `harness` starts and stops servers and holds the WebSocket and HTTP clients; `transcripts` plays the files of
//! `tests/transcripts`; the other modules are suites, one subject each. Nothing here sleeps to wait for something:
//! reads have deadlines, everything else goes through `harness::eventually`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy's allowance for tests does not reach the helpers, and a test may end at the first surprise"
)]

mod harness;

mod admin;
mod app_store;
mod apps_api;
mod bad_input;
mod chaos;
mod churn;
mod cli;
mod client;
mod clocks;
mod cluster;
mod config;
mod config_start;
mod console;
mod counts;
mod fidelity;
mod file_limit;
mod history;
mod hostile;
mod http;
mod idle_streams;
mod last_events;
mod liveness;
mod load_bench;
mod logs;
mod metrics;
mod ordering;
mod plain;
mod presence_random;
mod proxies;
mod reload;
mod resume;
mod rfc6455;
mod rolling;
mod rules;
mod shutdown;
mod slow;
mod sources;
mod sse;
mod tls;
mod tokens;
mod transcripts;
mod watchlist_random;
mod webhooks;
mod xhr;
