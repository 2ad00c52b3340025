//! The extranet and the intranet as two network namespaces with no network between them, each with an address and a folder of
//! its own. What both see is one folder, the link's.
use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fd::AsFd,
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// All namespaces begin so; then comes the process that made them.
const PREFIX: &str = "gridesk-zone-";

/// One of the two zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    Extranet,
    Intranet,
}

impl Zone {
    pub(crate) const BOTH: [Zone; 2] = [Zone::Extranet, Zone::Intranet];

    pub(crate) fn other(self) -> Zone {
        if self == Zone::Extranet { Zone::Intranet } else { Zone::Extranet }
    }

    fn name(self) -> &'static str {
        if self == Zone::Extranet { "extranet" } else { "intranet" }
    }

    /// Its hosts' address.
    pub(crate) fn address(self) -> &'static str {
        if self == Zone::Extranet { "10.77.1.1" } else { "10.77.2.1" }
    }
}

/// Both zones, and the programs started in them. Gone when this is dropped.
pub(crate) struct Zones {
    folder: tempfile::TempDir,
    prefix: String,
    programs: Vec<Child>,
}

impl Zones {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces: run it as root (`./test --quick` leaves it out)"
        );
        clear_leftovers();
        let folder = tempfile::tempdir().unwrap();
        let zones =
            Zones { folder, prefix: format!("{PREFIX}{}-", std::process::id()), programs: Vec::new() };
        // Each half has a user of its own, who is to come through here to its folders.
        let passable = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
        passable(zones.folder.path());
        for name in ["extranet", "intranet", "link"] {
            fs::create_dir(zones.folder.path().join(name)).unwrap();
            passable(&zones.folder.path().join(name));
        }
        for zone in Zone::BOTH {
            let namespace = zones.namespace(zone);
            // A bridge without ports: an interface that leads nowhere.
            let batch = format!(
                "link set lo up\nlink add eth0 type bridge\naddr add {}/24 dev eth0\nlink set eth0 up\n",
                zone.address()
            );
            ip(&["netns", "add", &namespace], "");
            ip(&["-n", &namespace, "-batch", "-"], &batch);
        }
        zones
    }

    fn namespace(&self, zone: Zone) -> String {
        format!("{}{}", self.prefix, zone.name())
    }

    /// Where a zone's programs keep what is theirs. The other zone's programs see an empty folder in its place.
    pub(crate) fn folder(&self, zone: Zone) -> PathBuf {
        self.folder.path().join(zone.name())
    }

    /// What both zones see.
    pub(crate) fn link(&self) -> PathBuf {
        self.folder.path().join("link")
    }

    /// Starts a program in a zone; gives its process. What it says goes to a file of its name.
    pub(crate) fn start(&mut self, zone: Zone, name: &str, words: &[&str]) -> Pid {
        let log = fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let hidden = self.folder(zone.other());
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(zone)])
            // The mounts are this process's own: `ip` has seen to that.
            .args(["sh", "-c", "mount -t tmpfs -o mode=711 none \"$0\" && exec \"$@\""])
            .arg(hidden)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        self.programs.push(child);
        pid
    }

    /// What a program has said.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap()
    }

    /// Does `work` in a thread that lives in a zone: the sockets it makes are that zone's.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        zone: Zone,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let namespace = fs::File::open(Path::new("/run/netns").join(self.namespace(zone))).unwrap();
        let thread = thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    /// Which of these a program in the zone can connect to.
    pub(crate) fn reached(&self, from: Zone, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        self.inside(from, || {
            let reached =
                |address: &SocketAddr| TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok();
            addresses.into_iter().filter(reached).collect()
        })
    }

    /// Ends the programs in the opposite order of their start.
    pub(crate) fn stop(&mut self) {
        for mut child in self.programs.drain(..).rev() {
            // A tracer takes no signal; it ends with what it has started.
            let pid = child.id();
            let started = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let ended = if started.is_empty() { pid.to_string() } else { started };
            for pid in ended.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                kill_process(pid, Signal::TERM).ok();
            }
            child.wait().unwrap();
        }
    }
}

impl Drop for Zones {
    fn drop(&mut self) {
        for child in &mut self.programs {
            child.kill().ok();
        }
        remove(&self.prefix);
        for child in &mut self.programs {
            child.wait().ok();
        }
        if thread::panicking() {
            let logs =
                fs::read_dir(self.folder.path()).into_iter().flatten().flatten().map(|entry| entry.path());
            for log in logs.filter(|path| path.extension().is_some_and(|end| end == "log")) {
                eprintln!("{}:\n{}", log.display(), fs::read_to_string(&log).unwrap_or_default());
            }
        }
    }
}

fn ip(words: &[&str], batch: &str) {
    let mut child = Command::new("ip").args(words).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip {words:?}: {batch}");
}

/// Ends what runs in the namespaces of a prefix, and removes them.
fn remove(prefix: &str) {
    for name in namespaces().iter().filter(|name| name.starts_with(prefix)) {
        let pids = Command::new("ip").args(["netns", "pids", name]).output();
        let pids =
            pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            if pid != rustix::process::getpid() {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        Command::new("ip").args(["netns", "delete", name]).status().ok();
    }
}

/// What a run left that was killed: its process is gone.
fn clear_leftovers() {
    for name in namespaces() {
        let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            remove(&name);
        }
    }
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
