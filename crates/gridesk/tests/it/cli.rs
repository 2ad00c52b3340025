//! What the command line says when it cannot do what it is asked, and with which exit status.
use std::process::{Command, Output};

fn gridesk(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridesk")).args(args).output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_settings_end_with_64_and_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sim.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "listen = '127.0.0.1:0'\nfolder = 'f'\nmerchant_key = 'k'\n").unwrap();
    assert_eq!(gridesk(&["config", "check", path]).status.code(), Some(0));
    std::fs::write(&file, "listen = 'nowhere'\nfolder = 'f'\nmerchant_key = 'k'\n").unwrap();
    let checked = gridesk(&["config", "check", path]);
    assert_eq!(checked.status.code(), Some(64));
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("sim.toml") && said.contains("listen"), "{said}");
    let ran = gridesk(&["role", "sim", "--config", path]);
    assert_eq!(ran.status.code(), Some(64));
    assert!(error(&ran).contains("listen"), "{}", error(&ran));
}

#[test]
fn a_busy_port_is_said_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = gridesk(&["up", "--ports", &port, "--data", data.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(error(&ran).contains(&format!("port {port} is in use")), "{}", error(&ran));
    assert!(!data.exists());
}

#[test]
fn a_folder_of_others_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    let ran = gridesk(&["up", "--ports", "0", "--fresh", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(error(&ran).contains("not a data folder"), "{}", error(&ran));
    assert!(folder.path().join("thesis.tex").exists());
}

#[test]
fn a_tour_of_nothing_fails_and_says_why() {
    let ran = gridesk(&["tour", "--json", "--against", "http://127.0.0.1:1", "--sim", "http://127.0.0.1:1"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line["ok"] == false && line["detail"].as_str().unwrap().contains("log in"))
    );
}
