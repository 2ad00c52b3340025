//! The energy of an account in one calendar month, by time of day.
//!
//! A bill needs the month's energy, and a time-of-use bill needs it by period. Both are sums over the month's
//! days, so the month keeps the sum of each slot of the day, at the finest length all its days share.
use serde::{Deserialize, Serialize};

use crate::calendar::Month;
use crate::money::Wh;
use crate::readings::{DAY_S, DayReadings, MAX_SLOT_WH, Quality, ReadingError};
use crate::tariff::{Period, PeriodName};

/// The energy of one account in one month.
///
/// Made from days with [`UsageMonth::from_days`] or [`UsageMonth::add_day`]; a month without days has used nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UsageFields")]
pub struct UsageMonth {
    month: Month,
    /// 0 while there are no slots.
    interval_s: u32,
    slots: Vec<Wh>,
    days_read: u32,
    quality: Quality,
}

/// A month as received, before its fields are checked against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageFields {
    month: Month,
    interval_s: u32,
    slots: Vec<Wh>,
    days_read: u32,
    quality: Quality,
}

impl TryFrom<UsageFields> for UsageMonth {
    type Error = UsageError;

    fn try_from(fields: UsageFields) -> Result<UsageMonth, UsageError> {
        let UsageFields { month, interval_s, slots, days_read, quality } = fields;
        if days_read > u32::from(month.days()) {
            return Err(UsageError::TooManyDays);
        }
        let empty = interval_s == 0 && slots.is_empty();
        let fits = DAY_S.checked_rem(interval_s) == Some(0) && slots.len() == (DAY_S / interval_s) as usize;
        if !empty && !fits {
            return Err(ReadingError::Shape.into());
        }
        match slots.iter().find(|slot| slot.0.unsigned_abs() > 31 * MAX_SLOT_WH.unsigned_abs()) {
            Some(slot) => Err(ReadingError::Energy(slot.0).into()),
            None => Ok(UsageMonth { month, interval_s, slots, days_read, quality }),
        }
    }
}

/// Why a month's usage cannot be built or told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A day of another month.
    #[error("a day of {day} in the usage of {month}")]
    OtherMonth {
        /// The month being summed.
        month: Month,
        /// The month of the day given.
        day: Month,
    },
    /// A day that is malformed.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// The readings are too coarse for the tariff's hours: a slot of `interval_s` seconds reaches over a boundary.
    #[error("readings of {interval_s} s cannot be told apart by the hours of the tariff")]
    TooCoarse {
        /// The month's slot length.
        interval_s: u32,
    },
    /// More days than a month has.
    #[error("more days than the month has")]
    TooManyDays,
}

impl UsageMonth {
    /// A month in which nothing was used or read yet.
    pub fn new(month: Month) -> UsageMonth {
        UsageMonth { month, interval_s: 0, slots: Vec::new(), days_read: 0, quality: Quality::Valid }
    }

