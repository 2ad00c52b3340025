//! Several streams to others of the same kind: the center's nodes, the gates' outer halves, the edges.
//!
//! A request goes to the one with the fewest calls open. One whose stream breaks before the answer is asked of another,
//! or of the same once it is back, within its deadline: what crosses zones may safely be asked twice.
use std::{
    future::Future,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::UnixStream, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Deadline,
    mux::{CallError, Decode, Encode, Limits, Peer, Service},
};

/// The first pause before connecting again.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
/// The longest pause before connecting again.
const RECONNECT_LAST: Duration = Duration::from_secs(1);
/// How long connecting may fail before anybody is told.
const QUIET: Duration = Duration::from_secs(3);
/// How long what is open on a stream that is not wanted any more may take to end.
const RETIRE_WITHIN: Duration = Duration::from_secs(60);
/// How long a full stream is left alone before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// The streams that stand at this moment. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    list: Arc<watch::Sender<Vec<Peer>>>,
}

/// What an answer means for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It is the answer.
    Taken(T),
    /// Who was asked would rather not; another may.
    Declined(T),
}

/// An answer, and what is to be known about the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// The answer.
    pub what: T,
    /// Whether an earlier try was sent on a stream that broke: it may have been done, whatever this answer says about
    /// its own try.
    pub lost: bool,
}

impl Default for Peers {
    fn default() -> Self {
        Peers { list: Arc::new(watch::Sender::new(Vec::new())) }
    }
}

impl Peers {
    /// Takes a stream in, until it ends.
    pub fn add(&self, peer: Peer) {
        self.list.send_modify(|list| list.push(peer.clone()));
        let list = Arc::clone(&self.list);
        tokio::spawn(async move {
            peer.closed().await;
            list.send_modify(|list| list.retain(|other| !other.is_same(&peer)));
        });
    }

    /// Takes a stream in and closes all others: the newest wins.
    pub fn replace(&self, peer: Peer) {
        let old = self.list.send_replace(Vec::new());
        old.iter().for_each(Peer::close);
        self.add(peer);
    }

