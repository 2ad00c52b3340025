//! Makes the files that customers ask for, and removes them when their time is over.
//!
//! What is to be done stands in the rows ([`crate::rules`]); this looks for rows that are due, by an index, works on the outward
//! folder, and hands what came of it to the account's lane as an operation of our own. It can die anywhere:
//!
//! * before the file is in its place: the row is still due; what was begun beside it is removed at the next start;
//! * after that, before the operation is in its lane: the file is made again, from the same rows the same, and so comes to the
//!   same place, which is named by its content; where readings came in between it is another file, and the first one is swept;
//! * after the bytes are removed, before that is noted: removing what is not there is done as well.
mod invoice;
mod make;
mod outward;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt, stream};
use protocol::{
    ExportId, Problem, ShardId,
    catalogue::replies::{ExportFailure, ExportState},
    file::Hash,
};
use runtime::shutdown::Shutdown;
use storage::{StorageError, rows::Export};

pub(crate) use self::outward::Outward;
use crate::{
    node::Node,
    operation::{ExportDue, ExportFail, ExportMade, Own},
    schedule::ANEW_AFTER_MS,
};

/// How often is looked.
const TICK: Duration = Duration::from_millis(500);
/// How often the folder is looked through for what no row knows.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// The most taken of a shard at once.
const MOST: usize = 64;
/// So many are made at once.
const AT_ONCE: usize = 2;
/// How long is waited for what was handed over, so that the next look finds it done.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long a file that cannot be made for reasons of ours is given up, in ms.
const GIVEN_UP_AFTER_MS: u64 = 3600 * 1000;
/// How long something that did not work is left alone, at first and at most.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MOST: Duration = Duration::from_secs(120);

/// Why a file was not made.
#[derive(Debug)]
enum Trouble {
    /// It never can be.
    Never(ExportFailure),
    /// Not now.
    Now(String),
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Trouble::Now(error.to_string())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Now(error.to_string())
    }
}

/// Looks until shutdown.
pub(crate) async fn run(node: Node, outward: Outward, shutdown: Shutdown) {
    let maker = Maker { node, outward, pauses: Mutex::default() };
    let mut swept: Option<Instant> = None;
    while !shutdown.is_begun() {
        let mine = maker.node.worked_on();
        for shard in &mine {
            if let Err(error) = maker.look(*shard).await {
                tracing::error!(shard = shard.0, %error, "files that are due cannot be looked for; trying again");
            }
        }
        // One node sweeps for all.
        if mine.contains(&ShardId(0)) && swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            swept = Some(Instant::now());
            if let Err(trouble) = maker.sweep().await {
                tracing::warn!(?trouble, "the outward folder was not swept");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = shutdown.begun() => {}
        }
    }
}

/// What makes files.
struct Maker {
    node: Node,
    outward: Outward,
    /// What did not work: how long it was left alone, and until when it is. A help against doing in vain; forgotten at a start.
    pauses: Mutex<HashMap<ExportId, (Duration, Instant)>>,
}

