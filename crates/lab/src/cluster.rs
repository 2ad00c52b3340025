//! All engines together, in one folder, with a file that says where they are.
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail};
use runtime::lock::{FolderLock, LOCK_FILE};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{Engine, together},
    etcd::{self, Etcd},
    folder,
    nats::{self, Nats},
    postgres::{self, Login, Master, Slave},
    process, program,
    redis::{self, Redis},
};

/// The file that says where everything is, with passwords: for its owner only.
pub const DESCRIPTION: &str = "cluster.toml";

/// Bytes that a lane may take on each server of NATS: they are reserved from the start.
const LANE_BYTES: u64 = 256 << 20;

/// What the folder was made for.
const SHAPE: &str = "shape.toml";

/// How many of what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Masters of PostgreSQL.
    pub shards: u16,
    /// Slaves of each master.
    pub slaves_per_shard: u16,
    /// Servers of NATS: 0, 1 or 3.
    pub nats: u8,
    /// Whether there is a Redis.
    pub redis: bool,
    /// Members of etcd: 0, 1 or 3.
    pub etcd: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self { shards: 2, slaves_per_shard: 1, nats: 1, redis: true, etcd: 1 }
    }
}

/// What the engines are started with. How many there are says the [`Shape`].
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of all masters and slaves.
    pub postgres: postgres::Options,
    /// Of all its servers.
    pub nats: nats::Options,
    /// Of the one server.
    pub redis: redis::Options,
}

/// A master with its slaves.
#[derive(Debug)]
pub struct Shard {
    /// Takes the shard's writes.
    pub master: Master,
    /// Take its reads.
    pub slaves: Vec<Slave>,
}

/// The engines of a cluster. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    /// By their numbers.
    pub shards: Vec<Shard>,
    /// None where the shape has none.
    pub nats: Option<Nats>,
    /// None where the shape has none.
    pub redis: Option<Redis>,
    /// None where the shape has none.
    pub etcd: Option<Etcd>,
    shape: Shape,
    // Last, so that it is given back when all have ended.
    lock: FolderLock,
}

impl Cluster {
    /// Starts all of it in `folder`, and writes `cluster.toml` there. A folder that has been one's before starts with
    /// the shape and the data that it has, whatever `shape` says.
    ///
    /// # Errors
    /// A program is not installed (all that are missing are named); another process works on the folder; one of the
    /// engines does not start. Nothing runs then.
    pub fn start(shape: &Shape, folder: &Path) -> Result<Self> {
        Self::start_with(shape, &Settings::default(), folder, &|_| {})
    }

    /// As [`Cluster::start`], with settings, and `progress` called with a line for each engine that has started.
    ///
    /// # Errors
    /// The same.
    pub fn start_with(
        shape: &Shape,
        settings: &Settings,
        folder: &Path,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Self> {
        let folder = folder::create(folder)?;
        let lock = FolderLock::acquire(&folder)?;
        let shape = &shape_of(&folder, shape)?;
        let missing = missing_programs(shape);
        if !missing.is_empty() {
            bail!("{}", missing.join("\n"));
        }
        process::sweep(&folder);
        folder::write_private(&folder.join(SHAPE), &toml::to_string(shape)?)?;

        let (shards, nats, redis, etcd) = thread::scope(|scope| {
            let nats = scope.spawn(|| -> Result<_> {
                let options = nats::Options { servers: shape.nats, ..settings.nats.clone() };
                let nats =
                    (shape.nats > 0).then(|| Nats::start(&folder.join("nats"), &options)).transpose()?;
                nats.iter().for_each(|nats| progress(&format!("NATS: {}", nats.urls().join(" "))));
                Ok(nats)
            });
            let redis = scope.spawn(|| -> Result<_> {
                let redis = shape.redis.then(|| Redis::start(&folder.join("redis"), &settings.redis));
                let redis = redis.transpose()?;
                redis.iter().for_each(|redis| progress(&format!("Redis: {}", redis.url())));
                Ok(redis)
            });
            let etcd = scope.spawn(|| -> Result<_> {
                let etcd =
                    (shape.etcd > 0).then(|| Etcd::start(&folder.join("etcd"), shape.etcd)).transpose()?;
                etcd.iter().for_each(|etcd| progress(&format!("etcd: {}", etcd.endpoints().join(" "))));
                Ok(etcd)
            });
            let shards = together((0..shape.shards).map(|number| {
                let folder = &folder;
                move || Shard::start(number, shape, &settings.postgres, folder, progress)
            }));
            (shards, join(nats), join(redis), join(etcd))
        });
        let cluster =
            Self { shards: shards?, nats: nats?, redis: redis?, etcd: etcd?, shape: shape.clone(), lock };
        folder::write_private(&cluster.description_path(), &toml::to_string(&cluster.description())?)?;
        Ok(cluster)
    }

    /// What the folder was made for.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Where `cluster.toml` is.
    pub fn description_path(&self) -> PathBuf {
        self.lock.folder().join(DESCRIPTION)
    }

    /// Where everything is.
    pub fn description(&self) -> Description {
        let of_shard = |shard: &Shard| ShardDescription {
            master: shard.master.parts(Login::Owner).to_string(),
            slaves: shard.slaves.iter().map(|slave| slave.parts(Login::Reader).to_string()).collect(),
        };
        let shards: Vec<_> = self.shards.iter().map(of_shard).collect();
        Description {
            postgres: (!shards.is_empty()).then_some(PostgresDescription { shards }),
            nats: self.nats.as_ref().map(|nats| NatsDescription {
                servers: nats.urls(),
                replicas: self.shape.nats,
                max_bytes: LANE_BYTES,
            }),
            redis: self.redis.as_ref().map(|redis| RedisDescription { url: redis.url() }),
            etcd: self.etcd.as_ref().map(|etcd| EtcdDescription { endpoints: etcd.endpoints() }),
        }
    }

    /// The folders of those engines that have ended by themselves, or were killed by others.
    pub fn ended(&mut self) -> Vec<PathBuf> {
        let of_engine = |engine: &mut Engine| (!engine.is_running()).then(|| engine.folder().to_owned());
        let mut ended = Vec::new();
        for shard in &mut self.shards {
            if !shard.master.is_running() {
                ended.push(shard.master.folder().to_owned());
            }
            let slaves = shard.slaves.iter_mut();
            ended.extend(slaves.filter_map(|one| (!one.is_running()).then(|| one.folder().to_owned())));
        }
        ended.extend(self.nats.iter_mut().flat_map(|nats| &mut nats.servers).filter_map(of_engine));
        ended.extend(self.etcd.iter_mut().flat_map(|etcd| &mut etcd.members).filter_map(of_engine));
        ended.extend(self.redis.iter_mut().filter_map(|redis| of_engine(&mut redis.server)));
        ended
    }

    /// Stops all engines in order, all at once.
    pub fn stop(&mut self) {
        let Self { shards, nats, redis, etcd, .. } = self;
        thread::scope(|scope| {
            for shard in shards {
                scope.spawn(|| {
                    shard.slaves.iter_mut().for_each(Slave::stop);
                    shard.master.stop();
                });
            }
            scope.spawn(|| nats.iter_mut().for_each(Nats::stop));
            scope.spawn(|| redis.iter_mut().for_each(Redis::stop));
            scope.spawn(|| etcd.iter_mut().for_each(Etcd::stop));
        });
    }

    /// Empties a folder that is a cluster's, or empty, or not there.
    ///
    /// # Errors
    /// When it holds something else, or another process works on it.
    pub fn wipe(folder: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let lock_file = folder.join(LOCK_FILE);
        if !folder.join(SHAPE).exists() && paths.iter().any(|path| *path != lock_file) {
            bail!("{} is no folder of the lab's: it is not emptied", folder.display());
        }
        let _lock = FolderLock::acquire(folder)?;
        process::sweep(&fs::canonicalize(folder)?);
        // What says that the folder is ours goes last.
        let (last, first): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.ends_with(SHAPE));
        for path in first.into_iter().chain(last).filter(|path| *path != lock_file) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("{} cannot be removed", path.display()))?;
        }
        Ok(())
    }
}

