//! Logging in and out. None of it is of use without its result, so it waits for that.
use axum::response::Response;
use protocol::catalogue::requests;

use super::{
    ApiProblem,
    body::{Body, Nothing},
    caller::Caller,
};

/// How long logging in waits for its result, in ms, where the client does not say.
const WAIT_MS: u32 = 10_000;

/// Sends a one-time code to a phone: `POST /v1/login/start`
pub(super) async fn login_start(
    caller: Caller,
    Body(request): Body<requests::LoginStart>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(WAIT_MS).ask(request).await
}

/// Opens a session with the code: `POST /v1/login/finish`
pub(super) async fn login_finish(
    caller: Caller,
    Body(request): Body<requests::LoginFinish>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(WAIT_MS).ask(request).await
}

/// Exchanges a refresh token for the next pair: `POST /v1/sessions/refresh`
pub(super) async fn refresh(
    caller: Caller,
    Body(request): Body<requests::SessionRefresh>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(WAIT_MS).ask(request).await
}

/// Ends the session: `POST /v1/sessions/end`
pub(super) async fn end(caller: Caller, Body(Nothing {}): Body<Nothing>) -> Result<Response, ApiProblem> {
    caller.ask(requests::SessionEnd {}).await
}
