//! Every pair of hosts, every port: what is declared is open, all else is closed, whoever's rules one looks at.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use crate::{
    lab::{HOSTS, Lab, addresses},
    service::{ask_tcp, ask_udp, listen},
};

const TCP: &[u16] = &[22, 80, 443, 5432, 7000, 8443];
const UDP: &[u16] = &[123, 443, 9999];
/// Open ports answer in milliseconds; a loaded machine and a SYN sent again have time in this.
const WITHIN: Duration = Duration::from_millis(2500);

/// From, to, protocol, port: written by hand from what the lab's topology is to mean.
const DECLARED: &[(&str, &str, &str, u16)] = &[
    ("inet-1", "edge", "tcp", 443),
    ("inet-1", "edge", "udp", 443),
    ("inet-2", "edge", "tcp", 443),
    ("inet-2", "edge", "udp", 443),
    ("edge", "inet-2", "tcp", 8443),
    ("edge", "outer", "tcp", 7000),
    ("main", "standby", "tcp", 5432),
    ("standby", "main", "tcp", 5432),
    ("admin", "main", "tcp", 22),
    ("admin", "standby", "tcp", 22),
    ("main", "admin", "udp", 123),
    ("standby", "admin", "udp", 123),
];

type Probe = (&'static str, &'static str, IpAddr, &'static str, u16);

/// Which rules are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rules {
    All,
    /// Each host is captured: nothing filters what it sends.
    OnlyInput,
    /// Each host takes anything: what it sends is filtered where it is sent.
    OnlyOutput,
}

#[test]
fn netns_declared_flows_are_open_and_all_else_is_closed() {
    let lab = Lab::ruled();
    for host in HOSTS {
        listen(&lab, host.name, TCP, UDP);
    }
    check(Rules::All, scan(&lab));

    let ruled: Vec<&str> = HOSTS.iter().filter(|host| host.ruled).map(|host| host.name).collect();
    for host in &ruled {
        lab.nft(host, "flush chain inet gridesk output\nadd rule inet gridesk output accept");
    }
    check(Rules::OnlyInput, scan(&lab));

    for host in &ruled {
        lab.load(host);
        lab.nft(
            host,
            "flush chain inet gridesk prerouting\nflush chain inet gridesk input\nadd rule inet gridesk input accept",
        );
    }
    check(Rules::OnlyOutput, scan(&lab));
}

fn scan(lab: &Lab) -> BTreeMap<Probe, bool> {
    let mut hosts = Vec::new();
    for from in HOSTS {
        let mut probes: Vec<Probe> = Vec::new();
        // Hosts without rules are no matter of ours among themselves.
        for to in HOSTS.iter().filter(|to| to.name != from.name && (to.ruled || from.ruled)) {
            for address in addresses(to.name) {
                probes.extend(TCP.iter().map(|port| (from.name, to.name, address, "tcp", *port)));
                probes.extend(UDP.iter().map(|port| (from.name, to.name, address, "udp", *port)));
            }
        }
        hosts.push(lab.inside(from.name, move || {
            let one = |probe: Probe| {
                thread::spawn(move || {
                    let to = SocketAddr::new(probe.2, probe.4);
                    (probe, if probe.3 == "tcp" { ask_tcp(to, WITHIN) } else { ask_udp(to, WITHIN) })
                })
            };
            let threads: Vec<_> = probes.into_iter().map(one).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    hosts.into_iter().flat_map(|host| host.join().unwrap()).collect()
}

/// `None` where no rules are looked at.
fn expected(rules: Rules, probe: &Probe) -> Option<bool> {
    let (from, to, address, protocol, port) = *probe;
    let ruled = |name: &str| HOSTS.iter().any(|host| host.name == name && host.ruled);
    // Behind the edge nothing is reached through it: forwarding is closed throughout.
    let direct = |one: &str, other: &str| !one.starts_with("inet") || other == "edge";
    if !direct(from, to) || !direct(to, from) {
        return Some(false);
    }
    let outside = addresses("edge")[..2].contains(&address);
    match rules {
        Rules::OnlyInput if !ruled(to) => return None,
        Rules::OnlyOutput if !ruled(from) => return None,
        _ => {}
    }
    let declared = DECLARED.contains(&(from, to, protocol, port));
    // Over the wrong wiring too, the edge's port for the Internet is on its address there.
    Some(declared && (to != "edge" || outside))
}

fn check(rules: Rules, found: BTreeMap<Probe, bool>) {
    println!("{rules:?}: O open, . closed; ports {TCP:?} of TCP, {UDP:?} of UDP");
    let rows: BTreeSet<(&str, &str, IpAddr)> =
        found.keys().map(|(from, to, address, ..)| (*from, *to, *address)).collect();
    for (from, to, address) in rows {
        let cells = |protocol: &'static str, ports: &[u16]| -> String {
            ports
                .iter()
                .map(|port| if found[&(from, to, address, protocol, *port)] { 'O' } else { '.' })
                .collect()
        };
        println!(
            "  {from:>8} → {to:<8} {:<20} {} {}",
            address.to_string(),
            cells("tcp", TCP),
            cells("udp", UDP)
        );
    }
    let wrong: Vec<_> =
        found.iter().filter(|(probe, open)| expected(rules, probe).is_some_and(|is| is != **open)).collect();
    assert!(wrong.is_empty(), "{rules:?}, and whether it is open: {wrong:#?}");
    let open = found.values().filter(|open| **open).count();
    println!("{rules:?}: {} probes, {open} open: as declared", found.len());
    assert!(open >= 2 * DECLARED.len());
}
