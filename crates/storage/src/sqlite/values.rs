//! How our values are written in SQLite's columns: ids as 16-byte blobs, months as yyyymm, dates as yyyymmdd.
use domain::calendar::Month;
use jiff::civil::Date;
use serde::{Serialize, de::DeserializeOwned};

use crate::StorageError;

pub(super) fn bits(id: u128) -> [u8; 16] {
    id.to_be_bytes()
}

pub(super) fn id_from(blob: &[u8]) -> Result<u128, StorageError> {
    blob.try_into().map(u128::from_be_bytes).map_err(|_| corrupt("id", format!("{} bytes", blob.len())))
}

pub(super) fn month_number(month: Month) -> i64 {
    i64::from(month.year()) * 100 + i64::from(month.month())
}

pub(super) fn month_from(number: i64) -> Result<Month, StorageError> {
    let (year, month) = (number.div_euclid(100), number.rem_euclid(100));
    i16::try_from(year)
        .ok()
        .and_then(|year| Month::new(year, month as i8).ok())
        .ok_or_else(|| corrupt("month", number.to_string()))
}

pub(super) fn date_number(date: Date) -> i64 {
    i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day())
}

pub(super) fn date_from(number: i64) -> Result<Date, StorageError> {
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    Date::new(year as i16, month as i8, day as i8).map_err(|e| corrupt("date", e.to_string()))
}

pub(super) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    protocol::wire::encode(value)
}

pub(super) fn unpack<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StorageError> {
    protocol::wire::decode(bytes).map_err(|e| corrupt(what, e.to_string()))
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, StorageError> {
    text.parse().map_err(|e: T::Err| corrupt(what, e.to_string()))
}

pub(super) fn corrupt(what: &'static str, why: impl Into<String>) -> StorageError {
    StorageError::Corrupt { what, why: why.into() }
}
