//! Whether the parts of a file fit each other. All that is wrong is said at once.
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{End, Flow, FlowLimits, Host, Limits, Problem, Service, Side, Topology, Zone, file::File};
use crate::address::{Family, Peers, bogons, nets, overlap};

const NAME_CHARS_MAX: usize = 32;
/// The kernel's IFNAMSIZ without its final zero.
const INTERFACE_CHARS_MAX: usize = 15;

pub(super) fn validate(file: File) -> Result<Topology, Vec<Problem>> {
    let mut found = Found::default();
    names(&file, &mut found);
    zones(&file, &mut found);
    hosts(&file, &mut found);
    programs(&file, &mut found);
    // What follows looks names up.
    if !found.0.is_empty() {
        return Err(found.0);
    }
    let flows = flows(&file, &mut found);
    let other_tables: BTreeSet<String> = file.other_tables.iter().cloned().collect();
    for (index, table) in file.other_tables.iter().enumerate() {
        if table.split(' ').filter(|word| !word.is_empty()).count() != 2 {
            found.say(format!("other_tables[{index}]"), "write family and name, such as \"inet fail2ban\"");
        }
    }
    match found.0.is_empty() {
        true => {
            Ok(Topology { zones: file.zones, hosts: file.hosts, flows, limits: file.limits, other_tables })
        }
        false => Err(found.0),
    }
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn say(&mut self, key: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Problem { key: key.into(), advice: advice.into() });
    }
}

/// A flow names a zone, a host or a program: a name that is two of them would say two things.
fn names(file: &File, found: &mut Found) {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    let zones = file.zones.keys().map(|name| ("zones", name));
    let hosts = file.hosts.keys().map(|name| ("hosts", name));
    let programs = file.programs.keys().map(|name| ("programs", name));
    for (table, name) in zones.chain(hosts).chain(programs) {
        let key = format!("{table}.{name}");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if !begins || !name.chars().all(plain) || name.len() > NAME_CHARS_MAX {
            found.say(
                &key,
                format!(
                    "use a letter and then letters, digits and hyphens, all small, at most {NAME_CHARS_MAX}"
                ),
            );
        }
        if let Some(other) = seen.insert(name, key.clone()) {
            found.say(key, format!("{other} has the same name: zones, hosts and programs share their names"));
        }
    }
}

fn zones(file: &File, found: &mut Found) {
    let mut seen: Vec<(&str, IpNet)> = Vec::new();
    for (name, zone) in &file.zones {
        let key = format!("zones.{name}.networks");
        if zone.networks.is_empty() && zone.side != Side::Outside {
            found.say(&key, "name the zone's networks: only an outside zone can be without");
        }
        for net in &zone.networks {
            if *net != net.trunc() {
                found.say(&key, format!("{net} is an address in a network: write {}", net.trunc()));
            }
            let others = seen.iter().filter(|(other, theirs)| *other != name && overlap(theirs, net));
            for (other, theirs) in others {
                found.say(
                    &key,
                    format!("{net} overlaps {theirs} of zones.{other}: an address is of one zone only"),
                );
            }
            seen.push((name, *net));
        }
    }
}

fn hosts(file: &File, found: &mut Found) {
    let mut seen: BTreeMap<std::net::IpAddr, &str> = BTreeMap::new();
    for (name, host) in &file.hosts {
        let key = format!("hosts.{name}");
        let Some(zone) = file.zones.get(&host.zone) else {
            found.say(format!("{key}.zone"), format!("there is no zone {}", host.zone));
            continue;
        };
        if zone.side == Side::Outside {
            found.say(
                format!("{key}.zone"),
                "a host here is one of ours: put it into a zone of the extranet or the intranet",
            );
        }
        for program in &host.programs {
            match file.programs.get(program) {
                None => found.say(format!("{key}.programs"), format!("there is no program {program}")),
                Some(known) if known.zone.is_some() => found.say(
                    format!("{key}.programs"),
                    format!("programs.{program} has a zone of its own, so it runs elsewhere: take out one"),
                ),
                Some(_) => {}
            }
        }
        if host.forwards && host.interfaces.len() < 2 {
            found.say(format!("{key}.forwards"), "a host with one interface has nothing to forward");
        }
        if host.interfaces.values().all(|interface| interface.addresses.is_empty()) {
            found.say(format!("{key}.interfaces"), "give at least one interface an address");
        }
        for address in host.interfaces.values().flat_map(|interface| &interface.addresses) {
            if let Some(other) = seen.insert(*address, name) {
                found.say(format!("{key}.interfaces"), format!("{address} is hosts.{other}'s already"));
            }
        }
        interfaces(file, &key, host, zone, found);
    }
}

