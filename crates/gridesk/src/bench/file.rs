//! Files from the edge's disk through the gate into the intranet's store, attached to their requests, their receipts back
//! and noted at the edge; beside an rsync daemon that copies the same files on the same disk and flushes each.
//!
//! Customers have sent the files to an edge that has no gate for files yet; it has audited and queued them. What is
//! measured begins with the start of an edge that has one, and ends when it has noted the last receipt: its own start is
//! part of it, as that of the client is of rsync's.
use std::{
    cell::RefCell,
    path::PathBuf,
    time::{Duration, Instant},
};

use edge::gates::MESSAGES;
use protocol::ServiceRequestId;
use serde_json::Value;
use toml::Table;

use super::{
    During, Goal, Options, Result, Series,
    fixture::{self, Home, Size},
    front::{Gates, start_edge},
    load::on_one_thread,
    message,
    site::{Child, Site, table},
};
use crate::unix_http;

mod content;
mod customers;
mod kills;
mod memory;
mod rsync;

pub(super) use kills::run as kills;
pub(super) use memory::run as memory;

use content::Content;

const GIB: usize = 1 << 30;
/// Each as long as this, while messages are timed beside them.
const BESIDE: usize = 256 << 20;
/// So many files of 10 KiB.
const SMALL: (usize, usize) = (10_000, 10 << 10);
/// Files that a request may have.
const FILES_PER_REQUEST: usize = 20;
/// How long all files of a measurement may take.
const WITHIN: Duration = Duration::from_secs(300);
/// How often the edge is asked how far it is. It counts all its rows to answer: where they are many, more rarely.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// So many files are many.
const MANY: u64 = 1000;

/// Files whose crossing is measured.
struct Measured {
    series: Series,
    /// How much of it there is, in the series' unit without the time.
    amount: f64,
    /// Whether rsync compresses.
    shrinks: bool,
    make: fn() -> Vec<Content>,
}

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let mut rsync = rsync::Daemon::start(site)?;
    let per_run = SMALL.0.div_ceil(FILES_PER_REQUEST) + 20;
    let track = Track::start(site, options.gates, options.runs * per_run)?;
    let series = |case, unit, base, at_least| Series::new(case, unit, base, Goal::RatioAtLeast(at_least));
    let (mb, files) = (GIB as f64 / 1e6, SMALL.0 as f64);
    let measured = [
        Measured {
            series: series("random-1GiB", "MB/s", "rsync --fsync", 0.8),
            amount: mb,
            shrinks: false,
            make: || vec![Content::random(GIB)],
        },
        Measured {
            series: series("text-1GiB", "MB/s", "rsync --fsync, zstd 1", 1.5),
            amount: mb,
            shrinks: true,
            make: || vec![Content::text(GIB)],
        },
        Measured {
            series: series("small-10k", "/s", "rsync --fsync", 0.8),
            amount: files,
            shrinks: false,
            make: || (0..SMALL.0).map(|_| Content::text(SMALL.1)).collect(),
        },
    ];
    let mut cases = Vec::new();
    for Measured { mut series, amount, shrinks, make } in measured {
        let mut files = make();
        let rate = |took: Duration| amount / took.as_secs_f64();
        for run in 0..options.runs {
            files.iter_mut().for_each(Content::renew);
            rsync.take(&files)?;
            let (base, figure) = if run % 2 == 0 {
                let base = rate(rsync.copy(shrinks)?);
                (base, rate(track.cross(&files)?))
            } else {
                let figure = rate(track.cross(&files)?);
                (rate(rsync.copy(shrinks)?), figure)
            };
            series.add(Some(base), figure);
        }
        cases.push(series);
    }
    cases.push(beside_files(site, options, &track)?);
    Ok(cases)
}

/// Round trips of messages while files fill the track, beside those while it is idle.
fn beside_files(site: &Site, options: &Options, track: &Track<'_>) -> Result<Series> {
    let mut series = Series::new("messages-p99", "µs", "the same without files", Goal::RatioAtMost(2.0));
    let wanted = options.each.as_secs_f64() * GIB as f64 / BESIDE as f64;
    let mut files: Vec<_> = (0..wanted.ceil() as usize).map(|_| Content::random(BESIDE)).collect();
    let p99 = || {
        let gates = &*track.gates.borrow();
        on_one_thread(async {
            let inward = message::connect(site, gates).await?;
            Ok(message::round_trips(&inward, options.each).await?.1)
        })
    };
    for _ in 0..options.runs {
        site.check()?;
        files.iter_mut().for_each(Content::renew);
        let quiet = p99()?;
        let crossing = track.begin(&files)?;
        let busy = p99()?;
        if track.stored()? == files.len() as u64 {
            return Err("the files ended before the messages: name fewer --seconds")
                .during("timing messages");
        }
        track.end(crossing)?;
        series.add(Some(quiet), busy);
    }
    Ok(series)
}

/// What takes files in and carries them: a center with requests, gates, and an edge for each measurement.
struct Track<'a> {
    site: &'a Site,
    _center: Child,
    gates: RefCell<Gates>,
    requests: RefCell<std::vec::IntoIter<(Home, ServiceRequestId)>>,
    edges: RefCell<u32>,
}

