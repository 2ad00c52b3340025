//! Which child gets which settings.
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use runtime::secret::{SecretError, load_or_create_key};
use toml::{Table, Value};

use super::folder::{DataFolder, admin_socket};
use crate::{role::Role, sim::PROVIDER, staff::auditor_files};

/// How far the simulated outside world's port lies above the portal's.
pub const SIM_PORT_OFFSET: u16 = 5;

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

    /// Where a role answers `/readyz`: the center among its operators' orders, the simulated outside world on its port.
    pub fn inside(&self, role: Role) -> PathBuf {
        if role == Role::Center {
            return admin_socket(&self.root);
        }
        self.root.join(format!("run/{}-inside.sock", role.name()))
    }

    /// A role's settings.
    pub fn config(&self, role: Role) -> PathBuf {
        self.root.join(format!("run/{}.toml", role.name()))
    }

    fn run(&self, name: &str) -> Value {
        path(&self.root.join("run").join(name))
    }

    fn in_root(&self, name: &str) -> Value {
        path(&self.root.join(name))
    }

    /// The settings of a role on ports `ports`; `demo_customers` is how many the center makes up.
    pub fn settings(&self, role: Role, ports: Ports, demo_customers: u32) -> Table {
        let inside = || path(&self.inside(role));
        let sim_url = ports.sim_url();
        match role {
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
                    ("data", self.in_root("center")),
                    ("socket", self.run("center.sock")),
                    ("admin", inside()),
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
                if demo_customers > 0 {
                    let demo = table([("customers", i64::from(demo_customers).into())]);
                    settings.insert("demo".to_owned(), demo.into());
                }
                settings
            }
            Role::Outer => table([
                // What this machine has: the security boundary is the zones' own programs on hosts of their own.
                ("confinement", "best-effort".into()),
                ("edge_socket", self.run("gate-edge.sock")),
                ("link", self.run("gate-link.sock")),
                ("secret_file", self.in_root("secrets/link.key")),
                ("inside", inside()),
                (
                    "files",
                    Value::Table(table([
                        ("edge_socket", self.run("gate-files.sock")),
                        ("link", self.run("files-link.sock")),
                    ])),
                ),
            ]),
            Role::Inner => table([
                ("confinement", "best-effort".into()),
                ("link", self.run("gate-link.sock")),
                ("secret_file", self.in_root("secrets/link.key")),
                ("centers", vec![self.run("center.sock")].into()),
                ("inside", inside()),
                (
                    "files",
                    Value::Table(table([
                        ("link", self.run("files-link.sock")),
                        ("quarantine", self.in_root("inner/quarantine")),
                        ("store", self.in_root("inner/store")),
                    ])),
                ),
            ]),
            Role::Edge => {
                let provider = table([("instructions_url", format!("{sim_url}/instructions").into())]);
                table([
                    ("listen", format!("127.0.0.1:{}", ports.edge).into()),
                    ("public_url", ports.portal_url().into()),
                    ("data", self.in_root("edge")),
                    ("gates", vec![self.run("gate-edge.sock")].into()),
                    ("files", Value::Table(table([("gates", vec![self.run("gate-files.sock")].into())]))),
                    ("inside", inside()),
                    ("providers", Value::Table(table([(PROVIDER, Value::Table(provider))]))),
                    ("sms", Value::Table(table([("kind", "sim".into()), ("url", sim_url.into())]))),
                ])
            }
        }
    }

    /// Writes the settings of `roles`, anew at every start: ports may have changed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, roles: &[Role], ports: Ports, demo_customers: u32) -> io::Result<()> {
        for role in roles {
            let settings = self.settings(*role, ports, demo_customers);
            let text = format!("# Written by gridesk at every start; changes are lost.\n{settings}");
            runtime::durable::write_file_durably(&self.config(*role), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Makes the secrets that two children share, where they do not exist yet.
///
/// # Errors
/// [`SecretError`], which names the file.
pub fn make_secrets(folder: &DataFolder) -> Result<(), SecretError> {
    for name in ["link.key", "sim-pay.key"] {
        load_or_create_key(&folder.join("secrets").join(name))?;
    }
    Ok(())
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
    fn every_role_takes_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let places = Places::of(folder.path());
        places.write(&Role::ALL, Ports { edge: 8080, sim: 8085 }, 10).unwrap();
        for role in Role::ALL {
            role.check(&places.config(role)).unwrap();
        }
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
