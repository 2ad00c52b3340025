//! Requests and replies.
use futures_util::future::join_all;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use protocol::{
    OperationId, Outcome, Reply, ReplyEnvelope, RequestEnvelope, bounds::Opaque, catalogue::requests,
    envelope::MAX_REQUEST_LEN, wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::*;

#[tokio::test]
async fn a_request_goes_in_as_a_new_one_and_its_answer_comes_out() {
    let world = World::start();
    let center = world.center(0);
    let edge = world.edge().await;
    let reply = edge.ask(&account_list(7)).await;
    assert!(is_done(&reply), "{reply:?}");
    assert_eq!(reply.request_id, 7u128.to_be_bytes());
    let seen = center.seen.lock().unwrap()[0].clone();
    assert!(seen.head.deadline_ms < 20_000 && seen.head.deadline_ms > 0);
    assert_ne!(seen.head.span_id, [2; 8], "the gate's own span");
    assert_eq!((seen.head.trace_id, seen.request), ([1; 16], account_list(7).request));
    world.outer.stop().await;
    world.inner.stop().await;
}

#[tokio::test]
async fn the_gate_answers_a_probe_without_the_center() {
    let world = World::start();
    let edge = world.edge().await;
    let probe = async || {
        let asked = requests::GateProbe { payload: Opaque::new(b"ping".to_vec()).unwrap() };
        match edge.ask(&envelope(1, 20_000, asked)).await.outcome {
            Outcome::Done(Reply::GateProbe(echo)) => (echo.payload.to_vec(), echo.reaches_center),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(probe().await, (b"ping".to_vec(), Some(false)));
    let _center = world.center(0);
    while probe().await != (b"ping".to_vec(), Some(true)) {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_counted_and_never_seen_inside() {
    let world = World::start();
    let center = world.center(0);
    let edge = world.edge().await;
    let refused =
        async |bytes: Vec<u8>| -> ReplyEnvelope { wire::decode_exact(&edge.raw(bytes).await).unwrap() };

    let good = account_list(9).encode();
    // The operation's code stands before version and empty body: two bytes of varint 0x20 would be one; make it 0x7f.
    let mut unknown = good.clone();
    let at = unknown.len() - 3;
    assert_eq!(unknown[at], 0x20);
    unknown[at] = 0x7f;
    let mut version = good.clone();
    version[at + 1] = 9;
    // The same number in two bytes instead of one: well-formed, but not canonical.
    let mut long_varint = good.clone();
    long_varint.splice(at..=at, [0xa0, 0x00]);
    let mut trailing = good.clone();
    trailing.push(0);
    let late = envelope(9, 60_001, requests::AccountList {}).encode();
    for (bytes, code, what) in [
        (unknown, "invalid_request", "operation"),
        (version, "invalid_request", "version"),
        (long_varint, "invalid_request", "varint"),
        (trailing, "invalid_request", "trailing"),
        (late, "invalid_request", "deadline"),
        (good[..good.len() - 1].to_vec(), "invalid_request", "cut"),
        ([9u128.to_be_bytes().to_vec(), vec![0xff; MAX_REQUEST_LEN]].concat(), "too_large", "long"),
    ] {
        let reply = refused(bytes).await;
        assert_eq!((code_of(&reply), reply.request_id), (Some(code), 9u128.to_be_bytes()), "{what}");
    }
    assert_eq!(refused(b"short".to_vec()).await.request_id, [0; 16]);
    let mut runner = TestRunner::deterministic();
    for _ in 0..500 {
        let random = proptest::collection::vec(any::<u8>(), 0..300).new_tree(&mut runner).unwrap().current();
        assert!(code_of(&refused(random).await).is_some());
    }
    assert_eq!(center.asked(), 0);

    let mut health = tokio::net::UnixStream::connect(path(world.folder.path(), "outer.sock")).await.unwrap();
    health.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    health.read_to_string(&mut text).await.unwrap();
    for reason in ["unknown_operation", "unknown_version", "not_canonical", "malformed", "too_long"] {
        assert!(text.contains(&format!("gate_refused_total{{reason=\"{reason}\"}}")), "{reason}\n{text}");
    }
}

#[tokio::test]
async fn a_reply_that_does_not_belong_is_dropped() {
    let world = World::start();
    let center = world.center(0);
    let edge = world.edge().await;
    for mood in [Mood::Wrong, Mood::Foreign, Mood::Garbage] {
        center.feels(mood);
        assert_eq!(code_of(&edge.ask(&account_list(1)).await), Some("gate_unavailable"));
    }
    center.feels(Mood::Deep);
    let asked = requests::OperationGet { operation: OperationId::from_bits(1) };
    assert_eq!(code_of(&edge.ask(&envelope(3, 20_000, asked)).await), Some("gate_unavailable"));
    center.feels(Mood::Silent);
    let reply = edge.ask(&envelope(2, 60, requests::AccountList {})).await;
    assert_eq!(code_of(&reply), Some("deadline_exceeded"));
}

#[tokio::test]
async fn a_thousand_at_once_each_get_their_own_answer() {
    let world = World::start();
    let (first, second) = (world.center(0), world.center(1));
    let edge = world.edge().await;
    assert!(is_done(&edge.ask(&account_list(1)).await));
    until(|| first.peers.connected() == 1 && second.peers.connected() == 1).await;
    let before = (first.asked(), second.asked());
    let answers = join_all((1..=1000).map(|n| {
        let edge = &edge;
        async move { (n, edge.ask(&account_list(n)).await) }
    }));
    for (n, reply) in answers.await {
        assert!(is_done(&reply), "{reply:?}");
        assert_eq!(reply.request_id, n.to_be_bytes());
    }
    let asked = (first.asked() - before.0, second.asked() - before.1);
    assert_eq!(asked.0 + asked.1, 1000);
}

#[tokio::test]
async fn a_center_that_dies_in_the_middle_is_not_noticed_outside() {
    let world = World::start();
    let first = world.center(0);
    let edge = world.edge().await;
    first.feels(Mood::Dies);
    let asking = tokio::spawn(async move { edge.ask(&account_list(3)).await });
    until(|| first.asked() > 0).await;
    first.kill();
    let second = world.center(1);
    assert!(is_done(&asking.await.unwrap()));
    assert_eq!(second.asked(), 1);
}

#[tokio::test]
async fn without_a_center_it_says_so_within_the_deadline() {
    let world = World::start();
    let edge = world.edge().await;
    let asked: RequestEnvelope = envelope(4, 300, requests::AccountList {});
    let started = std::time::Instant::now();
    let reply = edge.ask(&asked).await;
    assert!(matches!(code_of(&reply), Some("unavailable" | "gate_unavailable")), "{reply:?}");
    assert!(started.elapsed().as_millis() < 300);
    assert!(matches!(reply.outcome, Outcome::Problem(problem) if problem.retry_after_s == Some(1)));
}

#[tokio::test]
async fn stopping_lets_open_requests_end() {
    let world = World::start();
    let center = world.center(0);
    let edge = world.edge().await;
    assert!(is_done(&edge.ask(&account_list(1)).await));
    center.feels(Mood::Silent);
    let asking = tokio::spawn({
        let peers = edge.peers.clone();
        async move {
            let bytes = envelope(5, 400, requests::AccountList {}).encode();
            peers.by_load()[0].request(bytes, LONG).await
        }
    });
    until(|| center.asked() == 2).await;
    world.outer.stop().await;
    let reply: ReplyEnvelope = wire::decode_exact(&asking.await.unwrap().unwrap()).unwrap();
    assert_eq!(code_of(&reply), Some("deadline_exceeded"));
}
