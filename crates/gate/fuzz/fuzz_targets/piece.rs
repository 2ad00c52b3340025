//! Whatever body a piece has: refused, or the piece that its head says.
#![no_main]

#[allow(dead_code, reason = "the gate counts what it refuses")]
#[path = "../../src/files/pieces.rs"]
mod pieces;

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::piece(bytes);
});
