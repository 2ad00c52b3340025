//! The real inner half is killed again and again while files stream through it: none is lost, none attached twice, and
//! nothing is visible that is not verified.
use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::file::{CHUNK_LEN, Ended};
use tokio::process::{Child, Command};

use crate::{files_sender::*, world::*};

const KILLS: u64 = 20;
const FILES: u64 = 200;
const SENDERS: u64 = 6;

/// Confined, but of this process's user, as whom the other half and the center run here.
fn start(folder: &Path) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    let settings = format!(
        "confinement = 'best-effort'\nlink = '{}'\nsecret_file = '{}'\ncenters = ['{}']\n[files]\nlink = '{}'\nquarantine = '{}'\nstore = '{}'\nconnections = 4\n# Any bytes are files here.\ninspect = false\n",
        at("link.sock"),
        at("link.key"),
        at("center-0.sock"),
        at("files-link.sock"),
        at("quarantine"),
        at("store"),
    );
    let file = folder.join("inner.toml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk-gate"));
    command.args(["inner", "--config"]).arg(&file).stderr(Stdio::null()).stdout(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

/// Some of one piece, some of a few, some that are noted as durable more than once.
fn file(number: u64) -> Vec<u8> {
    let len = match number % 8 {
        0..=3 => 10_000 + 7 * number as usize,
        4..=6 => (2 + number as usize % 4) * CHUNK_LEN + number as usize,
        _ => 200 * CHUNK_LEN + number as usize,
    };
    content(number, len, number.is_multiple_of(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_is_lost_doubled_or_shown_unverified() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Arc::new(folder);
    let root = folder.path();
    let outer = start_outer(root);
    let center = Center::start(&path(root, "center-0.sock"));
    until(|| root.join("edge-files.sock").exists()).await;
    let (done, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (folder, done, next) = (Arc::clone(&folder), Arc::clone(&done), Arc::clone(&next));
            tokio::spawn(async move {
                let (mut receipts, mut resumed) = (Vec::new(), 0u64);
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= FILES && done.load(Ordering::SeqCst) {
                        return (receipts, resumed);
                    }
                    let bytes = file(number);
                    let offer = offer_of(file_id(number), &bytes);
                    let receipt = loop {
                        let mut sender = Sender::connect(folder.path()).await;
                        sender.compresses = number.is_multiple_of(2);
                        let from = match sender.offer(&offer).await {
                            Said::Wanted(from) => from,
                            Said::Ended(Ended::Stored(receipt)) => break receipt,
                            Said::Ended(ended) => {
                                assert!(matches!(ended, Ended::NotNow(_)), "{}", why(&ended));
                                tokio::time::sleep(Duration::from_millis(10)).await;
                                continue;
                            }
                            Said::Closed => continue,
                        };
                        resumed += u64::from(from > 0);
                        for index in from..offer.chunks() {
                            if !sender.send_piece(&bytes, index).await {
                                break;
                            }
                        }
                        match sender.next().await {
                            Said::Ended(Ended::Stored(receipt)) => break receipt,
                            Said::Ended(ended) => {
                                assert!(matches!(ended, Ended::NotNow(_)), "{}", why(&ended))
                            }
                            _ => {}
                        }
                    };
                    receipts.push((number, receipt));
                }
            })
        })
        .collect();
    // Looks at what is visible all the time; each look checks every file against its name.
    let watcher = std::thread::spawn({
        let (folder, done) = (Arc::clone(&folder), Arc::clone(&done));
        move || {
            let mut seen = HashSet::new();
            while !done.load(Ordering::SeqCst) {
                seen.extend(newly_stored(folder.path(), &seen));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });

    for kill in 0..KILLS {
        let mut inner = start(root);
        let begun = half_durable(root);
        let before = center.attached.lock().unwrap().len();
        // Late enough that something was done, at another moment each time; or in the middle of a long file.
        let has_attached = |count| center.attached.lock().unwrap().len() > before + count;
        if kill % 2 == 0 {
            until(|| has_attached(kill as usize % 5)).await;
            tokio::time::sleep(Duration::from_micros(kill * 3_137 % 40_000)).await;
        } else {
            until(|| !half_durable(root).is_subset(&begun)).await;
        }
        inner.kill().await.unwrap();
    }
    let _inner = start(root);
    done.store(true, Ordering::SeqCst);
    let (mut receipts, mut resumed) = (Vec::new(), 0);
    for sender in senders {
        let (got, went_on) = sender.await.unwrap();
        receipts.extend(got);
        resumed += went_on;
    }
    watcher.join().unwrap();
    assert!(receipts.len() as u64 >= FILES);
    let attached = center.attached.lock().unwrap().clone();
    assert_eq!(attached.len(), receipts.len(), "none is lost, none attached that was not acknowledged");
    let mut places: Vec<_> = stored(root).into_iter().map(|(name, _)| name).collect();
    places.sort();
    let mut due: Vec<_> =
        receipts.iter().map(|(number, _)| blake3::hash(&file(*number)).to_hex().to_string()).collect();
    due.sort();
    assert!(places == due, "each is there once");
    for (number, receipt) in &receipts {
        assert_eq!(attached.get(&file_id(*number)), Some(receipt));
    }
    assert!(resumed > 0, "some went on in the middle");
    // A marker that was being written stays beside it until the next sweep; nothing else does.
    let left = quarantined(root);
    assert!(left.iter().all(|name| name.ends_with(".verified") || name.ends_with(".draft")), "{left:?}");
    outer.stop().await;
}

/// The long files of which some pieces are noted as durable, and more are to come.
fn half_durable(folder: &Path) -> BTreeSet<(OsString, u64)> {
    let Ok(names) = fs::read_dir(folder.join("quarantine")) else { return BTreeSet::new() };
    let notes = names.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "cvs"));
    let lens = notes.filter_map(|file| Some((file.file_name(), file.metadata().ok()?.len())));
    lens.filter(|(_, len)| (64 * 32..200 * 32).contains(len)).collect()
}

/// What came to be visible since the last look, checked.
fn newly_stored(folder: &Path, seen: &std::collections::HashSet<PathBuf>) -> Vec<PathBuf> {
    let Ok(firsts) = fs::read_dir(folder.join("store")) else { return Vec::new() };
    let files = firsts.flatten().flat_map(|first| fs::read_dir(first.path()).into_iter().flatten().flatten());
    let new: Vec<_> = files.map(|file| file.path()).filter(|path| !seen.contains(path)).collect();
    for path in &new {
        let hash = blake3::hash(&fs::read(path).unwrap()).to_hex().to_string();
        let (first, rest) = (path.parent().unwrap().file_name().unwrap(), path.file_name().unwrap());
        assert_eq!(format!("{}{}", first.display(), rest.display()), hash, "visible before it was verified");
    }
    new
}
