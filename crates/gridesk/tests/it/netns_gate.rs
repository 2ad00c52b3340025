//! The zones' own programs, each in its zone, with no network between the zones: what is asked and what is sent crosses the
//! gate, nothing else does, and the halves hold no IP socket and can make none.
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::Token;
use runtime::secret::load_or_create_key;
use rustix::process::Pid;
use serde_json::Value;

use crate::{
    files::{comes_to, question, table, upload},
    world::Client,
    zones::{Zone, Zones},
};

const LONG: Duration = Duration::from_secs(60);

/// Whom the halves become; nobody has these numbers.
const OUTER: u32 = 64_001;
const INNER: u32 = 64_002;

const EDGE_PORT: u16 = 8080;
const SIM_PORT: u16 = 8085;

/// A zone's own program, built with these tests' workspace.
fn program(name: &str) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_gridesk")).with_file_name(name);
    assert!(path.exists(), "{} is missing: build the tests with --workspace", path.display());
    path.display().to_string()
}

#[test]
fn the_zones_programs_work_and_nothing_else_crosses() {
    let mut zones = Zones::new();
    let started = Site::start(&mut zones);
    let (customer, stored) = {
        let (site, link) = (started.clone(), zones.folder(Zone::Intranet));
        zones.inside(Zone::Extranet, move || in_runtime(site.visit(link)))
    };
    println!("{customer} logged in, and a file of {stored} bytes crossed");
    started.halves_have_next_to_no_rights();
    scan(&zones, &started);
    for half in ["outer", "inner"] {
        let said = zones.log(half);
        assert!(said.contains("confined uid=") && said.contains("landlock_abi="), "{said}");
    }
    zones.stop();
    started.traces_show_no_ip();
}

