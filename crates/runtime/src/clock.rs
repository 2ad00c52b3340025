//! Time: the wall clock that a test can set, and deadlines that no clock change can move.
//!
//! Dates, bills and expiry of tokens go by the wall clock ([`Clock`]). How long a request may still take goes by
//! the monotonic clock ([`Deadline`]) and crosses a hop as *remaining milliseconds*, so that two hosts need not
//! agree on the time.
mod steady;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use steady::{Steady, Told};

use crate::boottime::BootTime;

/// The wall clock, as milliseconds since 1970-01-01 UTC. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Steady(Arc<Mutex<Steady>>),
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(Source::System)
    }

    /// The system's clock without its jumps, unless they last: for those who write with it what others put in order.
    pub fn steady() -> Self {
        Clock(Source::Steady(Arc::new(Mutex::new(Steady::new(system_ms(), BootTime::now().since_start())))))
    }

    /// A clock that stands at `unix_ms` until its hand moves it. Every clone of the clock follows the same hand.
    pub fn manual(unix_ms: u64) -> (Self, ClockHand) {
        let cell = Arc::new(AtomicU64::new(unix_ms));
        (Clock(Source::Set(cell.clone())), ClockHand { set_ms: cell })
    }

    /// Milliseconds since 1970-01-01 UTC; 0 if the system's clock stands before that.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System => system_ms(),
            Source::Set(cell) => cell.load(Ordering::SeqCst),
            Source::Steady(steady) => {
                let mut steady = steady.lock().unwrap_or_else(PoisonError::into_inner);
                let told = steady.tell(system_ms(), BootTime::now().since_start());
                drop(steady);
                match told {
                    Told::Evenly(_) => {}
                    Told::Jumped(_, by_ms) => {
                        metrics::counter!("clock_jumps_total").increment(1);
                        tracing::warn!(
                            by_ms,
                            "the system's clock has jumped: followed if it stays so for a minute"
                        );
                    }
                    Told::Followed(_, by_ms) => {
                        tracing::warn!(by_ms, "the system's clock has stayed where it jumped: followed")
                    }
                }
                told.unix_ms()
            }
        }
    }
}

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Moves a manual [`Clock`].
#[derive(Clone, Debug)]
pub struct ClockHand {
    set_ms: Arc<AtomicU64>,
}

impl ClockHand {
    /// Sets the clock to `unix_ms`, forwards or backwards.
    pub fn set(&self, unix_ms: u64) {
        self.set_ms.store(unix_ms, Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.set_ms
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_add(by_ms)))
            .ok();
    }
}

/// The moment, on this host's monotonic clock, after which nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
}

/// No deadline lies further away than this, whatever a peer asks for: work must end.
pub const DEADLINE_MAX: Duration = Duration::from_secs(3600);

impl Deadline {
    /// The deadline `remaining_ms` from now, at most [`DEADLINE_MAX`].
    pub fn from_remaining_ms(remaining_ms: u64) -> Self {
        Self::after(Duration::from_millis(remaining_ms))
    }

    /// The deadline `remaining` from now, at most [`DEADLINE_MAX`].
    pub fn after(remaining: Duration) -> Self {
        Self { at: Instant::now() + remaining.min(DEADLINE_MAX) }
    }

    /// The instant itself.
    pub fn at(self) -> Instant {
        self.at
    }

    /// The time left; zero once expired.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whole milliseconds left, rounded down; 0 once expired. This is what the next hop is told.
    pub fn remaining_ms(self) -> u64 {
        u64::try_from(self.remaining().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the moment has passed: work for it is dropped.
    pub fn expired(self) -> bool {
        Instant::now() >= self.at
    }

    /// The earlier of two deadlines.
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// Runs `work` until the deadline; `None` when it did not end in time (the work is then dropped).
    pub async fn bound<F: Future>(self, work: F) -> Option<F::Output> {
        tokio::time::timeout_at(self.at.into(), work).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_until_moved_and_clones_follow() {
        let (clock, hand) = Clock::manual(1_000);
        let copy = clock.clone();
        assert_eq!((clock.unix_ms(), copy.unix_ms()), (1_000, 1_000));
        hand.advance(Duration::from_secs(2));
        assert_eq!(copy.unix_ms(), 3_000);
        hand.set(5);
        assert_eq!(clock.unix_ms(), 5);
        hand.set(u64::MAX);
        hand.advance(Duration::from_secs(1));
        assert_eq!(clock.unix_ms(), u64::MAX);
    }

    #[test]
    fn the_system_clock_is_after_2024() {
        assert!(Clock::system().unix_ms() > 1_704_067_200_000);
        assert!(Clock::steady().unix_ms().abs_diff(Clock::system().unix_ms()) < 1_000);
    }

    #[test]
    fn a_deadline_counts_down_and_is_capped() {
        let far = Deadline::from_remaining_ms(u64::MAX);
        assert!(far.remaining() <= DEADLINE_MAX);
        assert!(!far.expired());
        let gone = Deadline::from_remaining_ms(0);
        assert!(gone.expired());
        assert_eq!(gone.remaining_ms(), 0);
        assert_eq!(far.earlier(gone), gone);
    }

    #[tokio::test]
    async fn work_past_its_deadline_is_dropped() {
        let deadline = Deadline::from_remaining_ms(60_000);
        assert_eq!(deadline.bound(async { 7 }).await, Some(7));
        let soon = Deadline::from_remaining_ms(1);
        assert_eq!(soon.bound(std::future::pending::<()>()).await, None);
    }
}
