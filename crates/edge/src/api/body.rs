//! Bodies, paths and queries, refused with a problem that says what is wrong and where.
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::{header, request::Parts},
};
use protocol::{Code, Problem};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use super::ApiProblem;

/// A JSON body, complete and within bounds. An empty one counts as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

/// The body of a request that needs none: `{}`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiProblem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiProblem::invalid("The body broke off."))?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        if !content_type.as_ref().and_then(|value| value.to_str().ok()).is_some_and(is_json) {
            let detail = "Send the body as application/json.";
            return Err(ApiProblem(Problem::new(Code::UnsupportedMediaType, detail)));
        }
        parse(&bytes)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, ApiProblem> {
    // axum's Json names the field that is wrong.
    let Json(value) = Json::<T>::from_bytes(bytes).map_err(|rejection| {
        ApiProblem::invalid(match rejection {
            JsonRejection::JsonDataError(error) => source_text(&error),
            other => source_text(&other),
        })
    })?;
    Ok(Body(value))
}

/// The innermost reason, at most 300 characters: a client's own text may be part of it.
fn source_text(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        // serde_path_to_error says the path, and its source no longer does.
        if deepest.to_string().contains(&source.to_string()) && deepest.to_string().contains(": ") {
            break;
        }
        deepest = source;
    }
    deepest.to_string().chars().take(300).collect()
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A number that is `MOST` or less.
pub(crate) fn at_most<'de, const MOST: u8, D: Deserializer<'de>>(d: D) -> Result<u8, D::Error> {
    let number = u8::deserialize(d)?;
    if number <= MOST { Ok(number) } else { Err(D::Error::custom(format!("it is {MOST} at most"))) }
}

/// A cursor that is a number: one that the description's `int64` can hold, as all that we give are.
pub(crate) fn cursor<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<u64>::deserialize(d)?;
    match number {
        Some(number) if i64::try_from(number).is_err() => Err(D::Error::custom("it is no cursor of ours")),
        number => Ok(number),
    }
}

/// What the path names.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Named(value)),
            Err(rejection) => Err(ApiProblem::invalid(source_text(&rejection))),
        }
    }
}

/// What the query says.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Asked(value)),
            Err(rejection) => Err(ApiProblem::invalid(source_text(&rejection))),
        }
    }
}
