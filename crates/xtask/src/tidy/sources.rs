//! What no file of the tree may hold.
//!
//! The checks read lines, not syntax: a comment line is skipped, and what stands after a `#[cfg(test)]` module in the
//! same file counts as tests. That is enough for files kept as STYLE asks, and needs no parser.

use crate::Finding;

/// A longer source file is two.
const LINES_MAX: usize = 600;

/// Files that may be longer, each with its limit and the reason why it is one thing.
const LONGER: &[(&str, usize, &str)] = &[];

/// Crates that do no I/O and read no clock.
const PURE: &[&str] = &["crates/domain/src/", "crates/protocol/src/"];

/// What a pure crate does not touch: modules of `std`, and calls.
const IMPURE_MODULES: &[&str] = &["fs", "net", "process", "env", "thread"];
const IMPURE_CALLS: &[&str] = &[
    "io::stdin",
    "io::stdout",
    "io::stderr",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "println!",
    "print!",
];

/// Endings that say nothing about what a type is.
const EMPTY_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils", "Impl", "Dto", "Common"];

/// Modules that are a drawer.
const EMPTY_FILES: &[&str] =
    &["util.rs", "utils.rs", "helper.rs", "helpers.rs", "common.rs", "misc.rs", "manager.rs"];

// Written in halves, so that this file does not find itself.
const LEFTOVERS: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X:"),
];
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tm", "p/w/"),
];

/// Files of these kinds are read for leftovers.
const CODE: &[&str] = &[".rs", ".toml", ".sh", ".js", ".css", ".html", ".sql", "test", "run"];

/// Everything in one file that breaks a rule.
pub(super) fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let rust_source = path.ends_with(".rs") && path.starts_with("crates/") && path.contains("/src/");
    if rust_source {
        found.extend(check_length(path, text));
        found.extend(check_names(path, text));
        found.extend(check_doc_tests(path, text));
    }
    if rust_source && PURE.iter().any(|folder| path.starts_with(folder)) && !path.ends_with("/tests.rs") {
        found.extend(check_purity(path, text));
    }
    if CODE.iter().any(|ending| path.ends_with(ending)) {
        found.extend(check_lines(path, text, LEFTOVERS, |word, _, _| {
            format!("finish what `{word}` left open, or write it down as an issue")
        }));
    }
    if path != "Cargo.lock" {
        found.extend(check_machine_paths(path, text));
    }
    found
}

fn check_length(path: &str, text: &str) -> Option<Finding> {
    let longer = LONGER.iter().find(|(name, _, _)| *name == path);
    let max = longer.map_or(LINES_MAX, |(_, max, _)| *max);
    let count = text.lines().count();
    (count > max).then(|| {
        let advice = format!("has {count} lines, {max} are allowed: split it where it is two things");
        Finding::new(path, advice)
    })
}

fn check_names(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let file = path.rsplit('/').next().unwrap_or(path);
    if EMPTY_FILES.contains(&file) {
        found.push(Finding::new(path, "name the file after what it holds"));
    }
    for (number, line) in code_lines(text) {
        if let Some(name) = defined_type(line)
            && let Some(ending) = EMPTY_ENDINGS.iter().find(|ending| name.ends_with(*ending))
        {
            let advice = format!("{name}: `{ending}` says nothing, name the type after what it is");
            found.push(Finding::new(format!("{path}:{number}"), advice));
        }
    }
    found
}

/// The name of the type that a line begins to define: `pub(crate) struct Name<T> {` → `Name`.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with("pub"));
    let keyword = words.next()?;
    let name = words.next()?.split(|c: char| !is_name(c)).next()?;
    matches!(keyword, "struct" | "enum" | "trait" | "type" | "union").then_some(name)
}

fn check_purity(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |number: usize, what: &str| {
        let advice = format!("uses {what}: this crate does no I/O and reads no clock, hand the value in");
        found.push(Finding::new(format!("{path}:{number}"), advice));
    };
    // A `use std::{…}` may go over several lines.
    let mut group: Option<(usize, String)> = None;
    for (number, line) in code_lines(text).take_while(|(_, line)| !line.starts_with("#[cfg(test)]")) {
        for module in IMPURE_MODULES {
            let written = format!("std::{module}");
            let after = |at: usize| line[at + written.len()..].chars().next();
            if line.match_indices(&written).any(|(at, _)| !after(at).is_some_and(is_name)) {
                say(number, &written);
            }
        }
        for call in IMPURE_CALLS {
            let before = |at: usize| line[..at].chars().next_back();
            if line.match_indices(call).any(|(at, _)| !before(at).is_some_and(is_name)) {
                say(number, call);
            }
        }
        if let Some((_, rest)) = line.split_once("std::{") {
            group = Some((number, rest.to_owned()));
        } else if let Some((_, names)) = &mut group {
            names.push_str(line);
        }
        if group.as_ref().is_some_and(|(_, names)| names.contains(';'))
            && let Some((number, names)) = group.take()
        {
            let words = names.split(|c: char| !is_name(c));
            for word in words.filter(|word| IMPURE_MODULES.contains(word) || is_stream(word)) {
                say(number, &format!("std::{word}"));
            }
        }
    }
    found
}

