//! One child's life: start, watch, wait, start again, until told to stop.

use std::io::Write;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Backoff, ChildSpec, ChildState, ChildStatus, EXIT_BAD_CONFIG, LineSink, PARENT_PIPE, Stream};

/// A longer line is passed on in pieces.
const LINE_LENGTH_MAX: usize = 16 * 1024;

/// How long a dead child's last lines are waited for; something it started may hold its streams open for ever.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);

const PROBE_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Life {
    pub(super) spec: ChildSpec,
    pub(super) backoff: Backoff,
    pub(super) sink: LineSink,
    pub(super) status: watch::Sender<Vec<ChildStatus>>,
    pub(super) stop: CancellationToken,
}

enum Ended {
    Told,
    Itself { exit: String, bad_config: bool },
}

impl Life {
    pub(super) async fn live(self) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            match self.run_once().await {
                Ended::Told => return self.update(|child| child.state = ChildState::Stopped),
                Ended::Itself { exit, bad_config: true } => {
                    tracing::error!(
                        child = self.spec.name,
                        exit,
                        "its settings are wrong; not started again"
                    );
                    return self.update(|child| {
                        child.last_exit = Some(exit);
                        child.state = ChildState::Failed;
                    });
                }
                Ended::Itself { exit, .. } => {
                    if started.elapsed() >= self.backoff.forgiven_after {
                        failures = 0;
                    }
                    let delay = self.backoff.delay(failures);
                    failures += 1;
                    let delay_ms = delay.as_millis();
                    tracing::warn!(child = self.spec.name, exit, delay_ms, "ended; will be started again");
                    self.update(|child| {
                        child.last_exit = Some(exit);
                        child.state = ChildState::Waiting;
                    });
                    if self.stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                        return self.update(|child| child.state = ChildState::Stopped);
                    }
                    self.update(|child| {
                        child.restarts += 1;
                        child.state = ChildState::Starting;
                    });
                }
            }
        }
    }

    async fn run_once(&self) -> Ended {
        if self.stop.is_cancelled() {
            return Ended::Told;
        }
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                let exit = format!("cannot run {}: {error}", self.spec.program.display());
                return Ended::Itself { exit, bad_config: false };
            }
        };
        self.update(|status| status.pid = child.id());
        // Held until the child has ended: its closing tells the child that we are gone. `wait` would close it.
        let _pipe = child.stdin.take();
        let out = child.stdout.take().map(|stream| self.pass_on(stream, Stream::Out));
        let err = child.stderr.take().map(|stream| self.pass_on(stream, Stream::Err));

        let ended = tokio::select! {
            exit = child.wait() => ended_itself(exit),
            () = self.watch_until_stopped() => {
                let exit = terminate(&mut child, self.spec.stop_within).await;
                tracing::info!(child = self.spec.name, ?exit, "stopped");
                Ended::Told
            }
        };
        self.update(|status| status.pid = None);
        for mut reader in [out, err].into_iter().flatten() {
            if tokio::time::timeout(LAST_LINES_WITHIN, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        ended
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.spec.program)
            .args(&self.spec.args)
            .envs(self.spec.env.iter().map(|(name, value)| (name, value)))
            .env(PARENT_PIPE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal goes to the parent alone, which then stops the children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Probes until ready, then waits for the order to stop.
    async fn watch_until_stopped(&self) {
        let probing = async {
            if let Some(probe) = &self.spec.ready {
                while !probe().await {
                    tokio::time::sleep(PROBE_EVERY).await;
                }
            }
            self.update(|child| child.state = ChildState::Ready);
        };
        self.stop.run_until_cancelled(probing).await;
        self.stop.cancelled().await;
    }

    fn pass_on<R: AsyncRead + Unpin + Send + 'static>(
        &self,
        stream: R,
        which: Stream,
    ) -> tokio::task::JoinHandle<()> {
        let (name, sink) = (self.spec.name.clone(), self.sink.clone());
        tokio::spawn(async move {
            let mut reader = BufReader::with_capacity(LINE_LENGTH_MAX, stream);
            while let Some(line) = next_line(&mut reader).await {
                sink(&name, which, &String::from_utf8_lossy(&line));
            }
        })
    }

    fn update(&self, change: impl FnOnce(&mut ChildStatus)) {
        self.status.send_modify(|list| {
            if let Some(child) = list.iter_mut().find(|child| child.name == self.spec.name) {
                change(child);
            }
        });
    }
}

fn ended_itself(exit: std::io::Result<ExitStatus>) -> Ended {
    match exit {
        Ok(exit) => {
            Ended::Itself { exit: exit.to_string(), bad_config: exit.code() == Some(EXIT_BAD_CONFIG) }
        }
        Err(error) => Ended::Itself { exit: error.to_string(), bad_config: false },
    }
}

/// SIGTERM, then SIGKILL once `within` has passed.
async fn terminate(child: &mut Child, within: Duration) -> std::io::Result<ExitStatus> {
    // `id` is none once the child has been waited for, so that the signal cannot reach a stranger.
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).ok();
    }
    match tokio::time::timeout(within, child.wait()).await {
        Ok(exit) => exit,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

/// The next line without its end, at most [`LINE_LENGTH_MAX`] bytes of it; `None` at the end of the stream.
async fn next_line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let ready = reader.fill_buf().await.ok()?;
        if ready.is_empty() {
            return (!line.is_empty()).then_some(line);
        }
        let room = &ready[..ready.len().min(LINE_LENGTH_MAX - line.len())];
        let end = room.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
        let used = end.map_or(room.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() || line.len() == LINE_LENGTH_MAX {
            return Some(line);
        }
    }
}

/// Writes a child's line to our own stream of the same kind. A closed stream is no reason to end.
pub(super) fn print_line(name: &str, stream: Stream, line: &str) {
    let text = format!("{name} | {line}\n");
    match stream {
        Stream::Out => std::io::stdout().lock().write_all(text.as_bytes()).ok(),
        Stream::Err => std::io::stderr().lock().write_all(text.as_bytes()).ok(),
    };
}
