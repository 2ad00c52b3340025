//! The inner half's part: takes files from the link into the quarantine, verifies them, shows them in the store, and has
//! them attached.
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    file::{ChunkHead, Ended, Fetch, MAX_FILE_LEN, Offer, Wanted},
    frame::{FrameKind, Track},
};
use runtime::{peers::Peers, shutdown::Shutdown};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    attach::attach,
    coming::{Coming, Declined, Slots, Stop, not_now, verify_small},
    counted::{self, InFlight, code},
    give::Giver,
    inspection::Inspection,
    pieces::Slot,
    quarantine::{Marker, Part, Quarantine},
    store::Store,
    stream::{EVER, Fault, FileStream, read_as},
};
use crate::{
    GateError, confine,
    link::{self, LinkError, Reader, Side, Writer},
    settings::Settings,
};

/// The pauses before a connection is made again: at first, and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How often the quarantine is looked through for what nobody came back for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// A file whose last connection has just broken may still be in its hands: it is asked for so often, at this pause.
const LOCK_TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// Settings of the inner half's file track.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveConfig {
    /// Where the outer half listens for the file track.
    pub link: PathBuf,
    /// The folder of files that are not verified yet. Halves of several gates may share it.
    pub quarantine: PathBuf,
    /// The folder of verified files, on the same file system.
    pub store: PathBuf,
    /// Whether what a file holds is inspected once more before it is shown in the store.
    #[serde(default = "crate::yes")]
    pub inspect: bool,
    /// By which rules.
    #[serde(default)]
    pub rules: inspect::Rules,
    /// The folder of files that the center makes for outside; it is there before this half starts. Without it none go out.
    #[serde(default)]
    pub outward: Option<PathBuf>,
    /// So many files go out at once, over at most half of the connections; more are told that it is busy.
    #[serde(default = "default_outward_connections")]
    pub outward_connections: u32,
    /// Connections to the outer half, each of which carries one file at a time.
    #[serde(default = "default_connections")]
    pub connections: u32,
    /// No longer file is taken, in bytes.
    #[serde(default = "default_max_file_bytes")]
    pub max_file_bytes: u64,
    /// So much of the file system is left free, in bytes.
    #[serde(default = "default_keep_free_bytes")]
    pub keep_free_bytes: u64,
    /// How long a file may stand still, and one piece may take, in seconds. A little more than the outer half's, which knows
    /// better whose fault it is.
    #[serde(default = "default_patience_s")]
    pub patience_s: u64,
}

fn default_connections() -> u32 {
    48
}

fn default_outward_connections() -> u32 {
    4
}

fn default_max_file_bytes() -> u64 {
    MAX_FILE_LEN
}

fn default_keep_free_bytes() -> u64 {
    512 << 20
}

fn default_patience_s() -> u64 {
    40
}

/// The inner half's file track. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receiver(Arc<State>);

struct State {
    quarantine: Quarantine,
    inspection: Inspection,
    store: Store,
    room: Room,
    giver: Giver,
    centers: Peers,
    max_file_bytes: u64,
    patience: Duration,
    shutdown: Shutdown,
}

pub(super) type Link = FileStream<Reader, Writer>;

/// What becomes of a file, and whether its connection is between two files then.
type End = (Ended, Then);

enum Then {
    GoOn,
    Close,
}

impl ReceiveConfig {
    /// The folders that the half works in.
    pub(crate) fn own(&self) -> [confine::Own; 2] {
        let own = |path: &PathBuf, deep| confine::Own { path: path.clone(), mode: 0o700, deep };
        [own(&self.quarantine, false), own(&self.store, true)]
    }

    /// What it does in them.
    pub(crate) fn uses(&self) -> Vec<(PathBuf, confine::Use)> {
        let mut uses =
            vec![(self.quarantine.clone(), confine::Use::Keeps), (self.store.clone(), confine::Use::Adds)];
        uses.extend(self.outward.clone().map(|folder| (folder, confine::Use::Reads)));
        uses
    }
}

/// The folders of files, opened.
pub(crate) struct Folders {
    quarantine: Quarantine,
    store: Store,
}

