//! The platform's settings.
use std::path::PathBuf;

use cluster::ClusterSettings;
use protocol::{LaneId, bounds::ShortName, ids::BUCKETS};
use serde::Deserialize;

/// The settings of one of the platform's programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name, unique among the three.
    pub name: ShortName,
    /// The room it stands in.
    pub room: ShortName,
    /// Unix socket of health and metrics (HTTP).
    pub admin: PathBuf,
    /// How many lanes there are in all: shards × lanes per shard. The same in all three, and at the nodes.
    pub lanes: LaneCount,
    /// Where etcd is and how it is used.
    pub etcd: ClusterSettings,
}

/// See [`Config::lanes`]: 1 to 4,096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct LaneCount(u16);

impl LaneCount {
    /// All lanes, in order.
    pub fn lanes(self) -> Vec<LaneId> {
        (0..self.0).map(LaneId).collect()
    }
}

impl TryFrom<u16> for LaneCount {
    type Error = &'static str;

    fn try_from(count: u16) -> Result<Self, Self::Error> {
        if (1..=BUCKETS).contains(&count) { Ok(LaneCount(count)) } else { Err("between 1 and 4096 lanes") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_checked() {
        let text = r#"
            name = "control-a"
            room = "main"
            admin = "/run/gridesk/control.sock"
            lanes = 16
            [etcd]
            endpoints = ["http://etcd-1:2379", "http://etcd-2:2379", "http://etcd-3:2379"]
            lease = { ttl_s = 3, guard_ms = 1000 }
        "#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            runtime::config::load_from::<Config>(Some(&file), "X", [])
        };
        let config = load(text).unwrap();
        assert_eq!(config.lanes.lanes().len(), 16);
        assert_eq!((config.etcd.prefix.as_str(), config.etcd.attempt_ms), ("/gridesk", 500));
        for (good, bad) in [("lanes = 16", "lanes = 0"), ("guard_ms = 1000", "guard_ms = 0"), ("room", "rom")]
        {
            assert!(load(&text.replace(good, bad)).is_err(), "{bad}");
        }
    }
}
