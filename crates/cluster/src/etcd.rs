//! A client of etcd's v3 API by its JSON gateway: keys, transactions, leases, watches.
//!
//! Several endpoints, one of them preferred: a call that gets no answer there goes to the next one, which is preferred from
//! then on. Every attempt has a time-out, every answer a largest size. A write that may have been done although no answer
//! came is [`EtcdError::Unknown`] and never repeated blindly.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

mod txn;
mod watch;
mod wire;

pub use txn::{Compare, Txn, TxnReply};
pub use watch::{Seen, Watcher};
pub use wire::{Event, KeyValue};

/// The largest answer that is read, in bytes: a range of all nodes and lanes, several times over.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// The most keys that a range gives.
const KEYS_MAX: u32 = 10_000;
/// The most endpoints: more than etcd has members.
const ENDPOINTS_MAX: usize = 16;

/// A client. Cheap to clone; clones share connections and the preferred endpoint.
#[derive(Clone, Debug)]
pub struct Etcd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    endpoints: Vec<String>,
    preferred: AtomicUsize,
    attempt: Duration,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The client cannot be made of its settings.
    #[error("etcd's settings: {0}")]
    Settings(String),
    /// No endpoint answered, or none could do it; nothing was written.
    #[error("no etcd endpoint answers: {0}")]
    Away(String),
    /// A write was sent, and whether it was done is not known.
    #[error("whether etcd did it is not known: {0}")]
    Unknown(String),
    /// The lease is not there (any more).
    #[error("the lease is gone")]
    LeaseGone,
    /// etcd refused; another endpoint would say the same.
    #[error("etcd refused ({code}): {message}")]
    Refused {
        /// The gRPC status code.
        code: i64,
        /// What etcd said.
        message: String,
    },
    /// An answer that is larger than any should be.
    #[error("an answer of etcd is larger than {ANSWER_MAX} bytes")]
    TooLarge,
    /// An answer that cannot be read.
    #[error("an answer of etcd cannot be read: {0}")]
    Form(String),
}

/// A lease's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub(crate) i64);

/// Which keys are meant.
#[derive(Clone, Debug)]
pub enum Span {
    /// This one.
    Key(String),
    /// All that begin so.
    Prefix(String),
}

impl Span {
    /// The two ends as the gateway wants them.
    fn ends(&self) -> (String, Option<String>) {
        match self {
            Span::Key(key) => (encode(key.as_bytes()), None),
            Span::Prefix(prefix) => (encode(prefix.as_bytes()), Some(encode(&after_prefix(prefix)))),
        }
    }
}

/// The first key after all that begin with `prefix`; etcd reads a zero byte as "to the end".
fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What a range found.
#[derive(Clone, Debug)]
pub struct Ranged {
    /// The revision it was read at.
    pub revision: u64,
    /// The keys, in order.
    pub keys: Vec<KeyValue>,
}

/// How one attempt at one endpoint failed.
enum Failure {
    /// It was not sent.
    NotSent(String),
    /// It was sent; the endpoint cannot say what became of it.
    NoAnswer(String),
    /// An answer, and a final one.
    Final(EtcdError),
}

/// What may be done after an attempt that got no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// The same at the next endpoint: it reads, or does no harm twice.
    Harmless,
    /// Nothing: the caller has to look first.
    Never,
}

