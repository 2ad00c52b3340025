//! Real etcd members on free ports, with their data in memory where there is room for it, and a wire that can be cut.
use std::{
    net::{SocketAddr, TcpListener as StdListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use cluster::{ClusterSettings, etcd::Etcd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Members of one etcd cluster; killed when dropped.
pub(crate) struct Servers {
    folder: tempfile::TempDir,
    members: Vec<Member>,
    cluster: String,
}

struct Member {
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Servers {
    /// Starts so many, and waits until they answer.
    pub(crate) async fn start(count: usize) -> Self {
        let there = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
        assert!(
            there.is_ok(),
            "etcd is needed for this test: apt-get install etcd-server   (or use ./test --quick)"
        );
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::Builder::new().prefix("gridesk-etcd-").tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let held: Vec<_> = (0..2 * count).map(|_| StdListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
        let members: Vec<_> =
            ports.chunks(2).map(|pair| Member { client: pair[0], peer: pair[1], child: None }).collect();
        let peers = members.iter().enumerate();
        let cluster: Vec<_> = peers.map(|(n, m)| format!("m{n}=http://127.0.0.1:{}", m.peer)).collect();
        let mut servers = Servers { folder: folder.unwrap(), members, cluster: cluster.join(",") };
        drop(held);
        for number in 0..count {
            servers.run(number, "new");
        }
        servers.answer().await;
        servers
    }

    fn run(&mut self, number: usize, state: &str) {
        let member = &mut self.members[number];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(member.client), url(member.peer));
        let log = std::fs::File::create(self.folder.path().join(format!("m{number}.log"))).unwrap();
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.path().join(format!("m{number}")))
            .args(["--name", &format!("m{number}"), "--initial-cluster", &self.cluster])
            .args(["--initial-cluster-state", state, "--pre-vote=true"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            // A change of leader has to fit into the guard of a lease.
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .env("ETCD_LOGGER", "zap")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        member.child = Some(child.unwrap());
    }

    /// Waits until the members agree.
    pub(crate) async fn answer(&self) {
        let etcd = self.etcd();
        for _ in 0..200 {
            if etcd.put("/answers", b"", None).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("etcd does not answer; its logs are in {}", self.folder.path().display());
    }

    /// Every member's address.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client)).collect()
    }

    /// A member's address.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.members[number].client))
    }

    /// A client of all.
    pub(crate) fn etcd(&self) -> Etcd {
        self.settings().client().unwrap().0
    }

    /// Settings for all.
    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings::new(self.endpoints())
    }

    /// Which member leads.
    pub(crate) async fn leader(&self) -> usize {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
        for (number, endpoint) in self.endpoints().iter().enumerate() {
            let asked = http.post(format!("{endpoint}/v3/maintenance/status")).body("{}").send().await;
            let Ok(answer) = asked else { continue };
            let status: serde_json::Value = answer.json().await.unwrap();
            if status["leader"].is_string() && status["leader"] == status["header"]["member_id"] {
                return number;
            }
        }
        panic!("no member leads");
    }

    /// Ends a member without warning.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.members[number].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts a member that was killed.
    pub(crate) fn restart(&mut self, number: usize) {
        self.run(number, "existing");
    }

    /// Freezes a member: it keeps its connections and says nothing.
    pub(crate) fn freeze(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let child = self.members[number].child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
    }
}

/// A wire to one address. Cut, it keeps its connections, takes new ones, and lets nothing through.
pub(crate) struct Wire {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// A wire that lets everything through.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(false);
        let state = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move {
                    let mut open = state.subscribe();
                    open.wait_for(|cut| !cut).await.ok();
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(
                        carry(near_in, far_out, state.subscribe()),
                        carry(far_in, near_out, state.subscribe())
                    );
                });
            }
        });
        Wire { address, cut, task }
    }

    /// Its near end.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Settings for who is at its near end.
    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings::new(vec![self.endpoint()])
    }

    /// Lets nothing through any more.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets everything through, what was sent meanwhile too.
    pub(crate) fn heal(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if cut.wait_for(|cut| !cut).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
