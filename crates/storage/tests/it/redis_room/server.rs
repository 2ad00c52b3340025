//! A Redis of a test's own.
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A server on a free port with a folder of its own; gone with this value.
pub(crate) struct Server {
    port: u16,
    folder: TempDir,
    child: Child,
}

impl Server {
    pub(crate) fn start() -> Self {
        // Another process may take the port before the server has it: then it is tried with another.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let mut server = Server { port, child: spawn(port, &folder), folder };
            if server.is_up() {
                return server;
            }
        }
        panic!("no redis-server came up on any of twenty ports");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The address with a user and a password.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    fn is_up(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.try_ask(&["PING"]).as_deref() == Some("PONG") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Runs a command and gives its answer as `redis-cli` prints it.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).expect("redis-cli")
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let port = self.port.to_string();
        let run = Command::new("redis-cli").args(["-p", &port]).args(command).stderr(Stdio::null()).output();
        let run = run.expect("redis-cli is missing: apt-get install redis-server");
        let answer = String::from_utf8_lossy(&run.stdout).trim().to_owned();
        run.status.success().then_some(answer)
    }

    /// Kills it and starts it anew: empty, or with what was there at the last [`Server::save`].
    pub(crate) fn restart(&mut self, keeps_saved: bool) {
        self.kill();
        if !keeps_saved {
            std::fs::remove_file(self.folder.path().join("dump.rdb")).ok();
        }
        self.child = spawn(self.port, &self.folder);
        assert!(self.is_up(), "redis-server did not come up again");
    }

    pub(crate) fn kill(&mut self) {
        // Stopped or not.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn save(&self) {
        assert_eq!(self.ask(&["SAVE"]), "OK");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let run = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(run.success());
    }

    /// Closes the nodes' connections.
    pub(crate) fn close_connections(&self) {
        self.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }

    /// How many connections are told what becomes of what they have read.
    pub(crate) fn tracking(&self) -> usize {
        let list = self.ask(&["CLIENT", "LIST"]);
        list.lines()
            .filter(|line| line.split(' ').any(|field| field.starts_with("flags=") && field.contains('t')))
            .count()
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
        .args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu"])
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is missing: apt-get install redis-server")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
