//! Where buckets live, and moving them to other shards while the system runs.
use std::{collections::BTreeSet, path::Path, str::FromStr, time::Duration};

use serde_json::{Value, json};

use crate::operate::{self, OperateError};

/// How often it is asked how far a move is.
const LOOK: Duration = Duration::from_millis(500);

/// Buckets from one to another, both included: `0..63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    first: u16,
    last: u16,
}

impl FromStr for Buckets {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "write the first and the last bucket, as 0..63";
        let (first, last) = text.split_once("..").ok_or(form)?;
        let (first, last) = (first.parse().map_err(|_| form)?, last.parse().map_err(|_| form)?);
        if first > last || last >= protocol::ids::BUCKETS {
            return Err("buckets are numbered 0 to 4095, the first before the last");
        }
        Ok(Buckets { first, last })
    }
}

/// Why a move did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// It could not be asked.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// Lanes that stay where they were.
    #[error("not moved: {0}")]
    NotMoved(String),
}

/// A line for each shard, with its buckets; then one for each order.
///
/// # Errors
/// [`OperateError`].
pub async fn list(data: &Path, as_json: bool) -> Result<Vec<String>, OperateError> {
    let known = operate::get(data, "/admin/lanes/moves").await?;
    let lanes = known["lanes"].as_array().map_or(&[][..], Vec::as_slice);
    if as_json {
        return Ok(lanes.iter().map(Value::to_string).collect());
    }
    let shards = 0..known["shards"].as_u64().unwrap_or(0);
    let mut lines: Vec<String> = shards
        .map(|shard| {
            let here = lanes.iter().filter(|lane| lane["shard"] == shard);
            format!("shard {shard}: buckets {}", ranges(here.filter_map(|lane| pair(&lane["buckets"]))))
        })
        .collect();
    lines.extend(lanes.iter().filter(|lane| lane["order"].is_object()).map(progress));
    Ok(lines)
}

/// Moves buckets, and says how far it is, until all have moved or one has not. Broken off, the moves go on by themselves.
///
/// # Errors
/// [`ShardError`].
pub async fn move_buckets(
    data: &Path,
    Buckets { first, last }: Buckets,
    to: u16,
    mut say: impl FnMut(&str),
) -> Result<(), ShardError> {
    let ask = json!({ "buckets": [first, last], "to": to });
    let ordered = operate::post(data, "/admin/lanes/moves", &ask).await?;
    let mut left: BTreeSet<u64> =
        ordered["lanes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    if left.is_empty() {
        say(&format!("buckets {first}..{last} live in shard {to} already"));
    }
    let (mut said, mut failed) = (BTreeSet::new(), Vec::new());
    while !left.is_empty() {
        tokio::time::sleep(LOOK).await;
        let known = operate::get(data, "/admin/lanes/moves").await?;
        for lane in known["lanes"].as_array().into_iter().flatten() {
            let number = lane["lane"].as_u64().unwrap_or_default();
            if !left.contains(&number) {
                continue;
            }
            let line = progress(lane);
            if said.insert(line.clone()) {
                say(&line);
            }
            match lane["order"]["state"].as_str() {
                Some("moved") => {
                    left.remove(&number);
                }
                Some("failed") => {
                    left.remove(&number);
                    failed.push(format!("lane {number}: {}", operate::text(&lane["order"], "why")));
                }
                // By somebody else.
                None => {
                    left.remove(&number);
                    failed.push(format!("lane {number}: the order was taken back"));
                }
                Some(_) => {}
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(ShardError::NotMoved(failed.join("; "))) }
}

/// Takes the order for a lane back.
///
/// # Errors
/// [`OperateError`].
pub async fn cancel(data: &Path, lane: u16) -> Result<Vec<String>, OperateError> {
    operate::delete(data, &format!("/admin/lanes/{lane}/move")).await?;
    Ok(vec![format!("lane {lane}: no order any more; what has moved stays where it is")])
}

fn progress(lane: &Value) -> String {
    let (number, order) = (&lane["lane"], &lane["order"]);
    let (to, rows) = (&order["to"], &order["rows"]);
    let ms = order["pause_us"].as_u64().unwrap_or(0) as f64 / 1000.0;
    match order["state"].as_str() {
        Some("asked") | None => format!("lane {number}: to shard {to}: asked"),
        Some("copying") => format!("lane {number}: to shard {to}: {rows} rows copied"),
        Some("catching_up") => format!("lane {number}: to shard {to}: {rows} rows copied, catching up"),
        Some("comparing") => format!("lane {number}: to shard {to}: comparing"),
        Some("moved") => {
            format!("lane {number}: lives in shard {to}: {rows} rows, stood still for {ms:.1} ms")
        }
        Some("failed") => format!("lane {number}: not moved to shard {to}: {}", operate::text(order, "why")),
        Some(other) => format!("lane {number}: to shard {to}: {other}"),
    }
}

fn pair(value: &Value) -> Option<(u64, u64)> {
    Some((value.get(0)?.as_u64()?, value.get(1)?.as_u64()?))
}

/// Ranges that touch are one.
fn ranges(all: impl Iterator<Item = (u64, u64)>) -> String {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in all {
        match joined.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => joined.push((first, last)),
        }
    }
    let shown: Vec<String> = joined.iter().map(|(first, last)| format!("{first}..{last}")).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_and_shown() {
        assert_eq!("0..63".parse(), Ok(Buckets { first: 0, last: 63 }));
        for wrong in ["", "5", "7..3", "0..4096", "a..b", "1..=3"] {
            assert!(wrong.parse::<Buckets>().is_err(), "{wrong}");
        }
        assert_eq!(ranges([(0, 63), (64, 127), (256, 319)].into_iter()), "0..127, 256..319");
        assert_eq!(ranges(std::iter::empty()), "none");
    }
}
