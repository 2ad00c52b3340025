//! Many requests in flight over one stream, in both directions.
//!
//! Used between programs of one zone (plain framing, [`Plain`]) and on the gate's link (sealed frames, a codec of the
//! gate's own). Everything is bounded: the frame by its codec, the calls in flight by a semaphore on each side, the
//! packets waiting to be written by a channel. Writes are gathered: whatever waits goes out in one system call.
use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks.
    Request,
    /// Answers a request.
    Reply,
    /// Tells, and wants to hear that it was taken.
    Push,
    /// Says that a push was taken.
    PushAck,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Numbered by who asks; an answer carries its question's.
    pub id: u64,
    /// The content.
    pub payload: Vec<u8>,
}

/// A codec's reason to close the stream.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Writes packets.
pub trait Encode: Send + 'static {
    /// Appends a packet to `out`.
    fn encode(&mut self, packet: &Packet, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// Reads packets.
pub trait Decode: Send + 'static {
    /// Takes a packet from the front of `bytes`, with the number of bytes it took; `None` where it is not complete. A
    /// length must be checked against its maximum before the bytes it announces are waited for.
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<(Packet, usize)>, CodecError>;
}

/// Answers what the other side asks. `None` leaves it without an answer, and its deadline does the rest; so does a
/// panic, which ends that one answer and nothing else.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers a request.
    fn request(&self, payload: Vec<u8>) -> impl Future<Output = Option<Vec<u8>>> + Send;
    /// Takes a push; the answer says that it was taken.
    fn push(&self, payload: Vec<u8>) -> impl Future<Output = Option<Vec<u8>>> + Send;
}

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests and pushes that this side may have open.
    pub calls: usize,
    /// Requests and pushes of the other side that are worked on at once; the next is read when one is done.
    pub served: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { calls: 1024, served: 1024 }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// As many calls are open as may be: nothing was sent, so nothing was done.
    #[error("too many calls in flight")]
    Busy,
    /// No stream stood: nothing was sent, so nothing was done.
    #[error("not connected")]
    Away,
    /// The stream is closed; whether the other side did what was asked is not known.
    #[error("connection closed")]
    Closed,
    /// No answer in time; whether the other side did what was asked is not known.
    #[error("no answer in time")]
    TimedOut,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// Reading or writing failed.
    #[error("stream failed")]
    Io(#[from] std::io::Error),
    /// The other side sent what the codec refuses.
    #[error("refused by the codec")]
    Codec(#[source] CodecError),
}

/// This side's handle on a stream: asks and pushes.
#[derive(Clone)]
pub struct Peer {
    shared: Arc<Shared>,
}

struct Shared {
    out: mpsc::Sender<Packet>,
    open: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    next_id: AtomicU64,
    calls: Semaphore,
    closed: CancellationToken,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Vec<u8>>>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Takes a call off the list however it ends.
struct OpenCall<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.shared.open().remove(&self.id);
    }
}

/// Lets nobody wait on a stream that nobody works on, however the work ended: also by a panic or an abort.
struct Ending {
    shared: Arc<Shared>,
    writing: JoinHandle<Result<(), MuxError>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.writing.abort();
        self.shared.closed.cancel();
        self.shared.open().clear();
    }
}

impl Peer {
    /// Starts working on a stream. The task ends when the stream does, with the reason; [`Peer::close`] ends it.
    pub fn start<S>(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        codec: (impl Decode, impl Encode),
        limits: Limits,
        service: S,
    ) -> (Peer, JoinHandle<Result<(), MuxError>>)
    where
        S: Service,
    {
        let (out, outgoing) = mpsc::channel(limits.calls + limits.served);
        let shared = Arc::new(Shared {
            out,
            open: Mutex::default(),
            next_id: AtomicU64::new(1),
            calls: Semaphore::new(limits.calls),
            closed: CancellationToken::new(),
        });
        let (decoder, encoder) = codec;
        let reading = read_packets(
            reader,
            decoder,
            Arc::clone(&shared),
            Arc::new(Semaphore::new(limits.served)),
            service,
        );
        let writing = write_packets(writer, encoder, outgoing);
        let mut ending = Ending { shared: Arc::clone(&shared), writing: tokio::spawn(writing) };
        let task = tokio::spawn(async move {
            let closed = ending.shared.closed.clone();
            tokio::select! {
                ended = reading => ended,
                ended = &mut ending.writing => ended.unwrap_or(Ok(())),
                () = closed.cancelled() => Ok(()),
            }
        });
        (Peer { shared }, task)
    }

    /// Asks, and waits for the answer at most `timeout`.
    pub async fn request(&self, payload: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.call(Kind::Request, payload, timeout).await
    }

    /// Tells, and waits to hear that it was taken at most `timeout`.
    pub async fn push(&self, payload: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.call(Kind::Push, payload, timeout).await
    }

