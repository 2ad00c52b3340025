//! The rules of the example's hosts, as files to read. `UPDATE_GOLDEN=1` writes them anew.
use std::path::Path;

use firewall::{Ruleset, Topology};

pub(crate) const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/topology.example.toml");

#[test]
fn the_rules_of_the_example_are_those_that_were_read() {
    let topology = Topology::load(Path::new(EXAMPLE)).unwrap();
    for host in ["router", "edge-1", "gate-inner"] {
        let rules = Ruleset::of(&topology, host).unwrap().to_string();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{host}.nft"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &rules).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap();
        for (line, (is, was)) in rules.lines().zip(golden.lines()).enumerate() {
            assert_eq!(is, was, "{}:{}: UPDATE_GOLDEN=1 writes it anew", file.display(), line + 1);
        }
        assert_eq!(rules.lines().count(), golden.lines().count(), "{}", file.display());
    }
}

#[test]
fn nothing_in_the_example_names_both_sides() {
    let topology = Topology::load(Path::new(EXAMPLE)).unwrap();
    let accepted = |host: &str| -> Vec<String> {
        let rules = Ruleset::of(&topology, host).unwrap().to_string();
        rules.lines().filter(|line| line.contains("dport")).map(str::to_owned).collect()
    };
    for line in accepted("gate-outer").iter().chain(&accepted("edge-1")) {
        let sources = line.split("daddr").collect::<Vec<_>>();
        // All that is not ours is named by what it is not.
        let named =
            |part: &&&str| !part.contains("!=") && ["10.3", "fd00:3"].iter().any(|net| part.contains(net));
        assert_eq!(sources.iter().filter(named).count(), 0, "{line}");
    }
    for line in accepted("gate-inner") {
        assert!(!["10.10.", "10.11.", "fd00:1", "!="].iter().any(|net| line.contains(net)), "{line}");
    }
}

#[test]
fn wrong_files_end_with_64_and_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    let print = |text: &str, host: &str| {
        std::fs::write(&file, text).unwrap();
        let words = ["print", "--host", host, "--topology"];
        std::process::Command::new(crate::lab::PROGRAM).args(words).arg(&file).output().unwrap()
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let good = print(crate::lab::TOPOLOGY, "edge");
    assert!(good.status.success() && good.stdout.starts_with(b"# Firewall of host edge"));
    let unknown = print(crate::lab::TOPOLOGY, "edgy");
    assert_eq!(unknown.status.code(), Some(64));
    assert!(
        said(&unknown).contains("no host edgy") && said(&unknown).contains("standby"),
        "{}",
        said(&unknown)
    );
    let wrong = print(&crate::lab::TOPOLOGY.replace("udp = [443]", "upd = [443]"), "edge");
    assert_eq!(wrong.status.code(), Some(64));
    assert!(said(&wrong).contains("t.toml") && said(&wrong).contains("upd"), "{}", said(&wrong));
}
