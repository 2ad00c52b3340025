//! What there is and who may speak to whom: zones, hosts, programs, and the flows between them.
//!
//! A [`Topology`] exists only when it is consistent. Its main rule: **no flow, no host and no network joins the intranet
//! and anything else by IP**. Between extranet and intranet there is the gate, which is no network.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use crate::address::Peers;

mod file;
mod validate;

#[cfg(test)]
mod tests;

/// A consistent topology.
#[derive(Debug)]
pub struct Topology {
    pub(crate) zones: BTreeMap<String, Zone>,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) limits: Limits,
    pub(crate) other_tables: BTreeSet<String>,
}

/// On which side of the gate a zone lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where others' machines are.
    Outside,
    /// Before the gate.
    Extranet,
    /// Behind the gate.
    Intranet,
}

/// Machines that are treated alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Zone {
    pub(crate) side: Side,
    /// Its addresses; an outside zone without any is the Internet: all that is nobody's here.
    #[serde(default)]
    pub(crate) networks: Vec<IpNet>,
}

impl Zone {
    pub(crate) fn is_internet(&self) -> bool {
        self.side == Side::Outside && self.networks.is_empty()
    }
}

/// A machine that has a ruleset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    pub(crate) zone: String,
    /// Which programs listen on it.
    #[serde(default)]
    pub(crate) programs: Vec<String>,
    /// Whether it routes declared flows between its interfaces.
    #[serde(default)]
    pub(crate) forwards: bool,
    pub(crate) interfaces: BTreeMap<String, Interface>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interface {
    #[serde(default)]
    pub(crate) addresses: Vec<IpAddr>,
    /// From and to which zones packets pass here.
    pub(crate) zones: Vec<String>,
}

/// Who may open connections to whom.
#[derive(Debug)]
pub(crate) struct Flow {
    /// `from-to`, or `from-to-at`; one of its kind.
    pub(crate) name: String,
    pub(crate) from: Vec<End>,
    pub(crate) to: Vec<End>,
    pub(crate) service: Service,
    pub(crate) limits: Option<FlowLimits>,
}

/// One side of a flow, as far as it lies in one zone.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) zone: String,
    /// Those of its machines that have a ruleset.
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) peers: Peers,
}

/// What is spoken on a flow.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) tcp: BTreeSet<u16>,
    pub(crate) udp: BTreeSet<u16>,
    pub(crate) ping: bool,
}

/// What one source, and all together, may use of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowLimits {
    pub(crate) connections_per_source: u32,
    pub(crate) new_per_source_per_second: u32,
    pub(crate) syn_per_source_per_second: u32,
    pub(crate) syn_per_second: u32,
}

/// The file's limits: those of flows from outside, and those of a host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) connections_per_source: NonZeroU32,
    pub(crate) new_per_source_per_second: NonZeroU32,
    pub(crate) syn_per_source_per_second: NonZeroU32,
    pub(crate) syn_per_second: NonZeroU32,
    /// How many sources a limited flow remembers, for IPv4 and IPv6 each.
    pub(crate) sources: NonZeroU32,
    pub(crate) icmp_per_second: NonZeroU32,
    /// Log lines for each reason to drop.
    pub(crate) log_per_minute: NonZeroU32,
}

impl Default for Limits {
    /// One source may be a whole town behind one address: what the edge lets one source have, and room beside it.
    fn default() -> Self {
        let some = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        Self {
            connections_per_source: some(1024),
            new_per_source_per_second: some(200),
            syn_per_source_per_second: some(400),
            syn_per_second: some(20_000),
            sources: some(65_536),
            icmp_per_second: some(100),
            log_per_minute: some(6),
        }
    }
}

impl Topology {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`TopologyError`], with everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, TopologyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TopologyError::Unreadable { file: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Checks a text; `path` is only for messages.
    ///
    /// # Errors
    /// [`TopologyError`], with everything that is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TopologyError> {
        let file: file::File = toml::from_str(text)
            .map_err(|source| TopologyError::Form { file: path.into(), source: Box::new(source) })?;
        validate::validate(file)
            .map_err(|problems| TopologyError::Inconsistent { file: path.into(), problems })
    }

    /// The names of the hosts that have a ruleset.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }
}

/// Why a file is no topology.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, or has a key or a value that does not belong there.
    #[error("{}: {source}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Its parts do not fit each other.
    #[error("{}", lines(file, problems))]
    Inconsistent {
        /// The file.
        file: PathBuf,
        /// All that is wrong; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key in the file: `hosts.edge-1.zone`.
    pub key: String,
    /// What is wrong, and what to do.
    pub advice: String,
}

fn lines(file: &Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("{}: {}: {}", file.display(), problem.key, problem.advice);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
