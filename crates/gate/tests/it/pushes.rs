//! What goes outward by itself.
use std::time::Duration;

use protocol::{
    Bucket, PushId,
    push::{CodePurpose, EdgeSettings, Push, PushAck, PushBody, STAFF_REVOCATIONS_MAX, StaffRevocation},
    wire,
};
use runtime::mux::{CallError, Peer};

use crate::world::*;

fn code(number: u128) -> Push {
    let body = PushBody::OneTimeCode {
        phone: "19900000001".parse().unwrap(),
        code: "123456".parse().unwrap(),
        purpose: CodePurpose::LogIn,
        expires_in_s: 300,
        language: Default::default(),
    };
    Push { id: PushId::mint(Bucket::of(b"x"), number << 12), body }
}

fn settings(keys: u8) -> Push {
    let session_keys = (0..keys).map(|n| (n, [n; 32])).collect();
    Push { id: code(u128::from(keys)).id, body: PushBody::Settings(EdgeSettings { session_keys }) }
}

fn revoked(names: usize) -> Push {
    let one = |n| StaffRevocation { name: format!("n{n}").parse().unwrap(), until_s: 5 };
    Push { id: code(77).id, body: PushBody::StaffRevoked((0..names).map(one).collect()) }
}

async fn push(center: &Peer, push: &Push) -> Result<PushAck, CallError> {
    center.push(wire::encode(push), LONG).await.map(|bytes| wire::decode_exact(&bytes).unwrap())
}

#[tokio::test]
async fn a_push_reaches_one_edge_and_its_acknowledgement_comes_back() {
    let world = World::start();
    let center = world.center(0);
    let mut edge = world.edge().await;
    assert!(is_done(&edge.ask(&account_list(1)).await));
    let peer = center.peers.by_load()[0].clone();
    assert_eq!(push(&peer, &code(5)).await.unwrap().id, code(5).id);
    assert_eq!(edge.pushes.recv().await, Some(code(5)));

    let mut crooked = wire::encode(&code(6));
    crooked.push(0);
    for bytes in [crooked, vec![0xff; 40], vec![0; 20_000]] {
        assert_eq!(peer.push(bytes, Duration::from_millis(100)).await, Err(CallError::TimedOut));
    }
    assert!(edge.pushes.try_recv().is_err());
}

#[tokio::test]
async fn without_an_edge_a_push_is_not_acknowledged() {
    let world = World::start();
    let center = world.center(0);
    center.peers.ready().await;
    let peer = center.peers.by_load()[0].clone();
    let bytes = wire::encode(&code(1));
    assert_eq!(peer.push(bytes, Duration::from_millis(300)).await, Err(CallError::TimedOut));
}

#[tokio::test]
async fn settings_reach_every_edge_those_that_come_later_and_after_a_restart() {
    let world = World::start();
    let center = world.center(0);
    let mut first = world.edge().await;
    center.peers.ready().await;
    let peer = center.peers.by_load()[0].clone();
    assert_eq!(push(&peer, &settings(1)).await.unwrap().id, settings(1).id);
    assert_eq!(first.pushes.recv().await, Some(settings(1)));
    push(&peer, &settings(2)).await.unwrap();
    assert_eq!(first.pushes.recv().await, Some(settings(2)));
    let mut second = world.edge().await;
    assert_eq!(second.pushes.recv().await, Some(settings(2)));
    // The inner half tells a new outer half, which tells the edges that come back to it.
    world.outer.stop().await;
    let _outer = start_outer(world.folder.path());
    assert_eq!(first.pushes.recv().await, Some(settings(2)));
    assert_eq!(second.pushes.recv().await, Some(settings(2)));
    let too_many = peer.push(wire::encode(&settings(9)), Duration::from_millis(100)).await;
    assert_eq!(too_many, Err(CallError::TimedOut));
}

#[tokio::test]
async fn who_is_revoked_is_told_to_every_edge_before_the_keys_and_an_edge_of_before_gets_those_alone() {
    let world = World::start();
    let center = world.center(0);
    let mut first = world.edge().await;
    center.peers.ready().await;
    let peer = center.peers.by_load()[0].clone();
    push(&peer, &settings(1)).await.unwrap();
    assert_eq!(first.pushes.recv().await, Some(settings(1)));
    push(&peer, &revoked(1)).await.unwrap();
    assert_eq!(first.pushes.recv().await, Some(revoked(1)), "alone: it knows the keys");
    let mut second = world.edge().await;
    assert_eq!(second.pushes.recv().await, Some(revoked(1)));
    assert_eq!(second.pushes.recv().await, Some(settings(1)));
    let mut before = world.edge_before().await;
    assert_eq!(before.pushes.recv().await, Some(settings(1)));
    // It goes on to be told what it does take.
    push(&peer, &settings(2)).await.unwrap();
    assert_eq!(before.pushes.recv().await, Some(settings(2)));
    let too_many = wire::encode(&revoked(STAFF_REVOCATIONS_MAX + 1));
    assert_eq!(peer.push(too_many, Duration::from_millis(100)).await, Err(CallError::TimedOut));
}
