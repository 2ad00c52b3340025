//! The fuzzer's seeds, and some thousands of mutations of them, through the fuzzer's own functions.

use std::path::{Path, PathBuf};

use inspect::Verdict;

use crate::{build, harness};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The seeds of a target by name. A long run of the fuzzer leaves more files beside them, which are none.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<_> = std::fs::read_dir(corpus(target))
        .expect("the corpus is there")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

/// A generator whose numbers are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

/// Changes a few things as a hostile hand, or a bad line, would.
fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'<', b'/', b'\n'][random.below(8)],
            2 => {
                // A length that is far too large, in either order.
                let value = [u32::MAX, 0x7fff_ffff, 0x8000_0000, 0xffff, 0][random.below(5)];
                for (place, byte) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
                    *place = byte;
                }
            }
            3 => bytes.truncate(at),
            4 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + random.below(64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            6 => {
                let from = random.below(other.len());
                let end = (from + random.below(512)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            _ => bytes.extend_from_slice(&other[random.below(other.len())..]),
        }
    }
    bytes
}

#[test]
fn the_seeds_are_what_the_builders_make() {
    if std::env::var_os("GRIDESK_WRITE_SEEDS").is_some() {
        std::fs::create_dir_all(corpus("inspect")).unwrap();
        for (name, kind, bytes) in build::valid() {
            std::fs::write(corpus("inspect").join(format!("{name}.{}", kind.extension())), bytes).unwrap();
        }
    }
    let seeds = seeds("inspect");
    for (name, kind, _) in build::valid() {
        let file = format!("{name}.{}", kind.extension());
        let (_, seed) = seeds.iter().find(|(seed, _)| *seed == file).expect("each kind has a seed");
        assert_eq!(harness::judge(seed), Verdict::Pass { kind }, "{file}");
    }
    let total: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(total <= 200_000, "{total} bytes of seeds");
}

#[test]
fn mutations_of_the_seeds_are_judged_within_bounds() {
    let seeds = seeds("inspect");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let (_, seed) = &seeds[random.below(seeds.len())];
        let (_, other) = &seeds[random.below(seeds.len())];
        let bytes = mutated(seed, other, &mut random);
        assert_eq!(harness::judge(&bytes), harness::judge(&bytes), "a verdict is the same the second time");
    }
}

#[test]
fn mutations_of_names_are_refused_or_harmless() {
    let seeds = seeds("name");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..5_000 {
        let (_, seed) = &seeds[random.below(seeds.len())];
        harness::name(seed);
        harness::name(&mutated(seed, seed, &mut random));
    }
}
