//! An edge on a free port, and the outer half of a gate that answers as it is told.
use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use edge::{
    Edge, EdgeError,
    config::{Config, FileSettings, Limits, ProviderConfig, Sms},
    gates::MESSAGES,
};
use protocol::{
    Code, LaneId, Outcome, Position, Problem, Reply, ReplyEnvelope, RequestEnvelope, Token,
    catalogue::replies::{self, RequestKind},
    envelope::MAX_REPLY_LEN,
    push::{Push, PushAck},
    wire,
};
use runtime::{
    mux::{CallError, Peer, Plain, Service},
    peers::Peers,
    shutdown::Shutdown,
};
use serde_json::Value;
use tokio::{net::UnixStream, sync::Semaphore, task::JoinHandle};

pub(crate) const LONG: Duration = Duration::from_secs(20);
const PLAIN: Plain = Plain { max_payload: MAX_REPLY_LEN };

/// The played outer half.
#[derive(Clone)]
pub(crate) struct Gate {
    /// What the next requests are answered; when there is none, a request gets [`Gate::usual`].
    pub(crate) next: Arc<Mutex<VecDeque<Outcome>>>,
    pub(crate) seen: Arc<Mutex<Vec<RequestEnvelope>>>,
    /// A permit for each request that may be answered.
    pub(crate) may: Arc<Semaphore>,
    pub(crate) peers: Peers,
    /// What every request is said to be that somebody wants to send a file with. The question is not among [`Gate::seen`].
    pub(crate) form: Arc<Mutex<replies::RequestForm>>,
    form_refused: Arc<Mutex<Option<Outcome>>>,
    stop: Shutdown,
}

/// Takes in what connects to a socket until `stop`.
pub(crate) fn accept(path: &Path, stop: &Shutdown, mut take: impl FnMut(UnixStream) + Send + 'static) {
    let listener = runtime::unix::bind(path).unwrap();
    tokio::spawn(stop.token().run_until_cancelled_owned(async move {
        loop {
            take(listener.accept().await.unwrap().0);
        }
    }));
}

impl Gate {
    pub(crate) fn start(path: &Path) -> Self {
        let gate = Gate {
            next: Arc::default(),
            seen: Arc::default(),
            may: Arc::new(Semaphore::new(1_000_000)),
            peers: Peers::default(),
            form: Arc::new(Mutex::new(replies::RequestForm {
                kind: RequestKind::Consult,
                form: Some("billing-question".parse().unwrap()),
                files: vec![],
            })),
            form_refused: Arc::default(),
            stop: Shutdown::new(),
        };
        let accepting = gate.clone();
        accept(path, &gate.stop, move |stream| {
            let (reader, writer) = stream.into_split();
            let (peer, _) =
                Peer::start(reader, writer, (PLAIN, PLAIN), Default::default(), accepting.clone());
            accepting.peers.add(peer);
        });
        gate
    }

    pub(crate) fn kill(&self) {
        self.stop.begin();
        self.peers.close();
    }

    pub(crate) fn answers(&self, outcome: Outcome) {
        self.next.lock().unwrap().push_back(outcome);
    }

    /// What a request is, is not said the next time.
    pub(crate) fn refuses_form(&self, outcome: Outcome) {
        *self.form_refused.lock().unwrap() = Some(outcome);
    }

    pub(crate) fn last(&self) -> RequestEnvelope {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) async fn push(&self, push: &Push, within: Duration) -> Result<PushAck, CallError> {
        let peer = self.peers.by_load().into_iter().next().ok_or(CallError::Closed)?;
        peer.push(wire::encode(push), within).await.map(|bytes| wire::decode_exact(&bytes).unwrap())
    }

    fn usual(request: &protocol::Request) -> Outcome {
        use protocol::Request as R;
        Outcome::Done(match request {
            R::GateProbe(probe) => Reply::GateProbe(replies::GateProbe {
                payload: probe.payload.clone(),
                reaches_center: Some(true),
            }),
            R::AccountList(_) => Reply::AccountList(replies::AccountList { accounts: vec![] }),
            R::SessionEnd(_) => Reply::SessionEnd(replies::SessionEnd {}),
            R::PaymentList(_) => {
                Reply::PaymentList(replies::PaymentList { payments: vec![], next_before: None })
            }
            R::PushResult(_) => Reply::PushResult(replies::PushResult {}),
            R::BillList(_) => Reply::BillList(replies::BillList { bills: vec![], next_before: None }),
            _ => return Outcome::Problem(Problem::not_found("answer in this test")),
        })
    }
}

