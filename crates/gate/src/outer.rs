//! The half in the extranet: takes requests from the edges, passes the allowed ones over the link, and gives what comes
//! outward to the edges.
use std::{
    os::unix::net::UnixListener as StdListener,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use protocol::{
    Code, Problem, RequestEnvelope, Spec,
    catalogue::VERSION,
    envelope::{MAX_REPLY_LEN, MAX_REQUEST_LEN},
    frame::Half,
};
use runtime::{
    background::Background,
    clock::Deadline,
    health::Readiness,
    mux::{Limits, Peer, Plain, Service},
    peers::{Peers, Verdict, check_uid},
    secret::{SecretKey, load_or_create_key},
    shutdown::Shutdown,
    unix::listen,
};
use serde::Deserialize;
use tokio::net::UnixListener;

use crate::{
    DRAIN_WITHIN, GateError, LAST_WORDS, PUSH_WITHIN,
    confine::{self, Confinement, Needs, Sealed},
    counted::{self, InFlight, answer_problem, check_reply, decode_crossing, refuse_request, time_here_ms},
    files::{Relay, RelayConfig},
    from_std, inside,
    link::{self, Side},
    settings::{self, Settings, check_push},
    socket_folder,
};

/// The pause after a connection that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Settings of the outer half.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where edges connect.
    pub edge_socket: PathBuf,
    /// Where the inner half connects.
    pub link: PathBuf,
    /// The 32 bytes that both halves know; made at the first start.
    pub secret_file: PathBuf,
    /// Users, besides this process's own, whom the edges and the inner half may run as.
    #[serde(default)]
    pub allowed_uids: Vec<u32>,
    /// A Unix socket for `/healthz`, `/readyz` and `/metrics`.
    #[serde(default)]
    pub inside: Option<PathBuf>,
    /// Requests under way at once; more are answered `overloaded`.
    #[serde(default = "crate::default_in_flight")]
    pub in_flight: u32,
    /// The file track; without it no files cross.
    #[serde(default)]
    pub files: Option<RelayConfig>,
    /// Whom it becomes when it is started as root: a name of /etc/passwd, `uid` or `uid:gid`.
    #[serde(default)]
    pub user: Option<String>,
    /// How much of its confinement must be had.
    #[serde(default)]
    pub confinement: Confinement,
}

/// An outer half that has all it needs, and no right to more.
pub struct Opened {
    config: Config,
    secret: SecretKey,
    edges: StdListener,
    link: StdListener,
    /// Of the file track: the edges' and the link's.
    files: Option<(StdListener, StdListener)>,
    inside: Option<StdListener>,
    sealed: Sealed,
}

/// Opens what the half needs, and confines this process: before there is a second thread, so before tokio's runtime.
///
/// # Errors
/// [`GateError`]: what keeps it from starting. The process may have lost rights by then; it should end.
pub fn open(config: Config) -> Result<Opened, GateError> {
    let uids = &config.allowed_uids;
    // Root's, where it is started as root: the half's user need not be able to read it again.
    let secret = load_or_create_key(&config.secret_file)?;
    let files = config.files.as_ref();
    let mut own = vec![socket_folder(&config.edge_socket, uids), socket_folder(&config.link, uids)];
    own.extend(
        files
            .into_iter()
            .flat_map(|files| [&files.edge_socket, &files.link])
            .map(|at| socket_folder(at, uids)),
    );
    own.extend(config.inside.as_deref().map(|at| socket_folder(at, &[])));
    confine::become_user(config.confinement, config.user.as_deref(), &own)?;

    let files = match files {
        Some(files) => Some((listen(&files.edge_socket, uids)?, listen(&files.link, uids)?)),
        None => None,
    };
    let (link, edges) = (listen(&config.link, uids)?, listen(&config.edge_socket, uids)?);
    let inside = inside::listen(config.inside.as_deref())?;
    let sealed = confine::seal(config.confinement, &Needs { connects: false, folders: Vec::new() })?;
    Ok(Opened { secret, edges, link, files, inside, sealed, config })
}

