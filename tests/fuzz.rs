//! The properties of `fuzz/properties` hold for the committed inputs in `fuzz/seeds`, and for each of them cut, changed in
//! a byte, or twice in a row.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end at the first surprise"
)]

use std::path::Path;

/// Beginnings and changed bytes for each input; longer ones are not gone through byte by byte.
const VARIANTS: usize = 16;

#[path = "../fuzz/properties/client_frame.rs"]
mod client_frame;
#[path = "../fuzz/properties/http1.rs"]
mod http1;
#[path = "../fuzz/properties/jwt.rs"]
mod jwt;
#[path = "../fuzz/properties/proxy_header.rs"]
mod proxy_header;
#[path = "../fuzz/properties/redis_reply.rs"]
mod redis_reply;
#[path = "../fuzz/properties/settings.rs"]
mod settings;
#[path = "../fuzz/properties/signed_request.rs"]
mod signed_request;
#[path = "../fuzz/properties/source.rs"]
mod source;
#[path = "../fuzz/properties/spool.rs"]
mod spool;
#[path = "../fuzz/properties/websocket.rs"]
mod websocket;

/// Checks a property for the inputs of its target.
fn holds_for_seeds(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).expect("seeds") {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        seeds += 1;
        check(&seed);
        check(&[&seed[..], &seed[..]].concat());
        let step = (seed.len() / VARIANTS).max(1);
        for at in (0..seed.len()).step_by(step) {
            check(&seed[..at]);
            let mut changed = seed.clone();
            changed[at] ^= 1 << (at % 8);
            check(&changed);
        }
    }
    assert!(seeds > 4, "{seeds} seeds of {target}");
}

#[test]
fn client_frame_holds() {
    holds_for_seeds("client_frame", client_frame::check);
}

#[test]
fn websocket_holds() {
    holds_for_seeds("websocket", websocket::check);
}

#[test]
fn http1_holds() {
    holds_for_seeds("http1", http1::check);
}

#[test]
fn signed_request_holds() {
    holds_for_seeds("signed_request", signed_request::check);
}

#[test]
fn proxy_header_holds() {
    holds_for_seeds("proxy_header", proxy_header::check);
}

#[test]
fn redis_reply_holds() {
    holds_for_seeds("redis_reply", redis_reply::check);
}

#[test]
fn spool_holds() {
    holds_for_seeds("spool", spool::check);
}

#[test]
fn settings_holds() {
    holds_for_seeds("settings", settings::check);
}

#[test]
fn jwt_holds() {
    holds_for_seeds("jwt", jwt::check);
}

#[test]
fn source_holds() {
    holds_for_seeds("source", source::check);
}
