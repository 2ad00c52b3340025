//! `/healthz`, `/readyz` and `/metrics`, for an inside port or socket; never for the outside.
//!
//! Healthy: the process answers. Ready: every part it named says that it can work; a balancer sends requests only
//! then.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// The parts of a program that must work before it is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// For each part the reason why it is not ready; none when it is.
    parts: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// Ready as long as no part is named.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names a part, which begins as not ready (`starting`). A name given twice is the same part.
    pub fn part(&self, name: &str) -> ReadyPart {
        let part = ReadyPart { readiness: self.clone(), name: name.to_owned() };
        part.not_ready("starting");
        part
    }

    /// Every part's state, by name.
    pub fn report(&self) -> ReadyReport {
        let report = |(name, reason): (&String, &Option<String>)| PartReport {
            name: name.clone(),
            ready: reason.is_none(),
            reason: reason.clone(),
        };
        let parts: Vec<_> = self.lock().iter().map(report).collect();
        ReadyReport { ready: parts.iter().all(|part| part.ready), parts }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part's switch.
#[derive(Clone, Debug)]
pub struct ReadyPart {
    readiness: Readiness,
    name: String,
}

impl ReadyPart {
    /// The part works.
    pub fn ready(&self) {
        self.readiness.lock().insert(self.name.clone(), None);
    }

    /// The part does not work, and why, in a few words that operators will read.
    pub fn not_ready(&self, reason: &str) {
        self.readiness.lock().insert(self.name.clone(), Some(reason.chars().take(200).collect()));
    }
}

/// What `/readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadyReport {
    /// Whether all parts are.
    pub ready: bool,
    /// The parts, by name.
    pub parts: Vec<PartReport>,
}

/// One part in a [`ReadyReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /healthz` → 200 `ok`; `GET /readyz` → 200 or 503 with a [`ReadyReport`]; `GET /metrics` → Prometheus text.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Inside { readiness, metrics })
}

#[derive(Clone)]
struct Inside {
    readiness: Readiness,
    metrics: Metrics,
}

async fn ready(State(inside): State<Inside>) -> impl IntoResponse {
    let report = inside.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

async fn render(State(inside): State<Inside>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], inside.metrics.render())
}

/// Serves `router` on a TCP or Unix listener until shutdown begins and its open requests have ended.
///
/// # Errors
/// What the listener says.
pub fn serve<L>(
    listener: L,
    router: Router,
    shutdown: &Shutdown,
) -> impl Future<Output = io::Result<()>> + Send + use<L>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let token = shutdown.token();
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async move { token.cancelled().await });
    async move { serving.await }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::ServiceExt;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_when_every_part_is() {
        let readiness = Readiness::new();
        let router = router(readiness.clone(), Metrics::install().unwrap());
        assert_eq!(ask(&router, "/healthz").await, (StatusCode::OK, "ok\n".into()));
        let (store, lanes) = (readiness.part("store"), readiness.part("lanes"));
        store.ready();
        assert_eq!(
            ask(&router, "/readyz").await,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"ready":false,"parts":[{"name":"lanes","ready":false,"reason":"starting"},{"name":"store","ready":true}]}"#
                    .into()
            )
        );
        lanes.ready();
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
        store.not_ready("disk full");
        assert!(ask(&router, "/readyz").await.1.contains("disk full"));
        assert_eq!(ask(&router, "/metrics").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn serves_on_a_unix_socket_until_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.sock");
        let shutdown = Shutdown::new();
        let router = router(Readiness::new(), Metrics::install().unwrap());
        let serving = tokio::spawn(serve(crate::unix::bind(&path).unwrap(), router, &shutdown));
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        shutdown.begin();
        serving.await.unwrap().unwrap();
    }
}
