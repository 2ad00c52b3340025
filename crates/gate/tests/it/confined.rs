//! The real program, seen from outside: it has given up IP sockets.
use std::{fs, path::Path, process::Stdio};

use crate::world::until;

#[tokio::test]
async fn each_half_serves_behind_a_filter_and_holds_no_ip_socket() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let outer =
        format!("edge_socket = '{}'\nlink = '{}'\nsecret_file = '{}'", at("edge"), at("link"), at("key"));
    let inner =
        format!("link = '{}'\nsecret_file = '{}'\ncenters = ['{}']", at("link"), at("key"), at("center"));
    for (half, settings) in [("outer", outer), ("inner", inner)] {
        let file = folder.path().join(format!("{half}.toml"));
        fs::write(&file, settings).unwrap();
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gridesk-gate"))
            .args([half, "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let process = Path::new("/proc").join(pid.to_string());
        until(|| all_threads_filtered(&process)).await;
        let sockets = ip_sockets(&process);
        assert!(sockets.is_empty(), "{half}: {sockets:?}");
        runtime_kill(pid);
        assert!(child.wait().await.unwrap().success(), "{half}");
    }
}

fn all_threads_filtered(process: &Path) -> bool {
    let Ok(threads) = fs::read_dir(process.join("task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line == "Seccomp:\t2")
            && status.lines().any(|line| line == "NoNewPrivs:\t1")
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

fn runtime_kill(pid: u32) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
}
