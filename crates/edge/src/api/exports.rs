//! Files that are made for customers: exports of use, electronic invoices.
use axum::{
    Extension, Router,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use protocol::{
    AccountId, Code, ExportId, Problem,
    catalogue::{
        replies::{self, ExportFailure, ExportGet, ExportState},
        requests::{self, ExportWhat},
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiProblem,
    body::{Body, Named},
    caller::Caller,
    reply,
};
use crate::{
    files::Files,
    inward::{Answered, Inward},
};

/// When to ask again for a file that is being made, in seconds.
const MADE_WITHIN_S: u32 = 2;

/// What is no JSON, and so stands beside the described operations: the bytes.
pub(crate) fn router() -> Router<Inward> {
    Router::new().route("/exports/{export}/content", get(content))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::ExportCreate)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// What is to be in the file.
    what: ExportWhat,
}

/// Asks for a file to be made: use as a table or as Green Button, or a paid bill's electronic invoice.
///
/// It is made a moment later; how it stands is at `/v1/exports/{export}`, its bytes are then at `/v1/exports/{export}/content`.
#[utoipa::path(post, path = "/accounts/{account}/exports", operation_id = "export_create", tag = "exports",
    request_body = Wanted,
    responses((status = CREATED, body = replies::ExportCreate)))]
pub(super) async fn create(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Wanted { what }): Body<Wanted>,
) -> Result<Response, ApiProblem> {
    let answer = caller.answer(requests::ExportCreate { account, what }).await?;
    let made = match &answer.outcome {
        Answered::Done(reply) => Some(format!("/v1/exports/{}", reply.export.export)),
        _ => None,
    };
    let mut response = caller.prefer(reply::response(answer));
    if let Some(location) = made {
        *response.status_mut() = StatusCode::CREATED;
        response = reply::located(response, &location);
    }
    Ok(response)
}

/// The files that were made for an account, newest first: at most 50.
#[utoipa::path(get, path = "/accounts/{account}/exports", operation_id = "export_list", tag = "exports",
    responses((status = OK, body = replies::ExportList)))]
pub(super) async fn list(caller: Caller, Named(account): Named<AccountId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::ExportList { account }).await
}

/// How a file that is made stands.
///
/// Once it is `ready`, `GET /v1/exports/{export}/content` gives its bytes, also by ranges. Before, that is `409` with
/// `Retry-After`; when its time is over, `410`.
#[utoipa::path(get, path = "/exports/{export}", operation_id = "export_get", tag = "exports",
    responses((status = OK, body = replies::ExportGet)))]
pub(super) async fn one(caller: Caller, Named(export): Named<ExportId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::ExportGet { export }).await
}

/// `GET /v1/exports/{export}/content`
async fn content(
    caller: Caller,
    Extension(files): Extension<Files>,
    Named(export): Named<ExportId>,
    asked: HeaderMap,
) -> Result<Response, ApiProblem> {
    let found = caller.answer(requests::ExportGet { export }).await?.done()?;
    Ok(deliver(&files, &asked, &found).await?)
}

/// The bytes of a file, to who may see how it stands: the ticket that came with that fetches them.
pub(crate) async fn deliver(
    files: &Files,
    asked: &HeaderMap,
    found: &ExportGet,
) -> Result<Response, Problem> {
    let export = &found.export;
    match (export.state, &found.ticket) {
        (ExportState::Ready, Some(ticket)) => {
            files.download(asked, ticket, &export.name, export.what.content_type()).await
        }
        (ExportState::Failed, _) => {
            let why = match export.failure {
                Some(ExportFailure::NoReadings) => "There are no readings in these days.",
                Some(ExportFailure::NotPaid) => "The bill is not wholly paid.",
                Some(ExportFailure::TooLarge) => "It would be too long. Ask for fewer months.",
                Some(ExportFailure::OurSide) | None => "Something on our side kept it from being made.",
            };
            Err(Problem::new(Code::Conflict, format!("The file was not made. {why}")))
        }
        (ExportState::Expired, _) => {
            let why = "The file's time is over, and its bytes are gone. Ask for a new one.";
            Err(Problem::new(Code::ExportGone, why))
        }
        (ExportState::Making | ExportState::Ready, _) => {
            let why = "The file is being made. Ask again in a moment.";
            Err(Problem::new(Code::Conflict, why).retry_after(MADE_WITHIN_S))
        }
    }
}