/// The system, as its operators start it.
#[derive(Clone)]
struct Site {
    /// The halves' own processes.
    outer: Pid,
    inner: Pid,
    edge: Pid,
    center: Pid,
    admin: PathBuf,
    /// Where edge and halves say whether they are ready.
    insides: [PathBuf; 3],
    /// What each traced program called.
    traces: [(&'static str, PathBuf); 3],
}

impl Site {
    fn start(zones: &mut Zones) -> Site {
        let (extranet, intranet, link) =
            (zones.folder(Zone::Extranet), zones.folder(Zone::Intranet), zones.link());
        // The outer half makes its sockets there.
        std::os::unix::fs::chown(&link, Some(OUTER), Some(OUTER)).unwrap();
        // The keys that two zones share are carried over by hand.
        for name in ["link.key", "sim-pay.key"] {
            load_or_create_key(&extranet.join(name)).unwrap();
            fs::copy(extranet.join(name), intranet.join(name)).unwrap();
        }
        let at = |folder: &Path, name: &str| folder.join(name).display().to_string();
        let (edge_url, sim_url) = (url(EDGE_PORT), url(SIM_PORT));
        let (ex, inn) = (|name| at(&extranet, name), |name| at(&intranet, name));
        let link = |name| at(&link, name);
        let write = |file: String, text: String| {
            fs::write(&file, text).unwrap();
            file
        };
        let sim = write(
            ex("sim.toml"),
            format!(
                "listen = '{}:{SIM_PORT}'\nfolder = '{}'\nmerchant_key = '{}'",
                Zone::Extranet.address(),
                ex("sim"),
                ex("sim-pay.key")
            ),
        );
        let edge = write(
            ex("edge.toml"),
            format!(
                "listen = '{}:{EDGE_PORT}'\npublic_url = '{edge_url}'\ndata = '{}'\ngates = '{}'\n\
                 allowed_uids = [{OUTER}]\ninside = '{}'\n[sms]\nkind = 'sim'\nurl = '{sim_url}'\n\
                 [providers.sim-pay]\ninstructions_url = '{sim_url}/instructions'",
                Zone::Extranet.address(),
                ex("edge"),
                ex("gates"),
                ex("inside/edge.sock")
            ),
        );
        let outer = write(
            ex("outer.toml"),
            format!(
                "user = '{OUTER}'\nedge_socket = '{}'\nlink = '{}'\nsecret_file = '{}'\nallowed_uids = [0, {INNER}]\n\
                 inside = '{}'\n[files]\nedge_socket = '{}'\nlink = '{}'",
                ex("gates/1/messages.sock"),
                link("link.sock"),
                ex("link.key"),
                ex("run/outer.sock"),
                ex("gates/1/files.sock"),
                link("files.sock")
            ),
        );
        let inner = write(
            inn("inner.toml"),
            format!(
                "user = '{INNER}'\nlink = '{}'\nsecret_file = '{}'\ncenters = ['{}']\nallowed_uids = [0, {OUTER}]\n\
                 inside = '{}'\n[files]\nlink = '{}'\nquarantine = '{}'\nstore = '{}'",
                link("link.sock"),
                inn("link.key"),
                inn("run/center.sock"),
                inn("inside/inner.sock"),
                link("files.sock"),
                inn("files/quarantine"),
                inn("files/store")
            ),
        );
        let center = write(
            inn("center.toml"),
            format!(
                "data = '{}'\nsocket = '{}'\nadmin = '{}'\nallow_uids = [{INNER}]\npublic_url = '{edge_url}'\n\
                 [[providers]]\nname = 'sim-pay'\npay_url = '{sim_url}/pay'\nmandate_url = '{sim_url}/mandate'\n\
                 secret_file = '{}'\n[demo]\ncustomers = 60",
                inn("center"),
                inn("run/center.sock"),
                inn("admin/center.sock"),
                inn("sim-pay.key")
            ),
        );

        let gate = program("gridesk-gate");
        let trace_of = |folder: &Path, name: &str| folder.join(format!("{name}.trace"));
        let trace = |zones: &mut Zones, zone, name: &'static str, words: &[&str]| {
            let file = trace_of(&zones.folder(zone), name);
            let file_text = file.display().to_string();
            let strace = ["strace", "-f", "-e", "trace=%network,execve,setresuid", "-o", &file_text];
            let tracer = zones.start(zone, name, &[&strace[..], words].concat());
            (tracer, (name, file))
        };
        let (_, of_sim) = trace(
            zones,
            Zone::Extranet,
            "sim",
            &[env!("CARGO_BIN_EXE_gridesk"), "role", "sim", "--config", &sim],
        );
        let center =
            zones.start(Zone::Intranet, "center", &[&program("gridesk-center"), "--config", &center]);
        let (outer, of_outer) = trace(zones, Zone::Extranet, "outer", &[&gate, "outer", "--config", &outer]);
        let (inner, of_inner) = trace(zones, Zone::Intranet, "inner", &[&gate, "inner", "--config", &inner]);
        let edge = zones.start(Zone::Extranet, "edge", &[&program("gridesk-edge"), "--config", &edge]);
        Site {
            outer: traced(outer, "gridesk-gate"),
            inner: traced(inner, "gridesk-gate"),
            edge,
            center,
            admin: intranet.join("admin/center.sock"),
            insides: [
                extranet.join("inside/edge.sock"),
                extranet.join("run/outer.sock"),
                intranet.join("inside/inner.sock"),
            ],
            traces: [of_sim, of_outer, of_inner],
        }
    }

    /// A customer's visit, from the extranet: a code is asked for and comes, a file is sent in. Gives the phone and the file's
    /// length.
    async fn visit(self, intranet: PathBuf) -> (String, usize) {
        let phone = self.phone().await;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(12)).build().unwrap();
        let mut client = Client {
            http,
            portal: url(EDGE_PORT),
            sim: url(SIM_PORT),
            access: None,
            refresh: None,
            seen: Token::default(),
        };
        for inside in &self.insides {
            let ready = async || {
                let answer = gridesk::unix_http::get(inside, "/readyz", Duration::from_secs(10)).await;
                answer.is_ok_and(|answer| answer.status == 200)
            };
            until(&format!("{} is not ready", inside.display()), ready).await;
        }
        client.log_in(&phone).await;
        let request = question(&mut client).await;
        let bytes = table(60_000);
        upload(&client, &request, "readings.csv", &bytes).await;
        comes_to(&mut client, &request, "stored").await;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let stored = intranet.join("files/store").join(&hash[..2]).join(&hash[2..]);
        assert_eq!(fs::read(&stored).unwrap(), bytes);
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(&stored).unwrap()), INNER);
        (phone, bytes.len())
    }

    /// A demonstration customer's phone.
    async fn phone(&self) -> String {
        let ask = async || {
            let answer =
                gridesk::unix_http::get(&self.admin, "/admin/demo", Duration::from_secs(10)).await.ok()?;
            let demo: Value = serde_json::from_slice(&answer.body).ok()?;
            Some(demo["phones"][0].as_str()?.to_owned())
        };
        let mut phone = None;
        until("the center has no customers", async || {
            phone = ask().await;
            phone.is_some()
        })
        .await;
        phone.unwrap()
    }

    fn halves_have_next_to_no_rights(&self) {
        for (name, pid, uid) in [("outer", self.outer, OUTER), ("inner", self.inner, INNER)] {
            let process = proc(pid);
            let status = fs::read_to_string(process.join("status")).unwrap();
            let of = |field: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                line.unwrap().trim().to_owned()
            };
            let ids = [uid; 4].map(|id| id.to_string()).join("\t");
            assert_eq!([of("Uid"), of("Gid"), of("Groups")], [ids.clone(), ids, String::new()], "{name}");
            assert_eq!([of("NoNewPrivs"), of("Seccomp")], ["1", "2"], "{name}");
            for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
                assert_eq!(of(set), "0000000000000000", "{name}: {set}");
            }
            assert_eq!(ip_sockets(&process), BTreeSet::new(), "{name}");
            println!(
                "{name}: uid {}, seccomp {}, {} descriptors",
                of("Uid"),
                of("Seccomp"),
                descriptors(&process).len()
            );
        }
        // They would be found: the edge has some.
        assert!(!ip_sockets(&proc(self.edge)).is_empty());
    }

    /// From the programs' first system call to their last.
    fn traces_show_no_ip(&self) {
        let calls = |file: &Path, call: &str| -> Vec<String> {
            let text = fs::read_to_string(file).unwrap();
            text.lines().filter(|line| line.contains(&format!(" {call}("))).map(str::to_owned).collect()
        };
        let [(_, sim), halves @ ..] = &self.traces;
        let is_unix = |line: &String| line.contains("AF_UNIX");
        assert!(calls(sim, "socket").iter().any(|line| line.contains("AF_INET")), "a trace shows IP sockets");
        for (name, file) in halves {
            let (made, paired, went) =
                (calls(file, "socket"), calls(file, "socketpair"), calls(file, "connect"));
            assert!(
                !made.is_empty() && made.iter().chain(&paired).chain(&went).all(is_unix),
                "{name}: {made:?}"
            );
            let text = fs::read_to_string(file).unwrap();
            assert!(!text.contains("AF_INET") && !text.contains("AF_NETLINK"), "{name}");
            assert_eq!(calls(file, "execve").len(), 1, "{name}: strace's own");
            assert!(calls(file, "recvmsg").is_empty(), "{name}: nobody handed it a socket");
            println!("{name}: {} sockets made, {} connected, all Unix ones", made.len(), went.len());
        }
    }
}

