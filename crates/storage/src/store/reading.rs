//! How a read is written once for both engines.
use std::{future::Future, pin::Pin};

use super::Result;

/// Puts a read of a cluster on the heap, so that those of the embedded engine carry none of it.
pub(super) fn boxed<T, F: Future<Output = Result<T>>>(read: F) -> Pin<Box<F>> {
    Box::pin(read)
}

/// Reads what lives in a bucket, in one snapshot, with how far that snapshot shows the bucket's lane. The read is written
/// once, for both engines: an expression for a future, given a snapshot.
macro_rules! seen {
    ($store:expr, $bucket:expr, |$s:ident| $read:expr) => {{
        let store = $store;
        let lane = store.inner.map.lane($bucket);
        match &store.inner.engine {
            $crate::store::Engine::Sqlite(shards) => {
                let shard = store.shard_of(lane)?;
                let read = |$s: &$crate::sqlite::Transaction<'_>| {
                    let position = $crate::sqlite::now($crate::sql::lanes::position($s, lane))?;
                    Ok($crate::store::Seen { value: $crate::sqlite::now($read)?, position })
                };
                shards.here(shard, read).await
            }
            $crate::store::Engine::Postgres(shards) => {
                $crate::store::seen_in_a_cluster!(shards, lane, |$s| $read)
            }
        }
    }};
}

/// The same of a lane, for reads whose length depends on what has gathered.
macro_rules! seen_at_length {
    ($store:expr, $lane:expr, |$s:ident| $read:expr) => {{
        let (store, lane) = ($store, $lane);
        match &store.inner.engine {
            $crate::store::Engine::Sqlite(shards) => {
                let shard = store.shard_of(lane)?;
                let read = move |$s: &$crate::sqlite::Transaction<'_>| {
                    let position = $crate::sqlite::now($crate::sql::lanes::position($s, lane))?;
                    Ok($crate::store::Seen { value: $crate::sqlite::now($read)?, position })
                };
                shards.away(shard, read).await
            }
            $crate::store::Engine::Postgres(shards) => {
                $crate::store::seen_in_a_cluster!(shards, lane, |$s| $read)
            }
        }
    }};
}

/// Asks one database after another until one shows no less of the lane than was shown before; where the lane has moved
/// meanwhile, those of the shard that it moved to.
macro_rules! seen_in_a_cluster {
    ($shards:expr, $lane:expr, |$s:ident| $read:expr) => {{
        let reading = $crate::store::reading::boxed(async {
            let mut home = $shards.home($lane)?;
            let mut choice = $shards.choice_of($lane)?;
            loop {
                let reader = choice.next().await?;
                let read = {
                    let snapshot = reader.snapshot()?;
                    let $s = &snapshot;
                    let position = $crate::sql::lanes::position($s, $lane);
                    let read = async { tokio::join!(reader.begin(), position, async { $read.await }) };
                    tokio::time::timeout(choice.patience(), read).await
                };
                match read {
                    Ok(read) => match choice.end(reader, read) {
                        Ok(Some(seen)) => break Ok(seen),
                        Ok(None) => {}
                        Err($crate::StorageError::Elsewhere(_)) => {
                            $shards.follow($lane, home).await?;
                            home = $shards.home($lane)?;
                            choice = $shards.choice_of($lane)?;
                        }
                        Err(error) => break Err(error),
                    },
                    Err(_) => choice.late(reader)?,
                }
            }
        });
        reading.await
    }};
}

/// Reads from a shard, in one snapshot; written once for both engines, likewise. Its length depends on what has gathered.
/// In a cluster it may be a little old: for what is looked at again and again.
macro_rules! read {
    ($store:expr, $shard:expr, |$s:ident| $read:expr) => {
        $crate::store::read_by!($store, $shard, |shards| shards.choice($shard), |$s| $read)
    };
}

/// The same of the master.
macro_rules! newest {
    ($store:expr, $shard:expr, |$s:ident| $read:expr) => {
        $crate::store::read_by!($store, $shard, |shards| shards.newest($shard), |$s| $read)
    };
}

macro_rules! read_by {
    ($store:expr, $shard:expr, |$shards:ident| $choice:expr, |$s:ident| $read:expr) => {{
        let store = $store;
        match &store.inner.engine {
            $crate::store::Engine::Sqlite(shards) => {
                shards.away($shard, move |$s| $crate::sqlite::now($read)).await
            }
            $crate::store::Engine::Postgres($shards) => {
                let reading = $crate::store::reading::boxed(async {
                    let mut choice = $choice?;
                    loop {
                        let reader = choice.next().await?;
                        let read = {
                            let snapshot = reader.snapshot()?;
                            let $s = &snapshot;
                            let read = async { tokio::join!(reader.begin(), async { $read.await }) };
                            tokio::time::timeout(choice.patience(), read).await
                        };
                        match read {
                            Ok((begun, value)) => break begun.and(value),
                            Err(_) => choice.late(reader)?,
                        }
                    }
                });
                reading.await
            }
        }
    }};
}
pub(super) use {newest, read, read_by, seen, seen_at_length, seen_in_a_cluster};
