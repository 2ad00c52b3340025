//! The channel API: JSON over HTTP under `/v1`.
//!
//! The router below is its table of contents. Each handler shapes one operation, asks it inside, and replies; what all
//! of them share (headers, bodies, problems) is in the modules beside.
mod accounts;
mod body;
mod callbacks;
mod caller;
mod etag;
pub(crate) mod exports;
pub(crate) mod files;
pub mod openapi;
mod operations;
mod payments;
mod person;
mod problem;
mod reply;
mod requests;
mod sessions;
mod tariffs;

use axum::{Extension, Router};
use protocol::{Code, Problem};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{files::Files, inward::Inward};

pub(crate) use problem::{ApiProblem, render};

/// No body of a request is longer, in bytes.
pub(crate) const BODY_MAX: usize = 16 * 1024;

/// Everything under `/v1`.
pub(crate) fn router(inward: Inward, files: Files) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .merge(files::router())
        .merge(exports::router())
        .layer(Extension(files))
        .fallback(nowhere)
        .method_not_allowed_fallback(async || {
            ApiProblem(Problem::new(Code::MethodNotAllowed, "The Allow header says which methods it takes."))
        })
        .with_state(inward)
}

/// The operations, each with what its handler says about it.
fn described() -> OpenApiRouter<Inward> {
    OpenApiRouter::new()
        .routes(routes!(sessions::login_start))
        .routes(routes!(sessions::login_finish))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::staff))
        .routes(routes!(person::sessions))
        .routes(routes!(person::end_other))
        .routes(routes!(person::get, person::correct))
        .routes(routes!(person::delete_start))
        .routes(routes!(person::delete))
        .routes(routes!(person::phone_start))
        .routes(routes!(person::phone))
        .routes(routes!(person::preferences, person::prefer))
        .routes(routes!(accounts::list))
        .routes(routes!(accounts::summary))
        .routes(routes!(accounts::bind_start))
        .routes(routes!(accounts::bind))
        .routes(routes!(accounts::unbind_start))
        .routes(routes!(accounts::unbind))
        .routes(routes!(accounts::bills))
        .routes(routes!(accounts::usage))
        .routes(routes!(tariffs::year))
        .routes(routes!(tariffs::tier))
        .routes(routes!(tariffs::quote))
        .routes(routes!(tariffs::compare))
        .routes(routes!(accounts::bill))
        .routes(routes!(payments::list, payments::create))
        .routes(routes!(payments::payee))
        .routes(routes!(payments::get))
        .routes(routes!(payments::refund))
        .routes(routes!(payments::mandate, payments::mandate_create))
        .routes(routes!(payments::mandate_end))
        .routes(routes!(callbacks::payment))
        .routes(routes!(requests::forms))
        .routes(routes!(requests::list, requests::create))
        .routes(routes!(requests::get))
        .routes(routes!(requests::note))
        .routes(routes!(files::name))
        .routes(routes!(requests::cancel))
        .routes(routes!(requests::fault))
        .routes(routes!(requests::outages))
        .routes(routes!(requests::notices))
        .routes(routes!(requests::notices_read))
        .routes(routes!(exports::list, exports::create))
        .routes(routes!(exports::one))
        .routes(routes!(operations::get))
        .routes(routes!(operations::gate))
}

/// What every address under `/v1` that is none answers.
pub(crate) async fn nowhere() -> ApiProblem {
    ApiProblem(Problem::new(Code::NotFound, "There is nothing at this address."))
}
