//! Disks fill, the center goes away, halves share a quarantine: files wait, and none is lost or half there.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use protocol::{Code, file::CHUNK_LEN};

use crate::{files_sender::*, world::*};

#[tokio::test]
async fn without_its_inner_half_the_gate_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let outer = start_outer(folder.path());
    until(|| folder.path().join("edge-files.sock").exists()).await;
    let bytes = content(1, 100, false);
    let mut sender = Sender::connect(folder.path()).await;
    let ended = sender.file(&offer_of(file_id(1), &bytes), &bytes).await.unwrap();
    assert_eq!(why(&ended), "not now: gate-away");
    // The same connection serves once it is there, and again not when it has gone.
    let inner = start_inner(folder.path());
    let stored = async {
        loop {
            let ended = sender.file(&offer_of(file_id(1), &bytes), &bytes).await.unwrap();
            match why(&ended).as_str() {
                "not now: gate-away" => tokio::time::sleep(Duration::from_millis(5)).await,
                // There is no center.
                other => break assert_eq!(other, "not now: center-away"),
            }
        }
    };
    tokio::time::timeout(2 * LONG, stored).await.unwrap();
    inner.stop().await;
    until_away(&mut sender, &bytes).await;
    outer.stop().await;
}

async fn until_away(sender: &mut Sender, bytes: &[u8]) {
    let ended = sender.file(&offer_of(file_id(1), bytes), bytes).await.unwrap();
    assert_eq!(why(&ended), "not now: gate-away");
}

#[tokio::test]
async fn a_file_waits_for_the_center_and_does_not_cross_again() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    let bytes = content(1, 3 * CHUNK_LEN, true);
    let offer = offer_of(file_id(1), &bytes);
    for mood in
        [Mood::Accepts, Mood::Problem(Code::Unavailable), Mood::Problem(Code::TooManyRequests), Mood::Garbage]
    {
        center.feels(mood);
        let ended = sender.file(&offer, &bytes).await.unwrap();
        assert_eq!(why(&ended), "not now: center-away");
        assert_eq!(quarantined(folder), [format!("{}.verified", offer.file)]);
    }
    center.feels(Mood::Answers);
    let Said::Ended(ended) = sender.offer(&offer).await else { panic!("wanted again") };
    assert_eq!(why(&ended), "stored");

    // What the center refuses is refused, and a later word counts anew.
    let other = content(2, 2 * CHUNK_LEN, true);
    let offer = offer_of(file_id(2), &other);
    center.feels(Mood::Problem(Code::NotFound));
    let ended = sender.file(&offer, &other).await.unwrap();
    assert_eq!(why(&ended), "refused: not-found");
    assert!(!quarantined(folder).contains(&format!("{}.verified", offer.file)));
    center.feels(Mood::Problem(Code::Conflict));
    let ended = sender.file(&offer, &other).await.unwrap();
    assert_eq!(why(&ended), "refused: conflict");

    let asked = center.seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked.head.idempotency_key.unwrap().to_string(), offer.file.to_string());
    assert_eq!((asked.head.client.to_string().as_str(), asked.head.session), ("gate", None));
}

#[tokio::test]
async fn room_that_is_to_stay_free_stays_free() {
    let world = World::start_with(|_, receive| receive.keep_free_bytes = u64::MAX / 2);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    for (number, size) in [100, 3 * CHUNK_LEN].into_iter().enumerate() {
        let bytes = content(1, size, false);
        let ended = sender.file(&offer_of(file_id(number as u64), &bytes), &bytes).await.unwrap();
        assert_eq!(why(&ended), "not now: disk-full");
    }
    assert!(stored(folder).is_empty());
}

