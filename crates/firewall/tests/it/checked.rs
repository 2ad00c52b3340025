//! What `check` finds on a host whose rules somebody has changed.
use std::{path::Path, process::Command, time::Duration};

use crate::{
    lab::Lab,
    service::{ask_tcp, listen},
};

fn check(lab: &Lab, json: bool) -> (bool, String) {
    let topology = lab.topology().display().to_string();
    let mut words = vec!["check", "--topology", &topology, "--host", "edge"];
    if json {
        words.push("--json");
    }
    let output = lab.firewall("edge", &words);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// The handle of a rule, by how it is listed.
fn handle(lab: &Lab, chain: &str, rule: &str) -> String {
    let words = ["-a", "list", "chain", "inet", "gridesk", chain];
    let output = lab.command("edge", "nft").args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(rule)).unwrap();
    line.split("# handle ").nth(1).unwrap().to_owned()
}

#[test]
fn netns_a_change_by_hand_is_found_line_by_line() {
    let lab = Lab::new();
    let (ok, said) = check(&lab, false);
    assert!(!ok && said.contains("lacks   table inet gridesk"), "{said}");
    lab.load("edge");
    listen(&lab, "edge", &[443], &[]);
    // Sources that are remembered, and counts, are no difference.
    let asked = lab.inside("inet-1", || ask_tcp("11.0.0.10:443".parse().unwrap(), Duration::from_secs(5)));
    assert!(asked.join().unwrap() && lab.count("edge", "flow-internet-portal") > 0);
    assert_eq!(check(&lab, false), (true, "edge: as its topology says\n".to_owned()));

    lab.nft("edge", "insert rule inet gridesk input tcp dport 8081 accept");
    let (ok, said) = check(&lab, false);
    assert!(!ok && said.contains("extra   chain input: tcp dport 8081 accept"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");

    lab.load("edge");
    let handle = handle(&lab, "prerouting", "fib saddr . iif oif missing");
    lab.nft("edge", &format!("delete rule inet gridesk prerouting handle {handle}"));
    let (ok, said) = check(&lab, true);
    let line: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(!ok && line["kind"] == "lacks" && line["place"] == "chain prerouting", "{said}");
    assert_eq!(line["text"], "fib saddr . iif oif missing goto drop-no-return-path");

    lab.load("edge");
    lab.nft("edge", "chain inet gridesk forward { policy accept; }");
    let (ok, said) = check(&lab, false);
    assert!(!ok && said.contains("extra   chain forward") && said.contains("policy accept"), "{said}");
}

#[test]
fn netns_tables_of_others_are_named() {
    let lab = Lab::ruled();
    lab.nft(
        "edge",
        "table ip nat {\n chain in { type nat hook prerouting priority dstnat; policy accept; tcp dport 80 redirect to :443; }\n}\n\
         table inet quiet {\n chain called { accept; }\n}\n",
    );
    let (ok, said) = check(&lab, false);
    assert!(
        !ok && said.contains("unknown table ip nat: chain in at prerouting, policy accept, 1 rules"),
        "{said}"
    );
    assert!(!said.contains("quiet"), "nothing calls it: {said}");
    let known = format!("other_tables = [\"ip nat\"]\n{}", crate::lab::TOPOLOGY);
    std::fs::write(lab.topology(), known).unwrap();
    assert!(check(&lab, false).0);
}

#[test]
fn netns_what_a_killed_run_left_is_cleared() {
    let gone = Command::new("true").spawn().and_then(|mut child| child.wait().map(|_| child.id())).unwrap();
    let name = format!("gridesk-fw-{gone}-left");
    assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    let lab = Lab::new();
    assert!(!Path::new("/run/netns").join(&name).exists());
    drop(lab);
    let own = format!("gridesk-fw-{}-", std::process::id());
    let names = std::fs::read_dir("/run/netns").unwrap().flatten();
    assert_eq!(names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own)).count(), 0);
}
