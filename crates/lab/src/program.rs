//! Where the engines' programs lie, what package brings them, and as whom they run.
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// A user of this machine.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The oldest PostgreSQL that does.
const POSTGRES_MIN: u32 = 15;
/// Where Debian and its relatives keep PostgreSQL, a folder for each major version.
const POSTGRES_HOME: &str = "/usr/lib/postgresql";

/// The folder of PostgreSQL's programs, of the newest version installed.
pub(crate) fn postgres_bin() -> Result<PathBuf> {
    newest_postgres(Path::new(POSTGRES_HOME))
}

fn newest_postgres(home: &Path) -> Result<PathBuf> {
    let versions = fs::read_dir(home).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| home.join(version.to_string()).join("bin/postgres").exists())
        .max();
    match newest {
        Some(version) if version >= POSTGRES_MIN => Ok(home.join(version.to_string()).join("bin")),
        Some(version) => bail!("PostgreSQL {version} is too old, {POSTGRES_MIN} is needed"),
        None => bail!("there is no PostgreSQL in {}: apt-get install postgresql", home.display()),
    }
}

/// Whom PostgreSQL runs as: as root the user `postgres`, else whoever we are.
pub(crate) fn postgres_user() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some("postgres")).then_some(())?;
        Some(User { name: "postgres", uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    });
    let missing =
        "PostgreSQL does not run as root, and there is no user postgres: apt-get install postgresql";
    Ok(Some(found.context(missing)?))
}

/// A program of this name on PATH, or where Debian puts servers.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A command that ends with the thread that starts it, run as `user` where one is given.
///
/// The kernel sends SIGKILL (`PR_SET_PDEATHSIG`); `setpriv` asks for it after it has changed the user, since that change
/// would undo it.
pub(crate) fn tethered(program: &Path, user: Option<&User>) -> Result<Command> {
    let setpriv = on_path("setpriv").context("there is no setpriv: apt-get install util-linux")?;
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user {
        command
            .arg(format!("--reuid={}", user.uid))
            .arg(format!("--regid={}", user.gid))
            .arg("--clear-groups");
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// What a program says of its version, when called with `flag`.
pub(crate) fn version(program: &Path, flag: impl AsRef<OsStr>) -> Result<(u32, u32)> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    first_version(&said).with_context(|| format!("{} does not say its version: {said}", program.display()))
}

/// The first `major.minor` of a text.
fn first_version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let (major, rest) = word.split_once('.')?;
        Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(first_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(first_version("Redis server v=7.0.15 sha=00000000:0 malloc"), Some((7, 0)));
        assert_eq!(first_version("etcd Version: 3.4.23\nGit SHA: Not provided"), Some((3, 4)));
        assert_eq!(first_version("none"), None);
    }

    #[test]
    fn a_missing_or_old_postgres_is_a_clear_error() {
        let home = tempfile::tempdir().unwrap();
        let error = newest_postgres(home.path()).unwrap_err().to_string();
        assert!(error.ends_with("apt-get install postgresql"), "{error}");
        let install = |version: &str| {
            fs::create_dir_all(home.path().join(version).join("bin")).unwrap();
            fs::write(home.path().join(version).join("bin/postgres"), "").unwrap();
        };
        install("9");
        assert!(newest_postgres(home.path()).unwrap_err().to_string().contains("too old"));
        install("15");
        install("17");
        assert_eq!(newest_postgres(home.path()).unwrap(), home.path().join("17/bin"));
    }
}
