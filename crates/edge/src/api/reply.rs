//! Answers from inside as HTTP responses.
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{OperationId, Token};
use serde::Serialize;

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
