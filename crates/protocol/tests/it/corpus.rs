//! A fuzzer's corpus in the ordinary suite. The crates whose fuzzed functions are their own share this file.
use std::path::Path;

/// The seeds of a target. A long run of the fuzzer leaves more files beside them, which have no extension and are none.
fn seeds(corpus: &Path) -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = std::fs::read_dir(corpus)
        .expect("the corpus is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some())
        .collect();
    seeds.sort();
    seeds.iter().map(|path| std::fs::read(path).expect("a seed can be read")).collect()
}

/// Checks each seed, each beginning of it, and it with each of its bytes changed.
pub(crate) fn replay(corpus: &Path, check: fn(&[u8])) {
    let seeds = seeds(corpus);
    let total: usize = seeds.iter().map(Vec::len).sum();
    assert!((1..=150).contains(&seeds.len()) && total <= 100_000, "{} seeds of {total} bytes", seeds.len());
    for seed in &seeds {
        check(seed);
        let mut changed = seed.clone();
        for at in 0..seed.len() {
            check(&seed[..at]);
            for bits in [0x01, 0x80, 0xff] {
                changed[at] = seed[at] ^ bits;
                check(&changed);
            }
            changed[at] = seed[at];
        }
    }
}
