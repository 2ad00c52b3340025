//! The connections of the file track that stand to the inner half and carry nothing at this moment.
//!
//! Each idle connection is watched, so that one that ends is not handed out. Who waits for one is served in order.
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use super::stream::{EVER, FileStream};
use crate::link::{Reader, Writer};

/// Why there is no connection for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLink {
    /// All of them carry files, and went on for too long.
    Busy,
    /// The inner half is away.
    Away,
    /// The inner half is of a version that does not know what it would be asked for.
    OfBefore,
}

impl NoLink {
    /// The reason's code.
    pub(super) fn code(self) -> &'static str {
        match self {
            NoLink::Busy => "busy",
            NoLink::Away => "gate-away",
            NoLink::OfBefore => "not-yet",
        }
    }
}

/// The connections to the inner half. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    idle: Mutex<Vec<(u64, oneshot::Sender<Handing>)>>,
    /// A permit for each of `idle` that nobody is about to take.
    free: Free,
    standing: AtomicUsize,
    next: AtomicU64,
}

type Handing = oneshot::Sender<Link>;

struct Free(Semaphore);

impl Default for Free {
    fn default() -> Self {
        Free(Semaphore::new(0))
    }
}

/// A connection to the inner half.
pub(super) struct Link {
    pub(super) stream: FileStream<Reader, Writer>,
    /// The catalogue's version that both halves read.
    pub(super) catalogue: u8,
    _standing: Standing,
}

/// Counts a connection as long as it stands.
struct Standing(Pool);

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.0.standing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where no connection stands, one is waited for so long.
const AGAIN_WITHIN: Duration = Duration::from_millis(500);

impl Pool {
    /// How many connections stand, idle or not.
    pub(super) fn standing(&self) -> usize {
        self.0.standing.load(Ordering::SeqCst)
    }

    /// Takes in a new connection.
    pub(super) fn add(&self, stream: FileStream<Reader, Writer>, catalogue: u8) {
        self.0.standing.fetch_add(1, Ordering::SeqCst);
        self.park(Link { stream, catalogue, _standing: Standing(self.clone()) });
    }

    /// Gives a connection back that is between two files.
    pub(super) fn park(&self, mut link: Link) {
        let (take, mut taken) = oneshot::channel::<Handing>();
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.idle().push((id, take));
        self.0.free.0.add_permits(1);
        let pool = self.clone();
        tokio::spawn(async move {
            metrics::gauge!("gate_file_links_idle").increment(1);
            let handing = tokio::select! {
                biased;
                handing = &mut taken => handing.ok(),
                // The inner half has nothing to say here: it left, or it is not itself.
                _ = link.stream.reader.next(EVER) => None,
            };
            metrics::gauge!("gate_file_links_idle").decrement(1);
            match handing {
                // Who asked may have gone meanwhile; the connection is as good as it was.
                Some(handing) => {
                    if let Err(link) = handing.send(link) {
                        pool.park(link);
                    }
                }
                None => pool.forget(id),
            }
        });
    }

    /// An idle connection, waited for at most `within`.
    pub(super) async fn take(&self, within: Duration) -> Result<Link, NoLink> {
        // One that was just closed is made anew in a moment.
        let within = if self.standing() == 0 { within.min(AGAIN_WITHIN) } else { within };
        let waiting = async {
            loop {
                // Nobody closes the semaphore.
                if let Ok(permit) = self.0.free.0.acquire().await {
                    permit.forget();
                }
                let Some((_, take)) = self.idle().pop() else { continue };
                let (handing, handed) = oneshot::channel();
                if take.send(handing).is_ok()
                    && let Ok(link) = handed.await
                {
                    return link;
                }
            }
        };
        let no_link = |_| if self.standing() == 0 { NoLink::Away } else { NoLink::Busy };
        tokio::time::timeout(within, waiting).await.map_err(no_link)
    }

    /// A connection that ended while it was idle.
    fn forget(&self, id: u64) {
        let mut idle = self.idle();
        let before = idle.len();
        idle.retain(|(other, _)| *other != id);
        // Where somebody holds its permit already, they find nothing and go on waiting.
        if idle.len() < before
            && let Ok(permit) = self.0.free.0.try_acquire()
        {
            permit.forget();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(u64, oneshot::Sender<Handing>)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
