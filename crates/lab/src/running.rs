//! A cluster that another process runs.
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use runtime::lock::{FolderLock, LOCK_FILE, LockError};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cluster::Description, process::wait_until};

/// How long a server may take to accept a connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Who runs it.
#[derive(Debug)]
pub struct Running {
    /// Its process id.
    pub pid: i32,
    /// Its program and first word: `lab up`.
    pub program: String,
}

/// Who runs the cluster of a folder, if anybody does.
///
/// # Errors
/// When the folder cannot be read.
pub fn of(folder: &Path) -> Result<Option<Running>> {
    if !folder.join(LOCK_FILE).exists() {
        return Ok(None);
    }
    match FolderLock::acquire(folder) {
        Ok(_) => return Ok(None),
        Err(LockError::InUse { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let line = fs::read_to_string(folder.join(LOCK_FILE))?;
    let (pid, program) = line.trim_end().split_once(' ').context("its process is just starting")?;
    Ok(Some(Running {
        pid: pid.parse().context("its process is just starting")?,
        program: program.to_owned(),
    }))
}

impl Running {
    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// When it may not be asked, or has not ended within `within`.
    pub fn end(&self, folder: &Path, within: Duration) -> Result<()> {
        kill_process(Pid::from_raw(self.pid).context("no process id")?, Signal::TERM)?;
        match wait_until(within, || of(folder).is_ok_and(|running| running.is_none())) {
            true => Ok(()),
            false => bail!("has not ended within {} s", within.as_secs()),
        }
    }
}

/// Every server of a folder's cluster with its `host:port`.
///
/// # Errors
/// When the folder does not say: it is still starting.
pub fn addresses(folder: &Path) -> Result<Vec<(String, String)>> {
    let description = Description::read(folder).context("it is still starting")?;
    let mut all = Vec::new();
    for (number, shard) in description.postgres.iter().flat_map(|postgres| &postgres.shards).enumerate() {
        all.push((format!("PostgreSQL shard {number}, master"), address_of_parts(&shard.master)));
        let slaves = shard.slaves.iter();
        all.extend(
            slaves.map(|slave| (format!("PostgreSQL shard {number}, slave"), address_of_parts(slave))),
        );
    }
    let mut add = |name: &str, url: &str| {
        let address = url.split_once("://").map_or(url, |(_, address)| address);
        all.push((name.to_owned(), address.to_owned()));
    };
    description.nats.iter().flat_map(|nats| &nats.servers).for_each(|url| add("NATS", url));
    description.redis.iter().for_each(|redis| add("Redis", &redis.url));
    description.etcd.iter().flat_map(|etcd| &etcd.endpoints).for_each(|url| add("etcd", url));
    Ok(all)
}

fn address_of_parts(parts: &str) -> String {
    let part = |name: &str| {
        let found = parts.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    format!("{}:{}", part("host"), part("port"))
}

/// Whether a server accepts connections.
pub fn answers(address: &str) -> bool {
    let address: Option<SocketAddr> = address.parse().ok();
    address.is_some_and(|address| TcpStream::connect_timeout(&address, ANSWER_WITHIN).is_ok())
}
