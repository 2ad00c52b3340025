//! The channel API: JSON over HTTP under `/v1`.
//!
//! The router below is its table of contents. Each handler shapes one operation, asks it inside, and replies; what all
//! of them share (headers, bodies, problems) is in the modules beside.
mod accounts;
mod body;
mod callbacks;
mod caller;
mod operations;
mod payments;
mod person;
mod problem;
mod reply;
mod requests;
mod sessions;
mod tariffs;

use axum::{
    Router,
    routing::{get, post},
};
use protocol::{Code, Problem};

use crate::inward::Inward;

pub(crate) use problem::{ApiProblem, render};

/// No body of a request is longer, in bytes.
pub(crate) const BODY_MAX: usize = 16 * 1024;

/// Everything under `/v1`.
pub(crate) fn router(inward: Inward) -> Router {
    Router::new()
        .route("/login/start", post(sessions::login_start))
        .route("/login/finish", post(sessions::login_finish))
        .route("/sessions/refresh", post(sessions::refresh))
        .route("/sessions/end", post(sessions::end))
        .route("/sessions", get(person::sessions))
        .route("/sessions/end-other", post(person::end_other))
        .route("/person", get(person::get).put(person::correct))
        .route("/person/delete/start", post(person::delete_start))
        .route("/person/delete", post(person::delete))
        .route("/person/phone/start", post(person::phone_start))
        .route("/person/phone", post(person::phone))
        .route("/person/preferences", get(person::preferences).put(person::prefer))
        .route("/accounts", get(accounts::list))
        .route("/accounts/{account}", get(accounts::summary))
        .route("/accounts/{account}/bind/start", post(accounts::bind_start))
        .route("/accounts/{account}/bind", post(accounts::bind))
        .route("/accounts/{account}/unbind/start", post(accounts::unbind_start))
        .route("/accounts/{account}/unbind", post(accounts::unbind))
        .route("/accounts/{account}/bills", get(accounts::bills))
        .route("/accounts/{account}/usage/{month}", get(accounts::usage))
        .route("/accounts/{account}/usage", get(tariffs::year))
        .route("/accounts/{account}/tier", get(tariffs::tier))
        .route("/accounts/{account}/tariffs/quote", get(tariffs::quote))
        .route("/accounts/{account}/tariffs/compare", get(tariffs::compare))
        .route("/accounts/{account}/payments", get(payments::list).post(payments::create))
        .route("/bills/{bill}", get(accounts::bill))
        .route("/payees/{account}", get(payments::payee))
        .route("/payments/{payment}", get(payments::get))
        .route("/callbacks/payments/{provider}", post(callbacks::payment))
        .route("/accounts/{account}/faults", post(requests::fault))
        .route("/accounts/{account}/outages", get(requests::outages))
        .route("/forms", get(requests::forms))
        .route("/requests", get(requests::list).post(requests::create))
        .route("/requests/{request}", get(requests::get))
        .route("/requests/{request}/notes", post(requests::note))
        .route("/requests/{request}/cancel", post(requests::cancel))
        .route("/notices", get(requests::notices))
        .route("/notices/read", post(requests::notices_read))
        .route("/operations/{operation}", get(operations::get))
        .route("/gate", get(operations::gate))
        .fallback(nowhere)
        .method_not_allowed_fallback(async || {
            ApiProblem(Problem::new(Code::MethodNotAllowed, "The Allow header says which methods it takes."))
        })
        .with_state(inward)
}

/// What every address under `/v1` that is none answers.
pub(crate) async fn nowhere() -> ApiProblem {
    ApiProblem(Problem::new(Code::NotFound, "There is nothing at this address."))
}
