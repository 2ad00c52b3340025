//! A server that is one program with one command line: NATS, Redis, etcd.
use std::{
    fmt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::{
    port,
    process::{Process, wait_until},
    program,
};

/// How long a server may take to answer.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long stopping in order may take, before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How often a start is tried when another program has taken a port.
const STARTS_MAX: u32 = 3;

/// How to see that a server answers.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// Status 200 for a GET of this path at this port.
    Http(u16, &'static str),
    /// It answers PING of Redis's protocol at its port.
    Redis,
    /// It lets others connect to its port.
    Connect,
}

/// What to run, and where.
#[derive(Debug)]
pub(crate) struct Setup {
    /// In messages, and of the log file.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) scheme: &'static str,
    /// Where it serves.
    pub(crate) port: u16,
    /// Where else it listens.
    pub(crate) more_ports: Vec<u16>,
    pub(crate) probe: Probe,
}

/// A server that can be hurt. Dropping it kills it.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    process: Option<Process>,
}

impl Engine {
    /// Starts it and waits until it answers.
    pub(crate) fn start(setup: Setup) -> Result<Self> {
        let mut engine = Self { setup, process: None };
        engine.launch()?;
        Ok(engine)
    }

    fn launch(&mut self) -> Result<()> {
        let setup = &self.setup;
        let mut command = program::tethered(&setup.program, None)?;
        command.args(&setup.args).current_dir(&setup.folder);
        let log = setup.folder.join("server.log");
        self.process = Some(Process::start(&setup.name, command, &log, START_WITHIN, || {
            self.setup.probe.holds(setup.port)
        })?);
        Ok(())
    }

    /// Its address, as its drivers take it.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.setup.scheme, self.setup.port)
    }

    /// Where it serves, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.setup.port
    }

    /// The folder it lives in, with its log.
    pub fn folder(&self) -> &Path {
        &self.setup.folder
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::TERM, STOP_WITHIN);
        }
    }

    /// Starts it again on its ports, after [`Engine::kill`], [`Engine::stop`], or in full run.
    ///
    /// # Errors
    /// When it does not answer within half a minute, or a port of its is taken.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let mut starts = 0;
        loop {
            starts += 1;
            match self.launch() {
                // A connection of another program's may have a port for a moment.
                Err(_) if starts < STARTS_MAX && self.lacks_port() => thread::sleep(Duration::from_secs(1)),
                ended => break ended,
            }
        }
    }

    fn lacks_port(&self) -> bool {
        let more = self.setup.more_ports.iter().copied();
        more.chain([self.setup.port]).any(|port| !port::is_free(port))
    }

    /// Freezes it (SIGSTOP), as when a machine hangs: connections stay, nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stall(&mut self) -> Result<()> {
        self.process.as_mut().with_context(|| format!("{} does not run", self.setup.name))?.stall()
    }

    /// Lets it go on after [`Engine::stall`].
    pub fn go_on(&mut self) {
        if let Some(process) = &mut self.process {
            process.go_on();
        }
    }

    /// Whether it runs, frozen or not.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Waits until `probe` holds; for what a server can only say once others are there.
    pub(crate) fn wait_for(&self, probe: &Probe) -> Result<()> {
        match wait_until(START_WITHIN, || probe.holds(self.setup.port)) {
            true => Ok(()),
            false => anyhow::bail!(
                "{self} was not ready within {} s; its log: {}",
                START_WITHIN.as_secs(),
                self.setup.folder.join("server.log").display()
            ),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setup.name)
    }
}

impl Probe {
    fn holds(&self, port: u16) -> bool {
        match self {
            Self::Http(port, path) => port::says_ok(*port, path),
            Self::Redis => port::ask(port, b"PING\r\n", b"\r\n").is_ok_and(|said| said == b"+PONG\r\n"),
            Self::Connect => port::takes_connections(port),
        }
    }
}

/// Starts several servers that need each other, at once; on new ports while others take those that were chosen.
///
/// `setups` chooses the ports and is asked again after a start that failed for the lack of one.
pub(crate) fn start_together(mut setups: impl FnMut() -> Result<Vec<Setup>>) -> Result<Vec<Engine>> {
    let mut starts = 0;
    loop {
        starts += 1;
        let setups = setups()?;
        let ports: Vec<u16> =
            setups.iter().flat_map(|setup| setup.more_ports.iter().copied().chain([setup.port])).collect();
        let started = together(setups.into_iter().map(|setup| || Engine::start(setup)));
        match started {
            Err(_) if starts < STARTS_MAX && ports.iter().any(|port| !port::is_free(*port)) => {}
            ended => break ended,
        }
    }
}

/// Does several things at once; the first error, if there is one, once all have ended.
pub(crate) fn together<T: Send, F: FnOnce() -> Result<T> + Send>(
    things: impl IntoIterator<Item = F>,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let under_way: Vec<_> = things.into_iter().map(|thing| scope.spawn(thing)).collect();
        let ended: Vec<Result<T>> = under_way
            .into_iter()
            .map(|thing| thing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        ended.into_iter().collect()
    })
}
