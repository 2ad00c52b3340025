//! Landlock: the files a half can still reach, and what else it cannot.
//!
//! The outer half reaches none: its sockets are bound by then. The inner half works in its quarantine, adds to its store what it
//! can afterwards neither read nor change, and reads what the center made for outside. Landlock does not decide about connecting to a socket at a path: which of
//! those the inner half can connect to is decided by their owners' rights, and by who listens there (`SO_PEERCRED`).
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::{ConfineError, Confinement};

/// Before this version nothing can be linked from one folder into another, as a verified file is into the store.
const OLDEST: ABI = ABI::V2;

/// What a half does in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Makes, reads, writes and removes files, and links them into a folder that is added to.
    Keeps,
    /// Links files into it, and into the folders in it.
    Adds,
    /// Reads the files in it whose names it knows.
    Reads,
}

impl Use {
    fn access(self) -> BitFlags<AccessFs> {
        match self {
            Use::Keeps => {
                make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile | Refer})
            }
            // A folder is opened to be flushed.
            Use::Adds => make_bitflags!(AccessFs::{ReadDir | MakeReg | Refer}),
            Use::Reads => AccessFs::ReadFile.into(),
        }
    }
}

/// Confines this thread and those that it starts. Gives the version of Landlock, or `None` where there is none and need not be.
pub(super) fn confine(level: Confinement, folders: &[(PathBuf, Use)]) -> Result<Option<u32>, ConfineError> {
    // An older kernel's rules would break the file track: all of the oldest, or none.
    let of_oldest = match level {
        Confinement::Required => CompatLevel::HardRequirement,
        Confinement::BestEffort | Confinement::Off => CompatLevel::SoftRequirement,
    };
    let handled = Ruleset::default()
        .set_compatibility(of_oldest)
        .handle_access(AccessFs::from_all(OLDEST))
        .map_err(|error| ConfineError::NoLandlock(Box::new(error)))?;
    let failed = |error: RulesetError| ConfineError::Files(error.to_string());
    let mut rules = handled
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V4)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for (path, used) in folders {
        let folder = PathFd::new(path).map_err(|error| ConfineError::Files(error.to_string()))?;
        rules = rules.add_rule(PathBeneath::new(folder, used.access())).map_err(failed)?;
    }
    let status = rules.restrict_self().map_err(failed)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            Some(effective_abi as u32)
        }
        _ => None,
    })
}

/// What a version of Landlock denies beyond what the rules allow.
pub(super) fn covered(abi: u32) -> &'static str {
    match abi {
        0..=3 => "files",
        4 | 5 => "files, TCP",
        _ => "files, TCP, abstract sockets, signals",
    }
}
