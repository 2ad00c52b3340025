//! HTTP over a Unix socket: how this program asks the others of the same host.
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{Method, Request, body::Body, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// An answer longer than this is refused, in bytes. A household's bills of thirty years are far below it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UnixHttpError {
    /// Nobody listens at the socket.
    #[error("nothing answers at {}", path.display())]
    NobodyThere {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("{}: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("no answer at {} within {within:?}", path.display())]
    TooLate {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        within: Duration,
    },
}

/// `GET path` at the socket, answered within `within`.
///
/// # Errors
/// [`UnixHttpError`].
pub async fn get(socket: &Path, path: &str, within: Duration) -> Result<Answer, UnixHttpError> {
    let asked = send(socket, Method::GET, path, None, Empty::<Bytes>::new());
    let late = |_| UnixHttpError::TooLate { path: socket.into(), within };
    tokio::time::timeout(within, asked).await.map_err(late)?
}

/// `POST path` with a body that is streamed. Takes as long as it takes.
///
/// # Errors
/// [`UnixHttpError`].
pub async fn post<B>(socket: &Path, path: &str, content_type: &str, body: B) -> Result<Answer, UnixHttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    send(socket, Method::POST, path, Some(content_type), body).await
}

/// `PUT path` with JSON, answered within `within`.
///
/// # Errors
/// [`UnixHttpError`].
pub async fn put(
    socket: &Path,
    path: &str,
    body: Full<Bytes>,
    within: Duration,
) -> Result<Answer, UnixHttpError> {
    let asked = send(socket, Method::PUT, path, Some("application/json"), body);
    let late = |_| UnixHttpError::TooLate { path: socket.into(), within };
    tokio::time::timeout(within, asked).await.map_err(late)?
}

/// `DELETE path`, answered within `within`.
///
/// # Errors
/// [`UnixHttpError`].
pub async fn delete(socket: &Path, path: &str, within: Duration) -> Result<Answer, UnixHttpError> {
    let asked = send(socket, Method::DELETE, path, None, Empty::<Bytes>::new());
    let late = |_| UnixHttpError::TooLate { path: socket.into(), within };
    tokio::time::timeout(within, asked).await.map_err(late)?
}

async fn send<B>(
    socket: &Path,
    method: Method,
    path: &str,
    content_type: Option<&str>,
    body: B,
) -> Result<Answer, UnixHttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let broken = |source| UnixHttpError::Broken { path: socket.into(), source };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| UnixHttpError::NobodyThere { path: socket.into(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(Box::pin(stream)))
        .await
        .map_err(|error| broken(error.into()))?;
    let driving = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(Box::pin(body)).map_err(|error| broken(error.into()))?;
    let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(broken)?.to_bytes();
    driving.abort();
    Ok(Answer { status, body })
}
