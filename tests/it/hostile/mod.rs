//! An adversary's suite: slow, unread, oversized, split, duplicated, interleaved, replayed, many.
//!
//! Each case asserts three things: what the sender got, that bystanders lost nothing (as CPU of the server or as
//! counted deliveries, never as wall-clock time), and what memory and descriptors came back to.

mod amplified;
mod cost;
mod files;
mod guessing;
mod interleaved;
mod large_heads;
mod limits;
mod many;
mod memory;
mod networks;
mod pieces;
mod pings;
mod rates;
mod replayed;
mod slow_http;
mod unread_http;
mod webhook_flood;
