//! A host's part of the declared flows.
use std::collections::BTreeSet;

use super::{Chain, Counter, Set};
use crate::{
    address::{Family, Peers, nets},
    topology::{End, Flow, FlowLimits, Host, Service, Topology},
};

/// How long a source is remembered that begins nothing more. A full bucket of its rate is there again long before.
const REMEMBERED_S: u32 = 10;
/// Bursts are so many seconds' worth of the rate.
const BURST_S: u32 = 2;

/// What the flows add to each chain, and what they need beside.
#[derive(Default)]
pub(super) struct Flows {
    pub(super) counters: Vec<Counter>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    pub(super) syn: Vec<String>,
    pub(super) input: Vec<String>,
    pub(super) forward: Vec<String>,
    pub(super) output: Vec<String>,
}

impl Flows {
    pub(super) fn of(topology: &Topology, name: &str, host: &Host) -> Self {
        let mut all = Self::default();
        for flow in &topology.flows {
            let incoming = incoming(flow, name, host);
            let forwarded = forwarded(flow, name, host);
            let outgoing = outgoing(flow, name, host);
            if incoming.is_empty() && forwarded.is_empty() && outgoing.is_empty() {
                continue;
            }
            all.counters
                .push(Counter { name: format!("flow-{}", flow.name), comment: "connections opened".into() });
            let accept = format!("counter name \"flow-{}\" accept", flow.name);
            let limited = flow.limits.filter(|_| !incoming.is_empty() || !forwarded.is_empty());
            let then = match limited {
                Some(_) => format!("goto flow-{}", flow.name),
                None => accept.clone(),
            };
            let rules = |matches: &[Match], then: &str| -> Vec<String> {
                let each = matches.iter().flat_map(|of| services(&flow.service, of));
                each.map(|of| format!("{of} ct state new {then}")).collect()
            };
            all.input.extend(rules(&incoming, &then));
            all.forward.extend(rules(&forwarded, &then));
            // What this host begins itself is no flood from outside.
            all.output.extend(rules(&outgoing, &accept));
            if let Some(limits) = limited {
                let matches = incoming.iter().chain(&forwarded);
                all.limit(flow, &limits, topology.limits.sources.get(), matches, accept);
            }
        }
        all
    }

    fn limit<'a>(
        &mut self,
        flow: &Flow,
        limits: &FlowLimits,
        size: u32,
        matches: impl Iterator<Item = &'a Match<'a>>,
        accept: String,
    ) {
        let name = &flow.name;
        let mut rules = Vec::new();
        let mut syn_rules = Vec::new();
        for family in Family::BOTH {
            let source = family.source();
            let digit = match family {
                Family::V4 => 4,
                Family::V6 => 6,
            };
            let mut set = |what: &str, timeout_s: Option<u32>| {
                let name = format!("{what}{digit}-{name}");
                self.sets.push(Set { name: name.clone(), family, size, timeout_s });
                name
            };
            // The cheap ones first: counting goes through a source's connections.
            let (syn, new, open) =
                (set("syn", Some(REMEMBERED_S)), set("new", Some(REMEMBERED_S)), set("open", None));
            syn_rules.push(format!(
                "update @{syn} {{ {source} {} }} goto drop-syn-source",
                over(limits.syn_per_source_per_second)
            ));
            rules.push(format!(
                "update @{new} {{ {source} {} }} goto drop-new-source",
                over(limits.new_per_source_per_second)
            ));
            rules.push(format!(
                "add @{open} {{ {source} ct count over {} }} goto drop-connections",
                limits.connections_per_source
            ));
        }
        rules.push(accept);
        self.chains.push(Chain::new(format!("flow-{name}"), rules));
        if flow.service.tcp.is_empty() {
            return;
        }
        syn_rules.push(format!("{} goto drop-syn-all", over(limits.syn_per_second)));
        self.chains.push(Chain::new(format!("syn-{name}"), syn_rules));
        let ports = ports(&flow.service.tcp);
        // By two ways out it is the same way in.
        let ways_in: BTreeSet<String> = matches.map(Match::way_in).collect();
        self.syn.extend(ways_in.into_iter().map(|of| {
            format!("{of} tcp dport {ports} tcp flags & (fin|syn|rst|ack) == syn jump syn-{name}")
        }));
    }
}

/// Which packets of a flow a rule is about, all but the protocol.
struct Match<'a> {
    near: Option<&'a str>,
    far: Option<&'a str>,
    family: Family,
    saddr: String,
    daddr: String,
}

