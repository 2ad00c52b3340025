//! Everything on one machine: `gridesk up`.
//!
//! Each role runs as a child process of this one, re-executed from the same program file, with settings written anew
//! under `run/` of the data folder. Children that end are started again; they end when this process does, however that
//! happens.
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use protocol::bounds::Phone;
use runtime::{
    config::ConfigError,
    secret::SecretError,
    shutdown::Shutdown,
    supervise::{Backoff, ChildSpec, ChildState, ChildStatus, Supervisor},
};
use serde::{Deserialize, Serialize};

pub mod control;
pub mod engines;
pub mod folder;
pub mod logs;
pub mod plan;
mod terminal;

pub use terminal::command;

use crate::unix_http::{self, UnixHttpError};
use engines::Engines;
use folder::{DataFolder, FolderError, Profile};
use logs::{Echo, Logs};
use plan::{Part, Places, Plan, PortError, Ports};

/// A start in which nothing has changed for so long has failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// A role that has ended so often before it ever worked will not work.
const MAX_EARLY_ENDS: u32 = 3;
/// How long a gate that is added may take to be ready.
const GATE_READY_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub data: PathBuf,
    /// The portal's port; 0 takes any two free ports.
    pub base_port: u16,
    /// Whether the data folder is emptied first.
    pub fresh: bool,
    /// How many demonstration customers an empty center makes up.
    pub demo_customers: u32,
    /// How many gates.
    pub gates: u8,
    /// The file of a cluster's engines; without it the center keeps everything in the data folder.
    pub engines: Option<PathBuf>,
    /// How many center nodes; one where there is no cluster.
    pub nodes: u8,
    /// Which of the children's lines go to the terminal.
    pub echo: Echo,
}

/// Where a running system is reached. Printed by `up --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// The customers' portal.
    pub portal: String,
    /// The simulated message inbox.
    pub inbox: String,
    /// The API's root.
    pub api: String,
    /// The auditor's pages.
    pub audit: String,
    /// The file with the password of the auditor there.
    pub audit_password: String,
    /// Phones of demonstration customers to log in with; none without demonstration data.
    pub phones: Vec<Phone>,
}

