//! What can be wrong with a file, by what the person who brought it can do.
use std::fmt;
use std::io;

use super::RuleError;

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// Local names from the root, e.g. `feed/entry/content/IntervalBlock/IntervalReading/value`; may be empty.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        Ok(())
    }
}

/// A series of readings found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number, from 1, among the series of the file.
    pub number: usize,
    /// Title or address of the usage point; may be empty.
    pub usage_point: String,
    /// Title or address of the meter reading; may be empty.
    pub meter_reading: String,
    /// The address (`self` link) of the meter reading; may be empty.
    pub href: String,
    /// Where the meter reading is written.
    pub place: Place,
    /// How many readings it has.
    pub readings: u64,
    /// Why it cannot be imported, if so.
    pub refused: Option<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.number)?;
        for name in [&self.usage_point, &self.meter_reading] {
            if !name.is_empty() {
                write!(f, "{name}, ")?;
            }
        }
        write!(f, "{} readings ({})", self.readings, self.place)?;
        match &self.refused {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// Why a file is not imported.
#[derive(Debug, thiserror::Error)]
pub enum GreenButtonError {
    /// The bytes could not be read: try again.
    #[error("{place}: the file cannot be read: {source}")]
    Io {
        /// How far reading came.
        place: Place,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// Not well-formed XML, or the file ends early: get the file again.
    #[error("{place}: not well-formed: {reason}")]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// Well-formed perhaps, but something that no Green Button file needs and that is not accepted: document
    /// types, entities, other encodings than UTF-8, NUL bytes.
    #[error("{place}: {reason}")]
    Refused {
        /// Where.
        place: Place,
        /// What is not accepted.
        reason: String,
    },
    /// More than [`Limits`](super::Limits) allow.
    #[error("{place}: more than {limit} {what}")]
    Limit {
        /// Where the limit was passed.
        place: Place,
        /// What is counted.
        what: &'static str,
        /// How many are accepted.
        limit: u64,
    },
    /// XML, but no Green Button file.
    #[error("{place}: not a Green Button file: {reason}")]
    NotGreenButton {
        /// Where that showed.
        place: Place,
        /// What was found instead.
        reason: String,
    },
    /// A value that cannot be: not a number, out of range, missing, given twice, negative energy.
    #[error("{place}: {reason}")]
    Value {
        /// Where.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// A daylight-saving rule that cannot be.
    #[error("{place}: {source}")]
    Rule {
        /// Where.
        place: Place,
        /// What is wrong with it.
        #[source]
        source: RuleError,
    },
    /// Two places that contradict each other: same time but other values, overlapping readings, resources with
    /// the same address but other content.
    #[error("{second}: {reason} at {first}")]
    Conflict {
        /// The earlier of the two.
        first: Place,
        /// The later of the two.
        second: Place,
        /// How they contradict; ends so that the first place can follow.
        reason: String,
    },
    /// Nothing in the file can be imported.
    #[error("{place}: no electricity consumption in Wh per interval found; {}", listing(found))]
    NothingMatches {
        /// The end of the file, or of the selection.
        place: Place,
        /// The series of the file, each with why not.
        found: Vec<Found>,
    },
    /// Several series can be imported: select one.
    #[error("{place}: several series of electricity consumption, select one: {}", listing(found))]
    Several {
        /// The first of them.
        place: Place,
        /// The series to select from.
        found: Vec<Found>,
    },
    /// The file does not say its local time: give a default offset.
    #[error("{place}: the local time is not given ({reason})")]
    LocalTime {
        /// Where the series is.
        place: Place,
        /// What is missing.
        reason: String,
    },
}

impl GreenButtonError {
    /// Where in the file.
    pub fn place(&self) -> &Place {
        match self {
            Self::Io { place, .. }
            | Self::Malformed { place, .. }
            | Self::Refused { place, .. }
            | Self::Limit { place, .. }
            | Self::NotGreenButton { place, .. }
            | Self::Value { place, .. }
            | Self::Rule { place, .. }
            | Self::NothingMatches { place, .. }
            | Self::Several { place, .. }
            | Self::LocalTime { place, .. } => place,
            Self::Conflict { second, .. } => second,
        }
    }
}

/// The first of what was found, in a line: a message must stay readable whatever the file holds.
fn listing(found: &[Found]) -> String {
    const SHOWN: usize = 12;
    if found.is_empty() {
        return "the file holds no readings".into();
    }
    let mut text = found.iter().take(SHOWN).map(Found::to_string).collect::<Vec<_>>().join("; ");
    if found.len() > SHOWN {
        text.push_str(&format!("; and {} more", found.len() - SHOWN));
    }
    text
}
