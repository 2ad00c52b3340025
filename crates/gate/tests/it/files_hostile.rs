//! Whoever lies, floods or stalls on the file track is cut off by itself, and counted.
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use protocol::{
    catalogue::requests,
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Offer},
    frame::{Direction, FrameKind, LinkKey, Sealer, Track},
};
use tokio::io::AsyncWriteExt;

use crate::{files_sender::*, world::*};

#[tokio::test]
async fn every_lie_closes_its_own_connection() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    drop(ready_sender(folder).await);
    let bytes = content(1, 3 * CHUNK_LEN + 10, true);
    let offer = offer_of(file_id(1), &bytes);
    let kind = FrameKind::FileChunk;
    for (number, (reason, what)) in [
        ("not-next", "skips"),
        ("not-next", "repeats"),
        ("not-next", "longer"),
        ("not-next", "shorter"),
        ("not-next", "empty"),
        ("not-next", "huge"),
        ("misplaced", "before wanted"),
        ("misplaced", "offers twice"),
        ("misplaced", "answers"),
        ("misplaced", "greets"),
        ("misplaced", "asks"),
        ("malformed", "half an offer"),
        ("frame", "other track"),
        ("frame", "garbage"),
        ("frame", "other direction"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = refused(folder, reason).await;
        let mut sender = Sender::connect(folder).await;
        let wanted = !matches!(
            what,
            "before wanted" | "half an offer" | "other track" | "garbage" | "other direction"
        );
        if wanted {
            let _ = sender.offer(&Offer { file: file_id(number as u64), ..offer.clone() }).await;
            sender.send_piece(&bytes, 0).await;
        }
        let (head, body) = sender.piece(&bytes, 1);
        let next = |len: usize| ChunkHead { len: u32::try_from(len).unwrap(), ..head.clone() };
        let mut raw = Vec::new();
        match what {
            "skips" => drop(sender.send_piece(&bytes, 2).await),
            "repeats" => drop(sender.send_piece(&bytes, 0).await),
            "longer" => drop(sender.send(kind, &next(CHUNK_LEN + 1), &body).await),
            "shorter" => drop(sender.send(kind, &next(CHUNK_LEN - 1), &body).await),
            "empty" => drop(sender.send(kind, &ChunkHead { coding: Coding::Zstd, ..next(0) }, &[]).await),
            "huge" => drop(sender.send(kind, &next(u32::MAX as usize), &body).await),
            "before wanted" => {
                let mut both = Vec::new();
                sender
                    .sealer
                    .seal(FrameKind::FileOffer, 0, &protocol::wire::encode(&offer), &mut both)
                    .unwrap();
                let (head, body) = sender.piece(&bytes, 0);
                sender.sealer.seal(kind, 0, &protocol::wire::encode(&head), &mut both).unwrap();
                both.extend(body);
                sender.stream.write_all(&both).await.ok();
            }
            "offers twice" => drop(sender.send(FrameKind::FileOffer, &offer, &[]).await),
            "answers" => drop(sender.send(FrameKind::FileWanted, &0u32, &[]).await),
            "greets" => drop(sender.send(FrameKind::Hello, &0u32, &[]).await),
            "asks" => drop(sender.send(FrameKind::Request, &0u32, &[]).await),
            "half an offer" => drop(sender.send(FrameKind::FileOffer, &offer.file, &[]).await),
            "other track" => {
                let key = LinkKey::within_zone(Direction::Inward);
                Sealer::new(key, Track::Messages).seal(FrameKind::Request, 0, b"x", &mut raw).unwrap();
            }
            "other direction" => {
                let key = LinkKey::within_zone(Direction::Outward);
                let offer = protocol::wire::encode(&offer);
                Sealer::new(key, Track::Files).seal(FrameKind::FileOffer, 0, &offer, &mut raw).unwrap();
            }
            _ => raw = vec![0xff; 64],
        }
        sender.stream.write_all(&raw).await.ok();
        // One that was early may still be told that it is wanted, or not now.
        while sender.next().await != Said::Closed {}
        until_refused(folder, reason, before + 1).await;
        // The others do not notice.
        let good = content(100 + number as u64, 1000, false);
        let ended =
            Sender::connect(folder).await.file(&offer_of(file_id(100 + number as u64), &good), &good).await;
        assert_eq!(why(&ended.unwrap()), "stored", "after {what}");
    }
    assert!(center.attached.lock().unwrap().keys().all(|file| *file >= file_id(100)));
    stored(folder);
}

