//! Files that the center made, fetched from inside with its ticket: through the gate with the least to do, through another where
//! one breaks off, and kept for a while for who asks again.
//!
//! Whether somebody may have a file is the center's to say, each time anew: who asks here holds the ticket of the answer to an
//! authorized read. What comes is believed only when all of it has the hash that the ticket says.
use std::{
    collections::HashMap,
    fs::File,
    io,
    path::Path,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    Code, Problem,
    file::{Ended, Fetch, Hash, Offer, Ticket},
};
use runtime::shutdown::Shutdown;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Files, blocking,
    crossing::Key,
    send::{Connection, SendError},
    shelf::{Draft, PieceError, Shelf, before},
};
use crate::config::FetchedSettings;

/// How long a gate may be silent: then another is tried.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pauses between two rounds over all gates: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// What is said where nobody gave the file that the ticket is for.
const NOT_AS_MADE: &str = "The file did not come as it was made. Nothing of it is shown.";
/// When to come again where a gate, or a place, was missing, in seconds.
const AGAIN_S: u32 = 5;

/// A file that is here.
#[derive(Debug)]
pub struct Fetched {
    /// It stands at its beginning.
    pub file: File,
    /// Its length in bytes.
    pub size: u64,
    /// The hash of its content.
    pub root: Hash,
}

type Outcome = Result<(), Problem>;

/// What is under way, and what is here.
pub(super) struct Fetches {
    shelf: Shelf,
    /// By the hash of what is fetched: whoever asks for it meanwhile waits for the same.
    under_way: Mutex<HashMap<Hash, watch::Receiver<Option<Outcome>>>>,
    places: Semaphore,
    /// Bytes that are still to be written.
    promised: AtomicU64,
    stop: OnceLock<CancellationToken>,
}

impl Fetches {
    pub(super) fn open(data: &Path, settings: &FetchedSettings) -> io::Result<Self> {
        Ok(Fetches {
            shelf: Shelf::open(data)?,
            under_way: Mutex::default(),
            places: Semaphore::new(settings.at_once.clamp(1, Semaphore::MAX_PERMITS)),
            promised: AtomicU64::new(0),
            stop: OnceLock::new(),
        })
    }

    /// Breaks off what is under way when the shutdown begins.
    pub(super) fn end_with(&self, shutdown: &Shutdown) {
        self.stop.get_or_init(|| shutdown.token());
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Hash, watch::Receiver<Option<Outcome>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch that others may wait for; they hear of its end, however it ends.
struct UnderWay {
    files: Files,
    root: Hash,
    tell: watch::Sender<Option<Outcome>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.files.0.fetches.under_way().remove(&self.root);
    }
}

/// Room for a file that is being written.
struct Promised<'a> {
    all: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// How trying one gate ended.
enum Tried {
    /// All pieces came.
    Whole,
    /// It is not given, for a reason that is the file's or the ticket's.
    Refused(String),
    /// Not now, for a reason that is not the file's.
    NotNow(String),
    /// The gate sent what cannot be.
    Lied,
    /// Its connection broke.
    Broke(SendError),
    /// It cannot be written here.
    Disk(io::Error),
}

impl Files {
    /// The file that a ticket is for: from here, or fetched through a gate.
    ///
    /// # Errors
    /// `export_gone` where it is not there any more; `gate_unavailable` or `overloaded` where no gate gave it in time;
    /// `storage_full`; `unavailable` where the disk fails here; `internal` where it is longer than what is handed out.
    pub async fn fetch(&self, ticket: &Ticket) -> Result<Fetched, Problem> {
        let offer = ticket.offer();
        if !offer.is_possible() || offer.size > self.0.settings.fetched.file_bytes_max {
            tracing::error!(file = %offer.file, size = offer.size, "a file is longer than files.fetched.file_bytes_max");
            counted("too-large");
            return Err(Problem::new(Code::Internal, "This file is too long to be handed out."));
        }
        if let Some(here) = self.on_shelf(&offer).await? {
            counted("here");
            return Ok(here);
        }
        let mut told = self.fetching(ticket);
        // Who gives up waiting ends nothing: the file is here for the next who asks.
        let outcome = told.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(no_gate("The way inside was closed while the file came.")))?;
        // It may have had to give way at once.
        self.on_shelf(&offer).await?.ok_or_else(full)
    }

    async fn on_shelf(&self, offer: &Offer) -> Result<Option<Fetched>, Problem> {
        let (shelf, of) = (self.0.fetches.shelf.clone(), offer.clone());
        let found = blocking(move || shelf.find(&of)).await.map_err(|error| disk(&error))?;
        Ok(found.map(|file| Fetched { file, size: offer.size, root: offer.root }))
    }

