//! Which child gets which settings.
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use edge::gates::{FILES, MESSAGES};
use runtime::secret::{SecretError, load_or_create_key};
use toml::{Table, Value};

use super::{engines::Engines, folder::admin_socket};
use crate::{role::Role, sim::PROVIDER, staff::auditor_files};

/// How far the simulated outside world's port lies above the portal's.
pub const SIM_PORT_OFFSET: u16 = 5;

/// The room that all nodes of a system on one machine stand in.
const ROOM: &str = "main";
/// The lanes of a shard.
const LANES_PER_SHARD: u16 = 4;

/// The name of the auditor of a system on one machine.
pub const AUDITOR: &str = "auditor";

/// The ports of a system on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Portal and API.
    pub edge: u16,
    /// The simulated outside world.
    pub sim: u16,
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody listens there.
    #[error("port {port} is in use: stop what uses it, or choose other ports with --ports BASE ({source})")]
    Busy {
        /// The port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The ports above BASE do not exist.
    #[error("--ports {0} leaves no room: the highest port is 65535")]
    TooHigh(u16),
    /// The system gives no free port.
    #[error("no two free ports: {0}")]
    None(#[source] io::Error),
}

impl Ports {
    /// The ports from `base` on, checked to be free; with 0 any two that are.
    ///
    /// # Errors
    /// [`PortError`], which names the port.
    pub fn choose(base: u16) -> Result<Self, PortError> {
        if base != 0 {
            let ports = Ports::from_base(base).ok_or(PortError::TooHigh(base))?;
            for port in [ports.edge, ports.sim] {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                    .map_err(|source| PortError::Busy { port, source })?;
            }
            return Ok(ports);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..32 {
            let edge = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(PortError::None)?;
            let base = edge.local_addr().map_err(PortError::None)?.port();
            let Some(ports) = Ports::from_base(base) else { continue };
            match TcpListener::bind((Ipv4Addr::LOCALHOST, ports.sim)) {
                Ok(_) => return Ok(ports),
                Err(error) => last = error,
            }
        }
        Err(PortError::None(last))
    }

    fn from_base(base: u16) -> Option<Self> {
        Some(Ports { edge: base, sim: base.checked_add(SIM_PORT_OFFSET)? })
    }

    /// The portal's address, without a slash at the end.
    pub fn portal_url(self) -> String {
        format!("http://127.0.0.1:{}", self.edge)
    }

    /// The simulated outside world's address, without a slash at the end.
    pub fn sim_url(self) -> String {
        format!("http://127.0.0.1:{}", self.sim)
    }
}

/// What the children are told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where portal and outside world listen.
    pub ports: Ports,
    /// How many demonstration customers the center makes up.
    pub demo_customers: u32,
    /// The cluster's engines; `None`: the center keeps everything itself.
    pub engines: Option<Engines>,
    /// How many center nodes; one where there is no cluster.
    pub nodes: u8,
}

/// A child of `up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    role: Role,
    /// Which gate, from 1 on, where it is a half; which center node where it is another than the first.
    number: Option<u8>,
}

impl Part {
    /// The outside world, the center, the edge.
    pub const SIM: Part = Part { role: Role::Sim, number: None };
    /// See [`Part::SIM`].
    pub const CENTER: Part = Part { role: Role::Center, number: None };
    /// The management platform, where there is a cluster.
    pub const CONTROL: Part = Part { role: Role::Control, number: None };
    /// See [`Part::SIM`].
    pub const EDGE: Part = Part { role: Role::Edge, number: None };

    /// Both halves of a gate, the outer one first.
    pub fn halves(gate: u8) -> [Part; 2] {
        [Role::Outer, Role::Inner].map(|role| Part { role, number: Some(gate) })
    }

    /// All of a system with so many gates, in the order in which they start.
    pub fn all(gates: u8, plan: &Plan) -> Vec<Part> {
        let control = plan.engines.is_some().then_some(Part::CONTROL);
        let halves = (1..=gates).flat_map(Part::halves);
        let others = (2..=plan.nodes).map(|node| Part { role: Role::Center, number: Some(node) });
        let inner = control.into_iter().chain([Part::CENTER]).chain(others).chain(halves);
        std::iter::once(Part::SIM).chain(inner).chain([Part::EDGE]).collect()
    }

    /// What it is.
    pub fn role(self) -> Role {
        self.role
    }

    /// Its name in logs and status: `center`, `center-2`, `outer-1`.
    pub fn name(self) -> String {
        match self.number {
            Some(number) => format!("{}-{number}", self.role.name()),
            None => self.role.name().to_owned(),
        }
    }
}

