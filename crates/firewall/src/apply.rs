//! Rules onto the host, with a way back.
//!
//! Whoever loads rules over the network may lock themselves out. So what ran before is kept on the disk, a second process
//! waits in a session of its own, and only then are the rules loaded, in one transaction. If nobody confirms in time, that
//! process gives back what was there. It needs neither the process that applied, nor its terminal.
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    NftError, Ruleset, nft,
    ruleset::TABLE,
    state::{Name, Pending, Phase, State, StateError, still_waits},
};

/// How often the waiting process looks whether somebody has decided.
const LOOK: Duration = Duration::from_millis(200);
/// How often, and after what pauses, going back is tried where the kernel refuses.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// Applies, confirms and rolls back, with one folder for its state.
#[derive(Clone, Debug)]
pub struct Applier {
    folder: PathBuf,
    /// The words before `watch` with which this program calls itself.
    own_words: Vec<String>,
}

/// An apply that waits to be confirmed.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Where what ran before is kept.
    pub previous: PathBuf,
    /// Whether there were rules of ours before.
    pub replaced: bool,
}

/// Why rules were not applied, confirmed or taken back.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel or `nft` said no.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// Somebody else's apply is not decided yet.
    #[error("an apply of host {host} waits to be confirmed: confirm it, or roll it back")]
    Waits {
        /// The host.
        host: String,
    },
    /// What runs now could not be loaded again. Nothing has changed.
    #[error("what runs now could not be given back, so nothing was changed: {source}")]
    NoWayBack {
        /// What nft said of it.
        #[source]
        source: NftError,
    },
    /// The process that would roll back did not start. Nothing has changed.
    #[error("the process that is to roll back did not start, so nothing was changed: {why}")]
    NoWatch {
        /// Why.
        why: String,
    },
    /// The apply was interrupted before it could say that its rules are loaded.
    #[error("the apply was interrupted, so it is not known what runs: roll it back and apply again")]
    Interrupted,
    /// There is nothing to confirm or to roll back.
    #[error("there is nothing to {what}{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Nothing {
        /// `confirm` or `roll back`.
        what: &'static str,
        /// Why the last apply did not stay, if it did not.
        why: Option<String>,
    },
}

impl Applier {
    /// `own_words` are the arguments with which this program reaches its `watch` command: it runs itself again to wait.
    ///
    /// # Errors
    /// The folder's place cannot be told.
    pub fn new(folder: &Path, own_words: &[&str]) -> Result<Self, StateError> {
        // The process that waits has another working directory.
        let absolute = std::path::absolute(folder);
        let folder = absolute.map_err(|source| StateError { path: folder.into(), source })?;
        Ok(Self { folder, own_words: own_words.iter().map(|word| (*word).to_owned()).collect() })
    }

    /// Loads the rules. Unless [`Applier::confirm`] follows within the time, they go again.
    ///
    /// # Errors
    /// [`ApplyError`]; what ran before runs on.
    pub fn apply(&self, rules: &Ruleset, within: Duration) -> Result<Applied, ApplyError> {
        nft::need_root()?;
        let state = State::open(&self.folder)?;
        self.clear(&state)?;
        let text = rules.to_string();
        nft::try_rules(&text)?;
        let running = nft::running()?;
        let previous = way_back(running.as_deref());
        nft::try_rules(&previous).map_err(|source| ApplyError::NoWayBack { source })?;

        state.write(Name::Previous, &previous)?;
        state.write(Name::Candidate, &text)?;
        let mut pending = Pending {
            id: new_id(),
            host: rules.host.clone(),
            boot: boot()?,
            confirm_within_s: within.as_secs(),
            phase: Phase::Prepared,
        };
        state.set_pending(&pending)?;
        let done = self.start_watch(&pending.id).and_then(|()| Ok(nft::load(&text)?));
        if let Err(error) = done {
            // The process that waits, if there is one, sees that there is nothing to wait for.
            forget(&state)?;
            return Err(error);
        }
        pending.phase = Phase::Loaded;
        state.set_pending(&pending)?;
        state.remove(Name::LastRollback)?;
        Ok(Applied { previous: state.path(Name::Previous), replaced: running.is_some() })
    }

    /// Keeps what was applied, and notes it as what the host is to load when it starts. Answers that file.
    ///
    /// # Errors
    /// [`ApplyError::Nothing`] when it is too late, among others.
    pub fn confirm(&self) -> Result<PathBuf, ApplyError> {
        nft::need_root()?;
        let state = State::open(&self.folder)?;
        let pending = state.pending()?.filter(|pending| boot().is_ok_and(|boot| boot == pending.boot));
        let Some(mut pending) = pending else {
            return Err(ApplyError::Nothing { what: "confirm", why: state.read(Name::LastRollback)? });
        };
        if pending.phase == Phase::Prepared {
            return Err(ApplyError::Interrupted);
        }
        pending.phase = Phase::Confirmed;
        state.set_pending(&pending)?;
        finish(&state)?;
        Ok(state.path(Name::Confirmed))
    }