impl Opened {
    /// Serves until shutdown; then ends what is open, within [`DRAIN_WITHIN`].
    ///
    /// # Errors
    /// [`GateError`]: what keeps it from serving, or what was lost when it ended.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), GateError> {
        let Opened { config, secret, edges, link, files, inside, sealed } = self;
        let outer = Outer(Arc::new(State {
            link: Peers::default(),
            edges: Peers::default(),
            settings: Settings::new(),
            in_flight: InFlight::new(config.in_flight.max(1)),
            stopping: shutdown.clone(),
            catalogue: AtomicU8::new(VERSION),
        }));
        let limits =
            Limits { calls: config.in_flight.max(1) as usize, served: config.in_flight.max(1) as usize };
        let side = Arc::new(Side { half: Half::Outer, secret, limits });
        let files = match (&config.files, files) {
            (Some(config), Some((edges, link))) => {
                // Messages never wait for a piece of a file to be copied.
                let aside = Background::start("files").map_err(GateError::Threads)?;
                let entered = aside.enter();
                let (link, edges) = (from_std(link)?, from_std(edges)?);
                drop(entered);
                Some((aside, Relay::new(config, shutdown.clone()), link, edges))
            }
            _ => None,
        };
        let (link, edges) = (from_std(link)?, from_std(edges)?);
        inside::serve(inside, readiness(&outer), sealed, &shutdown)?;
        tracing::info!(edges = %config.edge_socket.display(), link = %config.link.display(), "listening");

        outer.0.in_flight.hold(&shutdown);
        let stop = shutdown.token();
        let _aside = files.map(|(aside, relay, link, edges)| {
            let (side, uids) = (Arc::clone(&side), config.allowed_uids.clone());
            let entered = aside.enter();
            tokio::spawn(shutdown.token().run_until_cancelled_owned(async move {
                tokio::join!(relay.accept_links(&link, &side, &uids), relay.accept_edges(&edges, &uids));
            }));
            drop(entered);
            aside
        });
        tokio::select! {
            () = accept_links(&outer, &link, &side, &config.allowed_uids) => {}
            () = accept_edges(&outer, &edges, limits, &config.allowed_uids) => {}
            () = stop.cancelled() => {}
        }
        let drained = shutdown.drain(DRAIN_WITHIN).await;
        tokio::time::sleep(LAST_WORDS).await;
        outer.0.edges.close();
        outer.0.link.close();
        Ok(drained?)
    }
}

fn readiness(outer: &Outer) -> Readiness {
    let readiness = Readiness::new();
    inside::follow(&outer.0.link, readiness.part("link"), "the inner half is not connected");
    readiness
}

