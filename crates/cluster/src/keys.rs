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

    /// All that is about lanes.
    pub fn lanes(&self) -> String {
        format!("{}/lanes/", self.prefix)
    }

    /// Who works on a lane.
    pub fn lane_owner(&self, lane: LaneId) -> String {
        format!("{}{lane}/owner", self.lanes())
    }

    /// The lane whose owner's key this is.
    pub fn lane_of(&self, key: &str) -> Option<LaneId> {
        let number = key.strip_prefix(&self.prefix)?.strip_prefix("/lanes/")?.strip_suffix("/owner")?;
        number.parse().ok().map(LaneId)
    }

    /// The orders to move lanes.
    pub fn orders(&self) -> String {
        format!("{}/orders/", self.prefix)
    }

    /// The order to move a lane.
    pub fn order(&self, lane: LaneId) -> String {
        format!("{}{lane}", self.orders())
    }

    /// The lane that an order with this key is about.
    pub fn ordered(&self, key: &str) -> Option<LaneId> {
        key.strip_prefix(&self.orders())?.parse().ok().map(LaneId)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owners_key_says_its_lane() {
        let keys = Keys::new("/gridesk/");
        assert_eq!(keys.lane_owner(LaneId(12)), "/gridesk/lanes/12/owner");
        assert_eq!(keys.lane_of("/gridesk/lanes/12/owner"), Some(LaneId(12)));
        for other in
            ["/gridesk/lanes/x/owner", "/gridesk/lanes/12", "/other/lanes/12/owner", "/gridesk/table"]
        {
            assert_eq!(keys.lane_of(other), None, "{other}");
        }
    }
}
