//! Whatever headers an upload has: refused, or within bounds.
#![no_main]

#[path = "../../src/tus.rs"]
mod tus;

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::headers(bytes);
});
