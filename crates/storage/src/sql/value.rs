//! Our values as a database takes them, and ids as it gives them back: ids as 16 bytes, months as yyyymm, dates as yyyymmdd, times as Unix ms.
use std::borrow::Cow;

use domain::{
    calendar::Month,
    money::{Fen, Wh},
};
use jiff::civil::Date;
use protocol::{
    AccountId, Bucket, ChallengeId, CustomerId, ExportId, FileId, LaneId, MandateId, OperationId, OutageId,
    PaymentId, PushId, ServiceRequestId, SessionId,
};
use serde::Serialize;

use super::{
    Result,
    row::{Cell, Column},
};

/// A value on its way into a statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value<'v> {
    Null,
    /// The number that the engine gives a new row.
    NewRow,
    /// The number that the row last written with one was given.
    ThatRow,
    Int(i64),
    Id([u8; 16]),
    Text(Cow<'v, str>),
    Bytes(Cow<'v, [u8]>),
}

impl Value<'_> {
    /// The same value, borrowing nothing.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::NewRow => Value::NewRow,
            Value::ThatRow => Value::ThatRow,
            Value::Int(n) => Value::Int(n),
            Value::Id(id) => Value::Id(id),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// The values of a statement, in its order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::sql::Value::from($value)),*] };
}
pub(crate) use values;

/// A value of a type that has no column of its own.
pub(crate) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    protocol::wire::encode(value)
}

macro_rules! ids {
    ($($id:ty),*) => { $(
        impl From<$id> for Value<'_> {
            fn from(id: $id) -> Self {
                Value::Id(id.bits().to_be_bytes())
            }
        }

        impl Column for $id {
            fn from_cell(cell: Cell<'_>) -> Result<Self> {
                <[u8; 16]>::from_cell(cell).map(|bytes| <$id>::from_bits(u128::from_be_bytes(bytes)))
            }
        }
    )* };
}
ids!(
    ChallengeId,
    CustomerId,
    ExportId,
    FileId,
    MandateId,
    OperationId,
    OutageId,
    PaymentId,
    PushId,
    ServiceRequestId,
    SessionId
);

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl From<$number> for Value<'_> {
            fn from(n: $number) -> Self {
                Value::Int(i64::from(n))
            }
        }
    )* };
}
numbers!(i64, u32, u16, u8, bool);

/// Times and sequences: they stay below 2^63.
impl From<u64> for Value<'_> {
    fn from(n: u64) -> Self {
        Value::Int(n as i64)
    }
}

impl From<usize> for Value<'_> {
    fn from(n: usize) -> Self {
        Value::Int(n as i64)
    }
}

impl From<AccountId> for Value<'_> {
    fn from(id: AccountId) -> Self {
        Value::from(id.number())
    }
}

impl From<Bucket> for Value<'_> {
    fn from(bucket: Bucket) -> Self {
        Value::from(bucket.number())
    }
}

impl From<LaneId> for Value<'_> {
    fn from(lane: LaneId) -> Self {
        Value::from(lane.0)
    }
}

impl From<Fen> for Value<'_> {
    fn from(amount: Fen) -> Self {
        Value::Int(amount.0)
    }
}

impl From<Wh> for Value<'_> {
    fn from(energy: Wh) -> Self {
        Value::Int(energy.0)
    }
}

impl From<Month> for Value<'_> {
    fn from(month: Month) -> Self {
        Value::Int(month_number(month))
    }
}

impl From<Date> for Value<'_> {
    fn from(date: Date) -> Self {
        Value::Int(i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day()))
    }
}

/// A month as it is stored.
pub(crate) fn month_number(month: Month) -> i64 {
    i64::from(month.year()) * 100 + i64::from(month.month())
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl<'v> From<Cow<'v, str>> for Value<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        Value::Text(text)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'v, const N: usize> From<&'v [u8; N]> for Value<'v> {
    fn from(bytes: &'v [u8; N]) -> Self {
        Value::from(bytes.as_slice())
    }
}

impl<'v> From<&'v Vec<u8>> for Value<'v> {
    fn from(bytes: &'v Vec<u8>) -> Self {
        Value::from(bytes.as_slice())
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(Cow::Owned(bytes))
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
