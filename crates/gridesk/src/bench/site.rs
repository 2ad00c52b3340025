//! Where a benchmark runs: a temporary folder on a disk, and child processes that do not outlive it.
use std::{
    cell::RefCell,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use edge::gates::{FILES, MESSAGES};
use protocol::routing::ShardMap;
use runtime::{secret::load_or_create_key, shutdown::Shutdown, unix::PATH_LENGTH_MAX};
use tempfile::TempDir;
use toml::{Table, Value};

use super::{BenchError, During, Result};
use crate::{role::Role, sim::PROVIDER, up::engines::Engines};

/// `f_type` of a file system in memory (Linux, magic.h).
const TMPFS: i64 = 0x0102_1994;
/// See [`runtime::supervise::exit_when_parent_dies`]: children started here are held by a pipe too.
const PARENT_PIPE: &str = "GRIDESK_PARENT_PIPE";
/// The longest name of a socket.
const LONGEST_NAME: usize = 24;

/// The shards of an embedded center that is measured, and the lanes of a shard: the defaults, named so that a store can be
/// filled first.
const SHARDS: u16 = 2;
const LANES_PER_SHARD: u16 = 4;

/// A temporary folder, removed at the end.
pub(super) struct Site {
    folder: TempDir,
    engines: Option<Engines>,
    /// Programs that what is measured needs.
    beside: RefCell<Vec<Child>>,
    shutdown: Shutdown,
}

impl Site {
    pub(super) fn new(data: Option<&Path>, engines: Option<Engines>, shutdown: Shutdown) -> Result<Site> {
        let parent = data.map_or_else(|| PathBuf::from("target"), Path::to_owned);
        let shown = format!("folder {}", parent.display());
        let parent = std::path::absolute(&parent).during(&shown)?;
        fs::create_dir_all(&parent).during(&shown)?;
        let kind = rustix::fs::statfs(&parent).map_err(std::io::Error::from).during(&shown)?.f_type;
        if i128::from(kind) == i128::from(TMPFS) {
            return Err(BenchError::NoDisk(parent));
        }
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent).during(&shown)?;
        if folder.path().as_os_str().len() + LONGEST_NAME > PATH_LENGTH_MAX {
            let why = "the path is too long for the sockets in it: name a shorter one with --data";
            return Err(why).during(shown);
        }
        Ok(Site { folder, engines, beside: RefCell::default(), shutdown })
    }

    /// The cluster's engines; none where the center keeps its data in the folder.
    pub(super) fn engines(&self) -> Option<&Engines> {
        self.engines.as_ref()
    }

    pub(super) fn shards(&self) -> u16 {
        self.engines.as_ref().map_or(SHARDS, |engines| engines.shards)
    }

    /// Where buckets are.
    pub(super) fn map(&self) -> Result<ShardMap> {
        ShardMap::even(self.shards(), LANES_PER_SHARD).during("laying out shards")
    }

    /// A place in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// # Errors
    /// [`BenchError::Interrupted`] where Ctrl-C was pressed.
    pub(super) fn check(&self) -> Result<()> {
        if self.shutdown.is_begun() { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    fn text(&self, name: &str) -> Value {
        text(&self.path(name))
    }

    /// The outer half of gate `n`, at [`Site::edge_socket`] and [`Site::file_socket`].
    pub(super) fn outer(&self, n: usize) -> Result<Child> {
        let files = [
            ("edge_socket", text(&self.file_socket(n))),
            ("link", self.text(&format!("file-link-{n}.sock"))),
        ];
        let settings = [
            ("edge_socket", text(&self.edge_socket(n))),
            ("link", self.text(&format!("link-{n}.sock"))),
            ("secret_file", self.text("link.key")),
            ("confinement", "best-effort".into()),
            ("files", Value::Table(table(files))),
        ];
        load_or_create_key(&self.path("link.key")).during("the link's key")?;
        self.role(Role::Outer, &format!("outer-{n}"), table(settings))
    }

    /// Its inner half, that asks the center at `center.sock`. All gates share one store.
    pub(super) fn inner(&self, n: usize, rules: Table) -> Result<Child> {
        let files = [
            ("link", self.text(&format!("file-link-{n}.sock"))),
            ("quarantine", self.text("quarantine")),
            ("store", self.text("store")),
            ("rules", Value::Table(rules)),
        ];
        let settings = [
            ("link", self.text(&format!("link-{n}.sock"))),
            ("secret_file", self.text("link.key")),
            ("confinement", "best-effort".into()),
            ("centers", vec![self.text("center.sock")].into()),
            ("files", Value::Table(table(files))),
        ];
        self.role(Role::Inner, &format!("inner-{n}"), table(settings))
    }

    /// The folder of all gates.
    pub(super) fn gates(&self) -> PathBuf {
        self.path("gates")
    }

    /// Where gate `n` takes an edge's messages.
    pub(super) fn edge_socket(&self, n: usize) -> PathBuf {
        self.gates().join(n.to_string()).join(MESSAGES)
    }

    /// Where gate `n` takes an edge's files.
    pub(super) fn file_socket(&self, n: usize) -> PathBuf {
        self.gates().join(n.to_string()).join(FILES)
    }

    /// A center node on the data in `center` or in the cluster, at `center.sock`. With room for nothing in its cache, the
    /// cluster's Redis is away.
    pub(super) fn center(&self, cache_entities: u32) -> Result<Child> {
        load_or_create_key(&self.path("pay.key")).during("the provider's key")?;
        let provider = [
            ("name", PROVIDER.into()),
            ("pay_url", "http://127.0.0.1:9/pay".into()),
            ("secret_file", self.text("pay.key")),
        ];
        let settings = [
            ("data", self.text("center")),
            ("socket", self.text("center.sock")),
            ("admin", self.text("admin.sock")),
            ("public_url", "http://127.0.0.1:9".into()),
            ("shards", i64::from(SHARDS).into()),
            ("lanes_per_shard", i64::from(LANES_PER_SHARD).into()),
            ("cache_entities", i64::from(cache_entities).into()),
            ("providers", vec![Value::Table(table(provider))].into()),
        ];
        let mut settings = table(settings);
        if let Some(engines) = &self.engines {
            let control = [
                ("name", "bench".into()),
                ("room", "bench".into()),
                ("admin", self.text("control.sock")),
                ("lanes", (i64::from(engines.shards) * i64::from(LANES_PER_SHARD)).into()),
                ("etcd", engines.etcd.clone().into()),
            ];
            self.beside.borrow_mut().push(self.role(Role::Control, "control", table(control))?);
            let file = if cache_entities == 0 { self.without_cache(engines)? } else { engines.file.clone() };
            let cluster = [("node", "bench".into()), ("room", "bench".into()), ("engines", text(&file))];
            settings.insert("cluster".to_owned(), table(cluster).into());
        }
        self.role(Role::Center, "center", settings)
    }

    /// Ends what was started beside a center that has ended.
    pub(super) fn stop_beside(&self) {
        self.beside.borrow_mut().clear();
    }

    /// A copy of the engines' file with a Redis that is away.
    fn without_cache(&self, engines: &Engines) -> Result<PathBuf> {
        let doing = || "the engines' settings".to_owned();
        let all = fs::read_to_string(&engines.file).during(doing())?;
        let mut all: Table = all.parse().during(doing())?;
        all.insert("redis".to_owned(), table([("url", "redis://127.0.0.1:9".into())]).into());
        let file = self.path("engines.toml");
        fs::write(&file, all.to_string()).during(doing())?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).during(doing())?;
        Ok(file)
    }

    /// An edge on `port` before the gates in a folder, with its folder `data` and these settings for files.
    pub(super) fn edge(&self, port: u16, gates: &Path, data: &str, files: Table) -> Result<Child> {
        // All the load comes from one address.
        let off = ["connections_per_source", "requests_per_second", "login_starts_per_minute"];
        let limits = table(off.map(|limit| (limit, Value::from(0))));
        let settings = [
            ("listen", format!("127.0.0.1:{port}").into()),
            ("public_url", format!("http://127.0.0.1:{port}").into()),
            ("data", self.text(data)),
            ("gates", text(gates)),
            ("inside", self.text("edge-in.sock")),
            ("limits", Value::Table(limits)),
            ("sms", Value::Table(table([("kind", "sim".into()), ("url", "http://127.0.0.1:9".into())]))),
            ("files", Value::Table(files)),
        ];
        self.role(Role::Edge, "edge", table(settings))
    }

    fn role(&self, role: Role, name: &str, settings: Table) -> Result<Child> {
        let config = self.path(&format!("{name}.toml"));
        fs::write(&config, settings.to_string()).during(format!("settings of {name}"))?;
        let config = config.to_string_lossy().into_owned();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let env = Some(role.worker_threads(cores));
        self.start(name, &["role", role.name(), "--config", &config], env, Stdio::null())
    }

    /// Another's program to measure beside.
    pub(super) fn program(&self, name: &str, command: &mut Command) -> Result<Child> {
        let log = self.path(&format!("{name}.log"));
        let errors = File::create(&log).during(format!("starting {name}"))?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        Ok(Child { process: process.during(format!("starting {name}"))?, log })
    }

    /// Removes all files from the intranet's store.
    pub(super) fn clear_store(&self) -> Result<()> {
        for first in fs::read_dir(self.path("store")).during("clearing up")? {
            for file in fs::read_dir(first.during("clearing up")?.path()).during("clearing up")? {
                fs::remove_file(file.during("clearing up")?.path()).during("clearing up")?;
            }
        }
        Ok(())
    }

    /// A bare program of this one's to measure beside, and where it says that it listens.
    pub(super) fn peer(&self, kind: &str) -> Result<(Child, String)> {
        let socket = self.path(&format!("{kind}.sock")).to_string_lossy().into_owned();
        let mut child = self.start(kind, &["bench-peer", kind, "--socket", &socket], None, Stdio::piped())?;
        let mut line = String::new();
        if let Some(said) = child.process.stdout.take() {
            BufReader::new(said).read_line(&mut line).during(format!("starting {kind}"))?;
        }
        if line.trim().is_empty() {
            return Err(child.last_words()).during(format!("starting {kind}"));
        }
        Ok((child, line.trim().to_owned()))
    }

    fn start(&self, name: &str, args: &[&str], env: Option<(&str, String)>, stdout: Stdio) -> Result<Child> {
        let doing = || format!("starting {name}");
        let log = self.path(&format!("{name}.log"));
        let process = Command::new(std::env::current_exe().during(doing())?)
            .args(args)
            .env(PARENT_PIPE, "1")
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(File::create(&log).during(doing())?)
            .spawn()
            .during(doing())?;
        Ok(Child { process, log })
    }
}

/// A child process; killed when dropped.
pub(super) struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// The end of its log: why it did not do what was asked of it.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("it did not get ready; its log ends: {}", lines[lines.len().saturating_sub(3)..].join(" | "))
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }

    /// Waits until it ends by itself.
    pub(super) fn ended(&mut self, what: &str) -> Result<()> {
        let status = self.process.wait().during(what)?;
        if status.success() { Ok(()) } else { Err(self.last_words()).during(what) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A path as settings have it.
pub(super) fn text(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

/// Settings.
pub(super) fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Cores, processor, memory, kernel.
pub(super) fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let memory_kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory_gib = (memory_kib + (1 << 19)) >> 20;
    format!("{cores} cores, {processor}, {memory_gib} GiB, Linux {}", kernel.trim())
}

/// What is checked out here; `unknown` outside of a checkout.
pub(super) fn commit() -> String {
    let asked = Command::new("git").args(["describe", "--always", "--dirty"]).stderr(Stdio::null()).output();
    match asked {
        Ok(said) if said.status.success() => String::from_utf8_lossy(&said.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
