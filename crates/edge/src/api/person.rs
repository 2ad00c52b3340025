//! What is held about the customer: seen, corrected, deleted; how they log in; what they want to be told of.
use axum::response::Response;
use protocol::catalogue::requests;

use super::{
    ApiProblem,
    body::{Body, Nothing},
    caller::Caller,
};

/// How long what answers with a challenge waits for its result, in ms, where the client does not say.
const START_WAIT_MS: u32 = 10_000;

/// Everything that is held: `GET /v1/person`
pub(super) async fn get(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::PersonGet {}).await
}

/// Corrects it: `PUT /v1/person`
pub(super) async fn correct(
    caller: Caller,
    Body(request): Body<requests::PersonCorrect>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// Sends a code with which it can be deleted: `POST /v1/person/delete/start`
pub(super) async fn delete_start(
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(START_WAIT_MS).ask(requests::PersonDeleteStart {}).await
}

/// Deletes it, with the code: `POST /v1/person/delete`
pub(super) async fn delete(
    caller: Caller,
    Body(request): Body<requests::PersonDelete>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// Sends a code to a new phone: `POST /v1/person/phone/start`
pub(super) async fn phone_start(
    caller: Caller,
    Body(request): Body<requests::PhoneChangeStart>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(START_WAIT_MS).ask(request).await
}

/// Changes the phone, with the code: `POST /v1/person/phone`
pub(super) async fn phone(
    caller: Caller,
    Body(request): Body<requests::PhoneChange>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// What the customer wants to be told of: `GET /v1/person/preferences`
pub(super) async fn preferences(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::PreferencesGet {}).await
}

/// Sets it: `PUT /v1/person/preferences`
pub(super) async fn prefer(
    caller: Caller,
    Body(request): Body<requests::PreferencesSet>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}

/// Where the customer is logged in: `GET /v1/sessions`
pub(super) async fn sessions(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::SessionList {}).await
}

/// Ends one of the other sessions, or all: `POST /v1/sessions/end-other`
pub(super) async fn end_other(
    caller: Caller,
    Body(request): Body<requests::SessionEndOther>,
) -> Result<Response, ApiProblem> {
    caller.ask(request).await
}
