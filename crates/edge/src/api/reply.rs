//! Answers from inside as HTTP responses.
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{Code, OperationId, Problem, Token, envelope::Language};
use serde::Serialize;

use super::{
    ApiProblem,
    etag::{self, Known},
};
use crate::inward::{Answer, Answered};

#[derive(Serialize)]
struct Taken {
    operation: OperationId,
    state: &'static str,
}

#[derive(Serialize)]
struct UnderWay {
    pending: Vec<OperationId>,
}

/// `200` with the result, `202` with where to ask for it, or `200` with the writes that are still under way.
pub(crate) fn response<R: Serialize>(answer: Answer<R>) -> Response {
    let response = match answer.outcome {
        Answered::Done(reply) => Json(reply).into_response(),
        Answered::Accepted(operation) => accepted(operation),
        Answered::Pending(pending) => {
            let mut response = Json(UnderWay { pending }).into_response();
            response.headers_mut().insert("gridesk-pending", HeaderValue::from_static("true"));
            response
        }
    };
    finish(response, &answer.token)
}

/// The answer to a read: `200` with its tag, or `304` where that is what the reader has already.
pub(crate) fn read<R: Serialize>(answer: Answer<R>, language: Language, known: &Known) -> Response {
    let Answered::Done(reply) = answer.outcome else { return response(answer) };
    let body = match serde_json::to_vec(&reply) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "a reply is no JSON");
            return ApiProblem(Problem::new(Code::Internal, "The answer could not be written."))
                .into_response();
        }
    };
    let tag = etag::of(language, &body);
    let mut response = if known.has(&tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    response = finish(response, &answer.token);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(etag::CACHE_CONTROL));
    headers.insert(header::VARY, HeaderValue::from_static(etag::VARY));
    response
}

/// `202`, and where the result will be.
fn accepted(operation: OperationId) -> Response {
    let taken = Taken { operation, state: "accepted" };
    let response = (StatusCode::ACCEPTED, Json(taken)).into_response();
    located(response, &format!("/v1/operations/{operation}"))
}

/// The response with a `Location`.
pub(crate) fn located(mut response: Response, location: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

fn finish(mut response: Response, token: &Token) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let (false, Ok(value)) = (token.is_empty(), HeaderValue::from_str(&token.to_string())) {
        headers.insert("consistency-token", value);
    }
    response
}
