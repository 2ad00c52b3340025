//! The security isolation device: two processes, `outer` in the extranet and `inner` in the intranet, joined only by a
//! link that is no network.
//!
//! Nothing is passed on as it came. Each half decodes every message against the catalogue, refuses what is not in it,
//! and writes a new message of its own. What holds always:
//! - no half opens an IP socket, starts a program or reaches a file that is not its own once it serves ([`confine`]);
//! - a frame that is lost, repeated, reordered, changed or of the wrong direction closes the link ([`link`]);
//! - what is durable lives in the inner half's quarantine and store of files, and is whole there ([`files`]): a gate may die at
//!   any moment, and who asked asks again.
mod codec;
pub mod confine;
mod counted;
pub mod files;
pub mod inner;
mod inside;
pub mod link;
pub mod outer;
mod settings;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Open requests may take this long to end after the shutdown began.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// What has ended is answered at once, but its answer must still be written.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// A push that nobody acknowledged within this time is given to another, or left for the center to send again.
pub const PUSH_WITHIN: Duration = Duration::from_secs(5);

/// Why a half of the gate cannot work.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A socket cannot be listened at.
    #[error(transparent)]
    Bind(#[from] runtime::unix::BindError),
    /// The link's secret cannot be read or made.
    #[error(transparent)]
    Secret(#[from] runtime::secret::SecretError),
    /// The metrics recorder cannot be installed.
    #[error(transparent)]
    Metrics(#[from] runtime::metrics::MetricsError),
    /// The process could not become its user, or not give up what it does not need.
    #[error("cannot confine this process: {0}")]
    Confine(#[from] confine::ConfineError),
    /// A thread cannot be started.
    #[error("no thread: {0}")]
    Threads(#[source] io::Error),
    /// Rules of inspection that cannot be.
    #[error("files.rules: {0}")]
    Rules(String),
    /// A setting that cannot be.
    #[error("{0}")]
    Settings(&'static str),
    /// Requests were still open when the time to end them was over.
    #[error(transparent)]
    Drain(#[from] runtime::shutdown::DrainTimedOut),
    /// A socket that is listened at cannot be waited for.
    #[error("a listening socket cannot be waited for: {0}")]
    Listener(#[source] io::Error),
    /// A folder or its files failed.
    #[error("folder {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn default_in_flight() -> u32 {
    4096
}

fn yes() -> bool {
    true
}

/// A listener that was opened before the runtime, as the runtime's. Must be called inside of it.
fn from_std(listener: std::os::unix::net::UnixListener) -> Result<tokio::net::UnixListener, GateError> {
    tokio::net::UnixListener::from_std(listener).map_err(GateError::Listener)
}

/// The folder of a socket, in which its half makes it at every start; open to others' passage where `uids` may connect.
fn socket_folder(socket: &Path, uids: &[u32]) -> confine::Own {
    let mode = if uids.is_empty() { 0o700 } else { 0o711 };
    confine::Own { path: runtime::durable::folder_of(socket).to_owned(), mode, deep: false }
}
