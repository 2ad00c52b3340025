//! The time of day without its jumps: what somebody sets, or a host that was moved, shifts it for all that is written with it.
//!
//! While the system's clock goes evenly, as the clock does that counts from the host's start, it is believed. Where it jumps, time
//! goes on as it was, and the jump is followed once it has lasted for a minute: a clock that was wrong before is put right so.
use std::time::Duration;

/// Steps as small as this are taken at once, as of a clock that is kept right; none of them takes time back.
const SMALL_MS: u64 = 1_000;
/// How long a jump must last to be believed.
const LASTS: Duration = Duration::from_secs(60);

/// What is made of the system's clock.
#[derive(Debug)]
pub(super) struct Steady {
    /// The time that was told last, and when that was since the host's start.
    told_ms: u64,
    at: Duration,
    /// Since when the system's clock has been somewhere else.
    off_since: Option<Duration>,
}

/// The time, and what is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Evenly(u64),
    /// The system's clock has just jumped by so many ms; the time goes on without it.
    Jumped(u64, i64),
    /// The jump has lasted and is followed.
    Followed(u64, i64),
}

impl Told {
    pub(super) fn unix_ms(self) -> u64 {
        match self {
            Told::Evenly(ms) | Told::Jumped(ms, _) | Told::Followed(ms, _) => ms,
        }
    }
}

impl Steady {
    pub(super) fn new(system_ms: u64, at: Duration) -> Self {
        Steady { told_ms: system_ms, at, off_since: None }
    }

    /// The time now: the system's clock says `system_ms`, `at` after the host's start.
    pub(super) fn tell(&mut self, system_ms: u64, at: Duration) -> Told {
        let passed = u64::try_from(at.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        let expected = self.told_ms.saturating_add(passed);
        let off = system_ms.abs_diff(expected);
        let by = i64::try_from(off).unwrap_or(i64::MAX) * if system_ms < expected { -1 } else { 1 };
        if off <= SMALL_MS {
            self.off_since = None;
            self.go_on(system_ms.max(self.told_ms), at);
            return Told::Evenly(self.told_ms);
        }
        let has_just_jumped = self.off_since.is_none();
        let since = *self.off_since.get_or_insert(at);
        if at.saturating_sub(since) >= LASTS {
            self.off_since = None;
            self.go_on(system_ms, at);
            return Told::Followed(system_ms, by);
        }
        self.go_on(expected, at);
        if has_just_jumped { Told::Jumped(expected, by) } else { Told::Evenly(expected) }
    }

    fn go_on(&mut self, told_ms: u64, at: Duration) {
        // Whole milliseconds: what is left over is not lost, but counted the next time.
        let passed_ms = u64::try_from(at.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(Duration::from_millis(passed_ms));
        self.told_ms = told_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000;

    /// What is told when the system's clock is `off_ms` away from the right one, at each second.
    fn told(off_ms: impl Fn(u64) -> i64, seconds: u64) -> Vec<Told> {
        let begin = 1_700_000_000_000;
        let mut steady = Steady::new(begin, Duration::ZERO);
        (1..=seconds)
            .map(|s| {
                let system = (begin + s * S).checked_add_signed(off_ms(s)).unwrap();
                match steady.tell(system, Duration::from_secs(s)) {
                    Told::Evenly(ms) => Told::Evenly(ms - begin),
                    Told::Jumped(ms, by) => Told::Jumped(ms - begin, by),
                    Told::Followed(ms, by) => Told::Followed(ms - begin, by),
                }
            })
            .collect()
    }

    #[test]
    fn a_jump_that_does_not_last_is_not_followed() {
        for jump in [90_000, -90_000] {
            let all = told(|s| if (10..50).contains(&s) { jump } else { 0 }, 100);
            assert_eq!(all[9], Told::Jumped(10 * S, jump));
            for (s, told) in (1..).zip(&all) {
                assert_eq!(told.unix_ms(), s * S);
            }
            assert_eq!(all.iter().filter(|told| matches!(told, Told::Evenly(_))).count(), 99);
        }
    }

    #[test]
    fn a_jump_that_lasts_is_followed() {
        for jump in [3_600_000_i64, -30_000] {
            let all = told(|s| if s >= 40 { jump } else { 0 }, 130);
            assert_eq!(all[98].unix_ms(), 99 * S);
            assert_eq!(all[99], Told::Followed((100 * S).checked_add_signed(jump).unwrap(), jump));
            assert_eq!(all[129], Told::Evenly((130 * S).checked_add_signed(jump).unwrap()));
        }
    }

    #[test]
    fn small_steps_are_taken_and_never_take_time_back() {
        let all = told(|s| if s % 2 == 0 { 400 } else { -400 }, 20);
        let times: Vec<u64> = all.iter().map(|told| told.unix_ms()).collect();
        assert!(times.is_sorted());
        let mut steady = Steady::new(5_000, Duration::ZERO);
        assert_eq!(steady.tell(4_500, Duration::from_millis(1)), Told::Evenly(5_000));
    }

    #[test]
    fn what_passes_between_calls_adds_up() {
        let mut steady = Steady::new(0, Duration::ZERO);
        // The system's clock has jumped, so time goes by what has passed.
        let mut last = 0;
        for n in 1..=3_000_u64 {
            last = steady.tell(1_000_000 + n / 2, Duration::from_micros(n * 500)).unix_ms();
        }
        assert_eq!(last, 1_500);
    }
}