/// The sockets and settings files of a data folder.
#[derive(Clone, Debug)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// Those of the folder at `root`.
    pub fn of(root: &Path) -> Self {
        Places { root: root.to_owned() }
    }

    /// Where a child answers `/readyz`: the center among its operators' orders, the simulated outside world on its port.
    pub fn inside(&self, part: Part) -> PathBuf {
        if part == Part::CENTER {
            return admin_socket(&self.root);
        }
        self.root.join(format!("run/{}-inside.sock", part.name()))
    }

    /// A child's settings.
    pub fn config(&self, part: Part) -> PathBuf {
        self.root.join(format!("run/{}.toml", part.name()))
    }

    /// Where the parent of all takes orders.
    pub fn control(&self) -> PathBuf {
        self.root.join("run/up.sock")
    }

    /// The folder of the gates.
    pub fn gates(&self) -> PathBuf {
        self.root.join("run/gates")
    }

    /// The folder in which a gate's outer half listens.
    pub fn gate(&self, gate: u8) -> PathBuf {
        self.gates().join(gate.to_string())
    }

    /// What both halves of a gate know.
    fn link_key(&self, gate: u8) -> PathBuf {
        self.root.join(format!("secrets/link-{gate}.key"))
    }

    /// Where the gates find the center's nodes.
    fn centers(&self, nodes: u8) -> Vec<Value> {
        let others = (2..=nodes).map(|node| self.run(&format!("center-{node}.sock")));
        std::iter::once(self.run("center.sock")).chain(others).collect()
    }

    fn run(&self, name: &str) -> Value {
        path(&self.root.join("run").join(name))
    }

    fn in_root(&self, name: &str) -> Value {
        path(&self.root.join(name))
    }

    /// The settings of a child.
    pub fn settings(&self, part: Part, plan: &Plan) -> Table {
        let Plan { ports, demo_customers, engines, nodes } = plan;
        let inside = || path(&self.inside(part));
        let sim_url = ports.sim_url();
        let gate = part.number.unwrap_or_default();
        let of_gate = |socket: &str| path(&self.gate(gate).join(socket));
        let link = |track: &str| self.run(&format!("links/{gate}-{track}.sock"));
        match part.role {
            Role::Sim => table([
                ("listen", format!("127.0.0.1:{}", ports.sim).into()),
                ("folder", self.in_root("sim")),
                ("merchant_key", self.in_root("secrets/sim-pay.key")),
            ]),
            Role::Center => {
                let provider = table([
                    ("name", PROVIDER.into()),
                    ("pay_url", format!("{sim_url}/pay").into()),
                    ("mandate_url", format!("{sim_url}/mandate").into()),
                    ("secret_file", self.in_root("secrets/sim-pay.key")),
                ]);
                let mut settings = table([
                    ("data", self.in_root(&part.name())),
                    ("socket", self.run(&format!("{}.sock", part.name()))),
                    ("admin", inside()),
                    ("keys", self.in_root("center/keys")),
                    ("outward", self.in_root("outward")),
                    ("public_url", ports.portal_url().into()),
                    // What a newcomer wants to see happens at once.
                    ("cut_after_overdue_days", 0.into()),
                    ("reconnect_after_s", 20.into()),
                    ("providers", vec![Value::Table(provider)].into()),
                ]);
                if let Ok(hash) = std::fs::read_to_string(auditor_files(&self.root).1) {
                    let auditor = table([
                        ("name", AUDITOR.into()),
                        ("password_hash", hash.trim().into()),
                        ("roles", vec![Value::from("auditor")].into()),
                    ]);
                    settings.insert("staff".to_owned(), vec![Value::Table(auditor)].into());
                }
                if let Some(engines) = engines {
                    let cluster = table([
                        ("node", part.name().into()),
                        ("room", ROOM.into()),
                        ("engines", path(&engines.file)),
                    ]);
                    settings.insert("cluster".to_owned(), cluster.into());
                    settings.insert("lanes_per_shard".to_owned(), i64::from(LANES_PER_SHARD).into());
                }
                // One makes them up, for all.
                if *demo_customers > 0 && part == Part::CENTER {
                    let demo = table([("customers", i64::from(*demo_customers).into())]);
                    settings.insert("demo".to_owned(), demo.into());
                }
                settings
            }
            Role::Control => {
                let engines = engines.as_ref();
                let lanes =
                    engines.map_or(1, |engines| i64::from(engines.shards) * i64::from(LANES_PER_SHARD));
                table([
                    ("name", "control-1".into()),
                    ("room", ROOM.into()),
                    ("admin", inside()),
                    ("lanes", lanes.into()),
                    ("etcd", engines.map(|engines| engines.etcd.clone()).unwrap_or_default().into()),
                ])
            }
            Role::Outer => table([
                // What this machine has: the security boundary is the zones' own programs on hosts of their own.
                ("confinement", "best-effort".into()),
                ("edge_socket", of_gate(MESSAGES)),
                ("link", link("messages")),
                ("secret_file", path(&self.link_key(gate))),
                ("inside", inside()),
                ("files", Value::Table(table([("edge_socket", of_gate(FILES)), ("link", link("files"))]))),
            ]),
            Role::Inner => table([
                ("confinement", "best-effort".into()),
                ("link", link("messages")),
                ("secret_file", path(&self.link_key(gate))),
                ("centers", self.centers(*nodes).into()),
                ("inside", inside()),
                (
                    "files",
                    Value::Table(table([
                        ("link", link("files")),
                        // The gates share both, so that what one has begun another goes on with.
                        ("quarantine", self.in_root("inner/quarantine")),
                        ("store", self.in_root("inner/store")),
                        ("outward", self.in_root("outward")),
                    ])),
                ),
            ]),
            Role::Edge => {
                let provider = table([("instructions_url", format!("{sim_url}/instructions").into())]);
                table([
                    ("listen", format!("127.0.0.1:{}", ports.edge).into()),
                    ("public_url", ports.portal_url().into()),
                    ("data", self.in_root("edge")),
                    ("gates", path(&self.gates())),
                    ("inside", inside()),
                    ("providers", Value::Table(table([(PROVIDER, Value::Table(provider))]))),
                    ("sms", Value::Table(table([("kind", "sim".into()), ("url", sim_url.into())]))),
                ])
            }
        }
    }

    /// Writes the settings of `parts`, anew at every start: ports may have changed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, parts: &[Part], plan: &Plan) -> io::Result<()> {
        for part in parts {
            let settings = self.settings(*part, plan);
            let text = format!("# Written by gridesk at every start; changes are lost.\n{settings}");
            runtime::durable::write_file_durably(&self.config(*part), text.as_bytes())?;
        }
        Ok(())
    }

    /// Makes the secrets that two children share, where they do not exist yet.
    ///
    /// # Errors
    /// [`SecretError`], which names the file.
    pub fn make_secrets(&self, parts: &[Part]) -> Result<(), SecretError> {
        load_or_create_key(&self.root.join("secrets/sim-pay.key"))?;
        let halves = parts.iter().filter(|part| matches!(part.role, Role::Outer | Role::Inner));
        for gate in halves.filter_map(|part| part.number) {
            load_or_create_key(&self.link_key(gate))?;
        }
        Ok(())
    }
}