impl Match<'_> {
    fn whole(&self) -> String {
        let far = self.far.map(|name| format!("oifname \"{name}\" ")).unwrap_or_default();
        let near = self.near.map(|name| format!("iifname \"{name}\" ")).unwrap_or_default();
        format!("{near}{far}{} {}", self.saddr, self.daddr)
    }

    /// Before routing nobody knows by which interface a packet will leave.
    fn way_in(&self) -> String {
        Match {
            near: self.near,
            far: None,
            family: self.family,
            saddr: self.saddr.clone(),
            daddr: self.daddr.clone(),
        }
        .whole()
    }
}

fn over(per_second: u32) -> String {
    format!("limit rate over {per_second}/second burst {} packets", per_second.saturating_mul(BURST_S))
}

/// To programs on this host.
fn incoming<'a>(flow: &Flow, name: &str, host: &'a Host) -> Vec<Match<'a>> {
    if !flow.to.iter().any(|end| end.hosts.contains(name)) {
        return Vec::new();
    }
    each(host, &flow.from, |interface, own, source, family| {
        let (saddr, daddr) = (source.clause(family, "saddr")?, own.clause(family, "daddr")?);
        Some(Match { near: Some(interface), far: None, family, saddr, daddr })
    })
}

/// From this host to programs elsewhere.
fn outgoing<'a>(flow: &Flow, name: &str, host: &'a Host) -> Vec<Match<'a>> {
    if !flow.from.iter().any(|end| end.hosts.contains(name)) {
        return Vec::new();
    }
    each(host, &flow.to, |interface, own, target, family| {
        let (saddr, daddr) = (own.clause(family, "saddr")?, target.clause(family, "daddr")?);
        Some(Match { near: None, far: Some(interface), family, saddr, daddr })
    })
}

/// For each interface and family, and each far end that is reached through it.
fn each<'a>(
    host: &'a Host,
    far: &[End],
    rule: impl Fn(&'a str, &Peers, &Peers, Family) -> Option<Match<'a>>,
) -> Vec<Match<'a>> {
    let mut matches = Vec::new();
    for (name, interface) in &host.interfaces {
        let own = Peers::Only(nets(&interface.addresses));
        for end in far.iter().filter(|end| interface.zones.contains(&end.zone)) {
            matches.extend(Family::BOTH.iter().filter_map(|family| rule(name, &own, &end.peers, *family)));
        }
    }
    matches
}

/// From an interface of this host to another.
fn forwarded<'a>(flow: &Flow, name: &str, host: &'a Host) -> Vec<Match<'a>> {
    let mut matches = Vec::new();
    let pairs = flow.from.iter().flat_map(|from| flow.to.iter().map(move |to| (from, to)));
    // To a router's own programs nothing is forwarded.
    let own = |end: &End| end.hosts.len() == 1 && end.hosts.contains(name);
    for (from, to) in pairs.filter(|(_, to)| host.forwards && !own(to)) {
        let ways = host.interfaces.iter().flat_map(|near| host.interfaces.iter().map(move |far| (near, far)));
        for ((near, way_in), (far, way_out)) in ways {
            // What the way in leads to as well goes there without this host.
            let between = way_in.zones.contains(&from.zone)
                && way_out.zones.contains(&to.zone)
                && !way_in.zones.contains(&to.zone);
            if between {
                matches.extend(Family::BOTH.into_iter().filter_map(|family| {
                    let (saddr, daddr) =
                        (from.peers.clause(family, "saddr")?, to.peers.clause(family, "daddr")?);
                    Some(Match { near: Some(near), far: Some(far), family, saddr, daddr })
                }));
            }
        }
    }
    matches
}

/// The rule for each protocol that is spoken.
fn services(service: &Service, of: &Match<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    for (protocol, list) in [("tcp", &service.tcp), ("udp", &service.udp)] {
        if !list.is_empty() {
            rules.push(format!("{} {protocol} dport {}", of.whole(), ports(list)));
        }
    }
    if service.ping {
        let icmp = match of.family {
            Family::V4 => "icmp",
            Family::V6 => "icmpv6",
        };
        rules.push(format!("{} {icmp} type echo-request", of.whole()));
    }
    rules
}

fn ports(ports: &BTreeSet<u16>) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{{ {} }}", ports.join(", "))
}
