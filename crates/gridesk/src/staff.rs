//! The staff's passwords: their hashes for the center's settings, and one of its own for a newcomer's auditor.
use std::{
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use argon2::{Argon2, PasswordHasher, password_hash::SaltString};
use data_encoding::BASE32_NOPAD;

/// No password is shorter, in characters, or longer, in bytes.
const LEAST: usize = 12;
const MOST: usize = 128;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum StaffError {
    /// The password is none.
    #[error("a password has between {LEAST} characters and {MOST} bytes, none of them a control character")]
    Password,
    /// It cannot be read, or a file cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Hashing failed.
    #[error("hashing failed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// Reads a password from standard input and gives the line for the settings.
///
/// # Errors
/// [`StaffError`].
pub fn hash_typed() -> Result<String, StaffError> {
    if io::stdin().is_terminal() {
        eprintln!("Type the password and press Enter. It is shown while you type.");
    }
    let mut typed = String::new();
    let read = io::stdin().lock().read_line(&mut typed);
    read.map_err(|source| StaffError::Io { what: "standard input".into(), source })?;
    hash(typed.trim_end_matches(['\r', '\n']))
}

/// A password's argon2id hash, as the center's `password_hash` takes it.
///
/// # Errors
/// [`StaffError`].
pub fn hash(password: &str) -> Result<String, StaffError> {
    let is_one = password.chars().count() >= LEAST
        && password.len() <= MOST
        && !password.chars().any(char::is_control);
    if !is_one {
        return Err(StaffError::Password);
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|source| StaffError::Io { what: "random bytes".into(), source: io::Error::other(source) })?;
    let salt = SaltString::encode_b64(&salt).map_err(StaffError::Hash)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(StaffError::Hash)?;
    Ok(hash.to_string())
}

/// Where the password of the auditor that `up` makes is, and its hash.
pub fn auditor_files(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("secrets/auditor.password"), root.join("secrets/auditor.hash"))
}

/// Makes a random password for the auditor of a system on one machine, with its hash, where there is none yet.
///
/// # Errors
/// [`StaffError`].
pub fn make_auditor(root: &Path) -> Result<(), StaffError> {
    let (password_file, hash_file) = auditor_files(root);
    if hash_file.exists() && password_file.exists() {
        return Ok(());
    }
    let io = |what: &Path| {
        let what = what.display().to_string();
        move |source| StaffError::Io { what, source }
    };
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).map_err(|source| io(&password_file)(io::Error::other(source)))?;
    let password = BASE32_NOPAD.encode(&bytes).to_lowercase();
    let hashed = hash(&password)?;
    // The hash first: a password that nobody can log in with would mislead.
    runtime::durable::write_file_durably(&hash_file, hashed.as_bytes()).map_err(io(&hash_file))?;
    runtime::durable::write_file_durably(&password_file, format!("{password}\n").as_bytes())
        .map_err(io(&password_file))
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHash, PasswordVerifier};

    use super::*;

    #[test]
    fn a_hash_fits_its_password_alone_and_weak_ones_are_refused() {
        let hashed = hash("correct horse battery").unwrap();
        let parsed = PasswordHash::new(&hashed).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse battery", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"correct horse batterz", &parsed).is_err());
        for weak in ["", "short", "with\tcontrol chars", &"x".repeat(129)] {
            assert!(matches!(hash(weak), Err(StaffError::Password)), "{weak}");
        }
    }

    #[test]
    fn an_auditor_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("secrets")).unwrap();
        make_auditor(folder.path()).unwrap();
        let read = || std::fs::read_to_string(auditor_files(folder.path()).0).unwrap();
        let first = read();
        make_auditor(folder.path()).unwrap();
        assert_eq!(read(), first);
        assert_eq!(first.trim().len(), 16);
    }
}
