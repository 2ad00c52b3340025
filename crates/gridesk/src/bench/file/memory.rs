//! A hundred files of 1 GiB sent in, audited and carried across, one after the other; what the programs on their way keep in
//! memory meanwhile. It must not grow with what flows.
use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Content, FILES_PER_REQUEST, GIB, Track, customers, settings};
use crate::bench::{
    During, Goal, Options, Result, Series,
    front::start_edge,
    load::on_one_thread,
    site::{Child, Site},
};

const FILES: usize = 100;
/// The first and the last so many files are compared.
const COMPARED: usize = 10;
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(in crate::bench) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let goal = Goal::RatioAtMost(1.1);
    let mut series = Series::new("memory", "MB", "its first ten files", goal);
    for _ in 0..options.runs {
        // Anew for each run: what a program has once taken, it may keep.
        let track = Track::start(site, options.gates, FILES.div_ceil(FILES_PER_REQUEST))?;
        let (first, last) = flow(site, &track)?;
        series.add(Some(first), last);
    }
    Ok(vec![series])
}

/// The most that edge and gates had in memory together, in MB, with the first files and with the last.
fn flow(site: &Site, track: &Track<'_>) -> Result<(f64, f64)> {
    let mut keeps_nothing = settings();
    keeps_nothing.insert("keep_after_receipt".to_owned(), "1ms".into());
    let (edge, address) = start_edge(site, &site.gates(), "edge", keeps_nothing)?;
    let owners: Vec<_> = track.requests.borrow_mut().by_ref().collect();
    let mut file = [Content::random(GIB)];
    let (stop, most) = (AtomicBool::new(false), Mutex::new(0));
    let programs: Vec<u32> = track.gates.borrow().processes().chain([edge.id()]).collect();
    let mut by_file = BTreeMap::new();
    std::thread::scope(|threads| -> Result<()> {
        let watching = threads.spawn(|| watch(&programs, &stop, &most));
        let flowed = (0..FILES).try_for_each(|n| {
            file[0].renew();
            let (home, request) = &owners[n / FILES_PER_REQUEST];
            let head = customers::creation(home, *request, n % FILES_PER_REQUEST, &file[0]);
            on_one_thread(customers::send_one(address, &head, &file[0]))?;
            track.until("sending a file", 1, &edge, |stood| super::stored(stood) == n as u64 + 1)?;
            // The store is not to fill the disk.
            site.clear_store()?;
            by_file.insert(n, std::mem::take(&mut *most.lock().unwrap_or_else(PoisonError::into_inner)));
            site.check()
        });
        stop.store(true, Ordering::SeqCst);
        watching.join().map_err(|_| "it broke").during("watching memory")?;
        flowed
    })?;
    drop::<Child>(edge);
    fs::remove_dir_all(site.path("edge")).during("clearing up")?;
    let of = |range: std::ops::Range<usize>| by_file.range(range).map(|(_, kib)| *kib).max().unwrap_or(0);
    let mb = |kib: u64| (kib << 10) as f64 / 1e6;
    Ok((mb(of(0..COMPARED)), mb(of(FILES - COMPARED..FILES))))
}

/// Looks again and again how much memory the programs have, in KiB (resident, without what belongs to files).
fn watch(programs: &[u32], stop: &AtomicBool, most: &Mutex<u64>) {
    while !stop.load(Ordering::SeqCst) {
        let now: u64 = programs.iter().map(|program| anonymous_kib(*program)).sum();
        let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
        *most = now.max(*most);
        drop(most);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn anonymous_kib(program: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{program}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
