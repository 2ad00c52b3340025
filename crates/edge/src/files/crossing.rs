//! One queue per gate: each file goes to the gate that has the fewest bytes to send, and to another when that gate is away or
//! was taken away.
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{
    FileId,
    file::{Ended, Hash, Offer, Receipt},
};
use runtime::shutdown::Shutdown;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Files, Stage, blocking,
    queue::{FairQueue, Waiting},
    send::{Connection, SendError},
};

/// A gate that is away is tried again after this long.
const AGAIN: Duration = Duration::from_millis(500);
/// After this long its files go to another.
const TAKEOVER: Duration = Duration::from_secs(3);
/// How often postponed files and gates that are away are looked at.
const ROUND: Duration = Duration::from_millis(500);
/// The longest pause between two tries of a file, in ms.
const PAUSE_MAX_MS: u64 = 60_000;
/// What has more bytes is large: at most half of a gate's connections carry such.
const LARGE: u64 = 4 << 20;

/// How a gate stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct GateStatus {
    /// The name of its folder.
    pub(crate) name: String,
    /// Its socket.
    pub(crate) socket: String,
    /// Whether it is there.
    pub(crate) connected: bool,
    /// Whether it was taken away, and only what crosses it just now is waited for.
    pub(crate) leaves: bool,
    /// Files that wait for it.
    pub(crate) waiting: usize,
    /// Files it is being sent just now.
    pub(crate) crossing: usize,
    /// The bytes of both.
    pub(crate) bytes: u64,
    /// Files it has taken since this edge started.
    pub(crate) stored: u64,
    /// Bytes of these.
    pub(crate) stored_bytes: u64,
    /// Files it refused.
    pub(crate) refused: u64,
    /// Files it asked to try again later, or that broke off.
    pub(crate) postponed: u64,
}

/// What a gate is known by: its socket for files.
pub(super) type Key = Arc<Path>;

#[derive(Default)]
struct Gate {
    queue: FairQueue,
    connected: bool,
    /// Until it is taken away: then it is given nothing more, and forgotten once nothing crosses it.
    there: CancellationToken,
    /// When it was found to be away.
    away_since: Option<tokio::time::Instant>,
    crossing: usize,
    large: usize,
    /// Whom it may run as, besides this process's own user.
    uids: Arc<[u32]>,
    /// Files that are fetched from it just now.
    fetching: usize,
    stored: u64,
    stored_bytes: u64,
    refused: u64,
    postponed: u64,
}

impl Gate {
    fn leaves(&self) -> bool {
        self.there.is_cancelled()
    }
}

/// All gates. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Gates {
    gates: Arc<Mutex<HashMap<Key, Gate>>>,
    /// What is to be tried again, and when, Unix ms.
    later: Arc<Mutex<Vec<(u64, Waiting)>>>,
    /// Something waits that did not before.
    more: Arc<Notify>,
}

impl Gates {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> Vec<GateStatus> {
        let of = |(key, gate): (&Key, &Gate)| GateStatus {
            name: key.parent().and_then(Path::file_name).unwrap_or_default().display().to_string(),
            socket: key.display().to_string(),
            connected: gate.connected,
            leaves: gate.leaves(),
            waiting: gate.queue.len(),
            crossing: gate.crossing,
            bytes: gate.queue.bytes(),
            stored: gate.stored,
            stored_bytes: gate.stored_bytes,
            refused: gate.refused,
            postponed: gate.postponed,
        };
        let mut all: Vec<GateStatus> = self.all().iter().map(of).collect();
        all.sort_by(|one, other| one.socket.cmp(&other.socket));
        all
    }

    fn came(&self, key: &Key, there: CancellationToken, uids: &[u32]) {
        let mut gates = self.all();
        let gate = gates.entry(Arc::clone(key)).or_default();
        (gate.there, gate.uids) = (there, uids.into());
    }

    /// From which gates a file can be fetched, the least busy first, with the users they may run as.
    pub(super) fn to_fetch_from(&self) -> Vec<(Key, Arc<[u32]>)> {
        let gates = self.all();
        let mut there: Vec<_> = gates.iter().filter(|(_, gate)| !gate.leaves()).collect();
        there.sort_by_key(|(_, gate)| (!gate.connected, gate.fetching, gate.queue.bytes()));
        there.into_iter().map(|(key, gate)| (Arc::clone(key), Arc::clone(&gate.uids))).collect()
    }

