//! What others have collected, or make, to try their own programs on: Debian's `clamav-testfiles`, the data of the tests
//! of defusedxml and oletools, files of two kinds by polyglots, bombs by zbomb. None of it is kept here; `./test` fetches it.

use std::path::{Path, PathBuf};

use inspect::{Kind, Reason, Verdict};

use crate::{harness, peak_memory_bytes};

/// For each file its kind and what becomes of it.
const EXPECTED: &str = include_str!("material.txt");

/// Folders by the name that the table gives them.
const FOLDERS: &[(&str, &str)] = &[
    ("clamav-testfiles", "/usr/share/clamav-testfiles"),
    ("defusedxml", "defusedxml-0.7.1/xmltestdata"),
    ("oletools", "oletools-0.60.2/tests/test-data"),
    ("polyglots", "polyglots"),
    ("zbomb", "bombs"),
];

fn files() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/material");
    let mut files = Vec::new();
    for (name, folder) in FOLDERS {
        let folder = root.join(folder);
        let mut open = vec![folder.clone()];
        while let Some(inner) = open.pop() {
            let listed = std::fs::read_dir(&inner).unwrap_or_else(|_| {
                panic!("no {}: `./test` fetches it, or use the profile `quick`", inner.display())
            });
            for path in listed.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    open.push(path);
                } else {
                    let inside = path.strip_prefix(&folder).unwrap().display().to_string();
                    files.push((format!("{name}/{inside}"), path));
                }
            }
        }
    }
    files.sort();
    files
}

/// `pdf refuse polyglot`.
fn written(verdict: Verdict) -> String {
    let kind_name = |kind: Option<Kind>| kind.map_or("-", Kind::name);
    match verdict {
        Verdict::Pass { kind } => format!("{kind} pass -"),
        Verdict::NeedsPerson { kind, why } => format!("{kind} person {}", why.name()),
        Verdict::Refuse { kind, why } => format!("{} refuse {}", kind_name(kind), why.name()),
    }
}

#[test]
fn system_the_material_of_others_is_judged_as_stated() {
    let mut lines = Vec::new();
    for (name, path) in files() {
        let bytes = std::fs::read(path).unwrap();
        lines.push(format!("{} {name}", written(harness::judge(&bytes))));
    }
    let expected: Vec<&str> = EXPECTED.lines().filter(|line| !line.starts_with('#')).collect();
    let found: Vec<&str> = lines.iter().map(String::as_str).collect();
    for line in &found {
        assert!(expected.contains(line), "not in the table: {line}");
    }
    assert_eq!(found.len(), expected.len(), "each row has its file");
    assert!(peak_memory_bytes() < 128 << 20);
}

#[test]
fn the_table_names_reasons_that_there_are() {
    for line in EXPECTED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [kind, verdict, why, _] = words.as_slice() else { panic!("{line}") };
        assert!(*kind == "-" || kind.parse::<Kind>().is_ok(), "{line}");
        assert!(*verdict == "pass" || why.parse::<Reason>().is_ok(), "{line}");
    }
}
