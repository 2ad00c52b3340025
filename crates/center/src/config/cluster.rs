//! A node's place in a cluster, and where the cluster's engines are.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cluster::ClusterSettings;
use protocol::bounds::ShortName;
use runtime::config::{ConfigError, load_from};
use serde::{Deserialize, Deserializer, de::Error as _};
use storage::{cache::RedisConfig, queue::NatsConfig, store::PostgresConfig};

/// A node's place among others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its name, unique among all rooms.
    pub node: ShortName,
    /// The room it stands in.
    pub room: ShortName,
    /// How much it can do beside others: lanes are spread in proportion; 100 unless set. With 0 it works on none, as
    /// long as another has more.
    #[serde(default = "capacity")]
    pub capacity: u32,
    /// File of the engines.
    pub engines: EnginesFile,
}

fn capacity() -> u32 {
    100
}

/// Where a cluster's engines are: a file of its own, the same at every node of a room, since it holds passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// The shards.
    pub postgres: PostgresConfig,
    /// The lanes.
    pub nats: NatsConfig,
    /// The room's cache.
    pub redis: RedisConfig,
    /// Who works on which lane.
    pub etcd: ClusterSettings,
}

impl EngineSettings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        // What an environment says would not be the same at every node.
        load_from(Some(file), "", [])
    }
}

/// See [`EngineSettings`]. In the settings it is the path of the file, which is read and checked with them.
#[derive(Clone, Debug)]
pub struct EnginesFile(Arc<EngineSettings>);

impl std::ops::Deref for EnginesFile {
    type Target = EngineSettings;

    fn deref(&self) -> &EngineSettings {
        &self.0
    }
}

impl<'de> Deserialize<'de> for EnginesFile {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(d)?;
        EngineSettings::read(&path).map(|engines| EnginesFile(Arc::new(engines))).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_are_read_with_the_settings_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engines.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let config = serde_json::json!({ "node": "a", "room": "main", "engines": file });
            serde_json::from_value::<ClusterConfig>(config).map_err(|error| error.to_string())
        };
        let text = "[[postgres.shards]]\nmaster = 'host=db-1'\nslaves = ['host=db-2']\n\
                    [nats]\nservers = ['nats://mq-1:4222']\n[redis]\nurl = 'redis://cache:6379'\n\
                    [etcd]\nendpoints = ['http://etcd-1:2379']\n";
        let config = load(text).unwrap();
        assert_eq!((config.engines.postgres.shards.len(), config.capacity), (1, 100));
        let wrong = load(&text.replace("servers", "server")).unwrap_err();
        assert!(wrong.contains("engines.toml") && wrong.contains("server"), "{wrong}");
    }
}
