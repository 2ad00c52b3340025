//! The load generators: one thread, as lean as may be, the same on both sides of a comparison.
//!
//! A closed loop keeps a number of requests in flight and counts answers; an open loop sends by the clock, whether or not
//! answers have come, and counts each answer's time from when it was due, so that a pause of the system is not hidden by
//! a generator that pauses with it.
use std::{
    cell::Cell,
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::envelope::MAX_REPLY_LEN;
use runtime::{
    clock::Deadline,
    mux::{Limits, Plain, Service},
    peers::Peers,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{During, Result, site::Child};

/// Not counted at the start of each measurement: connections, caches, frequencies settle.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a child may take to get ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long an answer may take before the figure is given up.
const ANSWER_WITHIN_MS: u64 = 30_000;

/// Runs on this thread alone until the work is done.
pub(super) fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().during("starting")?;
    LocalSet::new().block_on(&runtime, work)
}

/// Numbers by xorshift64*: cheap, and good enough to choose accounts by.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

/// Keeps `in_flight` workers asking for `each`, and answers how many asked with success a second. `worker` makes one,
/// which is asked again and again.
pub(super) async fn closed_loop<W, F>(
    in_flight: usize,
    each: Duration,
    mut worker: impl FnMut(usize) -> F,
) -> Result<f64>
where
    W: AsyncFnMut() -> Result<()> + 'static,
    F: Future<Output = Result<W>>,
{
    let counted = Rc::new(Cell::new(0u64));
    let mut workers = Vec::with_capacity(in_flight);
    for n in 0..in_flight {
        workers.push(worker(n).await?);
    }
    let begin = Instant::now() + SETTLE;
    let end = begin + each;
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|mut ask| {
            let counted = Rc::clone(&counted);
            tokio::task::spawn_local(async move {
                loop {
                    ask().await?;
                    let now = Instant::now();
                    if now >= end {
                        return Ok(());
                    }
                    if now >= begin {
                        counted.set(counted.get() + 1);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.during("asking")??;
    }
    Ok(counted.get() as f64 / each.as_secs_f64())
}

/// Sends `rate` a second for `each` by the clock; answers how long each took from when it was due, in ms, sorted.
pub(super) async fn open_loop<F: Future<Output = Result<()>> + 'static>(
    rate: f64,
    each: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for n in 0.. {
        let due = start + Duration::from_secs_f64(f64::from(n) / rate);
        if due >= start + SETTLE + each {
            break;
        }
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let asked = ask();
        tasks.push(tokio::task::spawn_local(async move {
            asked.await?;
            Ok((due, due.elapsed()))
        }));
    }
    let mut took_ms = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (due, took) = task.await.during("asking")??;
        if due >= start + SETTLE {
            took_ms.push(took.as_secs_f64() * 1e3);
        }
    }
    took_ms.sort_by(f64::total_cmp);
    Ok(took_ms)
}

/// A quantile of sorted values, exact.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Asks a center node over its socket, by one stream as a gate's inner half does.
#[derive(Clone)]
pub(super) struct Center {
    peers: Peers,
    /// The last clone ends the connection.
    _stop: Arc<DropGuard>,
}

/// Nothing is asked of a load generator; what is pushed is taken and forgotten.
#[derive(Clone)]
struct Deaf;

impl Service for Deaf {
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

impl Center {
    pub(super) async fn connect(path: &std::path::Path, child: &Child) -> Result<Self> {
        let (peers, stop) = (Peers::default(), CancellationToken::new());
        let (codec, limits) = (Plain { max_payload: MAX_REPLY_LEN }, Limits { calls: 8192, served: 64 });
        let (keeping, path, until) = (peers.clone(), path.to_owned(), stop.clone());
        tokio::task::spawn_local(async move {
            keeping.keep_connected(&path, &[], codec, limits, Deaf, until).await
        });
        let ready = tokio::time::timeout(READY_WITHIN, peers.ready()).await;
        ready.map_err(|_| child.last_words()).during("connecting to the center")?;
        Ok(Center { peers, _stop: Arc::new(stop.drop_guard()) })
    }

    /// Asks; fails where the outcome is not the one expected (see [`outcome`]).
    pub(super) async fn ask(&self, request: &[u8], expected: u8) -> Result<()> {
        let reply = self.whole(request).await?;
        if outcome(&reply) == Some(expected) {
            return Ok(());
        }
        let what = protocol::wire::decode::<protocol::ReplyEnvelope>(&reply);
        Err(format!("another answer than expected: {what:?}")).during("asking the center")
    }

    /// Asks, for the answer as it comes.
    pub(super) async fn whole(&self, request: &[u8]) -> Result<Vec<u8>> {
        let deadline = Deadline::from_remaining_ms(ANSWER_WITHIN_MS);
        self.peers.request(deadline, |_| request.to_vec()).await.during("asking the center")
    }
}

/// [`protocol::Outcome::Done`] as it is on the wire.
pub(super) const DONE: u8 = 0;
/// [`protocol::Outcome::Accepted`] as it is on the wire.
pub(super) const ACCEPTED: u8 = 1;

/// Which outcome an encoded reply carries: the byte behind the request's id. Looked up in every answer, where decoding
/// it whole would make the generator the bottleneck.
fn outcome(reply: &[u8]) -> Option<u8> {
    reply.get(16).copied()
}

/// One HTTP/1.1 connection that is kept.
pub(super) struct Http {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Http {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.during("connecting")?;
        stream.set_nodelay(true).during("connecting")?;
        Ok(Http { stream, answer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request without a body and reads its answer; fails where that is not `200`.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.send(request, &[], "200").await
    }

    /// Sends a request and reads its answer; fails where its status is another.
    pub(super) async fn send(&mut self, start: &[u8], sent: &[u8], status: &str) -> Result<&[u8]> {
        self.stream.write_all(start).await.during("sending")?;
        self.stream.write_all(sent).await.during("sending")?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await.during("receiving")? == 0 {
                return Err("the connection was closed").during("receiving");
            }
            if let Some((body, length)) = head(&self.answer)
                && self.answer.len() >= body + length
            {
                if self.answer.get(9..12) != Some(status.as_bytes()) {
                    return Err(String::from_utf8_lossy(&self.answer).into_owned())
                        .during(format!("an answer other than {status}"));
                }
                return Ok(&self.answer[body..body + length]);
            }
        }
    }
}

/// Where a response's body begins and how long it is; `None` while its head is not complete.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    const LENGTH: &[u8] = b"content-length: ";
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let lines = bytes[..end].split(|byte| *byte == b'\n');
    let value = lines
        .filter_map(|line| line.split_at_checked(LENGTH.len()))
        .find(|(name, _)| name.eq_ignore_ascii_case(LENGTH))
        .map_or(&b"0"[..], |(_, value)| value);
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    Some((end + 4, digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use protocol::{Bucket, OperationId, Outcome, ReplyEnvelope, Token, wire};

    use super::*;

    #[test]
    fn a_head_says_where_the_body_is() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y\r\n\r\nhello"), Some((45, 12)));
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((27, 0)));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n"), None);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (quantile(&values, 0.5), quantile(&values, 0.99), quantile(&[7.0], 0.99)),
            (50.0, 99.0, 7.0)
        );
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn an_outcome_is_told_by_its_byte() {
        let reply =
            |outcome| wire::encode(&ReplyEnvelope { request_id: [9; 16], outcome, token: Token::default() });
        let accepted = reply(Outcome::Accepted(OperationId::mint(Bucket::FIRST, 1)));
        assert_eq!(outcome(&accepted), Some(ACCEPTED));
        assert_ne!(outcome(&reply(Outcome::Pending(Vec::new()))), Some(DONE));
    }

    #[test]
    fn dice_stay_below_and_spread() {
        let mut dice = Dice::new(7);
        let mut seen = [0; 10];
        (0..10_000).for_each(|_| seen[dice.below(10)] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
