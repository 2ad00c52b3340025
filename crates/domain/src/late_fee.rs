//! The late fee (电费违约金): what a bill costs on top once its date has passed.
//!
//! After the 《供电营业规则》 (rules on the supply and use of electricity): from the day after the due date to the day of
//! payment, each day costs a share of what is still owed, for residents one per mille. It is simple, not compound: a fee
//! bears no fee. It never comes to more than the bill itself.
//!
//! What has accrued is kept exactly, in millionths of a fen, and rounded half up once, where it is shown or charged; so a
//! bill paid in parts, at whatever times, comes to the same to the fen as the sum of its days.
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::money::Fen;

/// What a day costs, in millionths of what is owed: 1000 is one per mille.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct LateFeeRate(u32);

/// A rate beyond one per cent a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a late fee of {0} millionths a day is more than 10000, one per cent")]
pub struct LateFeeRateError(u32);

impl LateFeeRate {
    /// No fee.
    pub const NONE: LateFeeRate = LateFeeRate(0);
    /// One per mille a day, what residents pay.
    pub const RESIDENTS: LateFeeRate = LateFeeRate(1000);

    /// A rate of `millionths` a day, at most one per cent.
    ///
    /// # Errors
    /// [`LateFeeRateError`] for more.
    pub fn new(millionths: u32) -> Result<LateFeeRate, LateFeeRateError> {
        if millionths <= 10_000 { Ok(LateFeeRate(millionths)) } else { Err(LateFeeRateError(millionths)) }
    }

    /// Millionths a day.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for LateFeeRate {
    type Error = LateFeeRateError;

    fn try_from(millionths: u32) -> Result<LateFeeRate, LateFeeRateError> {
        LateFeeRate::new(millionths)
    }
}

impl From<LateFeeRate> for u32 {
    fn from(rate: LateFeeRate) -> u32 {
        rate.0
    }
}

/// A bill's late fee, as far as it has been reckoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateFee {
    /// Accrued so far, in millionths of a fen.
    pub accrued_e6: i64,
    /// The last day that is in it; `None` while none is.
    pub through: Option<Date>,
    /// What of it has been paid.
    pub paid_fen: Fen,
}

/// What a late fee is reckoned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The bill's amount: the fee never exceeds it.
    pub amount_fen: Fen,
    /// What of it is still to be paid; the fee accrues on that.
    pub open_fen: Fen,
    /// The last day without a fee.
    pub due_on: Date,
}

impl LateFee {
    /// The fee with every day through `day` in it. A day that is in it already changes nothing: it never falls.
    pub fn through(self, day: Date, bill: &Overdue, rate: LateFeeRate) -> LateFee {
        let from = self.through.map_or(bill.due_on, |through| through.max(bill.due_on));
        if day <= from {
            return self;
        }
        let days = (day - from).get_days();
        let more = i128::from(days) * i128::from(bill.open_fen.0.max(0)) * i128::from(rate.0);
        let most = i128::from(bill.amount_fen.0.max(0)) * MILLION;
        let accrued = (i128::from(self.accrued_e6) + more).min(most);
        LateFee { accrued_e6: i64::try_from(accrued).unwrap_or(i64::MAX), through: Some(day), ..self }
    }

    /// In all so far, rounded half up to the fen.
    pub fn total_fen(&self) -> Fen {
        Fen(((i128::from(self.accrued_e6) + MILLION / 2) / MILLION) as i64)
    }

    /// What of it is still to be paid.
    pub fn open_fen(&self) -> Fen {
        Fen((self.total_fen().0 - self.paid_fen.0).max(0))
    }
}