pub(crate) fn token() -> Token {
    Token::at(Position { lane: LaneId(3), generation: 1, sequence: 9 })
}

impl Service for Gate {
    async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let asked = RequestEnvelope::decode(&payload).unwrap();
        let request_id = asked.head.request_id;
        // Asked for before each file; the tests' answers are to the questions after it.
        if matches!(asked.request, protocol::Request::RequestForm(_)) {
            let refused = self.form_refused.lock().unwrap().take();
            let form = || Outcome::Done(Reply::RequestForm(self.form.lock().unwrap().clone()));
            let outcome = refused.unwrap_or_else(form);
            return Some(wire::encode(&ReplyEnvelope { request_id, outcome, token: token() }));
        }
        self.seen.lock().unwrap().push(asked.clone());
        self.may.acquire().await.unwrap().forget();
        let outcome = self.next.lock().unwrap().pop_front().unwrap_or_else(|| Gate::usual(&asked.request));
        Some(wire::encode(&ReplyEnvelope { request_id, outcome, token: token() }))
    }

    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) gate: Gate,
    pub(crate) address: SocketAddr,
    pub(crate) files: edge::Files,
    pub(crate) client: reqwest::Client,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<Result<(), EdgeError>>,
}

pub(crate) fn gate_path(folder: &Path) -> PathBuf {
    folder.join("gates/1").join(MESSAGES)
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default(), "http://127.0.0.1:9").await
    }

    pub(crate) async fn start_with(limits: Limits, sms_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gate = Gate::start(&gate_path(folder.path()));
        Self::on(folder, gate, limits, sms_url).await
    }

    pub(crate) async fn on(folder: tempfile::TempDir, gate: Gate, limits: Limits, sms_url: &str) -> Self {
        Self::with_files(folder, gate, (limits, FileSettings::default()), sms_url).await
    }

    pub(crate) async fn with_files(
        folder: tempfile::TempDir,
        gate: Gate,
        (limits, files): (Limits, FileSettings),
        sms_url: &str,
    ) -> Self {
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            public_url: "http://edge.test".into(),
            data: folder.path().join("data"),
            gates: folder.path().join("gates"),
            allowed_uids: vec![],
            hotline: protocol::bounds::Text::new("95598").unwrap(),
            sms: Sms::Sim { url: sms_url.into() },
            providers: [(
                "sim-pay".parse().unwrap(),
                ProviderConfig { instructions_url: format!("{sms_url}/instructions") },
            )]
            .into(),
            inside: None,
            limits,
            files,
        };
        let shutdown = Shutdown::new();
        let edge = Edge::start(config, shutdown.clone()).await.unwrap();
        let (address, files) = (edge.address(), edge.files().clone());
        let task = tokio::spawn(edge.serve());
        gate.peers.ready().await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let world = World { folder, gate, address, files, client, shutdown, task };
        // The gate sees the connection before the edge does.
        while world.get("/readyz").send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
        world
    }

    /// Ends the edge in order; what is left can start another one.
    pub(crate) async fn stop(self) -> (tempfile::TempDir, Gate) {
        self.shutdown.begin();
        drop(self.client);
        self.task.await.unwrap().unwrap();
        (self.folder, self.gate)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A write with a key.
    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).header("idempotency-key", "k1").json(body)
    }
}

/// Checks all that a problem must have.
pub(crate) async fn problem(response: reqwest::Response, code: Code) -> Value {
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(response.status().as_u16(), code.status());
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code.as_str(), "{body}");
    assert_eq!((&body["status"], &body["title"]), (&code.status().into(), &code.title().into()));
    assert_eq!(body["type"], format!("urn:gridesk:problem:{}", code.as_str()));
    assert_eq!(body["request_id"], headers["request-id"].to_str().unwrap());
    match body["retry_after_s"].as_u64() {
        Some(seconds) => assert_eq!(headers["retry-after"], seconds.to_string().as_str()),
        None => assert!(!headers.contains_key("retry-after")),
    }
    body
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