impl Folders {
    /// Opens them, made if need be.
    pub(crate) fn open(config: &ReceiveConfig) -> Result<Self, GateError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| GateError::Io { path, source }
        };
        let rules = config.rules.validate();
        rules.map_err(|error| GateError::Rules(error.to_string()))?;
        let quarantine = Quarantine::open(&config.quarantine).map_err(io(&config.quarantine))?;
        let store = Store::open(&config.store).map_err(io(&config.store))?;
        let device =
            |path: &Path| std::fs::metadata(path).map(|found| std::os::unix::fs::MetadataExt::dev(&found));
        if device(&config.quarantine).map_err(io(&config.quarantine))?
            != device(&config.store).map_err(io(&config.store))?
        {
            return Err(GateError::Settings("files: quarantine and store must be on the same file system"));
        }
        if config.outward.as_ref().is_some_and(|folder| !folder.is_dir()) {
            return Err(GateError::Settings(
                "files.outward: there is no such folder; the center's user makes it, with the mode 0711",
            ));
        }
        Ok(Folders { quarantine, store })
    }
}

impl Receiver {
    /// Works in folders that are open.
    pub(crate) fn new(
        config: &ReceiveConfig,
        folders: Folders,
        (centers, settings): (Peers, Settings),
        shutdown: Shutdown,
    ) -> Self {
        let room = Room {
            folder: config.quarantine.clone(),
            keep_free: config.keep_free_bytes,
            promised: Arc::default(),
        };
        Receiver(Arc::new(State {
            quarantine: folders.quarantine,
            inspection: Inspection::by(config.inspect.then(|| config.rules.clone())),
            store: folders.store,
            room,
            giver: Giver::new(config, settings),
            centers,
            max_file_bytes: config.max_file_bytes,
            patience: Duration::from_secs(config.patience_s.max(1)),
            shutdown,
        }))
    }