impl Shard {
    fn start(
        number: u16,
        shape: &Shape,
        options: &postgres::Options,
        folder: &Path,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Self> {
        let master = Master::start(&folder.join(format!("postgres-{number}-master")), options)?;
        progress(&format!("PostgreSQL shard {number}, master: 127.0.0.1:{}", master.port()));
        let slaves = together((1..=shape.slaves_per_shard).map(|slave| {
            let master = &master;
            move || {
                let slave = Slave::of(master, &folder.join(format!("postgres-{number}-slave-{slave}")))?;
                progress(&format!("PostgreSQL shard {number}, slave: 127.0.0.1:{}", slave.port()));
                Ok(slave)
            }
        }))?;
        Ok(Self { master, slaves })
    }
}

/// What `cluster.toml` says: the engines' settings of a center node, which reads the file as it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Description {
    /// None where there is none.
    pub postgres: Option<PostgresDescription>,
    /// None where there is none.
    pub nats: Option<NatsDescription>,
    /// None where there is none.
    pub redis: Option<RedisDescription>,
    /// None where there is none.
    pub etcd: Option<EtcdDescription>,
}

/// PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PostgresDescription {
    /// The shards, in their order.
    pub shards: Vec<ShardDescription>,
}

/// One shard's servers, each as `host=… port=… dbname=… user=… password=…`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ShardDescription {
    /// For the database's owner.
    pub master: String,
    /// For the role that reads.
    pub slaves: Vec<String>,
}

/// NATS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NatsDescription {
    /// `nats://host:port` each.
    pub servers: Vec<String>,
    /// On how many of them each lane is kept.
    pub replicas: u8,
    /// Bytes that a lane may take on each.
    pub max_bytes: u64,
}

/// Redis.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RedisDescription {
    /// `redis://host:port`.
    pub url: String,
}

/// etcd.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EtcdDescription {
    /// `http://host:port` each.
    pub endpoints: Vec<String>,
}

impl Description {
    /// Reads `cluster.toml` of a cluster's folder.
    ///
    /// # Errors
    /// When it is not there, or is something else.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(DESCRIPTION);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// The folder's own shape if it has one, or else what is wanted.
fn shape_of(folder: &Path, wanted: &Shape) -> Result<Shape> {
    let path = folder.join(SHAPE);
    match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| path.display().to_string()),
        Err(_) => Ok(wanted.clone()),
    }
}

/// For each program that is needed and missing, what to do.
fn missing_programs(shape: &Shape) -> Vec<String> {
    let mut found = Vec::new();
    if shape.shards > 0 {
        found.push(program::postgres_bin());
        found.push(program::postgres_user().map(|_| PathBuf::new()));
    }
    if shape.nats > 0 {
        found.push(nats::server_program());
    }
    if shape.redis {
        found.push(redis::server_program());
    }
    if shape.etcd > 0 {
        found.push(etcd::server_program());
    }
    found.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
