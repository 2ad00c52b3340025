//! A node whose cache is a Redis of the test's own.
use std::{process::Command, sync::Arc, time::Instant};

use domain::{
    billing::BillTerms,
    money::Wh,
    readings::{DayReadings, Quality},
};
use lab::redis::{Options, Redis};
use protocol::{AccountId, routing::ShardMap};
use runtime::{health::Readiness, lock::FolderLock};
use storage::cache::{Cache, RedisConfig, View};

use super::*;
use crate::{
    config::Config,
    engines::Engines,
    operation::{Import, Own},
    server, views,
};

/// What `redis-cli` says to a command.
fn ask(redis: &Redis, command: &[&str]) -> String {
    let run = Command::new("redis-cli").args(["-p", &redis.server.port().to_string()]).args(command).output();
    String::from_utf8_lossy(&run.unwrap().stdout).trim().to_owned()
}

/// Waits until a command has an answer.
async fn until(redis: &Redis, command: &[&str], answer: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    while !answer(&ask(redis, command)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{command:?}: {}", ask(redis, command));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_kept_in_step_and_begins_anew_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let redis = Redis::start(&at("redis"), &Options::default()).unwrap();
    let config = serde_json::json!({
        "data": at("data"), "socket": at("socket"), "admin": at("admin"), "public_url": "http://portal",
        "shards": 1, "lanes_per_shard": 1,
    });
    let config: Config = serde_json::from_value(config).unwrap();
    let map = ShardMap::even(1, 1).unwrap();
    std::fs::create_dir_all(&config.data).unwrap();
    let lock = Arc::new(FolderLock::acquire(&config.data).unwrap());
    let (mut engines, _) = Engines::of_folder(&config, &map, lock).await.unwrap();
    let redis_config = RedisConfig { timeout_ms: 1000, ..RedisConfig::at(&redis.url()) };
    engines.cache = Cache::redis(map, &redis_config).await.unwrap();
    let node = server::build(&config, engines).await.unwrap();
    let shutdown = Shutdown::new();
    server::start_tasks(&node, &Readiness::new(), &shutdown);
    let cursor = ["HGET", "gridesk:{0}:cursor", "s"];
    until(&redis, &cursor, |sequence| sequence == "0").await;

    let account = AccountId::mint(33, 77).unwrap();
    let is_there = async |view: View| {
        let load = node.store().account_row(account);
        node.view(Entity::Account(account), view, load).await.unwrap().value.is_some()
    };
    assert!(!is_there(views::ACCOUNT).await);
    let entries = ["EVAL", "return #redis.call('KEYS', 'gridesk:{0}:e:*')", "0"];
    until(&redis, &entries, |n| n == "1").await;
    // What was not there is known to be there now, as soon as it is said to be.
    let mut day = DayReadings::new("2024-10-01".parse().unwrap(), 3600).unwrap();
    (0..24).for_each(|hour| day.add(hour * 3600, Wh(250), Quality::Valid).unwrap());
    let import = Import {
        account,
        holder: "样例".into(),
        phone: None,
        address: "样例路 1 号".into(),
        division: "330106".into(),
        tariff: "zj-residential-tou".parse().unwrap(),
        terms: BillTerms::default(),
        days: vec![day],
    };
    node.run_own(Own::Import(import), account.bucket(), "1").await.unwrap();
    assert!(is_there(views::ACCOUNT).await);
    until(&redis, &cursor, |sequence| sequence == "1").await;

    // Nothing is written any more, and the cursor comes back all the same.
    assert_eq!(ask(&redis, &["FLUSHALL"]), "OK");
    until(&redis, &cursor, |sequence| sequence == "1").await;
    assert!(is_there(View { kind: 10, parameter: 1 }).await);
    until(&redis, &entries, |n| n == "1").await;
    shutdown.begin();
}
