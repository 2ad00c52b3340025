//! The whole system, as its user runs it: the real program, free ports, a folder of its own.
use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn gridesk(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk"));
    command.args(args);
    command
}

struct Up {
    child: Child,
    addresses: Value,
}

impl Up {
    fn start(data: &Path) -> Up {
        let data = data.to_str().unwrap();
        let mut child = gridesk(&["up", "--ports", "0", "--customers", "60", "--json", "--data", data])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no addresses: {line:?}"));
        Up { child, addresses }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn portal_answers(&self) -> bool {
        let portal = self.addresses["portal"].as_str().unwrap();
        TcpStream::connect(portal.trim_start_matches("http://").trim_end_matches('/')).is_ok()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn outcomes(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn system_tour() {
    let output = gridesk(&["tour", "--json"]).output().unwrap();
    let outcomes = outcomes(&output);
    assert_eq!(outcomes.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(outcomes.iter().all(|outcome| outcome["ok"] == true), "{outcomes:#?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn system_up_stops_cleanly_keeps_its_data_and_its_folder_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut up = Up::start(&data);
    let phone = up.addresses["phones"][0].as_str().unwrap().to_owned();
    let portal = up.addresses["portal"].as_str().unwrap().to_owned();

    let second = gridesk(&["up", "--ports", "0", "--data", data.to_str().unwrap()]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("in use by process"), "{said}");

    let toured = gridesk(&["tour", "--json", "--against", &portal, "--phone", &phone]).output().unwrap();
    assert!(outcomes(&toured).iter().all(|outcome| outcome["ok"] == true), "{:#?}", outcomes(&toured));

    let begun = Instant::now();
    up.signal(Signal::INT);
    assert_eq!(up.child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(45));
    assert!(!up.portal_answers());

    let again = Up::start(&data);
    assert_eq!(again.addresses["phones"][0].as_str(), Some(phone.as_str()));
}

#[test]
fn kill_of_up_ends_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(&folder.path().join("data"));
    assert!(up.portal_answers());
    up.signal(Signal::KILL);
    up.child.wait().unwrap();
    let begun = Instant::now();
    while up.portal_answers() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the edge outlives its parent");
        std::thread::sleep(Duration::from_millis(50));
    }
}
