//! Uploads by tus 1.0 (<https://tus.io/protocols/resumable-upload>): creation, creation-with-upload, termination, checksum,
//! expiration, concatenation.
//!
//! An upload's address is its file's id. The customer's access token comes with each request; what is not theirs is not
//! found.
use axum::{
    Extension, Router,
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use data_encoding::BASE64;
use protocol::{Code, FileId, Problem, ServiceRequestId, bounds::FileSize, bounds::Text, catalogue::replies};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiProblem,
    body::{Body as Json, Named},
    caller::{Caller, text},
};
use crate::{
    files::{Files, NewFile, Record, Stage},
    inward::Inward,
    tus::{self, CHECKSUMS, Checksum, Concat, Metadata, VERSION},
};

const EXTENSIONS: &str = "creation,creation-with-upload,termination,checksum,expiration,concatenation";

/// The addresses whose bodies are files: they are not read whole before they are anybody's.
pub(crate) const ADDRESSES: [&str; 2] = ["/v1/files", "/v1/files/{file}"];

/// `/files` and what is under it.
pub(crate) fn router() -> Router<Inward> {
    Router::new()
        .route("/files", post(create).options(abilities))
        .route(
            "/files/{file}",
            axum::routing::patch(write).head(progress).delete(terminate).options(abilities),
        )
        .layer(from_fn(speak))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::FileCreate)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    /// The file's name, as the customer has it.
    name: Text<255>,
    /// Its length in bytes.
    size: FileSize,
}

/// Says that a file is to come with a request that is not closed.
///
/// Its bytes are then sent by tus 1.0 to `/v1/files/{file}`, which the `Location` header names. A program that speaks tus can do
/// without this: it creates the upload by `POST /v1/files` with `Upload-Length` and, in `Upload-Metadata`, `request` and
/// `filename`.
#[utoipa::path(post, path = "/requests/{request}/files", operation_id = "file_create", tag = "requests",
    request_body = New,
    responses((status = CREATED, body = replies::FileCreate)))]
pub(super) async fn name(
    caller: Caller,
    Extension(files): Extension<Files>,
    Named(request): Named<ServiceRequestId>,
    Json(New { name, size }): Json<New>,
) -> Result<Response, ApiProblem> {
    let new = NewFile { request: Some(request), name, size: size.get() };
    let begun = files.begin(&caller.call, new).await?;
    let record = begun.record;
    let reply = replies::FileCreate { file: record.id, expires_ms: record.expires_ms };
    let headers = with([
        ("location", format!("/v1/files/{}", record.id)),
        ("consistency-token", begun.token.to_string()),
    ]);
    Ok(caller.prefer((StatusCode::CREATED, headers, axum::Json(reply)).into_response()))
}

