//! Properties of the assignment.
use std::collections::BTreeSet;

use proptest::prelude::*;
use protocol::bounds::Text;

use super::*;

fn node(number: u8, capacity: u32) -> NodeEntry {
    let id: ShortName = format!("n{number:02}").parse().unwrap();
    let address = Text::new(format!("{id}:7000")).unwrap();
    NodeEntry { id, room: "main".parse().unwrap(), address, capacity, stay: 0 }
}

fn lanes(count: u16) -> Vec<LaneId> {
    (0..count).map(LaneId).collect()
}

fn count(table: &RoutingTable, node: &NodeEntry) -> u64 {
    table.lanes_of(&node.id).len() as u64
}

/// Lanes that are on another node than before although theirs is still there.
fn moved(before: &RoutingTable, after: &RoutingTable) -> u64 {
    let there = |id: &ShortName| after.node(id).is_some();
    let moved = |(lane, node): &(&LaneId, &Option<ShortName>)| {
        node.as_ref().is_some_and(there) && after.lanes().get(lane).is_some_and(|now| now != *node)
    };
    before.lanes().iter().filter(moved).count() as u64
}

/// The fewest moves any fair spread would need: tries them all.
fn fewest_moves(before: &RoutingTable, nodes: &[NodeEntry], lanes: u64) -> u64 {
    let total: u64 = nodes.iter().map(|node| u64::from(node.capacity)).sum();
    fn kept(options: &[(u64, u64, u64)], left: u64) -> Option<u64> {
        let Some(((low, high, held), rest)) = options.split_first() else {
            return (left == 0).then_some(0);
        };
        let with = |share: u64| kept(rest, left.checked_sub(share)?).map(|kept| kept + share.min(*held));
        (*low..=*high).filter_map(with).max()
    }
    let options: Vec<_> = nodes
        .iter()
        .map(|node| {
            let exact = lanes * u64::from(node.capacity);
            (exact / total, exact.div_ceil(total), count(before, node))
        })
        .collect();
    let held: u64 = options.iter().map(|(_, _, held)| held).sum();
    held - kept(&options, lanes).unwrap()
}

/// A history of who is there, each step with capacities.
fn histories(capacity: impl Strategy<Value = u32>) -> impl Strategy<Value = Vec<Vec<NodeEntry>>> {
    let nodes = proptest::collection::btree_map(0u8..8, capacity, 0..6);
    let nodes = nodes.prop_map(|nodes| nodes.into_iter().map(|(n, capacity)| node(n, capacity)).collect());
    proptest::collection::vec(nodes, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_lane_is_on_one_node_evenly_and_few_move(
        history in histories(1u32..5), lane_count in 0u16..33,
    ) {
        let lanes = lanes(lane_count);
        let mut before = RoutingTable::default();
        for nodes in history {
            let after = assign(&before, &nodes, &lanes, 7).unwrap();
            prop_assert_eq!(after.lanes().keys().copied().collect::<Vec<_>>(), lanes.clone());
            prop_assert_eq!(after.nodes(), &nodes[..]);
            prop_assert!(after.lanes().values().all(|node| node.is_some() != nodes.is_empty()));
            let total: u64 = nodes.iter().map(|node| u64::from(node.capacity)).sum();
            for node in &nodes {
                let exact = u64::from(lane_count) * u64::from(node.capacity);
                let share = exact / total..=exact.div_ceil(total);
                prop_assert!(share.contains(&count(&after, node)), "{:?} not in {share:?}", count(&after, node));
            }
            if !nodes.is_empty() {
                prop_assert_eq!(moved(&before, &after), fewest_moves(&before, &nodes, u64::from(lane_count)));
            }
            // Once it stands, it stands.
            let again = assign(&after, &nodes, &lanes, 99).unwrap();
            prop_assert_eq!(&again, &after);
            let changed = after.nodes() != before.nodes() || after.lanes() != before.lanes();
            prop_assert_eq!(after.version(), before.version() + u64::from(changed));
            before = after;
        }
    }

    #[test]
    fn at_equal_capacity_the_difference_is_one(history in histories(Just(3)), lane_count in 0u16..65) {
        let mut table = RoutingTable::default();
        for nodes in history {
            table = assign(&table, &nodes, &lanes(lane_count), 7).unwrap();
            let counts: BTreeSet<u64> = nodes.iter().map(|node| count(&table, node)).collect();
            let (Some(least), Some(most)) = (counts.first(), counts.last()) else { continue };
            prop_assert!(most - least <= 1, "{counts:?}");
        }
    }

    #[test]
    fn a_drained_node_has_none_unless_all_are(history in histories(0u32..3), lane_count in 1u16..33) {
        let mut table = RoutingTable::default();
        for nodes in history {
            table = assign(&table, &nodes, &lanes(lane_count), 7).unwrap();
            if nodes.iter().any(|node| node.capacity > 0) {
                prop_assert!(nodes.iter().all(|node| node.capacity > 0 || count(&table, node) == 0));
            } else if !nodes.is_empty() {
                prop_assert!(table.lanes().values().all(Option::is_some));
            }
        }
    }
}

#[test]
fn a_dead_nodes_lanes_go_at_once_and_others_stay() {
    let nodes = [node(1, 4), node(2, 4), node(3, 4)];
    let table = assign(&RoutingTable::default(), &nodes, &lanes(12), 1).unwrap();
    assert_eq!(table.version(), 1);
    let after = assign(&table, &nodes[..2], &lanes(12), 2).unwrap();
    assert_eq!((after.version(), after.made_ms()), (2, 2));
    assert_eq!(moved(&table, &after), 0);
    assert_eq!((count(&after, &nodes[0]), count(&after, &nodes[1])), (6, 6));
    let back = assign(&after, &nodes, &lanes(12), 3).unwrap();
    assert_eq!(moved(&after, &back), 4);
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let twice = assign(&RoutingTable::default(), &[node(1, 1), node(1, 2)], &lanes(4), 1);
    assert!(matches!(twice, Err(TableError::Order(_))));
}

#[test]
fn without_nodes_lanes_wait() {
    let table = assign(&RoutingTable::default(), &[node(1, 1)], &lanes(2), 1).unwrap();
    let waiting = assign(&table, &[], &lanes(2), 2).unwrap();
    assert_eq!(waiting.lanes().values().flatten().count(), 0);
    assert_eq!(waiting.version(), 2);
}