/// An edge that sends.
struct Crossing {
    edge: Child,
    folder: String,
    files: u64,
    began: Instant,
}

impl<'a> Track<'a> {
    fn start(site: &'a Site, gates: usize, requests: usize) -> Result<Self> {
        let homes = fixture::make(
            site,
            Size { first: 0, accounts: requests as u64, bills: 0, lines: 0, asked_of: 1 },
        )?;
        let requests = fixture::requests(site, homes)?.into_iter();
        let center = site.center(10_000)?;
        let gates = Gates::start(site, gates, &rules())?;
        let (gates, requests) = (RefCell::new(gates), RefCell::new(requests));
        Ok(Track { site, _center: center, gates, requests, edges: RefCell::default() })
    }

    /// A file is sent to each of as many requests as it takes.
    fn send(&self, address: std::net::SocketAddr, files: &[Content]) -> Result<()> {
        let mut requests = self.requests.borrow_mut();
        let mut part = Vec::new();
        for files in files.chunks(FILES_PER_REQUEST) {
            let (home, request) = requests.next().ok_or("too few").during("making requests")?;
            part.push((home, request, files));
        }
        on_one_thread(customers::send(address, part))
    }

    /// A folder of the same gates without their sockets for files: what is sent there waits.
    fn messages_only(&self) -> Result<PathBuf> {
        let folder = self.site.path("waiting");
        for n in 0..self.gates.borrow().len() {
            let (gate, socket) = (folder.join(n.to_string()), self.site.edge_socket(n));
            std::fs::create_dir_all(&gate).during("making a folder of gates")?;
            std::fs::remove_file(gate.join(MESSAGES)).ok();
            std::os::unix::fs::symlink(socket, gate.join(MESSAGES)).during("making a folder of gates")?;
        }
        Ok(folder)
    }

    /// How long files take to cross that are queued at the edge.
    fn cross(&self, files: &[Content]) -> Result<Duration> {
        let crossing = self.begin(files)?;
        self.end(crossing)
    }

    fn begin(&self, files: &[Content]) -> Result<Crossing> {
        self.site.check()?;
        let n = self.edges.replace_with(|n| *n + 1);
        let folder = format!("edge-{n}");
        let (edge, address) = start_edge(self.site, &self.messages_only()?, &folder, settings())?;
        self.send(address, files)?;
        let files = files.len() as u64;
        self.until("queueing files", files, &edge, |stood| stage(stood, "queued") == files)?;
        drop(edge);
        rustix::fs::sync();
        let began = Instant::now();
        let edge = self.site.edge(address.port(), &self.site.gates(), &folder, settings())?;
        Ok(Crossing { edge, folder, files, began })
    }

    fn end(&self, crossing: Crossing) -> Result<Duration> {
        let Crossing { edge, folder, files, began } = crossing;
        self.until("sending files", files, &edge, |stood| stored(stood) == files)?;
        let took = began.elapsed();
        drop(edge);
        std::fs::remove_dir_all(self.site.path(&folder)).during("clearing up")?;
        self.site.clear_store()?;
        Ok(took)
    }

    /// Files that this edge has receipts of.
    fn stored(&self) -> Result<u64> {
        on_one_thread(async { Ok(stored(&self.look().await?)) })
    }

    async fn look(&self) -> Result<Value> {
        let socket = self.site.path("edge-in.sock");
        let answer = unix_http::get(&socket, "/files", WITHIN).await.during("asking the edge")?;
        serde_json::from_slice(&answer.body).during("asking the edge")
    }

    fn until(&self, what: &str, files: u64, edge: &Child, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let every = if files < MANY { LOOK_EVERY.0 } else { LOOK_EVERY.1 };
        on_one_thread(async {
            let end = Instant::now() + WITHIN;
            let mut last = Value::Null;
            while Instant::now() < end {
                self.site.check()?;
                // Not there yet.
                if let Ok(stood) = self.look().await {
                    if holds(&stood) {
                        return Ok(());
                    }
                    last = stood;
                }
                tokio::time::sleep(every).await;
            }
            Err(format!("not within {WITHIN:?}: {last}; {}", edge.last_words())).during(what)
        })
    }
}

fn stage(stood: &Value, name: &str) -> u64 {
    let stages = stood["stages"].as_array().into_iter().flatten();
    stages.filter(|stage| stage["stage"] == name).filter_map(|stage| stage["files"].as_u64()).sum()
}

fn stored(stood: &Value) -> u64 {
    let gates = stood["gates"].as_array().into_iter().flatten();
    gates.filter_map(|gate| gate["stored"].as_u64()).sum()
}

/// The default rules, but for the largest file.
fn rules() -> Table {
    table([("size_bytes_max", i64::try_from(GIB).unwrap_or(i64::MAX).into())])
}

/// The edge's settings for files: no quotas, for all come from a few customers.
fn settings() -> Table {
    table([
        ("customer_files", 100_000.into()),
        ("customer_bytes", (1i64 << 40).into()),
        ("rules", toml::Value::Table(rules())),
    ])
}
