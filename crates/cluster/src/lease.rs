//! A lease that is held: renewed by a task of its own, and judged by this host's clock alone.
//!
//! Until when its holder may act counts from the **sending** of the last renewal that succeeded, on a clock that goes on while
//! the machine sleeps, and ends a guard before etcd lets anybody else in. So a holder that is cut off, or was stopped and
//! goes on later, knows by itself that it has to stop; nobody needs to reach it. A lease that was lost once stays lost, even
//! if a late renewal comes through.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::boottime::BootTime;
use serde::{Deserialize, Deserializer, de::Error as _};
use tokio::sync::{oneshot, watch};

use crate::etcd::{Etcd, EtcdError, LeaseId};

/// Renewals per length of the lease: a leader of etcd may be lost and replaced between two of them.
const RENEWALS: u32 = 6;
/// The pause after a renewal that failed.
const RETRY: Duration = Duration::from_millis(100);
/// How often a lease that is of no use any more is revoked, where etcd does not answer.
const REVOKES: u32 = 10;
/// How often whoever waits for the loss looks at the clock, which other than timers goes on while the machine sleeps.
const LOOK: Duration = Duration::from_millis(100);

/// How long leases last, and how long before their end their holders stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    ttl: Duration,
    guard: Duration,
}

/// Leases that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts 2 to 60 s, and the guard is at least a fifth of it and at most half")]
pub struct TermsError;

impl LeaseTerms {
    /// Whole seconds, as etcd counts them, and the guard in ms.
    ///
    /// # Errors
    /// [`TermsError`].
    pub fn new(ttl_s: u64, guard_ms: u64) -> Result<Self, TermsError> {
        let ttl_ms = ttl_s.saturating_mul(1000);
        if (2..=60).contains(&ttl_s) && guard_ms.saturating_mul(5) >= ttl_ms && guard_ms * 2 <= ttl_ms {
            Ok(LeaseTerms { ttl: Duration::from_secs(ttl_s), guard: Duration::from_millis(guard_ms) })
        } else {
            Err(TermsError)
        }
    }

    /// How long a lease lasts without renewal.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// For how long after a renewal was sent its holder may act.
    pub fn acting(&self) -> Duration {
        self.ttl - self.guard
    }
}

impl Default for LeaseTerms {
    /// Three seconds, of which the last is the guard.
    fn default() -> Self {
        LeaseTerms { ttl: Duration::from_secs(3), guard: Duration::from_secs(1) }
    }
}

impl<'de> Deserialize<'de> for LeaseTerms {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            ttl_s: u64,
            guard_ms: u64,
        }
        let Raw { ttl_s, guard_ms } = Raw::deserialize(d)?;
        LeaseTerms::new(ttl_s, guard_ms).map_err(D::Error::custom)
    }
}

/// Until when the holder may act.
#[derive(Debug)]
struct Standing {
    until: Mutex<Until>,
    lost: watch::Sender<bool>,
}

#[derive(Debug)]
struct Until {
    at: BootTime,
    lost: bool,
    /// By its holder.
    revoked: bool,
}

impl Standing {
    fn new(until: BootTime) -> Self {
        let until = Mutex::new(Until { at: until, lost: false, revoked: false });
        Standing { until, lost: watch::Sender::new(false) }
    }

    /// How much longer, at `now`; zero once it is lost, and for ever after.
    fn remaining(&self, now: BootTime) -> Duration {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let remaining = if until.lost { Duration::ZERO } else { until.at.since(now) };
        if remaining.is_zero() && !until.lost {
            until.lost = true;
            drop(until);
            self.lost.send_replace(true);
        }
        remaining
    }

    /// A renewal came through at `now`. Says whether it was in time.
    fn renew(&self, now: BootTime, until: BootTime) -> bool {
        if self.remaining(now).is_zero() {
            return false;
        }
        let mut standing = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        standing.at = standing.at.max(until);
        !standing.lost
    }

    /// Until when it was good by the last renewal.
    fn until(&self) -> BootTime {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    fn is_revoked(&self) -> bool {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).revoked
    }

    fn give_up(&self) {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).revoked = true;
        self.lose();
    }

    fn lose(&self) {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).lost = true;
        self.lost.send_replace(true);
    }
}

/// A lease in etcd. Cheap to clone; when the last clone is dropped it is not renewed any more, and ends when it would have ended
/// for etcd.
#[derive(Clone, Debug)]
pub struct HeldLease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    etcd: Etcd,
    id: LeaseId,
    standing: Arc<Standing>,
    /// Dropped with it, which ends the renewals.
    _renewing: oneshot::Sender<()>,
}

impl HeldLease {
    /// Makes a lease and keeps it.
    ///
    /// # Errors
    /// What etcd says, or that it says nothing.
    pub async fn grant(etcd: &Etcd, terms: LeaseTerms) -> Result<Self, EtcdError> {
        let sent = BootTime::now();
        let (id, _) = etcd.lease_grant(terms.ttl).await?;
        let standing = Arc::new(Standing::new(sent + terms.acting()));
        let (renewing, dropped) = oneshot::channel();
        tokio::spawn(keep(etcd.clone(), id, terms, Arc::clone(&standing), dropped));
        Ok(HeldLease { held: Arc::new(Held { etcd: etcd.clone(), id, standing, _renewing: renewing }) })
    }

