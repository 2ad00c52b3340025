//! Calendar months, the unit in which energy is billed.
//!
//! Bills, tier periods and usage all hang on "2011-01". Keeping that as a type (and not as a date that happens to
//! be a first) means that nothing can be filed under the wrong day or compared across kinds.
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A calendar month of the years 1 to 9999; ordered by time; written `2011-01`, and in binary encodings as the number
/// 201101.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i16,
    month: i8,
}

crate::text_schema!(
    Month,
    "^[0-9]{4}-(0[1-9]|1[0-2])$",
    7,
    "A calendar month of the years 0001 to 9999.",
    "2026-01"
);

/// A text or pair of numbers that is no calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a calendar month: expected YYYY-MM")]
pub struct MonthError;

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            return s.collect_str(self);
        }
        s.serialize_u32(u32::from(self.year.unsigned_abs()) * 100 + u32::from(self.month.unsigned_abs()))
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            return String::deserialize(d)?.parse().map_err(D::Error::custom);
        }
        let number = u32::deserialize(d)?;
        let year = i16::try_from(number / 100).map_err(|_| D::Error::custom(MonthError))?;
        Month::new(year, (number % 100) as i8).map_err(D::Error::custom)
    }
}

impl Month {
    /// The month `month` (1 to 12) of `year` (1 to 9999).
    ///
    /// # Errors
    /// [`MonthError`] outside these ranges.
    pub fn new(year: i16, month: i8) -> Result<Month, MonthError> {
        if (1..=9999).contains(&year) && (1..=12).contains(&month) {
            Ok(Month { year, month })
        } else {
            Err(MonthError)
        }
    }

    /// The month that holds `date`. Dates before the year 1 are taken as its first month.
    pub fn of(date: Date) -> Month {
        if date.year() < 1 {
            return Month { year: 1, month: 1 };
        }
        Month { year: date.year(), month: date.month() }
    }

    /// Calendar year.
    pub fn year(self) -> i16 {
        self.year
    }

    /// 1 to 12.
    pub fn month(self) -> i8 {
        self.month
    }

    /// The month after this one; 9999-12 stays itself.
    pub fn next(self) -> Month {
        match (self.year, self.month) {
            (9999, 12) => self,
            (year, 12) => Month { year: year + 1, month: 1 },
            (year, month) => Month { year, month: month + 1 },
        }
    }

    /// The month before this one; 0001-01 stays itself.
    pub fn prev(self) -> Month {
        match (self.year, self.month) {
            (1, 1) => self,
            (year, 1) => Month { year: year - 1, month: 12 },
            (year, month) => Month { year, month: month - 1 },
        }
    }

    /// The same month of the year before; in the year 1 it stays itself.
    pub fn last_year(self) -> Month {
        Month { year: (self.year - 1).max(1), month: self.month }
    }

    /// Its first day.
    pub fn first_day(self) -> Date {
        Date::constant(self.year, self.month, 1)
    }

    /// Its last day.
    pub fn last_day(self) -> Date {
        self.first_day().last_of_month()
    }

    /// How many days it has, 28 to 31.
    pub fn days(self) -> u8 {
        self.first_day().days_in_month().unsigned_abs()
    }

    /// Whether `date` lies in it.
    pub fn contains(self, date: Date) -> bool {
        date.year() == self.year && date.month() == self.month
    }

    /// Its days, in order.
    pub fn dates(self) -> impl DoubleEndedIterator<Item = Date> + ExactSizeIterator {
        (1..=self.first_day().days_in_month()).map(move |day| Date::constant(self.year, self.month, day))
    }

    /// January of its year.
    pub fn january(self) -> Month {
        Month { year: self.year, month: 1 }
    }

    /// December of its year.
    pub fn december(self) -> Month {
        Month { year: self.year, month: 12 }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Month, MonthError> {
        let bytes = text.as_bytes();
        let shape =
            bytes.iter().enumerate().all(|(i, b)| if i == 4 { *b == b'-' } else { b.is_ascii_digit() });
        if bytes.len() != 7 || !shape {
            return Err(MonthError);
        }
        let (year, month) = text.split_once('-').ok_or(MonthError)?;
        Month::new(year.parse().map_err(|_| MonthError)?, month.parse().map_err(|_| MonthError)?)
    }
}

/// How a date is written: `2026-11-25`, and in binary encodings as the number 20261125. For `#[serde(with = …)]`, since the
/// type is not ours.
pub mod day {
    use jiff::civil::Date;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    fn number(date: Date) -> u32 {
        let (year, month, day) = (date.year(), date.month(), date.day());
        u32::from(year.unsigned_abs()) * 10_000
            + u32::from(month.unsigned_abs()) * 100
            + u32::from(day.unsigned_abs())
    }

