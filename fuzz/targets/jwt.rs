//! Looks for input against which the property does not hold.
#![no_main]

#[path = "../properties/jwt.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
