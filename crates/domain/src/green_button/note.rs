//! What a person should know about an import that succeeded.
use std::fmt;

use jiff::Timestamp;

/// Something noteworthy that is no error. `Display` gives an English sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Readings that were edited, estimated or derived.
    Estimated {
        /// How many.
        readings: u64,
    },
    /// Readings marked questionable, or with a quality that says nothing.
    Questionable {
        /// How many.
        readings: u64,
    },
    /// Readings written more than once with the same value; taken once.
    Duplicates {
        /// How many were left out.
        readings: u64,
    },
    /// Readings without a value; left out.
    WithoutValue {
        /// How many, in the whole file.
        readings: u64,
    },
    /// Times between the first and the last reading for which there is none.
    Gaps {
        /// How many.
        gaps: u64,
        /// Seconds in all.
        total_s: u64,
        /// Where the first begins.
        first: Timestamp,
    },
    /// Readings of the hour that the clock repeated; added to the slot of the same name.
    RepeatedHour {
        /// How many.
        readings: u64,
    },
    /// Readings shorter than a slot; added up in it.
    ShorterThanSlot {
        /// How many.
        readings: u64,
    },
    /// Readings that begin inside a slot; taken whole into the slot they begin in.
    Unaligned {
        /// How many.
        readings: u64,
    },
    /// All readings last something else than the file's reading type says; the readings are believed.
    IntervalLength {
        /// What the reading type says, in seconds.
        declared_s: u32,
        /// What the readings last, in seconds.
        found_s: u32,
    },
    /// The time of readings was derived from their place in the block.
    DerivedTimes {
        /// How many.
        readings: u64,
    },
    /// Blocks without a usable link; taken to belong to the meter reading before them.
    LinkedByOrder {
        /// How many readings they hold.
        readings: u64,
    },
    /// The file gives no local time; the given default was used.
    DefaultOffset {
        /// Seconds east of UTC.
        offset_s: i32,
    },
    /// The file does not say that its values are energy per interval; they were taken as such.
    AssumedDelta,
    /// Other series of the file that were not imported.
    OtherSeries {
        /// How many.
        series: usize,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Estimated { readings } => write!(f, "{readings} readings are edited, estimated or derived"),
            Note::Questionable { readings } => write!(f, "{readings} readings are questionable"),
            Note::Duplicates { readings } => write!(f, "{readings} repeated readings were taken once"),
            Note::WithoutValue { readings } => write!(f, "{readings} readings without a value were left out"),
            Note::Gaps { gaps, total_s, first } => {
                write!(f, "{gaps} gaps without readings, {total_s} s in all, the first from {first}")
            }
            Note::RepeatedHour { readings } => {
                write!(
                    f,
                    "{readings} readings of an hour that the clock repeated were added to its first pass"
                )
            }
            Note::ShorterThanSlot { readings } => {
                write!(f, "{readings} readings are shorter than a slot and were added up")
            }
            Note::Unaligned { readings } => {
                write!(f, "{readings} readings begin inside a slot and count for it whole")
            }
            Note::IntervalLength { declared_s, found_s } => {
                write!(f, "the reading type says {declared_s} s, the readings last {found_s} s")
            }
            Note::DerivedTimes { readings } => {
                write!(f, "the times of {readings} readings follow from their place in the block")
            }
            Note::LinkedByOrder { readings } => {
                write!(
                    f,
                    "{readings} readings are linked to no meter reading; they count for the one before them"
                )
            }
            Note::DefaultOffset { offset_s } => {
                write!(f, "the file gives no local time; UTC{:+} s was used", offset_s)
            }
            Note::AssumedDelta => f.write_str("the file does not say that values are per interval; assumed"),
            Note::OtherSeries { series } => write!(f, "{series} other series of the file were not imported"),
        }
    }
}