    /// Counts a fetch from a gate until this is dropped.
    pub(super) fn fetching(&self, key: &Key) -> Fetching {
        if let Some(gate) = self.all().get_mut(key) {
            gate.fetching += 1;
        }
        Fetching { gates: self.clone(), key: Arc::clone(key) }
    }

    /// It is given nothing more; what waited for it goes to others. Nothing happens where it is back already.
    fn left(&self, key: &Key) {
        let left = {
            let mut gates = self.all();
            let Some(gate) = gates.get_mut(key).filter(|gate| gate.leaves()) else { return };
            let left = gate.queue.drain();
            if gate.crossing == 0 {
                gates.remove(key);
            }
            left
        };
        left.into_iter().for_each(|file| self.put(file));
    }

    /// Gives a file to the gate with the fewest bytes to send, of those that are there if any is.
    fn put(&self, file: Waiting) {
        let mut gates = self.all();
        let stays = |gate: &&mut Gate| !gate.leaves();
        let is_any_there = gates.values_mut().filter(stays).any(|gate| gate.connected);
        let best = gates
            .values_mut()
            .filter(stays)
            .filter(|gate| gate.connected || !is_any_there)
            .min_by_key(|gate| gate.queue.bytes());
        let Some(gate) = best else {
            drop(gates);
            return self.again(0, file);
        };
        gate.queue.push(file);
        drop(gates);
        self.more.notify_waiters();
    }

    fn take(&self, key: &Key, connections: usize) -> Option<Waiting> {
        let mut gates = self.all();
        let gate = gates.get_mut(key).filter(|gate| !gate.leaves())?;
        let most = if gate.large < connections.div_ceil(2) { u64::MAX } else { LARGE };
        let file = gate.queue.pop(most, connections.div_ceil(2).max(1))?;
        gate.crossing += 1;
        gate.large += usize::from(file.size > LARGE);
        Some(file)
    }

    fn done(&self, key: &Key, file: &Waiting, count: impl FnOnce(&mut Gate)) {
        let mut gates = self.all();
        let Some(gate) = gates.get_mut(key) else { return };
        gate.queue.done(file);
        gate.crossing -= 1;
        gate.large -= usize::from(file.size > LARGE);
        count(gate);
        if gate.leaves() && gate.crossing == 0 {
            gates.remove(key);
        }
    }

    fn is_there(&self, key: &Key, is_there: bool) {
        let mut gates = self.all();
        let Some(gate) = gates.get_mut(key) else { return };
        if gate.connected != is_there {
            tracing::info!(gate = %key.display(), there = is_there, "gate for files");
        }
        gate.connected = is_there;
        match (is_there, gate.away_since) {
            (true, _) => gate.away_since = None,
            (false, None) => gate.away_since = Some(tokio::time::Instant::now()),
            (false, Some(_)) => {}
        }
    }

    /// It is to be put again at `due_ms`.
    fn again(&self, due_ms: u64, file: Waiting) {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).push((due_ms, file));
    }

    /// What is to be put again by now.
    fn due(&self, now_ms: u64) -> Vec<Waiting> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        let due = later.extract_if(.., |(due_ms, _)| *due_ms <= now_ms);
        due.map(|(_, file)| file).collect()
    }

    /// What waits for gates that have been away for long, while another is there.
    fn left_behind(&self) -> Vec<Waiting> {
        let mut gates = self.all();
        if !gates.values().any(|gate| gate.connected && !gate.leaves()) {
            return Vec::new();
        }
        let long = |gate: &&mut Gate| gate.away_since.is_some_and(|since| since.elapsed() >= TAKEOVER);
        gates.values_mut().filter(long).flat_map(|gate| gate.queue.drain()).collect()
    }
}

/// A fetch from a gate.
pub(super) struct Fetching {
    gates: Gates,
    key: Key,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        // It may have been taken away, and have come back, meanwhile.
        if let Some(gate) = self.gates.all().get_mut(&self.key) {
            gate.fetching = gate.fetching.saturating_sub(1);
        }
    }
}

/// How long a connection is kept.
struct Life {
    /// Its gate is one of the cluster.
    there: CancellationToken,
    /// This edge ends.
    stop: CancellationToken,
}

