//! What a topology refuses, and what it says of it.
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::Ruleset;

/// Both sides of the gate, and the Internet.
const GOOD: &str = r#"
[zones]
internet = { side = "outside" }
dmz = { side = "extranet", networks = ["10.1.0.0/24", "fd00:1::/64"] }
room = { side = "intranet", networks = ["10.3.0.0/24"] }

[programs]
portal = { tcp = [443] }
store = { tcp = [5432] }
sms = { zone = "internet", addresses = ["192.0.2.7"], tcp = [443] }

[hosts.edge]
zone = "dmz"
programs = ["portal"]
interfaces.eth0 = { addresses = ["10.1.0.1", "fd00:1::1"], zones = ["internet", "dmz"] }
[hosts.one]
zone = "room"
programs = ["store"]
interfaces.eth0 = { addresses = ["10.3.0.1"], zones = ["room"] }
[hosts.two]
zone = "room"
interfaces.eth0 = { addresses = ["10.3.0.2"], zones = ["room"] }

[[flows]]
from = "internet"
to = "portal"
[[flows]]
from = "edge"
to = "sms"
[[flows]]
from = "two"
to = "store"
"#;

fn parse(text: &str) -> Result<Topology, TopologyError> {
    Topology::parse(text, Path::new("t.toml"))
}

/// What is said when `this` stands in the place of `that`.
fn refused(that: &str, this: &str) -> String {
    assert!(GOOD.contains(that), "{that}");
    parse(&GOOD.replacen(that, this, 1)).expect_err(this).to_string()
}

#[test]
fn what_is_consistent_is_taken() {
    let topology = parse(GOOD).unwrap();
    assert_eq!(topology.hosts().collect::<Vec<_>>(), ["edge", "one", "two"]);
    assert!(topology.flows[0].limits.is_some(), "from outside");
    assert!(topology.flows[2].limits.is_none(), "from inside");
}

