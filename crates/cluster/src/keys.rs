//! The keys in etcd, all under one prefix.
use protocol::{LaneId, bounds::ShortName};

/// Names keys.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Under `prefix`, with or without a slash at its end.
    pub fn new(prefix: &str) -> Self {
        Keys { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// The registrations of all nodes.
    pub fn nodes(&self) -> String {
        format!("{}/nodes/", self.prefix)
    }

    /// A node's registration.
    pub fn node(&self, id: &ShortName) -> String {
        format!("{}{id}", self.nodes())
    }

    /// Who works on a lane.
    pub fn lane_owner(&self, lane: LaneId) -> String {
        format!("{}/lanes/{lane}/owner", self.prefix)
    }

    /// The routing table.
    pub fn table(&self) -> String {
        format!("{}/table", self.prefix)
    }

    /// Who leads among the programs of the management platform.
    pub fn leader(&self) -> String {
        format!("{}/control/leader", self.prefix)
    }
}
