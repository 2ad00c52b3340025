//! Health and metrics on a Unix socket, and parts of readiness that follow connections.
use std::path::Path;

use runtime::{
    health::{self, Readiness, ReadyPart},
    metrics::Metrics,
    peers::Peers,
    shutdown::Shutdown,
};

use crate::GateError;

/// Serves `/healthz`, `/readyz` and `/metrics` at `path`, if there is one.
pub(crate) fn serve(path: Option<&Path>, readiness: Readiness, shutdown: &Shutdown) -> Result<(), GateError> {
    let Some(path) = path else { return Ok(()) };
    let metrics = Metrics::install()?;
    metrics.keep_up(shutdown);
    let listener = runtime::unix::bind(path)?;
    let serving = health::serve(listener, health::router(readiness, metrics), shutdown);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "health socket failed");
        }
    });
    Ok(())
}

/// Keeps `part` ready as long as one of `peers` stands.
pub(crate) fn follow(peers: &Peers, part: ReadyPart, why_not: &'static str) {
    let mut changes = peers.changes();
    tokio::spawn(async move {
        loop {
            let standing = changes.borrow_and_update().iter().any(|peer| !peer.is_closed());
            if standing {
                part.ready()
            } else {
                part.not_ready(why_not)
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
}