    async fn call(&self, kind: Kind, payload: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        let shared = &*self.shared;
        let _permit = shared.calls.try_acquire().map_err(|_| CallError::Busy)?;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        shared.open().insert(id, answer);
        let _open = OpenCall { shared, id };
        if shared.closed.is_cancelled() {
            return Err(CallError::Closed);
        }
        let exchange = async {
            shared.out.send(Packet { kind, id, payload }).await.map_err(|_| CallError::Closed)?;
            answered.await.map_err(|_| CallError::Closed)
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| CallError::TimedOut)?
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// Resolves when the stream has ended.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Ends the stream.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// How many calls are open.
    pub fn in_flight(&self) -> usize {
        self.shared.open().len()
    }

    /// Whether two handles are of the same stream.
    pub fn is_same(&self, other: &Peer) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

async fn read_packets<S: Service>(
    mut reader: impl AsyncRead + Unpin,
    mut decoder: impl Decode,
    shared: Arc<Shared>,
    served: Arc<Semaphore>,
    service: S,
) -> Result<(), MuxError> {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        while let Some((packet, taken)) = decoder.decode(&buffer).map_err(MuxError::Codec)? {
            buffer.advance(taken);
            match packet.kind {
                Kind::Reply | Kind::PushAck => {
                    // An answer that nobody waits for any more is late, or was never asked for: dropped.
                    if let Some(answer) = shared.open().remove(&packet.id) {
                        let _ = answer.send(packet.payload);
                    }
                }
                Kind::Request | Kind::Push => serve(packet, &shared, &served, &service).await,
            }
        }
        if buffer.capacity() - buffer.len() < 16 * 1024 {
            buffer.reserve(64 * 1024);
        }
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Works on one packet of the other side. What can be answered at once is, without a task of its own.
async fn serve<S: Service>(packet: Packet, shared: &Arc<Shared>, served: &Arc<Semaphore>, service: &S) {
    let Ok(permit) = Arc::clone(served).acquire_owned().await else { return };
    let service = service.clone();
    let (kind, id) = (packet.kind, packet.id);
    let mut work: Pin<Box<dyn Future<Output = Option<Packet>> + Send>> = Box::pin(async move {
        let (kind, payload) = match kind {
            Kind::Push => (Kind::PushAck, service.push(packet.payload).await?),
            _ => (Kind::Reply, service.request(packet.payload).await?),
        };
        Some(Packet { kind, id, payload })
    });
    // The first poll happens in the task that reads for everybody: a panic must not take that along.
    let mut work = poll_fn(move |cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|_| {
            metrics::counter!("mux_panics_total").increment(1);
            tracing::error!(?kind, id, "panicked over a packet; it gets no answer");
            Poll::Ready(None)
        })
    });
    let first = Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop()));
    match first {
        Poll::Ready(Some(answer)) => {
            let _ = shared.out.send(answer).await;
        }
        Poll::Ready(None) => {}
        Poll::Pending => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                let answer = tokio::select! {
                    answer = work => answer,
                    () = shared.closed.cancelled() => None,
                };
                if let Some(answer) = answer {
                    let _ = shared.out.send(answer).await;
                }
                drop(permit);
            });
        }
    }
}

async fn write_packets(
    mut writer: impl AsyncWrite + Unpin,
    mut encoder: impl Encode,
    mut outgoing: mpsc::Receiver<Packet>,
) -> Result<(), MuxError> {
    const GATHER: usize = 64;
    let mut packets = Vec::with_capacity(GATHER);
    let mut bytes = Vec::with_capacity(64 * 1024);
    while outgoing.recv_many(&mut packets, GATHER).await > 0 {
        for packet in packets.drain(..) {
            encoder.encode(&packet, &mut bytes).map_err(MuxError::Codec)?;
        }
        writer.write_all(&bytes).await?;
        bytes.clear();
        bytes.shrink_to(1 << 20);
    }
    Ok(())
}

/// The framing inside a zone: `length: u32, kind: u8, id: u64, payload`, big-endian, with a hard maximum.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// The most payload a packet may carry, in bytes.
    pub max_payload: usize,
}

const PLAIN_HEADER: usize = 13;

/// Why plain framing was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlainError {
    /// Over the maximum.
    #[error("packet of {0} bytes is over the maximum")]
    TooLong(usize),
    /// No known kind.
    #[error("unknown packet kind {0}")]
    Kind(u8),
}

impl Encode for Plain {
    fn encode(&mut self, packet: &Packet, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if packet.payload.len() > self.max_payload {
            return Err(PlainError::TooLong(packet.payload.len()).into());
        }
        out.extend_from_slice(&(packet.payload.len() as u32).to_be_bytes());
        out.push(match packet.kind {
            Kind::Request => 1,
            Kind::Reply => 2,
            Kind::Push => 3,
            Kind::PushAck => 4,
        });
        out.extend_from_slice(&packet.id.to_be_bytes());
        out.extend_from_slice(&packet.payload);
        Ok(())
    }
}

