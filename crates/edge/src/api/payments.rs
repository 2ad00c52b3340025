//! Payments.
use axum::{http::StatusCode, response::Response};
use protocol::{
    AccountId, PaymentId,
    bounds::{PayableFen, ShortName},
    catalogue::requests,
};
use serde::Deserialize;

use super::{
    ApiProblem,
    body::{Body, Named},
    caller::Caller,
    reply,
};
use crate::inward::Answered;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    amount_fen: PayableFen,
    provider: ShortName,
}

/// Orders a payment: `POST /v1/accounts/{account}/payments`. `201` and where it is to be seen, once it stands.
pub(super) async fn create(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Order { amount_fen, provider }): Body<Order>,
) -> Result<Response, ApiProblem> {
    let answer = caller.answer(requests::PaymentCreate { account, amount_fen, provider }).await?;
    let made = match &answer.outcome {
        Answered::Done(reply) => Some(format!("/v1/payments/{}", reply.payment)),
        _ => None,
    };
    let mut response = caller.prefer(reply::response(answer));
    if let Some(location) = made {
        *response.status_mut() = StatusCode::CREATED;
        response = reply::located(response, &location);
    }
    Ok(response)
}

/// An account's payments, newest first: `GET /v1/accounts/{account}/payments`
pub(super) async fn list(caller: Caller, Named(account): Named<AccountId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::PaymentList { account }).await
}

/// A payment's state, and its receipt once paid: `GET /v1/payments/{payment}`
pub(super) async fn get(caller: Caller, Named(payment): Named<PaymentId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::PaymentGet { payment }).await
}

/// Whose account a number is, masked, and what is owed: `GET /v1/payees/{account}`. Who has asked may pay for it.
pub(super) async fn payee(caller: Caller, Named(account): Named<AccountId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::PayeeGet { account }).await
}
