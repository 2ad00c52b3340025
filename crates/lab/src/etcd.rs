//! etcd: one member, or three.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{self, Engine, Probe, Setup},
    folder, port, process, program,
};

/// The members. Dropping it kills them.
#[derive(Debug)]
pub struct Etcd {
    /// Each of them, to be hurt.
    pub members: Vec<Engine>,
}

/// What a member's folder says of it: where it listened last.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    clients: u16,
    peers: u16,
}

impl Etcd {
    /// Starts the members that live in `folder`, each in a folder of its own in it. Those that are there keep their data
    /// and, where they are still free, the ports for clients.
    ///
    /// # Errors
    /// etcd is not installed; the folder holds something else; there is no quorum within half a minute; a port at which
    /// members of three know each other is taken by now, since those cannot be changed.
    pub fn start(folder: &Path, members: u8) -> Result<Self> {
        ensure!(matches!(members, 1 | 3), "etcd runs as 1 member or as 3, not {members}");
        let program = server_program()?;
        let folder = folder::create(folder)?;
        let folders: Vec<PathBuf> = (1..=members)
            .map(|number| folder::create(&folder.join(format!("etcd-{number}"))))
            .collect::<Result<_>>()?;
        folders.iter().for_each(|folder| process::sweep(folder));
        let members = engine::start_together(|| setups(&program, &folders))?;
        for member in &members {
            member.wait_for(&Probe::Http(member.port(), "/health"))?;
        }
        Ok(Self { members })
    }

    /// Where the members are: `http://127.0.0.1:port` each.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Engine::url).collect()
    }

    /// Stops all of them in order.
    pub fn stop(&mut self) {
        self.members.iter_mut().for_each(Engine::stop);
    }
}

fn setups(program: &Path, folders: &[PathBuf]) -> Result<Vec<Setup>> {
    let mut all_ports = Vec::new();
    for folder in folders {
        let last: Ports = folder::note(folder)?.unwrap_or_default();
        let is_fixed = folders.len() > 1 && data_of(folder).join("member").exists();
        let peers = match is_fixed {
            true if !port::is_free(last.peers) => bail!(
                "port {} is taken, by which the members of etcd in {} know each other: end what listens there, or begin \
                 with fresh data",
                last.peers,
                folder.display()
            ),
            true => last.peers,
            false => port::free_or_other(last.peers)?,
        };
        let ports = Ports { clients: port::free_or_other(last.clients)?, peers };
        folder::write_note(folder, &ports)?;
        all_ports.push(ports);
    }
    let name_of = |folder: &Path| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let peers = folders.iter().zip(&all_ports);
    let cluster: Vec<String> = peers
        .map(|(folder, ports)| format!("{}=http://127.0.0.1:{}", name_of(folder), ports.peers))
        .collect();
    let of_one = |(folder, ports): (&PathBuf, &Ports)| {
        let state = if data_of(folder).join("member").exists() { "existing" } else { "new" };
        let (clients, peers) = (ports.clients, ports.peers);
        Setup {
            name: format!("etcd {}", name_of(folder)),
            program: program.to_owned(),
            args: vec![
                format!("--name={}", name_of(folder)),
                format!("--data-dir={}", data_of(folder).display()),
                format!("--listen-client-urls=http://127.0.0.1:{clients}"),
                format!("--advertise-client-urls=http://127.0.0.1:{clients}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peers}"),
                format!("--initial-cluster={}", cluster.join(",")),
                "--initial-cluster-token=lab".to_owned(),
                format!("--initial-cluster-state={state}"),
                "--pre-vote=true".to_owned(),
                // A leader that is lost is replaced before leases end with it.
                "--heartbeat-interval=50".to_owned(),
                "--election-timeout=500".to_owned(),
                "--logger=zap".to_owned(),
                "--log-level=warn".to_owned(),
            ],
            folder: folder.clone(),
            scheme: "http",
            port: clients,
            more_ports: vec![peers],
            // One of three answers only once there is another.
            probe: if folders.len() == 1 { Probe::Http(clients, "/health") } else { Probe::Connect },
        }
    };
    Ok(folders.iter().zip(&all_ports).map(of_one).collect())
}

fn data_of(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The program.
///
/// # Errors
/// When it is not installed.
pub(crate) fn server_program() -> Result<PathBuf> {
    program::on_path("etcd").context("there is no etcd: apt-get install etcd-server")
}