/// The newest link wins: an inner half that starts again must not wait for its dead predecessor's socket.
async fn accept_links(outer: &Outer, listener: &UnixListener, side: &Side, uids: &[u32]) {
    loop {
        let started = match link::accept(listener, uids).await {
            Ok(stream) => side.start(stream, FromLink(outer.clone())).await,
            Err(error) => Err(error.into()),
        };
        match started {
            Ok((peer, catalogue)) => {
                // In this order: what is written in one version goes over no link of the other.
                outer.0.link.close();
                outer.0.catalogue.store(catalogue, Ordering::SeqCst);
                outer.0.link.replace(peer);
            }
            Err(error) => {
                counted::refused("link");
                tracing::warn!(%error, "link refused");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

async fn accept_edges(outer: &Outer, listener: &UnixListener, limits: Limits, uids: &[u32]) {
    // An over-long request up to twice the maximum is refused with a code; a longer one closes the connection.
    let decode = Plain { max_payload: 2 * MAX_REQUEST_LEN };
    let encode = Plain { max_payload: MAX_REPLY_LEN };
    loop {
        let accepted =
            listener.accept().await.and_then(|(stream, _)| check_uid(&stream, uids).map(|()| stream));
        match accepted {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                let (peer, _) =
                    Peer::start(reader, writer, (decode, encode), limits, FromEdge(outer.clone()));
                // An edge says no version: one that knows of less does not take it, see there.
                outer.0.settings.tell(peer.clone(), VERSION);
                outer.0.edges.add(peer);
            }
            Err(error) => {
                counted::refused("edge");
                tracing::warn!(%error, "edge refused");
                // Out of file descriptors, say: not at once again.
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

#[derive(Clone)]
struct Outer(Arc<State>);

struct State {
    link: Peers,
    edges: Peers,
    settings: Settings,
    in_flight: InFlight,
    stopping: Shutdown,
    /// The catalogue's version that the halves settled on.
    catalogue: AtomicU8,
}

/// What edges send.
#[derive(Clone)]
struct FromEdge(Outer);

impl Service for FromEdge {
    async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        Some(match decode_crossing(&payload) {
            Ok((envelope, asked)) => self.0.cross(envelope, &asked).await,
            Err(refusal) => refuse_request(&payload, &refusal),
        })
    }

    /// Nothing is pushed inward.
    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        counted::refused("push_inward");
        None
    }
}

impl Outer {
    /// Asks the inner half in the version that it reads, and answers in that of `asked`.
    async fn cross(&self, mut envelope: RequestEnvelope, asked: &Spec) -> Vec<u8> {
        let (request_id, spec) = (envelope.head.request_id, envelope.request.spec());
        let problem = |code, detail: &str| answer_problem(request_id, Problem::new(code, detail));
        if self.0.stopping.is_begun() {
            return problem(Code::GateUnavailable, "This gate is stopping. Nothing was done.");
        }
        let Some(_open) = self.0.in_flight.enter() else {
            counted::refused("overloaded");
            return problem(Code::Overloaded, "Too much passes the gate at once. Nothing was done.");
        };
        tracing::debug!(request_id = %counted::name(request_id), operation = spec.name, "crossing");
        counted::passed("inward");
        let deadline = Deadline::from_remaining_ms(time_here_ms(envelope.head.deadline_ms));
        let sent_in = AtomicU8::new(VERSION);
        let answered = self.0.link.ask(
            deadline,
            |left_ms| {
                envelope.head.deadline_ms =
                    u32::try_from(left_ms).unwrap_or(u32::MAX).min(envelope.head.deadline_ms);
                let catalogue = self.0.catalogue.load(Ordering::SeqCst);
                sent_in.store(catalogue, Ordering::SeqCst);
                envelope.encode_as(&spec.in_catalogue(catalogue))
            },
            |bytes| {
                let sent = spec.in_catalogue(sent_in.load(Ordering::SeqCst));
                Verdict::Taken(check_reply(&bytes, request_id, &sent))
            },
        );
        let away = "The gate is closed for the moment. Nothing was done.";
        counted::answer(answered.await, request_id, asked, Problem::new(Code::GateUnavailable, away))
    }

    /// Gives a push to an edge that takes it; the others are tried where the first does not.
    async fn deliver(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let (push, bytes) = match check_push(payload) {
            Ok(checked) => checked,
            Err(refusal) => {
                counted::refused(refusal.reason());
                tracing::error!(%refusal, "push refused");
                return None;
            }
        };
        counted::passed("outward");
        if self.0.settings.keep(push.clone(), bytes.clone()) {
            return Some(settings::ack(&push));
        }
        for edge in self.0.edges.by_load() {
            match edge.push(bytes.clone(), PUSH_WITHIN).await {
                Ok(answer) if settings::is_ack(&answer, &push) => return Some(settings::ack(&push)),
                Ok(_) => counted::refused("wrong_ack"),
                Err(error) => tracing::warn!(push = %push.id, %error, "an edge did not take a push"),
            }
        }
        tracing::warn!(push = %push.id, "no edge took a push; the center sends it again");
        None
    }
}

/// What the inner half sends. (Its codec lets no request through.)
#[derive(Clone)]
struct FromLink(Outer);

impl Service for FromLink {
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }

    async fn push(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        self.0.deliver(&payload).await
    }
}