impl Etcd {
    /// A client of these endpoints (`http://host:2379`). An attempt at one of them takes `attempt` at most.
    ///
    /// # Errors
    /// [`EtcdError::Settings`].
    pub fn new(endpoints: &[String], attempt: Duration) -> Result<Self, EtcdError> {
        if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
            return Err(EtcdError::Settings(format!("name 1 to {ENDPOINTS_MAX} endpoints")));
        }
        let wrong = endpoints.iter().find(|endpoint| {
            !endpoint.starts_with("http://")
                || reqwest::Url::parse(endpoint).map_or(true, |url| !url.has_host())
        });
        if let Some(wrong) = wrong {
            return Err(EtcdError::Settings(format!("endpoint {wrong} is not of the form http://host:2379")));
        }
        // A connection that is idle for longer than leases last may be to a host that is gone.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(attempt)
            .pool_idle_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| EtcdError::Settings(error.to_string()))?;
        let endpoints = endpoints.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let inner = Inner { http, endpoints, preferred: AtomicUsize::new(0), attempt };
        Ok(Etcd { inner: Arc::new(inner) })
    }

    /// Reads keys, as of the last committed write of all members.
    ///
    /// # Errors
    /// [`EtcdError::Away`] and the final ones.
    pub async fn range(&self, span: &Span) -> Result<Ranged, EtcdError> {
        let (key, range_end) = span.ends();
        let body = json!({ "key": key, "range_end": range_end, "limit": KEYS_MAX.to_string() });
        let answer: wire::Range = self.call("kv/range", &body, Again::Harmless).await?;
        if answer.more {
            return Err(EtcdError::TooLarge);
        }
        let keys = answer.kvs.into_iter().map(KeyValue::try_from).collect::<Result<_, _>>()?;
        Ok(Ranged { revision: answer.header.revision, keys })
    }

    /// Reads one key.
    ///
    /// # Errors
    /// As [`Etcd::range`].
    pub async fn get(&self, key: &str) -> Result<Option<KeyValue>, EtcdError> {
        Ok(self.range(&Span::Key(key.to_owned())).await?.keys.into_iter().next())
    }

    /// Writes a key, bound to a lease where one is given. Gives the write's revision.
    ///
    /// # Errors
    /// Any of [`EtcdError`].
    pub async fn put(&self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<u64, EtcdError> {
        let body = wire::put(key, value, lease);
        let answer: wire::Headed = self.call("kv/put", &body, Again::Never).await?;
        Ok(answer.header.revision)
    }

    /// Deletes keys; gives how many there were.
    ///
    /// # Errors
    /// Any of [`EtcdError`].
    pub async fn delete(&self, span: &Span) -> Result<u64, EtcdError> {
        let (key, range_end) = span.ends();
        let body = json!({ "key": key, "range_end": range_end });
        let answer: wire::Deleted = self.call("kv/deleterange", &body, Again::Never).await?;
        Ok(answer.deleted)
    }

    /// Does one thing or the other, as a whole.
    ///
    /// # Errors
    /// Any of [`EtcdError`]; after [`EtcdError::Unknown`] the caller reads what has become of it.
    pub async fn txn(&self, txn: &Txn) -> Result<TxnReply, EtcdError> {
        let answer: wire::TxnAnswer = self.call("kv/txn", &txn.body(), Again::Never).await?;
        TxnReply::of(answer)
    }

    /// Makes a lease; gives its id and how long it lasts, which may be longer than asked for.
    ///
    /// # Errors
    /// [`EtcdError::Away`] and the final ones. A lease that was made without an answer ends by itself.
    pub async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), EtcdError> {
        let body = json!({ "TTL": ttl.as_secs().to_string() });
        let answer: wire::Lease = self.call("lease/grant", &body, Again::Harmless).await?;
        Ok((LeaseId(answer.id), Duration::from_secs(answer.ttl)))
    }

    /// Renews a lease; gives how long it lasts from now.
    ///
    /// # Errors
    /// [`EtcdError::LeaseGone`] where there is none any more, [`EtcdError::Away`] and the final ones.
    pub async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, EtcdError> {
        let body = json!({ "ID": lease.0.to_string() });
        let answer: wire::Streamed<wire::Lease> =
            self.call("lease/keepalive", &body, Again::Harmless).await?;
        match answer.result.ttl {
            0 => Err(EtcdError::LeaseGone),
            seconds => Ok(Duration::from_secs(seconds)),
        }
    }

    /// Ends a lease, and with it every key that is bound to it.
    ///
    /// # Errors
    /// [`EtcdError::LeaseGone`] where there is none, [`EtcdError::Away`] and the final ones.
    pub async fn lease_revoke(&self, lease: LeaseId) -> Result<(), EtcdError> {
        let body = json!({ "ID": lease.0.to_string() });
        let _: wire::Headed = self.call("lease/revoke", &body, Again::Harmless).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        again: Again,
    ) -> Result<T, EtcdError> {
        let body = serde_json::to_vec(body).map_err(|error| EtcdError::Form(error.to_string()))?;
        let mut reason = String::new();
        let mut was_sent = false;
        for _ in 0..self.inner.endpoints.len() {
            let at = self.preferred();
            let attempt = self.attempt(at, path, body.clone());
            let failure = match tokio::time::timeout(self.inner.attempt, attempt).await {
                Ok(Ok(answer)) => {
                    return serde_json::from_slice(&answer)
                        .map_err(|error| EtcdError::Form(format!("{path}: {error}")));
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::NoAnswer(format!("no answer in {:?}", self.inner.attempt)),
            };
            let why = match failure {
                Failure::Final(error) => return Err(error),
                Failure::NotSent(why) => why,
                Failure::NoAnswer(why) => {
                    was_sent = true;
                    why
                }
            };
            reason = format!("{}: {why}", self.inner.endpoints[at]);
            self.leave(at, &reason);
            if was_sent && again == Again::Never {
                return Err(EtcdError::Unknown(reason));
            }
        }
        Err(EtcdError::Away(reason))
    }

    async fn attempt(&self, at: usize, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let mut answer = self.send(at, path, body).await?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::NoAnswer(said(&error)))? {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                return Err(Failure::Final(EtcdError::TooLarge));
            }
            bytes.extend_from_slice(&chunk);
        }
        match wire::refusal(&bytes) {
            Some((code, message)) => Err(judge(code, message)),
            None if status.is_success() => Ok(bytes),
            None => Err(Failure::NoAnswer(format!("status {status}"))),
        }
    }

    async fn send(&self, at: usize, path: &str, body: Vec<u8>) -> Result<reqwest::Response, Failure> {
        let url = format!("{}/v3/{path}", self.inner.endpoints[at]);
        let request = self.inner.http.post(url).header("content-type", "application/json");
        // Only a member that sees a leader may answer; without it a watch would wait at one that is cut off.
        let request = request.header("grpc-metadata-hasleader", "true").body(body);
        request.send().await.map_err(|error| match error.is_connect() {
            true => Failure::NotSent(said(&error)),
            false => Failure::NoAnswer(said(&error)),
        })
    }

    fn preferred(&self) -> usize {
        self.inner.preferred.load(Ordering::Relaxed) % self.inner.endpoints.len()
    }

    /// Prefers the next endpoint, unless another task did so meanwhile.
    fn leave(&self, at: usize, reason: &str) {
        let next = (at + 1) % self.inner.endpoints.len();
        let swap = self.inner.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if swap.is_ok() && next != at {
            metrics::counter!("cluster_etcd_failovers_total").increment(1);
            tracing::debug!(reason, to = self.inner.endpoints[next], "another etcd endpoint is asked");
        }
    }
}

