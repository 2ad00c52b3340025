//! A file that was interrupted goes on after its last durable piece, and nothing that was there is trusted too far.
use std::{fs, os::unix::fs::PermissionsExt};

use protocol::file::{CHUNK_LEN, Ended, chunk_cv};

use crate::{files_sender::*, link::Cable, world::*};

const CVS_HEAD_LEN: usize = 40;

#[tokio::test]
async fn goes_on_after_every_piece_at_which_the_sender_may_die() {
    let world = World::start();
    let _center = world.center(0);
    let folder = world.folder.path();
    drop(ready_sender(folder).await);
    let bytes = content(1, 9 * CHUNK_LEN + 5, true);
    for (number, last) in (1..=9u32).enumerate() {
        let offer = offer_of(file_id(number as u64), &bytes);
        let mut sender = Sender::connect(folder).await;
        sender.compresses = number % 2 == 0;
        assert_eq!(sender.offer(&offer).await, Said::Wanted(0));
        for index in 0..last {
            assert!(sender.send_piece(&bytes, index).await);
        }
        drop(sender);
        let mut next = Sender::connect(folder).await;
        assert_eq!(next.offer(&offer).await, Said::Wanted(last));
        let name = format!("quarantine/{}", offer.file);
        let len = |end: &str| fs::metadata(folder.join(format!("{name}.{end}"))).unwrap().len();
        assert_eq!(len("cvs"), (CVS_HEAD_LEN + 32 * last as usize) as u64);
        assert_eq!(len("part"), u64::from(last) * CHUNK_LEN as u64);
        for index in last..offer.chunks() {
            assert!(next.send_piece(&bytes, index).await);
        }
        assert!(matches!(next.next().await, Said::Ended(Ended::Stored(_))));
    }
    assert_eq!(stored(folder).len(), 1);
}

