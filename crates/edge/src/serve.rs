//! The public listener: what every request goes through before it is anybody's, and connections with their limits.
use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use protocol::{Code, Problem};
use runtime::{
    shutdown::Shutdown,
    telemetry::{RequestId, TraceContext},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ApiProblem, BODY_MAX},
    config::{Config, Limits},
    files::Files,
    impatient::Impatient,
    inward::Inward,
    portal::{self, Refusals},
    sources::{Source, Sources},
};

/// No request's head is longer, in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// What has a one-time code sent or a password checked when it is posted to, by API and by portal.
const LOGIN_STARTS: [&str; 6] = [
    "/v1/login/start",
    "/v1/accounts/{account}/bind/start",
    "/v1/staff/login",
    "/login",
    "/accounts/bind",
    "/audit/login",
];

/// Everything the outside can reach.
pub(crate) fn router(
    inward: Inward,
    config: Arc<Config>,
    files: Files,
    closing: CancellationToken,
) -> Router {
    let shed = Shed {
        uploads: Arc::new(Semaphore::new(config.files.uploads)),
        permits: Arc::new(Semaphore::new(config.limits.in_flight)),
        body_within: config.limits.body_within.0,
        pages: Refusals::new(inward.clone(), config.clone(), files.clone()),
    };
    Router::new()
        .nest("/v1", api::router(inward.clone(), files.clone()))
        .route("/v1/", any(api::nowhere))
        .route("/openapi.json", get(api::openapi::serve))
        .merge(portal::router(inward.clone(), config, files, closing))
        .layer(from_fn_with_state(shed, take))
        // Outside the limits: a balancer must hear from an edge that is full.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(inward))
        .layer(from_fn(name))
}

async fn ready(State(inward): State<Inward>) -> Response {
    let gates = inward.gates_connected();
    let status = if gates > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": gates > 0, "gates": gates }))).into_response()
}

/// Gives every request its id and trace, and every response the id; problems get their body here.
async fn name(mut request: Request, next: Next) -> Response {
    let request_id = RequestId::from_header(text(request.headers(), "request-id"));
    let trace = TraceContext::from_header(text(request.headers(), "traceparent")).child();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(request_id);
    request.extensions_mut().insert(trace);
    let started = std::time::Instant::now();
    let response = api::render(next.run(request).await, request_id);
    let status = response.status().as_u16();
    let took_ms = started.elapsed().as_secs_f64() * 1e3;
    metrics::counter!("edge_requests_total", "status" => status.to_string()).increment(1);
    metrics::histogram!("edge_request_ms").record(took_ms);
    tracing::debug!(%request_id, %method, path, status, took_ms, "answered");
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[derive(Clone)]
struct Shed {
    permits: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    body_within: Duration,
    pages: Refusals,
}

impl Shed {
    /// Says that a request is refused: with a page to a person, with a problem to a program.
    async fn refuse(&self, parts: Parts, problem: Problem) -> Response {
        if !Refusals::is_for_page(&parts) {
            return ApiProblem(problem).into_response();
        }
        let retry_after_s = problem.retry_after_s;
        let mut page = self.pages.page(parts, problem).await;
        if let Some(seconds) = retry_after_s {
            page.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        page
    }
}

/// Takes a request in: refuses it when its source asks too often or too many are under way, and reads its body whole,
/// within its limits.
async fn take(State(shed): State<Shed>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(seconds) = may_ask(&parts) {
        metrics::counter!("edge_too_often_total").increment(1);
        let often =
            Problem::new(Code::TooManyRequests, "Too many requests from your network. Nothing was done.");
        return shed.refuse(parts, often.retry_after(seconds)).await;
    }
    if is_upload(&parts) {
        let Ok(_permit) = shed.uploads.try_acquire() else {
            metrics::counter!("edge_shed_total").increment(1);
            let full = Problem::new(Code::Overloaded, "Too many files come at once. Try again in a moment.");
            return closing(shed.refuse(parts, full.retry_after(2)).await);
        };
        return next.run(Request::from_parts(parts, body)).await;
    }
    if announced(&parts.headers).is_some_and(|length| length > BODY_MAX as u64) {
        return closing(shed.refuse(parts, too_large()).await);
    }
    let refused = match tokio::time::timeout(shed.body_within, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => {
            // Not before the body is there: who sends half a request must not take a place from who sent a whole one.
            let Ok(_permit) = shed.permits.try_acquire() else {
                metrics::counter!("edge_shed_total").increment(1);
                let full = Problem::new(Code::Overloaded, "Nothing was done. Try again in a moment.");
                return shed.refuse(parts, full).await;
            };
            return next.run(Request::from_parts(parts, Body::from(bytes))).await;
        }
        Ok(Err(error)) if is_limit(&error) => too_large(),
        Ok(Err(_)) => Problem::new(Code::InvalidRequest, "The body broke off."),
        Err(_) => Problem::new(Code::InvalidRequest, "The body did not come in time."),
    };
    closing(shed.refuse(parts, refused).await)
}

/// Counts a request for its source. The error is when to come again, in seconds.
fn may_ask(parts: &Parts) -> Result<(), u32> {
    let Some(source) = parts.extensions.get::<Arc<Source>>() else { return Ok(()) };
    // A page without its sheet says nothing; they are few, in memory, and kept by the browser for ever.
    if parts.uri.path().starts_with("/assets/") {
        return Ok(());
    }
    source.request()?;
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if parts.method == Method::POST && LOGIN_STARTS.contains(&path) {
        source.login_start()?;
    }
    Ok(())
}

/// Whether the body is a file, which goes to the disk as it comes.
fn is_upload(parts: &Parts) -> bool {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let is_address = api::files::ADDRESSES.contains(&path) || path == portal::UPLOADS;
    is_address && matches!(parts.method, Method::POST | Method::PATCH)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

fn too_large() -> Problem {
    Problem::new(Code::TooLarge, format!("A body has at most {BODY_MAX} bytes."))
}

/// The rest of such a body is not read: the connection ends with the response.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Accepts connections until shutdown; open ones end their request first.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: &Limits, shutdown: &Shutdown) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let sources = Sources::new(limits);
    let stop = shutdown.token();
    let accepting = async {
        loop {
            // Nobody closes the semaphore.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Some(source) = sources.connect(from.ip()) else {
                        metrics::counter!("edge_connections_refused_total").increment(1);
                        tracing::debug!(%from, "too many connections from there");
                        continue;
                    };
                    let connection =
                        connection(stream, source, router.clone(), limits.clone(), shutdown.clone());
                    shutdown.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%from, %error, "connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    // Out of file descriptors, say: not at once again.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
}

async fn connection(
    stream: TcpStream,
    source: Source,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> Result<(), hyper::Error> {
    stream.set_nodelay(true).ok();
    let source = Arc::new(source);
    let service = tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        // Not a layer: that would make every route anew for each request.
        let router = router.clone();
        request.extensions_mut().insert(Arc::clone(&source));
        async move {
            let answered = tower::ServiceExt::oneshot(router, request.map(Body::new)).await;
            answered.map_err(|never: Infallible| never)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within.0)
        .max_buf_size(HEAD_MAX)
        .serve_connection(
            TokioIo::new(Impatient::new(stream, limits.write_within.0)),
            TowerToHyperService::new(service),
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shutdown.begun() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