#[tokio::test]
async fn a_file_of_another_hash_than_offered_is_refused_and_gone() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    for (number, size) in [10, 2 * CHUNK_LEN, 66 * CHUNK_LEN].into_iter().enumerate() {
        let bytes = content(number as u64, size, false);
        let mut offer = offer_of(file_id(number as u64), &bytes);
        offer.root[31] ^= 1;
        let ended = sender.file(&offer, &bytes).await.unwrap();
        assert_eq!(why(&ended), "refused: hash-mismatch");
    }
    assert!(stored(folder).is_empty() && quarantined(folder).is_empty());
    assert_eq!(center.asked(), 0);
    assert_eq!(refused(folder, "hash-mismatch").await, 3);
}

#[tokio::test]
async fn a_file_of_an_impossible_length_is_refused_at_once() {
    let world = World::start();
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    for size in [1 << 36, u64::MAX, 0] {
        let offer = Offer { size, ..offer_of(file_id(1), b"x") };
        let Said::Ended(ended) = sender.offer(&offer).await else { panic!("{size}") };
        assert_eq!(why(&ended), "refused: impossible-size");
    }
    let offer = Offer { size: (1 << 30) + 1, ..offer_of(file_id(1), b"x") };
    let Said::Ended(ended) = sender.offer(&offer).await else { panic!() };
    assert_eq!(why(&ended), "refused: too-large");
    assert!(quarantined(folder).is_empty());
}

