//! What one source of connections may use: no single one takes what all the others need.
//!
//! A source is an IPv4 address or an IPv6 /64, the least that one subscriber is given (RFC 6177). Where a balancer
//! stands in front, every connection has its address: the limits by source belong there then, and are set off here.
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};

use crate::config::Limits;

/// So many sources are remembered; of more, those that connected longest ago are forgotten.
const SOURCES_MAX: u64 = 100_000;

/// Every source's use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    known: Cache<u128, Arc<Use>>,
    rules: Rules,
    begun: Instant,
}

#[derive(Clone, Copy)]
struct Rules {
    connections: usize,
    requests: Rate,
    login_starts: Rate,
}

#[derive(Default)]
struct Use {
    connections: AtomicUsize,
    requests: Spent,
    login_starts: Spent,
}

/// One connection of a source, counted until it is dropped.
pub(crate) struct Source {
    uses: Arc<Use>,
    rules: Rules,
    begun: Instant,
}

impl Sources {
    pub(crate) fn new(limits: &Limits) -> Self {
        let rules = Rules {
            connections: limits.connections_per_source,
            requests: Rate { most: limits.requests_per_second, per: Duration::from_secs(1) },
            login_starts: Rate { most: limits.login_starts_per_minute, per: Duration::from_secs(60) },
        };
        let known = Cache::builder().max_capacity(SOURCES_MAX).eviction_policy(EvictionPolicy::lru()).build();
        Sources { known, rules, begun: Instant::now() }
    }

    /// Counts a connection. `None`: its source has as many as it may.
    pub(crate) fn connect(&self, from: IpAddr) -> Option<Source> {
        let uses = self.known.get_with(source_of(from), Arc::default);
        let most = self.rules.connections;
        let more = |open: usize| (most == 0 || open < most).then_some(open + 1);
        uses.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Source { uses, rules: self.rules, begun: self.begun })
    }
}

fn source_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

impl Source {
    /// Counts a request.
    ///
    /// # Errors
    /// When to come again, in seconds.
    pub(crate) fn request(&self) -> Result<(), u32> {
        self.rules.requests.take(&self.uses.requests, self.begun.elapsed())
    }

    /// Counts a request that has a one-time code sent.
    ///
    /// # Errors
    /// When to come again, in seconds.
    pub(crate) fn login_start(&self) -> Result<(), u32> {
        self.rules.login_starts.take(&self.uses.login_starts, self.begun.elapsed())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.uses.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// At most `most` at once, and on average `most` in every `per`; 0: no limit. (The generic cell rate algorithm of ITU-T
/// I.371: one number is the whole memory.)
#[derive(Clone, Copy)]
struct Rate {
    most: u32,
    per: Duration,
}

/// Until when what was taken is paid for, in ns.
#[derive(Default)]
struct Spent(AtomicU64);

impl Rate {
    fn take(self, spent: &Spent, now: Duration) -> Result<(), u32> {
        if self.most == 0 {
            return Ok(());
        }
        let (now, per) = (nanos(now), nanos(self.per));
        let one = (per / u64::from(self.most)).max(1);
        let pay = |until: u64| {
            let until = until.max(now).saturating_add(one);
            (until <= now.saturating_add(per)).then_some(until)
        };
        match spent.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay) {
            Ok(_) => Ok(()),
            Err(until) => {
                let wait = until.saturating_add(one).saturating_sub(now.saturating_add(per));
                Err(u32::try_from(wait.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1))
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(connections_per_source: usize) -> Limits {
        Limits { connections_per_source, ..Limits::default() }
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_one_subscriber() {
        let source = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
    }

    #[test]
    fn connections_are_counted_by_source_until_they_end() {
        let sources = Sources::new(&limits(2));
        let from = |text: &str| sources.connect(text.parse().unwrap());
        let (first, _second) = (from("192.0.2.1").unwrap(), from("192.0.2.1").unwrap());
        assert!(from("192.0.2.1").is_none());
        assert!(from("192.0.2.2").is_some());
        drop(first);
        assert!(from("192.0.2.1").is_some());
        let sources = Sources::new(&limits(0));
        let all: Vec<_> = (0..5000).map(|_| sources.connect([192, 0, 2, 1].into()).unwrap()).collect();
        assert_eq!(all.len(), 5000);
    }

    #[test]
    fn the_time_to_come_again_is_true() {
        let rate = Rate { most: 2, per: Duration::from_secs(60) };
        let spent = Spent::default();
        let at = |s| rate.take(&spent, Duration::from_secs(s));
        assert_eq!([at(5), at(5), at(5), at(34)], [Ok(()), Ok(()), Err(30), Err(1)]);
        assert_eq!([at(35), at(35)], [Ok(()), Err(30)]);
        let off = Rate { most: 0, ..rate };
        assert!((0..1000).all(|_| off.take(&spent, Duration::ZERO).is_ok()));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_than_a_store_and_the_rate(
            most in 1u32..50, steps in proptest::collection::vec(0u64..200, 1..400),
        ) {
            let rate = Rate { most, per: Duration::from_secs(1) };
            let (spent, mut now_ms, mut taken) = (Spent::default(), 0, Vec::new());
            for step in steps {
                now_ms += step;
                if rate.take(&spent, Duration::from_millis(now_ms)).is_ok() {
                    taken.push(now_ms);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, until) in taken.iter().enumerate().skip(first) {
                    let most = f64::from(most) * (1.0 + (until - from) as f64 / 1e3);
                    prop_assert!((last - first + 1) as f64 <= most + 1e-3);
                }
            }
        }
    }
}
