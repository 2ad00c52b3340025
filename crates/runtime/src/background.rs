//! A runtime of its own for work that must never hold up other work of the same process: its threads give way to those of the
//! process's main runtime, and no task of the one waits for a task of the other to be polled.
use std::io;

use tokio::runtime::{Builder, EnterGuard, Runtime};

/// How far its threads give way (nice(2), from 0 to 19).
const NICE: i32 = 10;

/// Tasks started inside [`Background::enter`] run in it, and so does what they start. When this is dropped they end where they
/// wait next, and what blocks is not waited for.
#[derive(Debug)]
pub struct Background {
    /// Only empty while it is dropped.
    runtime: Option<Runtime>,
}

impl Background {
    /// One worker thread called `name`, and threads for what blocks.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            // Where it is not allowed to, it is as important as the rest.
            .on_thread_start(|| {
                rustix::process::setpriority_process(None, NICE).ok();
            })
            .enable_all()
            .build()?;
        Ok(Background { runtime: Some(runtime) })
    }

    /// Until the guard is dropped, tasks that this thread starts run in the background.
    pub fn enter(&self) -> Option<EnterGuard<'_>> {
        self.runtime.as_ref().map(Runtime::enter)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where this may be dropped, among other tasks.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_started_inside_runs_on_threads_that_give_way() {
        let background = Background::start("aside").unwrap();
        let guard = background.enter();
        let inside = tokio::spawn(async {
            let blocking = tokio::task::spawn_blocking(nice).await.unwrap();
            (std::thread::current().name().map(str::to_owned), nice(), blocking)
        });
        drop(guard);
        let outside = nice();
        let (name, worker, blocking) = inside.await.unwrap();
        assert_eq!(name.as_deref(), Some("aside"));
        let least = (outside + NICE).min(19);
        assert!(worker >= NICE.min(least) && blocking == worker && nice() == outside, "{worker} {blocking}");
    }

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }
}
