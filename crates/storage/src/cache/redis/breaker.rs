//! Leaves a Redis that does not answer alone for a while, so that its absence costs no request its time-out.
use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// So many commands in a row without an answer, and it rests.
const MOST_FAILURES: u32 = 3;

/// Counts failures in a row.
pub(super) struct Breaker {
    begun: Instant,
    rest: Duration,
    failures: AtomicU32,
    /// Until when it rests, in ms since `begun`; 0: it does not.
    until_ms: AtomicU64,
}

impl Breaker {
    pub(super) fn new(rest: Duration) -> Self {
        Breaker { begun: Instant::now(), rest, failures: AtomicU32::new(0), until_ms: AtomicU64::new(0) }
    }

    /// Whether a command may be sent now. After a rest, one is, and the others wait for what becomes of it.
    pub(super) fn lets_through(&self) -> bool {
        let until_ms = self.until_ms.load(SeqCst);
        if until_ms == 0 {
            return true;
        }
        let now_ms = self.now_ms();
        now_ms >= until_ms
            && self.until_ms.compare_exchange(until_ms, self.rested(now_ms), SeqCst, SeqCst).is_ok()
    }

    pub(super) fn answered(&self) {
        // Read first: in the usual case there is nothing to write, and nothing for other cores to fetch.
        if self.failures.load(SeqCst) != 0 {
            self.failures.store(0, SeqCst);
        }
        if self.until_ms.load(SeqCst) != 0 {
            self.until_ms.store(0, SeqCst);
        }
    }

    pub(super) fn failed(&self) {
        if self.failures.fetch_add(1, SeqCst) + 1 == MOST_FAILURES {
            self.until_ms.store(self.rested(self.now_ms()), SeqCst);
            metrics::counter!("cache_breaker_total").increment(1);
            tracing::warn!("Redis does not answer; reads go to the slaves for a while");
        }
    }

    fn rested(&self, now_ms: u64) -> u64 {
        now_ms + (self.rest.as_millis() as u64).max(1)
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_after_some_failures_and_then_tries_one() {
        let breaker = Breaker::new(Duration::from_millis(40));
        for _ in 0..MOST_FAILURES {
            assert!(breaker.lets_through());
            breaker.failed();
        }
        assert!(!breaker.lets_through());
        std::thread::sleep(Duration::from_millis(60));
        assert!(breaker.lets_through(), "one tries");
        assert!(!breaker.lets_through(), "the others wait");
        breaker.failed();
        assert!(!breaker.lets_through());
        breaker.answered();
        assert!(breaker.lets_through());
        breaker.failed();
        assert!(breaker.lets_through(), "one failure is none");
    }
}