const MILLION: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use jiff::{ToSpan, civil::date};
    use proptest::prelude::*;

    use super::*;

    const DUE: Date = date(2026, 9, 25);

    fn bill(amount: i64, open: i64) -> Overdue {
        Overdue { amount_fen: Fen(amount), open_fen: Fen(open), due_on: DUE }
    }

    fn after(days: i32) -> Date {
        DUE.checked_add(days.days()).unwrap()
    }

    fn fee(amount: i64, days: i32) -> i64 {
        LateFee::default().through(after(days), &bill(amount, amount), LateFeeRate::RESIDENTS).total_fen().0
    }

    #[test]
    fn it_begins_the_day_after_the_due_date_and_is_simple() {
        assert_eq!((fee(20_000, -5), fee(20_000, 0)), (0, 0));
        assert_eq!((fee(20_000, 1), fee(20_000, 2), fee(20_000, 30)), (20, 40, 600));
        assert_eq!((fee(499, 1), fee(500, 1)), (0, 1), "half up, once a bill");
        assert_eq!(fee(100, 14), 1, "fourteen days of a tenth of a fen, not fourteen times nothing");
    }

    #[test]
    fn it_never_exceeds_the_bill() {
        assert_eq!((fee(20_000, 999), fee(20_000, 1000), fee(20_000, 5000)), (19_980, 20_000, 20_000));
        assert_eq!(fee(i64::MAX / 1_000_000, 5000), i64::MAX / 1_000_000);
        assert!(fee(i64::MAX, 5000) > 0, "does not fit, and does not wrap");
    }

    #[test]
    fn what_is_paid_of_the_principal_stops_accruing() {
        let rate = LateFeeRate::RESIDENTS;
        let half = LateFee::default().through(after(10), &bill(20_000, 20_000), rate);
        let later = half.through(after(20), &bill(20_000, 10_000), rate);
        assert_eq!((half.total_fen(), later.total_fen()), (Fen(200), Fen(300)));
        let closed = later.through(after(99), &bill(20_000, 0), rate);
        assert_eq!(closed.total_fen(), Fen(300));
        let paid = LateFee { paid_fen: Fen(250), ..closed };
        assert_eq!((paid.open_fen(), closed.open_fen()), (Fen(50), Fen(300)));
    }

    #[test]
    fn a_rate_is_at_most_one_per_cent_a_day() {
        assert_eq!(LateFeeRate::new(10_001), Err(LateFeeRateError(10_001)));
        assert_eq!(LateFeeRate::new(1000), Ok(LateFeeRate::RESIDENTS));
        assert_eq!(LateFee::default().through(after(9), &bill(5, 5), LateFeeRate::NONE).total_fen(), Fen(0));
    }

    proptest! {
        #[test]
        fn it_grows_with_time_and_stays_within_the_bill(
            amount in 0i64..100_000_000, a in -40i32..3000, b in -40i32..3000, rate in 0u32..=10_000,
        ) {
            let rate = LateFeeRate::new(rate).unwrap();
            let on = |days| LateFee::default().through(after(days), &bill(amount, amount), rate).total_fen();
            let (early, late) = (a.min(b), a.max(b));
            prop_assert!(on(early) <= on(late));
            prop_assert!(on(late) <= Fen(amount) && on(late) >= Fen(0));
        }

        #[test]
        fn looking_in_between_changes_nothing(
            amount in 1i64..100_000_000, looks in prop::collection::vec(-10i32..1500, 0..12), end in 0i32..1500,
        ) {
            let bill = bill(amount, amount);
            let rate = LateFeeRate::RESIDENTS;
            let looked = looks.iter().fold(LateFee::default(), |fee, days| fee.through(after((*days).min(end)), &bill, rate));
            let once = LateFee::default().through(after(end), &bill, rate);
            prop_assert_eq!(looked.through(after(end), &bill, rate).total_fen(), once.total_fen());
        }

        #[test]
        fn parts_paid_over_time_come_to_the_sum_of_the_days(
            parts in prop::collection::vec((1i64..5_000_000, 1i32..60), 1..10),
        ) {
            let amount: i64 = parts.iter().map(|(part, _)| part).sum();
            let (mut fee, mut open, mut day, mut by_day_e6) = (LateFee::default(), amount, 0, 0i128);
            for (part, days) in parts {
                day += days;
                fee = fee.through(after(day), &bill(amount, open), LateFeeRate::RESIDENTS);
                by_day_e6 += (0..days).map(|_| i128::from(open) * 1000).sum::<i128>();
                open -= part;
            }
            prop_assert_eq!(i128::from(fee.accrued_e6), by_day_e6.min(i128::from(amount) * MILLION));
            prop_assert!((i128::from(fee.total_fen().0) * MILLION - i128::from(fee.accrued_e6)).abs() <= MILLION / 2);
        }
    }
}
