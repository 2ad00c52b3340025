//! Meter readings of one local day, packed into one row.
use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::money::Wh;

/// The energy a meter measured on one day, by local wall-clock slot.
///
/// `slots[i]` is the energy whose interval began at `i × interval_s` seconds after local midnight. Where a clock
/// goes back (daylight saving), the hour that occurs twice is summed into its slot; where it goes forward, the
/// missing hour's slot is zero: so a day has always `86_400 / interval_s` slots and its sum is exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
