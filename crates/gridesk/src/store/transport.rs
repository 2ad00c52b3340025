//! How the object store is spoken to: HTTP/1.1, over TLS (rustls, the host's certificate authorities) unless it is said otherwise.
//!
//! `object_store` would bring TLS into `reqwest`, and so into every program of ours that uses that for a socket of its own host.
use std::{error::Error, future::Future, pin::Pin, time::Duration};

use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector as Tcp},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// A host that is there answers the first packet long before.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// From the first byte that is sent to the head of the answer; the most that is sent is one part of a file.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Makes no connection yet.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
}

impl Transport {
    /// With `allow_http` an endpoint may be `http://`, and the host's certificate authorities are not read.
    ///
    /// # Errors
    /// Where TLS is to be used and the host has no certificate authorities.
    pub(super) fn new(allow_http: bool) -> std::io::Result<Self> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new();
        let connector = if allow_http {
            let none = ClientConfig::builder_with_provider(ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(std::io::Error::other)?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(none).https_or_http().enable_http1().wrap_connector(tcp)
        } else {
            let with_roots = builder.with_provider_and_native_roots(ring::default_provider())?;
            with_roots.https_only().enable_http1().wrap_connector(tcp)
        };
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client })
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

type Answered<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Transport {
    fn call<'life0, 'async_trait>(&'life0 self, request: HttpRequest) -> Answered<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let answer = tokio::time::timeout(ANSWER_WITHIN, self.client.request(request)).await;
            let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
            let (parts, body) = answer.map_err(failed)?.into_parts();
            let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
            Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
        })
    }
}

/// All that is asked may be asked again: content is put under its own hash. A certificate that is not believed stays so.
fn failed(error: legacy::Error) -> HttpError {
    let kind = match error.is_connect() {
        true if is_tls(&error) => HttpErrorKind::Unknown,
        true => HttpErrorKind::Connect,
        false => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}

/// Whether TLS is among the causes; an I/O error passes over the one that it holds.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || held.is_some_and(|held| is_tls(held)) || error.source().is_some_and(is_tls)
}
