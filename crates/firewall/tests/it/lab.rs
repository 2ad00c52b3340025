//! Hosts in network namespaces, joined by bridges that lie in a namespace of their own.
//!
//! ```text
//!   inet-1, inet-2 ──── outside ──── edge ──── inside ──── outer, main, standby, admin
//! ```
//!
//! The inside is **wired wrongly on purpose**: extranet and intranet share a bridge and have routes to each other, so that
//! whatever stays closed between them is closed by the rules alone.
use std::{
    fs,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use rustix::{
    fd::AsFd,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// All of them begin so; then comes the process that made them.
const PREFIX: &str = "gridesk-fw-";

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gridesk-firewall");

/// A host: its name, its interfaces with their bridge and addresses, and whether it has rules.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) interfaces: &'static [(&'static str, Bridge, &'static str, &'static str)],
    pub(crate) ruled: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Bridge {
    Outside,
    Inside,
}

pub(crate) const HOSTS: &[Host] = &[
    Host {
        name: "inet-1",
        interfaces: &[("eth0", Bridge::Outside, "11.0.0.101", "2a0f:11::101")],
        ruled: false,
    },
    // In another /64, that is, another source.
    Host {
        name: "inet-2",
        interfaces: &[("eth0", Bridge::Outside, "11.0.0.102", "2a0f:11:0:1::102")],
        ruled: false,
    },
    Host {
        name: "edge",
        interfaces: &[
            ("eth0", Bridge::Outside, "11.0.0.10", "2a0f:11::10"),
            ("eth1", Bridge::Inside, "10.10.0.10", "fd00:10:0:10::10"),
        ],
        ruled: true,
    },
    Host {
        name: "outer",
        interfaces: &[("eth0", Bridge::Inside, "10.10.0.20", "fd00:10:0:10::20")],
        ruled: true,
    },
    Host {
        name: "main",
        interfaces: &[("eth0", Bridge::Inside, "10.10.30.10", "fd00:10:0:30::10")],
        ruled: true,
    },
    Host {
        name: "standby",
        interfaces: &[("eth0", Bridge::Inside, "10.10.31.10", "fd00:10:0:31::10")],
        ruled: true,
    },
    Host {
        name: "admin",
        interfaces: &[("eth0", Bridge::Inside, "10.10.32.10", "fd00:10:0:32::10")],
        ruled: true,
    },
];

pub(crate) const TOPOLOGY: &str = include_str!("lab.toml");

/// Namespaces that are gone when this is dropped.
pub(crate) struct Lab {
    prefix: String,
    folder: tempfile::TempDir,
}

impl Lab {
    /// All hosts, without rules.
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root() && Path::new("/usr/sbin/nft").exists(),
            "these tests make network namespaces: run them as root, with nftables and iproute2 installed \
             (`./test` installs them; `./test --quick` leaves these tests out)"
        );
        clear_leftovers();
        let lab =
            Self { prefix: format!("{PREFIX}{}-", std::process::id()), folder: tempfile::tempdir().unwrap() };
        let switch = lab.namespace("switch");
        // Before the first address, so that none is tentative while a test uses it.
        let names = HOSTS.iter().map(|host| host.name);
        let batch: String = std::iter::once("switch")
            .chain(names)
            .map(|name| format!("netns add {}\n", lab.namespace(name)))
            .collect();
        ip_batch(&[], &batch);
        // A bridge joins a group of its own as 0.0.0.0, at some time within seconds: tests that count would count that too.
        let quiet = || fs::write("/proc/sys/net/ipv4/igmp_link_local_mcast_reports", "0").unwrap();
        lab.inside("switch", quiet).join().unwrap();
        let mut wires = String::from(
            "link add outside type bridge\nlink set outside up\nlink add inside type bridge\nlink set inside up\n",
        );
        for host in HOSTS {
            for (name, bridge, _, _) in host.interfaces {
                let port = format!("{}-{name}", host.name);
                let bridge = if *bridge == Bridge::Outside { "outside" } else { "inside" };
                wires.push_str(&format!(
                    "link add {port} type veth peer name {name} netns {}\nlink set {port} master {bridge} up\n",
                    lab.namespace(host.name)
                ));
            }
        }
        ip_batch(&["-n", &switch], &wires);
        for host in HOSTS {
            let mut own = String::from("link set lo up\n");
            for (name, bridge, v4, v6) in host.interfaces {
                let (v4_length, v6_length) = if *bridge == Bridge::Outside { (24, 48) } else { (18, 48) };
                own.push_str(&format!(
                    "addr add {v4}/{v4_length} dev {name}\naddr add {v6}/{v6_length} dev {name} nodad\nlink set {name} up\n"
                ));
            }
            // The Internet's hosts believe that the inside can be reached through the edge.
            if host.interfaces[0].1 == Bridge::Outside && host.interfaces.len() == 1 {
                own.push_str(
                    "route add 10.10.0.0/18 via 11.0.0.10\nroute add fd00:10::/48 via 2a0f:11::10\n",
                );
            } else if host.name != "edge" {
                own.push_str("route add default via 10.10.0.10\nroute add default via fd00:10:0:10::10\n");
            }
            ip_batch(&["-n", &lab.namespace(host.name)], &own);
        }
        lab.ip("edge", "route add default via 11.0.0.101\nroute add default via 2a0f:11::101\n");
        // It routes, as a host may by mistake: the forward chain is to hold.
        lab.shell(
            "edge",
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        fs::write(lab.topology(), TOPOLOGY).unwrap();
        lab
    }

    /// All hosts, with their rules.
    pub(crate) fn ruled() -> Self {
        let lab = Self::new();
        for host in HOSTS.iter().filter(|host| host.ruled) {
            lab.load(host.name);
        }
        lab
    }

    pub(crate) fn topology(&self) -> PathBuf {
        self.folder.path().join("topology.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// Loads a host's rules without a way back.
    pub(crate) fn load(&self, host: &str) {
        let text = firewall::Topology::parse(&fs::read_to_string(self.topology()).unwrap(), &self.topology());
        let rules = firewall::Ruleset::of(&text.unwrap(), host).unwrap();
        self.nft(host, &rules.to_string());
    }

    pub(crate) fn unload(&self, host: &str) {
        self.nft(host, "delete table inet gridesk");
    }

    pub(crate) fn nft(&self, host: &str, rules: &str) {
        let mut child = self.command(host, "nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{host}: {rules}");
    }

    /// What runs, without what changes by itself.
    pub(crate) fn listing(&self, host: &str) -> String {
        let output = self.command(host, "nft").args(["-s", "-t", "list", "ruleset"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// How often a named counter has counted.
    pub(crate) fn count(&self, host: &str, counter: &str) -> u64 {
        let output = self
            .command(host, "nft")
            .args(["-j", "list", "counter", "inet", "gridesk", counter])
            .output()
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let counters = answer["nftables"].as_array().unwrap();
        counters.iter().find_map(|object| object["counter"]["packets"].as_u64()).unwrap()
    }

    /// A program inside a host. It is that process itself, not one around it.
    pub(crate) fn command(&self, host: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command
    }

    pub(crate) fn firewall(&self, host: &str, words: &[&str]) -> Output {
        self.command(host, PROGRAM).args(words).output().unwrap()
    }

    fn shell(&self, host: &str, script: &str) {
        assert!(
            self.command(host, "sh").args(["-c", script]).status().unwrap().success(),
            "{host}: {script}"
        );
    }

    pub(crate) fn ip(&self, host: &str, batch: &str) {
        ip_batch(&["-n", &self.namespace(host)], batch);
    }

    /// Runs `work` in a thread that lives in a host: the sockets it makes are that host's.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = fs::File::open(Path::new("/run/netns").join(self.namespace(host))).unwrap();
        thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove(&self.prefix);
    }
}

pub(crate) fn addresses(host: &str) -> Vec<IpAddr> {
    let host = HOSTS.iter().find(|known| known.name == host).unwrap();
    let all = host.interfaces.iter().flat_map(|(_, _, v4, v6)| [*v4, *v6]);
    all.map(|address| address.parse().unwrap()).collect()
}

fn ip_batch(options: &[&str], batch: &str) {
    let mut child =
        Command::new("ip").args(options).args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip {options:?}: {batch}");
}

/// Ends what runs in the namespaces of a prefix, and removes them.
fn remove(prefix: &str) {
    for name in namespaces().iter().filter(|name| name.starts_with(prefix)) {
        let pids = Command::new("ip").args(["netns", "pids", name]).output();
        let pids =
            pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let own = std::process::id();
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).filter(|pid| *pid != own)
        {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
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
