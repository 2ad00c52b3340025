//! The link goes and comes back, and lets nobody in who does not know the secret.
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use protocol::frame::{Direction, FrameKind, Half as FrameHalf, Hello, LinkKey, Sealer, Track};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::watch,
};

use crate::world::*;

/// What lies between the halves. It can be cut, and it can change a byte.
pub(crate) struct Cable {
    cut: Arc<watch::Sender<u32>>,
    flip: Arc<AtomicBool>,
}

impl Cable {
    fn lay(folder: &Path) -> Self {
        Self::lay_between(folder, "cable.sock", "link.sock")
    }

    pub(crate) fn lay_between(folder: &Path, from: &str, to: &str) -> Self {
        let cable = Cable { cut: Arc::new(watch::Sender::new(0)), flip: Arc::default() };
        let listener = runtime::unix::bind(&path(folder, from)).unwrap();
        let (to, cut, flip) = (path(folder, to), Arc::clone(&cable.cut), Arc::clone(&cable.flip));
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let Ok(far) = UnixStream::connect(&to).await else { continue };
                let (mut cuts, flip, never) = (cut.subscribe(), Arc::clone(&flip), AtomicBool::new(false));
                tokio::spawn(async move {
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(far_in, near_out, &flip) => {}
                        () = carry(near_in, far_out, &never) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        cable
    }

    pub(crate) fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, flip: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if flip.swap(false, Ordering::SeqCst) {
            bytes[n / 2] ^= 1;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_under_way_survives_a_cut_of_the_link_and_a_restart() {
    let world = World::start_with_cable();
    let cable = Cable::lay(world.folder.path());
    let center = world.center(0);
    let edge = world.edge().await;
    center.feels(Mood::Silent);
    let asking = tokio::spawn(async move { (edge.ask(&account_list(3)).await, edge) });
    until(|| center.asked() == 1).await;
    center.feels(Mood::Answers);
    cable.cut();
    let (reply, edge) = asking.await.unwrap();
    assert!(is_done(&reply), "{reply:?}");

    // The outer half goes, in order, and another one starts; the edge and the inner half find it.
    world.outer.stop().await;
    let outer = start_outer(world.folder.path());
    assert!(is_done(&edge.ask(&account_list(4)).await));
    outer.stop().await;
    world.inner.stop().await;
}

#[tokio::test]
async fn a_byte_changed_on_the_link_closes_it_and_the_request_goes_over_the_next() {
    let world = World::start_with_cable();
    let cable = Cable::lay(world.folder.path());
    let center = world.center(0);
    let edge = world.edge().await;
    assert!(is_done(&edge.ask(&account_list(1)).await));
    cable.flip.store(true, Ordering::SeqCst);
    assert!(is_done(&edge.ask(&account_list(2)).await));
    assert!(!cable.flip.load(Ordering::SeqCst), "a byte was changed");
    assert_eq!(center.asked(), 2, "the changed request was not passed on");
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
