//! The settings of a room's Redis.
use std::{fmt, time::Duration};

use serde::Deserialize;

/// Where a room's Redis is, and how it is used.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// Its address: `redis://user:password@host:port/database`, `redis-sentinel://…`. Not shown where settings are.
    pub url: String,
    /// How many entities the near cache in the node holds at most.
    #[serde(default = "defaults::near_entities")]
    pub near_entities: u64,
    /// How long a view is kept in Redis, in seconds, a fifth more or less.
    #[serde(default = "defaults::ttl_s")]
    pub ttl_s: u32,
    /// The same where the view says that there is nothing.
    #[serde(default = "defaults::ttl_absent_s")]
    pub ttl_absent_s: u32,
    /// How long a command may take, in ms: a cache that is slower than the slaves is none.
    #[serde(default = "defaults::timeout_ms")]
    pub timeout_ms: u32,
    /// For how long Redis is not asked after several commands without an answer, in ms.
    #[serde(default = "defaults::rest_ms")]
    pub rest_ms: u32,
    /// How long to wait for another node that is loading a view, in ms.
    #[serde(default = "defaults::load_wait_ms")]
    pub load_wait_ms: u32,
    /// After how long a node that was to load a view is given up, in ms.
    #[serde(default = "defaults::load_lock_ms")]
    pub load_lock_ms: u32,
    /// How many views a node loads from its slaves at once.
    #[serde(default = "defaults::loads_at_once")]
    pub loads_at_once: u16,
}

impl RedisConfig {
    /// The usual settings for an address.
    pub fn at(url: &str) -> Self {
        RedisConfig {
            url: url.to_owned(),
            near_entities: defaults::near_entities(),
            ttl_s: defaults::ttl_s(),
            ttl_absent_s: defaults::ttl_absent_s(),
            timeout_ms: defaults::timeout_ms(),
            rest_ms: defaults::rest_ms(),
            load_wait_ms: defaults::load_wait_ms(),
            load_lock_ms: defaults::load_lock_ms(),
            loads_at_once: defaults::loads_at_once(),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.timeout_ms.max(1)))
    }

    pub(super) fn rest(&self) -> Duration {
        Duration::from_millis(u64::from(self.rest_ms))
    }

    pub(super) fn load_wait(&self) -> Duration {
        Duration::from_millis(u64::from(self.load_wait_ms))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.rsplit('@').next().unwrap_or_default();
        let mut shown = f.debug_struct("RedisConfig");
        shown.field("place", &place).field("near_entities", &self.near_entities);
        shown.field("ttl_s", &self.ttl_s).field("ttl_absent_s", &self.ttl_absent_s);
        shown.field("timeout_ms", &self.timeout_ms).field("rest_ms", &self.rest_ms);
        shown.field("load_wait_ms", &self.load_wait_ms).field("load_lock_ms", &self.load_lock_ms);
        shown.field("loads_at_once", &self.loads_at_once).finish()
    }
}

mod defaults {
    pub(super) fn near_entities() -> u64 {
        20_000
    }

    pub(super) fn ttl_s() -> u32 {
        600
    }

    pub(super) fn ttl_absent_s() -> u32 {
        30
    }

    pub(super) fn timeout_ms() -> u32 {
        50
    }

    pub(super) fn rest_ms() -> u32 {
        1_000
    }

    pub(super) fn load_wait_ms() -> u32 {
        300
    }

    pub(super) fn load_lock_ms() -> u32 {
        2_000
    }

    pub(super) fn loads_at_once() -> u16 {
        64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let config = RedisConfig::at("redis://node:hidden@10.0.0.7:6379");
        let shown = format!("{config:?}");
        assert!(shown.contains("10.0.0.7:6379") && !shown.contains("hidden"), "{shown}");
    }
}
