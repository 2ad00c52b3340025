//! One engine's process with all its children: started, seen to be ready, hurt, ended.
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How often something is looked at that cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the kernel may take to take killed processes away.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How long a dropped engine may take to end when it was asked.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);
/// How many bytes of a log an error shows at most.
const LOG_SHOWN: u64 = 2000;

/// A running engine. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    /// What it is asked with when it is dropped, before it is killed.
    last_word: Option<Signal>,
    /// While it is frozen: a process that kills it when this one ends.
    guard: Option<Child>,
}

impl Process {
    /// Starts `command`, its output appended to `log`, and waits until `ready` says so.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready within `within`: with the last lines of its log.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        log: &Path,
        within: Duration,
        ready: impl Fn() -> bool,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("{} cannot be opened", log.display()))?;
        let begins = file.metadata().map_or(0, |about| about.len());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = spawn(command).with_context(|| format!("{name} cannot be started"))?;
        let mut process =
            Self { name: name.to_owned(), log: log.to_owned(), child, last_word: None, guard: None };
        let until = Instant::now() + within;
        loop {
            if let Some(status) = process.child.try_wait()? {
                let ended = format!("ended at once ({status})");
                return Err(process.failure(&ended, begins));
            }
            if ready() {
                return Ok(process);
            }
            if Instant::now() > until {
                let late = format!("was not ready within {} s", within.as_secs());
                return Err(process.failure(&late, begins));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What it is asked with when it is dropped, before it is killed: for what it would leave behind otherwise.
    pub(crate) fn with_last_word(mut self, signal: Signal) -> Self {
        self.last_word = Some(signal);
        self
    }

    fn failure(&self, what: &str, begins: u64) -> anyhow::Error {
        let (name, log) = (&self.name, self.log.display());
        anyhow!("{name} {what}; the end of {log}:\n{}", end_of(&self.log, begins).trim_end())
    }

    /// Kills it and all its children (SIGKILL), and waits until they are gone.
    pub(crate) fn kill(&mut self) {
        // Stopped first, so that it has no more children than those that are seen.
        self.signal_root(Signal::STOP);
        let tree = self.tree();
        for pid in &tree {
            signal(*pid, Signal::KILL);
        }
        self.child.kill().ok();
        self.dismiss_guard();
        self.child.wait().ok();
        wait_until(GONE_WITHIN, || !tree.iter().any(|pid| is_running(*pid)));
    }

    /// Asks it to end by `ask`, and kills what is left after `within`.
    pub(crate) fn stop(&mut self, ask: Signal, within: Duration) {
        self.go_on();
        let tree = self.tree();
        self.signal_root(ask);
        let ended = wait_until(within, || !matches!(self.child.try_wait(), Ok(None)));
        if !ended {
            return self.kill();
        }
        for pid in tree.into_iter().filter(|pid| *pid != self.child.id() && is_running(*pid)) {
            signal(pid, Signal::KILL);
        }
    }

    /// Freezes it and all its children (SIGSTOP).
    ///
    /// # Errors
    /// When the guard cannot be started that kills them should this process end meanwhile: frozen processes notice
    /// nobody's death.
    pub(crate) fn stall(&mut self) -> Result<()> {
        self.signal_root(Signal::STOP);
        let tree = self.tree();
        for pid in &tree {
            signal(*pid, Signal::STOP);
        }
        self.dismiss_guard();
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", "read -r _; kill -KILL \"$@\"", "guard"]).args(tree.iter().map(u32::to_string));
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.guard = Some(spawn(guard).with_context(|| format!("no guard for {}", self.name))?);
        Ok(())
    }

    /// Lets it go on after [`Process::stall`].
    pub(crate) fn go_on(&mut self) {
        self.dismiss_guard();
        if self.ended().is_none() {
            for pid in self.tree().into_iter().rev() {
                signal(pid, Signal::CONT);
            }
        }
    }

    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Before its standard input closes, which is its sign to act.
            guard.kill().ok();
            guard.wait().ok();
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn signal_root(&mut self, what: Signal) {
        // Once it has been waited for, its id may be another's.
        if self.ended().is_none() {
            signal(self.child.id(), what);
        }
    }

    /// It and all its children, parents first.
    fn tree(&self) -> Vec<u32> {
        let processes = all_processes();
        let mut tree = vec![self.child.id()];
        let mut at = 0;
        while let Some(parent) = tree.get(at).copied() {
            tree.extend(processes.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        tree
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return self.dismiss_guard();
        }
        match self.last_word {
            Some(signal) => self.stop(signal, LAST_WORD_WITHIN),
            None => self.kill(),
        }
    }
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it cannot be run, fails, or takes longer than `within`: with the last lines of what it said.
pub(crate) fn run(name: &str, mut command: Command, within: Duration) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = spawn(command).with_context(|| format!("{name} cannot be started"))?;
    let said = child.stdout.take().map(read_all);
    let complained = child.stderr.take().map(read_all);
    let mut status = None;
    wait_until(within, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if status.is_none() {
        child.kill().ok();
        child.wait().ok();
    }
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (said, complained) = (text(said), text(complained));
    match status {
        Some(status) if status.success() => Ok(said),
        Some(status) => match status.signal() {
            Some(signal) => bail!("{name} was ended by signal {signal}: {}", complained.trim_end()),
            None => bail!("{name} failed: {}", complained.trim_end()),
        },
        None => bail!("{name} took longer than {} s: {}", within.as_secs(), complained.trim_end()),
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// Starts a child from a thread that lives as long as this process: the signal that a child gets at its parent's death
/// is sent at the death of the *thread* that started it.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: std::sync::OnceLock<mpsc::Sender<Order>> = std::sync::OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, taken) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in taken {
                answer.send(command.spawn()).ok();
            }
        });
        orders
    });
    let (answer, answered) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    spawner.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// Kills the engines of an earlier run that was killed itself, and left some behind: those that work in `folder`.
pub(crate) fn sweep(folder: &Path) {
    let left: HashSet<u32> = working_in(folder).into_iter().collect();
    for pid in &left {
        signal(*pid, Signal::KILL);
    }
    wait_until(GONE_WITHIN, || !left.iter().any(|pid| is_running(*pid)));
}

/// The engines' processes whose working folder is `folder` or lies in it.
fn working_in(folder: &Path) -> Vec<u32> {
    const ENGINES: &[&str] = &["postgres", "nats-server", "redis-server", "etcd"];
    let of_ours = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ENGINES.contains(&name.trim_end())
            && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    all_processes().into_iter().map(|(pid, _)| pid).filter(of_ours).collect()
}

/// Every process with its parent.
fn all_processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, state_and_parent(pid)?.1))).collect()
}

fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether it is there and no zombie.
fn is_running(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn signal(pid: u32, what: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, what).ok();
    }
}

/// Waits until `is_so`, looking often; `false` when it is not so within `within`.
pub(crate) fn wait_until(within: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + within;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The end of a log, of what was written since it had `begins` bytes.
fn end_of(log: &Path, begins: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(begins.max(length.saturating_sub(LOG_SHOWN))))?;
        let mut bytes = Vec::new();
        file.take(LOG_SHOWN).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