/// An error with all its causes, without the address, which is said before it.
fn said(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut words = if error.is_timeout() { "timed out".to_owned() } else { "not reached".to_owned() };
    while let Some(cause) = source {
        words = cause.to_string();
        source = cause.source();
    }
    words.chars().take(200).collect()
}

/// What an error that etcd answered means for who asked.
fn judge(code: i64, message: String) -> Failure {
    const DEADLINE_EXCEEDED: i64 = 4;
    const NOT_FOUND: i64 = 5;
    const UNAVAILABLE: i64 = 14;
    match code {
        NOT_FOUND if message.contains("lease not found") => Failure::Final(EtcdError::LeaseGone),
        _ if message.contains("too many requests") => Failure::NotSent(message),
        DEADLINE_EXCEEDED | UNAVAILABLE => Failure::NoAnswer(message),
        _ => Failure::Final(EtcdError::Refused { code, message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        assert_eq!(after_prefix("/a/"), b"/a0");
        assert_eq!(
            after_prefix("\u{10ffff}"),
            "\u{10ffff}".bytes().take(3).chain([0xc0]).collect::<Vec<_>>()
        );
        assert_eq!(after_prefix(""), [0]);
    }

    #[test]
    fn endpoints_that_are_none_are_refused() {
        for endpoints in [&[][..], &["etcd-1:2379"], &["https://etcd-1:2379"], &["http://"]] {
            let endpoints: Vec<String> = endpoints.iter().map(|url| (*url).to_owned()).collect();
            let made = Etcd::new(&endpoints, Duration::from_millis(100));
            assert!(matches!(made, Err(EtcdError::Settings(_))), "{endpoints:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        let etcd = Etcd::new(&["http://127.0.0.1:1".to_owned()], Duration::from_millis(500)).unwrap();
        let error = etcd.get("x").await.unwrap_err();
        assert!(matches!(&error, EtcdError::Away(why) if why.contains("127.0.0.1:1")), "{error}");
        // A write that was not sent was not done either.
        assert!(matches!(etcd.put("x", b"y", None).await, Err(EtcdError::Away(_))));
    }

    #[test]
    fn answers_of_etcd_are_judged_by_what_they_leave_open() {
        let lease = "etcdserver: requested lease not found".to_owned();
        assert!(matches!(judge(5, lease), Failure::Final(EtcdError::LeaseGone)));
        assert!(matches!(judge(14, "etcdserver: request timed out".into()), Failure::NoAnswer(_)));
        assert!(matches!(judge(8, "etcdserver: too many requests".into()), Failure::NotSent(_)));
        let full = judge(8, "etcdserver: mvcc: database space exceeded".into());
        assert!(matches!(full, Failure::Final(EtcdError::Refused { code: 8, .. })));
    }
}
