//! Accounts, their bills and their use.
use axum::response::Response;
use protocol::{
    AccountId, BillId,
    catalogue::requests::{self, BindProof},
};
use serde::Deserialize;
use web::domain::calendar::Month;

use super::{
    ApiProblem,
    body::{Asked, Body, Named, Nothing},
    caller::Caller,
};

/// The accounts the customer has bound: `GET /v1/accounts`
pub(super) async fn list(caller: Caller) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountList {}).await
}

/// What is owed, this month so far, the tier: `GET /v1/accounts/{account}`
pub(super) async fn summary(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountSummary { account }).await
}

/// How long binding waits for its result, in ms, where the client does not say: the challenge is needed to go on.
const BIND_START_WAIT_MS: u32 = 10_000;

/// Sends a code to the phone registered with an account: `POST /v1/accounts/{account}/bind/start`
pub(super) async fn bind_start(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(BIND_START_WAIT_MS).ask(requests::AccountBindStart { account }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bind {
    proof: BindProof,
}

/// Binds an account, with proof: `POST /v1/accounts/{account}/bind`
pub(super) async fn bind(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Bind { proof }): Body<Bind>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountBind { account, proof }).await
}

/// Sends a code, to unbind, to the phone registered with an account: `POST /v1/accounts/{account}/unbind/start`
pub(super) async fn unbind_start(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiProblem> {
    caller.or_wait_ms(BIND_START_WAIT_MS).ask(requests::AccountUnbindStart { account }).await
}

/// Takes an account off the customer's list, with proof: `POST /v1/accounts/{account}/unbind`
pub(super) async fn unbind(
    caller: Caller,
    Named(account): Named<AccountId>,
    Body(Bind { proof }): Body<Bind>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::AccountUnbind { account, proof }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    before: Option<Month>,
    #[serde(default)]
    limit: u8,
}

/// An account's bills, newest first: `GET /v1/accounts/{account}/bills?before=2026-01&limit=13`
pub(super) async fn bills(
    caller: Caller,
    Named(account): Named<AccountId>,
    Asked(Page { before, limit }): Asked<Page>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::BillList { account, before, limit }).await
}

/// One bill with lines that one can recompute: `GET /v1/bills/{bill}`
pub(super) async fn bill(caller: Caller, Named(bill): Named<BillId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::BillGet { bill }).await
}

/// A month's use, day by day: `GET /v1/accounts/{account}/usage/{month}`
pub(super) async fn usage(
    caller: Caller,
    Named((account, month)): Named<(AccountId, Month)>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::UsageMonth { account, month }).await
}
