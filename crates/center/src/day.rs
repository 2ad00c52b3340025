//! Which day it is, where the customers live.
use jiff::{Timestamp, civil::Date, tz::Offset};

/// China keeps one time, without daylight saving.
pub(crate) const CHINA: Offset = Offset::constant(8);

/// The day of a moment, in China; `unix_ms` in Unix ms.
pub(crate) fn day_of(unix_ms: u64) -> Date {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    CHINA.to_datetime(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)).date()
}

/// The moment of an hour of a day in China, 0 to 23, in Unix ms; 0 where it is before 1970.
pub(crate) fn hour_of(day: Date, hour: i8) -> u64 {
    let moment = CHINA.to_timestamp(day.at(hour.clamp(0, 23), 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH);
    u64::try_from(moment.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_begins_eight_hours_before_utc() {
        // 2027-01-15 08:00 UTC is 16:00 in China.
        assert_eq!(day_of(1_800_000_000_000), date(2027, 1, 15));
        assert_eq!(day_of(1_800_000_000_000 + 8 * 3_600_000 - 1), date(2027, 1, 15));
        assert_eq!(day_of(1_800_000_000_000 + 8 * 3_600_000), date(2027, 1, 16));
        assert_eq!(hour_of(date(2027, 1, 15), 16), 1_800_000_000_000);
        assert_eq!(hour_of(date(1969, 1, 15), 16), 0);
        assert_eq!(day_of(u64::MAX), date(1970, 1, 1), "nonsense is not a panic");
    }
}