/// Tries from each zone all that the other listens at.
fn scan(zones: &Zones, site: &Site) {
    // What an intranet has besides: a program that listens at TCP, and one at an abstract Unix socket.
    let mut others = Vec::new();
    for (zone, port) in [(Zone::Intranet, 5432), (Zone::Intranet, 80), (Zone::Extranet, 22)] {
        others.push(zones.inside(zone, move || TcpListener::bind((zone.address(), port)).unwrap()));
    }
    let name = || UnixAddress::from_abstract_name(format!("gridesk-zone-{}", std::process::id())).unwrap();
    let _abstract = zones.inside(Zone::Intranet, move || UnixListener::bind_addr(&name()).unwrap());
    for (zone, process) in [(Zone::Intranet, site.center), (Zone::Extranet, site.edge)] {
        let there = listening(&proc(process));
        let expected: &[u16] = if zone == Zone::Intranet { &[80, 5432] } else { &[22, EDGE_PORT, SIM_PORT] };
        assert_eq!(there.iter().map(SocketAddr::port).collect::<Vec<_>>(), expected);
        assert_eq!(zones.reached(zone, there.clone()), there, "they listen");
        assert_eq!(zones.reached(zone.other(), there), [], "{zone:?}");
        // Every port: there is no route, so that a try takes no time.
        let every =
            (1..=u16::MAX).map(|port| SocketAddr::new(zone.address().parse().unwrap(), port)).collect();
        assert_eq!(zones.reached(zone.other(), every), [], "{zone:?}");
    }
    let connects = |zone| zones.inside(zone, move || UnixStream::connect_addr(&name()).is_ok());
    assert_eq!([connects(Zone::Intranet), connects(Zone::Extranet)], [true, false]);
}

/// Where the network namespace of a process listens at TCP, in the order of ports.
fn listening(process: &Path) -> Vec<SocketAddr> {
    let text = fs::read_to_string(process.join("net/tcp")).unwrap();
    let mut found: Vec<SocketAddr> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = fields[1].split_once(':')?;
            let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
            let is_listening = fields[3] == "0A";
            is_listening.then(|| SocketAddr::from((address, u16::from_str_radix(port, 16).unwrap())))
        })
        .collect();
    found.sort_by_key(SocketAddr::port);
    found
}

fn proc(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

/// What a process has open.
fn descriptors(process: &Path) -> BTreeSet<String> {
    let open = fs::read_dir(process.join("fd")).unwrap().flatten();
    open.filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.display().to_string())).collect()
}

/// Those of a process's sockets that its network namespace knows as IP ones.
fn ip_sockets(process: &Path) -> BTreeSet<String> {
    let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "icmp", "icmp6", "packet", "netlink"];
    let inodes: BTreeSet<String> = tables
        .iter()
        .filter_map(|table| {
            fs::read_to_string(process.join("net").join(table)).ok().map(|text| (*table, text))
        })
        .flat_map(|(table, text)| {
            // Where each table says the inode.
            let column = match table {
                "packet" => 8,
                _ => 9,
            };
            let inode =
                |line: &str| line.split_whitespace().nth(column).map(|inode| format!("socket:[{inode}]"));
            text.lines().skip(1).filter_map(inode).collect::<Vec<_>>()
        })
        .collect();
    descriptors(process).intersection(&inodes).cloned().collect()
}

/// The process that a tracer has started.
fn traced(tracer: Pid, name: &str) -> Pid {
    let tracer = tracer.as_raw_nonzero();
    let begun = std::time::Instant::now();
    loop {
        let children =
            fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap_or_default();
        let is_it = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        if let Some(pid) = children.split_whitespace().find(is_it) {
            return Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
        assert!(begun.elapsed() < LONG, "{name} does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn url(port: u16) -> String {
    format!("http://{}:{port}", Zone::Extranet.address())
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(Box::pin(work))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