    /// Asks nothing more over a stream, and closes it once all that is open on it has ended, after [`RETIRE_WITHIN`] at the
    /// latest.
    async fn retire(&self, peer: &Peer) {
        self.list.send_modify(|list| list.retain(|other| !other.is_same(peer)));
        let ended = async {
            while peer.in_flight() > 0 {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        };
        tokio::time::timeout(RETIRE_WITHIN, ended).await.ok();
        peer.close();
    }

    /// How many streams stand.
    pub fn connected(&self) -> usize {
        self.list.borrow().iter().filter(|peer| !peer.is_closed()).count()
    }

    /// All streams that stand, the least busy first.
    pub fn by_load(&self) -> Vec<Peer> {
        let mut list: Vec<Peer> =
            self.list.borrow().iter().filter(|peer| !peer.is_closed()).cloned().collect();
        list.sort_by_key(Peer::in_flight);
        list
    }

    /// Resolves when at least one stream stands.
    pub async fn ready(&self) {
        let standing = |list: &Vec<Peer>| list.iter().any(|peer| !peer.is_closed());
        // The sender lives in self.
        self.list.subscribe().wait_for(standing).await.ok();
    }

    /// Tells when streams come and go.
    pub fn changes(&self) -> watch::Receiver<Vec<Peer>> {
        self.list.subscribe()
    }

    /// Ends all streams.
    pub fn close(&self) {
        self.list.borrow().iter().for_each(Peer::close);
    }

    /// Asks, again and again until an answer or the deadline. `payload` is made for each try, with the milliseconds
    /// that are left.
    ///
    /// # Errors
    /// See [`Peers::ask`].
    pub async fn request(
        &self,
        deadline: Deadline,
        payload: impl FnMut(u64) -> Vec<u8>,
    ) -> Result<Vec<u8>, CallError> {
        Ok(self.ask(deadline, payload, Verdict::Taken).await?.what)
    }

    /// Asks like [`Peers::request`]; an answer that `read` finds to decline is asked of the next stream, and stands
    /// where there is no other.
    ///
    /// # Errors
    /// [`CallError::Away`] when no stream stood until the end and [`CallError::Busy`] when all were full until the end:
    /// nothing was sent. [`CallError::Closed`] when a stream broke with the request on it and no other answered,
    /// [`CallError::TimedOut`] when one did not answer: whether it was done is not known.
    pub async fn ask<T>(
        &self,
        deadline: Deadline,
        mut payload: impl FnMut(u64) -> Vec<u8>,
        mut read: impl FnMut(Vec<u8>) -> Verdict<T>,
    ) -> Result<Told<T>, CallError> {
        let mut changes = self.list.subscribe();
        let mut failed = CallError::Away;
        let mut lost = false;
        let mut declined: Option<T> = None;
        let mut decliners: Vec<Peer> = Vec::new();
        loop {
            let left = deadline.remaining();
            if left.is_zero() {
                return match declined {
                    Some(what) => Ok(Told { what, lost }),
                    // What was sent once may have been done, whatever became of the later tries.
                    None => Err(if lost { CallError::Closed } else { failed }),
                };
            }
            let least = {
                let list = changes.borrow_and_update();
                let others = list
                    .iter()
                    .filter(|peer| !peer.is_closed() && !decliners.iter().any(|other| other.is_same(peer)));
                others.min_by_key(|peer| peer.in_flight()).cloned()
            };
            let Some(peer) = least else {
                if let Some(what) = declined {
                    return Ok(Told { what, lost });
                }
                failed = CallError::Away;
                // The sender lives in self: only the time can end this wait.
                deadline.bound(changes.changed()).await;
                continue;
            };
            match peer.request(payload(deadline.remaining_ms()), left).await {
                Ok(bytes) => match read(bytes) {
                    Verdict::Taken(what) => return Ok(Told { what, lost }),
                    Verdict::Declined(what) => {
                        declined = Some(what);
                        decliners.push(peer);
                    }
                },
                Err(CallError::Closed | CallError::Away) => {
                    // Its writer may be gone a moment before the stream counts as closed.
                    peer.close();
                    lost = true;
                }
                Err(CallError::Busy) => {
                    failed = CallError::Busy;
                    tokio::time::sleep(BUSY_PAUSE.min(left)).await;
                }
                Err(CallError::TimedOut) => return Err(CallError::TimedOut),
            }
        }
    }

    /// Keeps a stream to the Unix socket at `path` as long as `stop` allows: connects, and connects again after a pause
    /// when it ends (50 ms at first, then doubled up to 1 s). Who listens there must be of this user or of `uids`. After
    /// `stop` nothing new is asked over it, and it closes once what is open has ended.
    pub async fn keep_connected<C, S>(
        self,
        path: &Path,
        uids: &[u32],
        codec: C,
        limits: Limits,
        service: S,
        stop: CancellationToken,
    ) where
        C: Decode + Encode + Copy,
        S: Service,
    {
        let standing = Mutex::new(None);
        let connect = || async {
            let stream = UnixStream::connect(path).await?;
            check_uid(&stream, uids)?;
            let (reader, writer) = stream.into_split();
            let (peer, _) = Peer::start(reader, writer, (codec, codec), limits, service.clone());
            self.add(peer.clone());
            *standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer.clone());
            Ok(peer)
        };
        keep(path, stop, connect).await;
        let last = standing.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = last {
            self.retire(&peer).await;
        }
    }
}

