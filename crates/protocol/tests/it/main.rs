//! What crosses, from outside the crate: the fuzzer's corpus through the fuzzer's own functions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
extern crate gridesk_protocol as protocol;

mod corpus;
mod harness;
mod replay;