#[tokio::test]
async fn who_stalls_is_cut_off_and_nobody_else() {
    let world = World::start_with(|relay, receive| {
        (relay.patience_s, receive.patience_s, receive.connections) = (1, 2, 4);
    });
    let _center = world.center(0);
    let folder = world.folder.path().to_owned();
    drop(ready_sender(&folder).await);
    let bytes = content(1, 4 * CHUNK_LEN, false);
    let stalls = async |number: u64, how: &str| {
        let mut sender = Sender::connect(&folder).await;
        let Said::Wanted(0) = sender.offer(&offer_of(file_id(number), &bytes)).await else { panic!() };
        let (head, body) = sender.piece(&bytes, 0);
        match how {
            "says nothing" => {}
            "half a piece" => drop(sender.send(FrameKind::FileChunk, &head, &body[..1000]).await),
            // Byte by byte: never silent, never done.
            _ => {
                sender.send(FrameKind::FileChunk, &head, &[]).await;
                for byte in &body {
                    if sender.stream.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        let started = Instant::now();
        assert_eq!(sender.next().await, Said::Closed, "{how}");
        assert!(started.elapsed() < Duration::from_secs(5));
    };
    let passes = async {
        let mut sender = Sender::connect(&folder).await;
        for number in 100..140 {
            let bytes = content(number, CHUNK_LEN + 3, false);
            let started = Instant::now();
            let ended = sender.file(&offer_of(file_id(number), &bytes), &bytes).await.unwrap();
            assert_eq!(why(&ended), "stored");
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    tokio::join!(stalls(1, "says nothing"), stalls(2, "half a piece"), stalls(3, "trickles"), passes);
    assert!(refused(&folder, "stalled").await >= 3);
}

#[tokio::test]
async fn a_flood_of_offers_waits_or_is_told_so() {
    let world = World::start_with(|relay, receive| {
        (relay.connections, relay.wait_s, receive.connections) = (12, 1, 3);
    });
    let _center = world.center(0);
    let folder = world.folder.path();
    drop(ready_sender(folder).await);
    let bytes = content(1, 2 * CHUNK_LEN, false);
    // Three take the link and sit on it; as many as may connect wait; the rest is closed.
    let mut senders = Vec::new();
    for number in 0..40 {
        let mut sender = Sender::connect(folder).await;
        let said =
            if number < 3 { Some(sender.offer(&offer_of(file_id(number), &bytes)).await) } else { None };
        assert!(said.is_none_or(|said| said == Said::Wanted(0)));
        senders.push(sender);
    }
    let offered = join_all(senders.iter_mut().zip(0..).skip(3).map(|(sender, number)| {
        let offer = offer_of(file_id(number), &bytes);
        async move { sender.offer(&offer).await }
    }));
    let said = offered.await;
    let busy = said
        .iter()
        .filter(|said| matches!(said, Said::Ended(ended) if why(ended) == "not now: busy"))
        .count();
    let closed = said.iter().filter(|said| **said == Said::Closed).count();
    assert!(busy >= 8 && busy + closed == 37, "{busy} busy, {closed} closed");
    assert!(refused(folder, "connections").await >= 20);
    drop(senders);
    until(|| !quarantined(folder).is_empty()).await;
    // The places of those that left are free in a moment.
    let ended = loop {
        let mut sender = ready_sender(folder).await;
        if let Some(ended) = sender.file(&offer_of(file_id(0), &bytes), &bytes).await {
            break ended;
        }
    };
    assert_eq!(why(&ended), "stored");
}

/// What a sender may do next.
#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Piece(u32),
    Changed(u32),
    Garbage(Vec<u8>),
    Leave,
}

#[tokio::test]
async fn whatever_a_sender_does_only_what_is_verified_is_visible() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    drop(ready_sender(folder).await);
    let files: Vec<_> = [5, CHUNK_LEN + 1, 3 * CHUNK_LEN]
        .iter()
        .zip(0..)
        .map(|(len, seed)| content(seed, *len, true))
        .collect();
    let step = prop_oneof![
        3 => (0u8..3).prop_map(Step::Offer),
        9 => (0u32..3).prop_map(Step::Piece),
        1 => (0u32..3).prop_map(Step::Changed),
        1 => proptest::collection::vec(any::<u8>(), 1..100).prop_map(Step::Garbage),
        1 => Just(Step::Leave),
    ];
    let mut runner = TestRunner::deterministic();
    let mut sender = Sender::connect(folder).await;
    let mut on = 0;
    for step in proptest::collection::vec(step, 600).new_tree(&mut runner).unwrap().current() {
        let went = match &step {
            Step::Offer(file) => {
                on = usize::from(*file);
                let said = sender.offer(&offer_of(file_id(on as u64), &files[on])).await;
                !matches!(said, Said::Closed)
            }
            Step::Piece(index) | Step::Changed(index) => {
                let index = (*index).min(offer_of(file_id(0), &files[on]).chunks() - 1);
                let (mut head, body) = sender.piece(&files[on], index);
                if matches!(step, Step::Changed(_)) {
                    head.cv[3] ^= 1;
                }
                sender.send(FrameKind::FileChunk, &head, &body).await
            }
            Step::Garbage(bytes) => sender.stream.write_all(bytes).await.is_ok(),
            Step::Leave => false,
        };
        if !went {
            sender = Sender::connect(folder).await;
        }
        for (_, bytes) in stored(folder) {
            assert!(files.contains(&bytes));
        }
    }
    for (bytes, number) in files.iter().zip(0..) {
        let ended = Sender::connect(folder).await.file(&offer_of(file_id(number), bytes), bytes).await;
        assert!(matches!(ended, Some(Ended::Stored(_))), "{ended:?}");
    }
    assert_eq!((stored(folder).len(), center.attached.lock().unwrap().len()), (3, 3));
}

#[tokio::test]
async fn attaching_is_nothing_that_an_edge_can_ask_for() {
    let world = World::start();
    let center = world.center(0);
    let edge = world.edge().await;
    let attach = requests::FileAttach {
        file: file_id(1),
        size: 1.try_into().unwrap(),
        root: [1; 32],
        kind: "pdf".parse().unwrap(),
    };
    let reply = edge.ask(&envelope(1, 20_000, attach)).await;
    assert_eq!(code_of(&reply), Some("invalid_request"));
    assert_eq!(center.asked(), 0);
    let lines = metrics(world.folder.path(), "outer", "gate_refused_total").await;
    assert!(lines.iter().any(|line| line.contains("may_not_cross")), "{lines:?}");
}
