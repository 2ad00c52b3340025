//! Leading: looks at the nodes as they come and go, decides, and writes under the leader's fence.
use std::{collections::BTreeMap, time::Duration};

use cluster::{
    Keys,
    election::{LeadError, Leadership},
    etcd::{Compare, Etcd, EtcdError, Event, KeyValue, Seen, Span, Txn, Watcher},
};
use protocol::{
    LaneId,
    bounds::ShortName,
    routing::{NodeEntry, RoutingTable},
};
use runtime::clock::Clock;

use crate::decide::{Action, Observations, decide, moved};

/// The pause after a write that was not done.
const PAUSE: Duration = Duration::from_millis(200);

/// What a leader works with.
#[derive(Clone, Debug)]
pub struct Desk {
    /// etcd.
    pub etcd: Etcd,
    /// Its keys.
    pub keys: Keys,
    /// All lanes there are.
    pub lanes: Vec<LaneId>,
    /// The wall clock, for what is written into tables.
    pub clock: Clock,
}

/// Leads until the leadership is lost. May be dropped at any moment: whatever it wrote is whole.
///
/// # Errors
/// Where etcd refuses for good.
pub async fn lead(desk: &Desk, leadership: &Leadership) -> Result<(), EtcdError> {
    let leading = async {
        let mut nodes = BTreeMap::new();
        let mut watcher = Watcher::new(desk.etcd.clone(), Span::Prefix(desk.keys.nodes()));
        loop {
            match watcher.next().await {
                Ok(seen) => {
                    note(&mut nodes, seen);
                    metrics::gauge!("control_nodes").set(nodes.len() as f64);
                    let there: Vec<NodeEntry> = nodes.values().cloned().collect();
                    match desk.settle(leadership, &there).await {
                        Ok(()) => {}
                        Err(LeadError::Lost | LeadError::Changed) => return Ok(()),
                        Err(LeadError::Etcd(error)) => return Err(error),
                    }
                }
                Err(error) => tracing::warn!(%error, "the nodes are not seen at the moment"),
            }
        }
    };
    tokio::select! {
        ended = leading => ended,
        () = leadership.lost() => Ok(()),
    }
}

/// Brings what was seen up to date.
fn note(nodes: &mut BTreeMap<String, NodeEntry>, seen: Seen) {
    let put = |nodes: &mut BTreeMap<String, NodeEntry>, found: KeyValue| match registered(&found) {
        Some(node) => {
            let before = nodes.insert(found.key, node.clone());
            if before.as_ref() != Some(&node) {
                tracing::info!(node = %node.id, room = %node.room, capacity = node.capacity, "a node is there");
            }
        }
        None => {
            tracing::error!(key = found.key, "a registration that cannot be read is left out");
            nodes.remove(&found.key);
        }
    };
    match seen {
        Seen::All { keys, .. } => {
            nodes.retain(|key, _| keys.iter().any(|found| found.key == *key));
            keys.into_iter().for_each(|found| put(nodes, found));
        }
        Seen::Changes(events) => {
            for event in events {
                match event {
                    Event::Put(found) => put(nodes, found),
                    Event::Delete { key, .. } => {
                        if let Some(node) = nodes.remove(&key) {
                            tracing::warn!(node = %node.id, room = %node.room, "a node is gone");
                        }
                    }
                }
            }
        }
    }
}

/// A registration, if it is one, and under its own name.
fn registered(found: &KeyValue) -> Option<NodeEntry> {
    let node: NodeEntry = serde_json::from_slice(&found.value).ok()?;
    let name: ShortName = found.key.rsplit('/').next()?.parse().ok()?;
    (node.id == name).then_some(node)
}

impl Desk {
    /// Decides about these nodes until nothing is left to do.
    async fn settle(&self, leadership: &Leadership, nodes: &[NodeEntry]) -> Result<(), LeadError> {
        loop {
            if !leadership.valid() {
                return Err(LeadError::Lost);
            }
            let (table, revision) = match self.published().await {
                Ok(published) => published,
                Err(EtcdError::Away(why)) => {
                    tracing::warn!(why, "the table is not seen at the moment");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (nodes, lanes) = (nodes.to_vec(), self.lanes.clone());
            let seen = Observations { now_ms: self.clock.unix_ms(), nodes, lanes, table };
            let mut done = true;
            for action in decide(&seen) {
                match action {
                    Action::Alarm(why) => {
                        metrics::counter!("control_alarms_total").increment(1);
                        tracing::error!(why, "the table stays as it is");
                    }
                    Action::Publish(table) => {
                        done &= self.publish(leadership, &seen, table, revision).await?
                    }
                }
            }
            if done {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The table as it was published last, with the revision of that.
    async fn published(&self) -> Result<(RoutingTable, u64), EtcdError> {
        let Some(found) = self.etcd.get(&self.keys.table()).await? else {
            return Ok((RoutingTable::default(), 0));
        };
        let table = serde_json::from_slice(&found.value)
            .map_err(|error| EtcdError::Form(format!("the routing table: {error}")))?;
        Ok((table, found.mod_revision))
    }

    /// Says whether it was done; if not, it is to be looked at anew.
    async fn publish(
        &self,
        leadership: &Leadership,
        seen: &Observations,
        table: RoutingTable,
        revision: u64,
    ) -> Result<bool, LeadError> {
        let value = serde_json::to_vec(&table).map_err(|error| EtcdError::Form(error.to_string()))?;
        let key = self.keys.table();
        let txn = Txn::new().when(Compare::modified_at(&key, revision)).put(&key, &value, None);
        match leadership.write(txn).await {
            Ok(_) => {
                let lanes = moved(&seen.table, &table);
                let waiting = table.lanes().values().filter(|node| node.is_none()).count();
                metrics::counter!("control_tables_published_total").increment(1);
                metrics::counter!("control_lanes_moved_total").increment(lanes);
                metrics::gauge!("control_lanes_waiting").set(waiting as f64);
                let (version, nodes) = (table.version(), table.nodes().len());
                let fence = leadership.fence();
                tracing::info!(
                    version,
                    nodes,
                    moved = lanes,
                    waiting,
                    fence,
                    "a routing table was published"
                );
                Ok(true)
            }
            Err(LeadError::Lost) => Err(LeadError::Lost),
            Err(error) => {
                tracing::warn!(%error, "a routing table was not published; it is decided anew");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, value: &str) -> KeyValue {
        let value = value.as_bytes().to_vec();
        KeyValue { key: key.into(), value, create_revision: 1, mod_revision: 1, version: 1, lease: None }
    }

    #[test]
    fn nodes_come_and_go_and_what_is_none_is_left_out() {
        const A: &str = r#"{"id":"a","room":"main","address":"a:1","capacity":4}"#;
        let mut nodes = BTreeMap::new();
        let keys = vec![found("/g/nodes/a", A), found("/g/nodes/b", A), found("/g/nodes/c", "{}")];
        note(&mut nodes, Seen::All { keys, revision: 1 });
        assert_eq!(nodes.keys().collect::<Vec<_>>(), ["/g/nodes/a"]);
        let b = A.replace("\"a\"", "\"b\"");
        let gone = Event::Delete { key: "/g/nodes/a".into(), revision: 3 };
        note(&mut nodes, Seen::Changes(vec![Event::Put(found("/g/nodes/b", &b)), gone]));
        assert_eq!(nodes.keys().collect::<Vec<_>>(), ["/g/nodes/b"]);
        note(&mut nodes, Seen::All { keys: Vec::new(), revision: 9 });
        assert!(nodes.is_empty());
    }
}
