//! Requests, fault reports, outages, and what customers are told.
use axum::{http::StatusCode, response::Response};
use protocol::{
    AccountId, ServiceRequestId,
    bounds::{Phone, Prose},
    catalogue::requests::{self, FaultKind},
};
use serde::Deserialize;

use super::{
    ApiProblem,
    body::{Asked, Body, Named, Nothing},
    caller::Caller,
    reply,
};
use crate::inward::{Answer, Answered};

/// The forms a customer can send in: `GET /v1/forms`
pub(super) async fn forms(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::FormList {}).await
}

/// Sends in a form: `POST /v1/requests`. `201` and where it is to be seen, once it stands.
pub(super) async fn create(
    caller: Caller,
    Body(request): Body<requests::RequestCreate>,
) -> Result<Response, ApiProblem> {
    let answer = caller.answer(request).await?;
    let request = done(&answer).map(|reply| reply.request);
    Ok(made(&caller, reply::response(answer), request))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    kind: FaultKind,
    #[serde(default)]
    text: Prose<1000>,
    phone: Option<Phone>,
}

/// Reports a fault: `POST /v1/accounts/{account}/faults`. `201` and where it is to be seen, once it stands.
pub(super) async fn fault(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Fault { kind, text, phone }): Body<Fault>,
) -> Result<Response, ApiProblem> {
    let answer = caller.answer(requests::FaultReport { account, kind, text, phone }).await?;
    let request = done(&answer).map(|reply| reply.request);
    Ok(made(&caller, reply::response(answer), request))
}

fn done<R>(answer: &Answer<R>) -> Option<&R> {
    match &answer.outcome {
        Answered::Done(reply) => Some(reply),
        _ => None,
    }
}

fn made(caller: &Caller, response: Response, request: Option<ServiceRequestId>) -> Response {
    let mut response = caller.prefer(response);
    if let Some(request) = request {
        *response.status_mut() = StatusCode::CREATED;
        response = reply::located(response, &format!("/v1/requests/{request}"));
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    account: Option<AccountId>,
    before: Option<u64>,
    #[serde(default)]
    limit: u8,
}

/// Requests of an account, or those about none, newest first: `GET /v1/requests?account=…&before=…&limit=20`
pub(super) async fn list(
    caller: Caller,
    Asked(Page { account, before, limit }): Asked<Page>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestList { account, before, limit }).await
}

/// A request and what has happened to it: `GET /v1/requests/{request}`
pub(super) async fn get(
    caller: Caller,
    Named(request): Named<ServiceRequestId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestGet { request }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    text: Prose<1500>,
}

/// Adds a word to a request: `POST /v1/requests/{request}/notes`
pub(super) async fn note(
    caller: Caller,
    Named(request): Named<ServiceRequestId>,
    Body(Note { text }): Body<Note>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestNote { request, text }).await
}

/// Withdraws a request: `POST /v1/requests/{request}/cancel`
pub(super) async fn cancel(
    caller: Caller,
    Named(request): Named<ServiceRequestId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestCancel { request }).await
}

/// Outages at a premise, now and planned: `GET /v1/accounts/{account}/outages`
pub(super) async fn outages(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::OutageList { account }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notices {
    before: Option<u64>,
    #[serde(default)]
    limit: u8,
}

/// What the customer was told, newest first: `GET /v1/notices?before=…&limit=20`
pub(super) async fn notices(
    caller: Caller,
    Asked(Notices { before, limit }): Asked<Notices>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::NoticeList { before, limit }).await
}

/// Marks it as read: `POST /v1/notices/read`
pub(super) async fn notices_read(
    caller: Caller,
    Body(read): Body<requests::NoticeRead>,
) -> Result<Response, ApiProblem> {
    caller.ask(read).await
}
