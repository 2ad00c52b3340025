//! Redis as a cache: one server, if wanted with a replica. Nothing is kept on disk.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{self, Engine, Probe, Setup},
    folder, port, process, program,
};

/// What the servers are started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much memory its data may take, in MiB.
    pub maxmemory_mib: u32,
    /// What is dropped when it is full: Redis's `maxmemory-policy`.
    pub maxmemory_policy: String,
    /// Whether a second server copies the first.
    pub replica: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { maxmemory_mib: 64, maxmemory_policy: "allkeys-lfu".to_owned(), replica: false }
    }
}

/// The server and its replica. Dropping it kills them.
#[derive(Debug)]
pub struct Redis {
    /// The one that takes writes.
    pub server: Engine,
    /// The one that copies it, where there is one.
    pub replica: Option<Engine>,
}

/// What a server's folder says of it: where it listened last.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    clients: u16,
}

impl Redis {
    /// Starts the servers, empty, each in a folder of its own in `folder`, on the ports they had there last, where those
    /// are still free.
    ///
    /// # Errors
    /// Redis is not installed; the folder holds something else; it does not answer within half a minute.
    pub fn start(folder: &Path, options: &Options) -> Result<Self> {
        let program = server_program()?;
        let folder = folder::create(folder)?;
        let server = start_one(&program, &folder.join("redis-1"), options, None)?;
        let replica = match options.replica {
            true => Some(start_one(&program, &folder.join("redis-2"), options, Some(server.port()))?),
            false => None,
        };
        Ok(Self { server, replica })
    }

    /// Where the server is: `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Stops them in order.
    pub fn stop(&mut self) {
        self.replica.iter_mut().for_each(Engine::stop);
        self.server.stop();
    }
}

fn start_one(program: &Path, folder: &Path, options: &Options, master: Option<u16>) -> Result<Engine> {
    let folder = folder::create(folder)?;
    process::sweep(&folder);
    let started = engine::start_together(|| {
        let last: Ports = folder::note(&folder)?.unwrap_or_default();
        let ports = Ports { clients: port::free_or_other(last.clients)? };
        folder::write_note(&folder, &ports)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let port = ports.clients.to_string();
        let memory = format!("{}mb", options.maxmemory_mib);
        let mut args = vec!["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
        args.extend(["--daemonize", "no", "--maxmemory", &memory]);
        // A replica that comes is served at once.
        args.extend(["--repl-diskless-sync-delay", "0"]);
        args.extend(["--maxmemory-policy", &options.maxmemory_policy]);
        let master = master.map(|port| port.to_string());
        if let Some(master) = &master {
            args.extend(["--replicaof", "127.0.0.1", master]);
        }
        Ok(vec![Setup {
            name: format!("Redis {name}"),
            program: program.to_owned(),
            args: args.into_iter().map(str::to_owned).collect(),
            folder: folder.clone(),
            scheme: "redis",
            port: ports.clients,
            more_ports: Vec::new(),
            probe: Probe::Redis,
        }])
    })?;
    started.into_iter().next().context("no Redis was started")
}

/// The program.
///
/// # Errors
/// When it is not installed.
pub(crate) fn server_program() -> Result<PathBuf> {
    program::on_path("redis-server").context("there is no redis-server: apt-get install redis-server")
}