fn path(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_takes_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let places = Places::of(folder.path());
        let plan =
            Plan { ports: Ports { edge: 8080, sim: 8085 }, demo_customers: 10, engines: None, nodes: 1 };
        let names = |parts: &[Part]| parts.iter().map(|part| part.name()).collect::<Vec<_>>();
        let parts = Part::all(2, &plan);
        places.write(&parts, &plan).unwrap();
        for part in &parts {
            part.role().check(&places.config(*part)).unwrap();
        }
        assert_eq!(names(&parts), ["sim", "center", "outer-1", "inner-1", "outer-2", "inner-2", "edge"]);

        let file = folder.path().join("engines.toml");
        let text = "[[postgres.shards]]\nmaster = 'host=db-1'\n[nats]\nservers = ['nats://mq-1:4222']\n\
                    [redis]\nurl = 'redis://cache:6379'\n[etcd]\nendpoints = ['http://etcd-1:2379']\n";
        std::fs::write(&file, text).unwrap();
        let plan = Plan { engines: Some(Engines::read(&file).unwrap()), nodes: 2, ..plan };
        let parts = Part::all(1, &plan);
        places.write(&parts, &plan).unwrap();
        for part in &parts {
            part.role().check(&places.config(*part)).unwrap();
        }
        assert_eq!(names(&parts), ["sim", "control", "center", "center-2", "outer-1", "inner-1", "edge"]);
        std::fs::write(&file, text.replace("[nats]", "[natz]")).unwrap();
        let wrong = Engines::read(&file).unwrap_err().to_string();
        assert!(wrong.contains("engines.toml") && wrong.contains("nat"), "{wrong}");
    }

    #[test]
    fn a_busy_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Ports::choose(port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--ports"), "{error}");
        assert!(matches!(Ports::choose(65_535), Err(PortError::TooHigh(_))));
        let free = Ports::choose(0).unwrap();
        assert_eq!(free.sim, free.edge + SIM_PORT_OFFSET);
    }
}
