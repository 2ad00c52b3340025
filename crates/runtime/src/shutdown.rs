//! An orderly end: no new work, what is under way may finish within a time limit, then the process leaves.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process's shutdown: a token that everything watches, and the tasks that must end first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::begin`] starts: for tests and for a program inside another.
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown that SIGINT or SIGTERM starts; a second signal ends the process at once, with status 130.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let begun = shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            begun.begin();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Starts the shutdown; again has no effect.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether it has started.
    pub fn is_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends when it starts.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// A token that is cancelled when it starts. Cancelling the token itself affects nobody else.
    pub fn token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Runs a task that [`Shutdown::drain`] waits for. The task itself must watch the shutdown, and end.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Starts the shutdown if it has not started, and waits until every spawned task has ended, `within` at most.
    ///
    /// # Errors
    /// [`DrainTimedOut`]: what is left will be lost when the process leaves.
    pub async fn drain(&self, within: Duration) -> Result<(), DrainTimedOut> {
        self.begin();
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait())
            .await
            .map_err(|_| DrainTimedOut { task_count: self.tasks.len(), within })
    }
}

/// Some tasks did not end in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{task_count} tasks had not ended {within:?} after the shutdown began")]
pub struct DrainTimedOut {
    /// How many were left.
    pub task_count: usize,
    /// How long they had.
    pub within: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_what_is_under_way() {
        let shutdown = Shutdown::new();
        let inner = shutdown.clone();
        let task = shutdown.spawn(async move {
            inner.begun().await;
            7
        });
        assert!(!shutdown.is_begun());
        shutdown.drain(Duration::from_secs(10)).await.unwrap();
        assert!(shutdown.is_begun());
        assert_eq!(task.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn drain_gives_up_in_time() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        let left = shutdown.drain(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(left.task_count, 1);
    }

    #[tokio::test]
    async fn cancelling_a_token_stops_nobody_else() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        token.cancel();
        assert!(!shutdown.is_begun());
        shutdown.begin();
        assert!(shutdown.token().is_cancelled());
    }

    #[tokio::test]
    async fn a_signal_starts_it() {
        let shutdown = Shutdown::on_signals().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(Duration::from_secs(10), shutdown.begun()).await.unwrap();
    }
}
