//! Connections to one database.
use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Client, Connect, Manager, ManagerConfig, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Config, NoTls};

use super::failed;
use crate::{StorageError, sql::Result};

/// All our statements find rows by key. A plan is made once and kept, so it must not be one that was best while a table was
/// small.
const BY_KEY: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off \
    -c enable_mergejoin=off -c jit=off";

/// Connections to one database, lent one at a time, at most so many.
#[derive(Clone)]
pub(super) struct Pool {
    pool: deadpool_postgres::Pool,
    doubts: Arc<AtomicU64>,
    name: Arc<str>,
}

impl Pool {
    /// Connections are made when they are first needed.
    pub(super) fn new(conninfo: &str, most: usize, statement: Duration) -> Result<Self> {
        let wrong =
            |why: String| StorageError::Engine { engine: "PostgreSQL", doing: "reading its address", why };
        let mut config = Config::from_str(conninfo).map_err(|e| wrong(super::said(&e)))?;
        config.application_name("gridesk");
        config.connect_timeout(statement.min(Duration::from_secs(3)));
        config.tcp_user_timeout(statement);
        config.keepalives_idle(Duration::from_secs(10));
        let own = format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout=3000 -c lock_timeout={} {BY_KEY}",
            statement.as_millis(),
            statement.as_millis()
        );
        config.options(match config.get_options() {
            Some(given) => format!("{given} {own}"),
            None => own,
        });
        let (hosts, ports) = (config.get_hosts(), config.get_ports());
        // One port may be for all hosts, none is the usual one.
        let port = |n: usize| ports.get(n).or_else(|| ports.first()).copied().unwrap_or(5432);
        let name = hosts.iter().enumerate().map(|(n, host)| match host {
            tokio_postgres::config::Host::Tcp(host) => format!("{host}:{}", port(n)),
            tokio_postgres::config::Host::Unix(path) => format!("{}:{}", path.display(), port(n)),
        });
        let name: Arc<str> = name.collect::<Vec<_>>().join(",").into();
        let doubts = Arc::new(AtomicU64::new(0));
        let connect = Listening { doubts: Arc::clone(&doubts), name: Arc::clone(&name) };
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config, connect, recycling);
        let timeouts = Timeouts { wait: Some(statement), create: Some(statement), recycle: Some(statement) };
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(most.max(1))
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| wrong(e.to_string()))?;
        Ok(Pool { pool, doubts, name })
    }

    /// A connection, as soon as one is free.
    pub(super) async fn get(&self) -> Result<Client> {
        self.pool.get().await.map_err(|error| {
            let why = match &error {
                deadpool_postgres::PoolError::Backend(error) => super::said(error),
                other => other.to_string(),
            };
            StorageError::Engine {
                engine: "PostgreSQL",
                doing: "connecting",
                why: format!("{}: {why}", self.name),
            }
        })
    }

    /// Ends a transaction. A commit of which the server warned that it did not wait for its slaves counts as one of which
    /// nothing is known.
    pub(super) async fn commit(&self, client: &Client) -> Result<()> {
        let doubts = self.doubts.load(Ordering::Acquire);
        client.batch_execute("COMMIT").await.map_err(failed("committing"))?;
        if self.doubts.load(Ordering::Acquire) == doubts {
            return Ok(());
        }
        let why = "the master stopped waiting for its slaves: whether it lasts is not known".to_owned();
        Err(StorageError::Engine { engine: "PostgreSQL", doing: "committing", why })
    }

    /// Where it leads, for logs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Drives connections, and hears what the server says between answers.
struct Listening {
    doubts: Arc<AtomicU64>,
    name: Arc<str>,
}

impl Connect for Listening {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, std::result::Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>>
    {
        let config = config.clone();
        Box::pin(async move {
            let (client, mut connection) = config.connect(NoTls).await?;
            let (doubts, name) = (Arc::clone(&self.doubts), Arc::clone(&self.name));
            let task = tokio::spawn(async move {
                loop {
                    match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notice(notice))) => {
                            // The only words for it: a warning beside a commit that succeeds.
                            if notice.message().contains("canceling wait for synchronous replication") {
                                doubts.fetch_add(1, Ordering::AcqRel);
                            }
                            tracing::debug!(database = %name, said = notice.message(), "PostgreSQL says");
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            tracing::debug!(database = %name, %error, "a connection ended");
                            return;
                        }
                        None => return,
                    }
                }
            });
            Ok((client, task))
        })
    }
}
