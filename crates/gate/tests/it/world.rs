//! A gate of both halves in this process, a center that answers, and an edge that asks.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::SigningKey;
use gate::files::{ReceiveConfig, RelayConfig};
use protocol::{
    AccountId, Bucket, Channel, Code, FileId, OperationId, Outcome, PushId, Reply, ReplyEnvelope, Request,
    RequestEnvelope, Token,
    catalogue::{replies, requests},
    envelope::{Language, MAX_REPLY_LEN, RequestHead},
    file::Receipt,
    push::{EdgeSettings, Push, PushAck, PushBody},
    wire,
};
use runtime::{
    clock::Deadline,
    mux::{Limits, Peer, Plain, Service},
    peers::Peers,
    shutdown::Shutdown,
};
use tokio::{sync::mpsc, task::JoinHandle};

pub(crate) const PLAIN: Plain = Plain { max_payload: MAX_REPLY_LEN };
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The sockets of a gate, and the halves that run on them.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) outer: Half,
    pub(crate) inner: Half,
}

pub(crate) struct Half {
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<Result<(), gate::GateError>>,
}

impl Half {
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

pub(crate) fn start_outer(folder: &Path) -> Half {
    start_outer_with(folder, relay_config(folder))
}

pub(crate) fn start_outer_with(folder: &Path, files: RelayConfig) -> Half {
    let shutdown = Shutdown::new();
    let config = gate::outer::Config {
        edge_socket: path(folder, "edge.sock"),
        link: path(folder, "link.sock"),
        secret_file: path(folder, "link.key"),
        allowed_uids: vec![],
        inside: Some(path(folder, "outer.sock")),
        in_flight: 2048,
        files: Some(files),
        user: None,
        // Both halves and the test are one process.
        confinement: gate::confine::Confinement::Off,
    };
    let stop = shutdown.clone();
    Half { task: tokio::spawn(async { gate::outer::open(config)?.serve(stop).await }), shutdown }
}

pub(crate) fn relay_config(folder: &Path) -> RelayConfig {
    RelayConfig {
        edge_socket: path(folder, "edge-files.sock"),
        link: path(folder, "files-link.sock"),
        connections: 64,
        wait_s: 5,
        patience_s: 20,
    }
}

pub(crate) fn receive_config(folder: &Path) -> ReceiveConfig {
    let outward = path(folder, "outward");
    std::fs::create_dir_all(&outward).unwrap();
    ReceiveConfig {
        outward: Some(outward),
        outward_connections: 2,
        link: path(folder, "files-link.sock"),
        quarantine: path(folder, "quarantine"),
        store: path(folder, "store"),
        connections: 4,
        max_file_bytes: 1 << 30,
        // Any bytes are files here; whole systems are tried with it on.
        inspect: false,
        rules: Default::default(),
        keep_free_bytes: 1 << 20,
        patience_s: 25,
    }
}

pub(crate) fn start_inner(folder: &Path) -> Half {
    start_inner_at(folder, "link.sock")
}

pub(crate) fn start_inner_at(folder: &Path, link: &str) -> Half {
    start_inner_with(folder, link, receive_config(folder))
}

pub(crate) fn start_inner_with(folder: &Path, link: &str, files: ReceiveConfig) -> Half {
    let shutdown = Shutdown::new();
    let config = gate::inner::Config {
        link: path(folder, link),
        secret_file: path(folder, "link.key"),
        centers: vec![path(folder, "center-0.sock"), path(folder, "center-1.sock")],
        allowed_uids: vec![],
        inside: Some(path(folder, "inner.sock")),
        in_flight: 2048,
        files: Some(files),
        user: None,
        // Both halves and the test are one process.
        confinement: gate::confine::Confinement::Off,
    };
    let stop = shutdown.clone();
    Half { task: tokio::spawn(async { gate::inner::open(config)?.serve(stop).await }), shutdown }
}

impl World {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        World { outer: start_outer(folder.path()), inner: start_inner(folder.path()), folder }
    }

    /// A gate whose file track is set otherwise.
    pub(crate) fn start_with(set: impl FnOnce(&mut RelayConfig, &mut ReceiveConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut relay, mut receive) = (relay_config(folder.path()), receive_config(folder.path()));
        set(&mut relay, &mut receive);
        World {
            outer: start_outer_with(folder.path(), relay),
            inner: start_inner_with(folder.path(), "link.sock", receive),
            folder,
        }
    }

