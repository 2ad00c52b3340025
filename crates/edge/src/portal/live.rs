//! Tells an open page, by server-sent events, that what it shows has moved; the page then fetches itself anew.
//!
//! Without script, or without events, pages look again by themselves, more slowly.
use std::{convert::Infallible, time::Duration};

use axum::{
    extract::Path,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::{Stream, stream};
use protocol::catalogue::{Operation, requests};

use super::visit::{Stop, Visit};

/// How often the center is asked.
const EVERY: Duration = Duration::from_secs(1);
/// For how many rounds a stream lasts; the browser then comes again.
const ROUNDS: u32 = 55;

/// `GET /payments/{id}/live`
pub(super) async fn payment(visit: Visit, Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(payment) => follow(visit, requests::PaymentGet { payment }).await,
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /requests/{id}/live`
pub(super) async fn request(visit: Visit, Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(request) => follow(visit, requests::RequestGet { request }).await,
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /exports/{account}/live`
pub(super) async fn exports(visit: Visit, Path(account): Path<String>) -> Response {
    match account.parse() {
        Ok(account) => follow(visit, requests::ExportList { account }).await,
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn follow<O>(mut visit: Visit, operation: O) -> Response
where
    O: Operation<Reply: PartialEq + Send> + Clone + Send + Sync + 'static,
{
    // A session is renewed by pages, which can set its cookies; an answer that goes on for a minute cannot.
    match visit.read(operation.clone()).await {
        Ok(first) => Sse::new(changes(visit, operation, first)).into_response(),
        Err(Stop::LogIn) => StatusCode::UNAUTHORIZED.into_response(),
        Err(Stop::NotFound) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// An event for each change, and a comment for each round without one: so a connection that is gone is noticed.
fn changes<O>(visit: Visit, operation: O, first: O::Reply) -> impl Stream<Item = Result<Event, Infallible>>
where
    O: Operation<Reply: PartialEq + Send> + Clone + Send + Sync + 'static,
{
    stream::unfold((visit, operation, first, 0), |(mut visit, operation, seen, round)| async move {
        if round >= ROUNDS {
            return None;
        }
        let closing = visit.portal.closing.clone();
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = closing.cancelled() => return None,
        }
        match visit.read(operation.clone()).await {
            Ok(now) if now == seen => {
                Some((Ok(Event::default().comment("")), (visit, operation, now, round + 1)))
            }
            Ok(now) => {
                Some((Ok(Event::default().event("change").data("")), (visit, operation, now, round + 1)))
            }
            Err(_) => None,
        }
    })
}