impl Decode for Plain {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<(Packet, usize)>, CodecError> {
        let Some((mut header, rest)) = bytes.split_at_checked(PLAIN_HEADER) else { return Ok(None) };
        let len = header.get_u32() as usize;
        if len > self.max_payload {
            return Err(PlainError::TooLong(len).into());
        }
        let kind = match header.get_u8() {
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Push,
            4 => Kind::PushAck,
            other => return Err(PlainError::Kind(other).into()),
        };
        let id = header.get_u64();
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        Ok(Some((Packet { kind, id, payload: payload.to_vec() }, PLAIN_HEADER + len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Echo;

    impl Service for Echo {
        async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
            if payload.starts_with(b"slow") {
                tokio::task::yield_now().await;
            }
            assert!(!payload.ends_with(b"panic"), "asked to");
            (payload != b"silent").then_some(payload)
        }
        async fn push(&self, mut payload: Vec<u8>) -> Option<Vec<u8>> {
            payload.reverse();
            Some(payload)
        }
    }

    const PLAIN: Plain = Plain { max_payload: 1024 };
    const SECOND: Duration = Duration::from_secs(1);

    fn pair(limits: Limits) -> (Peer, Peer, JoinHandle<Result<(), MuxError>>) {
        let (a, b) = tokio::io::duplex(4096);
        let (ar, aw) = tokio::io::split(a);
        let (br, bw) = tokio::io::split(b);
        let (left, _) = Peer::start(ar, aw, (PLAIN, PLAIN), limits, Echo);
        let (right, task) = Peer::start(br, bw, (PLAIN, PLAIN), limits, Echo);
        (left, right, task)
    }

    #[tokio::test]
    async fn both_sides_ask_and_push_at_once() {
        let (left, right, _) = pair(Limits::default());
        let calls = (0..200u32).map(|n| {
            let peer = if n % 2 == 0 { left.clone() } else { right.clone() };
            async move {
                let asked = n.to_be_bytes().to_vec();
                assert_eq!(peer.request(asked.clone(), SECOND).await, Ok(asked));
                assert_eq!(peer.push(b"ab".to_vec(), SECOND).await, Ok(b"ba".to_vec()));
                assert_eq!(peer.request(b"slow".to_vec(), SECOND).await, Ok(b"slow".to_vec()));
            }
        });
        futures_util::future::join_all(calls).await;
        assert_eq!((left.in_flight(), right.in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn calls_end_by_time_by_limit_and_by_close() {
        let (left, right, task) = pair(Limits { calls: 1, served: 1 });
        assert_eq!(left.request(b"silent".to_vec(), SECOND).await, Err(CallError::TimedOut));
        let waiting = tokio::spawn({
            let left = left.clone();
            async move { left.request(b"silent".to_vec(), 60 * SECOND).await }
        });
        while left.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(left.request(b"x".to_vec(), SECOND).await, Err(CallError::Busy));
        right.close();
        assert_eq!(waiting.await.unwrap(), Err(CallError::Closed));
        assert!(task.await.unwrap().is_ok());
        left.closed().await;
        assert_eq!(left.request(b"x".to_vec(), SECOND).await, Err(CallError::Closed));
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_not_the_stream() {
        let (left, right, _) = pair(Limits { calls: 8, served: 1 });
        for panics in [b"panic".to_vec(), b"slow panic".to_vec()] {
            let asked = left.request(panics, Duration::from_millis(50)).await;
            assert_eq!(asked, Err(CallError::TimedOut));
            assert_eq!(
                left.request(b"x".to_vec(), SECOND).await,
                Ok(b"x".to_vec()),
                "its place is free again"
            );
        }
        assert!(!left.is_closed() && !right.is_closed());
    }

    #[derive(Clone, Copy)]
    struct Breaks;

    impl Decode for Breaks {
        fn decode(&mut self, bytes: &[u8]) -> Result<Option<(Packet, usize)>, CodecError> {
            assert!(bytes.is_empty(), "asked to");
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_stream_whose_work_breaks_counts_as_closed() {
        let (a, b) = tokio::io::duplex(4096);
        let (ar, aw) = tokio::io::split(a);
        let (br, bw) = tokio::io::split(b);
        let (left, task) = Peer::start(ar, aw, (Breaks, PLAIN), Limits::default(), Echo);
        let (_right, _) = Peer::start(br, bw, (PLAIN, PLAIN), Limits::default(), Echo);
        assert_eq!(left.request(b"x".to_vec(), 60 * SECOND).await, Err(CallError::Closed));
        assert!(task.await.unwrap_err().is_panic());
        assert!(left.is_closed());
        assert_eq!(left.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_lying_length_closes_the_stream_at_once() {
        let (a, b) = tokio::io::duplex(64);
        let (br, bw) = tokio::io::split(b);
        let (_peer, task) = Peer::start(br, bw, (PLAIN, PLAIN), Limits::default(), Echo);
        let (_ar, mut aw) = tokio::io::split(a);
        aw.write_all(&[0xff; PLAIN_HEADER]).await.unwrap();
        assert!(matches!(task.await.unwrap(), Err(MuxError::Codec(_))));
    }
}
