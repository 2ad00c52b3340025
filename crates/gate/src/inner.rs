//! The half in the intranet: checks again what comes over the link, asks a node of the center by a request of its own,
//! and passes pushes outward.
use std::{os::unix::net::UnixListener as StdListener, path::PathBuf, sync::Arc};

use protocol::{
    Code, Outcome, Problem, Reply, ReplyEnvelope, Request, RequestEnvelope, Spec, Token, catalogue::replies,
    envelope::MAX_REPLY_LEN, frame::Half,
};
use runtime::{
    background::Background,
    clock::Deadline,
    health::Readiness,
    mux::{Limits, Plain, Service},
    peers::{Peers, Verdict, keep},
    secret::{SecretKey, load_or_create_key},
    shutdown::Shutdown,
    telemetry::TraceContext,
};
use serde::Deserialize;

use crate::{
    DRAIN_WITHIN, GateError, LAST_WORDS, PUSH_WITHIN,
    confine::{self, Confinement, Needs, Sealed},
    counted::{self, InFlight, answer_problem, check_reply, decode_crossing, refuse_request, time_here_ms},
    files::{Folders, ReceiveConfig, Receiver},
    inside,
    link::{self, Side},
    settings::{self, Settings, check_push},
    socket_folder,
};

/// Settings of the inner half.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the outer half listens.
    pub link: PathBuf,
    /// The 32 bytes that both halves know; made at the first start.
    pub secret_file: PathBuf,
    /// The sockets of the center's nodes.
    pub centers: Vec<PathBuf>,
    /// Users, besides this process's own, whom the center's nodes and the outer half may run as.
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
    pub files: Option<ReceiveConfig>,
    /// Whom it becomes when it is started as root: a name of /etc/passwd, `uid` or `uid:gid`.
    #[serde(default)]
    pub user: Option<String>,
    /// How much of its confinement must be had.
    #[serde(default)]
    pub confinement: Confinement,
}

/// An inner half that has all it needs, and no right to more.
pub struct Opened {
    config: Config,
    secret: SecretKey,
    files: Option<Folders>,
    inside: Option<StdListener>,
    sealed: Sealed,
}

/// Opens what the half needs, and confines this process: before there is a second thread, so before tokio's runtime.
///
/// # Errors
/// [`GateError`]: what keeps it from starting. The process may have lost rights by then; it should end.
pub fn open(config: Config) -> Result<Opened, GateError> {
    if config.centers.is_empty() {
        return Err(GateError::Settings("centers is empty: name the socket of at least one node"));
    }
    // Root's, where it is started as root: the half's user need not be able to read it again.
    let secret = load_or_create_key(&config.secret_file)?;
    let files = config.files.as_ref();
    let mut own: Vec<_> = files.into_iter().flat_map(ReceiveConfig::own).collect();
    own.extend(config.inside.as_deref().map(|at| socket_folder(at, &[])));
    confine::become_user(config.confinement, config.user.as_deref(), &own)?;

    let opened = files.map(Folders::open).transpose()?;
    let inside = inside::listen(config.inside.as_deref())?;
    let folders = files.into_iter().flat_map(ReceiveConfig::uses).collect();
    let sealed = confine::seal(config.confinement, &Needs { connects: true, folders })?;
    Ok(Opened { secret, files: opened, inside, sealed, config })
}

impl Opened {
    /// Serves until shutdown; then ends what is open, within [`DRAIN_WITHIN`].
    ///
    /// # Errors
    /// [`GateError`]: what keeps it from serving, or what was lost when it ended.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), GateError> {
        let Opened { config, secret, files, inside, sealed } = self;
        let inner = Inner(Arc::new(State {
            link: Peers::default(),
            centers: Peers::default(),
            settings: Settings::new(),
            in_flight: InFlight::new(config.in_flight.max(1)),
            stopping: shutdown.clone(),
        }));
        let limits =
            Limits { calls: config.in_flight.max(1) as usize, served: config.in_flight.max(1) as usize };
        let side = Arc::new(Side { half: Half::Inner, secret, limits });
        inside::serve(inside, readiness(&inner), sealed, &shutdown)?;
        tracing::info!(link = %config.link.display(), centers = config.centers.len(), "serving");

