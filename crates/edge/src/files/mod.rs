//! Files on their way in: taken from customers, audited, queued for a gate, sent, and removed once their receipt is there. And
//! on their way out: [fetched](self::fetch) through a gate for whom the center gave a ticket.
//!
//! Each step is durable before the next begins and before anybody hears of it; at a start everything goes on from its row:
//! 1. [`Intake`](self::intake) writes the bytes, flushes them, then says in the row how many there are.
//! 2. [`audit`] looks at what is whole, by its content, and asks a person where the rules say so.
//! 3. [`crossing`] gives what passed to the gate with the fewest bytes to send, over and over until its receipt is there.
//! 4. [`upkeep`] tells the center what will not come, and removes bytes that are of no more use.
pub(crate) mod audit;
mod bodies;
mod crossing;
mod download;
mod fetch;
mod intake;
mod queue;
mod records;
mod rules;
mod send;
mod shelf;
mod upkeep;

use std::{io, path::Path, sync::Arc};

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use protocol::{Code, FileId, Problem};
use runtime::{background::Background, clock::Clock, shutdown::Shutdown};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use self::{bodies::Bodies, fetch::Fetches, records::Records};
pub(crate) use self::{
    crossing::GateStatus,
    intake::{AUDITOR, NewFile},
    records::{Decision, Record, Stage},
    rules::{About, RulesFor},
};
pub use self::{fetch::Fetched, rules::KindRules};
use crate::{config::FileSettings as Settings, database::DatabaseError, inward::Inward};

/// Why the edge cannot take files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Its rows cannot be used.
    #[error("files: {0}")]
    Database(#[from] DatabaseError),
    /// Its folder cannot be used.
    #[error("files: {0}")]
    Io(#[from] io::Error),
    /// The audit's rules cannot be.
    #[error("{0}")]
    Rules(String),
}

/// All of it. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<State>);

struct State {
    settings: Settings,
    records: Records,
    bodies: Bodies,
    inward: Inward,
    clock: Clock,
    /// The files that somebody writes to just now.
    writing: Mutex<std::collections::HashMap<FileId, Arc<Mutex<()>>>>,
    /// Something is whole.
    received: Notify,
    /// Something ended.
    ended: Notify,
    gates: crossing::Gates,
    fetches: Fetches,
    /// Where all this runs, so that no request waits for it.
    aside: Background,
}

impl Files {
    /// Opens what is in `data`, which this process has locked.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(data: &Path, settings: &Settings, inward: Inward, clock: Clock) -> Result<Self, FilesError> {
        settings.check_rules().map_err(FilesError::Rules)?;
        Ok(Files(Arc::new(State {
            records: Records::open(data)?,
            bodies: Bodies::open(data, settings.keep_free_bytes)?,
            gates: crossing::Gates::default(),
            fetches: Fetches::open(data, &settings.fetched)?,
            aside: Background::start("files")?,
            settings: settings.clone(),
            inward,
            clock,
            writing: Mutex::default(),
            received: Notify::new(),
            ended: Notify::new(),
        })))
    }

    /// Looks through what an earlier process left, then starts what works on files by itself, until shutdown.
    pub(crate) async fn start(&self, shutdown: &Shutdown) {
        if let Err(error) = self.reconcile().await {
            tracing::error!(%error, "the folder of files was not looked through");
        }
        self.0.fetches.end_with(shutdown);
        let _aside = self.0.aside.enter();
        shutdown.spawn(self.clone().audit_all(shutdown.token()));
        shutdown.spawn(self.clone().upkeep(shutdown.token()));
        shutdown.spawn(self.clone().fill(shutdown.token()));
    }

    /// What the settings say.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) async fn get(&self, id: FileId) -> Result<Option<Record>, Problem> {
        self.0.records.get(id).await.map_err(|error| broken(&error))
    }

    /// A request's files that are known here, oldest first.
    pub(crate) async fn of_request(
        &self,
        request: protocol::ServiceRequestId,
    ) -> Result<Vec<Record>, Problem> {
        self.0.records.of_request(request).await.map_err(|error| broken(&error))
    }

    /// Files in a stage, the longest there first; at most 200.
    pub(crate) async fn in_stage(&self, stage: Stage) -> Result<Vec<Record>, Problem> {
        self.0.records.in_stage(stage).await.map_err(|error| broken(&error))
    }

    /// What was decided about a file, oldest first.
    pub(crate) async fn decisions(&self, id: FileId) -> Result<Vec<Decision>, Problem> {
        self.0.records.decisions(id).await.map_err(|error| broken(&error))
    }

    /// How many files and bytes are in each stage.
    pub(crate) async fn counts(&self) -> Result<Vec<(Stage, u64, u64)>, Problem> {
        self.0.records.counts().await.map_err(|error| broken(&error))
    }

    /// How the gates stand.
    pub(crate) fn gates(&self) -> Vec<GateStatus> {
        self.0.gates.status()
    }

    /// Opens a file's bytes.
    pub(crate) async fn open_body(&self, id: FileId) -> Result<std::fs::File, Problem> {
        let bodies = self.0.bodies.clone();
        blocking(move || bodies.read(id)).await.map_err(|error| broken(&error))
    }

    /// How files and gates stand, for the host's own operators: `GET /files`.
    pub(crate) fn inside(&self) -> Router {
        let files = self.clone();
        let show = async move || match files.counts().await {
            Ok(counts) => {
                let stages = counts.into_iter().map(|(stage, files, bytes)| {
                    serde_json::json!({ "stage": stage.name(), "files": files, "bytes": bytes })
                });
                let shown = serde_json::json!({
                    "stages": stages.collect::<Vec<_>>(),
                    "gates": files.gates(),
                });
                Json(shown).into_response()
            }
            Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem.detail).into_response(),
        };
        Router::new().route("/files", get(show))
    }

    fn now_ms(&self) -> u64 {
        self.0.clock.unix_ms()
    }

    /// Keeps others from writing to a file; `None` where somebody does.
    async fn hold(&self, id: FileId) -> Option<OwnedMutexGuard<()>> {
        let mut writing = self.0.writing.lock().await;
        // Those that nobody holds are forgotten, so that this does not grow with all files ever written to.
        writing.retain(|_, held| Arc::strong_count(held) > 1);
        Arc::clone(writing.entry(id).or_default()).try_lock_owned().ok()
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What is said where the edge's own disk or database fails.
fn broken(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "files");
    Problem::new(Code::Unavailable, "Files cannot be taken in at the moment. Nothing was lost; try again.")
}