    /// A gate whose inner half finds the link at `cable.sock`, which the test plays.
    pub(crate) fn start_with_cable() -> Self {
        let folder = tempfile::tempdir().unwrap();
        World {
            outer: start_outer(folder.path()),
            inner: start_inner_at(folder.path(), "cable.sock"),
            folder,
        }
    }

    pub(crate) fn center(&self, number: usize) -> Center {
        Center::start(&path(self.folder.path(), &format!("center-{number}.sock")))
    }

    /// An edge that is connected.
    pub(crate) async fn edge(&self) -> Edge {
        self.edge_that(false).await
    }

    /// One of the version before, which takes no push that it does not know.
    pub(crate) async fn edge_before(&self) -> Edge {
        self.edge_that(true).await
    }

    async fn edge_that(&self, is_before: bool) -> Edge {
        let (pushed, pushes) = mpsc::channel(64);
        let peers = Peers::default();
        let (mine, socket) = (peers.clone(), path(self.folder.path(), "edge.sock"));
        let stop = Shutdown::new();
        let token = stop.token();
        let service = EdgePushes { pushed, is_before };
        tokio::spawn(async move {
            mine.keep_connected(&socket, &[], PLAIN, Limits { calls: 4096, served: 64 }, service, token)
                .await;
        });
        peers.ready().await;
        Edge { peers, pushes, _stop: stop }
    }
}

/// What a played center does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers an account list with as many accounts as it has answered requests before.
    Answers,
    /// Says nothing.
    Silent,
    /// Answers with what belongs to another operation.
    Wrong,
    /// Answers under another request's id.
    Foreign,
    /// Answers with bytes that are nothing.
    Garbage,
    /// Answers how a write stands with a result that nests as deep as a reply has room for.
    Deep,
    /// Closes the connection.
    Dies,
    /// Takes it, and has not done it yet.
    Accepts,
    /// Says this problem.
    Problem(Code),
}

#[derive(Clone)]
pub(crate) struct Center {
    pub(crate) mood: Arc<Mutex<Mood>>,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) seen: Arc<Mutex<Vec<RequestEnvelope>>>,
    pub(crate) attached: Arc<Mutex<BTreeMap<FileId, Receipt>>>,
    pub(crate) peers: Peers,
    stop: Shutdown,
}

impl Center {
    pub(crate) fn start(path: &Path) -> Self {
        let center = Center {
            mood: Arc::new(Mutex::new(Mood::Answers)),
            asked: Arc::default(),
            seen: Arc::default(),
            attached: Arc::default(),
            peers: Peers::default(),
            stop: Shutdown::new(),
        };
        let listener = runtime::unix::bind(path).unwrap();
        let accepting = center.clone();
        let stop = center.stop.token();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (reader, writer) = stream.into_split();
                let service = accepting.clone();
                let (peer, _) = Peer::start(reader, writer, (PLAIN, PLAIN), Limits::default(), service);
                accepting.peers.add(peer);
            }
        }));
        center
    }

    /// As if the process had been killed.
    pub(crate) fn kill(&self) {
        self.stop.begin();
        self.peers.close();
    }

    pub(crate) fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Tells the inner half with which key it signs.
    pub(crate) async fn pushes_keys(&self) {
        until(|| !self.peers.by_load().is_empty()).await;
        let keys = vec![(1, center_key().verifying_key().to_bytes())];
        let body = PushBody::Settings(EdgeSettings { session_keys: keys });
        let push = Push { id: PushId::mint(Bucket::FIRST, 1 << 12), body };
        let peer = self.peers.by_load()[0].clone();
        peer.push(wire::encode(&push), LONG).await.unwrap();
    }
}

impl Center {
    /// Attaches a file once; another file under the same id is a fault of the gate's.
    fn attach(&self, asked: &requests::FileAttach) -> Reply {
        let size = u64::from(asked.size);
        let mut attached = self.attached.lock().unwrap();
        let next_ms = attached.len() as u64 + 1;
        let receipt = attached
            .entry(asked.file)
            .or_insert_with(|| Receipt::sign((1, &center_key()), (asked.file, size, asked.root), next_ms));
        assert_eq!((receipt.size, receipt.root), (size, asked.root), "another file under the same id");
        Reply::FileAttach(replies::FileAttach { receipt: receipt.clone() })
    }
}

/// The key with which a played center signs receipts.
pub(crate) fn center_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

