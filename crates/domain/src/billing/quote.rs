//! What energy would cost: any month's, any amount, under any tariff; and a month that was used under several.
use serde::{Deserialize, Serialize};

use super::{BillDraft, BillInput, BillTerms, BillingError, bill, charge::pro_rata};
use crate::calendar::Month;
use crate::money::{Fen, Wh};
use crate::tariff::{PeriodName, Prices, Tariff};
use crate::usage::UsageMonth;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    /// By which tariff.
    pub tariff: &'a Tariff,
    /// In which month.
    pub month: Month,
    /// How much is used in it.
    pub energy_wh: Wh,
    /// How much of it in the valley hours, per mille; needed where prices depend on the hour. What is not used in the
    /// valley is spread evenly over the other hours.
    pub valley_per_mille: Option<u16>,
    /// How much was used since January, where tiers count by the year.
    pub used_before_wh: Wh,
    /// What the contract says.
    pub terms: BillTerms,
}

/// Why there is no quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The tariff's prices depend on the hour, and the share of the valley hours is not said.
    #[error("the tariff has prices by the hour: say how much is used in the valley hours")]
    NoShare,
    /// It cannot be billed.
    #[error(transparent)]
    Billing(#[from] BillingError),
}

impl Quote<'_> {
    /// The bill it would be.
    ///
    /// # Errors
    /// [`QuoteError`] where the share of the valley hours is needed and missing, or the month cannot be billed.
    pub fn bill(&self) -> Result<BillDraft, QuoteError> {
        let version = self.tariff.version_named(self.month.first_day());
        let usage = match version.map(|version| &version.prices) {
            Some(Prices::TimeOfUse { periods }) => {
                let share = i128::from(self.valley_per_mille.ok_or(QuoteError::NoShare)?.min(1000));
                let is_valley = |name: PeriodName| name == PeriodName::Valley;
                let has_valley = periods.iter().any(|period| is_valley(period.name));
                let valley = if has_valley { i128::from(self.energy_wh.0) * share / 1000 } else { 0 };
                let valley = Wh(valley as i64);
                let minutes: Vec<Wh> = periods
                    .iter()
                    .map(|period| match is_valley(period.name) {
                        true => Wh(0),
                        false => Wh((0..1440).filter(|minute| period.holds(*minute)).count() as i64),
                    })
                    .collect();
                let mut parts = pro_rata(self.energy_wh - valley, &minutes);
                for (part, period) in parts.iter_mut().zip(periods) {
                    if is_valley(period.name) {
                        *part = valley;
                    }
                }
                UsageMonth::from_periods(self.month, periods, &parts)
            }
            _ => UsageMonth::from_total(self.month, self.energy_wh),
        };
        let input = BillInput {
            tariff: self.tariff,
            usage: &usage,
            used_before_wh: self.used_before_wh,
            terms: self.terms,
        };
        Ok(bill(&input)?)
    }
}

/// Why a month is left out of a comparison of tariffs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// There are no readings of it.
    Unread,
    /// Some of its days have no readings.
    Incomplete,
    /// Its readings do not tell the hours.
    Coarse,
    /// One of the tariffs cannot bill it: use below zero, or no version that early.
    Unbillable,
}