#[test]
fn each_error_names_its_key_and_what_to_do() {
    for (that, this, key, advice) in [
        ("side = \"outside\" }", "side = \"outside\", net = [] }", "line 3", "unknown field `net`"),
        ("10.1.0.1\"", "10.1.0.300\"", "line 15", "invalid IP address"),
        ("tcp = [443] }", "tcp = [0] }", "line 8", "nonzero"),
        ("10.1.0.0/24", "10.1.0.5/24", "zones.dmz.networks", "write 10.1.0.0/24"),
        ("10.3.0.0/24", "10.1.0.0/16", "zones.room.networks", "overlaps 10.1.0.0/24 of zones.dmz"),
        (", networks = [\"10.3.0.0/24\"]", "", "zones.room.networks", "name the zone's networks"),
        ("hosts.two", "hosts.store", "programs.store", "share their names"),
        ("hosts.two", "hosts.Two", "hosts.Two", "all small"),
        ("zone = \"dmz\"", "zone = \"dmt\"", "hosts.edge.zone", "no zone dmt"),
        ("zone = \"dmz\"", "zone = \"internet\"", "hosts.edge.zone", "one of ours"),
        ("[\"portal\"]", "[\"portals\"]", "hosts.edge.programs", "no program portals"),
        ("[\"portal\"]", "[\"portal\", \"sms\"]", "hosts.edge.programs", "runs elsewhere"),
        ("programs = [\"store\"]", "forwards = true", "hosts.one.forwards", "nothing to forward"),
        ("10.3.0.2", "10.3.0.1", "hosts.two.interfaces", "is hosts.one's already"),
        ("10.3.0.2", "10.4.0.2", "hosts.two.interfaces.eth0.addresses", "in no network of zones.room"),
        (
            "interfaces.eth0 = { addresses = [\"10.3.0.2",
            "interfaces.lo = { addresses = [\"10.3.0.2",
            "hosts.two.interfaces.lo",
            "no name",
        ),
        ("portal = { tcp = [443] }", "portal = {}", "programs.portal", "what it listens on"),
        ("programs = [\"store\"]", "", "programs.store", "runs nowhere"),
        ("from = \"two\"", "from = \"three\"", "flows[2].from", "no zone, host or program three"),
        ("to = \"store\"", "to = \"shop\"", "flows[2].to", "no program shop"),
        ("to = \"store\"", "to = \"store\"\nat = \"two\"", "flows[2].at", "does not run there"),
        ("to = \"store\"", "to = \"store\"\nat = \"to\"", "flows[2].at", "no zone or host to"),
        (
            "from = \"two\"",
            "from = \"edge\"\nto = \"sms\"\n[[flows]]\nfrom = \"two\"",
            "flows[2]",
            "is there already",
        ),
        ("[\"internet\", \"dmz\"]", "[\"dmz\"]", "flows[0]", "hosts.edge has no interface to internet"),
        ("addresses = [\"10.1.0.1\", ", "addresses = [", "flows[1]", "no address of a family"),
    ] {
        let said = refused(that, this);
        assert!(
            said.starts_with("t.toml: ") && said.contains(key) && said.contains(advice),
            "{this}\n{said}"
        );
    }
    let wrong_table = format!("other_tables = [\"fail2ban\"]\n{GOOD}");
    assert!(parse(&wrong_table).unwrap_err().to_string().contains("other_tables[0]: write family and name"));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = parse(&GOOD.replace("zone = \"room\"", "zone = \"rum\"")).unwrap_err().to_string();
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn nothing_joins_the_intranet_and_anything_else() {
    for (that, this) in [
        // A flow, in each direction, and by way of a whole zone.
        ("from = \"two\"", "from = \"edge\""),
        ("from = \"two\"", "from = \"dmz\""),
        ("from = \"two\"", "from = \"internet\""),
        ("from = \"internet\"\nto = \"portal\"", "from = \"room\"\nto = \"portal\""),
        ("from = \"edge\"", "from = \"one\""),
        // One host with an interface on each side.
        ("zones = [\"room\"]", "zones = [\"room\", \"dmz\"]"),
        ("zones = [\"internet\", \"dmz\"]", "zones = [\"internet\", \"dmz\", \"room\"]"),
    ] {
        let said = refused(that, this);
        assert!(said.contains("by IP") && said.contains("only the gate"), "{this}\n{said}");
    }
    // An address of the intranet under the name of the Internet.
    assert!(refused("192.0.2.7", "10.3.0.1").contains("go around the gate"));
    assert!(refused("10.3.0.0/24", "10.1.0.0/25").contains("an address is of one zone only"));
}

/// A zone of each side, with a host and a program in it, and flows between any of them.
fn any_flows() -> impl Strategy<Value = String> {
    let party =
        prop_oneof![Just("outside"), Just("ext"), Just("int"), Just("hext"), Just("hint"), Just("pext")];
    let program = prop_oneof![Just("pext"), Just("pint"), Just("pout")];
    proptest::collection::vec((party, program), 0..5).prop_map(|flows| {
        let flows = flows.iter().map(|(from, to)| format!("[[flows]]\nfrom = '{from}'\nto = '{to}'\n"));
        let zones = "[zones]\noutside = { side = 'outside' }\next = { side = 'extranet', networks = ['10.1.0.0/16'] }\n\
                     int = { side = 'intranet', networks = ['10.2.0.0/16'] }\n";
        let hosts = "[hosts.hext]\nzone = 'ext'\nprograms = ['pext']\ninterfaces.a = { addresses = ['10.1.0.1'], zones = ['ext', 'outside'] }\n\
                     [hosts.hint]\nzone = 'int'\nprograms = ['pint']\ninterfaces.a = { addresses = ['10.2.0.1'], zones = ['int'] }\n";
        let programs = "[programs]\npext = { tcp = [1] }\npint = { udp = [2] }\npout = { zone = 'outside', tcp = [3] }\n";
        format!("{zones}{programs}{hosts}{}", flows.collect::<String>())
    })
}

proptest! {
    /// Whatever is declared: what is taken has no rule by which an intranet host accepts anything of the extranet or the
    /// Internet, or the other way round.
    #[test]
    fn no_rule_of_a_topology_that_is_taken_joins_the_sides(text in any_flows()) {
        if let Ok(topology) = parse(&text) {
            for (host, own, other) in [("hext", "10.1.", "10.2."), ("hint", "10.2.", "10.1.")] {
                let rules = Ruleset::of(&topology, host).unwrap().to_string();
                for line in rules.lines().filter(|line| line.contains("dport")) {
                    let unlike = line.split("!= {").next().unwrap();
                    prop_assert!(!unlike.contains(other), "{host}: {line}");
                    prop_assert!(line.contains(own), "{host}: {line}");
                    prop_assert!(host == "hext" || !line.contains("!="), "{host}: {line}");
                }
            }
        }
    }

    /// Any text is taken or refused.
    #[test]
    fn no_text_breaks_it(text in "[a-z0-9.=\\[\\]{}\"\n ]{0,200}") {
        parse(&text).map(drop).ok();
    }
}
