//! Logging in and out. None of it is of use without its result, so it waits for that.
use axum::response::Response;
use protocol::catalogue::{replies, requests};

use super::{
    ApiProblem,
    body::{Body, Nothing},
    caller::Caller,
};

/// How long logging in waits for its result, in ms, where the client does not say.
const WAIT_MS: u32 = 10_000;

/// Sends a one-time code to a phone.
///
/// The same answer whether or not the phone is known.
#[utoipa::path(post, path = "/login/start", operation_id = "login_start", tag = "login",
    request_body = requests::LoginStart,
    responses((status = OK, body = replies::LoginStart)))]
pub(super) async fn login_start(
    caller: Caller,
    Body(request): Body<requests::LoginStart>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(WAIT_MS).ask(request).await
}

/// Opens a session with the code.
#[utoipa::path(post, path = "/login/finish", operation_id = "login_finish", tag = "login",
    request_body = requests::LoginFinish,
    responses((status = OK, body = replies::LoginFinish)))]
pub(super) async fn login_finish(
    caller: Caller,
    Body(request): Body<requests::LoginFinish>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(WAIT_MS).ask(request).await
}

/// Exchanges a refresh token for the next pair.
#[utoipa::path(post, path = "/sessions/refresh", operation_id = "session_refresh", tag = "login",
    request_body = requests::SessionRefresh,
    responses((status = OK, body = replies::SessionRefresh)))]
pub(super) async fn refresh(
    caller: Caller,
    Body(request): Body<requests::SessionRefresh>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(WAIT_MS).ask(request).await
}

/// Ends the session.
#[utoipa::path(post, path = "/sessions/end", operation_id = "session_end", tag = "login",
    request_body = Nothing,
    responses((status = OK, body = replies::SessionEnd)))]
pub(super) async fn end(caller: Caller, Body(Nothing {}): Body<Nothing>) -> Result<Response, ApiProblem> {
    caller.ask(requests::SessionEnd {}).await
}

/// Logs a member of the staff in.
///
/// After five wrong passwords a name is closed for a quarter of an hour.
#[utoipa::path(post, path = "/staff/login", operation_id = "staff_login", tag = "login",
    request_body = requests::StaffLogin,
    responses((status = OK, body = replies::StaffLogin)))]
pub(super) async fn staff(
    caller: Caller,
    Body(request): Body<requests::StaffLogin>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}
