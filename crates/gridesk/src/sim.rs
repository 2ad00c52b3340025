//! The simulated outside world (样例): what a newcomer, the tour and the tests need of it and cannot have for real.
//!
//! * A **message inbox** instead of a telephone network: the edge posts short messages to it, people read them on a page.
//! * A **payment provider** instead of a bank, that behaves, and misbehaves on demand, as providers do.
//!
//! It stands outside of every zone: it has a port and a small data folder of its own, shares nothing with the system
//! but the merchant's secret, and is never part of a production host.
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, header},
    middleware,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use runtime::{
    config::TimeSpan,
    lock::{FolderLock, LockError},
    secret::{SecretError, SecretKey, load_key},
    shutdown::Shutdown,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch};

mod callbacks;
mod inbox;
mod instructions;
mod mandates;
mod misbehave;
mod pay;
mod store;

use store::{Store, StoreError};

/// The provider's name: the `provider` of a payment, and the last part of its callback's address.
pub const PROVIDER: &str = "sim-pay";

/// No request body is longer than this, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// Settings of the simulated outside world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// Its data folder; locked while it runs.
    pub folder: PathBuf,
    /// The file with the secret it shares with the center, 32 bytes.
    pub merchant_key: PathBuf,
    /// The merchant's name on the payment page.
    #[serde(default = "default_merchant")]
    pub merchant: String,
    /// How long after a first failed callback the second is tried; each further delay is twice as long, up to 10 min,
    /// for 24 h.
    #[serde(default = "default_retry_first")]
    pub retry_first: TimeSpan,
}

impl Config {
    /// Settings with defaults for all that can have one.
    pub fn new(listen: SocketAddr, folder: PathBuf, merchant_key: PathBuf) -> Self {
        Config {
            listen,
            folder,
            merchant_key,
            merchant: default_merchant(),
            retry_first: default_retry_first(),
        }
    }
}

fn default_merchant() -> String {
    "Gridesk 电力服务".to_owned()
}

fn default_retry_first() -> TimeSpan {
    TimeSpan(Duration::from_secs(1))
}

/// Why the simulated outside world cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Another process has its folder, or it cannot be made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The merchant's secret cannot be read.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// Its database cannot be opened or written.
    #[error("the simulated outside world's database: {0}")]
    Store(#[from] StoreError),
    /// Its port is taken or may not be used.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client cannot be made.
    #[error("HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// Runs until the shutdown begins and open requests have ended.
///
/// # Errors
/// [`SimError`] at the start; once it runs, what goes wrong is logged.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), SimError> {
    Sim::start(config, &shutdown).await?.serve(&shutdown).await
}

/// The simulated outside world, listening but not yet answering.
pub struct Sim {
    _lock: FolderLock,
    listener: TcpListener,
    address: SocketAddr,
    world: Arc<World>,
}

/// What all handlers share.
struct World {
    store: Store,
    client: reqwest::Client,
    secret: SecretKey,
    merchant: String,
    retry_first: Duration,
    /// Counts messages; changes when one comes in.
    arrived: watch::Sender<u64>,
    /// Changes when a callback was queued or tried.
    callbacks: watch::Sender<u64>,
    shutdown: Shutdown,
}

impl Sim {
    /// Opens everything that can fail.
    ///
    /// # Errors
    /// [`SimError`].
    pub async fn start(config: Config, shutdown: &Shutdown) -> Result<Self, SimError> {
        let secret = load_key(&config.merchant_key)?;
        let lock = FolderLock::acquire_as(&config.folder, "gridesk sim")?;
        let store = Store::open(&config.folder.join("sim.db"))?;
        let listen = config.listen;
        let listener =
            TcpListener::bind(listen).await.map_err(|source| SimError::Listen { listen, source })?;
        let address = listener.local_addr().map_err(|source| SimError::Listen { listen, source })?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(SimError::Client)?;
        let world = World {
            store,
            client,
            secret,
            merchant: config.merchant,
            retry_first: config.retry_first.0,
            arrived: watch::Sender::new(0),
            callbacks: watch::Sender::new(0),
            shutdown: shutdown.clone(),
        };
        Ok(Sim { _lock: lock, listener, address, world: Arc::new(world) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the shutdown begins.
    ///
    /// # Errors
    /// [`SimError::Listen`] where the listener breaks.
    pub async fn serve(self, shutdown: &Shutdown) -> Result<(), SimError> {
        tracing::info!(address = %self.address, "the simulated outside world listens (样例, demonstration)");
        let delivering = shutdown.spawn(callbacks::deliver(self.world.clone()));
        let served = runtime::health::serve(self.listener, router(self.world), shutdown).await;
        shutdown.begin();
        delivering.await.ok();
        served.map_err(|source| SimError::Listen { listen: self.address, source })
    }
}

fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/sim.css", get(stylesheet))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async || "{\"ready\":true,\"parts\":[]}"))
        .route("/inbox", get(inbox::page))
        .route("/inbox/messages", get(inbox::list).post(inbox::receive))
        .route("/pay", get(pay::page))
        .route("/pay/confirm", post(pay::confirm))
        .route("/pay/orders/{order}/settle", post(misbehave::settle))
        .route("/mandate", get(mandates::page))
        .route("/mandate/confirm", post(mandates::confirm))
        .route("/mandates", get(mandates::list))
        .route("/mandates/{mandate}/end", post(mandates::end))
        .route("/mandates/{mandate}/decline", post(mandates::decline))
        .route("/instructions", post(instructions::take))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(harden))
        .with_state(world)
}

/// Nothing of the pages may run scripts, be framed, or be kept.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// `GET /`: what there is.
async fn index() -> Response {
    #[derive(askama::Template)]
    #[template(path = "sim/index.html")]
    struct Index;
    html(&Index)
}

async fn stylesheet() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")],
        include_str!("../templates/sim/sim.css"),
    )
}

/// Renders a page.
fn html(page: &impl askama::Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What a JSON caller is told when it does not work: `{"error":"…"}`.
struct Refused(axum::http::StatusCode, String);

impl Refused {
    fn bad(why: impl Into<String>) -> Self {
        Refused(axum::http::StatusCode::BAD_REQUEST, why.into())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        Refused(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the database failed".to_owned())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, axum::Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A fresh name: the prefix and 26 random letters and digits.
fn mint(prefix: &str) -> Result<String, Refused> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Refused(axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("no random numbers: {error}"))
    })?;
    Ok(format!("{prefix}{}", data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()))
}