    /// Gives back what ran before the last apply, whether that was confirmed or not. Answers whether there was anything.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub fn rollback(&self) -> Result<bool, ApplyError> {
        nft::need_root()?;
        let state = State::open(&self.folder)?;
        let pending = state.pending()?;
        let Some(previous) = state.read(Name::Previous)? else {
            return Err(ApplyError::Nothing { what: "roll back", why: state.read(Name::LastRollback)? });
        };
        let confirmed = pending.is_none_or(|pending| pending.phase == Phase::Confirmed);
        nft::load(&previous)?;
        let had_rules = previous.contains('{');
        if confirmed && had_rules {
            state.write(Name::Confirmed, &previous)?;
        } else if confirmed {
            state.remove(Name::Confirmed)?;
        }
        state.write(Name::LastRollback, "the last apply was rolled back by hand")?;
        forget(&state)?;
        Ok(had_rules)
    }

    /// Waits in a session of its own, and rolls the apply `id` back if nobody decides in time.
    ///
    /// # Errors
    /// [`ApplyError`]; nobody hears it but the state folder.
    pub fn watch(&self, id: &str) -> Result<(), ApplyError> {
        let fail = |why: String| ApplyError::NoWatch { why };
        // Whoever closes the terminal, or ends its process group, does not reach this process.
        rustix::process::setsid().map_err(|error| fail(error.to_string()))?;
        // Where memory is short, others are to go first. Not permitted in some containers.
        std::fs::write("/proc/self/oom_score_adj", "-1000").ok();
        let began = Instant::now();
        let within = self.pending_of(id)?.confirm_within_s;
        // The applying process may be gone; then its rules are not loaded and there is something to tidy.
        writeln!(std::io::stdout(), "watching").ok();
        while began.elapsed() < Duration::from_secs(within) {
            sleep(LOOK);
            if !still_waits(&self.folder, id) {
                return Ok(());
            }
        }
        let mut tries = 0;
        loop {
            let done = self.expire(id, within);
            tries += 1;
            if done.is_ok() || tries == TRIES {
                return done;
            }
            sleep(PAUSE);
        }
    }

    /// Read without the lock, which the applying process holds while it waits for this one.
    fn pending_of(&self, id: &str) -> Result<Pending, ApplyError> {
        let text = std::fs::read_to_string(self.folder.join("pending.json")).unwrap_or_default();
        let pending = serde_json::from_str::<Pending>(&text).ok().filter(|pending| pending.id == id);
        pending.ok_or_else(|| ApplyError::NoWatch { why: "there is no such apply".into() })
    }

    fn expire(&self, id: &str, within_s: u64) -> Result<(), ApplyError> {
        let state = State::open(&self.folder)?;
        if !still_waits(&self.folder, id) {
            return Ok(());
        }
        let Some(previous) = state.read(Name::Previous)? else {
            let why = "the file with what ran before is gone".to_owned();
            return Err(ApplyError::Nothing { what: "roll back", why: Some(why) });
        };
        if let Err(error) = nft::load(&previous) {
            state.write(Name::LastRollback, &format!("rolling back failed, and is tried again: {error}"))?;
            return Err(error.into());
        }
        state.write(
            Name::LastRollback,
            &format!("the last apply was not confirmed within {within_s} s and was rolled back"),
        )?;
        forget(&state)?;
        Ok(())
    }

    /// Deals with what an earlier apply left. We have the lock, so none is at work.
    fn clear(&self, state: &State) -> Result<(), ApplyError> {
        let Some(pending) = state.pending()? else { return Ok(()) };
        match pending.phase {
            Phase::Confirmed => Ok(finish(state)?),
            // Its rules went with the boot.
            _ if boot()? != pending.boot => Ok(forget(state)?),
            Phase::Loaded => Err(ApplyError::Waits { host: pending.host }),
            Phase::Prepared => {
                if let Some(previous) = state.read(Name::Previous)? {
                    nft::load(&previous)?;
                }
                Ok(forget(state)?)
            }
        }
    }

    /// Starts the process that waits, and comes back when it does.
    fn start_watch(&self, id: &str) -> Result<(), ApplyError> {
        let fail = |why: String| ApplyError::NoWatch { why };
        // Not its name: that may be another program by now.
        let mut child = Command::new("/proc/self/exe")
            .args(&self.own_words)
            .arg("watch")
            .arg("--state")
            .arg(&self.folder)
            .args(["--id", id])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| fail(error.to_string()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).ok();
        }
        if line.trim_end() == "watching" {
            return Ok(());
        }
        child.kill().ok();
        let status = child.wait().map(|status| status.to_string());
        Err(fail(status.unwrap_or_else(|error| error.to_string())))
    }
}

/// The text that puts a listing of our table, or its absence, in the place of what runs.
fn way_back(running: Option<&str>) -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n{}", running.unwrap_or_default())
}

/// The end of a confirmed apply. Done again, it does no harm.
fn finish(state: &State) -> Result<(), StateError> {
    if let Some(candidate) = state.read(Name::Candidate)? {
        state.write(Name::Confirmed, &candidate)?;
    }
    state.remove(Name::Pending)?;
    state.remove(Name::Candidate)
}

/// The end of an apply that did not stay.
fn forget(state: &State) -> Result<(), StateError> {
    // First of all: from here on nothing is rolled back.
    state.remove(Name::Pending)?;
    state.remove(Name::Candidate)?;
    state.remove(Name::Previous)
}

fn boot() -> Result<String, StateError> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let read = std::fs::read_to_string(&path);
    read.map(|id| id.trim().to_owned()).map_err(|source| StateError { path, source })
}

/// Another for every apply on this host.
fn new_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}
