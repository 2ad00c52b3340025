//! What of an engine is still there, as /proc says.
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Every process that names the folder on its command line, or works in it.
pub(crate) fn of(folder: &Path) -> Vec<String> {
    let folder = fs::canonicalize(folder).unwrap();
    let text = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let works_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
        if words.contains(text) || works_there {
            found.push(format!("{pid} {words}"));
        }
    }
    found
}

/// Waits up to 20 s until nothing of the folder runs.
pub(crate) fn see_none(folder: &Path) {
    let until = Instant::now() + Duration::from_secs(20);
    while !of(folder).is_empty() {
        assert!(Instant::now() < until, "{:?}", of(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}