    /// The sum of the days of `month`; days may come in any order, each at most once.
    ///
    /// # Errors
    /// [`UsageError`] for a day of another month or a malformed one.
    pub fn from_days<'a>(
        month: Month,
        days: impl IntoIterator<Item = &'a DayReadings>,
    ) -> Result<UsageMonth, UsageError> {
        let mut usage = UsageMonth::new(month);
        days.into_iter().try_for_each(|day| usage.add_day(day))?;
        Ok(usage)
    }

    /// A month from the energy of each hour of the day, summed over its days.
    pub fn from_hours(month: Month, hours: [Wh; 24]) -> UsageMonth {
        UsageMonth {
            month,
            interval_s: 3600,
            slots: hours.to_vec(),
            days_read: u32::from(month.days()),
            quality: Quality::Valid,
        }
    }

    /// A month of which only the energy is known: enough for a single-rate bill.
    pub fn from_total(month: Month, energy: Wh) -> UsageMonth {
        UsageMonth {
            month,
            interval_s: DAY_S,
            slots: vec![energy],
            days_read: u32::from(month.days()),
            quality: Quality::Valid,
        }
    }

    /// A month of which the energy of each of `periods` is known, in their order.
    pub fn from_periods(month: Month, periods: &[Period], energies: &[Wh]) -> UsageMonth {
        // A minute of each period holds all of its energy: by periods nothing finer is asked.
        let mut slots = vec![Wh(0); (DAY_S / 60) as usize];
        for (period, energy) in periods.iter().zip(energies) {
            let first = period.windows.first().map_or(0, |window| window.start_min());
            slots[usize::from(first)] += *energy;
        }
        let days_read = u32::from(month.days());
        UsageMonth { month, interval_s: 60, slots, days_read, quality: Quality::Valid }
    }

    /// Adds a day. Days with different slot lengths are brought to the shortest length they share.
    ///
    /// # Errors
    /// [`UsageError`]; the month is then unchanged.
    pub fn add_day(&mut self, day: &DayReadings) -> Result<(), UsageError> {
        day.validate()?;
        if !self.month.contains(day.date) {
            return Err(UsageError::OtherMonth { month: self.month, day: Month::of(day.date) });
        }
        if self.days_read >= u32::from(self.month.days()) {
            return Err(UsageError::TooManyDays);
        }
        // Both divide a day, so their least common multiple does too.
        let shared_s =
            if self.interval_s == 0 { day.interval_s } else { lcm(self.interval_s, day.interval_s) };
        let mut slots = merged(&self.slots, self.interval_s, shared_s);
        slots.resize((DAY_S / shared_s) as usize, Wh(0));
        for (sum, energy) in slots.iter_mut().zip(merged(&day.slots, day.interval_s, shared_s)) {
            *sum += energy;
        }
        self.slots = slots;
        self.interval_s = shared_s;
        self.days_read += 1;
        self.quality = self.quality.max(day.worst_quality());
        Ok(())
    }

    /// The month.
    pub fn month(&self) -> Month {
        self.month
    }

    /// All its energy; the nearest number where it does not fit 64 bits, which no bill accepts.
    pub fn total(&self) -> Wh {
        let exact: i128 = self.slots.iter().map(|slot| i128::from(slot.0)).sum();
        Wh(exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// For how many of its days there are readings.
    pub fn days_read(&self) -> u32 {
        self.days_read
    }

    /// The worst quality of any reading in it.
    pub fn quality(&self) -> Quality {
        self.quality
    }

    /// The energy of each hour of the day, summed over the days; `None` where the readings are coarser.
    pub fn by_hour(&self) -> Option<[Wh; 24]> {
        if self.slots.is_empty() {
            return Some([Wh(0); 24]);
        }
        if 3600 % self.interval_s != 0 {
            return None;
        }
        let mut hours = [Wh(0); 24];
        let per_hour = (3600 / self.interval_s) as usize;
        for (hour, slots) in hours.iter_mut().zip(self.slots.chunks(per_hour)) {
            *hour = slots.iter().sum();
        }
        Some(hours)
    }

    /// The energy of each of `periods`, in their order; together all of the month's.
    ///
    /// # Errors
    /// [`UsageError::TooCoarse`] where a slot with energy reaches over a boundary between two periods;
    /// [`UsageError::Reading`] where a sum does not fit 64 bits.
    pub fn by_period(&self, periods: &[Period]) -> Result<Vec<(PeriodName, Wh)>, UsageError> {
        let mut sums: Vec<(PeriodName, Wh)> = periods.iter().map(|period| (period.name, Wh(0))).collect();
        let too_coarse = UsageError::TooCoarse { interval_s: self.interval_s };
        for (index, energy) in self.slots.iter().enumerate().filter(|(_, energy)| **energy != Wh(0)) {
            let start_s = index as u32 * self.interval_s;
            // A slot lies in one period when each minute it touches does.
            let minutes = start_s / 60..(start_s + self.interval_s).div_ceil(60);
            let mut holders = minutes.map(|minute| holder(periods, minute as u16));
            let first = holders.next().flatten().ok_or(too_coarse)?;
            if holders.any(|other| other != Some(first)) {
                return Err(too_coarse);
            }
            let sum = sums[first].1.checked_add(*energy);
            sums[first].1 = sum.ok_or(ReadingError::Energy(energy.0))?;
        }
        Ok(sums)
    }
}

/// The index of the period that holds a minute of the day.
fn holder(periods: &[Period], minute: u16) -> Option<usize> {
    periods.iter().position(|period| period.holds(minute))
}

/// The slots of `from_s` seconds summed to slots of `to_s`, a multiple of it.
fn merged(slots: &[Wh], from_s: u32, to_s: u32) -> Vec<Wh> {
    if slots.is_empty() || from_s == 0 {
        return Vec::new();
    }
    slots.chunks((to_s / from_s) as usize).map(|chunk| chunk.iter().sum()).collect()
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::tariff::{Prices, TariffBook};

    fn march() -> Month {
        Month::new(2024, 3).unwrap()
    }

    fn zhejiang() -> &'static [Period] {
        let tariff = TariffBook::published().get("zj-residential-tou").unwrap();
        match &tariff.versions[0].prices {
            Prices::TimeOfUse { periods } => periods,
            Prices::Single { .. } => unreachable!("a time-of-use tariff"),
        }
    }

    fn day(of: i8, interval_s: u32, each_wh: i64) -> DayReadings {
        let mut day = DayReadings::new(date(2024, 3, of), interval_s).unwrap();
        for slot in 0..DAY_S / interval_s {
            day.add(slot * interval_s, Wh(each_wh), Quality::Valid).unwrap();
        }
        day
    }

    #[test]
    fn days_of_different_meters_are_brought_together() {
        let usage =
            UsageMonth::from_days(march(), &[day(1, 900, 1), day(2, 3600, 10), day(3, 1800, 3)]).unwrap();
        assert_eq!(usage.by_hour(), Some([Wh(4 + 10 + 6); 24]));
        assert_eq!(
            usage.by_period(zhejiang()),
            Ok(vec![(PeriodName::Peak, Wh(280)), (PeriodName::Valley, Wh(200))])
        );
        assert_eq!((usage.days_read(), usage.total()), (3, Wh(480)));
    }

    #[test]
    fn a_slot_over_a_boundary_is_not_guessed_apart() {
        let usage = UsageMonth::from_days(march(), &[day(1, 3600, 10), day(2, 86_400, 10)]).unwrap();
        assert_eq!(usage.by_period(zhejiang()), Err(UsageError::TooCoarse { interval_s: 86_400 }));
        assert_eq!(usage.by_hour(), None);
        assert_eq!(usage.total(), Wh(250));
        // Two hours fit 08:00 and 22:00; three do not.
        assert!(UsageMonth::from_days(march(), &[day(1, 7200, 1)]).unwrap().by_period(zhejiang()).is_ok());
        assert!(UsageMonth::from_days(march(), &[day(1, 10_800, 1)]).unwrap().by_period(zhejiang()).is_err());
        assert!(UsageMonth::new(march()).by_period(zhejiang()).is_ok());
    }

    #[test]
    fn other_months_and_too_many_days_are_refused() {
        let mut usage = UsageMonth::new(march());
        let april = DayReadings::new(date(2024, 4, 1), 3600).unwrap();
        assert!(matches!(usage.add_day(&april), Err(UsageError::OtherMonth { .. })));
        let mut broken = day(1, 3600, 1);
        broken.slots.pop();
        assert_eq!(usage.add_day(&broken), Err(UsageError::Reading(ReadingError::Shape)));
        for n in 1..=31 {
            usage.add_day(&day(n, 3600, 1)).unwrap();
        }
        assert_eq!(usage.add_day(&day(1, 3600, 1)), Err(UsageError::TooManyDays));
    }

    #[test]
    fn a_month_is_checked_when_it_is_received() {
        for usage in [UsageMonth::new(march()), UsageMonth::from_total(march(), Wh(77))] {
            let text = toml::to_string(&usage).unwrap();
            assert_eq!(toml::from_str::<UsageMonth>(&text).unwrap(), usage);
        }
        let text = toml::to_string(&UsageMonth::from_total(march(), Wh(77))).unwrap();
        for (from, to) in [("86400", "0"), ("86400", "3600"), ("77", "9223372036854775807"), ("31", "32")] {
            assert!(toml::from_str::<UsageMonth>(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn absurd_energy_is_an_error_and_no_panic() {
        let usage = UsageMonth::from_hours(march(), [Wh(i64::MAX); 24]);
        assert_eq!(usage.total(), Wh(i64::MAX));
        assert!(matches!(usage.by_period(zhejiang()), Err(UsageError::Reading(ReadingError::Energy(_)))));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_between_days_and_periods(
            intervals in prop::collection::vec(prop::sample::select(vec![60u32, 900, 1200, 1800, 3600, 7200]), 1..20),
            each in 0i64..5000,
        ) {
            let days: Vec<DayReadings> = (1i8..).zip(intervals).map(|(n, s)| day(n, s, each)).collect();
            let usage = UsageMonth::from_days(march(), &days).unwrap();
            let total: Wh = days.iter().map(DayReadings::total).sum();
            prop_assert_eq!(usage.total(), total);
            let periods = usage.by_period(zhejiang()).unwrap();
            prop_assert_eq!(periods.iter().map(|(_, energy)| *energy).sum::<Wh>(), total);
        }
    }
}
