//! Green Button (NAESB ESPI) files: a home's meter readings as its utility hands them out.
//!
//! The file comes from outside and may be anything: broken, enormous, or written to harm. So it is read as a
//! stream with every quantity bounded ([`Limits`]); memory grows with the readings kept, never with the file.
//! Reading happens in three steps, a module each:
//!
//! 1. `measured` and `parse`: bytes to XML events to plain values. Readings are kept small and raw, because the
//!    kind of reading and the time zone may be written after them.
//! 2. `link`: Atom links say which block belongs to which meter reading, usage point, reading type and local
//!    time; one series is chosen.
//! 3. `days`: the chosen readings become local days.
//!
//! **What is imported**: electricity (`ServiceCategory/kind` 0), delivered to the customer (`flowDirection` 1 or
//! not given), energy per interval (`uom` 72, Wh; `accumulationBehaviour` 4, deltaData). Everything else is
//! refused with what was found. Costs, tiers and time-of-use marks in the file are passed over: a bill follows from
//! the energy and our own tariff.
//!
//! **Powers of ten.** A reading is `value × 10^powerOfTenMultiplier` Wh. With a negative power it may be no whole
//! number of Wh. Sums are then kept exactly and the *running total* over all slots in time order is rounded half
//! up; a slot is the difference of two rounded totals. So each slot is less than 1 Wh off and the sum of all slots
//! is the exact sum, rounded once.
//!
//! **Quality** (ESPI `QualityOfReading`): 0 valid, 14 raw, 17 validated, 18 verified, 19 revenue quality are
//! [`Quality::Valid`]; 7 manually edited, 8 and 9 estimated, 11 derived, 12 projected, 13 mixed, 15 normalised for
//! weather are [`Quality::Estimated`]; 10 questionable, 16 other and codes unknown to the standard are
//! [`Quality::Questionable`]. A slot of an imported day without any reading is [`Quality::Missing`], unless the
//! clock skipped it.
use std::collections::BTreeMap;
use std::io::BufRead;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::readings::DayReadings;
#[cfg(doc)]
use crate::readings::Quality;

mod days;
mod error;
mod link;
mod local_time;
mod measured;
mod note;
mod parse;
mod write;
mod xml;

pub use error::{Found, GreenButtonError, Place};
pub use local_time::{Dst, DstRule, LocalTime, RuleError};
pub use note::Note;
pub use write::Writer;

/// The readings of one series of a file, by local day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Title of the feed; empty if it has none. At most 256 characters, no control characters, as all titles.
    pub title: String,
    /// Title of the usage point, or its address where it has none.
    pub usage_point: String,
    /// Title of the meter reading (the series), or its address where it has none.
    pub meter_reading: String,
    /// The days with at least one reading; each has `86_400 / interval_s` slots.
    pub days: BTreeMap<Date, DayReadings>,
    /// Length of a slot in seconds; divides 86,400.
    pub interval_s: u32,
    /// The local time the days are in.
    pub time_zone: LocalTime,
    /// Number of readings taken, duplicates left out.
    pub readings: u64,
    /// Begin of the first reading.
    pub first: Timestamp,
    /// End of the last reading.
    pub last: Timestamp,
    /// What a person should know before relying on the figures.
    pub notes: Vec<Note>,
}

impl Import {
    /// The energy of all days, in Wh.
    pub fn total(&self) -> crate::money::Wh {
        crate::money::Wh(self.days.values().flat_map(|day| &day.slots).map(|slot| slot.0).sum())
    }
}

/// How much of a file is read at most. Beyond a limit the file is refused with [`GreenButtonError::Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of one tag, text, comment or other piece of markup; what is buffered at most.
    pub event_bytes: usize,
    /// Elements in elements.
    pub depth: usize,
    /// Bytes of an element's name with its prefix.
    pub name_bytes: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Bytes of one attribute's value.
    pub attribute_bytes: usize,
    /// Elements in all.
    pub elements: u64,
    /// Usage points, meter readings, reading types and local times together.
    pub resources: usize,
    /// Bytes of all links kept.
    pub link_bytes: usize,
    /// Readings in the file, 32 bytes each in memory.
    pub readings: usize,
    /// Local days of the chosen series.
    pub days: usize,
}

impl Default for Limits {
    /// 4 GiB, 2,000,000 readings (more than 50 years of quarter-hours), 20 years of days.
    fn default() -> Limits {
        Limits {
            file_bytes: 4 << 30,
            event_bytes: 64 << 10,
            depth: 64,
            name_bytes: 256,
            attributes: 64,
            attribute_bytes: 4096,
            elements: 64_000_000,
            resources: 4096,
            link_bytes: 8 << 20,
            readings: 2_000_000,
            days: 20 * 366,
        }
    }
}

/// What a person may add to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which series to take, where a file holds several.
    pub select: Option<Select>,
    /// Seconds east of UTC to use, without daylight saving, where the file gives no local time. 28,800 for China.
    pub default_offset_s: Option<i32>,
}

/// A series, as [`Found`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// [`Found::number`].
    Number(usize),
    /// The address (`self` link) of a meter reading or of a usage point, or the end of one.
    Href(String),
}

/// Reads a file that holds one series to import and its local time.
///
/// # Errors
/// [`GreenButtonError`]; each says where in the file.
pub fn read(source: impl BufRead, limits: Limits) -> Result<Import, GreenButtonError> {
    read_with(source, limits, &Options::default())
}

/// Reads a file with what a person adds to it: which series, and the local time if the file gives none.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    source: impl BufRead,
    limits: Limits,
    options: &Options,
) -> Result<Import, GreenButtonError> {
    let feed = parse::parse(source, &limits)?;
    let series = link::choose(&feed, options)?;
    days::build(feed, series, &limits)
}
