//! Looks for input against which the property does not hold.
#![no_main]

#[path = "../properties/http1.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