impl Service for Center {
    async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let request = RequestEnvelope::decode(&payload).unwrap();
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut request_id = request.head.request_id;
        self.seen.lock().unwrap().push(request.clone());
        let mood = *self.mood.lock().unwrap();
        let done = match mood {
            Mood::Answers => match request.request {
                Request::FileAttach(asked) => self.attach(&asked),
                _ => accounts(),
            },
            Mood::Accepts => {
                let outcome = Outcome::Accepted(OperationId::from_bits(1));
                return Some(wire::encode(&ReplyEnvelope { request_id, outcome, token: Token::default() }));
            }
            Mood::Problem(code) => {
                let problem = protocol::Problem::new(code, "As it is.");
                return Some(wire::encode(&ReplyEnvelope::problem(request_id, problem)));
            }
            Mood::Foreign => {
                request_id = [0xee; 16];
                accounts()
            }
            Mood::Wrong => Reply::SessionEnd(replies::SessionEnd {}),
            Mood::Deep => return Some(deep(request_id)),
            Mood::Garbage => return Some(vec![0xff; 100]),
            Mood::Silent => return None,
            Mood::Dies => {
                self.peers.close();
                return None;
            }
        };
        Some(wire::encode(&ReplyEnvelope {
            request_id,
            outcome: Outcome::Done(done),
            token: Token::default(),
        }))
    }

    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

fn deep(request_id: [u8; 16]) -> Vec<u8> {
    let level = |result| {
        Reply::OperationGet(replies::OperationGet {
            operation: OperationId::from_bits(1),
            name: String::new(),
            state: replies::OperationState::Applied,
            problem: None,
            result,
            accepted_ms: 0,
        })
    };
    let encoded = |result| {
        let outcome = Outcome::Done(level(result));
        wire::encode(&ReplyEnvelope { request_id, outcome, token: Token::default() })
    };
    // One level's bytes, put into one another by hand: a value that deep could not even be dropped.
    let (flat, once) = (encoded(None), encoded(Some(Box::new(level(None)))));
    let at = flat.iter().zip(&once).position(|(a, b)| a != b).unwrap();
    let step = once.len() - flat.len();
    let inside = &once[at..at + step - 1];
    let nested = |depth| {
        [&flat[..at], &inside.repeat(depth), &flat[at..=at], &vec![0; depth], &flat[at + 1..]].concat()
    };
    assert_eq!(nested(1), once);
    nested((MAX_REPLY_LEN - flat.len()) / step)
}

fn accounts() -> Reply {
    let account = replies::BoundAccount { account: AccountId::mint(33, 7).unwrap(), bound_ms: 1 };
    Reply::AccountList(replies::AccountList { accounts: vec![account] })
}

#[derive(Clone)]
struct EdgePushes {
    pushed: mpsc::Sender<Push>,
    is_before: bool,
}

impl Service for EdgePushes {
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }

    async fn push(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let push: Push = wire::decode_exact(&payload).unwrap();
        if self.is_before && push.body.since() > 1 {
            return None;
        }
        let ack = wire::encode(&PushAck { id: push.id });
        self.pushed.send(push).await.ok()?;
        Some(ack)
    }
}

/// A played edge.
pub(crate) struct Edge {
    pub(crate) peers: Peers,
    pub(crate) pushes: mpsc::Receiver<Push>,
    _stop: Shutdown,
}

impl Edge {
    pub(crate) async fn ask(&self, envelope: &RequestEnvelope) -> ReplyEnvelope {
        let bytes = self.raw(envelope.encode()).await;
        ReplyEnvelope::decode_for(&bytes, envelope.request.spec()).unwrap()
    }

    pub(crate) async fn raw(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.peers.request(Deadline::after(LONG), |_| bytes.clone()).await.unwrap()
    }
}

pub(crate) fn envelope(number: u128, deadline_ms: u32, request: impl Into<Request>) -> RequestEnvelope {
    RequestEnvelope {
        head: RequestHead {
            request_id: number.to_be_bytes(),
            trace_id: [1; 16],
            span_id: [2; 8],
            deadline_ms,
            channel: Channel::Portal,
            client: "portal".parse().unwrap(),
            language: Language::Zh,
            session: None,
            idempotency_key: None,
            wait_ms: 0,
            token: Token::default(),
            strict: false,
        },
        request: request.into(),
    }
}

pub(crate) fn account_list(number: u128) -> RequestEnvelope {
    envelope(number, 20_000, requests::AccountList {})
}

pub(crate) fn code_of(reply: &ReplyEnvelope) -> Option<&'static str> {
    match &reply.outcome {
        Outcome::Problem(problem) => Some(problem.code.as_str()),
        _ => None,
    }
}

pub(crate) fn is_done(reply: &ReplyEnvelope) -> bool {
    matches!(reply.outcome, Outcome::Done(_))
}

/// Waits for what no event tells, at most [`LONG`].
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("never came true");
}
