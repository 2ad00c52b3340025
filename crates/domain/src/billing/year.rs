//! Many months: the annual use carried from one to the next, and two tariffs side by side.
use serde::{Deserialize, Serialize};

use super::{BillDraft, BillInput, BillTerms, BillingError, bill};
use crate::calendar::Month;
use crate::money::{Fen, Wh};
use crate::tariff::{Tariff, TariffId};
use crate::usage::UsageMonth;

/// Bills months in order, carrying the year's use from bill to bill and starting anew each January.
///
/// Months that are left out count as unused; before the first nothing was used in its year.
///
/// # Errors
/// The first [`BillingError`]; [`BillingError::Order`] where months do not rise.
pub fn year_bills(
    tariff: &Tariff,
    months: &[UsageMonth],
    terms: &BillTerms,
) -> Result<Vec<BillDraft>, BillingError> {
    let mut bills: Vec<BillDraft> = Vec::with_capacity(months.len());
    let mut used_before_wh = Wh(0);
    for usage in months {
        if let Some(last) = bills.last() {
            if last.period >= usage.month() {
                return Err(BillingError::Order(usage.month()));
            }
            if last.period.year() != usage.month().year() {
                used_before_wh = Wh(0);
            }
        }
        let draft = bill(&BillInput { tariff, usage, used_before_wh, terms: *terms })?;
        used_before_wh += draft.energy_wh;
        bills.push(draft);
    }
    Ok(bills)
}

/// What the same months cost on two tariffs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The single-rate tariff.
    pub single: TariffId,
    /// The time-of-use tariff.
    pub time_of_use: TariffId,
    /// The energy of all months.
    pub energy_wh: Wh,
    /// What they cost at a single rate.
    pub single_fen: Fen,
    /// What they cost by time of use.
    pub time_of_use_fen: Fen,
    /// Single rate less time of use: what time of use saves; negative where it costs more.
    pub difference_fen: Fen,
    /// Month by month.
    pub months: Vec<MonthComparison>,
}

/// One month of a [`Comparison`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonthComparison {
    /// The month.
    pub month: Month,
    /// Its energy.
    pub energy_wh: Wh,
    /// What it costs at a single rate.
    pub single_fen: Fen,
    /// What it costs by time of use.
    pub time_of_use_fen: Fen,
}

/// Bills the same months with both tariffs, as [`year_bills`] does.
///
/// # Errors
/// The first [`BillingError`].
pub fn compare(
    months: &[UsageMonth],
    single: &Tariff,
    time_of_use: &Tariff,
    terms: &BillTerms,
) -> Result<Comparison, BillingError> {
    let at_single_rate = year_bills(single, months, terms)?;
    let by_time_of_use = year_bills(time_of_use, months, terms)?;
    let total = |bills: &[BillDraft]| bills.iter().map(|bill| bill.amount_fen).sum::<Fen>();
    let (single_fen, time_of_use_fen) = (total(&at_single_rate), total(&by_time_of_use));
    let pairs = at_single_rate.iter().zip(&by_time_of_use);
    Ok(Comparison {
        single: single.id.clone(),
        time_of_use: time_of_use.id.clone(),
        energy_wh: at_single_rate.iter().map(|bill| bill.energy_wh).sum(),
        single_fen,
        time_of_use_fen,
        difference_fen: single_fen - time_of_use_fen,
        months: pairs
            .map(|(one, other)| MonthComparison {
                month: one.period,
                energy_wh: one.energy_wh,
                single_fen: one.amount_fen,
                time_of_use_fen: other.amount_fen,
            })
            .collect(),
    })
}
