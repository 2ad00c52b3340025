//! A file on its way through the quarantine into the store.
use std::{
    io::{self, Seek},
    sync::Arc,
};

use protocol::{
    FileId,
    bounds::ShortName,
    file::{ChunkHead, Ended, Hash, Offer, root_of},
};
use tokio::task::JoinHandle;

use super::{
    counted::{self, code},
    growing::{Growing, Written},
    inspection::{Inspected, Inspection},
    pieces::{BadPiece, Slot},
    quarantine::{Marker, Part, Quarantine},
    receive::{Promised, blocking},
    store::Store,
    stream::Fault,
};

/// After so many pieces (16 MiB) what came is made durable.
const SAVE_EVERY: u32 = 64;

/// Why a file is not in the store, or not given.
pub(super) enum Declined {
    /// It will not be; the reason's code.
    Refused(ShortName),
    /// It may be later; the reason's code.
    NotNow(ShortName),
}

impl From<Declined> for Ended {
    fn from(not: Declined) -> Self {
        match not {
            Declined::Refused(reason) => Ended::Refused(reason),
            Declined::NotNow(reason) => Ended::NotNow(reason),
        }
    }
}

/// Why no more pieces are taken.
pub(super) enum Stop {
    /// The connection.
    Fault(Fault),
    /// A piece that is not what it says.
    Bad(BadPiece),
    /// The file system.
    Disk(io::Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Disk(error)
    }
}

/// A connection's rooms for pieces.
#[derive(Default)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    pub(super) fn pop(&mut self) -> Slot {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.0.push(slot);
    }

    pub(super) fn extend(&mut self, slot: Option<Slot>) {
        self.0.extend(slot);
    }
}

type OnePiece = (Slot, io::Result<Result<Hash, BadPiece>>);

/// A file of many pieces that is coming. One piece is verified and written, some others are made durable, and what was written
/// is inspected, while the next is read.
pub(super) struct Coming {
    part: Part,
    promised: Promised,
    written: Written,
    inspecting: JoinHandle<io::Result<Inspected>>,
    writing: Option<JoinHandle<OnePiece>>,
    saving: Option<JoinHandle<io::Result<u32>>>,
    /// How many pieces are durable once `saving` has ended well.
    saved: u32,
}

impl Coming {
    /// Goes on with a part. Inspecting what is there begins now.
    pub(super) fn new(part: Part, promised: Promised, inspection: &Inspection) -> io::Result<Self> {
        let (saved, size) = (part.durable, part.offer.size);
        let (written, mut growing) = Growing::new(part.disk.part.try_clone()?, size);
        written.reaches(size - part.left());
        let inspection = inspection.clone();
        let inspecting = tokio::task::spawn_blocking(move || inspection.inspected(&mut growing, size));
        Ok(Coming { part, promised, written, inspecting, writing: None, saving: None, saved })
    }

    pub(super) fn offer(&self) -> &Offer {
        &self.part.offer
    }

    /// The number of the first piece that is not written.
    pub(super) fn due(&self) -> u32 {
        self.part.due()
    }

