//! Leadership among the programs of the management platform.
//!
//! Who makes the leader's key leads, for as long as the key is there; it hangs on a lease. The revision at which it was made is
//! the **fence**: every write of a leader holds only if the key is still the one of that revision, so that a leader that was
//! replaced without knowing it writes nothing.
use std::sync::Arc;

use protocol::bounds::ShortName;
use serde::{Deserialize, Serialize};

use crate::{
    claim::{Claim, ClaimError},
    etcd::{Compare, Etcd, EtcdError, Txn, TxnReply},
    lease::{HeldLease, LeaseTerms},
};

/// One who would lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    etcd: Etcd,
    key: Arc<str>,
    name: ShortName,
    terms: LeaseTerms,
}

/// Who leads, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its name.
    pub name: ShortName,
    /// Its fence.
    pub fence: u64,
}

/// What stands in the leader's key.
#[derive(Serialize, Deserialize)]
struct Value {
    name: ShortName,
}

impl Candidate {
    /// A candidate of this name for the leadership that `key` stands for.
    pub fn new(etcd: Etcd, key: String, name: ShortName, terms: LeaseTerms) -> Self {
        Candidate { etcd, key: key.into(), name, terms }
    }

    /// Waits until it leads. May be dropped while it waits; what it had begun then ends with its lease.
    ///
    /// # Errors
    /// Where etcd refuses for good; while it is away this waits.
    pub async fn campaign(&self) -> Result<Leadership, EtcdError> {
        let value = serde_json::to_vec(&Value { name: self.name.clone() })
            .map_err(|error| EtcdError::Form(error.to_string()))?;
        let mut said = false;
        loop {
            let lease = match HeldLease::grant(&self.etcd, self.terms).await {
                Ok(lease) => lease,
                Err(EtcdError::Away(why)) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(why, "no lease to campaign with; goes on trying");
                    }
                    tokio::time::sleep(self.terms.ttl() / 6).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let claim = Claim { etcd: &self.etcd, lease: &lease, key: &self.key, value: &value, until: None };
            match claim.make(std::pin::pin!(std::future::pending())).await {
                Ok(fence) => {
                    let (etcd, key) = (self.etcd.clone(), Arc::clone(&self.key));
                    return Ok(Leadership { etcd, key, fence, lease });
                }
                Err(ClaimError::Etcd(error)) => return Err(error),
                Err(error) => tracing::info!(%error, "campaigns anew"),
            }
        }
    }

    /// Who leads now.
    ///
    /// # Errors
    /// What etcd says, or that it says nothing.
    pub async fn observe(&self) -> Result<Option<Leader>, EtcdError> {
        let Some(found) = self.etcd.get(&self.key).await? else { return Ok(None) };
        let Value { name } =
            serde_json::from_slice(&found.value).map_err(|error| EtcdError::Form(error.to_string()))?;
        Ok(Some(Leader { name, fence: found.create_revision }))
    }
}

/// Leading. Dropped without [`Leadership::resign`], it ends with its lease.
#[derive(Debug)]
pub struct Leadership {
    etcd: Etcd,
    key: Arc<str>,
    fence: u64,
    lease: HeldLease,
}

/// Why a leader's write was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeadError {
    /// It does not lead any more; another may.
    #[error("the leadership was lost")]
    Lost,
    /// It leads, but what it wanted to change has changed.
    #[error("what was to be changed has changed meanwhile")]
    Changed,
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

impl Leadership {
    /// The revision that every write of this leader is bound to. A later leader's is greater.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether it may still act.
    pub fn valid(&self) -> bool {
        self.lease.valid()
    }

    /// Ends when it has to stop acting.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        self.lease.lost()
    }

    /// A transaction that holds only while this leader is the leader.
    pub fn fenced(&self, txn: Txn) -> Txn {
        txn.when(Compare::created_at(&self.key, self.fence)).otherwise_read(&self.key)
    }

    /// Does a write of the leader. `txn` has no reads of its own.
    ///
    /// # Errors
    /// [`LeadError`]. After an [`EtcdError::Unknown`] it may have been done.
    pub async fn write(&self, txn: Txn) -> Result<TxnReply, LeadError> {
        if !self.valid() {
            return Err(LeadError::Lost);
        }
        let reply = self.etcd.txn(&self.fenced(txn)).await?;
        if reply.succeeded {
            return Ok(reply);
        }
        let still = reply.found.iter().flatten().any(|found| found.create_revision == self.fence);
        Err(if still { LeadError::Changed } else { LeadError::Lost })
    }

    /// Ends it, so that another leads at once.
    ///
    /// # Errors
    /// What etcd says, or that it says nothing: then it ends with its lease.
    pub async fn resign(self) -> Result<(), EtcdError> {
        self.lease.revoke().await
    }
}
