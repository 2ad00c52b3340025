//! Meter readings of one local day, packed into one row.
//!
//! A home with hourly readings makes 8,760 values a year, and there are hundreds of millions of homes: a row per
//! reading would be most of the database. A day per row, packed to about two bytes a value, is what is stored;
//! everything else (months, periods, charts) is summed from days.
use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::money::Wh;

mod packed;

pub use packed::UnpackError;

/// Seconds of a local day.
pub const DAY_S: u32 = 86_400;

/// The shortest slot kept: one minute, which bounds a day to 1,440 values.
pub const MIN_INTERVAL_S: u32 = 60;

/// The largest absolute energy of one slot, 1 TWh: beyond any customer, and small enough that no sum over years can
/// overflow.
pub const MAX_SLOT_WH: i64 = 1_000_000_000_000;

/// The energy a meter measured on one day, by local wall-clock slot.
///
/// `slots[i]` is the energy whose interval began at `i × interval_s` seconds after local midnight. Where a clock
/// goes back (daylight saving), the hour that occurs twice is summed into its slot; where it goes forward, the
/// missing hour's slot is zero: so a day has always `86_400 / interval_s` slots and its sum is exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DayFields")]
pub struct DayReadings {
    /// Local calendar day.
    pub date: Date,
    /// Length of a slot in seconds; divides 86,400; 86,400 means "one value for the whole day".
    pub interval_s: u32,
    /// Energy per slot; `86_400 / interval_s` values.
    pub slots: Vec<Wh>,
    /// The worst quality seen in each slot; empty when all are [`Quality::Valid`].
    pub quality: Vec<Quality>,
}

/// A day as received, before its fields are checked against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DayFields {
    date: Date,
    interval_s: u32,
    slots: Vec<Wh>,
    #[serde(default)]
    quality: Vec<Quality>,
}

impl TryFrom<DayFields> for DayReadings {
    type Error = ReadingError;

    fn try_from(fields: DayFields) -> Result<DayReadings, ReadingError> {
        let DayFields { date, interval_s, slots, quality } = fields;
        let day = DayReadings { date, interval_s, slots, quality };
        day.validate().map(|()| day)
    }
}

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Quality {
    /// Measured and validated, or raw as measured.
    #[default]
    Valid = 0,
    /// Edited, estimated or derived by a stated method.
    Estimated = 1,
    /// No reading: the value is zero because nothing is known.
    Missing = 2,
    /// Marked questionable or failed validation at the source.
    Questionable = 3,
}

/// Why a reading cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// A slot length that is under a minute or does not divide a day.
    #[error("an interval of {0} s is under {MIN_INTERVAL_S} s or does not divide a day")]
    Interval(u32),
    /// A second of the day at or beyond 86,400.
    #[error("second {0} is outside the day")]
    Second(u32),
    /// A slot's energy beyond [`MAX_SLOT_WH`].
    #[error("a slot's energy of {0} Wh is beyond what a meter can measure")]
    Energy(i64),
    /// A number of slots or quality marks that does not fit the interval.
    #[error("the number of slots or quality marks does not fit the interval")]
    Shape,
}

impl DayReadings {
    /// A day without energy yet, in slots of `interval_s` seconds.
    ///
    /// # Errors
    /// [`ReadingError::Interval`] for a length under a minute or one that does not divide a day.
    pub fn new(date: Date, interval_s: u32) -> Result<DayReadings, ReadingError> {
        let count = slot_count(interval_s)?;
        Ok(DayReadings { date, interval_s, slots: vec![Wh(0); count], quality: Vec::new() })
    }

    /// Adds `energy` to the slot that holds `second_of_day`; the slot keeps the worst quality it was given.
    ///
    /// # Errors
    /// A second outside the day, or a slot that would go beyond [`MAX_SLOT_WH`]; the day is then unchanged.
    pub fn add(&mut self, second_of_day: u32, energy: Wh, quality: Quality) -> Result<(), ReadingError> {
        if second_of_day >= DAY_S || self.interval_s == 0 {
            return Err(ReadingError::Second(second_of_day));
        }
        let index = (second_of_day / self.interval_s) as usize;
        let count = self.slots.len();
        let slot = self.slots.get_mut(index).ok_or(ReadingError::Shape)?;
        let sum = slot.checked_add(energy).ok_or(ReadingError::Energy(energy.0))?;
        check_energy(sum)?;
        *slot = sum;
        if quality != Quality::Valid && self.quality.is_empty() {
            self.quality = vec![Quality::Valid; count];
        }
        if let Some(kept) = self.quality.get_mut(index) {
            *kept = (*kept).max(quality);
        }
        Ok(())
    }

    /// The energy of the day.
    pub fn total(&self) -> Wh {
        self.slots.iter().sum()
    }

    /// The quality of slot `index`.
    pub fn quality_of(&self, index: usize) -> Quality {
        self.quality.get(index).copied().unwrap_or_default()
    }

    /// The worst quality of the day.
    pub fn worst_quality(&self) -> Quality {
        self.quality.iter().copied().max().unwrap_or_default()
    }

