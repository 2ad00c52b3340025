//! Health and metrics on a Unix socket, and parts of readiness that follow connections.
use std::{os::unix::net::UnixListener, path::Path};

use runtime::{
    health::{self, Readiness, ReadyPart},
    metrics::Metrics,
    peers::Peers,
    shutdown::Shutdown,
};

use crate::{GateError, confine::Sealed};

/// The socket for `/healthz`, `/readyz` and `/metrics`, if there is to be one.
pub(crate) fn listen(path: Option<&Path>) -> Result<Option<UnixListener>, GateError> {
    Ok(path.map(|path| runtime::unix::listen(path, &[])).transpose()?)
}

/// Serves them there.
pub(crate) fn serve(
    listener: Option<UnixListener>,
    readiness: Readiness,
    sealed: Sealed,
    shutdown: &Shutdown,
) -> Result<(), GateError> {
    let Some(listener) = listener else { return Ok(()) };
    let metrics = Metrics::install()?;
    metrics.keep_up(shutdown);
    let by = [
        ("user", sealed.unprivileged),
        ("landlock", sealed.landlock_abi.is_some()),
        ("seccomp", sealed.filtered),
    ];
    for (by, is_so) in by {
        metrics::gauge!("gate_confined", "by" => by).set(u8::from(is_so));
    }
    let listener = crate::from_std(listener)?;
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
