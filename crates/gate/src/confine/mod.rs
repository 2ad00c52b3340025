//! What a half gives up before it serves: whoever takes it over has a process that can do next to nothing.
//!
//! In this order, while the process has one thread, since user, rights and Landlock's rules belong to threads:
//! 1. [`become_user`]: from root to the half's own user, for good ([`user`]). Sockets are bound after that, so that their
//!    peers see this user;
//! 2. the half opens and binds what it needs;
//! 3. [`seal`]: no capabilities, nothing to gain by an exec, the files of [`files`] and the system calls of [`calls`] only.
mod calls;
mod files;
mod user;

use std::{io, path::PathBuf};

use serde::Deserialize;

pub(crate) use files::Use;
pub(crate) use user::Own;

/// How much of the confinement must be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// All of it; a half that cannot have it does not start.
    #[default]
    Required,
    /// The system calls' filter, and of the rest what the kernel has and the user allows.
    BestEffort,
    /// None of it: for halves in one process with others, and for debuggers.
    Off,
}

/// What a half still does once it serves.
pub(crate) struct Needs {
    /// Whether it goes to sockets of others. The outer half only waits at its own.
    pub(crate) connects: bool,
    /// Where it keeps files.
    pub(crate) folders: Vec<(PathBuf, Use)>,
}

/// What a half has given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Whether it is another user than root.
    pub(crate) unprivileged: bool,
    /// The version of Landlock that confines its files. `None`: it is not confined by Landlock.
    pub(crate) landlock_abi: Option<u32>,
    /// Whether its system calls are filtered.
    pub(crate) filtered: bool,
}

/// Why a half could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A user that is not there.
    #[error(
        "user = \"{0}\": there is no such user in /etc/passwd: make it (useradd --system {0}), or give its number (uid or uid:gid)"
    )]
    NoSuchUser(String),
    /// A user that is root, or of root's group.
    #[error("user = \"{0}\" has root's rights: name one that has none (useradd --system gridesk-gate)")]
    Privileged(String),
    /// Root, and no other user named.
    #[error(
        "started as root, and no `user` is set: set it (user = \"gridesk-gate\"), or start this half as a user of its own; \
         confinement = \"best-effort\" lets it stay root"
    )]
    Root,
    /// Neither root nor the user that is named.
    #[error(
        "user {is} cannot become user {wanted}: start this half as root or as user {wanted}, or take `user` out"
    )]
    NotRoot {
        /// Who it is.
        is: u32,
        /// Whom it should become.
        wanted: u32,
    },
    /// Root's rights could be had back.
    #[error("this process could become root again after it had become user {0}: it was not started")]
    NotForGood(u32),
    /// A folder that the half's user cannot work in.
    #[error(
        "user {uid} cannot write to the folder {}: give it to that user (chown -R {uid}:{gid} {}), and let it pass through \
         the folders above",
        path.display(),
        path.display()
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// The user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// More than one thread: the others would keep what this one gives up.
    #[error("{0} threads run already: a half confines itself before its second thread")]
    Threads(usize),
    /// The kernel has no Landlock, or an old one.
    #[error(
        "this kernel cannot confine files: that takes Landlock 2 (Linux 5.19, with `landlock` among its `lsm=`); \
         confinement = \"best-effort\" goes without"
    )]
    NoLandlock(#[source] Box<landlock::RulesetError>),
    /// Landlock's rules could not be made, or not be put on.
    #[error("files cannot be confined: {0}")]
    Files(String),
    /// No filter for this processor, or one that the library refuses.
    #[error("no filter of system calls can be made: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refused the filter.
    #[error("the kernel refused the filter of system calls: {0}")]
    Kernel(#[from] seccompiler::Error),
    /// A step that the kernel refused.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl ConfineError {
    fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| ConfineError::Step { step, source: source.into() }
    }
}

/// Goes from root to `user`, for good, and sees to it that it can work in its folders; those that are missing are made for it.
///
/// # Errors
/// [`ConfineError`]: what is wrong, and what to do.
pub(crate) fn become_user(level: Confinement, user: Option<&str>, own: &[Own]) -> Result<(), ConfineError> {
    if level == Confinement::Off && user.is_none() {
        return Ok(());
    }
    has_one_thread()?;
    user::change(level, user, own)
}

/// Gives up all but `needs`, for good.
///
/// # Errors
/// [`ConfineError`]: the process keeps rights that it may not have here; it must end.
pub(crate) fn seal(level: Confinement, needs: &Needs) -> Result<Sealed, ConfineError> {
    if level == Confinement::Off {
        tracing::warn!("confinement = \"off\": whoever takes this process over has all its user's rights");
        return Ok(Sealed::default());
    }
    has_one_thread()?;
    let uid = user::harden()?;
    let landlock_abi = files::confine(level, &needs.folders)?;
    calls::filter(calls::Calls { connects: needs.connects, files: !needs.folders.is_empty() })?;
    let unprivileged = uid != 0;
    match landlock_abi {
        Some(abi) => tracing::info!(uid, landlock_abi = abi, files = files::covered(abi), "confined"),
        None => {
            tracing::warn!(uid, "confined by its filter of system calls only: this kernel has no Landlock")
        }
    }
    Ok(Sealed { unprivileged, landlock_abi, filtered: true })
}

/// User, capabilities and Landlock's rules are a thread's own: those that run already would keep theirs.
fn has_one_thread() -> Result<(), ConfineError> {
    let threads =
        std::fs::read_dir("/proc/self/task").map_err(ConfineError::step("/proc cannot be read"))?.count();
    if threads == 1 { Ok(()) } else { Err(ConfineError::Threads(threads)) }
}