    /// The energy of each hour, or `None` where a slot reaches over an hour's end (it is not guessed apart).
    pub fn by_hour(&self) -> Option<[Wh; 24]> {
        if self.interval_s == 0 || 3600 % self.interval_s != 0 {
            return None;
        }
        let per_hour = (3600 / self.interval_s) as usize;
        let mut hours = [Wh(0); 24];
        for (hour, slots) in hours.iter_mut().zip(self.slots.chunks(per_hour)) {
            *hour = slots.iter().sum();
        }
        Some(hours)
    }

    /// Whether the fields fit each other and every bound: for a day built or received field by field.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ReadingError> {
        let count = slot_count(self.interval_s)?;
        if self.slots.len() != count || !(self.quality.is_empty() || self.quality.len() == count) {
            return Err(ReadingError::Shape);
        }
        self.slots.iter().try_for_each(|slot| check_energy(*slot))
    }

    /// The day as bytes: see [`DayReadings::unpack`] for the layout.
    pub fn pack(&self) -> Vec<u8> {
        packed::pack(self)
    }

    /// Reads what [`DayReadings::pack`] wrote. Any bytes may be given; at most 1,440 slots are made.
    ///
    /// Layout: version (1), flags (bit 0: quality follows, bit 1: values are zigzag), then LEB128 numbers: days
    /// since 1970-01-01 (zigzag), interval in seconds, the values, and where flagged runs of (quality, length)
    /// that cover all slots. Nothing may follow.
    ///
    /// # Errors
    /// [`UnpackError`] for anything that `pack` would not have written.
    pub fn unpack(bytes: &[u8]) -> Result<DayReadings, UnpackError> {
        packed::unpack(bytes)
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quality::Valid => "valid",
            Quality::Estimated => "estimated",
            Quality::Missing => "missing",
            Quality::Questionable => "questionable",
        })
    }
}

/// How many slots of `interval_s` a day has.
fn slot_count(interval_s: u32) -> Result<usize, ReadingError> {
    if (MIN_INTERVAL_S..=DAY_S).contains(&interval_s) && DAY_S.is_multiple_of(interval_s) {
        Ok((DAY_S / interval_s) as usize)
    } else {
        Err(ReadingError::Interval(interval_s))
    }
}

fn check_energy(energy: Wh) -> Result<(), ReadingError> {
    if energy.0.unsigned_abs() <= MAX_SLOT_WH.unsigned_abs() {
        Ok(())
    } else {
        Err(ReadingError::Energy(energy.0))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn slots_sum_and_keep_the_worst_quality() {
        let mut day = DayReadings::new(date(2011, 11, 6), 3600).unwrap();
        day.add(3600, Wh(500), Quality::Valid).unwrap();
        day.add(3600, Wh(250), Quality::Estimated).unwrap();
        day.add(86_399, Wh(7), Quality::Valid).unwrap();
        assert_eq!(day.slots[1], Wh(750), "the hour that occurs twice is summed");
        assert_eq!(day.total(), Wh(757));
        assert_eq!((day.quality_of(1), day.quality_of(2)), (Quality::Estimated, Quality::Valid));
        assert_eq!(day.worst_quality(), Quality::Estimated);
    }

    #[test]
    fn bad_readings_change_nothing() {
        let mut day = DayReadings::new(date(2011, 1, 1), 900).unwrap();
        let before = day.clone();
        assert_eq!(day.add(86_400, Wh(1), Quality::Valid), Err(ReadingError::Second(86_400)));
        assert!(day.add(0, Wh(i64::MAX), Quality::Missing).is_err());
        assert!(day.add(0, Wh(i64::MIN), Quality::Missing).is_err());
        assert_eq!(day, before);
        for bad in [0, 1, 59, 7000, 86_401] {
            assert_eq!(DayReadings::new(date(2011, 1, 1), bad), Err(ReadingError::Interval(bad)));
        }
    }

    #[test]
    fn a_day_is_checked_when_it_is_received() {
        let day = DayReadings::new(date(2011, 1, 1), 43_200).unwrap();
        let text = toml::to_string(&day).unwrap();
        assert_eq!(toml::from_str::<DayReadings>(&text).unwrap(), day);
        for (from, to) in [("43200", "0"), ("43200", "3600"), ("[0, 0]", "[0, 9223372036854775807]")] {
            assert!(toml::from_str::<DayReadings>(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn hours_are_summed_but_never_guessed() {
        let mut day = DayReadings::new(date(2011, 1, 1), 900).unwrap();
        for quarter in 0..96 {
            day.add(quarter * 900, Wh(i64::from(quarter)), Quality::Valid).unwrap();
        }
        assert_eq!(day.by_hour().unwrap()[1], Wh(4 + 5 + 6 + 7));
        assert_eq!(DayReadings::new(date(2011, 1, 1), 86_400).unwrap().by_hour(), None);
        assert_eq!(DayReadings::new(date(2011, 1, 1), 2400).unwrap().by_hour(), None);
    }
}