    /// The fetch of this file that is under way, or a new one.
    fn fetching(&self, ticket: &Ticket) -> watch::Receiver<Option<Outcome>> {
        let mut all = self.0.fetches.under_way();
        if let Some(told) = all.get(&ticket.root) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        all.insert(ticket.root, told.clone());
        let under_way = UnderWay { files: self.clone(), root: ticket.root, tell };
        let ticket = ticket.clone();
        let _aside = self.0.aside.enter();
        tokio::spawn(async move {
            let outcome = under_way.files.fetch_unless_stopped(&ticket).await;
            counted(outcome.as_ref().map_or_else(|problem| problem.code.as_str(), |()| "fetched"));
            // Not under way any more before anybody hears how it ended: who asks then begins anew.
            let tell = under_way.tell.clone();
            drop(under_way);
            tell.send_replace(Some(outcome));
        });
        told
    }

    async fn fetch_unless_stopped(&self, ticket: &Ticket) -> Outcome {
        let fetching = self.fetch_in_time(ticket);
        match self.0.fetches.stop.get() {
            Some(stop) => stop
                .run_until_cancelled(fetching)
                .await
                .unwrap_or_else(|| Err(no_gate("This server is stopping. Ask again."))),
            None => fetching.await,
        }
    }

    async fn fetch_in_time(&self, ticket: &Ticket) -> Outcome {
        let (offer, fetches) = (ticket.offer(), &self.0.fetches);
        let end = Instant::now() + self.0.settings.fetched.within.0;
        let Ok(Ok(_place)) = timeout_at(end, fetches.places.acquire()).await else { return Err(busy()) };
        // Another fetch may have ended between the first look and this one's beginning.
        if self.on_shelf(&offer).await?.is_some() {
            return Ok(());
        }
        let _promised = self.make_room(offer.size).await?;
        let (shelf, of) = (fetches.shelf.clone(), offer.clone());
        let mut draft = blocking(move || shelf.begin(&of)).await.map_err(|error| disk(&error))?;
        self.fill_in(&mut draft, ticket, end).await?;
        blocking(move || draft.show()).await.map_err(|error| disk(&error))
    }

