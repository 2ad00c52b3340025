//! Starts one of the platform's programs and stops it.
use std::time::Duration;

use cluster::{election::Candidate, etcd::EtcdError};
use runtime::{
    clock::Clock,
    health::{self, Readiness, ReadyPart},
    metrics::{Metrics, MetricsError},
    shutdown::Shutdown,
    unix::{self, BindError},
};

use crate::{
    config::Config,
    lead::{Desk, lead},
};

/// How long what is under way may take at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// The pause after etcd refused.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it looks who leads.
const LOOK: Duration = Duration::from_secs(1);

/// Why the program does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The settings of etcd make no sense.
    #[error("settings [etcd]: {0}")]
    Etcd(#[from] EtcdError),
    /// The socket cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Nothing can be counted.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Runs until shutdown: leads, or stands by.
///
/// # Errors
/// [`ControlError`]: what is wrong, before anything is done. That etcd is away is no error.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), ControlError> {
    let (etcd, keys) = config.etcd.client()?;
    let socket = unix::bind(&config.admin)?;
    let metrics = Metrics::install()?;
    metrics.keep_up(&shutdown);
    let readiness = Readiness::new();
    let leader = readiness.part("leader");
    let serving = health::serve(socket, health::router(readiness, metrics), &shutdown);
    shutdown.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "administration socket failed");
        }
    });

    let candidate = Candidate::new(etcd.clone(), keys.leader(), config.name.clone(), config.etcd.lease);
    shutdown.spawn(observe(candidate.clone(), leader, shutdown.clone()));
    let desk = Desk { etcd, keys, lanes: config.lanes.lanes(), clock: Clock::system() };
    tracing::info!(name = %config.name, room = %config.room, lanes = desk.lanes.len(), "standing by");
    stand(&candidate, &desk, &shutdown).await;
    if let Err(error) = shutdown.drain(DRAIN).await {
        tracing::warn!(%error, "stopped with work under way");
    }
    Ok(())
}

/// Campaigns, leads, and campaigns again.
async fn stand(candidate: &Candidate, desk: &Desk, shutdown: &Shutdown) {
    let leading = metrics::gauge!("control_leading");
    leading.set(0.0);
    while !shutdown.is_begun() {
        let elected = tokio::select! {
            elected = candidate.campaign() => elected,
            () = shutdown.begun() => return,
        };
        let leadership = match elected {
            Ok(leadership) => leadership,
            Err(error) => {
                tracing::error!(%error, "etcd refuses the campaign");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        leading.set(1.0);
        metrics::counter!("control_elected_total").increment(1);
        tracing::info!(fence = leadership.fence(), "leads");
        let failed = tokio::select! {
            ended = lead(desk, &leadership) => ended.err(),
            () = shutdown.begun() => None,
        };
        leading.set(0.0);
        match &failed {
            Some(error) => tracing::error!(%error, "does not lead any more: etcd refuses"),
            None if shutdown.is_begun() => tracing::info!("resigns"),
            None => tracing::warn!("does not lead any more"),
        }
        if leadership.valid()
            && let Err(error) = leadership.resign().await
        {
            tracing::warn!(%error, "the leadership ends with its lease");
        }
        if failed.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Ready where a leader is seen, this one or another.
async fn observe(candidate: Candidate, part: ReadyPart, shutdown: Shutdown) {
    loop {
        match candidate.observe().await {
            Ok(Some(_)) => part.ready(),
            Ok(None) => part.not_ready("nobody leads"),
            Err(error) => part.not_ready(&error.to_string()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.begun() => return,
        }
    }
}
