//! Following keys: what they are, then what happens to them, without a gap.
use std::time::Duration;

use serde_json::json;

use super::{ANSWER_MAX, Etcd, EtcdError, Event, Failure, KeyValue, Span, said, wire};

/// After so long without a word the stream is opened anew where it was: a host that is gone says nothing either.
const IDLE: Duration = Duration::from_secs(2);
/// Pauses after failures, at most.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum Seen {
    /// All keys there are: at the beginning, and after a gap that etcd had compacted away.
    All {
        /// The keys, in order.
        keys: Vec<KeyValue>,
        /// The revision they were read at.
        revision: u64,
    },
    /// What happened since, in order.
    Changes(Vec<Event>),
}

/// Follows keys for as long as it is asked.
#[derive(Debug)]
pub struct Watcher {
    etcd: Etcd,
    span: Span,
    /// The first revision that was not seen yet; none: everything is to be read.
    from: Option<u64>,
    stream: Option<Stream>,
    failures: u32,
}

#[derive(Debug)]
struct Stream {
    answer: reqwest::Response,
    buffer: Vec<u8>,
    /// So much of it holds no line's end.
    searched: usize,
    endpoint: usize,
}

impl Watcher {
    /// Begins with all that is there.
    pub fn new(etcd: Etcd, span: Span) -> Self {
        Watcher { etcd, span, from: None, stream: None, failures: 0 }
    }

    /// Begins with what happened after `revision`.
    pub fn after(etcd: Etcd, span: Span, revision: u64) -> Self {
        Watcher { from: Some(revision + 1), ..Self::new(etcd, span) }
    }

    /// Waits for what is next. After an error it may be called again, and goes on where it was; it then pauses by itself.
    /// May be dropped while it waits.
    ///
    /// # Errors
    /// Why nothing is seen at the moment.
    pub async fn next(&mut self) -> Result<Seen, EtcdError> {
        if self.failures > 0 {
            let pause = Duration::from_millis(50) * (1 << self.failures.min(6));
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        }
        let seen = self.look().await;
        match &seen {
            Ok(_) => self.failures = 0,
            Err(_) => {
                self.failures = self.failures.saturating_add(1);
                if let Some(stream) = self.stream.take() {
                    self.etcd.leave(stream.endpoint, "a watch ended");
                }
            }
        }
        seen
    }

    async fn look(&mut self) -> Result<Seen, EtcdError> {
        loop {
            let Some(from) = self.from else {
                self.stream = None;
                let ranged = self.etcd.range(&self.span).await?;
                self.from = Some(ranged.revision + 1);
                return Ok(Seen::All { keys: ranged.keys, revision: ranged.revision });
            };
            if self.stream.is_none() {
                self.stream = Some(self.etcd.open_watch(&self.span, from).await?);
            }
            let Some(stream) = &mut self.stream else { continue };
            let Ok(line) = tokio::time::timeout(IDLE, stream.line()).await else {
                self.stream = None;
                continue;
            };
            let line = match line {
                Err(EtcdError::TooLarge) => {
                    self.from = None;
                    continue;
                }
                line => line?,
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Some((code, message)) = wire::refusal(&line) {
                return Err(EtcdError::Refused { code, message });
            }
            let answer: wire::Streamed<wire::WatchAnswer> =
                serde_json::from_slice(&line).map_err(|error| EtcdError::Form(format!("watch: {error}")))?;
            let answer = answer.result;
            if answer.compact_revision > 0 {
                self.from = None;
                continue;
            }
            if answer.canceled {
                return Err(EtcdError::Away(format!("a watch was cancelled: {}", answer.cancel_reason)));
            }
            let events = answer.events()?;
            if let Some(last) = events.last() {
                self.from = Some(last.revision() + 1);
                return Ok(Seen::Changes(events));
            }
        }
    }
}

impl Etcd {
    /// Opens a stream of what happens from a revision on; tries every endpoint once.
    async fn open_watch(&self, span: &Span, from: u64) -> Result<Stream, EtcdError> {
        let (key, range_end) = span.ends();
        let asked = json!({ "key": key, "range_end": range_end, "start_revision": from.to_string() });
        let body = serde_json::to_vec(&json!({ "create_request": asked }))
            .map_err(|error| EtcdError::Form(error.to_string()))?;
        let mut reason = String::new();
        for _ in 0..self.inner.endpoints.len() {
            let endpoint = self.preferred();
            let opening = self.send(endpoint, "watch", body.clone());
            reason = match tokio::time::timeout(self.inner.attempt, opening).await {
                Ok(Ok(answer)) if answer.status().is_success() => {
                    return Ok(Stream { answer, buffer: Vec::new(), searched: 0, endpoint });
                }
                Ok(Ok(answer)) => format!("status {}", answer.status()),
                Ok(Err(Failure::NotSent(why) | Failure::NoAnswer(why))) => why,
                Ok(Err(Failure::Final(error))) => return Err(error),
                Err(_) => format!("no answer in {:?}", self.inner.attempt),
            };
            reason = format!("{}: {reason}", self.inner.endpoints[endpoint]);
            self.leave(endpoint, &reason);
        }
        Err(EtcdError::Away(reason))
    }
}

impl Stream {
    /// The next line. What has come of it is kept when this is dropped.
    async fn line(&mut self) -> Result<Vec<u8>, EtcdError> {
        loop {
            let unread = &self.buffer[self.searched..];
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > ANSWER_MAX {
                return Err(EtcdError::TooLarge);
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Err(EtcdError::Away("a watch ended".to_owned())),
                Err(error) => return Err(EtcdError::Away(said(&error))),
            }
        }
    }
}
