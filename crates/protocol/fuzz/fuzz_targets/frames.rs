//! Whatever comes over the link: refused, or exactly what was sent.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::frames(bytes);
});
