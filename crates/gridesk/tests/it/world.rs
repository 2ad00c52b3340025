//! The real program on free ports in a folder of its own, and customers' programs that speak HTTP to it and hide nothing
//! of what they are told.
use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lab::{Cluster, Shape};
use protocol::{PaymentId, Token};
use reqwest::{Method, header::HeaderMap};
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::clock::Clock;

/// Runs the tests of the embedded profile on the other one: `GRIDESK_TEST_PROFILE=cluster cargo nextest run …`.
const PROFILE: &str = "GRIDESK_TEST_PROFILE";

/// A running `gridesk up` of sixty customers. Dropping it kills everything.
pub(crate) struct World {
    up: Child,
    /// What it stands on, where that is a cluster.
    pub(crate) engines: Option<Mutex<Cluster>>,
    /// The second node's clock, where it may jump.
    pub(crate) clock: Option<Clock>,
    folder: tempfile::TempDir,
    pub(crate) portal: String,
    pub(crate) sim: String,
    pub(crate) phones: Vec<String>,
}

impl World {
    pub(crate) fn start() -> World {
        Self::start_with(&[])
    }

    /// The same with settings from the environment.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let in_a_cluster = std::env::var(PROFILE).is_ok_and(|profile| profile == "cluster");
        let engines =
            in_a_cluster.then(|| Cluster::start(&Shape::default(), &folder.path().join("lab")).unwrap());
        Self::start_on(folder, engines, 1, environment)
    }

    /// The same in a cluster of two nodes, of which the second one's clock may jump.
    pub(crate) fn start_with_a_clock(shape: &Shape) -> World {
        let folder = tempfile::tempdir().unwrap();
        let engines = Cluster::start(shape, &folder.path().join("lab")).unwrap();
        let clock = Clock::make();
        let environment = clock.environment();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut world = Self::start_on(folder, Some(engines), 2, &environment);
        world.clock = Some(clock);
        world
    }

    /// The same on the engines of a cluster, with so many center nodes.
    pub(crate) fn start_in_a_cluster(shape: &Shape, nodes: u8) -> World {
        let folder = tempfile::tempdir().unwrap();
        let engines = Cluster::start(shape, &folder.path().join("lab")).unwrap();
        Self::start_on(folder, Some(engines), nodes, &[])
    }

    fn start_on(
        folder: tempfile::TempDir,
        engines: Option<Cluster>,
        nodes: u8,
        environment: &[(&str, &str)],
    ) -> World {
        let data = folder.path().join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk"));
        command.args(["up", "--ports", "0", "--customers", "60", "--json", "--data"]).arg(&data);
        if let Some(engines) = &engines {
            command.args(["--profile", "cluster", "--nodes", &nodes.to_string(), "--config"]);
            command.arg(engines.description_path());
        }
        let errors = folder.path().join("up.errors");
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&errors).unwrap());
        let mut up = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("no addresses: {line:?}; {}", std::fs::read_to_string(&errors).unwrap_or_default())
        });
        let text = |name: &str| addresses[name].as_str().unwrap().to_owned();
        let phones = addresses["phones"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned());
        World {
            up,
            engines: engines.map(Mutex::new),
            clock: None,
            portal: text("portal").trim_end_matches('/').to_owned(),
            sim: text("inbox").trim_end_matches("/inbox").to_owned(),
            phones: phones.collect(),
            folder,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A process that runs a role now, found as an operator would.
    pub(crate) fn process_of(&self, role: &str) -> Option<Pid> {
        self.processes_of(role).into_iter().next()
    }

    /// All that run a role now.
    pub(crate) fn processes_of(&self, role: &str) -> Vec<Pid> {
        let parent = self.up.id().to_string();
        let numbers = std::fs::read_dir("/proc").unwrap().flatten();
        let found =
            numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| {
                let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                let stat = String::from_utf8_lossy(&read("stat")).into_owned();
                // After the name, which may hold anything but ends with the last bracket: state, parent.
                let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
                if fields.next().is_none_or(|state| state == "Z") || fields.next() != Some(parent.as_str()) {
                    return false;
                }
                let line = read("cmdline");
                let words: Vec<_> = line.split(|byte| *byte == 0).collect();
                words.windows(2).any(|pair| pair[0] == b"role" && pair[1] == role.as_bytes())
            });
        found.filter_map(Pid::from_raw).collect()
    }

    /// Kills a role's process with SIGKILL; says which it was.
    pub(crate) fn kill(&self, role: &str) -> Option<Pid> {
        let pid = self.process_of(role)?;
        kill_process(pid, Signal::KILL).is_ok().then_some(pid)
    }

    /// `GET` at the center's administration socket.
    pub(crate) async fn admin(&self, path: &str) -> Option<Value> {
        let socket = self.data().join("run/center-admin.sock");
        let answer = gridesk::unix_http::get(&socket, path, Duration::from_secs(10)).await.ok()?;
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
    }

    /// Waits until all that was accepted is applied and visible.
    pub(crate) async fn settled(&self, within: Duration) {
        let wait = async {
            loop {
                let lanes = self.admin("/admin/lanes").await;
                let done =
                    |lane: &Value| lane["tail"] == lane["applied"] && lane["visible"] == lane["applied"];
                if lanes.is_some_and(|lanes| lanes["lanes"].as_array().unwrap().iter().all(done)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(within, wait).await.expect("what was accepted is not applied in time");
    }

    /// Waits until also all that it causes elsewhere is applied and visible.
    pub(crate) async fn carried(&self, within: Duration) {
        let wait = async {
            loop {
                self.settled(within).await;
                if self.outboxes().is_empty() {
                    return self.settled(within).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(within, wait).await.expect("what was caused is not applied in time");
    }

    /// Operations that are still to go to other lanes.
    fn outboxes(&self) -> Vec<(String, String)> {
        let rows = self
            .rows("SELECT '', hex(operation) FROM outbox", "SELECT '', encode(operation, 'hex') FROM outbox");
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The same of any query of two columns, in a cluster.
    pub(crate) fn stored(&self, postgres: &str) -> Vec<(String, String)> {
        self.rows("SELECT '', '' WHERE 0", postgres).into_iter().map(|(_, row)| row).collect()
    }

    /// What a query finds in the shards, with the shard's number. Read beside the center, not through it; in a cluster from
    /// the masters.
    fn rows(&self, sqlite: &str, postgres: &str) -> Vec<(usize, (String, String))> {
        let numbered = |(shard, rows): (usize, Vec<_>)| rows.into_iter().map(move |row| (shard, row));
        let Some(engines) = &self.engines else {
            let shards = std::fs::read_dir(self.data().join("center/shards")).unwrap().flatten();
            let files = shards.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "db"));
            return files.map(|file| rows(&file, sqlite)).enumerate().flat_map(numbered).collect();
        };
        let engines = engines.lock().unwrap();
        let of_shard = |shard: &lab::cluster::Shard| -> Vec<_> {
            let text = shard.master.sql(postgres).unwrap();
            let row = |line: &str| line.split_once('|').map(|(a, b)| (a.to_owned(), b.to_owned()));
            text.lines().filter_map(row).collect()
        };
        engines.shards.iter().map(of_shard).enumerate().flat_map(numbered).collect()
    }

    /// The shard that holds an account.
    pub(crate) fn shard_of(&self, account: &str) -> usize {
        let accounts = self.rows(
            "SELECT printf('%013d', id), '' FROM account",
            "SELECT lpad(CAST(id AS text), 13, '0'), '' FROM account",
        );
        let found = accounts.into_iter().find(|(_, (number, _))| number == account);
        found.expect("an account is in a shard").0
    }

    /// The ledger: its shards' sums, and what came in over the provider's clearing account, in fen.
    pub(crate) async fn ledger(&self) -> (Vec<i64>, i64) {
        let ledger = self.admin("/admin/ledger").await.expect("the center says what is in its ledger");
        let shards = ledger["shards"].as_array().unwrap();
        let sums = shards.iter().map(|shard| shard["sum_fen"].as_i64().unwrap()).collect();
        let paid = shards.iter().map(|s| s["by_code_fen"]["clearing:sim-pay"].as_i64().unwrap_or(0)).sum();
        (sums, paid)
    }

    /// Every payment in the shards: account number and id. Read beside the center, not through it. What a lane that moved has
    /// left in its old shard is waited for to go.
    pub(crate) fn stored_payments(&self) -> Vec<(String, String)> {
        let read = |(_, (account, id)): (usize, (String, String))| {
            let bits = u128::from_str_radix(&id, 16).unwrap();
            (account, PaymentId::from_bits(bits).to_string())
        };
        let begun = Instant::now();
        loop {
            let payments = self.rows(
                "SELECT printf('%013d', account), hex(id) FROM payment",
                "SELECT lpad(CAST(account AS text), 13, '0'), encode(id, 'hex') FROM payment",
            );
            let payments: Vec<_> = payments.into_iter().map(read).collect();
            let ids: HashSet<_> = payments.iter().map(|(_, id)| id).collect();
            if ids.len() == payments.len() {
                return payments;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "payments are in two shards");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every debit the provider took: order and transaction.
    pub(crate) fn debits(&self) -> Vec<(String, String)> {
        rows(&self.data().join("sim/sim.db"), "SELECT order_id, transaction_id FROM debit")
    }

    pub(crate) fn client(&self) -> Client {
        let policy = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(policy).timeout(Duration::from_secs(12));
        Client {
            http: http.build().unwrap(),
            portal: self.portal.clone(),
            sim: self.sim.clone(),
            access: None,
            refresh: None,
            seen: Token::default(),
        }
    }

    /// A client that has logged in with a demonstration phone.
    pub(crate) async fn customer(&self, phone: &str) -> Client {
        let mut client = self.client();
        client.log_in(phone).await;
        client
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.up.kill().ok();
        self.up.wait().ok();
        // The children notice, and end; the folder must not go before them.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(10)
            && std::net::TcpStream::connect(&self.portal[7..]).is_ok()
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn rows(file: &Path, sql: &str) -> Vec<(String, String)> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut query = db.prepare(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A customer's program.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) portal: String,
    pub(crate) sim: String,
    pub(crate) access: Option<String>,
    pub(crate) refresh: Option<String>,
    /// All that it has seen; sent with every request of its own.
    pub(crate) seen: Token,
}

/// What was answered. Status 0: there was no answer.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Said {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn token(&self) -> Token {
        self.header("consistency-token").map(|token| token.parse().unwrap()).unwrap_or_default()
    }

    pub(crate) fn operation(&self) -> Option<&str> {
        self.header("location")?.strip_prefix("/v1/operations/")
    }

    /// Whether the same request should be sent again: nothing came, or a "not now".
    pub(crate) fn is_not_now(&self) -> bool {
        matches!(self.status, 0 | 503 | 504)
    }
}

impl Client {
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.portal))
    }

    /// The same with what its session and its reading so far ask for.
    pub(crate) fn own(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.request(method, path);
        if let Some(access) = &self.access {
            request = request.bearer_auth(access);
        }
        if !self.seen.is_empty() {
            request = request.header("consistency-token", self.seen.to_string());
        }
        request
    }

    pub(crate) async fn get(&mut self, path: &str) -> Said {
        let said = send(self.own(Method::GET, path)).await;
        self.seen.merge(&said.token());
        said
    }

    pub(crate) async fn post(&mut self, path: &str, key: &str, wait_s: u32, body: &Value) -> Said {
        let mut request = self.own(Method::POST, path).header("idempotency-key", key).json(body);
        if wait_s > 0 {
            request = request.header("prefer", format!("wait={wait_s}"));
        }
        let said = send(request).await;
        self.seen.merge(&said.token());
        said
    }

    /// The newest code that came to a phone after what was there before.
    pub(crate) async fn code(&self, phone: &str, after: i64) -> String {
        let url = format!("{}/inbox/messages?to={phone}&after={after}&wait_ms=15000", self.sim);
        let said = send(self.http.get(url).timeout(Duration::from_secs(20))).await;
        let last = said.json["messages"].as_array().and_then(|all| all.last()).unwrap_or(&Value::Null);
        last["code"].as_str().unwrap_or_else(|| panic!("no code for {phone}: {said:?}")).to_owned()
    }

    pub(crate) async fn inbox_end(&self, phone: &str) -> i64 {
        let url = format!("{}/inbox/messages?to={phone}&after=0", self.sim);
        send(self.http.get(url)).await.json["next_after"].as_i64().unwrap()
    }

    pub(crate) async fn log_in(&mut self, phone: &str) -> Said {
        let before = self.inbox_end(phone).await;
        let started = self.post("/v1/login/start", &key("start"), 10, &json!({ "phone": phone })).await;
        assert_eq!(started.status, 200, "{started:?}");
        let code = self.code(phone, before).await;
        let body = json!({ "challenge": started.json["challenge"], "code": code });
        let finished = self.post("/v1/login/finish", &key("finish"), 10, &body).await;
        assert_eq!(finished.status, 200, "{finished:?}");
        let token = |name: &str| finished.json["tokens"][name].as_str().map(str::to_owned);
        (self.access, self.refresh) = (token("access_token"), token("refresh_token"));
        finished
    }

    /// The first account of the list.
    pub(crate) async fn account(&mut self) -> String {
        let said = self.get("/v1/accounts").await;
        said.json["accounts"][0]["account"]
            .as_str()
            .unwrap_or_else(|| panic!("no account: {said:?}"))
            .to_owned()
    }

    /// Has the provider settle an order as `how` says; its answers to the callbacks.
    pub(crate) async fn settle(&self, payment: &str, pay_url: &str, how: Value) -> Said {
        let mut body = how;
        body["url"] = json!(pay_url);
        let url = format!("{}/pay/orders/{payment}/settle", self.sim);
        send(self.http.post(url).timeout(Duration::from_secs(120)).json(&body)).await
    }
}

/// Sends a request; no answer is an answer of status 0.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Said {
    let none = |error: reqwest::Error| Said {
        status: 0,
        headers: HeaderMap::new(),
        text: error.to_string(),
        json: Value::Null,
    };
    match request.send().await {
        Ok(response) => {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            match response.text().await {
                Ok(text) => {
                    Said { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
                }
                Err(error) => none(error),
            }
        }
        Err(error) => none(error),
    }
}

/// A key that nobody else in this process uses.
pub(crate) fn key(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