impl Life {
    async fn over(&self) {
        tokio::select! {
            () = self.there.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// `work`, unless this is over before that.
    async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.over() => None,
            done = work => Some(done),
        }
    }
}

/// A file that was sent, or offered.
struct Sent {
    ended: Ended,
    /// Whether its connection can carry another.
    is_of_use: bool,
    root: Hash,
}

impl Files {
    /// Starts the connections to a gate's socket for files. Once it is not `there` any more they end, each after its file.
    pub(crate) fn cross_by(
        &self,
        socket: &Path,
        there: &CancellationToken,
        uids: &[u32],
        shutdown: &Shutdown,
    ) {
        let key: Key = socket.into();
        self.0.gates.came(&key, there.clone(), uids);
        let _aside = self.0.aside.enter();
        for _ in 0..self.0.settings.connections.max(1) {
            let life = Life { there: there.clone(), stop: shutdown.token() };
            let (files, key, uids) = (self.clone(), Arc::clone(&key), uids.to_vec());
            shutdown.spawn(async move { files.carry(&key, &uids, &life).await });
        }
        let (gates, there, stop) = (self.0.gates.clone(), there.clone(), shutdown.token());
        tokio::spawn(async move {
            if stop.run_until_cancelled(there.cancelled()).await.is_some() {
                gates.left(&key);
            }
        });
    }