/// Calls `connect` again and again: at once after a stream of some length, else after a growing pause.
pub async fn keep<F: Future<Output = io::Result<Peer>>>(
    path: &Path,
    stop: CancellationToken,
    connect: impl Fn() -> F,
) {
    let mut pause = RECONNECT_FIRST;
    let mut failing: Option<std::time::Instant> = None;
    let mut complained = false;
    let forever = async {
        loop {
            match connect().await {
                Ok(peer) => {
                    tracing::info!(path = %path.display(), "connected");
                    let since = std::time::Instant::now();
                    peer.closed().await;
                    tracing::warn!(path = %path.display(), "connection ended");
                    (failing, complained) = (None, false);
                    if since.elapsed() > RECONNECT_LAST {
                        pause = RECONNECT_FIRST;
                    }
                }
                // Programs start in any order: a first failure is no news.
                Err(error) => {
                    let since = *failing.get_or_insert_with(std::time::Instant::now);
                    if !complained && since.elapsed() >= QUIET {
                        tracing::warn!(path = %path.display(), %error, "cannot connect; will go on trying");
                        complained = true;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_LAST);
        }
    };
    stop.run_until_cancelled(forever).await;
}

/// Checks with the kernel (SO_PEERCRED) that the other end is of this process's user, or of one of `uids`.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] with the user's number.
pub fn check_uid(stream: &UnixStream, uids: &[u32]) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid == rustix::process::geteuid().as_raw() || uids.contains(&uid) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {uid} is not allowed to connect here")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::Plain;
    use tokio::io::{DuplexStream, duplex, split};

    const PLAIN: Plain = Plain { max_payload: 1024 };

    #[derive(Clone)]
    struct Says(&'static [u8]);

    impl Service for Says {
        async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
            (!self.0.is_empty()).then(|| self.0.to_vec())
        }
        async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
            None
        }
    }

    fn start(stream: DuplexStream, service: Says) -> Peer {
        let (reader, writer) = split(stream);
        Peer::start(reader, writer, (PLAIN, PLAIN), Limits::default(), service).0
    }

    #[tokio::test]
    async fn a_request_survives_the_stream_it_was_sent_on() {
        let peers = Peers::default();
        let asked = tokio::spawn({
            let peers = peers.clone();
            async move { peers.request(Deadline::from_remaining_ms(60_000), |_| b"x".to_vec()).await }
        });
        let (silent, far) = duplex(1024);
        let _silent = start(silent, Says(b""));
        let near = start(far, Says(b""));
        peers.add(near.clone());
        while near.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        near.close();
        let (talks, far) = duplex(1024);
        let _talks = start(talks, Says(b"yes"));
        peers.replace(start(far, Says(b"")));
        assert_eq!(asked.await.unwrap(), Ok(b"yes".to_vec()));
        assert_eq!(peers.connected(), 1);
    }

    #[tokio::test]
    async fn without_a_stream_the_deadline_ends_it() {
        let peers = Peers::default();
        let answer = peers.request(Deadline::from_remaining_ms(5), |_| Vec::new()).await;
        assert_eq!(answer, Err(CallError::Away));
    }

    /// A stream that breaks with a request on it.
    fn breaks() -> Peer {
        let (near, far) = duplex(1024);
        drop(far);
        start(near, Says(b""))
    }

    /// A stream on which no more than one call may be open, and one is.
    async fn full(peers: &Peers) -> (Peer, Peer) {
        let (near, far) = duplex(1024);
        let silent = start(far, Says(b""));
        let (reader, writer) = split(near);
        let (peer, _) =
            Peer::start(reader, writer, (PLAIN, PLAIN), Limits { calls: 1, served: 1 }, Says(b""));
        let asking = peer.clone();
        tokio::spawn(async move { asking.request(Vec::new(), Duration::from_secs(60)).await });
        while peer.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        peers.add(peer.clone());
        (peer, silent)
    }

    #[tokio::test]
    async fn a_lost_try_is_not_forgotten_over_a_busy_one() {
        let peers = Peers::default();
        let _full = full(&peers).await;
        let ask = || peers.request(Deadline::from_remaining_ms(30), |_| b"x".to_vec());
        assert_eq!(ask().await, Err(CallError::Busy));
        // With no call open, it comes first.
        peers.add(breaks());
        assert_eq!(ask().await, Err(CallError::Closed));
    }

    #[tokio::test]
    async fn one_that_declines_is_passed_over_where_there_is_another() {
        let read = |bytes: Vec<u8>| match &*bytes {
            b"no" => Verdict::Declined("no"),
            _ => Verdict::Taken("yes"),
        };
        let peers = Peers::default();
        let ask = || peers.ask(Deadline::from_remaining_ms(60_000), |_| b"x".to_vec(), read);
        let (near, far) = duplex(1024);
        let _no = start(far, Says(b"no"));
        peers.add(start(near, Says(b"")));
        assert_eq!(ask().await, Ok(Told { what: "no", lost: false }));
        let (near, far) = duplex(1024);
        let _yes = start(far, Says(b"yes"));
        peers.add(start(near, Says(b"")));
        assert_eq!(ask().await, Ok(Told { what: "yes", lost: false }));
    }
}
