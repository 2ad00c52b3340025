//! Demonstration households: readings that look like homes in China, made from a seed.
//!
//! A newcomer's system needs customers whose usage makes sense: air conditioning on July evenings, electric heating
//! along the Yangtze, a flat that stands empty over Spring Festival. The figures must be the same on every machine
//! and at every start, so they are integers made from a seed by a generator of our own; and there are millions of
//! them, so a day costs well under a microsecond.
use jiff::civil::{Date, Weekday};

use crate::money::Wh;
use crate::profile::{DayType, LoadProfile};
use crate::readings::DayReadings;

mod climate;

pub use climate::Climate;

/// The first days of the Spring Festival (春节, lunar new year's day), 2024 to 2030.
const SPRING_FESTIVAL: [Date; 7] = [
    Date::constant(2024, 2, 10),
    Date::constant(2025, 1, 29),
    Date::constant(2026, 2, 17),
    Date::constant(2027, 2, 6),
    Date::constant(2028, 1, 26),
    Date::constant(2029, 2, 13),
    Date::constant(2030, 2, 3),
];

/// The most energy a household shape may have, 10 GWh a year; keeps all products within 64 bits.
const MAX_ANNUAL_WH: i64 = 10_000_000_000;

/// How a household uses energy over a year. The same shape gives the same readings everywhere, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HouseholdShape {
    annual_wh: u64,
    cooling_share_pm: u64,
    heating_share_pm: u64,
    seed: u64,
    climate: Climate,
}

/// What a household does over Spring Festival, from the day before to six days after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FestivalHabit {
    /// Travels home; only the fridge runs.
    Away,
    /// The family comes.
    Visited,
    /// As any other holiday.
    Ordinary,
}

impl HouseholdShape {
    /// A household that uses about `annual_wh` in a year, of which so many thousandths for cooling and heating.
    ///
    /// Energy is brought between 0 and 10 GWh, and each share to at most 450 thousandths.
    pub fn new(
        annual_wh: Wh,
        cooling_share_pm: u16,
        heating_share_pm: u16,
        seed: u64,
        climate: Climate,
    ) -> HouseholdShape {
        HouseholdShape {
            annual_wh: annual_wh.0.clamp(0, MAX_ANNUAL_WH).unsigned_abs(),
            cooling_share_pm: u64::from(cooling_share_pm.min(450)),
            heating_share_pm: u64::from(heating_share_pm.min(450)),
            seed,
            climate,
        }
    }

    /// An ordinary household of a GB/T 2260 division: 1,400 to 4,600 kWh a year, most near 3,000, cooled and heated
    /// as its climate asks.
    pub fn typical(division: &str, seed: u64) -> HouseholdShape {
        let climate = Climate::of_division(division);
        let random = splitmix64(seed ^ 0x7970_6963_616c);
        let annual_kwh = 1400 + (random & 0xffff) % 1600 + (random >> 16 & 0xffff) % 1600;
        let (cooling_pm, heating_pm) = climate.typical_shares_pm();
        // Between half and one and a half times what is usual there.
        let varied = |share_pm: u16, bits: u64| (u64::from(share_pm) * (512 + bits % 1024) / 1024) as u16;
        HouseholdShape::new(
            Wh::from_kwh(annual_kwh.cast_signed()),
            varied(cooling_pm, random >> 32 & 0xffff),
            varied(heating_pm, random >> 48),
            seed,
            climate,
        )
    }

    /// About how much it uses in a year.
    pub fn annual_wh(&self) -> Wh {
        Wh(self.annual_wh.cast_signed())
    }

    /// The climate it lives in.
    pub fn climate(&self) -> Climate {
        self.climate
    }

    /// What it does over Spring Festival.
    pub fn festival_habit(&self) -> FestivalHabit {
        match splitmix64(self.seed ^ 0x6665_7374) % 100 {
            0..45 => FestivalHabit::Away,
            45..80 => FestivalHabit::Visited,
            _ => FestivalHabit::Ordinary,
        }
    }

