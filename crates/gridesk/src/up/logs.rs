//! The children's lines: all of them in bounded files, what matters on the terminal too.
use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use runtime::supervise::LineSink;

/// A file is put aside at this size, in bytes.
const MAX_FILE_LEN: u64 = 16 * 1024 * 1024;
/// So many files of a child are kept, the one in use included.
const KEPT_FILES: u32 = 3;
/// So many last lines of a child are remembered, to be shown when it fails.
const REMEMBERED: usize = 5;

/// What goes to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Nothing.
    Silent,
    /// Warnings, errors, and lines that are no log lines (a panic).
    Warnings,
    /// Everything.
    All,
}

/// The logs of all children. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<Mutex<State>>);

struct State {
    folder: PathBuf,
    echo: Echo,
    max_len: u64,
    files: HashMap<String, LogFile>,
}

struct LogFile {
    file: File,
    len: u64,
    last: VecDeque<String>,
}

impl Logs {
    /// Logs in `folder`, which must exist.
    pub fn new(folder: PathBuf, echo: Echo) -> Self {
        Self::with_limit(folder, echo, MAX_FILE_LEN)
    }

    fn with_limit(folder: PathBuf, echo: Echo, max_len: u64) -> Self {
        Logs(Arc::new(Mutex::new(State { folder, echo, max_len, files: HashMap::new() })))
    }

    /// Where a supervisor sends its children's lines.
    pub fn sink(&self) -> LineSink {
        let logs = self.clone();
        Arc::new(move |child, _, line| logs.write(child, line))
    }

    /// A child's last lines.
    pub fn last_lines(&self, child: &str) -> Vec<String> {
        self.lock().files.get(child).map(|file| file.last.iter().cloned().collect()).unwrap_or_default()
    }

    fn write(&self, child: &str, line: &str) {
        let mut state = self.lock();
        let echo = match state.echo {
            Echo::Silent => false,
            Echo::Warnings => matters(line),
            Echo::All => true,
        };
        if echo {
            // A closed terminal is no reason to end.
            writeln!(io::stderr().lock(), "{child} | {line}").ok();
        }
        if let Err(error) = state.append(child, line)
            && state.echo != Echo::Silent
        {
            writeln!(io::stderr().lock(), "{child} | (not logged: {error}) {line}").ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, child: &str, line: &str) -> io::Result<()> {
        let path = self.folder.join(format!("{child}.log"));
        if !self.files.contains_key(child) {
            self.files.insert(child.to_owned(), LogFile::open(&path)?);
        }
        let Some(log) = self.files.get_mut(child) else { return Ok(()) };
        log.last.push_back(line.to_owned());
        if log.last.len() > REMEMBERED {
            log.last.pop_front();
        }
        if log.len >= self.max_len {
            put_aside(&self.folder, child)?;
            let last = std::mem::take(&mut log.last);
            *log = LogFile::open(&path)?;
            log.last = last;
        }
        let text = format!("{line}\n");
        log.file.write_all(text.as_bytes())?;
        log.len += text.len() as u64;
        Ok(())
    }
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(LogFile { file, len, last: VecDeque::new() })
    }
}

/// `edge.log` becomes `edge.1.log`, that `edge.2.log`; what was there goes.
fn put_aside(folder: &Path, child: &str) -> io::Result<()> {
    let path = |n: u32| match n {
        0 => folder.join(format!("{child}.log")),
        n => folder.join(format!("{child}.{n}.log")),
    };
    for n in (0..KEPT_FILES - 1).rev() {
        match fs::rename(path(n), path(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a line is a warning, an error, or no log line at all. Log lines are `service time LEVEL …`.
fn matters(line: &str) -> bool {
    match line.split_whitespace().nth(2) {
        Some("TRACE" | "DEBUG" | "INFO") => false,
        Some("WARN" | "ERROR") => true,
        _ => !line.trim().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_the_newest_lines_stay() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::with_limit(folder.path().into(), Echo::Silent, 100);
        for n in 0..1_000 {
            logs.write("edge", &format!("line {n}"));
        }
        let names: Vec<_> =
            ["edge.log", "edge.1.log", "edge.2.log"].iter().map(|n| folder.path().join(n)).collect();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        for name in &names {
            assert!(fs::metadata(name).unwrap().len() <= 120);
        }
        assert!(fs::read_to_string(&names[0]).unwrap().ends_with("line 999\n"));
        assert_eq!(logs.last_lines("edge").len(), REMEMBERED);
        let again = Logs::with_limit(folder.path().into(), Echo::Silent, 100);
        again.write("edge", "after a restart");
        assert!(fs::read_to_string(&names[0]).unwrap().contains("line 999\nafter"));
    }

    #[test]
    fn warnings_and_panics_matter() {
        assert!(matters("edge 2026-01-01T00:00:00Z  WARN edge: slow"));
        assert!(matters("thread 'main' panicked at src/x.rs:1:1:"));
        assert!(!matters("edge 2026-01-01T00:00:00Z  INFO edge: listening"));
    }
}
