//! Whatever name there is: refused, or harmless.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::name(bytes);
});