    /// Keeps the connections to the outer half, and the quarantine tidy, until the shutdown.
    pub(crate) fn start(&self, config: &ReceiveConfig, side: &Arc<Side>, uids: &[u32]) {
        for _ in 0..config.connections.max(1) {
            let (receiver, path, side, uids) =
                (self.clone(), config.link.clone(), Arc::clone(side), uids.to_owned());
            self.0.shutdown.spawn(async move { receiver.keep_link(&path, &side, &uids).await });
        }
        let receiver = self.clone();
        tokio::spawn(self.0.shutdown.token().run_until_cancelled_owned(async move {
            loop {
                let quarantine = receiver.0.quarantine.clone();
                if let Err(error) = blocking(move || quarantine.sweep()).await {
                    tracing::error!(%error, "the quarantine cannot be looked through");
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        }));
    }

    async fn keep_link(&self, path: &Path, side: &Side, uids: &[u32]) {
        let stop = self.0.shutdown.token();
        let (first, last) = RECONNECT;
        let mut pause = first;
        while !stop.is_cancelled() {
            let connect = async {
                let stream = link::connect(path, uids).await?;
                Ok::<_, LinkError>(FileStream::from_link(
                    side.greet(stream, Track::Files).await?,
                    self.0.patience,
                ))
            };
            match stop.run_until_cancelled(connect).await {
                Some(Ok(mut link)) => {
                    let mut files = 0;
                    if let Err(fault) = self.serve(&mut link, &mut files).await {
                        counted::refused(fault.reason());
                        tracing::warn!(%fault, "a connection of the file track was closed");
                    }
                    if files > 0 {
                        pause = first;
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "no file link yet"),
                None => return,
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(last);
        }
    }

    /// One file after the other, until the connection ends.
    async fn serve(&self, link: &mut Link, files: &mut u64) -> Result<(), Fault> {
        let stop = self.0.shutdown.token();
        let mut slots = Slots::default();
        loop {
            let next = stop.run_until_cancelled(link.reader.next(EVER)).await;
            let Some(Some(frame)) = next.transpose()? else { return Ok(()) };
            if frame.kind == FrameKind::FileFetch {
                *files += 1;
                self.give(link, &read_as(&frame, FrameKind::FileFetch)?).await?;
                continue;
            }
            let offer: Offer = read_as(&frame, FrameKind::FileOffer)?;
            if !offer.is_possible() {
                return Err(Fault::Malformed(FrameKind::FileOffer));
            }
            *files += 1;
            let _open = InFlight::enter();
            let (ended, then) = self.take(link, &mut slots, &offer).await?;
            counted::ended(&ended);
            match &ended {
                Ended::Stored(_) => tracing::info!(file = %offer.file, size = offer.size, "file stored"),
                Ended::Refused(reason) => tracing::warn!(file = %offer.file, %reason, "file refused"),
                Ended::NotNow(reason) => tracing::warn!(file = %offer.file, %reason, "file not taken now"),
            }
            link.writer.send(FrameKind::FileEnded, &ended).await?;
            if matches!(then, Then::Close) {
                return Ok(());
            }
        }
    }

    /// Gives one file.
    async fn give(&self, link: &mut Link, fetch: &Fetch) -> Result<(), Fault> {
        if !fetch.is_possible() {
            return Err(Fault::Malformed(FrameKind::FileFetch));
        }
        let (_open, file) = (InFlight::enter(), fetch.ticket.file);
        let ended = self.0.giver.give(link, fetch, &self.0.shutdown.token()).await?;
        counted::fetched(ended.as_ref());
        match ended {
            None => tracing::info!(%file, from = fetch.from, size = fetch.ticket.size, "file given"),
            Some(ended) => {
                tracing::warn!(%file, ?ended, "file not given");
                link.writer.send(FrameKind::FileEnded, &ended).await?;
            }
        }
        Ok(())
    }

    /// Takes one file.
    async fn take(&self, link: &mut Link, slots: &mut Slots, offer: &Offer) -> Result<End, Fault> {
        if offer.size > self.0.max_file_bytes {
            return Ok((Ended::Refused(code("too-large")), Then::GoOn));
        }
        if offer.chunks() == 1 {
            self.take_small(link, slots, offer).await
        } else {
            self.take_large(link, slots, offer).await
        }
    }

    /// A file of one piece comes whole or not at all: nothing of it is kept for later.
    async fn take_small(&self, link: &mut Link, slots: &mut Slots, offer: &Offer) -> Result<End, Fault> {
        let _promised = match self.0.room.promise(offer.size) {
            Ok(promised) => promised,
            Err(full) => return Ok((full.into(), Then::GoOn)),
        };
        link.writer.send(FrameKind::FileWanted, &Wanted { from: 0 }).await?;
        let mut slot = slots.pop();
        let head = self.piece(link, &mut slot, offer, 0).await?;
        let (state, of) = (Arc::clone(&self.0), offer.clone());
        let (slot, verified) = blocking(move || {
            let verified =
                verify_small(&state.quarantine, (&state.inspection, &state.store), &of, &head, &mut slot);
            Ok((slot, verified))
        })
        .await?;
        slots.push(slot);
        Ok((
            self.end(offer, verified.unwrap_or_else(|error| Err(not_now(offer.file, &error)))).await,
            Then::GoOn,
        ))
    }

    async fn take_large(&self, link: &mut Link, slots: &mut Slots, offer: &Offer) -> Result<End, Fault> {
        let mut coming = match self.begin(offer).await {
            Ok(coming) => coming,
            Err(known) => return Ok((self.end(offer, known).await, Then::GoOn)),
        };
        if coming.due() < offer.chunks() {
            link.writer.send(FrameKind::FileWanted, &Wanted { from: coming.due() }).await?;
            let came = self.pieces(link, slots, &mut coming).await;
            // However it ended, what came is kept.
            let (slot, kept) = coming.settle().await;
            slots.extend(slot);
            match came.and(kept) {
                Ok(()) => {}
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Bad(bad)) => {
                    counted::refused(bad.reason());
                    tracing::warn!(file = %offer.file, %bad, "piece refused");
                    return Ok((Ended::NotNow(code("corrupted-piece")), Then::Close));
                }
                Err(Stop::Disk(error)) => {
                    let ended = not_now(offer.file, &error).into();
                    blocking(move || coming.give_up_if_full(&error)).await.ok();
                    return Ok((ended, Then::Close));
                }
            }
        }
        let finished = coming.finish(self.0.quarantine.clone(), self.0.store.clone()).await;
        let finished = finished.unwrap_or_else(|error| Err(not_now(offer.file, &error)));
        Ok((self.end(offer, finished).await, Then::GoOn))
    }

    /// What is there of a file. An error: it is known without its bytes how it ends, or how it goes on.
    async fn begin(&self, offer: &Offer) -> Result<Coming, Result<Marker, Declined>> {
        enum Found {
            Verified(Marker),
            Begun(Part),
            Elsewhere,
        }
        let (tries, pause) = LOCK_TRIES;
        for _ in 0..tries {
            let (state, of) = (Arc::clone(&self.0), offer.clone());
            let found = blocking(move || {
                Ok(match state.quarantine.marker(&of)? {
                    Some(marker) => {
                        state.quarantine.clear(of.file)?;
                        Found::Verified(marker)
                    }
                    None => state.quarantine.begin(&of)?.map_or(Found::Elsewhere, Found::Begun),
                })
            });
            match found.await {
                Ok(Found::Verified(marker)) => return Err(Ok(marker)),
                Ok(Found::Begun(part)) => {
                    let promised = self.0.room.promise(part.left()).map_err(Err)?;
                    let coming = Coming::new(part, promised, &self.0.inspection);
                    return coming.map_err(|error| Err(not_now(offer.file, &error)));
                }
                Ok(Found::Elsewhere) => tokio::time::sleep(pause).await,
                Err(error) => return Err(Err(not_now(offer.file, &error))),
            }
        }
        Err(Err(Declined::NotNow(code("elsewhere"))))
    }

    /// Takes every piece that is still to come: the next one is read while one is written.
    async fn pieces(&self, link: &mut Link, slots: &mut Slots, coming: &mut Coming) -> Result<(), Stop> {
        let offer = coming.offer().clone();
        for due in coming.due()..offer.chunks() {
            let mut slot = slots.pop();
            let reading = async { Ok(self.piece(link, &mut slot, &offer, due).await?) };
            let (head, free) = tokio::try_join!(reading, coming.written())?;
            slots.extend(free);
            coming.save_now_and_then().await?;
            coming.write(head, slot);
        }
        Ok(())
    }

    /// Reads the next piece.
    async fn piece(
        &self,
        link: &mut Link,
        slot: &mut Slot,
        offer: &Offer,
        due: u32,
    ) -> Result<ChunkHead, Fault> {
        let (patience, stop) = (self.0.patience, self.0.shutdown.token());
        let coming = async {
            let frame = link.reader.expect(patience).await?;
            let head: ChunkHead = read_as(&frame, FrameKind::FileChunk)?;
            if !head.fits(offer, due) {
                return Err(Fault::NotNext { index: head.index, len: head.len, due });
            }
            link.reader.body(slot.room(head.len)).await?;
            Ok(head)
        };
        let came = tokio::select! {
            came = timeout(patience, coming) => came.unwrap_or(Err(Fault::Stalled(patience))),
            () = stop.cancelled() => Err(Fault::Stopping),
        };
        let head = came?;
        counted::piece(offer.chunk_len(due), head.len as usize);
        Ok(head)
    }

    /// How a file ends that is in the store, or will not be.
    async fn end(&self, offer: &Offer, verified: Result<Marker, Declined>) -> Ended {
        let marker = match verified {
            Ok(marker) => marker,
            Err(not) => return not.into(),
        };
        let ended = attach(&self.0.centers, offer, &marker).await;
        if matches!(ended, Ended::Refused(_)) {
            let (quarantine, file) = (self.0.quarantine.clone(), offer.file);
            if let Err(error) = blocking(move || quarantine.unmark(file)).await {
                tracing::error!(%file, %error, "a refused file is still marked as verified");
            }
        }
        ended
    }
}

/// Runs what blocks on a thread of its own. What a connection does is in order, so there are at
/// most four of these for each.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What is left free of the file system.
struct Room {
    folder: PathBuf,
    keep_free: u64,
    /// What is still to come of the files that are coming.
    promised: Arc<AtomicU64>,
}

/// Room for a file.
pub(super) struct Promised {
    all: Arc<AtomicU64>,
    left: u64,
}

impl Room {
    fn promise(&self, bytes: u64) -> Result<Promised, Declined> {
        let all = self.promised.fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        let promised = Promised { all: Arc::clone(&self.promised), left: bytes };
        match rustix::fs::statvfs(&self.folder) {
            Ok(found)
                if found.f_bavail.saturating_mul(found.f_frsize) >= self.keep_free.saturating_add(all) =>
            {
                Ok(promised)
            }
            Ok(_) => Err(Declined::NotNow(code("disk-full"))),
            Err(error) => {
                tracing::error!(%error, "cannot tell how much room there is");
                Err(Declined::NotNow(code("disk-failed")))
            }
        }
    }
}

impl Promised {
    /// So much has come.
    pub(super) fn came(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.all.fetch_sub(bytes, Ordering::SeqCst);
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.all.fetch_sub(self.left, Ordering::SeqCst);
    }
}