fn interfaces(file: &File, key: &str, host: &Host, own: &Zone, found: &mut Found) {
    for (name, interface) in &host.interfaces {
        let key = format!("{key}.interfaces.{name}");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > INTERFACE_CHARS_MAX || !name.chars().all(plain) || name == "lo" {
            found.say(
                &key,
                format!(
                    "no name of an interface: at most {INTERFACE_CHARS_MAX} letters, digits, '.', '_', '-'; not lo"
                ),
            );
        }
        for address in &interface.addresses {
            if !own.networks.iter().any(|net| net.contains(address)) {
                found.say(
                    format!("{key}.addresses"),
                    format!("{address} is in no network of zones.{}: add its network there", host.zone),
                );
            }
        }
        for zone in &interface.zones {
            match file.zones.get(zone) {
                None => found.say(format!("{key}.zones"), format!("there is no zone {zone}")),
                Some(other) if joins(own.side, other.side) => found.say(
                    format!("{key}.zones"),
                    format!(
                        "would join the {} and the {zone} ({}) by IP in one host: take {zone} out; between the two \
                         there is only the gate",
                        side(own.side),
                        side(other.side)
                    ),
                ),
                Some(_) => {}
            }
        }
    }
}

fn programs(file: &File, found: &mut Found) {
    for (name, program) in &file.programs {
        let key = format!("programs.{name}");
        if program.tcp.is_empty() && program.udp.is_empty() && !program.ping {
            found.say(&key, "say what it listens on: tcp = […], udp = […] or ping = true");
        }
        let everywhere: Vec<IpNet> =
            nets(&program.addresses).into_iter().chain(program.networks.clone()).collect();
        let Some(zone) = &program.zone else {
            if !everywhere.is_empty() {
                found.say(
                    &key,
                    "addresses need the zone they are in; a program on our hosts has its hosts' addresses",
                );
            } else if !file.hosts.values().any(|host| host.programs.contains(name)) {
                found.say(&key, "runs nowhere: name it in a host's programs, or give its zone and addresses");
            }
            continue;
        };
        let Some(known) = file.zones.get(zone) else {
            found.say(format!("{key}.zone"), format!("there is no zone {zone}"));
            continue;
        };
        if everywhere.is_empty() && !known.is_internet() {
            found.say(&key, "name its addresses or networks: only in the Internet it may be anywhere");
        }
        for net in everywhere {
            if known.is_internet() {
                let taken =
                    file.zones.iter().find(|(_, zone)| zone.networks.iter().any(|own| overlap(own, &net)));
                if let Some((other, _)) = taken {
                    found.say(
                        &key,
                        format!(
                            "{net} is of zones.{other}, not of {zone}: a flow there would go around the gate"
                        ),
                    );
                }
            } else if !known.networks.iter().any(|own| own.contains(&net)) {
                found.say(&key, format!("{net} is in no network of zones.{zone}"));
            }
        }
    }
}

fn flows(file: &File, found: &mut Found) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    for (index, flow) in file.flows.iter().enumerate() {
        let key = format!("flows[{index}]");
        let at = flow.at.as_ref().map(|at| format!("-{at}")).unwrap_or_default();
        let name = format!("{}-{}{at}", flow.from, flow.to);
        if flows.iter().any(|other| other.name == name) {
            found.say(&key, format!("{name} is there already: put all ports into one program"));
            continue;
        }
        let from = sources(file, &flow.from);
        if from.is_empty() {
            found.say(format!("{key}.from"), format!("there is no zone, host or program {}", flow.from));
        }
        let Some(program) = file.programs.get(&flow.to) else {
            found.say(format!("{key}.to"), format!("there is no program {}", flow.to));
            continue;
        };
        if let Some(at) = &flow.at
            && !file.zones.contains_key(at)
            && !file.hosts.contains_key(at)
        {
            found.say(format!("{key}.at"), format!("there is no zone or host {at}"));
            continue;
        }
        let to = targets(file, &flow.to, flow.at.as_deref());
        if to.is_empty() {
            found.say(format!("{key}.at"), format!("{} does not run there", flow.to));
        }
        let ports = |ports: &[std::num::NonZeroU16]| ports.iter().map(|port| port.get()).collect();
        let service = Service { tcp: ports(&program.tcp), udp: ports(&program.udp), ping: program.ping };
        let outside = from.iter().any(|end| file.zones[&end.zone].side == Side::Outside);
        let limits = match &flow.limits {
            Some(own) => Some(limits(&file.limits, Some(own))),
            None => outside.then(|| limits(&file.limits, None)),
        };
        ends(file, &key, &from, &to, found);
        flows.push(Flow { name, from, to, service, limits });
    }
    flows
}

fn limits(all: &Limits, own: Option<&super::file::FlowLimits>) -> FlowLimits {
    let pick = |own: Option<std::num::NonZeroU32>, all: std::num::NonZeroU32| own.unwrap_or(all).get();
    FlowLimits {
        connections_per_source: pick(
            own.and_then(|own| own.connections_per_source),
            all.connections_per_source,
        ),
        new_per_source_per_second: pick(
            own.and_then(|own| own.new_per_source_per_second),
            all.new_per_source_per_second,
        ),
        syn_per_source_per_second: pick(
            own.and_then(|own| own.syn_per_source_per_second),
            all.syn_per_source_per_second,
        ),
        syn_per_second: pick(own.and_then(|own| own.syn_per_second), all.syn_per_second),
    }
}