    /// Its readings of a day, 24 hourly slots.
    pub fn day(&self, date: Date) -> DayReadings {
        DayReadings { date, interval_s: 3600, slots: self.hours(date).to_vec(), quality: Vec::new() }
    }

    /// Its energy in each hour of a day.
    pub fn hours(&self, date: Date) -> [Wh; 24] {
        let month = date.month();
        let day_number = day_number(date);
        let festival = is_spring_festival(date);
        let base_wh = self.annual_wh * (1000 - self.cooling_share_pm - self.heating_share_pm) / 1000;
        let shares_e9 = LoadProfile::bdew_h25().hours_e9(month, day_type(date, festival));

        let weather_e10 = self.climate.weather_e10(day_number);
        let days = u64::from(date.days_in_month().unsigned_abs());
        // What the month's share of the year comes to on this day, in mWh.
        let of_day = |share_pm: u64, month_pm: u64| {
            self.annual_wh * share_pm / 1000 * month_pm / days * weather_e10 / 1024
        };
        let cooling_mwh = of_day(self.cooling_share_pm, self.climate.cooling_pm(month));
        let heating_mwh = of_day(self.heating_share_pm, self.climate.heating_pm(month));

        let mut random = splitmix64(self.seed ^ day_number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut day_e10 = 922 + random % 205;
        if festival {
            day_e10 = match self.festival_habit() {
                FestivalHabit::Away => 350,
                FestivalHabit::Visited => 1400,
                FestivalHabit::Ordinary => day_e10,
            };
        }
        let mut hours = [Wh(0); 24];
        // What is below a Wh is carried to the next hour, so that small homes do not lose it.
        let mut carried_mwh = 0;
        for (hour, slot) in hours.iter_mut().enumerate() {
            if hour % 8 == 0 {
                random = splitmix64(random);
            }
            let hour_e10 = 769 + 2 * (random >> (hour % 8 * 8) & 0xff);
            let plain_mwh = base_wh * u64::from(shares_e9[hour]) / 1_000_000
                + cooling_mwh * climate::COOLING_HOURS_PM[hour] / 1000
                + heating_mwh * climate::HEATING_HOURS_PM[hour] / 1000;
            carried_mwh += plain_mwh * hour_e10 / 1024 * day_e10 / 1024;
            *slot = Wh((carried_mwh / 1000).cast_signed());
            carried_mwh %= 1000;
        }
        hours
    }
}

/// From the eve to six days after lunar new year's day, the public holiday of most years.
fn is_spring_festival(date: Date) -> bool {
    if date.month() > 2 {
        return false;
    }
    SPRING_FESTIVAL.iter().filter(|first| first.year() == date.year()).any(|first| {
        let days = date.day_of_year() - first.day_of_year();
        (-1..=6).contains(&days)
    })
}

/// Public holidays with a fixed date are New Year, Labour Day and National Day; those of the lunar calendar other
/// than Spring Festival are single days and left out.
fn day_type(date: Date, festival: bool) -> DayType {
    let fixed_holiday = matches!((date.month(), date.day()), (1, 1) | (5, 1) | (10, 1..=3));
    if festival || fixed_holiday {
        return DayType::Holiday;
    }
    match date.weekday() {
        Weekday::Saturday => DayType::Saturday,
        Weekday::Sunday => DayType::Holiday,
        _ => DayType::Workday,
    }
}

/// A number that tells days apart and rises by one within a year.
fn day_number(date: Date) -> u64 {
    u64::from(date.year().unsigned_abs()) * 366 + u64::from(date.day_of_year().unsigned_abs())
}

/// SplitMix64 (Steele, Lea, Flood 2014): one step from a state to a well-mixed number. Public domain reference by
/// S. Vigna; written here so that no library's change of generator changes the demonstration data.
fn splitmix64(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::calendar::Month;

    fn year_total(shape: &HouseholdShape, year: i16) -> Wh {
        let months = (1..=12).map(|month| Month::new(year, month).unwrap());
        months.flat_map(Month::dates).map(|date| shape.day(date).total()).sum()
    }

    fn days_total(shape: &HouseholdShape, first: Date, days: i8) -> Wh {
        first
            .series(jiff::ToSpan::days(1))
            .take(usize::from(days.unsigned_abs()))
            .map(|d| shape.day(d).total())
            .sum()
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // First output of SplitMix64 for seed 0 in the reference implementation.
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn the_same_seed_gives_the_same_home_for_ever() {
        let shape = HouseholdShape::typical("330106", 42);
        assert_eq!(shape, HouseholdShape::typical("330106", 42));
        assert_eq!(shape.day(date(2025, 7, 15)), shape.day(date(2025, 7, 15)));
        assert_ne!(shape.day(date(2025, 7, 15)).slots, shape.day(date(2025, 7, 16)).slots);
        assert_ne!(
            shape.day(date(2025, 7, 15)).slots,
            HouseholdShape::typical("330106", 43).day(date(2025, 7, 15)).slots
        );
    }

    #[test]
    fn summers_in_the_south_are_hot_and_yangtze_winters_cold() {
        let energy = Wh::from_kwh(3000);
        let guangzhou = HouseholdShape::new(energy, 300, 20, 1, Climate::of_division("440106"));
        assert!(
            days_total(&guangzhou, date(2025, 7, 1), 31).0
                > days_total(&guangzhou, date(2025, 3, 1), 31).0 * 13 / 10
        );
        let hangzhou = HouseholdShape::new(energy, 150, 150, 1, Climate::of_division("330106"));
        assert!(
            days_total(&hangzhou, date(2025, 12, 1), 31).0
                > days_total(&hangzhou, date(2025, 10, 5), 31).0 * 11 / 10
        );
        let july: [Wh; 24] = guangzhou.hours(date(2025, 7, 2));
        assert!(july[20] > july[9], "evenings are cooled");
    }

    #[test]
    fn spring_festival_shows() {
        let mut seen = [false; 3];
        for seed in 0..60 {
            let shape = HouseholdShape::new(Wh::from_kwh(3000), 0, 0, seed, Climate::Mild);
            let festival = days_total(&shape, date(2026, 2, 16), 8);
            let before = days_total(&shape, date(2026, 2, 2), 8);
            match shape.festival_habit() {
                FestivalHabit::Away => assert!(festival.0 < before.0 / 2),
                FestivalHabit::Visited => assert!(festival.0 > before.0 * 12 / 10),
                FestivalHabit::Ordinary => {}
            }
            seen[shape.festival_habit() as usize] = true;
        }
        assert_eq!(seen, [true; 3], "each habit occurs");
        assert!(is_spring_festival(date(2028, 1, 25)) && !is_spring_festival(date(2028, 2, 2)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_year_is_near_what_was_asked(
            kwh in 200i64..20_000, cooling in 0u16..450, heating in 0u16..450, seed: u64, year in 2024i16..=2030,
            division in prop::sample::select(vec!["11", "23", "33", "44", "53", "99"]),
        ) {
            let shape = HouseholdShape::new(Wh::from_kwh(kwh), cooling, heating, seed, Climate::of_division(division));
            let total = year_total(&shape, year);
            prop_assert!((total.0 - kwh * 1000).abs() < kwh * 150, "{} for {}", total, kwh);
        }

        #[test]
        fn any_shape_and_date_is_safe(
            annual: i64, cooling: u16, heating: u16, seed: u64,
            year in -9999i16..=9999, month in 1i8..=12, day in 1i8..=28,
        ) {
            let shape = HouseholdShape::new(Wh(annual), cooling, heating, seed, Climate::Cold);
            let readings = shape.day(date(year, month, day));
            prop_assert_eq!(readings.validate(), Ok(()));
            prop_assert!(readings.slots.iter().all(|slot| slot.0 >= 0));
        }
    }
}