/// A small file system in memory, where this user may mount one.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Small(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[tokio::test]
async fn a_full_disk_shows_nothing_and_serves_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("small"), "6m") else {
        eprintln!("skipped: no right to mount a file system");
        return;
    };
    let mut receive = receive_config(folder.path());
    receive.keep_free_bytes = 0;
    for place in [&mut receive.quarantine, &mut receive.store] {
        *place = small.0.join(place.file_name().unwrap());
    }
    let world = World {
        outer: start_outer(folder.path()),
        inner: start_inner_with(folder.path(), "link.sock", receive),
        folder,
    };
    let _center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    let bytes = content(1, 20 * CHUNK_LEN, false);
    // It would fit by what is free now; then something else takes the room.
    let offer = offer_of(file_id(1), &bytes);
    assert_eq!(sender.offer(&offer).await, Said::Wanted(0));
    let ballast = small.0.join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    for index in 0..offer.chunks() {
        if !sender.send_piece(&bytes, index).await {
            break;
        }
    }
    let Said::Ended(ended) = sender.next().await else { panic!() };
    assert_eq!(why(&ended), "not now: disk-full");
    until(|| quarantined(&small.0).is_empty()).await;
    assert!(stored(&small.0).is_empty());
    // Too long for what is free: not even begun.
    let mut sender = Sender::connect(folder).await;
    let ended = sender.file(&offer, &bytes).await.unwrap();
    assert_eq!(why(&ended), "not now: disk-full");
    fs::remove_file(&ballast).unwrap();
    let ended = sender.file(&offer, &bytes).await.unwrap();
    assert_eq!(why(&ended), "stored");
    assert_eq!(stored(&small.0)[0].1, bytes);
    world.inner.stop().await;
}

#[tokio::test]
async fn two_inner_halves_that_share_a_quarantine_never_write_the_same_file() {
    let first = World::start();
    let _center = first.center(0);
    let shared = first.folder.path();
    let second = World::start_with(|_, receive| {
        (receive.quarantine, receive.store) = (shared.join("quarantine"), shared.join("store"));
    });
    let _center = second.center(0);
    let (mut here, mut there) = (ready_sender(shared).await, ready_sender(second.folder.path()).await);
    let bytes = content(1, 5 * CHUNK_LEN, false);
    let offer = offer_of(file_id(1), &bytes);
    assert_eq!(here.offer(&offer).await, Said::Wanted(0));
    assert!(here.send_piece(&bytes, 0).await);
    let Said::Ended(ended) = there.offer(&offer).await else { panic!() };
    assert_eq!(why(&ended), "not now: elsewhere");
    assert!(here.send_piece(&bytes, 1).await);
    // The first gate's edge dies: the file goes on over the second gate.
    drop(here);
    let from = match there.offer(&offer).await {
        Said::Wanted(from) => from,
        other => panic!("{other:?}"),
    };
    assert_eq!(from, 2);
    for index in from..offer.chunks() {
        assert!(there.send_piece(&bytes, index).await);
    }
    let Said::Ended(ended) = there.next().await else { panic!() };
    assert_eq!(why(&ended), "stored");
    // And the first gate knows it without a byte.
    let Said::Ended(ended) = Sender::connect(shared).await.offer(&offer).await else { panic!() };
    assert_eq!(why(&ended), "stored");
    assert_eq!(stored(shared).len(), 1);
}

#[tokio::test]
async fn what_nobody_came_back_for_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let quarantine = folder.path().join("quarantine");
    fs::create_dir(&quarantine).unwrap();
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 3600 + 60);
    for (name, age) in [
        ("old.part", days(7)),
        ("old.cvs", days(7)),
        ("new.part", days(6)),
        ("new.cvs", days(7)),
        ("lone.cvs", days(7)),
        ("old.verified", days(30)),
        ("new.verified", days(29)),
        (".x.verified.1.0.draft", days(7)),
    ] {
        let file = fs::File::create(quarantine.join(name)).unwrap();
        file.set_modified(age).unwrap();
    }
    let locked = fs::File::create(quarantine.join("held.part")).unwrap();
    locked.set_modified(days(8)).unwrap();
    locked.lock().unwrap();
    let outer = start_outer(folder.path());
    let inner = start_inner(folder.path());
    until(|| quarantined(folder.path()) == ["held.part", "new.cvs", "new.part", "new.verified"]).await;
    inner.stop().await;
    outer.stop().await;
}
