//! The link goes and comes back, and lets nobody in who does not know the secret.
use protocol::frame::{Direction, FrameKind, Half as FrameHalf, Hello, LinkKey, Sealer, Track};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::world::*;

#[tokio::test]
async fn a_request_waits_for_a_link_that_comes_back() {
    let world = World::start();
    let center = world.center(0);
    let edge = world.edge().await;
    center.feels(Mood::Silent);
    let asking = tokio::spawn(async move { (edge.ask(&account_list(3)).await, edge) });
    until(|| center.asked() == 1).await;
    // The inner half dies with the request open.
    world.inner.task.abort();
    world.inner.shutdown.begin();
    center.feels(Mood::Answers);
    let inner = start_inner(world.folder.path());
    let (reply, edge) = asking.await.unwrap();
    assert!(is_done(&reply), "{reply:?}");

    // Now the outer half goes, in order, and another one starts; the edge and the inner half find it.
    world.outer.stop().await;
    let outer = start_outer(world.folder.path());
    assert!(is_done(&edge.ask(&account_list(4)).await));
    outer.stop().await;
    inner.stop().await;
}

#[tokio::test]
async fn without_the_secret_nobody_takes_the_link() {
    let world = World::start();
    let _center = world.center(0);
    let edge = world.edge().await;
    assert!(is_done(&edge.ask(&account_list(1)).await));
    let hello = Hello::new(FrameHalf::Inner, Track::Messages, [0; 32]).encode();
    let mut sealed = Vec::new();
    Sealer::new(LinkKey::for_hello(&[0; 32], Direction::Outward), Track::Messages)
        .seal(FrameKind::Hello, 0, &hello, &mut sealed)
        .unwrap();
    for first in [
        sealed,
        vec![0xff; 64],
        b"GD\x01\x01\x01\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    ] {
        let mut stranger = UnixStream::connect(path(world.folder.path(), "link.sock")).await.unwrap();
        stranger.write_all(&first).await.unwrap();
        let mut answer = Vec::new();
        // The outer half's hello comes, then the end; nothing else.
        let _ = tokio::time::timeout(LONG, stranger.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.len() < 256);
        assert!(is_done(&edge.ask(&account_list(2)).await), "the true link stands");
    }
}
