//! Which gates there are: each has a folder in the folder of all gates, in which its outer half listens.
//!
//! ```text
//! gates/1/messages.sock   gates/1/files.sock
//! gates/2/messages.sock   gates/2/files.sock
//! ```
//! The folder is looked at again and again, so that gates come and go without this edge being told. Whoever takes a gate away
//! removes its sockets first: then nothing new goes to it, what is under way ends, and its queue goes to the others. One that
//! dies leaves its sockets behind: it is still of the cluster, and away.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Where an outer half takes messages, in its gate's folder.
pub const MESSAGES: &str = "messages.sock";
/// Where it takes files.
pub const FILES: &str = "files.sock";

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What else is in the folder is not looked at: no edge has so many gates.
const GATES_MAX: usize = 64;

/// A gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Cancelled when it is taken away.
    pub(crate) there: CancellationToken,
}

/// Tells `came` each gate that is there or comes, until `stop`.
pub(crate) async fn watch(folder: PathBuf, stop: CancellationToken, came: impl Fn(Gate)) {
    let mut known: BTreeMap<OsString, CancellationToken> = BTreeMap::new();
    let mut complained = false;
    loop {
        match listed(&folder) {
            Ok(found) => {
                complained = false;
                known.retain(|name, there| {
                    let stays = found.contains(name);
                    if !stays {
                        tracing::info!(gate = %folder.join(name).display(), "gate taken away");
                        there.cancel();
                    }
                    stays
                });
                for name in found {
                    let folder = folder.join(&name);
                    known.entry(name).or_insert_with(|| {
                        tracing::info!(gate = %folder.display(), "gate found");
                        let there = CancellationToken::new();
                        came(Gate { folder, there: there.clone() });
                        there
                    });
                }
            }
            // Whatever is known stays.
            Err(error) if !complained => {
                tracing::error!(folder = %folder.display(), %error, "the folder of the gates cannot be read");
                complained = true;
            }
            Err(_) => {}
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}

/// The names of the gates whose outer half listens, or did until it died. A folder that does not exist yet has none.
fn listed(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries.take(4 * GATES_MAX) {
        let entry = entry?;
        if entry.path().join(MESSAGES).exists() {
            names.push(entry.file_name());
        }
    }
    names.sort();
    names.truncate(GATES_MAX);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn gates_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let all = folder.path().join("gates");
        let stop = CancellationToken::new();
        let (tell, mut came) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch(all.clone(), stop.clone(), move |gate| tell.send(gate).unwrap()));
        for name in ["1", "2"] {
            fs::create_dir_all(all.join(name)).unwrap();
        }
        fs::write(all.join("1").join(MESSAGES), "").unwrap();
        let first = came.recv().await.unwrap();
        assert_eq!(first.folder, all.join("1"));
        fs::write(all.join("2").join(MESSAGES), "").unwrap();
        let second = came.recv().await.unwrap();
        assert_eq!(second.folder, all.join("2"));

        fs::remove_file(all.join("1").join(MESSAGES)).unwrap();
        first.there.cancelled().await;
        assert!(!second.there.is_cancelled());
        fs::write(all.join("1").join(MESSAGES), "").unwrap();
        let again = came.recv().await.unwrap();
        assert_eq!((again.folder, again.there.is_cancelled()), (all.join("1"), false));
        stop.cancel();
        watching.await.unwrap();
    }
}
