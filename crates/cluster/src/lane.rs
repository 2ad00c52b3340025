//! A lane that this node works on.
use std::{sync::Arc, time::Duration};

use protocol::LaneId;
use tokio::sync::watch;

use crate::{
    coordinator::Membership,
    etcd::{Compare, Etcd, EtcdError, Txn},
    folder::Folder,
    lease::HeldLease,
    owners::Owners,
};

/// The pause between attempts to release.
const PAUSE: Duration = Duration::from_millis(200);

/// The right to work on a lane. Whoever has it writes under its epoch, looks at [`LaneLease::valid`] before each write, and
/// stops at [`LaneLease::lost`]. Dropped, it is released: nothing works on the lane any more then.
#[derive(Debug)]
pub struct LaneLease {
    lane: LaneId,
    epoch: u64,
    hold: Option<Hold>,
}

#[derive(Clone, Debug)]
enum Hold {
    Folder(Arc<Folder>),
    Etcd(Owned),
}

/// An owner's key in etcd.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) etcd: Etcd,
    pub(crate) key: String,
    pub(crate) lease: HeldLease,
    pub(crate) owners: Arc<Owners>,
    /// Turns when the key was taken away.
    pub(crate) gone: watch::Receiver<bool>,
}

impl LaneLease {
    pub(crate) fn in_folder(lane: LaneId, epoch: u64, folder: Arc<Folder>) -> Self {
        LaneLease { lane, epoch, hold: Some(Hold::Folder(folder)) }
    }

    pub(crate) fn in_etcd(lane: LaneId, epoch: u64, owned: Owned) -> Self {
        LaneLease { lane, epoch, hold: Some(Hold::Etcd(owned)) }
    }

    /// Which lane.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// Under which epoch it is worked on. A later holder's is greater.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it may still be worked on. Once it said no it never says yes again.
    pub fn valid(&self) -> bool {
        match &self.hold {
            Some(Hold::Folder(folder)) => !folder.has_left(),
            Some(Hold::Etcd(owned)) => owned.lease.valid() && !*owned.gone.borrow(),
            None => false,
        }
    }

    /// Ends when work has to stop. What is left of the lease then, the guard, is the time to do it in. Holds nothing.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let waits: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = match &self.hold {
            Some(Hold::Folder(folder)) => {
                let mut membership = folder.membership();
                Box::pin(async move {
                    let _ = membership.wait_for(|membership| *membership == Membership::Left).await;
                })
            }
            Some(Hold::Etcd(owned)) => {
                let (lost, mut gone) = (owned.lease.lost(), owned.gone.clone());
                Box::pin(async move {
                    tokio::select! {
                        () = lost => {}
                        Ok(_) = gone.wait_for(|gone| *gone) => {}
                    }
                })
            }
            None => Box::pin(std::future::ready(())),
        };
        waits
    }

    /// Gives it back, so that another can take it at once. Nothing works on the lane any more when this is called.
    ///
    /// # Errors
    /// What etcd says, or that it says nothing: giving back goes on in the background then, until the lease ends.
    pub async fn release(mut self) -> Result<(), EtcdError> {
        match self.hold.clone() {
            Some(Hold::Etcd(owned)) => {
                owned.delete(self.epoch).await?;
                owned.owners.forget(self.lane, self.epoch);
                self.hold = None;
            }
            Some(Hold::Folder(folder)) => {
                self.hold = None;
                folder.release(self.lane);
            }
            None => {}
        }
        Ok(())
    }
}

impl Drop for LaneLease {
    fn drop(&mut self) {
        match self.hold.take() {
            Some(Hold::Folder(folder)) => folder.release(self.lane),
            Some(Hold::Etcd(owned)) => {
                owned.owners.forget(self.lane, self.epoch);
                // Without a runtime the process is ending, and the lease with it.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(owned.give_back(self.epoch));
                }
            }
            None => {}
        }
    }
}

impl Owned {
    /// Deletes the key if it still is the one of this epoch.
    async fn delete(&self, epoch: u64) -> Result<(), EtcdError> {
        let txn = Txn::new().when(Compare::created_at(&self.key, epoch)).delete(&self.key);
        self.etcd.txn(&txn).await.map(|_| ())
    }

    /// Deletes the key, however often it takes, until its lease is lost: then it goes by itself.
    async fn give_back(self, epoch: u64) {
        while self.lease.valid() {
            match self.delete(epoch).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, key = self.key, "a lane is given back later"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
