//! What a host's kernel is to do with packets, as chains of nftables rules.
//!
//! Three base chains drop whatever nothing accepts: `input`, `output`, `forward`. Before them `prerouting` drops what cannot
//! be genuine, and floods of SYNs, before a connection is tracked for it. Each reason to drop is a chain of its own that
//! counts, logs a sample, and drops.
use std::fmt;

use crate::topology::{Host, Limits, Topology};

mod flow;
mod render;
mod source;

/// The one table that is ours; no other is touched.
pub(crate) const TABLE: &str = "inet gridesk";

/// A host's rules. Its [`Display`](fmt::Display) is the file that `nft -f` takes: in one transaction the table of before is
/// gone and this one there.
#[derive(Debug)]
pub struct Ruleset {
    pub(crate) host: String,
    counters: Vec<Counter>,
    sets: Vec<Set>,
    chains: Vec<Chain>,
}

/// Why there is no ruleset.
#[derive(Debug, thiserror::Error)]
pub enum RulesetError {
    /// The topology has no such host.
    #[error("there is no host {host} in the topology: it has {}", known.join(", "))]
    NoSuchHost {
        /// Which was asked for.
        host: String,
        /// Those there are.
        known: Vec<String>,
    },
}

#[derive(Debug)]
struct Counter {
    name: String,
    comment: String,
}

/// Sources with what they have used lately. It holds no more than `size`: beyond that new sources are not held to the limits
/// of one source, only to those of all.
#[derive(Debug)]
struct Set {
    name: String,
    family: crate::address::Family,
    size: u32,
    /// Elements that are not renewed go after this; without, when their last connection has ended.
    timeout_s: Option<u32>,
}

#[derive(Debug)]
struct Chain {
    name: String,
    /// `type filter hook … ; policy …;` of a base chain.
    base: Option<&'static str>,
    rules: Vec<String>,
}

impl Chain {
    fn new(name: impl Into<String>, rules: Vec<String>) -> Self {
        Self { name: name.into(), base: None, rules }
    }
}

/// Why a packet is dropped: name of chain and counter, and what it says.
const REASONS: &[(&str, &str)] = &[
    ("spoofed", "a source that cannot be on that interface"),
    ("bogon", "a source that nobody has on the Internet"),
    ("no-return-path", "a source to which the answer would leave elsewhere"),
    ("bad-flags", "TCP flags that no stack sends together"),
    ("syn-source", "more SYNs from one source than its limit"),
    ("syn-all", "more SYNs from all sources than the limit"),
    ("new-source", "more new connections from one source than its limit"),
    ("connections", "more open connections from one source than its limit"),
    ("invalid", "part of no connection"),
    ("not-syn", "a TCP connection that begins without SYN"),
    ("icmp", "an ICMP error that is not needed, or above the limit"),
    ("input", "to this host, not declared"),
    ("output", "from this host, not declared"),
    ("forward", "through this host, not declared"),
];

const NEIGHBOURS: &str =
    "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }";
/// Snooping switches pass neighbour discovery on only to those who report.
const LISTENERS: &str = "icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report }";
/// What path MTU discovery and errors of one's own connections need.
const ERRORS_V4: &str = "icmp type { destination-unreachable, time-exceeded, parameter-problem }";
const ERRORS_V6: &str =
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }";

impl Ruleset {
    /// The rules of one host.
    ///
    /// # Errors
    /// [`RulesetError::NoSuchHost`].
    pub fn of(topology: &Topology, name: &str) -> Result<Self, RulesetError> {
        let Some(host) = topology.hosts.get(name) else {
            return Err(RulesetError::NoSuchHost {
                host: name.into(),
                known: topology.hosts().map(str::to_owned).collect(),
            });
        };
        let flows = flow::Flows::of(topology, name, host);
        let mut counters: Vec<Counter> = REASONS
            .iter()
            .map(|(name, comment)| Counter { name: format!("drop-{name}"), comment: (*comment).into() })
            .collect();
        counters.extend(flows.counters);
        let mut chains: Vec<Chain> =
            REASONS.iter().map(|(reason, _)| drop_chain(reason, &topology.limits)).collect();
        chains.push(errors_chain(&topology.limits));
        chains
            .extend(host.interfaces.iter().map(|(name, interface)| source::chain(topology, name, interface)));
        chains.extend(flows.chains);
        chains.push(source::prerouting(host, flows.syn));
        chains.extend([
            input(&topology.limits, flows.input),
            forward(host, flows.forward),
            output(flows.output),
        ]);
        Ok(Self { host: name.into(), counters, sets: flows.sets, chains })
    }
}

fn drop_chain(reason: &str, limits: &Limits) -> Chain {
    let rules = vec![
        format!("counter name \"drop-{reason}\""),
        format!(
            "limit rate {}/minute burst 5 packets log prefix \"gridesk {reason}: \" level info",
            limits.log_per_minute
        ),
        "drop".into(),
    ];
    Chain::new(format!("drop-{reason}"), rules)
}

/// For packets that conntrack relates to a connection: none of its helpers is used, so they are ICMP errors.
fn errors_chain(limits: &Limits) -> Chain {
    let rate = limits.icmp_per_second;
    let rules = vec![
        format!("{ERRORS_V4} limit rate {rate}/second accept"),
        format!("{ERRORS_V6} limit rate {rate}/second accept"),
        "goto drop-icmp".into(),
    ];
    Chain::new("errors", rules)
}

/// What is decided for every connection, new ones last.
fn known(out: bool) -> Vec<String> {
    let mut rules = vec![
        "ct state vmap { established : accept, related : goto errors, invalid : goto drop-invalid }".into(),
    ];
    if !out {
        // Without this, conntrack would take a segment out of the middle of nowhere for a new connection.
        rules.push("ct state new tcp flags & (fin|syn|rst|ack) != syn goto drop-not-syn".into());
    }
    rules
}

fn input(limits: &Limits, flows: Vec<String>) -> Chain {
    let mut rules: Vec<String> = vec!["iif lo accept".into()];
    // Ten times what errors may be: without neighbours there is no IPv6 at all.
    let neighbours = limits.icmp_per_second.get().saturating_mul(10);
    rules.push(format!("{NEIGHBOURS} limit rate {neighbours}/second accept"));
    rules.push(format!(
        "ip6 saddr fe80::/10 icmpv6 type mld-listener-query limit rate {}/second accept",
        limits.icmp_per_second
    ));
    rules.extend(known(false));
    rules.extend(flows);
    rules.push("goto drop-input".into());
    Chain { name: "input".into(), base: Some("type filter hook input priority filter; policy drop;"), rules }
}

fn forward(host: &Host, flows: Vec<String>) -> Chain {
    let mut rules = if host.forwards { known(false) } else { Vec::new() };
    rules.extend(flows);
    rules.push("goto drop-forward".into());
    Chain {
        name: "forward".into(),
        base: Some("type filter hook forward priority filter; policy drop;"),
        rules,
    }
}

fn output(flows: Vec<String>) -> Chain {
    let mut rules: Vec<String> = vec!["oif lo accept".into(), format!("{NEIGHBOURS} accept")];
    rules.push(format!("{LISTENERS} accept"));
    rules.extend(known(true));
    rules.extend(flows);
    rules.push("goto drop-output".into());
    Chain {
        name: "output".into(),
        base: Some("type filter hook output priority filter; policy drop;"),
        rules,
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::ruleset(self, f)
    }
}