    fn date<E: serde::de::Error>(number: u32) -> Result<Date, E> {
        let year = i16::try_from(number / 10_000).map_err(|_| E::custom("not a date"))?;
        Date::new(year, (number / 100 % 100) as i8, (number % 100) as i8).map_err(|_| E::custom("not a date"))
    }

    /// Writes a date of the years 1 to 9999.
    pub fn serialize<S: Serializer>(date: &Date, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            return date.serialize(s);
        }
        s.serialize_u32(number(*date))
    }

    /// Reads a date.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Date, D::Error> {
        if d.is_human_readable() {
            return Date::deserialize(d);
        }
        date(u32::deserialize(d)?)
    }

    /// The same for a date that may be absent.
    pub mod option {
        use super::*;

        /// Writes a date, or that there is none.
        pub fn serialize<S: Serializer>(date: &Option<Date>, s: S) -> Result<S::Ok, S::Error> {
            if s.is_human_readable() {
                return date.serialize(s);
            }
            date.map(number).serialize(s)
        }

        /// Reads a date, or that there is none.
        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Date>, D::Error> {
            if d.is_human_readable() {
                return Option::deserialize(d);
            }
            Option::<u32>::deserialize(d)?.map(date).transpose()
        }
    }
}

impl TryFrom<String> for Month {
    type Error = MonthError;

    fn try_from(text: String) -> Result<Month, MonthError> {
        text.parse()
    }
}

impl From<Month> for String {
    fn from(month: Month) -> String {
        month.to_string()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn months_know_their_days() {
        let feb: Month = "2012-02".parse().unwrap();
        assert_eq!(feb.days(), 29);
        assert_eq!(feb.first_day(), date(2012, 2, 1));
        assert_eq!(feb.last_day(), date(2012, 2, 29));
        assert_eq!(feb.dates().len(), 29);
        assert!(feb.contains(date(2012, 2, 29)) && !feb.contains(date(2013, 2, 1)));
        assert_eq!(Month::of(date(2012, 2, 3)), feb);
        assert_eq!(
            (feb.january().to_string(), feb.december().to_string()),
            ("2012-01".into(), "2012-12".into())
        );
    }

    #[test]
    fn days_are_numbers_in_binary_and_texts_for_people() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Due {
            #[serde(with = "day")]
            on: Date,
            #[serde(with = "day::option")]
            paid: Option<Date>,
        }
        let due = Due { on: date(2026, 11, 25), paid: None };
        assert_eq!(serde_json::to_string(&due).unwrap(), r#"{"on":"2026-11-25","paid":null}"#);
        for due in [due, Due { on: date(1, 1, 1), paid: Some(date(9999, 12, 31)) }] {
            let bytes = postcard::to_stdvec(&due).unwrap();
            assert_eq!(postcard::from_bytes::<Due>(&bytes).unwrap(), due);
            let text = serde_json::to_string(&due).unwrap();
            assert_eq!(serde_json::from_str::<Due>(&text).unwrap(), due);
        }
        for wrong in [0u32, 20_261_131, 20_261_301, 100_000_101, u32::MAX] {
            let bytes = postcard::to_stdvec(&(wrong, None::<u32>)).unwrap();
            assert!(postcard::from_bytes::<Due>(&bytes).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "2011",
            "2011-1",
            "2011-13",
            "2011-00",
            "0000-01",
            "2011/01",
            "2011-01-",
            "+011-01",
            "年201-01",
        ] {
            assert_eq!(bad.parse::<Month>(), Err(MonthError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn next_undoes_prev_and_keeps_order(year in 2i16..9999, month in 1i8..=12) {
            let m = Month::new(year, month).unwrap();
            prop_assert_eq!(m.next().prev(), m);
            prop_assert!(m.prev() < m && m < m.next());
            prop_assert_eq!(m.to_string().parse::<Month>(), Ok(m));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,12}") {
            let _ = text.parse::<Month>();
        }
    }
}
