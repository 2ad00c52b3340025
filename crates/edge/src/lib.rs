//! The application server of the extranet.
//!
//! It takes what customers and channels send, shapes it into operations and asks inside through a gate; it delivers
//! what comes outward. It holds no business data and decides nothing about money or rights: what it knows to refuse is
//! only what the center would refuse as well.
mod api;
mod carrier;
pub mod config;
mod database;
mod files;
pub mod gates;
mod impatient;
pub mod inbox;
pub mod inward;
pub mod portal;
mod push;
mod serve;
mod sources;
mod tus;

use std::{net::SocketAddr, sync::Arc};

pub use api::openapi;
pub use config::Config;
pub use files::{Fetched, Files, FilesError};
use gates::Gate;
use inbox::Inbox;
use inward::Inward;
use runtime::{
    clock::Clock,
    health::{self, Readiness},
    lock::FolderLock,
    metrics::Metrics,
    shutdown::Shutdown,
};
use tokio::net::TcpListener;

/// Why an edge cannot work.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Lock(#[from] runtime::lock::LockError),
    /// Its push inbox cannot be used.
    #[error(transparent)]
    Inbox(#[from] inbox::InboxError),
    /// Its files cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// It cannot listen where it should.
    #[error("{address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Its inside socket cannot be listened at.
    #[error(transparent)]
    Bind(#[from] runtime::unix::BindError),
    /// The metrics recorder cannot be installed.
    #[error(transparent)]
    Metrics(#[from] runtime::metrics::MetricsError),
    /// The carrier's client cannot be made.
    #[error("message carrier: {0}")]
    Carrier(#[from] reqwest::Error),
    /// Requests were still open when the time to end them was over.
    #[error(transparent)]
    Drain(#[from] runtime::shutdown::DrainTimedOut),
}

/// An edge that has its folder and its listener.
pub struct Edge {
    config: Arc<Config>,
    shutdown: Shutdown,
    listener: TcpListener,
    address: SocketAddr,
    inward: Inward,
    files: Files,
    _lock: FolderLock,
}

/// Starts an edge and serves until shutdown.
///
/// # Errors
/// [`EdgeError`]: what keeps it from starting, or what was lost when it ended.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), EdgeError> {
    Edge::start(config, shutdown).await?.serve().await
}

impl Edge {
    /// Locks the folder, opens the inbox, looks for gates and listens.
    ///
    /// # Errors
    /// [`EdgeError`].
    pub async fn start(config: Config, shutdown: Shutdown) -> Result<Self, EdgeError> {
        let lock = FolderLock::acquire(&config.data)?;
        let listen = |source| EdgeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let clock = Clock::system();
        let inbox = Inbox::open(&config.data, config.limits.pushes)?;
        let carriers = carrier::Carriers::new(&config)?;
        let inward = Inward::new(clock.clone());
        let receiver = push::Receiver { inbox: inbox.clone(), inward: inward.clone(), clock: clock.clone() };
        let files = Files::open(&config.data, &config.files, inward.clone(), clock.clone())?;
        files.start(&shutdown).await;
        let came = {
            let (inward, files, uids) = (inward.clone(), files.clone(), config.allowed_uids.clone());
            let shutdown = shutdown.clone();
            move |gate: Gate| {
                let messages = gate.folder.join(gates::MESSAGES);
                inward.connect(&messages, gate.there.clone(), &uids, &receiver, &shutdown);
                files.cross_by(&gate.folder.join(gates::FILES), &gate.there, &uids, &shutdown);
            }
        };
        tokio::spawn(gates::watch(config.gates.clone(), shutdown.token(), came));
        let delivery = push::Delivery { inbox, inward: inward.clone(), clock, carriers };
        shutdown.spawn(delivery.run(shutdown.clone()));
        if let Some(path) = &config.inside {
            let metrics = Metrics::install()?;
            metrics.keep_up(&shutdown);
            let router = health::router(readiness(&inward), metrics).merge(files.inside());
            tokio::spawn(health::serve(runtime::unix::bind(path)?, router, &shutdown));
        }
        tracing::info!(%address, url = config.public_url, "listening");
        Ok(Edge { config: Arc::new(config), shutdown, listener, address, inward, files, _lock: lock })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Serves until shutdown; then ends what is open, within the limit.
    ///
    /// # Errors
    /// [`EdgeError::Drain`]: what was open longer.
    pub async fn serve(self) -> Result<(), EdgeError> {
        let (inward, config) = (self.inward.clone(), Arc::clone(&self.config));
        let router = serve::router(inward, config, self.files, self.shutdown.token());
        serve::serve(self.listener, router, &self.config.limits, &self.shutdown).await;
        let drained = self.shutdown.drain(self.config.limits.drain_within.0).await;
        self.inward.gates().close();
        Ok(drained?)
    }
}

fn readiness(inward: &Inward) -> Readiness {
    let readiness = Readiness::new();
    let part = readiness.part("gate");
    let mut changes = inward.gates().changes();
    tokio::spawn(async move {
        loop {
            let standing = changes.borrow_and_update().iter().any(|peer| !peer.is_closed());
            if standing {
                part.ready()
            } else {
                part.not_ready("no gate is connected")
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
    readiness
}
