//! Which day it is, where the customers live.
use jiff::{Timestamp, civil::Date, tz::Offset};

/// China keeps one time, without daylight saving.
pub(crate) const CHINA: Offset = Offset::constant(8);

/// The day of a moment, in China; `unix_ms` in Unix ms.
pub(crate) fn day_of(unix_ms: u64) -> Date {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    CHINA.to_datetime(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)).date()
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
        assert_eq!(day_of(u64::MAX), date(1970, 1, 1), "nonsense is not a panic");
    }
}
