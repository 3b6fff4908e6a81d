//! Black-box tests of the real binary.
#![expect(
    clippy::expect_used,
    reason = "a test's helper has nobody to return an error to"
)]

mod cli;
mod config;