/// Every answer says which tus is spoken, and every request but `OPTIONS` must.
async fn speak(request: Request, next: Next) -> Response {
    let spoken = request.headers().get("tus-resumable").and_then(|value| value.to_str().ok());
    let mut response = if request.method() == Method::OPTIONS || spoken.is_some_and(tus::is_spoken) {
        next.run(request).await
    } else {
        let why = format!("Send `Tus-Resumable: {VERSION}`.");
        let mut refused = ApiProblem(Problem::new(Code::TusVersion, why)).into_response();
        refused.headers_mut().insert("tus-version", HeaderValue::from_static(VERSION));
        refused
    };
    let headers = response.headers_mut();
    headers.insert("tus-resumable", HeaderValue::from_static(VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `OPTIONS`: what is spoken here.
async fn abilities(Extension(files): Extension<Files>) -> Response {
    let headers = [
        ("tus-version", VERSION.to_owned()),
        ("tus-extension", EXTENSIONS.to_owned()),
        ("tus-max-size", files.settings().rules.size_bytes_max.to_string()),
        ("tus-checksum-algorithm", CHECKSUMS.to_owned()),
    ];
    (StatusCode::NO_CONTENT, with(headers)).into_response()
}

fn with<const N: usize>(pairs: [(&'static str, String); N]) -> HeaderMap {
    let pairs = pairs.into_iter().filter_map(|(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    });
    pairs.collect()
}

/// `POST /v1/files`
async fn create(
    inward: axum::extract::State<Inward>,
    Extension(files): Extension<Files>,
    request: Request,
) -> Result<Response, ApiProblem> {
    let (mut parts, body) = request.into_parts();
    let mut caller = Caller::from_request_parts(&mut parts, &inward.0).await?;
    let metadata =
        text(&parts.headers, "upload-metadata")?.map(Metadata::read).transpose()?.unwrap_or_default();
    let concat = text(&parts.headers, "upload-concat")?.map(Concat::read).transpose()?;
    if caller.call.idempotency_key.is_none() {
        // A tus client knows no such key: asked for twice it is two uploads, of which one never comes.
        caller.call.idempotency_key = Some(fresh_key()?);
    }
    let name = match metadata.name {
        Some(name) => name,
        None => Text::new("file").map_err(|error| ApiProblem::invalid(error.to_string()))?,
    };
    let new = |request, size| NewFile { request, name: name.clone(), size };
    let begun = match concat {
        Some(Concat::Final(parts_named)) => {
            if text(&parts.headers, "upload-length")?.is_some() {
                return Err(ApiProblem::invalid("A final upload has no Upload-Length: its parts have."));
            }
            let request = metadata.request.ok_or_else(no_request)?;
            files.join(&caller.call, new(Some(request), 0), &parts_named).await?
        }
        Some(Concat::Part) => files.begin(&caller.call, new(None, length(&parts.headers)?)).await?,
        None => {
            let request = metadata.request.ok_or_else(no_request)?;
            files.begin(&caller.call, new(Some(request), length(&parts.headers)?)).await?
        }
    };
    let record = begun.record;
    // Creation-with-upload: what comes along is the first portion. One that was begun before under the same key goes on from
    // where it is.
    let is_new = record.received == 0 && record.stage == Stage::Receiving;
    let offset = if is_portion(&parts.headers)? && is_new {
        portion(&files, &record, &parts.headers, 0, body).await?
    } else {
        record.received
    };
    let headers = with([
        ("location", format!("/v1/files/{}", record.id)),
        ("upload-offset", offset.to_string()),
        ("upload-expires", http_date(record.expires_ms)),
    ]);
    Ok((StatusCode::CREATED, headers).into_response())
}

/// `PATCH /v1/files/{file}`
async fn write(
    Extension(files): Extension<Files>,
    Own(record): Own,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiProblem> {
    if !is_portion(&headers)? {
        let why = "Send a portion as application/offset+octet-stream.";
        return Err(Problem::new(Code::UnsupportedMediaType, why).into());
    }
    let offset = number(&headers, "upload-offset")?
        .ok_or_else(|| ApiProblem::invalid("Upload-Offset says where the portion begins."))?;
    let offset = portion(&files, &record, &headers, offset, body).await?;
    let headers =
        with([("upload-offset", offset.to_string()), ("upload-expires", http_date(record.expires_ms))]);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

async fn portion(
    files: &Files,
    record: &Record,
    headers: &HeaderMap,
    offset: u64,
    body: Body,
) -> Result<u64, ApiProblem> {
    let checksum = text(headers, "upload-checksum")?.map(Checksum::read).transpose()?;
    Ok(files.write(record, offset, body.into_data_stream(), checksum).await?)
}

/// `HEAD /v1/files/{file}`
async fn progress(Own(record): Own) -> Result<Response, ApiProblem> {
    if record.stage == Stage::Ended {
        return Err(Problem::new(Code::UploadGone, "This file is not to come any more.").into());
    }
    let mut headers = with([
        ("upload-offset", record.received.to_string()),
        ("upload-length", record.size.to_string()),
        ("upload-expires", http_date(record.expires_ms)),
        ("gridesk-file-state", record.stage.name().to_owned()),
    ]);
    if record.request.is_none() {
        headers.insert("upload-concat", HeaderValue::from_static("partial"));
    }
    Ok((StatusCode::OK, headers).into_response())
}

/// `DELETE /v1/files/{file}`
async fn terminate(Extension(files): Extension<Files>, Own(record): Own) -> Result<Response, ApiProblem> {
    files.withdraw(&record).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The file that an address names, if it is the caller's own.
struct Own(Record);

impl FromRequestParts<Inward> for Own {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, inward: &Inward) -> Result<Self, ApiProblem> {
        let not_found = || Problem::not_found("file");
        let files = parts.extensions.get::<Files>().cloned().ok_or_else(not_found)?;
        let caller = Caller::from_request_parts(parts, inward).await?;
        let customer = files.customer_of(&caller.call)?;
        let Named(id) = Named::<FileId>::from_request_parts(parts, inward).await?;
        Ok(Own(files.own(id, customer).await?))
    }
}

fn no_request() -> ApiProblem {
    ApiProblem::invalid(
        "Upload-Metadata names the request the file comes with: `request` and its id in base64.",
    )
}

fn fresh_key() -> Result<protocol::bounds::IdempotencyKey, ApiProblem> {
    let mut bytes = [0; 16];
    let made = getrandom::fill(&mut bytes).ok().and_then(|()| BASE64.encode(&bytes).parse().ok());
    made.ok_or_else(|| Problem::new(Code::Internal, "No random bytes.").into())
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, ApiProblem> {
    Ok(text(headers, name)?.map(|text| tus::number(name, text)).transpose()?)
}

fn length(headers: &HeaderMap) -> Result<u64, ApiProblem> {
    if headers.contains_key("upload-defer-length") {
        return Err(ApiProblem::invalid("Upload-Defer-Length is not spoken here: say Upload-Length."));
    }
    number(headers, "upload-length")?
        .ok_or_else(|| ApiProblem::invalid("Upload-Length says how many bytes the file has."))
}

fn is_portion(headers: &HeaderMap) -> Result<bool, ApiProblem> {
    Ok(text(headers, "content-type")? == Some("application/offset+octet-stream"))
}

impl From<tus::Wrong> for ApiProblem {
    fn from(wrong: tus::Wrong) -> Self {
        ApiProblem::invalid(wrong.to_string())
    }
}

/// A time as HTTP writes it (RFC 9110, section 5.6.7).
fn http_date(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_said_at_once() {
        let of = |name: &'static str| {
            let said = [(HeaderName::from_static(name), HeaderValue::from_static("12"))];
            length(&said.into_iter().collect()).ok()
        };
        assert_eq!((of("upload-length"), of("upload-defer-length"), of("x")), (Some(12), None, None));
    }

    #[test]
    fn times_are_written_as_http_does() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