fn is_stream(word: &str) -> bool {
    ["stdin", "stdout", "stderr"].contains(&word)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A fenced block in a doc comment is a test of its own unless it names another language, and `./test` runs none.
fn check_doc_tests(path: &str, text: &str) -> Vec<Finding> {
    const RUN: &[&str] = &["", "rust", "no_run", "should_panic", "compile_fail", "ignore"];
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            inside = false;
            continue;
        };
        let Some(language) = doc.trim().strip_prefix("```") else { continue };
        if !inside && RUN.contains(&language.split(',').next().unwrap_or_default()) {
            let advice = "a documentation test is not run: name the block `text`, or make it a test";
            found.push(Finding::new(format!("{path}:{}", index + 1), advice));
        }
        inside = !inside;
    }
    found
}

fn check_machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let found = check_lines(path, text, MACHINE_PATHS, |word, before, after| {
        // `https://example.com/home/…` and a route `/home/` are no paths of a machine.
        let own = !before.is_some_and(|c| is_name(c) || matches!(c, '.' | '/' | '}' | '-'));
        match own && after.is_some_and(|c| c.is_alphanumeric() || c == '.') {
            true => format!("`{word}…` is a path of one machine: use a relative one or a setting"),
            false => String::new(),
        }
    });
    found.into_iter().filter(|finding| !finding.advice.is_empty()).collect()
}

/// One finding for each line and word; `advice` gets the word and the characters around it.
fn check_lines(
    path: &str,
    text: &str,
    words: &[&str],
    advice: impl Fn(&str, Option<char>, Option<char>) -> String,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in words {
            for (at, _) in line.match_indices(word) {
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                found.push(Finding::new(format!("{path}:{}", index + 1), advice(word, before, after)));
            }
        }
    }
    found
}

/// Lines with their numbers, without comment lines.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str, text: &str) -> Vec<String> {
        let mut places: Vec<_> = check_file(path, text).into_iter().map(|finding| finding.place).collect();
        places.dedup();
        places
    }

    const EDGE: &str = "crates/edge/src/lib.rs";
    const DOMAIN: &str = "crates/domain/src/bill.rs";

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(places(EDGE, &"\n".repeat(600)), [""; 0]);
        assert_eq!(places(EDGE, &"\n".repeat(601)), [EDGE]);
        assert_eq!(places("docs/long.md", &"\n".repeat(601)), [""; 0]);
    }

    #[test]
    fn an_empty_name_is_found() {
        for text in [
            "pub struct QueueManager;",
            "enum X { A }\ntrait StoreImpl {}",
            "type BillDto = u8;",
            "struct Util;",
        ] {
            assert_eq!(check_file(EDGE, text).len(), 1, "{text}");
        }
        for text in ["struct Managers { }", "// struct QueueManager", "impl Queue {}", "struct Dtox;"] {
            assert_eq!(check_file(EDGE, text), [], "{text}");
        }
        assert_eq!(places("crates/edge/src/utils.rs", ""), ["crates/edge/src/utils.rs"]);
    }

    #[test]
    fn io_in_a_pure_crate_is_found() {
        for text in [
            "use std::fs::File;",
            "let x = std::fs::read(p);",
            "use std::{fmt, fs};",
            "use std::{\n    fmt,\n    net::IpAddr,\n};",
            "use std::io::{stdin, Read};\nfn x() { let y = std::io::stdin(); }",
            "let now = SystemTime::now();",
            "let now = jiff::Timestamp::now();",
            "println!(\"x\");",
        ] {
            assert!(!check_file(DOMAIN, text).is_empty(), "{text}");
            assert_eq!(check_file(EDGE, text), [], "{text}");
        }
        for text in [
            "use std::io::BufRead;",
            "use std::{fmt, str::FromStr};",
            "/// Unlike std::fs it does nothing.",
            "#[cfg(test)]\nmod tests { fn x() { std::fs::read(\"y\"); } }",
            "let x = std::fsx::y();",
            "use std::{fmt};\nlet process = 1;",
        ] {
            assert_eq!(check_file(DOMAIN, text), [], "{text}");
        }
    }

    #[test]
    fn a_documentation_test_is_found() {
        let block = |language: &str| {
            format!("/// x\n/// ```{language}\n/// y\n/// ```\n///\n/// ```{language}\n/// ```")
        };
        for language in ["", "rust", "no_run", "rust,ignore"] {
            assert_eq!(
                places(EDGE, &block(language)),
                [format!("{EDGE}:2"), format!("{EDGE}:6")],
                "{language}"
            );
        }
        for language in ["text", "toml", "json"] {
            assert_eq!(places(EDGE, &block(language)), [""; 0], "{language}");
        }
    }

    #[test]
    fn a_leftover_is_found() {
        for word in LEFTOVERS {
            assert_eq!(places(EDGE, &format!("x\n  {word}")), [format!("{EDGE}:2")], "{word}");
            assert_eq!(places("docs/notes.md", word), [""; 0]);
        }
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        for path in MACHINE_PATHS {
            assert_eq!(places("README.md", &format!("see \"{path}me/x\"")), ["README.md:1"], "{path}");
            assert_eq!(places("README.md", &format!("https://example.com{path}me")), [""; 0]);
        }
    }
}
