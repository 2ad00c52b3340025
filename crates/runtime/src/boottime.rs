//! The clock that leases, and what must not jump, count by: it goes on while the machine is suspended, and nobody can set it.
use std::{ops::Add, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// A moment on CLOCK_BOOTTIME of this machine, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// This moment.
    pub fn now() -> Self {
        let read = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(read.tv_sec).unwrap_or(0);
        BootTime(Duration::new(seconds, u32::try_from(read.tv_nsec).unwrap_or(0)))
    }

    /// How long after the machine's start.
    pub fn since_start(self) -> Duration {
        self.0
    }

    /// How long until `self`, seen from `now`; zero once it has passed.
    pub fn since(self, now: BootTime) -> Duration {
        self.0.saturating_sub(now.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = BootTime;
    fn add(self, by: Duration) -> BootTime {
        BootTime(self.0.saturating_add(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward() {
        let before = BootTime::now();
        std::thread::sleep(Duration::from_millis(5));
        let passed = BootTime::now().since(before);
        assert!((Duration::from_millis(5)..Duration::from_secs(5)).contains(&passed), "{passed:?}");
        assert_eq!(before.since(BootTime::now()), Duration::ZERO);
    }
}