impl Maker {
    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.node.store().map().shards()).map(ShardId)
    }

    /// Does what is due in a shard.
    async fn look(&self, shard: ShardId) -> Result<(), StorageError> {
        // Those that are left alone must not stand before the others.
        let most = MOST + self.pauses.lock().unwrap_or_else(PoisonError::into_inner).len();
        let due = self.node.store().exports_due(shard, self.node.clock().unix_ms(), most).await?;
        let due = due.into_iter().filter(|row| !self.is_paused(row.id));
        stream::iter(due).for_each_concurrent(AT_ONCE, |row| self.step(row)).await;
        Ok(())
    }

    /// Does what is due about one file.
    async fn step(&self, row: Export) {
        let id = row.id;
        match self.next(row).await {
            Ok(outcome) => {
                self.pauses.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                metrics::counter!("center_exports_total", "outcome" => outcome).increment(1);
            }
            Err(trouble) => {
                self.pause(id);
                metrics::counter!("center_exports_total", "outcome" => "later").increment(1);
                tracing::warn!(export = %id, ?trouble, "what was due about a file was not done; trying again");
            }
        }
    }

    async fn next(&self, row: Export) -> Result<&'static str, Trouble> {
        let due = |row: &Export| Own::ExportDue(ExportDue { export: row.id, due_ms: row.due_ms });
        match (row.state, row.root) {
            (ExportState::Making, _) => self.make(row).await,
            (ExportState::Expired, Some(root)) => {
                self.remove(root).await?;
                self.hand_over(&row, due(&row), "removed").await?;
                Ok("removed")
            }
            (ExportState::Ready, _) => self.hand_over(&row, due(&row), "expired").await.map(|()| "expired"),
            _ => self.hand_over(&row, due(&row), "forgotten").await.map(|()| "forgotten"),
        }
    }

    async fn make(&self, row: Export) -> Result<&'static str, Trouble> {
        let is_late = self.node.clock().unix_ms().saturating_sub(row.created_ms) > GIVEN_UP_AFTER_MS;
        let why = match self.write(&row).await {
            Ok((root, size)) => {
                let made = Own::ExportMade(ExportMade { export: row.id, root, size });
                let key = blake3::Hash::from_bytes(root).to_hex();
                return self.hand_over(&row, made, &key).await.map(|()| "made");
            }
            Err(Trouble::Never(why)) => why,
            Err(Trouble::Now(why)) if is_late => {
                tracing::error!(export = %row.id, why, "a file could not be made; given up");
                ExportFailure::OurSide
            }
            Err(trouble) => return Err(trouble),
        };
        let fail = Own::ExportFail(ExportFail { export: row.id, why });
        self.hand_over(&row, fail, "failed").await.map(|()| "failed")
    }

    /// Makes a file in its place; gives its hash and length. On a thread that may block, since it is mostly disk.
    async fn write(&self, row: &Export) -> Result<(Hash, u64), Trouble> {
        let (node, outward, row) = (self.node.clone(), self.outward.clone(), row.clone());
        let here = tokio::runtime::Handle::current();
        let making = tokio::task::spawn_blocking(move || {
            let mut draft = outward.begin()?;
            here.block_on(make::write(&node, &row, &mut draft))?;
            Ok(draft.place()?)
        });
        making.await.map_err(|error| Trouble::Now(error.to_string()))?
    }

    /// Hands an operation to the file's lane and waits until it is visible. Its id comes from what it is about; should
    /// it have failed, it is another after a while.
    async fn hand_over(&self, row: &Export, own: Own, key: &str) -> Result<(), Trouble> {
        let anew = self.node.clock().unix_ms() / ANEW_AFTER_MS;
        let key = format!("{} {} {key} {anew}", row.id, row.due_ms);
        let said = |problem: Problem| Trouble::Now(problem.to_string());
        self.node.run_scheduled(own, row.id.bucket(), &key, PATIENCE).await.map_err(said)
    }

    /// Removes a file that expired, unless another has the same content.
    async fn remove(&self, root: Hash) -> Result<(), Trouble> {
        let before = self.untouched_before().await?;
        if !self.is_wanted(root).await? {
            self.take_away(root, before).await?;
        }
        Ok(())
    }

    /// See [`Outward::remove`].
    async fn take_away(&self, root: Hash, before: SystemTime) -> Result<bool, Trouble> {
        let outward = self.outward.clone();
        let removing = tokio::task::spawn_blocking(move || outward.remove(&root, before));
        Ok(removing.await.map_err(|error| Trouble::Now(error.to_string()))??)
    }

    /// Removes what no row refers to: files of which an earlier life of this process died before it could say so.
    async fn sweep(&self) -> Result<(), Trouble> {
        let before = self.untouched_before().await?;
        let outward = self.outward.clone();
        let found = tokio::task::spawn_blocking(move || outward.files());
        for root in found.await.map_err(|error| Trouble::Now(error.to_string()))?? {
            if !self.is_wanted(root).await? && self.take_away(root, before).await? {
                tracing::info!(root = %blake3::Hash::from_bytes(root), "a file that nothing refers to is removed");
            }
        }
        Ok(())
    }

    /// Files that were put in place from this moment on may belong to one that is being made and not said to be yet. To be
    /// asked for before [`Maker::is_wanted`]: one that is ready by then was seen as being made, or is wanted.
    async fn untouched_before(&self) -> Result<SystemTime, Trouble> {
        let mut ms = self.node.clock().unix_ms();
        for shard in self.shards() {
            ms = self.node.store().oldest_making_ms(shard).await?.map_or(ms, |at| at.min(ms));
        }
        Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Whether a file that can be had has this content, in any shard.
    async fn is_wanted(&self, root: Hash) -> Result<bool, Trouble> {
        for shard in self.shards() {
            if self.node.store().is_export_wanted(shard, root).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_paused(&self, id: ExportId) -> bool {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.get(&id).is_some_and(|(_, until)| *until > Instant::now())
    }

    fn pause(&self, id: ExportId) {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are over by much belong to what was done, or ended otherwise.
        pauses.retain(|_, (_, until)| until.elapsed() < 2 * PAUSE_MOST);
        let pause = pauses.get(&id).map_or(PAUSE, |(pause, _)| (*pause * 2).min(PAUSE_MOST));
        pauses.insert(id, (pause, Instant::now() + pause));
    }
}
