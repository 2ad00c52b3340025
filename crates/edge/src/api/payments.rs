//! Payments.
use axum::{http::StatusCode, response::Response};
use protocol::{
    AccountId, PaymentId,
    bounds::{PayableFen, ShortName},
    catalogue::{replies, requests},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiProblem,
    body::{Asked, Body, Named, Nothing, at_most, cursor},
    caller::Caller,
    reply,
};
use crate::inward::Answered;

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::PaymentCreate)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// How much, in fen.
    amount_fen: PayableFen,
    /// Through which payment provider.
    provider: ShortName,
}

/// Orders a payment. What is more than owed becomes credit.
///
/// `201` and where it is to be seen, once it stands: with `Prefer: wait`, or under its operation.
#[utoipa::path(post, path = "/accounts/{account}/payments", operation_id = "payment_create", tag = "payments",
    request_body = Order,
    responses((status = CREATED, body = replies::PaymentCreate)))]
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

/// Which page of payments.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only payments ordered before this time, Unix ms: the cursor of the page before.
    #[serde(default, deserialize_with = "cursor")]
    before: Option<u64>,
    /// At most this many; 0 means 50.
    #[serde(default, deserialize_with = "at_most::<50, _>")]
    #[param(maximum = 50)]
    limit: u8,
}

/// An account's payments, newest first.
///
/// The next page is asked for with `before` = `next_before` of this one.
#[utoipa::path(get, path = "/accounts/{account}/payments", operation_id = "payment_list", tag = "payments",
    params(Page),
    responses((status = OK, body = replies::PaymentList)))]
pub(super) async fn list(
    caller: Caller,
    Named(account): Named<AccountId>,
    Asked(Page { before, limit }): Asked<Page>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::PaymentList { account, before, limit }).await
}

/// A payment's state, and its receipt once paid.
#[utoipa::path(get, path = "/payments/{payment}", operation_id = "payment_get", tag = "payments",
    responses((status = OK, body = replies::PaymentGet)))]
pub(super) async fn get(caller: Caller, Named(payment): Named<PaymentId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::PaymentGet { payment }).await
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::RefundCreate)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    /// How much, in fen; at most what the payment says is refundable.
    amount_fen: PayableFen,
}

/// Asks for credit back that a payment became; else it stays and pays the next bills.
///
/// It goes back the way it was paid, and only who paid can ask. How it stands is in the payment.
#[utoipa::path(post, path = "/payments/{payment}/refunds", operation_id = "refund_create", tag = "payments",
    request_body = Back,
    responses((status = OK, body = replies::RefundCreate)))]
pub(super) async fn refund(
    caller: Caller,
    Named(payment): Named<PaymentId>,
    Body(Back { amount_fen }): Body<Back>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::RefundCreate { payment, amount_fen }).await
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::MandateCreate)]
#[serde(deny_unknown_fields)]
pub(super) struct Leave {
    /// Through which payment provider.
    provider: ShortName,
    /// The most that one debit may take, in fen.
    limit_fen: PayableFen,
}

/// How automatic debit stands for an account.
#[utoipa::path(get, path = "/accounts/{account}/mandate", operation_id = "mandate_get", tag = "payments",
    responses((status = OK, body = replies::MandateGet)))]
pub(super) async fn mandate(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::MandateGet { account }).await
}

/// Sets up automatic debit: the customer has then to sign it on the provider's page.
///
/// Nothing is debited before the provider has said that it is signed.
#[utoipa::path(post, path = "/accounts/{account}/mandate", operation_id = "mandate_create", tag = "payments",
    request_body = Leave,
    responses((status = OK, body = replies::MandateCreate)))]
pub(super) async fn mandate_create(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Leave { provider, limit_fen }): Body<Leave>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::MandateCreate { account, provider, limit_fen }).await
}

/// Ends automatic debit, signed or not.
#[utoipa::path(post, path = "/accounts/{account}/mandate/end", operation_id = "mandate_end", tag = "payments",
    request_body = Nothing,
    responses((status = OK, body = replies::MandateEnd)))]
pub(super) async fn mandate_end(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::MandateEnd { account }).await
}

/// Whose account a number is, masked, and what is owed.
///
/// Who has asked may pay for it.
#[utoipa::path(get, path = "/payees/{account}", operation_id = "payee_get", tag = "payments",
    responses((status = OK, body = replies::PayeeGet)))]
pub(super) async fn payee(caller: Caller, Named(account): Named<AccountId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::PayeeGet { account }).await
}
