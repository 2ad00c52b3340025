//! Who works on which lane: a pure function of who is there and who worked on what.
use std::collections::BTreeMap;

use protocol::{
    LaneId,
    bounds::ShortName,
    routing::{NodeEntry, RoutingTable, TableError},
};

/// The table that follows on `previous`, made at `now_ms`: `previous` itself where nothing changes, else one version later.
///
/// Every lane is on exactly one of `nodes`, where there is any. Lanes are spread by capacity: each node has its share of all
/// lanes, rounded down or up; at equal capacity the difference is one lane at most. As few lanes as possible move: only those of
/// nodes that are gone, and those that a node has beyond its share. A node of capacity 0 is being drained, and has none
/// unless all are.
///
/// # Errors
/// [`TableError`]: more nodes or lanes than a table has room for, or two nodes of one name.
pub fn assign(
    previous: &RoutingTable,
    nodes: &[NodeEntry],
    lanes: &[LaneId],
    now_ms: u64,
) -> Result<RoutingTable, TableError> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    let index = |id: &ShortName| nodes.binary_search_by(|node| node.id.cmp(id)).ok();

    // What each node keeps at most, and the lanes that have to go somewhere else.
    let mut held = vec![Vec::new(); nodes.len()];
    let mut homeless = Vec::new();
    let mut spread: BTreeMap<LaneId, Option<ShortName>> = lanes.iter().map(|lane| (*lane, None)).collect();
    for lane in spread.keys() {
        let node = previous.lanes().get(lane).and_then(Option::as_ref).and_then(index);
        match node {
            Some(node) => held[node].push(*lane),
            None => homeless.push(*lane),
        }
    }
    let counts: Vec<u64> = held.iter().map(|own| own.len() as u64).collect();
    let shares = shares(&nodes, &counts, spread.len() as u64);
    for (own, share) in held.iter_mut().zip(&shares) {
        let keep = own.len().min(*share as usize);
        homeless.extend(own.split_off(keep));
    }
    homeless.sort_unstable();

    let mut homeless = homeless.into_iter();
    for ((node, own), share) in nodes.iter().zip(&mut held).zip(&shares) {
        let missing = (*share as usize).saturating_sub(own.len());
        own.extend(homeless.by_ref().take(missing));
        spread.extend(own.iter().map(|lane| (*lane, Some(node.id.clone()))));
    }
    if nodes == previous.nodes() && spread == *previous.lanes() {
        return Ok(previous.clone());
    }
    RoutingTable::new(previous.version() + 1, now_ms, nodes, spread)
}

/// How many lanes each node has, by capacity. Where a share is no whole number, those are rounded up first that have more than
/// the whole part of theirs already, so that they need not give it away; then those with the larger rest.
fn shares(nodes: &[NodeEntry], held: &[u64], lanes: u64) -> Vec<u64> {
    let drained = nodes.iter().all(|node| node.capacity == 0);
    let weight = |node: &NodeEntry| if drained { 1 } else { u64::from(node.capacity) };
    let total: u64 = nodes.iter().map(weight).sum();
    if total == 0 {
        return Vec::new();
    }
    let exact = |node: &NodeEntry| lanes * weight(node);
    let mut shares: Vec<u64> = nodes.iter().map(|node| exact(node) / total).collect();
    let left = lanes - shares.iter().sum::<u64>();
    let mut uneven: Vec<usize> = (0..nodes.len()).filter(|at| exact(&nodes[*at]) % total > 0).collect();
    uneven.sort_by_key(|at| {
        let rest = exact(&nodes[*at]) % total;
        (held[*at] <= shares[*at], std::cmp::Reverse(rest), *at)
    });
    for at in uneven.into_iter().take(left as usize) {
        shares[at] += 1;
    }
    shares
}

#[cfg(test)]
mod tests;
