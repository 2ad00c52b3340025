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
    secret::SecretError,
    shutdown::Shutdown,
    supervise::{Backoff, ChildSpec, ChildState, Supervisor},
};
use serde::{Deserialize, Serialize};

pub mod folder;
pub mod logs;
pub mod plan;
mod terminal;

pub use terminal::command;

use crate::{
    role::Role,
    unix_http::{self, UnixHttpError},
};
use folder::{DataFolder, FolderError};
use logs::{Echo, Logs};
use plan::{Places, PortError, Ports};

/// A start in which nothing has changed for so long has failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// A role that has ended so often before it ever worked will not work.
const MAX_EARLY_ENDS: u32 = 3;
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
    /// A port cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
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
pub type Waiting = Vec<(&'static str, String)>;

/// A system on one machine. Dropping it kills its processes; [`System::stop`] ends them in order.
pub struct System {
    // Declared before the folder, so that the children are gone before its lock is.
    supervisor: Supervisor,
    logs: Logs,
    places: Places,
    ports: Ports,
    folder: DataFolder,
}

impl System {
    /// Starts every role; none needs to be ready when this returns.
    ///
    /// # Errors
    /// [`UpError`]: nothing was started.
    pub fn start(options: &Options) -> Result<Self, UpError> {
        // A busy port must not cost the data of a `--fresh` that then cannot run.
        let ports = Ports::choose(options.base_port)?;
        let folder = DataFolder::open(&options.data, options.fresh, "gridesk up")?;
        for role in ["edge", "center", "sim"] {
            folder.check_free(role)?;
        }
        plan::make_secrets(&folder)?;
        crate::staff::make_auditor(folder.root())?;
        let places = Places::of(folder.root());
        let io = |what| move |source| UpError::Io { what, source };
        let kept = folder.demo_customers(options.demo_customers);
        let demo_customers = kept.map_err(io("cannot tell how many demonstration customers there are"))?;
        if demo_customers != options.demo_customers {
            tracing::info!(demo_customers, "this folder keeps the demonstration customers it was made with");
        }
        places.write(&Role::ALL, ports, demo_customers).map_err(io("cannot write settings"))?;
        let program = std::env::current_exe().map_err(io("cannot find this program's file"))?;

        let logs = Logs::new(folder.join("logs"), options.echo);
        let mut supervisor = Supervisor::with(Backoff::default(), logs.sink());
        for role in Role::ALL {
            supervisor.start(child(&program, role, &places, ports));
        }
        Ok(System { supervisor, logs, places, ports, folder })
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
                return Err(self.role_failed(role, reason));
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
        for role in Role::ALL {
            let name = role.name();
            let Some(child) = status.get(name) else { continue };
            match child.state {
                ChildState::Ready => continue,
                ChildState::Failed => {
                    let last_lines = self.logs.last_lines(name);
                    return Err(UpError::BadConfig { role: name.to_owned(), last_lines });
                }
                _ if child.restarts >= MAX_EARLY_ENDS => {
                    let reason = child.last_exit.clone().unwrap_or_default();
                    return Err(self.role_failed(name, reason));
                }
                _ => waiting.push((name, self.reason(role).await)),
            }
        }
        Ok(waiting)
    }

    /// What a role says why it is not ready: `seeding 42 %`.
    async fn reason(&self, role: Role) -> String {
        let starting = || "starting".to_owned();
        if role == Role::Sim {
            return starting();
        }
        match unix_http::get(&self.places.inside(role), "/readyz", PROBE_WITHIN).await {
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
        let portal = self.ports.portal_url();
        Ok(Addresses {
            api: format!("{portal}/v1"),
            audit: format!("{portal}/audit"),
            audit_password: crate::staff::auditor_files(self.folder.root()).0.display().to_string(),
            portal: format!("{portal}/"),
            inbox: format!("{}/inbox", self.ports.sim_url()),
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

    /// Ends the roles in order: edge, gate, center, the outside world. Each has ten seconds.
    pub async fn stop(self) {
        self.supervisor.stop().await;
    }
}

/// A role as a child of this process.
fn child(program: &std::path::Path, role: Role, places: &Places, ports: Ports) -> ChildSpec {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (threads, count) = role.worker_threads(cores);
    let spec = ChildSpec::new(role.name(), program)
        .args(["role", role.name(), "--config"])
        .args([places.config(role)])
        .env(threads, count);
    if role == Role::Sim {
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
    let socket = places.inside(role);
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
