//! One zone's program as a child of `gridesk up`.
use std::{future::Future, path::Path, time::Duration};

use runtime::{
    config::ConfigError,
    shutdown::Shutdown,
    supervise::exit_when_parent_dies,
    telemetry::{self, LogFormat},
};
use serde::de::DeserializeOwned;

/// A child whose parent is gone leaves after this time at the latest.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);

/// What a child process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The extranet's application server.
    Edge,
    /// The gate's half in the extranet.
    Outer,
    /// The gate's half in the intranet.
    Inner,
    /// A node of the shared service center.
    Center,
    /// One of the management platform's programs.
    Control,
    /// The simulated outside world.
    Sim,
}

impl Role {
    /// Its name: on the command line, of its settings file and its log.
    pub fn name(self) -> &'static str {
        match self {
            Role::Edge => "edge",
            Role::Outer => "outer",
            Role::Inner => "inner",
            Role::Center => "center",
            Role::Control => "control",
            Role::Sim => "sim",
        }
    }

    /// How many threads its asynchronous work gets where all roles share a machine of `cores`, by the variable that the
    /// asynchronous runtime itself reads. A thread too many costs more in waking each other than it brings: a half of a
    /// gate does little for each message, and more gates, not more threads, carry more.
    pub fn worker_threads(self, cores: usize) -> (&'static str, String) {
        let threads = match self {
            Role::Outer | Role::Inner | Role::Control | Role::Sim => 1,
            Role::Edge => cores / 2,
            Role::Center => cores,
        };
        ("TOKIO_WORKER_THREADS", threads.max(1).to_string())
    }

    fn service(self) -> &'static str {
        match self {
            Role::Outer => "gate-outer",
            Role::Inner => "gate-inner",
            other => other.name(),
        }
    }

    fn env_prefix(self) -> &'static str {
        match self {
            Role::Edge => "GRIDESK_EDGE",
            Role::Outer => "GRIDESK_OUTER",
            Role::Inner => "GRIDESK_INNER",
            Role::Center => "GRIDESK_CENTER",
            Role::Control => "GRIDESK_CONTROL",
            Role::Sim => "GRIDESK_SIM",
        }
    }

    /// Reads a settings file as this role would, without the environment.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(self, file: &Path) -> Result<(), ConfigError> {
        fn read<T: DeserializeOwned>(file: &Path, prefix: &str) -> Result<(), ConfigError> {
            runtime::config::load_from::<T>(Some(file), prefix, []).map(drop)
        }
        let prefix = self.env_prefix();
        match self {
            Role::Edge => read::<edge::Config>(file, prefix),
            Role::Outer => read::<gate::outer::Config>(file, prefix),
            Role::Inner => read::<gate::inner::Config>(file, prefix),
            Role::Center => read::<center::Config>(file, prefix),
            Role::Control => read::<control::Config>(file, prefix),
            Role::Sim => read::<crate::sim::Config>(file, prefix),
        }
    }
}

/// Why a role ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Its settings are wrong: exit status 64, and no use in trying again.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It could not start, or broke.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// Runs a role until it is told to stop, or its parent is gone. To be called where there is no asynchronous runtime yet: a
/// half of a gate confines itself while its process has one thread.
///
/// # Errors
/// [`RoleError`]; what is wrong has been logged too.
pub fn run(role: Role, config: &Path) -> Result<(), RoleError> {
    telemetry::init(role.service(), LogFormat::Human).map_err(failed)?;
    let ended = serve(role, config);
    if let Err(error) = &ended {
        tracing::error!(%error, "ended");
    }
    ended
}

fn serve(role: Role, file: &Path) -> Result<(), RoleError> {
    let (file, prefix) = (Some(file), role.env_prefix());
    match role {
        Role::Edge => {
            let config = runtime::config::load(file, prefix)?;
            until_stopped(|shutdown| edge::run(config, shutdown))
        }
        Role::Outer => {
            let half = gate::outer::open(runtime::config::load(file, prefix)?).map_err(failed)?;
            until_stopped(|shutdown| half.serve(shutdown))
        }
        Role::Inner => {
            let half = gate::inner::open(runtime::config::load(file, prefix)?).map_err(failed)?;
            until_stopped(|shutdown| half.serve(shutdown))
        }
        Role::Center => {
            let config = runtime::config::load(file, prefix)?;
            until_stopped(|shutdown| center::run(config, shutdown))
        }
        Role::Control => {
            let config = runtime::config::load(file, prefix)?;
            until_stopped(|shutdown| control::run(config, shutdown))
        }
        Role::Sim => {
            let config = runtime::config::load(file, prefix)?;
            until_stopped(|shutdown| crate::sim::run(config, shutdown))
        }
    }
}

/// Runs `work` in a runtime of its own, with a shutdown that begins when it is told to stop, or its parent is gone.
fn until_stopped<F, E>(work: impl FnOnce(Shutdown) -> F) -> Result<(), RoleError>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(failed)?;
        exit_when_parent_dies(&shutdown, ORPHAN_GRACE);
        Box::pin(work(shutdown)).await.map_err(failed)
    })
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> RoleError {
    RoleError::Failed(Box::new(error))
}
