//! Rows as either engine gives them, and how a cell becomes one of our values.
use std::{fmt::Display, str::FromStr};

use domain::{
    calendar::Month,
    money::{Fen, Wh},
};
use jiff::civil::Date;
use protocol::{AccountId, Bucket, LaneId};
use serde::de::DeserializeOwned;

use super::{Result, corrupt};

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Int(i64),
    Text(&'r str),
    Bytes(&'r [u8]),
}

/// A row of an answer.
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    /// A column's cell.
    pub(crate) fn cell(&self, column: usize) -> Result<Cell<'_>> {
        match self {
            Row::Sqlite(row) => crate::sqlite::cell(row, column),
            Row::Postgres(row) => crate::postgres::cell(row, column),
        }
    }

    /// A column's value.
    pub(crate) fn get<T: Column>(&self, column: usize) -> Result<T> {
        T::from_cell(self.cell(column)?)
    }

    /// A text, not copied.
    pub(crate) fn text(&self, column: usize) -> Result<&str> {
        match self.cell(column)? {
            Cell::Text(text) => Ok(text),
            other => Err(unlike("text", other)),
        }
    }

    /// Bytes, not copied.
    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8]> {
        self.bytes_or_null(column)?.ok_or_else(|| unlike("bytes", Cell::Null))
    }

    /// Bytes, not copied, where there are any.
    pub(crate) fn bytes_or_null(&self, column: usize) -> Result<Option<&[u8]>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => Ok(Some(bytes)),
            other => Err(unlike("bytes", other)),
        }
    }

    /// A packed value.
    pub(crate) fn unpack<T: DeserializeOwned>(&self, what: &'static str, column: usize) -> Result<T> {
        unpack(what, self.bytes(column)?)
    }

    /// A packed value, where there is one.
    pub(crate) fn unpack_or_null<T: DeserializeOwned>(
        &self,
        what: &'static str,
        column: usize,
    ) -> Result<Option<T>> {
        self.bytes_or_null(column)?.map(|bytes| unpack(what, bytes)).transpose()
    }

    /// A value that is written as text.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, what: &'static str, column: usize) -> Result<T> {
        parse(what, self.text(column)?)
    }

    /// A value that is written as text, where there is one.
    pub(crate) fn parse_or_null<T: FromStr<Err: Display>>(
        &self,
        what: &'static str,
        column: usize,
    ) -> Result<Option<T>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            _ => self.parse(what, column).map(Some),
        }
    }

    /// The value of a few whose name is written.
    pub(crate) fn named<T: Copy>(
        &self,
        what: &'static str,
        column: usize,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T> {
        let written = self.text(column)?;
        let found = all.iter().copied().find(|value| name(*value) == written);
        found.ok_or_else(|| corrupt(what, format!("{written:?} is none of its kinds")))
    }
}

/// Reads a packed value.
pub(crate) fn unpack<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    protocol::wire::decode(bytes).map_err(|e| corrupt(what, e.to_string()))
}

fn parse<T: FromStr<Err: Display>>(what: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|e: T::Err| corrupt(what, e.to_string()))
}

fn unlike(what: &'static str, found: Cell<'_>) -> crate::StorageError {
    let found = match found {
        Cell::Null => "nothing".to_owned(),
        Cell::Int(n) => format!("the number {n}"),
        Cell::Text(text) => format!("a text of {} bytes", text.len()),
        Cell::Bytes(bytes) => format!("{} bytes", bytes.len()),
    };
    corrupt(what, format!("{found} is in its place"))
}

/// A type that a cell can hold.
pub(crate) trait Column: Sized {
    fn from_cell(cell: Cell<'_>) -> Result<Self>;
}

impl<T: Column> Column for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Null => Ok(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

impl Column for i64 {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Int(n) => Ok(n),
            other => Err(unlike("number", other)),
        }
    }
}

/// Times and sequences: they stay below 2^63.
impl Column for u64 {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        i64::from_cell(cell).map(|n| n as u64)
    }
}

macro_rules! small_numbers {
    ($($number:ty),*) => { $(
        impl Column for $number {
            fn from_cell(cell: Cell<'_>) -> Result<Self> {
                let n = i64::from_cell(cell)?;
                <$number>::try_from(n).map_err(|e| corrupt("number", format!("{n}: {e}")))
            }
        }
    )* };
}
small_numbers!(u32, u16, u8);

impl Column for bool {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        i64::from_cell(cell).map(|n| n != 0)
    }
}

impl Column for String {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Text(text) => Ok(text.to_owned()),
            other => Err(unlike("text", other)),
        }
    }
}

impl Column for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Bytes(bytes) => Ok(bytes.to_owned()),
            other => Err(unlike("bytes", other)),
        }
    }
}

impl<const N: usize> Column for [u8; N] {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Bytes(bytes) => bytes
                .try_into()
                .map_err(|_| corrupt("bytes", format!("{} of them where {N} are due", bytes.len()))),
            other => Err(unlike("bytes", other)),
        }
    }
}

impl Column for AccountId {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        AccountId::from_number(u64::from_cell(cell)?).map_err(|e| corrupt("account number", e.to_string()))
    }
}

impl Column for Bucket {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        Bucket::try_from(u16::from_cell(cell)?).map_err(|e| corrupt("bucket", e.to_string()))
    }
}

impl Column for LaneId {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        u16::from_cell(cell).map(LaneId)
    }
}

impl Column for Fen {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        i64::from_cell(cell).map(Fen)
    }
}

impl Column for Wh {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        i64::from_cell(cell).map(Wh)
    }
}

impl Column for Month {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        let number = i64::from_cell(cell)?;
        let year = i16::try_from(number.div_euclid(100)).ok();
        let month = year.and_then(|year| Month::new(year, number.rem_euclid(100) as i8).ok());
        month.ok_or_else(|| corrupt("month", number.to_string()))
    }
}

impl Column for Date {
    fn from_cell(cell: Cell<'_>) -> Result<Self> {
        let number = i64::from_cell(cell)?;
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        let year = i16::try_from(year).map_err(|e| corrupt("date", e.to_string()))?;
        Date::new(year, month as i8, day as i8).map_err(|e| corrupt("date", e.to_string()))
    }
}
