//! What use costs: where it stands in the tiers, a year of it, quotes, tariffs beside each other.
use axum::response::Response;
use protocol::{
    AccountId,
    bounds::{PerMille, QuotedWh, Year},
    catalogue::{replies, requests},
};
use serde::Deserialize;
use utoipa::IntoParams;
use web::domain::{calendar::Month, tariff::TariffId};

use super::{
    ApiProblem,
    body::{Asked, Named},
    caller::Caller,
};

/// Where the use stands in the tiers, and where its pace leads.
#[utoipa::path(get, path = "/accounts/{account}/tier", operation_id = "tier_get", tag = "usage",
    responses((status = OK, body = replies::TierGet)))]
pub(super) async fn tier(caller: Caller, Named(account): Named<AccountId>) -> Result<Response, ApiProblem> {
    caller.ask(requests::TierGet { account }).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfYear {
    /// Which year.
    year: Year,
}

/// A year's use, month by month.
#[utoipa::path(get, path = "/accounts/{account}/usage", operation_id = "usage_year", tag = "usage",
    params(OfYear),
    responses((status = OK, body = replies::UsageYear)))]
pub(super) async fn year(
    caller: Caller,
    Named(account): Named<AccountId>,
    Asked(OfYear { year }): Asked<OfYear>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::UsageYear { account, year }).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Use {
    /// By which tariff of the place; the account's own where it is not said.
    tariff: Option<TariffId>,
    /// In which month.
    month: Month,
    /// How much.
    energy_wh: QuotedWh,
    /// How much of it in the valley hours; needed where the tariff prices by the hour.
    valley_per_mille: Option<PerMille>,
    /// Used before in the tier period; ignored where tiers count by month.
    #[serde(default = "nothing")]
    used_before_wh: QuotedWh,
}

fn nothing() -> QuotedWh {
    QuotedWh::LEAST
}

/// What energy would cost.
#[utoipa::path(get, path = "/accounts/{account}/tariffs/quote", operation_id = "tariff_quote", tag = "usage",
    params(Use),
    responses((status = OK, body = replies::TariffQuote)))]
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

/// The past twelve months under every tariff of the place.
#[utoipa::path(get, path = "/accounts/{account}/tariffs/compare", operation_id = "tariff_compare", tag = "usage",
    responses((status = OK, body = replies::TariffCompare)))]
pub(super) async fn compare(
    caller: Caller,
    Named(account): Named<AccountId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::TariffCompare { account }).await
}
