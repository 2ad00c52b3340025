//! The inner half's part of the way out: gives a file that the center made to whoever shows the center's ticket for it.
//!
//! The edge is not trusted to say which file it may have, so nothing is opened before the ticket's signature and time are
//! verified here. A file is opened by its hash alone, in the one folder that this half can read.
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::file::{CHUNK_LEN, ChunkHead, Coding, Ended, Fetch, Offer, Ticket, chunk_cv};
use runtime::{clock::Clock, shrink::Shrink};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    coming::Declined,
    counted::{self, code},
    receive::{Link, ReceiveConfig, blocking},
    stream::{EVER, Fault, FileReader},
};
use crate::{link::Reader, settings::Settings};

/// Pieces that are read ahead of what is sent.
const AHEAD: usize = 2;

/// What gives files.
pub(super) struct Giver {
    folder: Option<PathBuf>,
    settings: Settings,
    clock: Clock,
    /// So many are given at once, so that the way in always has connections left.
    places: Arc<Semaphore>,
}

/// A file that is about to be given, and its place among those that are.
type Open = (File, OwnedSemaphorePermit);

impl Giver {
    /// Gives what is in the folder of the settings, for tickets by the keys that the center pushes.
    pub(super) fn new(config: &ReceiveConfig, settings: Settings) -> Self {
        let half = config.connections.div_ceil(2).max(1);
        let places = config.outward_connections.clamp(1, half) as usize;
        Giver {
            folder: config.outward.clone(),
            settings,
            clock: Clock::system(),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// Gives a file over a connection. `None`: all of it was sent; else why not, which is still to be said where the head of a
    /// piece would stand.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) async fn give(
        &self,
        link: &mut Link,
        fetch: &Fetch,
        stop: &CancellationToken,
    ) -> Result<Option<Ended>, Fault> {
        // Its place is free again once it was given, however that ended.
        let (file, _place) = match self.open(&fetch.ticket).await {
            Ok(open) => open,
            Err(declined) => return Ok(Some(declined.into())),
        };
        let (pieces, mut ready) = mpsc::channel(AHEAD);
        let (offer, from) = (fetch.ticket.offer(), fetch.from);
        let plan = offer.clone();
        let reading = blocking(move || read_pieces(file, &plan, from, &pieces));
        let reading = tokio::spawn(reading);
        for _ in from..offer.chunks() {
            let Some((head, piece)) = undisturbed(&mut link.reader, stop, ready.recv()).await? else { break };
            // Once the last one is written the outer half may ask for the next file, and is not disturbing.
            undisturbed(&mut link.reader, stop, link.writer.send_piece(&head, &piece)).await??;
            counted::piece(offer.chunk_len(head.index), piece.len());
        }
        match reading.await.map_err(io::Error::other).flatten() {
            Ok(()) => Ok(None),
            Err(error) => Ok(Some(unreadable(&fetch.ticket, &error).into())),
        }
    }

    /// Opens the file that a ticket is for. Nothing is looked at before the ticket is believed.
    async fn open(&self, ticket: &Ticket) -> Result<Open, Declined> {
        let refused = |why| {
            counted::refused(why);
            Err(Declined::Refused(code(why)))
        };
        let not_now = |why| Err(Declined::NotNow(code(why)));
        let keys = self.settings.keys();
        // None yet, or not the newest yet: the center pushes them.
        if keys.iter().all(|(id, _)| *id != ticket.key_id) {
            return not_now("no-keys");
        }
        if !ticket.is_genuine(&keys) {
            return refused("not-genuine");
        }
        if ticket.is_over(self.clock.unix_ms()) {
            return refused("expired");
        }
        let Some(folder) = &self.folder else { return not_now("no-outward") };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return not_now("busy") };
        let (path, size) = (folder.join(protocol::file::place(&ticket.root)), ticket.size);
        match blocking(move || open(&path, size)).await {
            Ok(Some(file)) => Ok((file, place)),
            Ok(None) => refused("changed"),
            Err(error) => Err(unreadable(ticket, &error)),
        }
    }
}

/// Opens a file; `None` where it is not one of that length.
fn open(path: &Path, size: u64) -> io::Result<Option<File>> {
    // Neither follows a link nor waits for whoever is at the other end of a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
        opened => opened?,
    };
    let found = file.metadata()?;
    Ok((found.is_file() && found.len() == size).then_some(file))
}

/// Why a file is not given that could not be read.
fn unreadable(ticket: &Ticket, error: &io::Error) -> Declined {
    match error.kind() {
        // Its time is over: the center took it away.
        io::ErrorKind::NotFound => Declined::Refused(code("gone")),
        io::ErrorKind::UnexpectedEof => Declined::Refused(code("changed")),
        _ => {
            tracing::error!(file = %ticket.file, %error, "a file for outside cannot be read");
            Declined::NotNow(code("disk-failed"))
        }
    }
}

/// `work`, unless the outer half says or does something meanwhile, which it may not, or this half stops.
async fn undisturbed<T>(
    reader: &mut FileReader<Reader>,
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, Fault> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Fault::Stopping),
        spoke = reader.expect(EVER) => Err(spoke.map_or_else(|fault| fault, |frame| Fault::Misplaced(frame.kind))),
        done = work => Ok(done),
    }
}

/// Reads a file's pieces from `from` on, compresses what shrinks, and passes them on; ends early when nobody wants more.
fn read_pieces(
    mut file: File,
    offer: &Offer,
    from: u32,
    to: &mpsc::Sender<(ChunkHead, Vec<u8>)>,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(u64::from(from) * CHUNK_LEN as u64))?;
    let mut shrink = Shrink::new()?;
    for index in from..offer.chunks() {
        let mut piece = vec![0; offer.chunk_len(index)];
        file.read_exact(&mut piece)?;
        let cv = chunk_cv(offer.size, index, &piece);
        let (coding, bytes) = match shrink.shrunk(&piece)? {
            Some(shorter) => (Coding::Zstd, shorter),
            None => (Coding::Raw, piece),
        };
        let head = ChunkHead { index, coding, len: bytes.len() as u32, cv };
        if to.blocking_send((head, bytes)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
