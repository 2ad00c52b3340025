//! Three programs, nodes that come and go, and what is left when some of them do not.
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use cluster::{
    ClusterSettings, Coordinator, LaneLease, TableFollower,
    election::{Candidate, Leader},
};
use protocol::{
    LaneId,
    bounds::Text,
    routing::{NodeEntry, RoutingTable},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::servers::{Servers, Wire};

const LONG: Duration = Duration::from_secs(20);
const LANES: u16 = 12;

/// One of the programs; killed when dropped.
struct Program {
    name: String,
    admin: PathBuf,
    child: Child,
}

impl Program {
    fn start(folder: &Path, name: &str, endpoints: &[String]) -> Self {
        let (file, admin) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.sock")));
        let settings = format!(
            "name = '{name}'\nroom = 'main'\nadmin = '{}'\nlanes = {LANES}\n[etcd]\nendpoints = {endpoints:?}\n",
            admin.display()
        );
        std::fs::write(&file, settings).unwrap();
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gridesk-control"))
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(log)
            .spawn()
            .unwrap();
        Program { name: name.to_owned(), admin, child }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn ask(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(&self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// etcd, the programs, and how they are seen from beside.
struct World {
    servers: Servers,
    folder: tempfile::TempDir,
    programs: Vec<Program>,
    observer: Candidate,
    follower: TableFollower,
}

impl World {
    async fn start(members: usize, programs: &[&str]) -> Self {
        let servers = Servers::start(members).await;
        let folder = tempfile::tempdir().unwrap();
        let (etcd, keys) = servers.settings().client().unwrap();
        let observer = Candidate::new(
            etcd.clone(),
            keys.leader(),
            "observer".parse().unwrap(),
            servers.settings().lease,
        );
        let follower = TableFollower::start(etcd, keys.table(), None);
        let start = |name: &&str| Program::start(folder.path(), name, &servers.endpoints());
        let programs = programs.iter().map(start).collect();
        World { servers, folder, programs, observer, follower }
    }

    async fn leader(&self, other_than: Option<u64>) -> Leader {
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            match self.observer.observe().await {
                Ok(Some(leader)) if Some(leader.fence) != other_than => return leader,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("nobody leads: {}", self.logs());
    }

    async fn table(&self, what: impl FnMut(&Arc<RoutingTable>) -> bool) -> Arc<RoutingTable> {
        let mut table = self.follower.table();
        let reached =
            tokio::time::timeout(LONG, table.wait_for(what)).await.map(|seen| Arc::clone(&*seen.unwrap()));
        reached.unwrap_or_else(|_| panic!("no such table: {}", self.logs()))
    }

    fn logs(&self) -> String {
        let log = |p: &Program| std::fs::read_to_string(self.folder.path().join(format!("{}.log", p.name)));
        self.programs.iter().filter_map(|program| log(program).ok()).collect()
    }

    fn program(&mut self, name: &str) -> &mut Program {
        self.programs.iter_mut().find(|program| program.name == name).unwrap()
    }
}

fn join(settings: &ClusterSettings, id: &str) -> Coordinator {
    let address = Text::new(format!("{id}.main:7000")).unwrap();
    let (id, room) = (id.parse().unwrap(), "main".parse().unwrap());
    let me = NodeEntry { id, room, address, capacity: 4, stay: 0 };
    let coordinator = Coordinator::etcd(settings, me, None).unwrap();
    coordinator.join();
    coordinator
}

/// Works as a node does: takes what the table gives it, and gives back what it gives to another.
async fn work(coordinator: Coordinator, held: tokio::sync::watch::Sender<Vec<LaneId>>) {
    let mut table = coordinator.routing();
    let mut leases: Vec<LaneLease> = Vec::new();
    loop {
        let mine = coordinator.my_lanes();
        let (keep, give): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.valid() && mine.contains(&lease.lane()));
        leases = keep;
        for lease in give {
            lease.release().await.ok();
        }
        let missing: Vec<_> =
            mine.into_iter().filter(|lane| !leases.iter().any(|lease| lease.lane() == *lane)).collect();
        let takes: Vec<_> = missing
            .into_iter()
            .map(|lane| {
                let coordinator = coordinator.clone();
                tokio::spawn(async move { coordinator.take(lane, Duration::from_millis(500)).await })
            })
            .collect();
        for take in takes {
            leases.extend(take.await.unwrap().ok());
        }
        held.send_replace(leases.iter().map(LaneLease::lane).collect());
        tokio::time::timeout(Duration::from_millis(50), table.changed()).await.ok();
    }
}

#[tokio::test]
async fn etcd_the_leader_is_killed_and_another_leads() {
    let mut world = World::start(3, &["control-a", "control-b", "control-c"]).await;
    let node = join(&world.servers.settings(), "n1");
    let first = world.leader(None).await;
    let one = world.table(|table| table.version() >= 1 && table.nodes().len() == 1).await;
    assert_eq!(one.lanes().len(), usize::from(LANES));

    let leader = world.program(first.name.as_str());
    assert!(leader.ask("/healthz").await.ends_with("ok\n"));
    leader.signal(Signal::KILL);
    let killed = Instant::now();
    let second = world.leader(Some(first.fence)).await;
    let took = killed.elapsed();
    println!("another leads after {took:?}");
    assert!(took < Duration::from_millis(4500), "{took:?}");
    assert!(second.fence > first.fence && second.name != first.name);
    let _other = join(&world.servers.settings(), "n2");
    let two = world.table(|table| table.nodes().len() == 2).await;
    assert_eq!(two.version(), one.version() + 1);
    assert_eq!(two.lanes_of(&node.me().id).len(), usize::from(LANES) / 2);

    // One that sleeps while it leads is replaced, and writes nothing when it wakes.
    world.program(second.name.as_str()).signal(Signal::STOP);
    let third = world.leader(Some(second.fence)).await;
    assert!(third.fence > second.fence && third.name != second.name);
    node.leave().await.unwrap();
    let three = world.table(|table| table.nodes().len() == 1).await;
    world.program(second.name.as_str()).signal(Signal::CONT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.leader(None).await, third);
    assert_eq!(world.table(|_| true).await.version(), three.version());
    assert_eq!(three.version(), two.version() + 1);

    // A clean end hands over at once, and ends well.
    let program = world.program(third.name.as_str());
    program.signal(Signal::TERM);
    let asked = Instant::now();
    let fourth = world.leader(Some(third.fence)).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(fourth.name, second.name);
    let ended = world.program(third.name.as_str()).child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    // It leads in etcd a moment before it says so itself.
    for (path, says) in [("/metrics", "control_leading 1"), ("/readyz", "\"ready\":true")] {
        let asked = Instant::now();
        loop {
            let said = world.program(fourth.name.as_str()).ask(path).await;
            if said.contains(says) {
                break;
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_a_dead_nodes_lanes_are_worked_on_by_others() {
    let world = World::start(3, &["control-a"]).await;
    world.leader(None).await;
    let wire = Wire::to(world.servers.address(0)).await;
    let (mut nodes, mut held) = (Vec::new(), Vec::new());
    for id in ["n1", "n2", "n3"] {
        let settings = if id == "n3" { wire.settings() } else { world.servers.settings() };
        let (sender, receiver) = tokio::sync::watch::channel(Vec::new());
        nodes.push(tokio::spawn(work(join(&settings, id), sender)));
        held.push(receiver);
    }
    world.table(|table| table.nodes().len() == 3).await;
    let each = usize::from(LANES) / 3;
    for receiver in &mut held {
        tokio::time::timeout(LONG, receiver.wait_for(|lanes| lanes.len() == each)).await.unwrap().unwrap();
    }
    let before = world.table(|_| true).await;

    // Nothing of it reaches anybody any more; it cannot even say that it goes.
    wire.cut();
    let died = Instant::now();
    nodes.pop().unwrap().abort();
    let decided = world.table(|table| table.nodes().len() == 2).await;
    let decided_after = died.elapsed();
    for receiver in &mut held[..2] {
        let half = usize::from(LANES) / 2;
        tokio::time::timeout(LONG, receiver.wait_for(|lanes| lanes.len() == half)).await.unwrap().unwrap();
    }
    let took = died.elapsed();
    println!("decided after {decided_after:?}, all lanes are worked on after {took:?}");
    assert!(took > Duration::from_secs(2) && took < Duration::from_millis(4500), "{took:?}");
    assert_eq!(decided.version(), before.version() + 1);
    nodes.iter().for_each(|node| node.abort());
}

#[tokio::test]
async fn etcd_without_etcd_it_waits_and_says_so() {
    let mut world = World::start(1, &["control-a"]).await;
    world.leader(None).await;
    world.servers.kill(0);
    let begun = Instant::now();
    while !world.programs[0].ask("/readyz").await.contains("no etcd endpoint answers") {
        assert!(begun.elapsed() < LONG, "{}", world.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.programs[0].child.try_wait().unwrap().is_none());
    world.servers.restart(0);
    world.servers.answer().await;
    let _node = join(&world.servers.settings(), "n1");
    world.table(|table| table.nodes().len() == 1).await;
}

#[test]
fn settings_that_are_wrong_are_named_and_end_it_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.toml");
    std::fs::write(&file, "name = 'control-a'\nroom = 'main'\nadmin = 'x'\nlanes = 0\n").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_gridesk-control")).arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("control.toml") && said.contains("lanes"), "{said}");
}
