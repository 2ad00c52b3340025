//! Accounts, their bills and their use.
use axum::response::Response;
use protocol::{
    AccountId, BillId,
    catalogue::{
        replies,
        requests::{self, BindProof},
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use web::domain::calendar::Month;

use super::{
    ApiProblem,
    body::{Asked, Body, Named, Nothing, at_most},
    caller::Caller,
};

/// The accounts the customer has bound.
#[utoipa::path(get, path = "/accounts", operation_id = "account_list", tag = "accounts",
    responses((status = OK, body = replies::AccountList)))]
pub(super) async fn list(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountList {}).await
}

/// What is owed, this month so far, the tier.
#[utoipa::path(get, path = "/accounts/{account}", operation_id = "account_summary", tag = "accounts",
    responses((status = OK, body = replies::AccountSummary)))]
pub(super) async fn summary(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountSummary { account }).await
}

/// How long binding waits for its result, in ms, where the client does not say: the challenge is needed to go on.
const BIND_START_WAIT_MS: u32 = 10_000;

/// Sends a code to the phone registered with an account.
///
/// Waits for its result, because the challenge is needed to go on.
#[utoipa::path(post, path = "/accounts/{account}/bind/start", operation_id = "account_bind_start", tag = "accounts",
    request_body = Nothing,
    responses((status = OK, body = replies::AccountBindStart)))]
pub(super) async fn bind_start(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(BIND_START_WAIT_MS).ask(requests::AccountBindStart { account }).await
}

#[derive(Deserialize, ToSchema)]
#[schema(as = requests::AccountBind)]
#[serde(deny_unknown_fields)]
pub(super) struct Bind {
    /// What shows that it is theirs to bind.
    proof: BindProof,
}

/// Binds an account, with proof.
#[utoipa::path(post, path = "/accounts/{account}/bind", operation_id = "account_bind", tag = "accounts",
    request_body = Bind,
    responses((status = OK, body = replies::AccountBind)))]
pub(super) async fn bind(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Bind { proof }): Body<Bind>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountBind { account, proof }).await
}

/// Sends a code, to unbind, to the phone registered with an account.
///
/// Waits for its result, because the challenge is needed to go on.
#[utoipa::path(post, path = "/accounts/{account}/unbind/start", operation_id = "account_unbind_start", tag = "accounts",
    request_body = Nothing,
    responses((status = OK, body = replies::AccountUnbindStart)))]
pub(super) async fn unbind_start(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(BIND_START_WAIT_MS).ask(requests::AccountUnbindStart { account }).await
}

/// Takes an account off the customer's list, with proof.
#[utoipa::path(post, path = "/accounts/{account}/unbind", operation_id = "account_unbind", tag = "accounts",
    request_body = Bind,
    responses((status = OK, body = replies::AccountUnbind)))]
pub(super) async fn unbind(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Bind { proof }): Body<Bind>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountUnbind { account, proof }).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only bills of months before this one: the cursor of the page before.
    before: Option<Month>,
    /// At most this many; 0 means 13.
    #[serde(default, deserialize_with = "at_most::<60, _>")]
    #[param(maximum = 60)]
    limit: u8,
}

/// An account's bills, newest first.
///
/// The next page is asked for with `before` = `next_before` of this one.
#[utoipa::path(get, path = "/accounts/{account}/bills", operation_id = "bill_list", tag = "bills",
    params(Page),
    responses((status = OK, body = replies::BillList)))]
pub(super) async fn bills(
    caller: Caller,
    Named(account): Named<AccountId>,
    Asked(Page { before, limit }): Asked<Page>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::BillList { account, before, limit }).await
}

/// One bill with lines that one can recompute.
#[utoipa::path(get, path = "/bills/{bill}", operation_id = "bill_get", tag = "bills",
    responses((status = OK, body = replies::BillGet)))]
pub(super) async fn bill(caller: Caller, Named(bill): Named<BillId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::BillGet { bill }).await
}

/// A month's use, day by day.
#[utoipa::path(get, path = "/accounts/{account}/usage/{month}", operation_id = "usage_month", tag = "usage",
    responses((status = OK, body = replies::UsageMonth)))]
pub(super) async fn usage(
    caller: Caller,
    Named((account, month)): Named<(AccountId, Month)>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::UsageMonth { account, month }).await
}
