//! The folder of one server: whether it is ours, what is written into it, and who may pass.
use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Serialize, de::DeserializeOwned};

use crate::program::User;

/// What a server has written down about itself; a folder with it is one of the lab's.
const NOTE: &str = "server.toml";

/// Makes the folder if need be, and gives its absolute path.
pub(crate) fn create(folder: &Path) -> Result<PathBuf> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(folder);
    made.with_context(|| format!("folder {} cannot be made", folder.display()))?;
    fs::canonicalize(folder).with_context(|| folder.display().to_string())
}

/// What was written down in the folder; `None` in an empty one.
///
/// # Errors
/// When the folder holds something else: it is not ours to write into.
pub(crate) fn note<T: DeserializeOwned>(folder: &Path) -> Result<Option<T>> {
    let path = folder.join(NOTE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(toml::from_str(&text).with_context(|| path.display().to_string())?)),
        Err(_) if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) => Ok(None),
        Err(error) => Err(error)
            .with_context(|| format!("{} holds something else: use an empty folder", folder.display())),
    }
}

/// Writes down what [`note`] reads.
pub(crate) fn write_note<T: Serialize>(folder: &Path, note: &T) -> Result<()> {
    write_private(&folder.join(NOTE), &toml::to_string(note)?)
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        fs::remove_file(&new).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}

/// Lets another user pass to `folder`, which gives it no more than that.
///
/// # Errors
/// When a folder on the way is closed and not one for temporary files: that is for its owner to open.
pub(crate) fn let_pass(folder: &Path, user: &User) -> Result<()> {
    let temporary = fs::canonicalize(std::env::temp_dir()).ok();
    for (depth, part) in folder.ancestors().enumerate() {
        let about = fs::metadata(part).with_context(|| part.display().to_string())?;
        if about.mode() & 0o001 != 0 || about.uid() == user.uid {
            continue;
        }
        let ours = depth == 0 || temporary.as_ref().is_some_and(|temporary| part.starts_with(temporary));
        if !ours {
            bail!(
                "{} is closed to user {}, which PostgreSQL runs as: choose another folder, or chmod o+x it",
                part.display(),
                user.name
            );
        }
        fs::set_permissions(part, Permissions::from_mode((about.mode() & 0o7777) | 0o001))
            .with_context(|| part.display().to_string())?;
    }
    Ok(())
}

/// Makes a folder that belongs to `user` alone, if there is one, or else to us.
pub(crate) fn create_owned(folder: &Path, user: Option<&User>) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("folder {} cannot be made", folder.display()))?;
    hand_over(folder, user)
}

/// Makes a file or folder belong to `user`, if there is one.
pub(crate) fn hand_over(path: &Path, user: Option<&User>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
        .with_context(|| format!("{} cannot be given to user {}", path.display(), user.name))
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A word that nobody guesses: 32 hexadecimal digits.
pub(crate) fn random_word() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
