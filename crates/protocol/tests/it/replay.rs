//! The fuzzer's corpus, and what is near it, through the fuzzer's own functions.
use std::path::{Path, PathBuf};

use crate::{corpus::replay, harness};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn frames_near_the_corpus_are_refused_or_as_they_were_sent() {
    replay(&corpus("frames"), harness::frames);
}

#[test]
fn operations_near_the_corpus_are_refused_or_written_in_the_same_bytes() {
    replay(&corpus("operations"), harness::operations);
}
