//! The engines of a cluster, as `up --config FILE` is told of them.
use std::path::{Path, PathBuf};

use center::config::EngineSettings;
use runtime::config::ConfigError;
use toml::Table;

/// Where a cluster's engines are.
#[derive(Clone, Debug)]
pub struct Engines {
    /// Their file, absolute.
    pub file: PathBuf,
    /// How many shards there are.
    pub shards: u16,
    /// What it says of etcd, for those who have to do with nothing else.
    pub etcd: Table,
}

impl Engines {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let wrong = |problem: String| ConfigError { place: file.display().to_string(), problem };
        let settings = EngineSettings::read(file)?;
        let shards = u16::try_from(settings.postgres.shards.len()).ok().filter(|shards| *shards > 0);
        let shards = shards.ok_or_else(|| wrong("postgres.shards: name at least one".to_owned()))?;
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let all: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let etcd = all.get("etcd").and_then(|etcd| etcd.as_table()).cloned().unwrap_or_default();
        let file = std::path::absolute(file).map_err(|error| wrong(error.to_string()))?;
        Ok(Engines { file, shards, etcd })
    }

    /// What the file says now.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn settings(&self) -> Result<EngineSettings, ConfigError> {
        EngineSettings::read(&self.file)
    }
}
