//! Files that the center made, out through both halves.
use std::{fs, os::unix::fs::symlink, process::Command};

use protocol::file::{CHUNK_LEN, Receipt, Ticket, chunk_cv, place, root_of};

use crate::{files::SIZES, files_fetcher::*, files_sender::*, link::Cable, world::*};

#[tokio::test]
async fn files_of_all_lengths_go_out_whole_between_files_that_come_in() {
    let world = World::start();
    let (_center, mut edge) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    let mut whole = 0;
    for (seed, (size, is_text)) in SIZES.iter().flat_map(|size| [(*size, true), (*size, false)]).enumerate() {
        let seed = seed as u64;
        let bytes = content(seed, size, is_text);
        let ticket = put(folder, seed, &bytes);
        let (got, compressed) = edge.fetch(&ticket, 0).await.unwrap();
        assert!(got == bytes, "{size}");
        assert_eq!(compressed > 0, is_text && size > 10, "{size}: {compressed}");
        // From each piece on, over the same connection, which also takes files in.
        let last = ticket.offer().chunks() - 1;
        let (got, _) = edge.fetch(&ticket, last).await.unwrap();
        assert!(got == bytes[last as usize * CHUNK_LEN..], "{size}");
        let inward = content(1000 + seed, CHUNK_LEN + 5, is_text);
        let ended = edge.file(&offer_of(file_id(1000 + seed), &inward), &inward).await.unwrap();
        assert_eq!(why(&ended), "stored");
        whole += 2;
    }
    // Both halves count in one place here.
    let given = "gate_fetches_total{outcome=\"given\",reason=\"\"} ";
    until_counted(folder, given, 2 * whole).await;
    // Nobody disturbed anybody: what follows a file closely is no word in the middle of it.
    assert_eq!(metrics(folder, "outer", "gate_file_refused_total").await, [""; 0]);
    world.outer.stop().await;
    world.inner.stop().await;
}