/// What a flow's `from` stands for: a zone with all that is in it, a host, or whatever hosts run a program.
fn sources(file: &File, name: &str) -> Vec<End> {
    if let Some(zone) = file.zones.get(name) {
        let hosts = file.hosts.iter().filter(|(_, host)| host.zone == name).map(|(name, _)| name.clone());
        let peers = match zone.is_internet() {
            true => internet(file),
            false => Peers::Only(zone.networks.clone()),
        };
        return vec![End { zone: name.into(), hosts: hosts.collect(), peers }];
    }
    match file.hosts.get_key_value(name) {
        Some(host) => by_zone([host].into_iter()),
        None => targets(file, name, None),
    }
}

/// Where a program is, by zone, and at one place only if that is named.
fn targets(file: &File, name: &str, at: Option<&str>) -> Vec<End> {
    let Some(program) = file.programs.get(name) else { return Vec::new() };
    if let Some(zone) = &program.zone {
        let nets: Vec<IpNet> = nets(&program.addresses).into_iter().chain(program.networks.clone()).collect();
        let peers = if nets.is_empty() { internet(file) } else { Peers::Only(nets) };
        let end = End { zone: zone.clone(), hosts: BTreeSet::new(), peers };
        return if at.is_none_or(|at| at == zone) { vec![end] } else { Vec::new() };
    }
    let here = |host: &str, zone: &str| at.is_none_or(|at| at == host || at == zone);
    let runs = file.hosts.iter().filter(|(_, host)| host.programs.iter().any(|program| program == name));
    by_zone(runs.filter(|(name, host)| here(name, &host.zone)))
}

fn by_zone<'a>(hosts: impl Iterator<Item = (&'a String, &'a Host)>) -> Vec<End> {
    let mut zones: BTreeMap<&str, (BTreeSet<String>, Vec<IpNet>)> = BTreeMap::new();
    for (name, host) in hosts {
        let (names, all) = zones.entry(&host.zone).or_default();
        names.insert(name.clone());
        all.extend(host.interfaces.values().flat_map(|interface| nets(&interface.addresses)));
    }
    let end = |(zone, (hosts, nets)): (&str, _)| End { zone: zone.into(), hosts, peers: Peers::Only(nets) };
    zones.into_iter().map(end).collect()
}

/// All that is in no zone of ours and not a bogon.
fn internet(file: &File) -> Peers {
    let ours = file.zones.values().flat_map(|zone| zone.networks.clone());
    Peers::AllBut(ours.chain(bogons()).collect())
}

/// Each pair of a flow's ends: that it may be, and that each host has an interface to the other.
fn ends(file: &File, key: &str, from: &[End], to: &[End], found: &mut Found) {
    for (source, target) in from.iter().flat_map(|source| to.iter().map(move |target| (source, target))) {
        let (near, far) = (file.zones[&source.zone].side, file.zones[&target.zone].side);
        if joins(near, far) || (near, far) == (Side::Outside, Side::Outside) {
            found.say(
                key,
                format!(
                    "would join {} ({}) and {} ({}) by IP: take the flow out, or narrow it with `at`; between extranet \
                     and intranet there is only the gate",
                    source.zone,
                    side(near),
                    target.zone,
                    side(far)
                ),
            );
            continue;
        }
        let alone = |end: &End, name: &String| end.hosts.len() == 1 && end.hosts.contains(name);
        let mut need = |end: &End, other: &End| {
            for name in end.hosts.iter().filter(|name| !alone(other, name)) {
                let carrying: Vec<_> = file.hosts[name]
                    .interfaces
                    .values()
                    .filter(|interface| interface.zones.contains(&other.zone))
                    .collect();
                if carrying.is_empty() {
                    found.say(
                        key,
                        format!(
                            "hosts.{name} has no interface to {}: add it to the zones of the one it goes through",
                            other.zone
                        ),
                    );
                    continue;
                }
                let family = |family: &Family| {
                    let own = |addresses: &[std::net::IpAddr]| Peers::Only(nets(addresses)).has(*family);
                    other.peers.has(*family) && carrying.iter().any(|interface| own(&interface.addresses))
                };
                if !Family::BOTH.iter().any(family) {
                    found.say(
                        key,
                        format!(
                            "hosts.{name} has no address of a family that {} has, on an interface to it",
                            other.zone
                        ),
                    );
                }
            }
        };
        need(source, target);
        need(target, source);
    }
}

/// Whether the two are the intranet and something else.
fn joins(one: Side, other: Side) -> bool {
    one != other && (one == Side::Intranet || other == Side::Intranet)
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Outside => "outside",
        Side::Extranet => "extranet",
        Side::Intranet => "intranet",
    }
}
