//! Whatever bytes there are: a verdict, within bounds.
#![no_main]

#[path = "../../tests/it/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::judge(bytes);
});
