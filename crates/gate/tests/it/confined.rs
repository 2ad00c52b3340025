//! The real program, seen from outside, and what somebody can do who has taken it over.
use std::{
    collections::BTreeMap,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use protocol::file::CHUNK_LEN;

use crate::{files_fetcher::*, files_sender::*, world::*};

/// Whom the halves become; nobody has this number.
const USER: u32 = 64001;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder through which every user may pass.
fn passable() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// Writes a half's settings; only root can have it become another user.
fn settings(half: &str, folder: &Path, more: &str) -> PathBuf {
    let at = |name: &str| folder.join(name).display().to_string();
    let user = if is_root() { format!("user = '{USER}'\n") } else { String::new() };
    let text = match half {
        "outer" => format!(
            "edge_socket = '{}'\nlink = '{}'\nsecret_file = '{}'\ninside = '{}'\n{user}{more}",
            at("run/edge"),
            at("run/link"),
            at("key"),
            at("run/outer")
        ),
        _ => format!(
            "link = '{}'\nsecret_file = '{}'\ncenters = ['{}']\n{user}{more}\n\
             [files]\nlink = '{}'\nquarantine = '{}'\nstore = '{}'\noutward = '{}'",
            at("run/link"),
            at("key"),
            at("center"),
            at("run/files-link"),
            at("quarantine"),
            at("store"),
            at("outward")
        ),
    };
    // The center's, with a file whose name who knows its hash knows.
    let outward = folder.join("outward");
    if !outward.exists() {
        fs::create_dir_all(outward.join("ab")).unwrap();
        fs::write(outward.join("ab/file"), "x").unwrap();
        for (path, mode) in [(outward.join("ab/file"), 0o444), (outward.join("ab"), 0o711), (outward, 0o711)]
        {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let file = folder.join(format!("{half}.toml"));
    fs::write(&file, text).unwrap();
    file
}

fn gate(half: &str, settings: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk-gate"));
    command.args([half, "--config"]).arg(settings);
    command
}

#[tokio::test]
async fn each_half_serves_with_next_to_no_rights() {
    let folder = passable();
    for half in ["outer", "inner"] {
        let mut child = tokio::process::Command::from(gate(half, &settings(half, folder.path(), "")))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let process = Path::new("/proc").join(pid.to_string());
        until(|| is_confined(&process)).await;
        if is_root() {
            let ids = format!("{USER}\t{USER}\t{USER}\t{USER}");
            for thread in threads(&process) {
                assert_eq!(
                    (&*thread["Uid"], &*thread["Gid"], &*thread["Groups"]),
                    (&*ids, &*ids, ""),
                    "{half}"
                );
                assert_eq!(&*thread["CapBnd"], "0000000000000000", "{half}");
            }
            // Nobody else may see what it holds.
            let sockets = ip_sockets(&process);
            assert!(sockets.is_empty(), "{half}: {sockets:?}");
        }
        terminate(pid);
        assert!(child.wait().await.unwrap().success(), "{half}");
    }
}

#[tokio::test]
async fn a_confined_half_gives_what_the_center_made() {
    let folder = passable();
    let at = folder.path();
    let uids = if is_root() { vec![USER] } else { vec![] };
    let mut files = relay_config(at);
    files.link = path(at, "run/files-link");
    let config = gate::outer::Config {
        edge_socket: path(at, "run/edge"),
        link: path(at, "run/link"),
        secret_file: path(at, "key"),
        allowed_uids: uids,
        inside: None,
        in_flight: 2048,
        files: Some(files),
        user: None,
        confinement: gate::confine::Confinement::Off,
    };
    let shutdown = runtime::shutdown::Shutdown::new();
    let outer = gate::outer::open(config).unwrap();
    let _outer = tokio::spawn(outer.serve(shutdown.clone()));
    let center = Center::start(&path(at, "center"));
    fs::set_permissions(path(at, "center"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut child =
        tokio::process::Command::from(gate("inner", &settings("inner", at, "allowed_uids = [0]")))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();

    let mut edge = ready_sender(at).await;
    assert!(is_confined(&Path::new("/proc").join(child.id().unwrap().to_string())));
    center.pushes_keys().await;
    for (number, is_text) in [(1, true), (2, false)] {
        let bytes = content(number, 9 * CHUNK_LEN + 1, is_text);
        let ticket = put(at, number, &bytes);
        let (got, compressed) = edge.fetch(&ticket, 0).await.unwrap();
        assert!(got == bytes && (compressed > 0) == is_text);
    }
    assert_eq!(edge.not_given(&ticket(3, b"never made")).await, "refused: gone");
    terminate(child.id().unwrap());
    assert!(child.wait().await.unwrap().success());
    shutdown.begin();
}

#[test]
fn a_half_that_cannot_be_confined_says_what_to_do() {
    let folder = passable();
    let said = |half, more: &str| {
        let output = gate(half, &settings(half, folder.path(), more)).output().unwrap();
        assert!(!output.status.success(), "{half} {more}");
        String::from_utf8(output.stderr).unwrap()
    };
    if !is_root() {
        let said = said("outer", "user = '64002'");
        assert!(said.contains("start this half as root or as user 64002"), "{said}");
        return;
    }
    let file = folder.path().join("outer.toml");
    let with_user = |user: &str| {
        let text = fs::read_to_string(settings("outer", folder.path(), "")).unwrap();
        fs::write(&file, text.replace(&format!("user = '{USER}'\n"), user)).unwrap();
        let output = gate("outer", &file).output().unwrap();
        assert!(!output.status.success(), "{user}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = with_user("");
    assert!(text.contains("set it (user = \"gridesk-gate\")"), "{text}");
    let text = with_user("user = 'no-such-user-here'\n");
    assert!(text.contains("useradd --system no-such-user-here"), "{text}");
    let text = with_user("user = 'root'\n");
    assert!(text.contains("has root's rights"), "{text}");

    // Root's folder, from before the half had a user.
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    let text = said("inner", "");
    assert!(text.contains(&format!("(chown -R {USER}:{USER} {})", store.display())), "{text}");
}

#[tokio::test]
async fn without_landlock_it_starts_only_where_it_may() {
    let folder = passable();
    // The kernel's answer where Landlock is not built in.
    let on_old_kernel = |more: &str| {
        let mut command = tokio::process::Command::new("strace");
        command
            .args(["-f", "-o", "/dev/null", "-e", "trace=landlock_create_ruleset"])
            .args(["-e", "inject=landlock_create_ruleset:error=ENOSYS", env!("CARGO_BIN_EXE_gridesk-gate")])
            .args(["outer", "--config"])
            .arg(settings("outer", folder.path(), more))
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    };
    if !is_root() || Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: it takes root and strace to play an old kernel");
        return;
    }
    let output = on_old_kernel("").output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("this kernel cannot confine files"), "{said}");

    let tracer = on_old_kernel("confinement = 'best-effort'").spawn().unwrap();
    let pid = tracer.id().unwrap();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let half = || fs::read_to_string(&children).ok()?.trim().parse::<u32>().ok();
    until(|| half().is_some_and(|half| is_confined(&Path::new("/proc").join(half.to_string())))).await;
    terminate(half().unwrap());
    let output = tracer.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("this kernel has no Landlock"), "{said}");
}

#[test]
fn a_captured_half_can_do_nothing_that_it_does_not_need() {
    if !is_root() {
        println!("skipped: the control, all of which succeeds, is to be done as root");
        return;
    }
    let free = captured("free");
    for (what, outcome) in &free {
        assert_eq!(outcome, "done", "{what} is refused by something else than the confinement");
    }
    let done = |half| {
        let tried = captured(half);
        assert_eq!(tried.keys().collect::<Vec<_>>(), free.keys().collect::<Vec<_>>());
        println!("{half}: {tried:#?}");
        let done = tried.into_iter().filter(|(_, outcome)| outcome == "done");
        done.map(|(what, _)| what).collect::<Vec<_>>()
    };
    assert_eq!(done("outer"), [""; 0]);
    // A socket at a path is not Landlock's: who listens there decides. The rest is its work.
    assert_eq!(
        done("inner"),
        ["connect-path", "outward-read", "quarantine-remove", "quarantine-write", "store-link"]
    );
}

/// What a half that was taken over achieves: each try with its outcome.
fn captured(half: &str) -> BTreeMap<String, String> {
    let folder = passable();
    let everybody = folder.path().join("everybody");
    fs::create_dir(&everybody).unwrap();
    fs::write(everybody.join("victim"), "").unwrap();
    fs::set_permissions(&everybody, fs::Permissions::from_mode(0o777)).unwrap();
    let file = settings(if half == "outer" { "outer" } else { "inner" }, folder.path(), "");
    if half != "inner" {
        // The inner half makes them, for its user.
        fs::create_dir_all(folder.path().join("store/ab")).unwrap();
        fs::create_dir(folder.path().join("quarantine")).unwrap();
    }
    let mut peer = Command::new("sleep").arg("60").spawn().unwrap();
    let name = SocketAddr::from_abstract_name(format!("gridesk-captured-{}", peer.id())).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let path = folder.path().join("everybody.sock");
    let _path = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();

    // Beside the tests' own folder, where examples are built with the tests.
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples/captured");
    let output = Command::new(program)
        .arg(half)
        .args([&file, folder.path()])
        .arg(peer.id().to_string())
        .output()
        .unwrap();
    peer.kill().unwrap();
    peer.wait().unwrap();
    assert!(output.status.success(), "{half}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let tries = text.lines().map(|line| line.split_once(' ').unwrap());
    tries.map(|(what, outcome)| (what.to_owned(), outcome.to_owned())).collect()
}

/// `/proc/PID/status` of each thread.
fn threads(process: &Path) -> Vec<BTreeMap<String, String>> {
    let Ok(threads) = fs::read_dir(process.join("task")) else { return Vec::new() };
    let status = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    threads.flatten().map(status).collect()
}

fn is_confined(process: &Path) -> bool {
    let has = |thread: &BTreeMap<String, String>, name: &str, value: &str| {
        thread.get(name).is_some_and(|found| found == value)
    };
    let serves = |thread: &BTreeMap<String, String>| {
        let caught = thread.get("SigCgt").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        caught.is_some_and(|mask| mask & 1 << (libc::SIGTERM - 1) != 0)
    };
    let threads = threads(process);
    // More than one: the filters came before the others, which have them too.
    threads.len() > 1
        && threads.iter().all(serves)
        && threads.iter().all(|thread| {
            has(thread, "Seccomp", "2")
                && has(thread, "NoNewPrivs", "1")
                && ["CapEff", "CapPrm", "CapInh", "CapAmb"]
                    .iter()
                    .all(|set| has(thread, set, "0000000000000000"))
        })
}

/// The process's sockets that its network namespace knows as TCP or UDP, by inode.
fn ip_sockets(process: &Path) -> Vec<String> {
    let inodes: Vec<String> = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"]
        .iter()
        .filter_map(|table| fs::read_to_string(process.join("net").join(table)).ok())
        .flat_map(|table| {
            let inode = |line: &str| line.split_whitespace().nth(9).map(str::to_owned);
            table.lines().skip(1).filter_map(inode).collect::<Vec<_>>()
        })
        .collect();
    let open =
        fs::read_dir(process.join("fd")).unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let open = open.map(|target| target.display().to_string());
    open.filter(|target| inodes.iter().any(|inode| *target == format!("socket:[{inode}]"))).collect()
}

fn terminate(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}