    /// Promises room for so many bytes; what was fetched longest ago gives way to them.
    async fn make_room(&self, bytes: u64) -> Result<Promised<'_>, Problem> {
        let fetches = &self.0.fetches;
        let all = fetches.promised.fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        let promised = Promised { all: &fetches.promised, bytes };
        let left = self.0.settings.fetched.bytes.checked_sub(all).ok_or_else(full)?;
        self.sweep(left).await?;
        let bodies = self.0.bodies.clone();
        match blocking(move || bodies.has_room(all)).await {
            Ok(true) => Ok(promised),
            Ok(false) => Err(full()),
            Err(error) => Err(disk(&error)),
        }
    }

    /// Removes what was kept for long enough, and what is more than may be.
    pub(super) async fn sweep_fetched(&self) -> Result<(), Problem> {
        let promised = self.0.fetches.promised.load(Ordering::SeqCst);
        self.sweep(self.0.settings.fetched.bytes.saturating_sub(promised)).await
    }

    async fn sweep(&self, bytes: u64) -> Result<(), Problem> {
        let (shelf, before) =
            (self.0.fetches.shelf.clone(), before(self.now_ms(), self.0.settings.fetched.keep.0));
        let left = blocking(move || shelf.sweep(before, bytes)).await.map_err(|error| disk(&error))?;
        metrics::gauge!("edge_fetched_bytes").set(left as f64);
        Ok(())
    }

    /// Takes a file's pieces from one gate after the other until all are here, and are it.
    async fn fill_in(&self, draft: &mut Draft, ticket: &Ticket, end: Instant) -> Outcome {
        // Who gave what is here, and who is not asked again in this fetch.
        let (mut gave, mut out): (Vec<Key>, Vec<Key>) = (Vec::new(), Vec::new());
        let (mut pause, mut why) = (PAUSE.0, no_gate("No gate is there to fetch the file."));
        loop {
            for (gate, uids) in self.0.gates.to_fetch_from() {
                if out.contains(&gate) {
                    continue;
                }
                let due = draft.due();
                let trying = self.take_from((&gate, &uids), draft, ticket);
                let Ok(tried) = timeout_at(end, trying).await else { return Err(why) };
                if draft.due() > due {
                    gave.push(gate.clone());
                }
                match tried {
                    Tried::Whole if draft.is_it() == Some(true) => return Ok(()),
                    // Each piece was what its head said: which of them is wrong, and whose, is not known.
                    Tried::Whole => {
                        lied(&gate, "content", ticket);
                        why = no_gate(NOT_AS_MADE);
                        out.append(&mut gave);
                        draft.restart();
                    }
                    Tried::Lied => {
                        lied(&gate, "piece", ticket);
                        why = no_gate(NOT_AS_MADE);
                        if gave.contains(&gate) {
                            gave.clear();
                            draft.restart();
                        }
                        out.push(gate);
                    }
                    // One gate's word is not enough to say that a file is gone.
                    Tried::Refused(reason) => {
                        why = refused(ticket, &reason);
                        out.push(gate);
                    }
                    Tried::Disk(error) => return Err(disk(&error)),
                    Tried::NotNow(reason) => {
                        tracing::info!(file = %ticket.file, gate = %gate.display(), reason, "a file is not given now");
                        why = if reason == "busy" {
                            busy()
                        } else {
                            no_gate("The way inside is closed for the moment.")
                        };
                    }
                    Tried::Broke(error) => {
                        tracing::warn!(file = %ticket.file, gate = %gate.display(), %error, "a fetch broke off");
                        why = no_gate("The way inside broke off while the file came.");
                    }
                }
            }
            if !out.is_empty() && self.0.gates.to_fetch_from().iter().all(|(gate, _)| out.contains(gate)) {
                return Err(why);
            }
            if Instant::now() + pause >= end {
                return Err(why);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Takes what is missing of a file from one gate.
    async fn take_from(&self, (gate, uids): (&Key, &[u32]), draft: &mut Draft, ticket: &Ticket) -> Tried {
        let (offer, _fetching) = (ticket.offer(), self.0.gates.fetching(gate));
        if draft.due() == offer.chunks() {
            return Tried::Whole;
        }
        let asking = async {
            let mut connection = Connection::open_for(gate, uids, PATIENCE).await?;
            connection.ask(&Fetch { ticket: ticket.clone(), from: draft.due() }).await?;
            Ok(connection)
        };
        let mut connection = match asking.await {
            Ok(connection) => connection,
            Err(error) => return Tried::Broke(error),
        };
        for due in draft.due()..offer.chunks() {
            let (head, body) = match connection.piece(&offer, due, PATIENCE).await {
                Ok(Ok(piece)) => piece,
                Ok(Err(Ended::NotNow(reason))) => return Tried::NotNow(reason.to_string()),
                Ok(Err(Ended::Refused(reason))) => return Tried::Refused(reason.to_string()),
                Ok(Err(Ended::Stored(_))) | Err(SendError::Refused) => return Tried::Lied,
                Err(error) => return Tried::Broke(error),
            };
            metrics::counter!("edge_fetched_wire_bytes_total").increment(body.len() as u64);
            let write = draft.writer();
            match tokio::task::spawn_blocking(move || write(head, body)).await {
                Ok(Ok(cv)) => draft.note(cv),
                Ok(Err(PieceError::Changed)) => return Tried::Lied,
                Ok(Err(PieceError::Disk(error))) => return Tried::Disk(error),
                Err(error) => return Tried::Disk(io::Error::other(error)),
            }
        }
        Tried::Whole
    }
}

fn counted(what: &'static str) {
    metrics::counter!("edge_fetches_total", "what" => what).increment(1);
}

fn lied(gate: &Key, reason: &'static str, ticket: &Ticket) {
    tracing::error!(file = %ticket.file, gate = %gate.display(), reason, "what a gate gave is not the file");
    metrics::counter!("edge_fetch_refused_total", "reason" => reason).increment(1);
}

fn refused(ticket: &Ticket, reason: &str) -> Problem {
    tracing::warn!(file = %ticket.file, reason, "a file is not given");
    match reason {
        "gone" | "expired" => {
            Problem::new(Code::ExportGone, "The file is not there any more. Ask for it anew.")
        }
        _ => Problem::new(Code::Internal, "The file could not be handed out."),
    }
}

fn no_gate(detail: &str) -> Problem {
    Problem::new(Code::GateUnavailable, detail).retry_after(AGAIN_S)
}

fn busy() -> Problem {
    Problem::new(Code::Overloaded, "Too many files are fetched at once.").retry_after(AGAIN_S)
}

fn full() -> Problem {
    Problem::new(Code::StorageFull, "There is no room for the file at the moment.").retry_after(60)
}

fn disk(error: &io::Error) -> Problem {
    tracing::error!(%error, "fetched files");
    Problem::new(Code::Unavailable, "Files cannot be handed out at the moment.").retry_after(AGAIN_S)
}