#[tokio::test]
async fn goes_on_however_often_the_link_is_cut() {
    let world = World::start_with(|_, receive| {
        receive.link = receive.link.with_file_name("files-cable.sock");
    });
    let center = world.center(0);
    let folder = world.folder.path();
    let cable = Cable::lay_between(folder, "files-cable.sock", "files-link.sock");
    drop(ready_sender(folder).await);
    let bytes = content(2, 23 * CHUNK_LEN + 1, false);
    let offer = offer_of(file_id(1), &bytes);
    let (mut before, mut cuts) = (0, 0);
    let ended = loop {
        let mut sender = Sender::connect(folder).await;
        let from = match sender.offer(&offer).await {
            Said::Wanted(from) => from,
            Said::Ended(Ended::NotNow(_)) | Said::Closed => continue,
            Said::Ended(ended) => break ended,
        };
        assert!(from >= before, "what was durable stays: {from} after {before}");
        before = from;
        for (sent, index) in (from..offer.chunks()).enumerate() {
            if sent == 4 && cuts < 6 {
                cable.cut();
                cuts += 1;
            }
            if !sender.send_piece(&bytes, index).await {
                break;
            }
        }
        match sender.next().await {
            Said::Ended(ended @ Ended::Stored(_)) => break ended,
            Said::Closed => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(ended, Ended::Stored(_)));
    assert!(before > 0 && cuts > 3, "it was cut, and went on");
    assert_eq!(stored(folder)[0].1, bytes);
    assert_eq!(center.attached.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_corrupted_piece_costs_itself_and_no_other() {
    let world = World::start();
    let _center = world.center(0);
    let folder = world.folder.path();
    drop(ready_sender(folder).await);
    let bytes = content(3, 6 * CHUNK_LEN, true);
    let offer = offer_of(file_id(1), &bytes);
    for (bad, what) in ["cv", "body", "zstd", "last"].into_iter().enumerate() {
        let due = if what == "last" { 5 } else { u32::try_from(bad).unwrap() };
        let mut sender = Sender::connect(folder).await;
        sender.compresses = what == "zstd";
        let Said::Wanted(from) = sender.offer(&offer).await else { panic!("{what}") };
        assert!(from <= due);
        for index in from..due {
            sender.send_piece(&bytes, index).await;
        }
        let (mut head, mut body) = sender.piece(&bytes, due);
        match what {
            "cv" => head.cv[0] ^= 1,
            _ => body[head.len as usize / 2] ^= 0x55,
        }
        sender.send(protocol::frame::FrameKind::FileChunk, &head, &body).await;
        let Said::Ended(ended) = sender.next().await else { panic!("{what}") };
        assert_eq!(why(&ended), "not now: corrupted-piece", "{what}");
        // Where nothing more was to come, the connection is between two files.
        if what != "last" {
            assert_eq!(sender.next().await, Said::Closed);
        }
        let mut next = Sender::connect(folder).await;
        assert_eq!(next.offer(&offer).await, Said::Wanted(due), "{what}");
    }
    let refused = [refused(folder, "corrupted-piece").await, refused(folder, "bad-zstd").await];
    assert!(refused.iter().sum::<u32>() == 4 && refused[0] >= 3, "{refused:?}");
    let mut sender = Sender::connect(folder).await;
    let ended = sender.file(&offer, &bytes).await.unwrap();
    assert_eq!(why(&ended), "stored");
}

#[tokio::test]
async fn what_a_disk_lost_or_changed_is_sent_again() {
    let world = World::start();
    let _center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    let bytes = content(4, 3 * CHUNK_LEN + 9, false);
    let offer = offer_of(file_id(1), &bytes);
    let size = offer.size;
    let at = |end: &str| folder.join(format!("quarantine/{}.{end}", offer.file));
    let head = [&size.to_be_bytes()[..], &offer.root].concat();
    let cv = |index: u32| chunk_cv(size, index, &bytes[index as usize * CHUNK_LEN..][..CHUNK_LEN]);
    // What is there: the part's bytes, what is noted of them; and from where it goes on.
    let two = bytes[..2 * CHUNK_LEN].to_vec();
    for (part, cvs, from) in [
        (two.clone(), [&head[..], &cv(0), &cv(1)].concat(), 2),
        // More bytes than notes: the tail is not believed.
        (two.clone(), [&head[..], &cv(0)].concat(), 1),
        // A torn note.
        (two.clone(), [&head[..], &cv(0), &cv(1)[..31]].concat(), 1),
        // More notes than bytes.
        (two[..CHUNK_LEN + 7].to_vec(), [&head[..], &cv(0), &cv(1)].concat(), 1),
        // No note, half a head, another offer's head.
        (two.clone(), vec![], 0),
        (two.clone(), head[..20].to_vec(), 0),
        (two.clone(), [&[0; 40][..], &cv(0), &cv(1)].concat(), 0),
        (vec![], [&head[..], &cv(0), &cv(1)].concat(), 0),
    ] {
        fs::write(at("part"), part).unwrap();
        fs::write(at("cvs"), cvs).unwrap();
        assert_eq!(sender.offer(&offer).await, Said::Wanted(from));
        // Leaving, before anything is sent.
        sender = Sender::connect(folder).await;
    }
    // A note that is whole, but not of what it should be: found at the end, and no fault of who offers.
    let (mut changed, mut lies) = (two.clone(), cv(1));
    changed[CHUNK_LEN] ^= 1;
    lies[0] ^= 1;
    fs::write(at("part"), &changed).unwrap();
    fs::write(at("cvs"), [&head[..], &cv(0), &lies].concat()).unwrap();
    let ended = sender.file(&offer, &bytes).await.unwrap();
    assert_eq!(why(&ended), "not now: begin-again");
    assert_eq!(quarantined(folder), Vec::<String>::new());
    let ended = sender.file(&offer, &bytes).await.unwrap();
    assert_eq!(why(&ended), "stored");
    assert_eq!(stored(folder)[0].1, bytes);
}

#[tokio::test]
async fn another_offer_under_the_same_id_begins_anew() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    let first = content(5, 4 * CHUNK_LEN, false);
    assert_eq!(sender.offer(&offer_of(file_id(1), &first)).await, Said::Wanted(0));
    for index in 0..3 {
        sender.send_piece(&first, index).await;
    }
    drop(sender);
    let mut sender = Sender::connect(folder).await;
    let second = content(6, 4 * CHUNK_LEN, false);
    let offer = offer_of(file_id(1), &second);
    assert_eq!(sender.offer(&offer).await, Said::Wanted(0));
    for index in 0..4 {
        sender.send_piece(&second, index).await;
    }
    assert!(matches!(sender.next().await, Said::Ended(Ended::Stored(_))));
    assert_eq!(center.attached.lock().unwrap()[&file_id(1)].root, offer.root);
    assert_eq!(stored(folder).len(), 1);
}

#[tokio::test]
async fn what_a_crash_left_on_its_way_into_the_store_is_finished_or_left_alone() {
    let world = World::start();
    let _center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    let bytes = content(7, 2 * CHUNK_LEN, false);
    let size = bytes.len() as u64;
    let hex = blake3::hash(&bytes).to_hex();
    let place = folder.join("store").join(&hex[..2]).join(&hex[2..]);
    let cvs: Vec<u8> = [0u32, 1]
        .into_iter()
        .flat_map(|index| chunk_cv(size, index, &bytes[index as usize * CHUNK_LEN..][..CHUNK_LEN]))
        .collect();
    // Is it in the store already, how many chaining values are noted; how it goes on.
    for (number, (is_linked, noted, wanted)) in
        [(false, 2, None), (true, 2, None), (true, 1, Some(0)), (true, 0, Some(0))].into_iter().enumerate()
    {
        let offer = offer_of(file_id(number as u64), &bytes);
        let at = |end: &str| folder.join(format!("quarantine/{}.{end}", offer.file));
        fs::write(at("part"), &bytes).unwrap();
        fs::set_permissions(at("part"), fs::Permissions::from_mode(0o400)).unwrap();
        fs::remove_file(&place).ok();
        if is_linked {
            fs::hard_link(at("part"), &place).unwrap();
        }
        let head = [&size.to_be_bytes()[..], &offer.root].concat();
        fs::write(at("cvs"), [&head, &cvs[..32 * noted]].concat()).unwrap();
        match (sender.offer(&offer).await, wanted) {
            (Said::Ended(Ended::Stored(_)), None) => {}
            (Said::Wanted(from), Some(wanted)) => {
                assert_eq!(from, wanted);
                // What is in the store is not written again, whatever comes now.
                let other = content(8, 2 * CHUNK_LEN, false);
                sender.send_piece(&other, 0).await;
                sender = Sender::connect(folder).await;
                let ended = sender.offer(&offer).await;
                assert!(matches!(ended, Said::Wanted(1)), "{ended:?}");
                sender = Sender::connect(folder).await;
            }
            (said, wanted) => panic!("{said:?} where {wanted:?} was due"),
        }
        assert!(stored(folder) == [(hex.to_string(), bytes.clone())]);
    }
    // What was verified before a crash could remove its part is answered at once, and the part goes.
    let offer = offer_of(file_id(0), &bytes);
    fs::write(folder.join(format!("quarantine/{}.part", offer.file)), &bytes).unwrap();
    assert!(matches!(sender.offer(&offer).await, Said::Ended(Ended::Stored(_))));
    assert!(!quarantined(folder).contains(&format!("{}.part", offer.file)));
}