/// What a month costs under each of `tariffs`, in their order.
///
/// # Errors
/// [`LeftOut`] where the month's readings do not allow to compare them.
pub fn month_under(
    tariffs: &[&Tariff],
    usage: &UsageMonth,
    used_before_wh: Wh,
    terms: &BillTerms,
) -> Result<Vec<Fen>, LeftOut> {
    match usage.days_read() {
        0 => return Err(LeftOut::Unread),
        days if days < u32::from(usage.month().days()) => return Err(LeftOut::Incomplete),
        _ => {}
    }
    if usage.by_hour().is_none() {
        return Err(LeftOut::Coarse);
    }
    let amount = |tariff: &&Tariff| {
        let input = BillInput { tariff, usage, used_before_wh, terms: *terms };
        bill(&input).map(|draft| draft.amount_fen).map_err(|error| match error {
            BillingError::Usage(_) => LeftOut::Coarse,
            _ => LeftOut::Unbillable,
        })
    };
    tariffs.iter().map(amount).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::billing::LineKind;
    use crate::tariff::TariffBook;

    fn tariff(id: &str) -> &'static Tariff {
        TariffBook::published().get(id).unwrap()
    }

    fn quote(id: &str, kwh: i64, valley: Option<u16>, before_kwh: i64) -> Quote<'static> {
        Quote {
            tariff: tariff(id),
            month: "2026-08".parse().unwrap(),
            energy_wh: Wh::from_kwh(kwh),
            valley_per_mille: valley,
            used_before_wh: Wh::from_kwh(before_kwh),
            terms: BillTerms::default(),
        }
    }

    #[test]
    fn a_quote_is_the_bill_it_would_be() {
        // 360 kWh, 150 of them at night, 200 beyond the limit: as worked out by hand for the bill of August 2024.
        let draft = quote("zj-residential-tou", 360, Some(417), 2600).bill().unwrap();
        let energy: Vec<i64> = draft.lines.iter().map(|line| line.energy_wh.0).collect();
        assert_eq!(energy, [209_880, 150_120, 200_000]);
        assert_eq!(draft.amount_fen, Fen(11_921 + 4_323 + 1_000));
        assert_eq!(quote("zj-residential", 100, None, 0).bill().unwrap().amount_fen, Fen(5_380));
        assert_eq!(quote("zj-residential-tou", 100, None, 0).bill(), Err(QuoteError::NoShare));
        let absurd = Quote { energy_wh: Wh(-1), ..quote("zj-residential", 0, None, 0) };
        assert!(matches!(absurd.bill(), Err(QuoteError::Billing(_))));
        let absurd = Quote { energy_wh: Wh(i64::MAX), ..quote("sh-residential-tou", 0, Some(500), 0) };
        assert!(matches!(absurd.bill(), Err(QuoteError::Billing(_))));
    }

    #[test]
    fn a_month_says_why_it_is_left_out() {
        let month: Month = "2026-04".parse().unwrap();
        let both = [tariff("zj-residential"), tariff("zj-residential-tou")];
        let under = |usage: &UsageMonth| month_under(&both, usage, Wh(0), &BillTerms::default());
        assert_eq!(under(&UsageMonth::new(month)), Err(LeftOut::Unread));
        assert_eq!(under(&UsageMonth::from_total(month, Wh(9))), Err(LeftOut::Coarse));
        assert_eq!(under(&UsageMonth::from_hours(month, [Wh(-1); 24])), Err(LeftOut::Unbillable));
        let mut part = UsageMonth::new(month);
        part.add_day(&crate::readings::DayReadings::new(month.first_day(), 3600).unwrap()).unwrap();
        assert_eq!(under(&part), Err(LeftOut::Incomplete));
        // 24 kWh, 14 of them from 8 to 22.
        let costs = under(&UsageMonth::from_hours(month, [Wh(1000); 24])).unwrap();
        assert_eq!(costs, [Fen(1291), Fen(795 + 288)]);
    }

    proptest! {
        #[test]
        fn a_quote_bills_all_of_it_once(
            id in prop::sample::select(vec!["zj-residential", "zj-residential-tou", "sh-residential-tou", "gz-residential"]),
            energy in 0i64..3_000_000,
            share in 0u16..=1000,
            before in 0i64..6_000_000,
        ) {
            let asked = Quote { energy_wh: Wh(energy), used_before_wh: Wh(before), ..quote(id, 0, Some(share), 0) };
            let draft = asked.bill().unwrap();
            let base: Wh = draft.lines.iter().filter(|l| !l.kind.is_surcharge()).map(|l| l.energy_wh).sum();
            prop_assert_eq!(base, Wh(energy));
            let valley = draft.lines.iter().find(|l| l.kind == LineKind::Period(PeriodName::Valley));
            if let Some(valley) = valley {
                prop_assert_eq!(valley.energy_wh.0, energy * i64::from(share) / 1000);
            }
        }

        /// An independent bill: each Wh priced by itself, in floating point, from the published tables written out again.
        #[test]
        fn a_month_under_two_tariffs_costs_what_its_hours_cost(
            hours in prop::array::uniform24(0i64..40_000),
            before in 0i64..6_000_000,
        ) {
            let month: Month = "2026-07".parse().unwrap();
            let usage = UsageMonth::from_hours(month, hours.map(Wh));
            let both = [tariff("zj-residential"), tariff("zj-residential-tou")];
            let costs = month_under(&both, &usage, Wh(before), &BillTerms::default()).unwrap();
            let total: i64 = hours.iter().sum();
            let beyond = |limit: i64| ((before + total - limit).max(0) - (before - limit).max(0)) as f64 / 1000.0;
            let surcharge = beyond(2_760_000) * 0.05 + beyond(4_800_000) * 0.25;
            let day: i64 = hours[8..22].iter().sum();
            let single = total as f64 / 1000.0 * 0.538 + surcharge;
            let by_hour = day as f64 / 1000.0 * 0.568 + (total - day) as f64 / 1000.0 * 0.288 + surcharge;
            prop_assert!((costs[0].0 as f64 / 100.0 - single).abs() < 0.021, "{costs:?} {single}");
            prop_assert!((costs[1].0 as f64 / 100.0 - by_hour).abs() < 0.021, "{costs:?} {by_hour}");
        }
    }
}
