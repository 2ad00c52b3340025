//! What a node stands on: the engines that the program carries itself, or those of a cluster.
use std::{collections::BTreeMap, sync::Arc};

use cluster::Coordinator;
use protocol::{
    bounds::{ShortName, Text},
    routing::{NodeEntry, ShardMap},
};
use runtime::lock::FolderLock;
use storage::{
    cache::Cache,
    queue::Queue,
    store::{Closing, Layout, Store},
};

use crate::{
    config::{ClusterConfig, Config},
    server::CenterError,
};

/// Where a node keeps what, and who else there is.
pub(crate) struct Engines {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) cache: Cache,
    pub(crate) coordinator: Coordinator,
}

impl Engines {
    /// Opens those that the settings name. What is opened in the process is closed by the second value.
    pub(crate) async fn open(
        config: &Config,
        map: &ShardMap,
        lock: Arc<FolderLock>,
    ) -> Result<(Self, Option<Closing>), CenterError> {
        match &config.cluster {
            Some(cluster) => Ok((Self::of_cluster(config, cluster, map).await?, None)),
            None => {
                let (engines, closing) = Self::of_folder(config, map, lock).await?;
                Ok((engines, Some(closing)))
            }
        }
    }

    /// The engines that the program carries itself.
    pub(crate) async fn of_folder(
        config: &Config,
        map: &ShardMap,
        lock: Arc<FolderLock>,
    ) -> Result<(Self, Closing), CenterError> {
        let layout = Layout { folder: config.data.join("shards"), map: map.clone(), readers: config.readers };
        let (store, closing) = Store::open(&layout)?;
        let mut epochs = BTreeMap::new();
        for lane in map.lanes() {
            epochs.insert(lane, store.claim(lane, None).await?.0);
        }
        let name = |text: &str| text.parse::<ShortName>().map_err(std::io::Error::other);
        let me = NodeEntry {
            id: name("center")?,
            room: name("main")?,
            address: address(config)?,
            capacity: 1,
            stay: 0,
        };
        let coordinator = Coordinator::folder(lock, me, epochs)?;
        let (queue, cache) = (Queue::new(store.clone()), Cache::new(map.clone(), config.cache_entities));
        Ok((Engines { store, queue, cache, coordinator }, closing))
    }

    async fn of_cluster(
        config: &Config,
        cluster: &ClusterConfig,
        map: &ShardMap,
    ) -> Result<Self, CenterError> {
        let engines = &cluster.engines;
        let (store, queue, cache) = tokio::try_join!(
            Store::connect(&engines.postgres, map),
            Queue::connect(&engines.nats, map.lanes()),
            Cache::redis(map.clone(), &engines.redis),
        )?;
        let me = NodeEntry {
            id: cluster.node.clone(),
            room: cluster.room.clone(),
            address: address(config)?,
            capacity: cluster.capacity,
            stay: 0,
        };
        let table = config.data.join("routing-table.json");
        let coordinator = Coordinator::etcd(&engines.etcd, me, Some(table))?;
        Ok(Engines { store, queue, cache, coordinator })
    }
}

/// Where others of the intranet reach this node.
fn address(config: &Config) -> Result<Text<256>, CenterError> {
    Ok(Text::new(config.socket.display().to_string()).map_err(std::io::Error::other)?)
}
