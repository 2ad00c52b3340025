//! What use costs: where it stands in the tiers, a year of it, quotes, tariffs beside each other.
use axum::response::Response;
use protocol::{
    AccountId,
    bounds::{PerMille, QuotedWh, Year},
    catalogue::requests,
};
use serde::Deserialize;
use web::domain::{calendar::Month, tariff::TariffId};

use super::{
    ApiProblem,
    body::{Asked, Named},
    caller::Caller,
};

/// Where the use stands in the tiers, and where its pace leads: `GET /v1/accounts/{account}/tier`
pub(super) async fn tier(caller: Caller, Named(account): Named<AccountId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::TierGet { account }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfYear {
    year: Year,
}

/// A year's use, month by month: `GET /v1/accounts/{account}/usage?year=2026`
pub(super) async fn year(
    caller: Caller,
    Named(account): Named<AccountId>,
    Asked(OfYear { year }): Asked<OfYear>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::UsageYear { account, year }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Use {
    tariff: Option<TariffId>,
    month: Month,
    energy_wh: QuotedWh,
    valley_per_mille: Option<PerMille>,
    #[serde(default = "nothing")]
    used_before_wh: QuotedWh,
}

fn nothing() -> QuotedWh {
    QuotedWh::LEAST
}

/// What energy would cost: `GET /v1/accounts/{account}/tariffs/quote?month=2026-08&energy_wh=300000`
pub(super) async fn quote(
    caller: Caller,
    Named(account): Named<AccountId>,
    Asked(asked): Asked<Use>,
) -> Result<Response, ApiProblem> {
    let Use { tariff, month, energy_wh, valley_per_mille, used_before_wh } = asked;
    let request =
        requests::TariffQuote { account, tariff, month, energy_wh, valley_per_mille, used_before_wh };
    caller.ask(request).await
}

/// The past twelve months under every tariff of the place: `GET /v1/accounts/{account}/tariffs/compare`
pub(super) async fn compare(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::TariffCompare { account }).await
}