    /// Begins to verify and write a piece. The one before was [written](Coming::written).
    pub(super) fn write(&mut self, head: ChunkHead, mut slot: Slot) {
        let (disk, offer) = (Arc::clone(&self.part.disk), self.part.offer.clone());
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = match slot.verified(&offer, &head) {
                Ok((piece, cv)) => disk.write(head.index, piece).map(|()| Ok(cv)),
                Err(bad) => Ok(Err(bad)),
            };
            (slot, written)
        }));
    }

    /// Waits for the piece that is being written, and gives its room back. Dropped before it ends, it loses nothing.
    pub(super) async fn written(&mut self) -> Result<Option<Slot>, Stop> {
        let Some(writing) = &mut self.writing else { return Ok(None) };
        let ended = writing.await;
        self.writing = None;
        let (slot, written) = ended.map_err(io::Error::other)?;
        let cv = written?.map_err(Stop::Bad)?;
        self.promised.came(self.part.offer.chunk_len(self.part.due()) as u64);
        self.part.cvs.push(cv);
        self.written.reaches(self.part.offer.size - self.part.left());
        Ok(Some(slot))
    }

    /// Begins to make durable what was written, where it is much. Waits only for the time before.
    pub(super) async fn save_now_and_then(&mut self) -> io::Result<()> {
        if self.part.due() - self.saved < SAVE_EVERY {
            return Ok(());
        }
        self.saved().await?;
        self.save();
        Ok(())
    }

    fn save(&mut self) {
        let (from, to) = (self.part.durable, self.part.due());
        let disk = Arc::clone(&self.part.disk);
        let cvs = self.part.cvs[from as usize..].to_vec();
        self.saved = to;
        self.saving = Some(tokio::task::spawn_blocking(move || disk.make_durable(from, &cvs).map(|()| to)));
    }

    async fn saved(&mut self) -> io::Result<()> {
        if let Some(saving) = self.saving.take() {
            self.part.durable = saving.await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Waits for what is under way, and makes durable what was written, also where some of it went wrong.
    pub(super) async fn settle(&mut self) -> (Option<Slot>, Result<(), Stop>) {
        let (slot, last) = match self.written().await {
            Ok(slot) => (slot, Ok(())),
            Err(stop) => (None, Err(stop)),
        };
        let saved = async {
            self.saved().await?;
            if self.part.due() > self.part.durable {
                self.save();
                self.saved().await?;
            }
            Ok(())
        };
        let saved = saved.await.map_err(Stop::Disk);
        (slot, last.and(saved))
    }

    /// Where the disk is full, what is half there only makes it worse. Blocking.
    pub(super) fn give_up_if_full(self, error: &io::Error) -> io::Result<()> {
        if is_full(error) { self.part.disk.remove() } else { Ok(()) }
    }

    /// All of it was written: verifies the whole, and shows it where it may be.
    pub(super) async fn finish(
        mut self,
        quarantine: Quarantine,
        store: Store,
    ) -> io::Result<Result<Marker, Declined>> {
        let inspected = (&mut self.inspecting).await.map_err(io::Error::other)?;
        blocking(move || self.show(inspected, &quarantine, &store)).await
    }

    fn show(
        self,
        inspected: io::Result<Inspected>,
        quarantine: &Quarantine,
        store: &Store,
    ) -> io::Result<Result<Marker, Declined>> {
        let Part { offer, disk, cvs, taken_over, .. } = self.part;
        if root_of(offer.size, &cvs) != Some(offer.root) {
            disk.remove()?;
            counted::refused("hash-mismatch");
            // Only where every piece came now it is known that the offer lied, and not a disk.
            return Ok(Err(if taken_over == 0 {
                Declined::Refused(code("hash-mismatch"))
            } else {
                Declined::NotNow(code("begin-again"))
            }));
        }
        let kind = match inspected? {
            Inspected::Passed(kind) => kind,
            Inspected::Refused(reason) => {
                disk.remove()?;
                return Ok(Err(Declined::Refused(reason)));
            }
        };
        store.show(&disk.part, &disk.part_path, &offer.root)?;
        disk.let_go();
        let marker = Marker { size: offer.size, root: offer.root, kind };
        quarantine.mark(offer.file, &marker)?;
        disk.remove()?;
        Ok(Ok(marker))
    }
}

/// Verifies a file of one piece, and has it inspected and shown. Blocking.
pub(super) fn verify_small(
    quarantine: &Quarantine,
    (inspection, store): (&Inspection, &Store),
    offer: &Offer,
    head: &ChunkHead,
    slot: &mut Slot,
) -> io::Result<Result<Marker, Declined>> {
    use std::io::Write;
    let piece = match slot.verified(offer, head) {
        Ok((piece, cv)) if cv == offer.root => piece,
        Ok(_) => {
            counted::refused("hash-mismatch");
            return Ok(Err(Declined::Refused(code("hash-mismatch"))));
        }
        Err(bad) => {
            counted::refused(bad.reason());
            return Ok(Err(Declined::NotNow(code("corrupted-piece"))));
        }
    };
    let Some((mut file, path)) = quarantine.begin_small(offer.file)? else {
        return Ok(Err(Declined::NotNow(code("elsewhere"))));
    };
    let ended = (|| {
        file.write_all(piece)?;
        file.rewind()?;
        Ok(match inspection.inspected(&mut file, offer.size)? {
            Inspected::Passed(kind) => {
                store.show(&file, &path, &offer.root)?;
                Ok(Marker { size: offer.size, root: offer.root, kind })
            }
            Inspected::Refused(reason) => Err(Declined::Refused(reason)),
        })
    })();
    // Shown or not, its place here is empty again before its lock is gone.
    std::fs::remove_file(&path)?;
    ended
}

/// What a file system's error means for a file.
pub(super) fn not_now(file: FileId, error: &io::Error) -> Declined {
    tracing::error!(%file, %error, "the file system does not take a file");
    Declined::NotNow(code(if is_full(error) { "disk-full" } else { "disk-failed" }))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
