//! A hundred times one half of a gate is killed and started anew while files cross: what is lost, doubled, or visible
//! before it was verified is counted. It must be nothing.
use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use protocol::ServiceRequestId;
use serde_json::Value;

use super::{Content, FILES_PER_REQUEST, Track, WITHIN, customers, settings};
use crate::bench::{
    During, Goal, Options, Result, Series,
    fixture::Home,
    front::start_edge,
    load::{Dice, Http, on_one_thread},
    site::Site,
};

const KILLS: usize = 100;
const REQUESTS: usize = 100;
/// Pauses between two kills, in ms.
const PAUSE_MS: (usize, usize) = (50, 400);
/// The longest file.
const LONGEST: usize = 2 << 20;

pub(in crate::bench) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let track = Track::start(site, options.gates, REQUESTS)?;
    let (edge, address) = start_edge(site, &site.gates(), "edge", settings())?;
    let mut dice = Dice::new(1);
    let files: Vec<Vec<Content>> = (0..REQUESTS).map(|_| batch(&mut dice)).collect();
    let owners: Vec<_> = track.requests.borrow_mut().by_ref().collect();
    let all = (REQUESTS * FILES_PER_REQUEST) as u64;

    let (stop, store, mut unverified) = (AtomicBool::new(false), site.path("store"), HashSet::new());
    let watched = std::thread::scope(|threads| -> Result<()> {
        let watching = threads.spawn(|| watch(&store, &stop));
        let sending = threads.spawn(|| on_one_thread(send(address, &owners, &files)));
        let killed = (0..KILLS).try_for_each(|_| {
            let pause_ms = PAUSE_MS.0 + dice.below(PAUSE_MS.1 - PAUSE_MS.0);
            std::thread::sleep(Duration::from_millis(pause_ms as u64));
            site.check()?;
            track.gates.borrow_mut().kill(site, dice.below(2 * options.gates))
        });
        let sent = sending.join().map_err(|_| "it broke").during("sending files");
        let came = killed
            .and(sent)
            .and_then(|sent| sent)
            .and_then(|()| track.until("sending files", all, &edge, |stood| super::stored(stood) == all));
        stop.store(true, Ordering::SeqCst);
        unverified = watching.join().map_err(|_| "it broke").during("watching the store")?;
        came
    });
    watched?;

    let store = &site.path("store");
    let wanted = files.iter().flatten().map(|file| file.bytes.as_slice());
    let lost = wanted.filter(|bytes| !is_there(store, bytes)).count();
    let doubled = on_one_thread(doubled(address, &owners))?;
    let mut series = Series::new("kills-100", "", "", Goal::ValueAtMost(0.0));
    series.add(None, (lost + doubled + unverified.len()) as f64);
    Ok(vec![series])
}

/// The files of a request: most are short.
fn batch(dice: &mut Dice) -> Vec<Content> {
    let mut one = |_| match dice.below(8) {
        0 => Content::random(2 * (1 + dice.below(LONGEST / 2)).max(64)),
        _ => Content::text(64 + dice.below(64 << 10)),
    };
    (0..FILES_PER_REQUEST).map(&mut one).collect()
}

/// Sends one request's files after the other's, each under its key again and again until it is taken.
async fn send(
    address: SocketAddr,
    owners: &[(Home, ServiceRequestId)],
    files: &[Vec<Content>],
) -> Result<()> {
    for ((home, request), files) in owners.iter().zip(files) {
        for (n, file) in files.iter().enumerate() {
            let head = customers::creation(home, *request, n, file);
            let end = std::time::Instant::now() + WITHIN;
            loop {
                let sent = async {
                    let mut connection = Http::connect(address).await?;
                    connection.send(head.as_bytes(), &file.bytes, "201").await.map(drop)
                };
                match sent.await {
                    Ok(()) => break,
                    // What the center is asked for has no answer while a half is away.
                    Err(_) if std::time::Instant::now() < end => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

/// Looks at whatever appears in the store; those that are not what their name says.
fn watch(store: &Path, stop: &AtomicBool) -> HashSet<String> {
    let (mut seen, mut wrong) = (HashSet::new(), HashSet::new());
    loop {
        let last = stop.load(Ordering::SeqCst);
        for first in std::fs::read_dir(store).into_iter().flatten().flatten() {
            for file in std::fs::read_dir(first.path()).into_iter().flatten().flatten() {
                let name = format!("{}{}", first.file_name().display(), file.file_name().display());
                if !seen.insert(name.clone()) {
                    continue;
                }
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                if blake3::hash(&bytes).to_hex().as_str() != name {
                    wrong.insert(name);
                }
            }
        }
        if last {
            return wrong;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_there(store: &Path, bytes: &[u8]) -> bool {
    let name = blake3::hash(bytes).to_hex();
    std::fs::read(store.join(&name[..2]).join(&name[2..])).is_ok_and(|found| found == bytes)
}

/// Files that a request has more than once, or not at all.
async fn doubled(address: SocketAddr, owners: &[(Home, ServiceRequestId)]) -> Result<usize> {
    let mut connection = Http::connect(address).await?;
    let mut wrong = 0;
    for (home, request) in owners {
        let token = &home.token;
        let ask = format!(
            "GET /v1/requests/{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let shown: Value =
            serde_json::from_slice(connection.ask(ask.as_bytes()).await?).during("a request")?;
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        let steps = shown["steps"].as_array().into_iter().flatten();
        for step in steps.filter(|step| step["kind"] == "file") {
            *names.entry(step["text"].as_str().unwrap_or_default()).or_default() += 1;
        }
        wrong += names.values().filter(|times| **times != 1).count();
        wrong += FILES_PER_REQUEST.abs_diff(names.len());
    }
    Ok(wrong)
}
