//! From root to a user of the half's own, and without a way back.
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, Mode},
    io::Errno,
    process::{DumpableBehavior, Gid, Uid, getegid, geteuid, getgid, getuid, set_dumpable_behavior, umask},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{ConfineError, Confinement};

const PASSWD: &str = "/etc/passwd";

/// A folder that the half works in.
pub(crate) struct Own {
    pub(crate) path: PathBuf,
    /// Of a folder that is made for it.
    pub(crate) mode: u32,
    /// Whether it holds folders that the half works in too.
    pub(crate) deep: bool,
}

/// Who a half is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// `name`, `uid` or `uid:gid`, by the lines of a passwd(5) file. A number that is not in it has a group of the same number.
    fn find(text: &str, passwd: &str) -> Option<User> {
        let lines = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((name, User { uid, gid }))
        });
        let mut lines = lines.fuse();
        if let Some((uid, gid)) = text.split_once(':') {
            return Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? });
        }
        match text.parse() {
            Ok(uid) => {
                let known = lines.find(|(_, user)| user.uid == uid).map(|(_, user)| user);
                Some(known.unwrap_or(User { uid, gid: uid }))
            }
            Err(_) => lines.find(|(name, _)| *name == text).map(|(_, user)| user),
        }
    }

    fn named(text: &str) -> Result<User, ConfineError> {
        // Not by the C library's lookup, which loads modules and may ask daemons and networks.
        let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
        let user = User::find(text, &passwd).ok_or_else(|| ConfineError::NoSuchUser(text.to_owned()))?;
        // The kernel reads the highest number as "leave it as it is".
        if [user.uid, user.gid].iter().any(|id| matches!(*id, 0 | u32::MAX)) {
            return Err(ConfineError::Privileged(text.to_owned()));
        }
        Ok(user)
    }
}

/// See [`become_user`](super::become_user).
pub(super) fn change(level: Confinement, text: Option<&str>, own: &[Own]) -> Result<(), ConfineError> {
    let is = geteuid();
    match text.map(User::named).transpose()? {
        Some(user) if is.is_root() => {
            own.iter().try_for_each(|folder| make_for(user, folder))?;
            leave_root_for(user)?;
        }
        Some(user) if user.uid != is.as_raw() => {
            return Err(ConfineError::NotRoot { is: is.as_raw(), wanted: user.uid });
        }
        None if is.is_root() && level == Confinement::Required => return Err(ConfineError::Root),
        None if is.is_root() => tracing::warn!(
            "runs as root, since no `user` is set: it gives up root's capabilities, but owns what root owns"
        ),
        Some(_) | None => {}
    }
    // Also for what is made before the rest is given up.
    umask(Mode::RWXG | Mode::RWXO);
    own.iter().try_for_each(usable)
}

/// Makes a folder for `user`, if it is missing: what is under `/run` is, after every boot.
fn make_for(user: User, folder: &Own) -> Result<(), ConfineError> {
    let failed = || ConfineError::step("a folder of the half's user cannot be made");
    if folder.path.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder.path).map_err(failed())?;
    fs::set_permissions(&folder.path, fs::Permissions::from_mode(folder.mode)).map_err(failed())?;
    lchown(&folder.path, Some(user.uid), Some(user.gid)).map_err(failed())
}

/// No groups, then the group, then the user: the other way round there would be no right to the rest.
fn leave_root_for(user: User) -> Result<(), ConfineError> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(ConfineError::step("capabilities cannot be given up")(error)),
        }
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&[]).map_err(ConfineError::step("groups cannot be given up"))?;
    set_thread_res_gid(gid, gid, gid).map_err(ConfineError::step("the group cannot be changed"))?;
    set_thread_res_uid(uid, uid, uid).map_err(ConfineError::step("the user cannot be changed"))?;
    let is_changed = [getuid(), geteuid()] == [uid; 2] && [getgid(), getegid()] == [gid; 2];
    if !is_changed || set_thread_res_uid(None, Uid::ROOT, None).is_ok() {
        return Err(ConfineError::NotForGood(user.uid));
    }
    Ok(())
}

/// Whether this user can make, find and remove what is in the folder; one that is missing is made later, or that is the error.
fn usable(folder: &Own) -> Result<(), ConfineError> {
    let mut folders = vec![folder.path.clone()];
    if folder.deep {
        // What cannot be listed is found out below.
        let entries = fs::read_dir(&folder.path).into_iter().flatten().flatten();
        folders.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
        );
    }
    folders.into_iter().try_for_each(|path| match is_writable(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => Err(ConfineError::Folder { path, uid: geteuid().as_raw(), gid: getegid().as_raw() }),
    })
}

fn is_writable(path: &Path) -> io::Result<()> {
    // By the real user's rights, which here are the effective one's.
    Ok(rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Takes away what a process can gain rights by: capabilities, set-user-id programs, and others of its user that look into
/// its memory. Gives the user's number.
pub(super) fn harden() -> Result<u32, ConfineError> {
    let uid = geteuid();
    set_no_new_privs(true).map_err(ConfineError::step("no_new_privs cannot be set"))?;
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(ConfineError::step("capabilities cannot be given up")(error)),
    }
    // Who stays root may lack the plain right to its own folders, say in the home of another user; files are confined below.
    let kept = if uid.is_root() { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(ConfineError::step("capabilities cannot be given up"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(ConfineError::step("others could look into this process"))?;
    umask(Mode::RWXG | Mode::RWXO);
    Ok(uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "root:x:0:0:root:/root:/bin/sh\n\
                         broken line\n\
                         gridesk-gate:x:991:990::/nonexistent:/usr/sbin/nologin\n\
                         number:x:1005:100::/:/bin/false\n";

    #[test]
    fn a_user_is_a_name_or_numbers() {
        let find = |text| User::find(text, LINES).map(|user| (user.uid, user.gid));
        assert_eq!(find("gridesk-gate"), Some((991, 990)));
        assert_eq!(find("991"), Some((991, 990)));
        assert_eq!(find("64001"), Some((64001, 64001)));
        assert_eq!(find("64001:7"), Some((64001, 7)));
        for none in ["", "nobody-here", "x", "991:", ":990", "-1", "991:990:1", "gridesk-gate:990"] {
            assert_eq!(find(none), None, "{none}");
        }
    }

    #[test]
    fn root_is_no_user_for_a_half() {
        for text in ["0", "0:64001", "64001:0", "4294967295"] {
            assert!(matches!(User::named(text), Err(ConfineError::Privileged(_))), "{text}");
        }
        let error = User::named("no-such-user-here").unwrap_err().to_string();
        assert!(error.contains("useradd --system no-such-user-here"), "{error}");
    }
}
