//! Whatever asks, answers or is pushed: refused, or written again in the same bytes.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::operations(bytes);
});
