//! Making a key that only one may have: created if absent, bound to a lease, waited for while another has it.
use std::{pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::{
    etcd::{Compare, Etcd, EtcdError, Event, KeyValue, Seen, Span, Txn, Watcher},
    lease::HeldLease,
};

/// The pause after etcd did not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a key was not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The lease that it was to be bound to is gone.
    #[error("the lease was lost")]
    LeaseLost,
    /// Another had it all the time.
    #[error("another holds it: {0}")]
    Held(String),
    /// Nobody wants it any more.
    #[error("given up")]
    GivenUp,
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

/// What is claimed. The value tells this claim from every other one under the same lease.
pub(crate) struct Claim<'a> {
    pub(crate) etcd: &'a Etcd,
    pub(crate) lease: &'a HeldLease,
    pub(crate) key: &'a str,
    pub(crate) value: &'a [u8],
    /// When waiting ends; none: never.
    pub(crate) until: Option<Instant>,
}

/// A future at whose end nobody wants the key any more.
pub(crate) type GivenUp<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

impl Claim<'_> {
    /// Waits until the key is ours; gives the revision at which it was made. Never leaves a transaction alone whose end is not
    /// known: only waiting is given up, at `until` or when `given_up` ends.
    pub(crate) async fn make(&self, mut given_up: GivenUp<'_>) -> Result<u64, ClaimError> {
        let txn = Txn::new()
            .when(Compare::absent(self.key))
            .put(self.key, self.value, Some(self.lease.id()))
            .otherwise_read(self.key);
        let mut lost = std::pin::pin!(self.lease.lost());
        loop {
            if !self.lease.valid() {
                return Err(ClaimError::LeaseLost);
            }
            let (holder, waiting): (_, Pin<Box<dyn Future<Output = ()> + Send>>) =
                match self.etcd.txn(&txn).await {
                    Ok(reply) if reply.succeeded => return Ok(reply.revision),
                    Ok(reply) => match reply.found.into_iter().flatten().next() {
                        Some(found) if self.is_ours(&found) => return Ok(found.create_revision),
                        Some(found) => {
                            let absent = absent(self.etcd.clone(), self.key.to_owned(), reply.revision);
                            (ClaimError::Held(holder(&found)), Box::pin(absent))
                        }
                        None => continue,
                    },
                    Err(EtcdError::LeaseGone) => return Err(ClaimError::LeaseLost),
                    Err(error @ EtcdError::Away(_)) => (error.into(), Box::pin(tokio::time::sleep(PAUSE))),
                    Err(EtcdError::Unknown(_)) => {
                        // The next attempt finds out; until then it may be ours already.
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
            tokio::select! {
                () = waiting => {}
                () = &mut lost => return Err(ClaimError::LeaseLost),
                () = given_up.as_mut() => return Err(ClaimError::GivenUp),
                () = sleep_until(self.until) => return Err(holder),
            }
        }
    }

    /// A transaction without an answer was done all the same.
    fn is_ours(&self, found: &KeyValue) -> bool {
        found.lease == Some(self.lease.id()) && found.value == self.value
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The holder as far as its value says who it is.
fn holder(found: &KeyValue) -> String {
    String::from_utf8_lossy(&found.value).chars().take(120).collect()
}

/// Ends when a key that was there at a revision is deleted.
async fn absent(etcd: Etcd, key: String, revision: u64) {
    let mut watcher = Watcher::after(etcd, Span::Key(key), revision);
    loop {
        match watcher.next().await {
            Ok(Seen::All { keys, .. }) if keys.is_empty() => return,
            Ok(Seen::Changes(events)) if events.iter().any(|event| matches!(event, Event::Delete { .. })) => {
                return;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "waiting for a key's end goes on"),
        }
    }
}