        inner.0.in_flight.hold(&shutdown);
        // The center must stay within reach while open requests end: its connections outlive the shutdown's beginning.
        let last = tokio_util::sync::CancellationToken::new();
        for center in config.centers {
            let (inner, uids, last) = (inner.clone(), config.allowed_uids.clone(), last.clone());
            tokio::spawn(async move {
                let codec = Plain { max_payload: MAX_REPLY_LEN };
                let centers = inner.0.centers.clone();
                centers.keep_connected(&center, &uids, codec, limits, FromCenter(inner), last).await;
            });
        }
        let _aside = match (files, &config.files) {
            (Some(folders), Some(files)) => {
                // Messages never wait for a piece of a file to be verified and written.
                let aside = Background::start("files").map_err(GateError::Threads)?;
                let of_center = (inner.0.centers.clone(), inner.0.settings.clone());
                let receiver = Receiver::new(files, folders, of_center, shutdown.clone());
                let entered = aside.enter();
                receiver.start(files, &side, &config.allowed_uids);
                drop(entered);
                Some(aside)
            }
            _ => None,
        };
        let connect = || async {
            let stream = link::connect(&config.link, &config.allowed_uids).await?;
            let (peer, catalogue) =
                side.start(stream, FromLink(inner.clone())).await.map_err(std::io::Error::other)?;
            inner.0.settings.tell(peer.clone(), catalogue);
            inner.0.link.replace(peer.clone());
            Ok(peer)
        };
        keep(&config.link, shutdown.token(), connect).await;
        let drained = shutdown.drain(DRAIN_WITHIN).await;
        tokio::time::sleep(LAST_WORDS).await;
        last.cancel();
        inner.0.link.close();
        inner.0.centers.close();
        Ok(drained?)
    }
}

fn readiness(inner: &Inner) -> Readiness {
    let readiness = Readiness::new();
    inside::follow(&inner.0.link, readiness.part("link"), "the outer half is not connected");
    inside::follow(&inner.0.centers, readiness.part("center"), "no node of the center is connected");
    readiness
}

#[derive(Clone)]
struct Inner(Arc<State>);

struct State {
    link: Peers,
    centers: Peers,
    settings: Settings,
    in_flight: InFlight,
    stopping: Shutdown,
}

/// What the outer half sends. (Its codec lets no push through.)
#[derive(Clone)]
struct FromLink(Inner);

impl Service for FromLink {
    async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        Some(match decode_crossing(&payload) {
            Ok((envelope, asked)) => self.0.ask(envelope, &asked).await,
            Err(refusal) => refuse_request(&payload, &refusal),
        })
    }

    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

impl Inner {
    /// Asks the center, and answers in the version of `asked`.
    async fn ask(&self, envelope: RequestEnvelope, asked: &Spec) -> Vec<u8> {
        let RequestEnvelope { head, request } = envelope;
        let (request_id, spec) = (head.request_id, request.spec());
        let problem = |code, detail: &str| answer_problem(request_id, Problem::new(code, detail));
        let request = match request {
            Request::GateProbe(probe) => {
                counted::passed("outward");
                let reaches_center = Some(self.0.centers.connected() > 0);
                let echo = Reply::GateProbe(replies::GateProbe { payload: probe.payload, reaches_center });
                let (outcome, token) = (Outcome::Done(echo), Token::default());
                return ReplyEnvelope { request_id, outcome, token }.encode_for(asked);
            }
            request => request,
        };
        if self.0.stopping.is_begun() {
            return problem(Code::GateUnavailable, "This gate is stopping. Nothing was done.");
        }
        let Some(_open) = self.0.in_flight.enter() else {
            counted::refused("overloaded");
            return problem(Code::Overloaded, "Too much passes the gate at once. Nothing was done.");
        };
        counted::passed("inward");
        tracing::debug!(request_id = %counted::name(request_id), operation = spec.name, "asking the center");

        // A new request, written here; the old one's span is its parent.
        let deadline = Deadline::from_remaining_ms(time_here_ms(head.deadline_ms));
        let mut new = RequestEnvelope { head, request };
        new.head.span_id = TraceContext::random().span_id.to_be_bytes();
        let answered = self.0.centers.ask(
            deadline,
            |left_ms| {
                new.head.deadline_ms = u32::try_from(left_ms).unwrap_or(u32::MAX).min(new.head.deadline_ms);
                new.encode()
            },
            |bytes| Verdict::Taken(check_reply(&bytes, request_id, spec)),
        );
        let away = "The service center is away for the moment. Nothing was done.";
        counted::answer(answered.await, request_id, asked, Problem::new(Code::Unavailable, away))
    }
}

/// What the center sends by itself.
#[derive(Clone)]
struct FromCenter(Inner);

impl Service for FromCenter {
    /// The center asks nothing.
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        counted::refused("request_outward");
        None
    }

    async fn push(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let (push, bytes) = match check_push(&payload) {
            Ok(checked) => checked,
            Err(refusal) => {
                counted::refused(refusal.reason());
                tracing::error!(%refusal, "push refused");
                return None;
            }
        };
        counted::passed("outward");
        if self.0.0.settings.keep(push.clone(), bytes.clone()) {
            return Some(settings::ack(&push));
        }
        let link = self.0.0.link.by_load().into_iter().next()?;
        match link.push(bytes, 2 * PUSH_WITHIN).await {
            Ok(answer) if settings::is_ack(&answer, &push) => Some(settings::ack(&push)),
            Ok(_) => {
                counted::refused("wrong_ack");
                None
            }
            Err(error) => {
                tracing::warn!(push = %push.id, %error, "push not taken; the center sends it again");
                None
            }
        }
    }
}
