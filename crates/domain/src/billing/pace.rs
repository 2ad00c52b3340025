//! At what pace energy is used, and where that leads: the day a tier is used up, a month's whole use.
use jiff::Span;
use jiff::civil::Date;

use crate::calendar::Month;
use crate::money::Wh;
use crate::readings::{DayReadings, Quality};
use crate::usage::UsageMonth;

/// A pace is taken from at most this many days.
pub const PACE_DAYS: usize = 30;

/// How much is used a day: the mean of the newest days that were read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    days: u32,
    energy_wh: Wh,
    by_hour: Option<[Wh; 24]>,
}

impl Pace {
    /// The pace of the newest [`PACE_DAYS`] of `days`, which may come in any order. A day of which a part is missing
    /// would make it too slow, so it does not count. `None` where no day counts.
    pub fn of(days: &[DayReadings]) -> Option<Pace> {
        let is_missing = |day: &DayReadings| day.quality.contains(&Quality::Missing);
        let mut known: Vec<&DayReadings> = days.iter().filter(|day| !is_missing(day)).collect();
        known.sort_unstable_by_key(|day| std::cmp::Reverse(day.date));
        known.truncate(PACE_DAYS);
        known.first()?;
        let hours = |sums: Option<[Wh; 24]>, day: &&DayReadings| {
            let (mut sums, hours) = (sums?, day.by_hour()?);
            sums.iter_mut().zip(hours).for_each(|(sum, energy)| *sum += energy);
            Some(sums)
        };
        Some(Pace {
            days: known.len() as u32,
            energy_wh: known.iter().map(|day| day.total()).sum(),
            by_hour: known.iter().fold(Some([Wh(0); 24]), hours),
        })
    }

    /// How many days it is taken from, at least one.
    pub fn days(&self) -> u32 {
        self.days
    }

    /// What is used a day, rounded to the Wh.
    pub fn daily_wh(&self) -> Wh {
        self.over(self.energy_wh, 1)
    }

    /// The day on which `left` will be used up, where `last_known` is the last day whose use is already counted.
    /// `None` where counting begins anew on `resets_on` before that, or nothing is used.
    pub fn crossing_on(&self, left: Wh, last_known: Date, resets_on: Date) -> Option<Date> {
        if self.energy_wh.0 <= 0 {
            return None;
        }
        let (left, energy) = (i128::from(left.0) * i128::from(self.days), i128::from(self.energy_wh.0));
        let days = ((left + energy - 1) / energy).max(1);
        let on = last_known.checked_add(Span::new().try_days(i64::try_from(days).ok()?).ok()?).ok()?;
        (on < resets_on).then_some(on)
    }

    /// A month's whole use: what is known of it, and the pace for its days after `last_known`.
    pub fn whole_month(&self, so_far: &UsageMonth, last_known: Date) -> UsageMonth {
        let month = so_far.month();
        let left = i64::from(month.dates().filter(|day| *day > last_known).count() as u32);
        match (so_far.by_hour(), self.by_hour) {
            (Some(mut hours), Some(pace)) => {
                hours.iter_mut().zip(pace).for_each(|(sum, energy)| *sum += self.over(energy, left));
                UsageMonth::from_hours(month, hours)
            }
            _ => UsageMonth::from_total(month, so_far.total() + self.over(self.energy_wh, left)),
        }
    }

