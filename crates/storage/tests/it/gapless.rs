//! What only embedded lanes promise: sequences that count from 1 without a gap.
use protocol::LaneId;

use crate::{
    embedded::Embedded,
    suite::{Backend, LANE, all_messages, apply_all, message, one_lane, queue::NOTHING},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_lanes_have_no_gaps() {
    let backend = Embedded::fresh(one_lane()).await;
    let appends = (0..30).map(|task| {
        let queue = backend.queue().clone();
        tokio::spawn(async move {
            for n in 0..4 {
                let messages = (0..=n).map(|m| message(task * 100 + n * 10 + m, &NOTHING)).collect();
                let placed = queue.append(LANE, messages).await.unwrap();
                assert!(placed.iter().copied().eq((placed[0]..).take(n as usize + 1)));
            }
        })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap();
    }
    let found = all_messages(backend.queue(), LANE, 0, 77).await;
    assert!(found.iter().map(|m| m.sequence).eq(1..=300));
    assert_eq!(apply_all(&backend, LANE, 50).await.sequence, 300);
    let backend = backend.reopen().await;
    assert_eq!(backend.queue().append(LANE, vec![message(9_999, &NOTHING)]).await.unwrap(), [301]);
    assert!(backend.store().lane(LaneId(7)).await.is_err(), "an unknown lane");
}