    /// Gives the gates what passed before this start, then what is to be tried again, and what was left behind.
    pub(super) async fn fill(self, stop: CancellationToken) {
        let before = loop {
            match self.0.records.to_cross().await {
                Ok(rows) => break rows,
                Err(error) => tracing::error!(%error, "the queue of files cannot be read; again in a moment"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none() {
                return;
            }
        };
        before.into_iter().for_each(|file| self.0.gates.put(file));
        while stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_some() {
            let due = self.0.gates.due(self.now_ms());
            due.into_iter().chain(self.0.gates.left_behind()).for_each(|file| self.0.gates.put(file));
        }
    }

    /// A file passed: it waits for a gate from now on.
    pub(super) async fn enqueue(&self, id: FileId) {
        match self.0.records.get(id).await {
            Ok(Some(record)) if record.stage == Stage::Queued => {
                self.0.gates.put(Waiting { id, customer: record.customer, size: record.size });
            }
            Ok(_) => {}
            // It is found at the next start.
            Err(error) => tracing::error!(file = %id, %error, "a file that passed was not queued"),
        }
    }

    /// Sends files to one gate over one connection after the other, until `stop`.
    async fn carry(&self, key: &Key, uids: &[u32], life: &Life) {
        loop {
            let Some(opened) = life.during(Connection::open(key, uids)).await else { return };
            match opened {
                Ok(mut connection) => {
                    self.0.gates.is_there(key, true);
                    self.carry_over(key, &mut connection, life).await;
                }
                Err(error) => {
                    tracing::debug!(gate = %key.display(), %error, "no connection for files");
                    self.0.gates.is_there(key, false);
                }
            }
            if life.during(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// Sends files over a connection until it is of no more use.
    async fn carry_over(&self, key: &Key, connection: &mut Connection, life: &Life) {
        let connections = self.0.settings.connections.max(1) as usize;
        // A gate that is back has connections of its own.
        while !life.there.is_cancelled() {
            let more = self.0.gates.more.notified();
            let mut more = std::pin::pin!(more);
            // Whatever is put after this look wakes it.
            more.as_mut().enable();
            let Some(file) = self.0.gates.take(key, connections) else {
                tokio::select! {
                    () = more => continue,
                    () = connection.closed() => return,
                    () = life.over() => return,
                }
            };
            // A file that is half sent is broken off: it goes on from there at the next start.
            let sent = life.stop.run_until_cancelled(self.send(connection, &file)).await;
            let is_of_use = match sent {
                None => return self.0.gates.done(key, &file, |_| {}),
                Some(sent) => self.conclude(key, &file, sent).await,
            };
            // The next file may fit where this one took a place.
            self.0.gates.more.notify_waiters();
            if !is_of_use {
                return;
            }
        }
    }

    /// Sends one file. `None`: it is not to cross any more.
    async fn send(&self, connection: &mut Connection, file: &Waiting) -> Result<Option<Sent>, SendError> {
        let id = file.id;
        let pieces =
            self.0.records.pieces(id).await.map_err(|e| SendError::Body(std::io::Error::other(e)))?;
        let Some((root, cvs)) = pieces else { return Ok(None) };
        let bodies = self.0.bodies.clone();
        let body = blocking(move || bodies.read(id)).await.map_err(SendError::Body)?;
        let offer = Offer { file: id, size: file.size, root };
        let (ended, is_of_use) = connection.send(&offer, cvs, body).await?;
        Ok(Some(Sent { ended, is_of_use, root }))
    }

    /// Notes how sending a file ended; says whether the connection is of further use.
    async fn conclude(&self, key: &Key, file: &Waiting, sent: Result<Option<Sent>, SendError>) -> bool {
        let Sent { ended, is_of_use, root } = match sent {
            Ok(Some(sent)) => sent,
            Ok(None) => {
                self.0.gates.done(key, file, |_| {});
                return true;
            }
            Err(SendError::Body(error)) => {
                tracing::error!(file = %file.id, %error, "a file cannot be sent");
                self.0.gates.done(key, file, |gate| gate.postponed += 1);
                if error.kind() == std::io::ErrorKind::NotFound {
                    let lost = self.decision("rules", "lost", "lost");
                    self.end(file.id, Stage::Queued, lost).await.ok();
                } else {
                    self.postpone(file, "unreadable").await;
                }
                return false;
            }
            Err(error) => {
                tracing::warn!(file = %file.id, %error, "a file broke off; it goes on from there");
                self.0.gates.done(key, file, |gate| gate.postponed += 1);
                self.postpone(file, "broken-off").await;
                return false;
            }
        };
        match ended {
            Ended::Stored(receipt) if self.is_receipt_of(file, &root, &receipt) => {
                let stored = self.decision("center", "stored", "");
                if let Err(error) = self.0.records.stored(file.id, receipt.to_bytes().to_vec(), stored).await
                {
                    tracing::error!(file = %file.id, %error, "a receipt was not kept; it is asked for again");
                    self.0.gates.done(key, file, |gate| gate.postponed += 1);
                    self.postpone(file, "not-noted").await;
                    return is_of_use;
                }
                metrics::counter!("edge_files_total", "what" => "stored").increment(1);
                self.0.gates.is_there(key, true);
                self.0.gates.done(key, file, |gate| {
                    gate.stored += 1;
                    gate.stored_bytes += file.size;
                });
                self.0.ended.notify_one();
            }
            Ended::Stored(_) => {
                tracing::error!(file = %file.id, "the gate brought a receipt that is not genuine");
                metrics::counter!("edge_file_receipts_refused_total").increment(1);
                self.0.gates.done(key, file, |gate| gate.postponed += 1);
                self.postpone(file, "receipt-wrong").await;
                return false;
            }
            Ended::Refused(why) => {
                self.0.gates.done(key, file, |gate| gate.refused += 1);
                let refused = self.decision("gate", "refused", why.as_str());
                if let Err(problem) = self.end(file.id, Stage::Queued, refused).await {
                    tracing::error!(file = %file.id, %problem, "a refusal was not noted");
                }
            }
            Ended::NotNow(why) => {
                self.0.gates.done(key, file, |gate| gate.postponed += 1);
                self.postpone(file, why.as_str()).await;
                if why.as_str() == "gate-away" {
                    // Its outer half alone: it counts as away until a new connection stands.
                    self.0.gates.is_there(key, false);
                    return false;
                }
            }
        }
        is_of_use
    }

    fn is_receipt_of(&self, file: &Waiting, root: &Hash, receipt: &Receipt) -> bool {
        (receipt.file, receipt.size, &receipt.root) == (file.id, file.size, root)
            && receipt.is_genuine(&self.0.inward.session_keys())
    }

    /// Tries a file again after a pause that grows with each try.
    async fn postpone(&self, file: &Waiting, why: &str) {
        let tries = self.0.records.postpone(file.id, why.to_owned()).await.unwrap_or(6);
        let pause_ms = (250u64 << tries.min(10)).min(PAUSE_MAX_MS);
        self.0.gates.again(self.now_ms() + pause_ms, *file);
    }
}