    /// Its id, to bind keys to.
    pub fn id(&self) -> LeaseId {
        self.held.id
    }

    /// Whether the holder may still act. Once it said no it never says yes again.
    pub fn valid(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// For how long the holder may act if no other renewal succeeds.
    pub fn remaining(&self) -> Duration {
        self.held.standing.remaining(BootTime::now())
    }

    /// Ends when the holder has to stop: the guard's time is left to it then. Holds nothing.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let standing = Arc::clone(&self.held.standing);
        async move {
            let mut lost = standing.lost.subscribe();
            loop {
                let remaining = standing.remaining(BootTime::now());
                if remaining.is_zero() {
                    return;
                }
                // The sender is in `standing`: this ends by time or by a loss.
                let _ = tokio::time::timeout(remaining.min(LOOK), lost.changed()).await;
            }
        }
    }

    /// Ends it now, with every key that is bound to it. Whoever acted under it has stopped before this is called.
    ///
    /// # Errors
    /// What etcd says, or that it says nothing; the lease then ends in its time.
    pub async fn revoke(&self) -> Result<(), EtcdError> {
        self.held.standing.give_up();
        match self.held.etcd.lease_revoke(self.held.id).await {
            Err(EtcdError::LeaseGone) => Ok(()),
            other => other,
        }
    }
}

/// Renews a lease until it is lost or dropped, then ends it at the time at which it would have ended for etcd: renewals that were
/// held up on the way would keep it, and its name, for longer.
async fn keep(
    etcd: Etcd,
    id: LeaseId,
    terms: LeaseTerms,
    standing: Arc<Standing>,
    dropped: oneshot::Receiver<()>,
) {
    let ended = tokio::select! {
        ended = renew(&etcd, id, terms, &standing) => ended,
        _ = dropped => Ended::Late,
    };
    if ended == Ended::Gone {
        return;
    }
    tokio::time::sleep(standing.until().since(BootTime::now()) + terms.guard).await;
    for _ in 0..REVOKES {
        match etcd.lease_revoke(id).await {
            Ok(()) | Err(EtcdError::LeaseGone) => return,
            Err(error) => tracing::debug!(%error, lease = id.0, "a lease that is of no use is still there"),
        }
        tokio::time::sleep(terms.ttl / 3).await;
    }
}

/// Why a lease is not renewed any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// No renewal was in time; it may still be there.
    Late,
    /// It is not there any more.
    Gone,
}

async fn renew(etcd: &Etcd, id: LeaseId, terms: LeaseTerms, standing: &Standing) -> Ended {
    let every = terms.ttl / RENEWALS;
    let mut pause = every;
    let ended = loop {
        tokio::time::sleep(pause).await;
        let sent = BootTime::now();
        if standing.remaining(sent).is_zero() {
            break Ended::Late;
        }
        let renewed = etcd.lease_keepalive(id).await;
        let now = BootTime::now();
        pause = match renewed {
            // A lease that lasts longer than asked for is none for this holder.
            Ok(ttl) if standing.renew(now, sent + ttl.min(terms.ttl).saturating_sub(terms.guard)) => {
                count("renewed");
                every.saturating_sub(now.since(sent))
            }
            Ok(_) => break Ended::Late,
            Err(EtcdError::LeaseGone) => {
                standing.lose();
                break Ended::Gone;
            }
            Err(error) => {
                count("failed");
                tracing::debug!(%error, "a lease was not renewed");
                RETRY
            }
        };
    };
    if !standing.is_revoked() {
        count("lost");
        tracing::warn!(lease = id.0, "a lease was lost");
    }
    ended
}

fn count(result: &'static str) {
    metrics::counter!("cluster_lease_renewals_total", "result" => result).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn terms_have_a_guard_worth_its_name() {
        assert_eq!(LeaseTerms::new(3, 1000), Ok(LeaseTerms::default()));
        assert_eq!(LeaseTerms::default().acting(), Duration::from_secs(2));
        for (ttl_s, guard_ms) in [(1, 500), (61, 20_000), (3, 0), (3, 599), (3, 1501), (u64::MAX, u64::MAX)] {
            assert_eq!(LeaseTerms::new(ttl_s, guard_ms), Err(TermsError), "{ttl_s} {guard_ms}");
        }
    }

    #[test]
    fn a_lost_lease_stays_lost() {
        let start = BootTime::now();
        let standing = Standing::new(start + 2000 * MS);
        assert_eq!(standing.remaining(start + 500 * MS), 1500 * MS);
        assert!(standing.renew(start + 600 * MS, start + 2500 * MS));
        // A renewal that was sent earlier and answered later takes nothing away.
        assert!(standing.renew(start + 700 * MS, start + 2400 * MS));
        assert_eq!(standing.remaining(start + 2400 * MS), 100 * MS);
        // It comes through in etcd's three seconds, but after the holder had to stop.
        assert!(!standing.renew(start + 2500 * MS, start + 4500 * MS));
        assert_eq!(standing.remaining(start + 600 * MS), Duration::ZERO);
        assert!(*standing.lost.borrow());
    }

    #[test]
    fn who_looks_first_makes_it_lost() {
        let start = BootTime::now();
        let standing = Standing::new(start + 10 * MS);
        assert_eq!(standing.remaining(start + 10 * MS), Duration::ZERO);
        assert!(!standing.renew(start + 5 * MS, start + 100 * MS));
    }
}