    /// The share of `energy`, which is of all the pace's days, for so many days; half away from zero.
    fn over(&self, energy: Wh, days: i64) -> Wh {
        let exact = i128::from(energy.0) * i128::from(days);
        let of = i128::from(self.days);
        let rounded = (exact + of / 2 * exact.signum()) / of;
        Wh(rounded.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// The last day whose use is counted where a month is looked at: the last of `days`, or the eve of the month.
pub fn last_known(days: &[DayReadings], month: Month) -> Date {
    let eve = month.prev().last_day();
    days.iter().map(|day| day.date).max().map_or(eve, |last| last.max(eve))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn day(date: Date, interval_s: u32, wh: i64) -> DayReadings {
        let mut day = DayReadings::new(date, interval_s).unwrap();
        day.add(10 * 3600, Wh(wh), Quality::Valid).unwrap();
        day
    }

    fn days(from: Date, energies: &[i64]) -> Vec<DayReadings> {
        let mut date = from;
        let mut days = Vec::new();
        for energy in energies {
            days.push(day(date, 3600, *energy));
            date = date.tomorrow().unwrap();
        }
        days
    }

    #[test]
    fn only_the_newest_days_that_were_read_in_full_count() {
        assert_eq!(Pace::of(&[]), None);
        let mut all = days(date(2026, 6, 1), &[90_000; 40]);
        all.extend(days(date(2026, 7, 11), &[10_000; 30]));
        let pace = Pace::of(&all).unwrap();
        assert_eq!((pace.days(), pace.daily_wh()), (30, Wh(10_000)));
        let mut unread = DayReadings::new(date(2026, 8, 10), 3600).unwrap();
        unread.add(0, Wh(0), Quality::Missing).unwrap();
        all.push(unread);
        assert_eq!(Pace::of(&all), Some(pace));
        assert_eq!(last_known(&all, "2026-08".parse().unwrap()), date(2026, 8, 10));
        assert_eq!(last_known(&all, "2026-10".parse().unwrap()), date(2026, 9, 30));
    }

    #[test]
    fn a_tier_is_crossed_on_the_day_that_uses_it_up() {
        let pace = Pace::of(&days(date(2026, 8, 1), &[10_000; 18])).unwrap();
        let last = date(2026, 8, 18);
        let on = |left, resets| pace.crossing_on(Wh(left), last, resets);
        assert_eq!(on(1, date(2027, 1, 1)), Some(date(2026, 8, 19)));
        assert_eq!(on(10_000, date(2027, 1, 1)), Some(date(2026, 8, 19)));
        assert_eq!(on(10_001, date(2027, 1, 1)), Some(date(2026, 8, 20)));
        assert_eq!(on(130_000, date(2026, 9, 1)), Some(date(2026, 8, 31)));
        assert_eq!(on(130_001, date(2026, 9, 1)), None, "counting begins anew that day");
        assert_eq!(on(i64::MAX, date(2027, 1, 1)), None);
        assert_eq!(Pace::of(&days(date(2026, 8, 1), &[0])).unwrap().crossing_on(Wh(1), last, last), None);
    }

    #[test]
    fn coarse_readings_tell_the_total_only() {
        let august: Month = "2026-08".parse().unwrap();
        let read = [day(date(2026, 8, 1), 86_400, 3_000)];
        let read = [DayReadings { slots: vec![Wh(3_000)], ..read[0].clone() }];
        let pace = Pace::of(&read).unwrap();
        let so_far = UsageMonth::from_days(august, &read).unwrap();
        let whole = pace.whole_month(&so_far, date(2026, 8, 1));
        assert_eq!((whole.total(), whole.by_hour()), (Wh(93_000), None));
    }

    proptest! {
        #[test]
        fn it_is_what_day_by_day_counting_gives(
            energies in prop::collection::vec(0i64..60_000, 1..60),
            left in 1i64..3_000_000,
        ) {
            let read = days(date(2026, 3, 1), &energies);
            let pace = Pace::of(&read).unwrap();
            let newest = &energies[energies.len().saturating_sub(30)..];
            let mean = newest.iter().sum::<i64>() as f64 / newest.len() as f64;
            prop_assert!((pace.daily_wh().0 as f64 - mean).abs() <= 0.5);
            let last = read.last().unwrap().date;
            let resets = date(2027, 1, 1);
            // Uses the pace up day by day, in thirtieths of a Wh so as not to round.
            let (step, mut rest) = (newest.iter().sum::<i64>(), left * newest.len() as i64);
            let (mut on, mut found) = (last, None);
            while on < resets && step > 0 {
                on = on.tomorrow().unwrap();
                rest -= step;
                if rest <= 0 {
                    found = Some(on).filter(|on| *on < resets);
                    break;
                }
            }
            prop_assert_eq!(pace.crossing_on(Wh(left), last, resets), found);
            let month = Month::of(last);
            let so_far = UsageMonth::from_days(month, read.iter().filter(|d| month.contains(d.date))).unwrap();
            let rest = month.dates().filter(|d| *d > last).count() as f64;
            let whole = pace.whole_month(&so_far, last);
            let expected = so_far.total().0 as f64 + mean * rest;
            prop_assert!((whole.total().0 as f64 - expected).abs() <= 12.0, "half a Wh an hour");
        }
    }
}
