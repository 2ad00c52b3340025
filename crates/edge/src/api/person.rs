//! What is held about the customer: seen, corrected, deleted; how they log in; what they want to be told of.
use axum::response::Response;
use protocol::catalogue::{replies, requests};

use super::{
    ApiProblem,
    body::{Body, Nothing},
    caller::Caller,
};

/// How long what answers with a challenge waits for its result, in ms, where the client does not say.
const START_WAIT_MS: u32 = 10_000;

/// Everything that is held about the customer.
#[utoipa::path(get, path = "/person", operation_id = "person_get", tag = "person",
    responses((status = OK, body = replies::PersonGet)))]
pub(super) async fn get(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::PersonGet {}).await
}

/// Corrects what the customer said about themselves.
#[utoipa::path(put, path = "/person", operation_id = "person_correct", tag = "person",
    request_body = requests::PersonCorrect,
    responses((status = OK, body = replies::PersonCorrect)))]
pub(super) async fn correct(
    caller: Caller,
    Body(request): Body<requests::PersonCorrect>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// Sends a code with which what is held can be deleted.
#[utoipa::path(post, path = "/person/delete/start", operation_id = "person_delete_start", tag = "person",
    request_body = Nothing,
    responses((status = OK, body = replies::PersonDeleteStart)))]
pub(super) async fn delete_start(
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(START_WAIT_MS).ask(requests::PersonDeleteStart {}).await
}

/// Deletes the personal data, with the code.
#[utoipa::path(post, path = "/person/delete", operation_id = "person_delete", tag = "person",
    request_body = requests::PersonDelete,
    responses((status = OK, body = replies::PersonDelete)))]
pub(super) async fn delete(
    caller: Caller,
    Body(request): Body<requests::PersonDelete>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// Sends a code to a new phone.
#[utoipa::path(post, path = "/person/phone/start", operation_id = "phone_change_start", tag = "person",
    request_body = requests::PhoneChangeStart,
    responses((status = OK, body = replies::PhoneChangeStart)))]
pub(super) async fn phone_start(
    caller: Caller,
    Body(request): Body<requests::PhoneChangeStart>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(START_WAIT_MS).ask(request).await
}

/// Changes the phone, with the code.
#[utoipa::path(post, path = "/person/phone", operation_id = "phone_change", tag = "person",
    request_body = requests::PhoneChange,
    responses((status = OK, body = replies::PhoneChange)))]
pub(super) async fn phone(
    caller: Caller,
    Body(request): Body<requests::PhoneChange>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// What the customer wants to be told of, and how they are spoken to.
#[utoipa::path(get, path = "/person/preferences", operation_id = "preferences_get", tag = "person",
    responses((status = OK, body = replies::PreferencesGet)))]
pub(super) async fn preferences(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::PreferencesGet {}).await
}

/// Sets what the customer wants to be told of, and how they are spoken to.
#[utoipa::path(put, path = "/person/preferences", operation_id = "preferences_set", tag = "person",
    request_body = requests::PreferencesSet,
    responses((status = OK, body = replies::PreferencesSet)))]
pub(super) async fn prefer(
    caller: Caller,
    Body(request): Body<requests::PreferencesSet>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// Where the customer is logged in.
#[utoipa::path(get, path = "/sessions", operation_id = "session_list", tag = "person",
    responses((status = OK, body = replies::SessionList)))]
pub(super) async fn sessions(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::SessionList {}).await
}

/// Ends one of the other sessions, or all.
#[utoipa::path(post, path = "/sessions/end-other", operation_id = "session_end_other", tag = "person",
    request_body = requests::SessionEndOther,
    responses((status = OK, body = replies::SessionEndOther)))]
pub(super) async fn end_other(
    caller: Caller,
    Body(request): Body<requests::SessionEndOther>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}
