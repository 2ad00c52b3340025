//! What is to be done about what is seen. Pure, so that it runs unchanged in simulation.
use cluster::assign::assign;
use protocol::{
    LaneId,
    routing::{NodeEntry, RoutingTable},
};

/// What the leader sees.
#[derive(Clone, Debug)]
pub struct Observations {
    /// When, in milliseconds since 1970, UTC.
    pub now_ms: u64,
    /// The nodes that hold their leases.
    pub nodes: Vec<NodeEntry>,
    /// All lanes there are.
    pub lanes: Vec<LaneId>,
    /// The table that was published last; the empty one if none was.
    pub table: RoutingTable,
}

/// What the leader does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishes a table in place of the one that was seen.
    Publish(RoutingTable),
    /// Says that nothing can be done, and why; the table stays.
    Alarm(String),
}

/// Decides. Where everything is as it should be there is nothing to do.
pub fn decide(seen: &Observations) -> Vec<Action> {
    match assign(&seen.table, &seen.nodes, &seen.lanes, seen.now_ms) {
        Ok(table) if table == seen.table => Vec::new(),
        Ok(table) => vec![Action::Publish(table)],
        Err(error) => vec![Action::Alarm(format!("no routing table can be made: {error}"))],
    }
}

/// How many lanes are on another node in `after` than in `before`.
pub fn moved(before: &RoutingTable, after: &RoutingTable) -> u64 {
    let other = after.lanes().iter().filter(|(lane, node)| before.lanes().get(lane) != Some(node));
    other.count() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use protocol::bounds::Text;

    use super::*;

    fn node(number: u8, capacity: u32) -> NodeEntry {
        let id = format!("n{number}").parse().unwrap();
        let room = if number.is_multiple_of(2) { "main" } else { "standby" }.parse().unwrap();
        NodeEntry { id, room, address: Text::new("x:1").unwrap(), capacity, stay: 0 }
    }

    /// Applies what was decided, as the leader does.
    fn act(seen: &mut Observations) -> usize {
        let actions = decide(seen);
        for action in &actions {
            match action {
                Action::Publish(table) => seen.table = table.clone(),
                Action::Alarm(why) => panic!("{why}"),
            }
        }
        actions.len()
    }

    proptest! {
        #[test]
        fn one_step_is_enough_and_then_it_rests(
            steps in proptest::collection::vec(proptest::collection::btree_map(0u8..9, 0u32..4, 0..7), 1..12),
            lane_count in 1u16..40,
        ) {
            let lanes: Vec<LaneId> = (0..lane_count).map(LaneId).collect();
            let table = RoutingTable::default();
            let mut seen = Observations { now_ms: 0, nodes: Vec::new(), lanes, table };
            for nodes in steps {
                let version = seen.table.version();
                seen.nodes = nodes.into_iter().map(|(n, capacity)| node(n, capacity)).collect();
                // The order in which etcd lists them makes no difference.
                let mut turned = seen.clone();
                turned.nodes.reverse();
                prop_assert_eq!(decide(&seen), decide(&turned));
                let count = act(&mut seen);
                prop_assert!(count <= 1);
                prop_assert_eq!(seen.table.version(), version + count as u64);
                seen.now_ms += 1;
                prop_assert_eq!(act(&mut seen), 0);
                let there: BTreeSet<_> = seen.nodes.iter().map(|node| &node.id).collect();
                for node in seen.table.lanes().values() {
                    prop_assert_eq!(node.as_ref().is_some_and(|id| there.contains(id)), !there.is_empty());
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_is_an_alarm_and_changes_nothing() {
        let nodes = vec![node(1, 1), node(1, 1)];
        let seen = Observations { now_ms: 1, nodes, lanes: vec![LaneId(0)], table: RoutingTable::default() };
        let decided = decide(&seen);
        assert!(matches!(&decided[..], [Action::Alarm(why)] if why.contains("n1")), "{decided:?}");
    }

    #[test]
    fn moves_are_counted() {
        let lanes: Vec<LaneId> = (0..6).map(LaneId).collect();
        let table = RoutingTable::default();
        let mut seen = Observations { now_ms: 1, nodes: vec![node(1, 1)], lanes, table };
        act(&mut seen);
        let before = seen.table.clone();
        seen.nodes.push(node(2, 1));
        act(&mut seen);
        assert_eq!(moved(&before, &seen.table), 3);
        assert_eq!(moved(&seen.table, &seen.table), 0);
    }
}
