//! What is dropped because of where it says it comes from, or because no stack sends it.
use ipnet::IpNet;

use super::{Chain, NEIGHBOURS};
use crate::{
    address::{Family, Peers, bogons, set},
    topology::{Host, Interface, Topology},
};

const GROUPS: &str =
    "icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }";

/// Which sources may come in by an interface.
pub(super) fn chain(topology: &Topology, name: &str, interface: &Interface) -> Chain {
    let here = |zone: &String| interface.zones.contains(zone);
    let networks = |wanted: &dyn Fn(&String) -> bool| -> Vec<IpNet> {
        let zones = topology.zones.iter().filter(|(name, _)| wanted(name));
        zones.flat_map(|(_, zone)| zone.networks.clone()).collect()
    };
    let internet = interface.zones.iter().any(|name| topology.zones[name].is_internet());
    let (mut near, far) = (networks(&here), networks(&|zone| !here(zone)));
    if internet {
        // A program out there that the topology gives an address is genuine, wherever it lies.
        let ends = topology.flows.iter().flat_map(|flow| flow.from.iter().chain(&flow.to));
        for end in ends.filter(|end| here(&end.zone)) {
            if let Peers::Only(nets) = &end.peers {
                near.extend(nets);
            }
        }
    }
    let mut rules = vec!["ip6 saddr fe80::/10 return".into()];
    for family in Family::BOTH {
        let saddr = format!("{} saddr", family.header());
        let near = set(&near, family);
        if internet {
            rules.extend(near.map(|near| format!("{saddr} {near} return")));
            rules.extend(set(&far, family).map(|far| format!("{saddr} {far} goto drop-spoofed")));
            rules.extend(set(&bogons(), family).map(|bogons| format!("{saddr} {bogons} goto drop-bogon")));
        } else {
            rules.push(match near {
                Some(near) => format!("{saddr} != {near} goto drop-spoofed"),
                None => format!("meta nfproto {} goto drop-spoofed", nfproto(family)),
            });
        }
    }
    Chain::new(format!("source-{name}"), rules)
}

fn nfproto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// Runs before conntrack, so that what is dropped here costs no entry there. Fragments have been put together already.
pub(super) fn prerouting(host: &Host, syn: Vec<String>) -> Chain {
    let mut rules: Vec<String> = vec!["iif lo accept".into()];
    // Duplicate address detection has no source yet; a hop limit of 255 cannot have come through a router.
    rules.push(format!("{NEIGHBOURS} accept"));
    // Who listens to which group is told by link-local or no source, and not beyond the link. `input` takes what it needs.
    rules.push(format!("ip6 saddr {{ ::, fe80::/10 }} ip6 hoplimit 1 {GROUPS} accept"));
    rules.push("fib saddr type local goto drop-spoofed".into());
    rules.extend(host.interfaces.keys().map(|name| format!("iifname \"{name}\" jump source-{name}")));
    rules.push("fib saddr . iif oif missing goto drop-no-return-path".into());
    let flags = |rule: &str| format!("tcp flags & {rule} goto drop-bad-flags");
    rules.extend(
        [
            "(fin|syn|rst|psh|ack|urg) == 0x0",
            "(fin|syn) == (fin|syn)",
            "(syn|rst) == (syn|rst)",
            "(fin|rst) == (fin|rst)",
            "(fin|ack) == fin",
            "(psh|ack) == psh",
            "(ack|urg) == urg",
        ]
        .map(flags),
    );
    rules.extend(syn);
    Chain {
        name: "prerouting".into(),
        base: Some("type filter hook prerouting priority raw; policy accept;"),
        rules,
    }
}
