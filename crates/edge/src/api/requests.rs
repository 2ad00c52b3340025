//! Requests, fault reports, outages, and what customers are told.
use axum::{http::StatusCode, response::Response};
use protocol::{
    AccountId, ServiceRequestId,
    bounds::{Phone, Prose},
    catalogue::{
        replies,
        requests::{self, FaultKind},
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiProblem,
    body::{Asked, Body, Named, Nothing, at_most, cursor},
    caller::Caller,
    reply,
};
use crate::inward::{Answer, Answered};

/// The forms a customer can send in.
#[utoipa::path(get, path = "/forms", operation_id = "form_list", tag = "requests",
    responses((status = OK, body = replies::FormList)))]
pub(super) async fn forms(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::FormList {}).await
}

/// Sends in a form.
///
/// `201` and where it is to be seen, once it stands: with `Prefer: wait`, or under its operation.
#[utoipa::path(post, path = "/requests", operation_id = "request_create", tag = "requests",
    request_body = requests::RequestCreate,
    responses((status = CREATED, body = replies::RequestCreate)))]
pub(super) async fn create(
    caller: Caller,
    Body(request): Body<requests::RequestCreate>,
) -> Result<Response, ApiProblem> {
    let answer = caller.answer(request).await?;
    let request = done(&answer).map(|reply| reply.request);
    Ok(made(&caller, reply::response(answer), request))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::FaultReport)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// What is wrong.
    kind: FaultKind,
    /// In the customer's own words; may be empty.
    #[serde(default)]
    text: Prose<1000>,
    /// Whom to call, if not the phone one logged in with.
    phone: Option<Phone>,
}

/// Reports a fault.
///
/// `201` and where it is to be seen, once it stands: with `Prefer: wait`, or under its operation.
#[utoipa::path(post, path = "/accounts/{account}/faults", operation_id = "fault_report", tag = "requests",
    request_body = Fault,
    responses((status = CREATED, body = replies::FaultReport)))]
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Of which account; not said: those about none, that the customer sent in.
    account: Option<AccountId>,
    /// Only requests made before this time, Unix ms: the cursor of the page before.
    #[serde(default, deserialize_with = "cursor")]
    before: Option<u64>,
    /// At most this many; 0 means 20.
    #[serde(default, deserialize_with = "at_most::<50, _>")]
    #[param(maximum = 50)]
    limit: u8,
}

/// Requests of an account, or those about none, newest first.
///
/// The next page is asked for with `before` = `next_before` of this one.
#[utoipa::path(get, path = "/requests", operation_id = "request_list", tag = "requests",
    params(Page),
    responses((status = OK, body = replies::RequestList)))]
pub(super) async fn list(
    caller: Caller,
    Asked(Page { account, before, limit }): Asked<Page>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestList { account, before, limit }).await
}

/// A request and what has happened to it.
#[utoipa::path(get, path = "/requests/{request}", operation_id = "request_get", tag = "requests",
    responses((status = OK, body = replies::RequestGet)))]
pub(super) async fn get(
    caller: Caller,
    Named(request): Named<ServiceRequestId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestGet { request }).await
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::RequestNote)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// The customer's words.
    text: Prose<1500>,
}

/// Adds a word to a request.
#[utoipa::path(post, path = "/requests/{request}/notes", operation_id = "request_note", tag = "requests",
    request_body = Note,
    responses((status = OK, body = replies::RequestNote)))]
pub(super) async fn note(
    caller: Caller,
    Named(request): Named<ServiceRequestId>,
    Body(Note { text }): Body<Note>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestNote { request, text }).await
}

/// Withdraws a request.
#[utoipa::path(post, path = "/requests/{request}/cancel", operation_id = "request_cancel", tag = "requests",
    request_body = Nothing,
    responses((status = OK, body = replies::RequestCancel)))]
pub(super) async fn cancel(
    caller: Caller,
    Named(request): Named<ServiceRequestId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RequestCancel { request }).await
}

/// Outages at a premise, now and planned.
#[utoipa::path(get, path = "/accounts/{account}/outages", operation_id = "outage_list", tag = "requests",
    responses((status = OK, body = replies::OutageList)))]
pub(super) async fn outages(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::OutageList { account }).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Notices {
    /// Only notices with a smaller number: the cursor of the page before.
    #[serde(default, deserialize_with = "cursor")]
    before: Option<u64>,
    /// At most this many; 0 means 20.
    #[serde(default, deserialize_with = "at_most::<50, _>")]
    #[param(maximum = 50)]
    limit: u8,
}

/// What the customer was told, newest first.
///
/// The next page is asked for with `before` = `next_before` of this one.
#[utoipa::path(get, path = "/notices", operation_id = "notice_list", tag = "requests",
    params(Notices),
    responses((status = OK, body = replies::NoticeList)))]
pub(super) async fn notices(
    caller: Caller,
    Asked(Notices { before, limit }): Asked<Notices>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::NoticeList { before, limit }).await
}

/// Marks what the customer was told as read.
#[utoipa::path(post, path = "/notices/read", operation_id = "notice_read", tag = "requests",
    request_body = requests::NoticeRead,
    responses((status = OK, body = replies::NoticeRead)))]
pub(super) async fn notices_read(
    caller: Caller,
    Body(read): Body<requests::NoticeRead>,
) -> Result<Response, ApiProblem> {
    caller.ask(read).await
}
