//! The topology file as it is written. What its keys mean is in `docs/firewall.md`.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32},
};

use ipnet::IpNet;
use serde::Deserialize;

use super::{Host, Limits, Zone};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) zones: BTreeMap<String, Zone>,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) programs: BTreeMap<String, Program>,
    #[serde(default)]
    pub(super) flows: Vec<Flow>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) other_tables: Vec<String>,
}

/// What listens somewhere: on hosts that name it, or elsewhere, where no host of the file is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    #[serde(default)]
    pub(super) tcp: Vec<NonZeroU16>,
    #[serde(default)]
    pub(super) udp: Vec<NonZeroU16>,
    #[serde(default)]
    pub(super) ping: bool,
    pub(super) zone: Option<String>,
    #[serde(default)]
    pub(super) addresses: Vec<IpAddr>,
    #[serde(default)]
    pub(super) networks: Vec<IpNet>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) at: Option<String>,
    pub(super) limits: Option<FlowLimits>,
}

/// What a flow has instead of the file's limits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowLimits {
    pub(super) connections_per_source: Option<NonZeroU32>,
    pub(super) new_per_source_per_second: Option<NonZeroU32>,
    pub(super) syn_per_source_per_second: Option<NonZeroU32>,
    pub(super) syn_per_second: Option<NonZeroU32>,
}