async fn until_counted(folder: &std::path::Path, name: &str, times: u32) {
    let waiting = async {
        while metrics(folder, "outer", name).await != [format!("{name}{times}")] {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("not counted so often");
}

#[tokio::test]
async fn goes_on_from_where_the_link_was_cut() {
    let world = World::start_with(|_, receive| {
        receive.link = receive.link.with_file_name("files-cable.sock");
    });
    let folder = world.folder.path();
    let cable = Cable::lay_between(folder, "files-cable.sock", "files-link.sock");
    let (_center, _) = ready_fetcher(&world).await;
    let bytes = content(2, MANY + 7, false);
    let ticket = put(folder, 1, &bytes);
    let (mut whole, mut cuts) = (Vec::new(), 0);
    while whole.len() < bytes.len() {
        let from = u32::try_from(whole.len() / CHUNK_LEN).unwrap();
        let mut edge = Sender::connect(folder).await;
        if !edge.ask(&ticket, from).await {
            continue;
        }
        for due in from..ticket.offer().chunks() {
            if due >= from + 5 && cuts < 5 {
                cable.cut();
                cuts += 1;
            }
            match edge.got(&ticket, due).await {
                Got::Piece(_, piece) => whole.extend(piece),
                // The gate's halves find each other again.
                Got::Ended(ended) => {
                    assert!(why(&ended).starts_with("not now: "), "{ended:?}");
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    break;
                }
                Got::Closed => break,
            }
        }
    }
    assert!(whole == bytes && cuts == 5);
}

#[tokio::test]
async fn without_a_good_ticket_nothing_is_looked_at() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    let mut edge = ready_sender(folder).await;
    let good = put(folder, 1, b"for one person");
    assert_eq!(edge.not_given(&good).await, "not now: no-keys");
    center.pushes_keys().await;
    assert_eq!(edge.not_given(&good).await, "given: 14 bytes");

    let of = (good.file, good.size, good.root);
    let foreign = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let changed = |at: usize| {
        let mut bytes = good.to_bytes();
        bytes[at] ^= 1;
        Ticket::from_bytes(&bytes)
    };
    // Of a key that is still to be told.
    let newer = Ticket::sign((2, &center_key()), of, LATER_MS);
    assert_eq!(edge.not_given(&newer).await, "not now: no-keys");
    let receipt = Receipt::sign((1, &center_key()), of, LATER_MS);
    let forged = [
        ("a foreign key", Ticket::sign((1, &foreign), of, LATER_MS)),
        ("another file", changed(3)),
        ("another hash", changed(25)),
        ("a longer time", changed(57)),
        ("another signature", changed(70)),
        ("a receipt", Ticket::from_bytes(&receipt.to_bytes())),
    ];
    let before = refused(folder, "not-genuine").await;
    // Also where there is nothing to look at: what is there is not told.
    for is_there in [true, false] {
        for (what, ticket) in &forged {
            assert_eq!(edge.not_given(ticket).await, "refused: not-genuine", "{what}");
        }
        for until_ms in [0, 1, 1_700_000_000_000] {
            assert_eq!(edge.not_given(&signed(of, until_ms)).await, "refused: expired");
        }
        if is_there {
            fs::rename(folder.join("outward"), folder.join("elsewhere")).unwrap();
        }
    }
    assert_eq!(refused(folder, "not-genuine").await, before + 12);
    assert_eq!(edge.not_given(&good).await, "refused: gone");
    world.inner.stop().await;
}

#[tokio::test]
async fn what_is_not_the_ticket_s_file_is_not_given() {
    let world = World::start();
    let (_center, mut edge) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    let bytes = content(1, 3 * CHUNK_LEN + 9, true);
    let there = put(folder, 1, &bytes);
    let path = folder.join("outward").join(place(&there.root));

    assert_eq!(edge.not_given(&ticket(2, b"never made")).await, "refused: gone");
    let longer = signed((there.file, there.size + 1, there.root), LATER_MS);
    assert_eq!(edge.not_given(&longer).await, "refused: changed");
    fs::rename(&path, folder.join("aside")).unwrap();
    for what in ["link", "folder", "pipe"] {
        match what {
            "link" => symlink(folder.join("aside"), &path).unwrap(),
            "folder" => fs::create_dir(&path).unwrap(),
            _ => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
        }
        assert_eq!(edge.not_given(&there).await, "refused: changed", "{what}");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }

    // Other content of that length: every piece is what its head says, and together they are not what the ticket says.
    let mut other = bytes.clone();
    other[CHUNK_LEN + 1] ^= 1;
    fs::write(&path, &other).unwrap();
    let (got, _) = edge.fetch(&there, 0).await.unwrap();
    let cvs: Vec<_> =
        got.chunks(CHUNK_LEN).zip(0..).map(|(piece, index)| chunk_cv(there.size, index, piece)).collect();
    assert!(got == other && root_of(there.size, &cvs) != Some(there.root));
    fs::rename(folder.join("aside"), &path).unwrap();
    assert!(edge.fetch(&there, 0).await.unwrap().0 == bytes);
}

#[tokio::test]
async fn a_file_that_is_cut_short_while_it_is_read_is_broken_off_and_the_connection_goes_on() {
    let world = World::start();
    let (_center, mut edge) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    let there = put(folder, 1, &content(1, MANY, false));
    assert!(edge.ask(&there, 0).await);
    let Got::Piece(..) = edge.got(&there, 0).await else { panic!() };
    // Nobody does this; a disk that fails looks like it.
    fs::OpenOptions::new()
        .write(true)
        .open(folder.join("outward").join(place(&there.root)))
        .unwrap()
        .set_len(1)
        .unwrap();
    let mut due = 1;
    let ended = loop {
        match edge.got(&there, due).await {
            Got::Piece(..) => due += 1,
            Got::Ended(ended) => break ended,
            Got::Closed => panic!("closed"),
        }
    };
    assert!(due < there.offer().chunks());
    assert_eq!(why(&ended), "refused: changed");
    let other = put(folder, 2, b"another");
    assert_eq!(edge.not_given(&other).await, "given: 7 bytes");
}

#[tokio::test]
async fn without_a_folder_for_it_nothing_goes_out_and_all_else_works() {
    let world = World::start_with(|_, receive| receive.outward = None);
    let (_center, mut edge) = ready_fetcher(&world).await;
    let ticket = put(world.folder.path(), 1, b"x");
    assert_eq!(edge.not_given(&ticket).await, "not now: no-outward");
    let ended = edge.file(&offer_of(file_id(1), b"inward"), b"inward").await.unwrap();
    assert_eq!(why(&ended), "stored");

    let folder = tempfile::tempdir().unwrap();
    let mut receive = receive_config(folder.path());
    receive.outward = Some(folder.path().join("missing"));
    let half = start_inner_with(folder.path(), "link.sock", receive);
    let said = half.task.await.unwrap().unwrap_err().to_string();
    assert!(said.contains("files.outward"), "{said}");
}

#[tokio::test]
async fn what_goes_out_leaves_half_of_the_connections_to_what_comes_in() {
    let world = World::start_with(|relay, receive| {
        // As many as it says, but at most half.
        (relay.wait_s, receive.connections, receive.outward_connections) = (1, 4, 100);
    });
    let (_center, mut edge) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    let big = put(folder, 1, &content(1, MANY, false));
    // They read one piece and then no more.
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut fetcher = Sender::connect(folder).await;
        assert!(fetcher.ask(&big, 0).await);
        assert!(matches!(fetcher.got(&big, 0).await, Got::Piece(..)));
        slow.push(fetcher);
    }
    let small = put(folder, 2, b"small");
    let asker = world.edge().await;
    for number in 0..20 {
        assert_eq!(edge.not_given(&small).await, "not now: busy");
        let inward = content(100 + number, 2 * CHUNK_LEN, true);
        let ended = edge.file(&offer_of(file_id(100 + number), &inward), &inward).await.unwrap();
        assert_eq!(why(&ended), "stored");
        assert!(is_done(&asker.ask(&account_list(u128::from(number))).await));
    }
    // One goes on, the other leaves: both places are free again.
    let mut rest = slow.pop().unwrap();
    for due in 1..big.offer().chunks() {
        assert!(matches!(rest.got(&big, due).await, Got::Piece(..)), "{due}");
    }
    drop(slow);
    let free = async {
        while edge.not_given(&small).await != "given: 5 bytes" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, free).await.unwrap();
}
