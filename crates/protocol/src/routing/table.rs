//! Which node works on which lane, as the management platform published it last.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    LaneId,
    bounds::{Few, ShortName, Text},
    ids::BUCKETS,
};

/// The most nodes a table has room for.
pub const MAX_NODES: usize = 1024;

/// A center node, as it registers itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Its name, unique among all rooms.
    pub id: ShortName,
    /// The room it stands in.
    pub room: ShortName,
    /// Where others of the intranet reach it: `host:port` or a socket's path.
    pub address: Text<256>,
    /// How much it can do beside others: lanes are spread in proportion. 0: it is being drained.
    pub capacity: u32,
    /// Its stay in the cluster, by which one that came back is told from the one that left; 0 where it is alone.
    #[serde(default)]
    pub stay: u64,
}

/// Lane → node, with the nodes. Decoded, it is whole: nodes are unique and in order of their ids, and every lane's node is
/// among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct RoutingTable {
    version: u64,
    made_ms: u64,
    nodes: Vec<NodeEntry>,
    lanes: BTreeMap<LaneId, Option<ShortName>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u64,
    made_ms: u64,
    nodes: Few<NodeEntry, MAX_NODES>,
    lanes: BTreeMap<LaneId, Option<ShortName>>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More nodes than there is room for.
    #[error("{0} nodes, at most {MAX_NODES} are allowed")]
    Nodes(usize),
    /// More lanes than buckets.
    #[error("{0} lanes, at most {BUCKETS} are allowed")]
    Lanes(usize),
    /// Two nodes of one name, or not in order.
    #[error("node {0} comes twice, or not in the order of names")]
    Order(ShortName),
    /// A lane on a node that is not in the table.
    #[error("lane {lane} is on node {node}, which is not in the table")]
    Stranger {
        /// The lane.
        lane: LaneId,
        /// The node.
        node: ShortName,
    },
}

impl RoutingTable {
    /// A table of these parts, made at `made_ms` (since 1970, UTC). Nodes may come in any order.
    ///
    /// # Errors
    /// [`TableError`]: what does not fit together.
    pub fn new(
        version: u64,
        made_ms: u64,
        mut nodes: Vec<NodeEntry>,
        lanes: BTreeMap<LaneId, Option<ShortName>>,
    ) -> Result<Self, TableError> {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let table = RoutingTable { version, made_ms, nodes, lanes };
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), TableError> {
        if self.nodes.len() > MAX_NODES {
            return Err(TableError::Nodes(self.nodes.len()));
        }
        if self.lanes.len() > usize::from(BUCKETS) {
            return Err(TableError::Lanes(self.lanes.len()));
        }
        if let Some([_, second]) = self.nodes.array_windows().find(|[first, second]| first.id >= second.id) {
            return Err(TableError::Order(second.id.clone()));
        }
        for (lane, node) in &self.lanes {
            if let Some(node) = node
                && self.node(node).is_none()
            {
                return Err(TableError::Stranger { lane: *lane, node: node.clone() });
            }
        }
        Ok(())
    }

    /// Counts up by one with every change; 0 is the table before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it was made, in milliseconds since 1970, UTC.
    pub fn made_ms(&self) -> u64 {
        self.made_ms
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> &[NodeEntry] {
        &self.nodes
    }

    /// A node by its name.
    pub fn node(&self, id: &ShortName) -> Option<&NodeEntry> {
        self.nodes.binary_search_by(|node| node.id.cmp(id)).ok().map(|at| &self.nodes[at])
    }

    /// Every lane with the node that works on it; none where no node is there.
    pub fn lanes(&self) -> &BTreeMap<LaneId, Option<ShortName>> {
        &self.lanes
    }

    /// The node that works on a lane. `None` for a lane that waits for one, or is not in the table.
    pub fn node_of(&self, lane: LaneId) -> Option<&NodeEntry> {
        self.lanes.get(&lane)?.as_ref().and_then(|id| self.node(id))
    }

    /// The lanes a node is to work on.
    pub fn lanes_of(&self, id: &ShortName) -> BTreeSet<LaneId> {
        let own = |(lane, node): (&LaneId, &Option<ShortName>)| (node.as_ref() == Some(id)).then_some(*lane);
        self.lanes.iter().filter_map(own).collect()
    }
}

impl TryFrom<Raw> for RoutingTable {
    type Error = TableError;
    fn try_from(raw: Raw) -> Result<Self, TableError> {
        let Raw { version, made_ms, nodes, lanes } = raw;
        let table = RoutingTable { version, made_ms, nodes: nodes.to_vec(), lanes };
        table.check()?;
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> NodeEntry {
        let address = Text::new(format!("{id}.main:7000")).unwrap();
        NodeEntry { id: id.parse().unwrap(), room: "main".parse().unwrap(), address, capacity: 4, stay: 0 }
    }

    fn lanes(pairs: &[(u16, Option<&str>)]) -> BTreeMap<LaneId, Option<ShortName>> {
        pairs.iter().map(|(lane, id)| (LaneId(*lane), id.map(|id| id.parse().unwrap()))).collect()
    }

    #[test]
    fn a_table_survives_its_text() {
        let nodes = vec![node("b"), node("a")];
        let table =
            RoutingTable::new(3, 17, nodes, lanes(&[(0, Some("a")), (1, Some("b")), (2, None)])).unwrap();
        let text = serde_json::to_string(&table).unwrap();
        assert!(text.contains(r#""lanes":{"0":"a","1":"b","2":null}"#), "{text}");
        assert_eq!(serde_json::from_str::<RoutingTable>(&text).unwrap(), table);
        assert_eq!(table.node_of(LaneId(1)).unwrap().id.as_str(), "b");
        assert_eq!((table.node_of(LaneId(2)), table.node_of(LaneId(9))), (None, None));
        assert_eq!(table.lanes_of(&"a".parse().unwrap()), BTreeSet::from([LaneId(0)]));
    }

    #[test]
    fn a_table_that_is_not_whole_is_refused() {
        let stranger = RoutingTable::new(1, 0, vec![node("a")], lanes(&[(0, Some("b"))]));
        assert!(matches!(stranger, Err(TableError::Stranger { .. })));
        let twice = RoutingTable::new(1, 0, vec![node("a"), node("a")], lanes(&[]));
        assert!(matches!(twice, Err(TableError::Order(_))));
        for text in [
            r#"{"version":1,"made_ms":0,"nodes":[],"lanes":{"0":"a"}}"#,
            r#"{"version":1,"made_ms":0,"nodes":[],"lanes":{"x":null}}"#,
            r#"{"version":1,"made_ms":0,"nodes":[],"lanes":{},"more":1}"#,
        ] {
            assert!(serde_json::from_str::<RoutingTable>(text).is_err(), "{text}");
        }
    }
}