/// Why the system does not run.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Orders cannot be taken.
    #[error(transparent)]
    Control(#[from] runtime::unix::BindError),
    /// A port cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The file of the engines cannot be used.
    #[error(transparent)]
    Engines(#[from] ConfigError),
    /// The auditor's password cannot be made.
    #[error(transparent)]
    Staff(#[from] crate::staff::StaffError),
    /// A secret cannot be read or made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The settings cannot be written, or this program not be found.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A role's settings are wrong.
    #[error("{role} refuses its settings:\n{}", last_lines.join("\n"))]
    BadConfig {
        /// The role.
        role: String,
        /// The last it said.
        last_lines: Vec<String>,
    },
    /// A role ends again and again, or does not become ready.
    #[error("{role} does not start ({reason}); the last it said:\n{}", last_lines.join("\n"))]
    RoleFailed {
        /// The role.
        role: String,
        /// What keeps it.
        reason: String,
        /// The last it said.
        last_lines: Vec<String>,
    },
    /// The center cannot be asked for its demonstration customers.
    #[error("the center does not say who may log in: {0}")]
    Demo(#[source] UnixHttpError),
    /// It was told to stop before it was ready.
    #[error("stopped before it was ready")]
    Interrupted,
}

/// What a start is waiting for: role, and why it is not ready.
pub type Waiting = Vec<(String, String)>;

/// A system on one machine. Dropping it kills its processes; [`System::stop`] ends them in order.
pub struct System {
    // Declared before the folder, so that the children are gone before its lock is.
    supervisor: Supervisor,
    logs: Logs,
    places: Places,
    plan: Plan,
    folder: DataFolder,
    gates: u8,
}

impl System {
    /// Starts every role; none needs to be ready when this returns.
    ///
    /// # Errors
    /// [`UpError`]: nothing was started.
    pub fn start(options: &Options) -> Result<Self, UpError> {
        // A busy port must not cost the data of a `--fresh` that then cannot run.
        let ports = Ports::choose(options.base_port)?;
        let engines = options.engines.as_deref().map(Engines::read).transpose()?;
        let folder = DataFolder::open(&options.data, options.fresh, "gridesk up")?;
        folder.keep_profile(if engines.is_some() { Profile::Cluster } else { Profile::Embedded })?;
        for role in ["edge", "center", "sim"] {
            folder.check_free(role)?;
        }
        let places = Places::of(folder.root());
        crate::staff::make_auditor(folder.root())?;
        let io = |what| move |source| UpError::Io { what, source };
        // What gates of an earlier start left would count as gates that are away.
        match std::fs::remove_dir_all(places.gates()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(UpError::Io { what: "cannot clear the folder of gates", source: error });
            }
            _ => {}
        }
        let kept = folder.demo_customers(options.demo_customers);
        let demo_customers = kept.map_err(io("cannot tell how many demonstration customers there are"))?;
        if demo_customers != options.demo_customers {
            tracing::info!(demo_customers, "this folder keeps the demonstration customers it was made with");
        }
        let nodes = if engines.is_some() { options.nodes } else { 1 };
        let plan = Plan { ports, demo_customers, engines, nodes };
        let parts = Part::all(options.gates, &plan);
        places.make_secrets(&parts)?;
        places.write(&parts, &plan).map_err(io("cannot write settings"))?;

        let logs = Logs::new(folder.join("logs"), options.echo);
        let supervisor = Supervisor::with(Backoff::default(), logs.sink());
        let mut system = System { supervisor, logs, places, plan, folder, gates: options.gates };
        for part in parts {
            system.start_part(part)?;
        }
        Ok(system)
    }

    fn start_part(&mut self, part: Part) -> Result<(), UpError> {
        let program = std::env::current_exe()
            .map_err(|source| UpError::Io { what: "cannot find this program's file", source })?;
        self.supervisor.start(child(&program, part, &self.places, self.plan.ports));
        Ok(())
    }

    /// Where things are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// How many gates there are.
    pub fn gates(&self) -> u8 {
        self.gates
    }

    /// Every child.
    pub fn children(&self) -> Vec<ChildStatus> {
        self.supervisor.status()
    }

    /// Starts gates, or takes the last ones away, until there are so many. One that goes first ends what crosses it.
    ///
    /// # Errors
    /// [`UpError`]: a gate that does not start. Those before it stay.
    pub async fn scale(&mut self, gates: u8) -> Result<(), UpError> {
        while self.gates < gates {
            let parts = Part::halves(self.gates + 1);
            self.places.make_secrets(&parts)?;
            let written = self.places.write(&parts, &self.plan);
            written.map_err(|source| UpError::Io { what: "cannot write settings", source })?;
            for part in parts {
                self.start_part(part)?;
            }
            self.gates += 1;
            for part in parts {
                if let Err(error) = self.supervisor.wait_ready(&part.name(), GATE_READY_WITHIN).await {
                    let failed = self.role_failed(&part.name(), error.to_string());
                    self.take_gate().await;
                    return Err(failed);
                }
            }
        }
        while self.gates > gates {
            self.take_gate().await;
        }
        Ok(())
    }

    /// Takes the last gate away: its sockets first, by which the edge sees that it goes, then its outer half, which waits for
    /// what is under way.
    async fn take_gate(&mut self) {
        let sockets = self.places.gate(self.gates);
        if let Err(error) = std::fs::remove_dir_all(&sockets) {
            tracing::warn!(folder = %sockets.display(), %error, "the sockets of a gate that goes cannot be removed");
        }
        for part in Part::halves(self.gates) {
            self.supervisor.stop_one(&part.name()).await;
        }
        self.gates -= 1;
    }

    /// Waits until every role works; `progress` is told what is missing whenever that changes.
    ///
    /// # Errors
    /// [`UpError`]: a role that failed, or that nothing has changed for a minute.
    pub async fn ready(
        &self,
        shutdown: &Shutdown,
        mut progress: impl FnMut(&Waiting),
    ) -> Result<Addresses, UpError> {
        let (mut before, mut changed) = (Waiting::new(), Instant::now());
        loop {
            let waiting = self.waiting().await?;
            if waiting.is_empty() {
                return self.addresses().await;
            }
            if waiting != before {
                progress(&waiting);
                (before, changed) = (waiting, Instant::now());
            } else if changed.elapsed() > STUCK_AFTER {
                let (role, reason) = before.swap_remove(0);
                return Err(self.role_failed(&role, reason));
            }
            tokio::select! {
                () = shutdown.begun() => return Err(UpError::Interrupted),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// What is not ready. An error where a role will never be.
    async fn waiting(&self) -> Result<Waiting, UpError> {
        let status: HashMap<_, _> =
            self.supervisor.status().into_iter().map(|child| (child.name.clone(), child)).collect();
        let mut waiting = Waiting::new();
        for part in Part::all(self.gates, &self.plan) {
            let name = part.name();
            let Some(child) = status.get(&name) else { continue };
            match child.state {
                ChildState::Ready => continue,
                ChildState::Failed => {
                    let last_lines = self.logs.last_lines(&name);
                    return Err(UpError::BadConfig { role: name, last_lines });
                }
                _ if child.restarts >= MAX_EARLY_ENDS => {
                    let reason = child.last_exit.clone().unwrap_or_default();
                    return Err(self.role_failed(&name, reason));
                }
                _ => {
                    let reason = self.reason(part).await;
                    waiting.push((name, reason));
                }
            }
        }
        Ok(waiting)
    }

    /// What a role says why it is not ready: `seeding 42 %`.
    async fn reason(&self, part: Part) -> String {
        let starting = || "starting".to_owned();
        if part == Part::SIM {
            return starting();
        }
        match unix_http::get(&self.places.inside(part), "/readyz", PROBE_WITHIN).await {
            Ok(answer) => not_ready_because(&answer.body).unwrap_or_else(starting),
            Err(_) => starting(),
        }
    }

    fn role_failed(&self, role: &str, reason: String) -> UpError {
        UpError::RoleFailed { role: role.to_owned(), reason, last_lines: self.logs.last_lines(role) }
    }

    /// Where the system is reached.
    async fn addresses(&self) -> Result<Addresses, UpError> {
        #[derive(Deserialize)]
        struct Demo {
            phones: Vec<Phone>,
        }
        let admin = folder::admin_socket(self.folder.root());
        let answer =
            unix_http::get(&admin, "/admin/demo", Duration::from_secs(10)).await.map_err(UpError::Demo)?;
        let demo: Demo = serde_json::from_slice(&answer.body)
            .map_err(|error| UpError::Demo(UnixHttpError::Broken { path: admin, source: error.into() }))?;
        let portal = self.plan.ports.portal_url();
        Ok(Addresses {
            api: format!("{portal}/v1"),
            audit: format!("{portal}/audit"),
            audit_password: crate::staff::auditor_files(self.folder.root()).0.display().to_string(),
            portal: format!("{portal}/"),
            inbox: format!("{}/inbox", self.plan.ports.sim_url()),
            phones: demo.phones,
        })
    }

    /// The data folder.
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// Waits until a role has failed for good.
    pub async fn failed(&self) -> UpError {
        let child = self.supervisor.failed().await;
        UpError::BadConfig { last_lines: self.logs.last_lines(&child.name), role: child.name }
    }

    /// Ends the children in order: edge, gates, center, the outside world. Each has ten seconds.
    pub async fn stop(mut self) {
        // Gates may have started after it.
        self.supervisor.stop_one(&Part::EDGE.name()).await;
        self.supervisor.stop().await;
    }
}

/// A child of this process.
fn child(program: &std::path::Path, part: Part, places: &Places, ports: Ports) -> ChildSpec {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (threads, count) = part.role().worker_threads(cores);
    let spec = ChildSpec::new(part.name(), program)
        .args(["role", part.role().name(), "--config"])
        .args([places.config(part)])
        .env(threads, count);
    if part == Part::SIM {
        let url = format!("{}/readyz", ports.sim_url());
        let client = reqwest::Client::builder().no_proxy().timeout(PROBE_WITHIN).build();
        return spec.ready_when(move || {
            let asked = client.as_ref().map(|client| client.get(&url).send()).ok();
            async move {
                match asked {
                    Some(asked) => asked.await.is_ok_and(|answer| answer.status().is_success()),
                    None => false,
                }
            }
        });
    }
    let socket = places.inside(part);
    spec.ready_when(move || {
        let socket = socket.clone();
        async move {
            unix_http::get(&socket, "/readyz", PROBE_WITHIN).await.is_ok_and(|answer| answer.status == 200)
        }
    })
}

/// The reasons in a `/readyz` answer.
fn not_ready_because(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Report {
        parts: Vec<Part>,
    }
    #[derive(Deserialize)]
    struct Part {
        name: String,
        ready: bool,
        reason: Option<String>,
    }
    let report: Report = serde_json::from_slice(body).ok()?;
    let reasons: Vec<_> = report
        .parts
        .into_iter()
        .filter(|part| !part.ready)
        .map(|part| match part.reason {
            Some(reason) => format!("{}: {reason}", part.name),
            None => part.name,
        })
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}
