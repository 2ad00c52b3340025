//! Child processes: started, restarted, listened to, and stopped in order.
//!
//! `gridesk up` runs each role in a process of its own. A child that ends is started again with a growing delay;
//! one that says its settings are wrong (exit status [`EXIT_BAD_CONFIG`]) is not, since nothing would change. Children
//! must not outlive their parent, however that ends: each holds the read end of a pipe as its standard input, whose
//! other end closes with the parent, and watches it with [`exit_when_parent_dies`].

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io::Read;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::shutdown::Shutdown;

mod child;

/// The exit status of a program whose settings are wrong (EX_USAGE of sysexits.h).
pub const EXIT_BAD_CONFIG: i32 = 64;

/// Set in a child's environment when its standard input is the parent's pipe.
const PARENT_PIPE: &str = "GRIDESK_PARENT_PIPE";

/// One child to run.
#[derive(Clone)]
pub struct ChildSpec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stop_within: Duration,
    ready: Option<ReadyProbe>,
}

type ReadyProbe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

impl ChildSpec {
    /// A child called `name` in logs and status, that runs `program`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stop_within: Duration::from_secs(10),
            ready: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable; the rest is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// How long it may take to end after SIGTERM before it is killed; 10 s unless set.
    #[must_use]
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.stop_within = time;
        self
    }

    /// How to see that it works, asked every 50 ms after each start until it says `true`. Without a probe a child is
    /// ready as soon as it runs.
    #[must_use]
    pub fn ready_when<F>(mut self, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.ready = Some(Arc::new(move || Box::pin(probe())));
        self
    }
}

/// How a child that ended is started again.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first delay; each further one is twice as long.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// A child that ran this long begins with the first delay again.
    pub forgiven_after: Duration,
}

impl Default for Backoff {
    /// 100 ms, up to 5 s, forgiven after 10 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            forgiven_after: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The delay before the next start, after `failures` short runs in a row (counted from 0).
    fn delay(&self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(16)).min(self.longest)
    }
}

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildState {
    /// It runs, its probe has not said yes yet.
    Starting,
    /// It works.
    Ready,
    /// It ended and will be started again.
    Waiting,
    /// It ended because its settings are wrong, and stays down.
    Failed,
    /// It was stopped.
    Stopped,
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// One child's line in the status list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChildStatus {
    /// The name in its [`ChildSpec`].
    pub name: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Where it is.
    pub state: ChildState,
    /// How its last run ended: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub last_exit: Option<String>,
}

/// Which of a child's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Takes each line that a child writes: its name, the stream, the line without its end.
pub type LineSink = Arc<dyn Fn(&str, Stream, &str) + Send + Sync>;

/// Runs children. Dropping it kills them; [`Supervisor::stop`] ends them in order.
pub struct Supervisor {
    backoff: Backoff,
    sink: LineSink,
    status: watch::Sender<Vec<ChildStatus>>,
    running: Vec<Running>,
}

struct Running {
    name: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// A supervisor whose children's lines go to this process's own streams, each with `name | ` before it.
    pub fn new() -> Self {
        Self::with(Backoff::default(), Arc::new(child::print_line))
    }

    /// A supervisor with another backoff, or another place for the children's lines.
    pub fn with(backoff: Backoff, sink: LineSink) -> Self {
        Self { backoff, sink, status: watch::Sender::new(Vec::new()), running: Vec::new() }
    }

    /// Starts a child, whose name no other has, and keeps it running. Must be called inside a tokio runtime.
    pub fn start(&mut self, spec: ChildSpec) {
        self.status.send_modify(|list| {
            list.push(ChildStatus {
                name: spec.name.clone(),
                pid: None,
                restarts: 0,
                state: ChildState::Starting,
                last_exit: None,
            });
        });
        let stop = CancellationToken::new();
        let life = child::Life {
            spec,
            backoff: self.backoff,
            sink: self.sink.clone(),
            status: self.status.clone(),
            stop: stop.clone(),
        };
        let name = life.spec.name.clone();
        self.running.push(Running { name, stop, task: tokio::spawn(life.live()) });
    }

    /// Ends one child as [`Supervisor::stop`] does, and forgets it. Nothing happens where there is none of that name.
    pub async fn stop_one(&mut self, name: &str) {
        let Some(at) = self.running.iter().position(|child| child.name == name) else { return };
        self.running.remove(at).end().await;
        self.status.send_modify(|list| list.retain(|child| child.name != name));
    }

    /// Every child, in the order they were started.
    pub fn status(&self) -> Vec<ChildStatus> {
        self.status.borrow().clone()
    }

    /// Waits until the child works.
    ///
    /// # Errors
    /// [`NotReady`] when it failed for good, does not exist, or `within` has passed.
    pub async fn wait_ready(&self, name: &str, within: Duration) -> Result<(), NotReady> {
        let mut updates = self.status.subscribe();
        let settled = updates.wait_for(|list| {
            let child = list.iter().find(|child| child.name == name);
            child.is_none_or(|c| {
                matches!(c.state, ChildState::Ready | ChildState::Failed | ChildState::Stopped)
            })
        });
        // The sender lives in self, so only the time can run out.
        tokio::time::timeout(within, settled).await.ok();
        let child = self.status().into_iter().find(|child| child.name == name);
        match child {
            Some(child) if child.state == ChildState::Ready => Ok(()),
            child => Err(NotReady {
                name: name.to_owned(),
                state: child.as_ref().map(|child| child.state),
                last_exit: child.and_then(|child| child.last_exit),
            }),
        }
    }

    /// Waits until some child has failed for good, and says which.
    pub async fn failed(&self) -> ChildStatus {
        let mut updates = self.status.subscribe();
        loop {
            let failed = updates.borrow_and_update().iter().find(|c| c.state == ChildState::Failed).cloned();
            if let Some(child) = failed {
                return child;
            }
            if updates.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends the children, the last started first, one after the other: SIGTERM, then SIGKILL when its time is over.
    pub async fn stop(mut self) {
        while let Some(last) = self.running.pop() {
            last.end().await;
        }
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Running {
    async fn end(mut self) {
        self.stop.cancel();
        // A panic in a child's task has killed its process when it dropped it.
        (&mut self.task).await.ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropping the task drops the process handle, which kills the process.
        self.task.abort();
    }
}

/// A child that does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not ready: {}", match (.state, .last_exit) {
    (Some(state), Some(exit)) => format!("{state}, its last run ended with {exit}"),
    (Some(state), None) => format!("still {state}"),
    (None, _) => "there is no such child".to_owned(),
})]
pub struct NotReady {
    /// The child.
    pub name: String,
    /// Its state when the wait ended; none when there is no such child.
    pub state: Option<ChildState>,
    /// How its last run ended.
    pub last_exit: Option<String>,
}

/// In a child: begins the shutdown when the parent is gone, however it ended (kill -9 too), and leaves the process
/// after `grace` at the latest. Does nothing in a process that no [`Supervisor`] started.
pub fn exit_when_parent_dies(shutdown: &Shutdown, grace: Duration) {
    if std::env::var_os(PARENT_PIPE).is_none() {
        return;
    }
    let shutdown = shutdown.clone();
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        loop {
            match std::io::stdin().read(&mut ignored) {
                Ok(0) => break,
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        shutdown.begin();
        std::thread::sleep(grace);
        std::process::exit(1);
    });
}

#[cfg(test)]
mod tests;
