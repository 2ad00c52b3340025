//! Local time as ESPI writes it: an offset and two daylight-saving rules in bit fields.
//!
//! Layout of a rule (`DstRuleType`, a `HexBinary32`, in the ESPI schema `espiDerived.xsd` and the same in IEEE
//! 2030.5), least significant bit first:
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0–11 | seconds of the hour, 0–3599 |
//! | 12–16 | hour, 0–23 |
//! | 17–19 | day of the week, 1 Monday … 7 Sunday; 0 not applicable |
//! | 20–24 | day of the month, 1–31; 0 not applicable |
//! | 25–27 | operator |
//! | 28–31 | month, 1–12 |
//!
//! Operators: 0 on the day of the month; 1 on the first such weekday on or after the day of the month; 2–6 on the
//! first … fifth such weekday of the month; 7 on the last. `FFFFFFFF` switches the rule off. `360E2000` is the
//! second Sunday of March, 02:00; `B40E2000` the first Sunday of November, 02:00. Both times are read from the wall
//! clock as it runs before the change: the end of daylight saving is given in daylight-saving time.
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

/// The local time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds east of UTC of standard time, −50,400 to 50,400.
    pub tz_offset_s: i32,
    /// Daylight saving, if there is any.
    pub dst: Option<Dst>,
}

/// Daylight saving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dst {
    /// When it begins.
    pub start: DstRule,
    /// When it ends.
    pub end: DstRule,
    /// Seconds added to standard time, 1 to 10,800.
    pub offset_s: i32,
}

/// When daylight saving begins or ends in a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DstRule {
    month: i8,
    operator: u8,
    day_of_month: i8,
    day_of_week: i8,
    second_of_day: i32,
}

/// Why a rule cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not one to eight hexadecimal digits.
    #[error("a daylight-saving rule is eight hexadecimal digits, found '{0}'")]
    Hex(String),
    /// A part outside its range.
    #[error("daylight-saving rule {rule:08X}: {what} {value} cannot be")]
    Part {
        /// The rule.
        rule: u32,
        /// Which part.
        what: &'static str,
        /// Its value.
        value: u32,
    },
}

impl DstRule {
    /// Decodes eight hexadecimal digits; `None` where the rule is switched off (`FFFFFFFF`, or `00000000` as some
    /// files have it).
    ///
    /// # Errors
    /// [`RuleError`]
    pub fn decode(hex: &str) -> Result<Option<DstRule>, RuleError> {
        let digits = !hex.is_empty() && hex.len() <= 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let rule = if digits { u32::from_str_radix(hex, 16).ok() } else { None };
        let rule = rule.ok_or_else(|| RuleError::Hex(hex.chars().take(20).collect()))?;
        if rule == u32::MAX || rule == 0 {
            return Ok(None);
        }
        let part = |from: u32, bits: u32| (rule >> from) & ((1 << bits) - 1);
        let check = |what, value: u32, low, high| {
            if (low..=high).contains(&value) { Ok(value) } else { Err(RuleError::Part { rule, what, value }) }
        };
        let second = check("second", part(0, 12), 0, 3599)?;
        let hour = check("hour", part(12, 5), 0, 23)?;
        let operator = part(25, 3);
        let by_day = operator <= 1;
        let by_week = operator >= 1;
        let day_of_week = check("day of the week", part(17, 3), u32::from(by_week), 7)?;
        let day_of_month = check("day of the month", part(20, 5), u32::from(by_day), 31)?;
        let month = check("month", part(28, 4), 1, 12)?;
        Ok(Some(DstRule {
            month: month as i8,
            operator: operator as u8,
            day_of_month: day_of_month as i8,
            day_of_week: day_of_week as i8,
            second_of_day: (hour * 3600 + second) as i32,
        }))
    }

    /// The wall-clock time of the change in `year`; `None` for a year the calendar does not have. A day that the
    /// month does not have is its last day; a fifth weekday that it does not have is the last one.
    pub fn at(&self, year: i16) -> Option<DateTime> {
        let first = Date::new(year, self.month, 1).ok()?;
        let last_day = first.days_in_month();
        let weekday_from = |day: i8| {
            let from = Date::new(year, self.month, day.clamp(1, last_day)).ok()?;
            let ahead = (self.day_of_week - from.weekday().to_monday_one_offset()).rem_euclid(7);
            from.checked_add(i64::from(ahead).days()).ok()
        };
        let day = match self.operator {
            0 => Date::new(year, self.month, self.day_of_month.min(last_day)).ok()?,
            1 => weekday_from(self.day_of_month)?,
            7 => weekday_from(last_day - 6)?,
            nth => {
                let day = weekday_from(1)?.checked_add((7 * i64::from(nth - 2)).days()).ok()?;
                if day.month() == self.month { day } else { weekday_from(last_day - 6)? }
            }
        };
        day.to_datetime(jiff::civil::Time::midnight())
            .checked_add(i64::from(self.second_of_day).seconds())
            .ok()
    }
}

impl LocalTime {
    /// A fixed offset without daylight saving.
    pub fn fixed(tz_offset_s: i32) -> LocalTime {
        LocalTime { tz_offset_s, dst: None }
    }

    /// Seconds east of UTC at `time`.
    pub fn offset_s(&self, time: Timestamp) -> i32 {
        Clock::new(*self).offset_s(time.as_second())
    }

    /// The wall-clock time at `time`.
    pub fn wall_clock(&self, time: Timestamp) -> DateTime {
        Clock::new(*self).wall_clock(time.as_second())
    }
}

/// A local time that remembers the year it was last asked for, because readings come in order.
pub(super) struct Clock {
    local: LocalTime,
    year: i16,
    /// Begin and end of daylight saving of that year, seconds since 1970.
    span: Option<(i64, i64)>,
}

impl Clock {
    pub(super) fn new(local: LocalTime) -> Clock {
        Clock { local, year: i16::MIN, span: None }
    }

    /// Seconds east of UTC at `time`, seconds since 1970.
    pub(super) fn offset_s(&mut self, time: i64) -> i32 {
        let Some(dst) = self.local.dst else { return self.local.tz_offset_s };
        let standard = i64::from(self.local.tz_offset_s);
        let year = civil(time + standard).year();
        if year != self.year {
            self.year = year;
            self.span = dst.start.at(year).zip(dst.end.at(year)).map(|(start, end)| {
                (seconds(start) - standard, seconds(end) - standard - i64::from(dst.offset_s))
            });
        }
        let saving = match self.span {
            Some((start, end)) if start < end => start <= time && time < end,
            // South of the equator it is daylight saving at both ends of the year.
            Some((start, end)) => time < end || start <= time,
            None => false,
        };
        self.local.tz_offset_s + if saving { dst.offset_s } else { 0 }
    }

    pub(super) fn wall_clock(&mut self, time: i64) -> DateTime {
        civil(time + i64::from(self.offset_s(time)))
    }

    /// Whether the wall clock showed this time before, an hour (or what is saved) ago.
    pub(super) fn is_repeat(&mut self, time: i64) -> bool {
        let Some(dst) = self.local.dst else { return false };
        self.offset_s(time) == self.local.tz_offset_s
            && self.offset_s(time - i64::from(dst.offset_s)) != self.local.tz_offset_s
    }

    /// Whether the wall clock skips this time.
    pub(super) fn is_skipped(&mut self, date: Date, second_of_day: i64) -> bool {
        let Some(dst) = self.local.dst else { return false };
        let wall = seconds(date.to_datetime(jiff::civil::Time::midnight())) + second_of_day;
        let standard = self.local.tz_offset_s;
        let saving = standard + dst.offset_s;
        self.offset_s(wall - i64::from(standard)) != standard
            && self.offset_s(wall - i64::from(saving)) != saving
    }
}

/// Seconds since 1970 as a date and time; the calendar's limit where they are beyond it.
fn civil(seconds: i64) -> DateTime {
    let bounded = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Offset::UTC.to_datetime(Timestamp::from_second(bounded).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The inverse of [`civil`].
fn seconds(wall: DateTime) -> i64 {
    Offset::UTC.to_timestamp(wall).map(|time| time.as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, datetime};

    use super::*;

    fn rule(hex: &str) -> DstRule {
        DstRule::decode(hex).unwrap().unwrap()
    }

    fn pacific() -> LocalTime {
        let dst = Dst { start: rule("360E2000"), end: rule("B40E2000"), offset_s: 3600 };
        LocalTime { tz_offset_s: -28_800, dst: Some(dst) }
    }

    #[test]
    fn north_america() {
        for (year, march, november) in
            [(2007, 11, 4), (2009, 8, 1), (2011, 13, 6), (2012, 11, 4), (2015, 8, 1)]
        {
            assert_eq!(rule("360E2000").at(year), Some(datetime(year, 3, march, 2, 0, 0, 0)));
            assert_eq!(rule("B40E2000").at(year), Some(datetime(year, 11, november, 2, 0, 0, 0)));
        }
    }

    #[test]
    fn the_clock_changes_when_the_rule_says() {
        let local = pacific();
        let at = |text: &str| local.wall_clock(text.parse().unwrap());
        assert_eq!(at("2011-03-13T09:59:59Z"), datetime(2011, 3, 13, 1, 59, 59, 0));
        assert_eq!(at("2011-03-13T10:00:00Z"), datetime(2011, 3, 13, 3, 0, 0, 0));
        assert_eq!(at("2011-11-06T08:59:59Z"), datetime(2011, 11, 6, 1, 59, 59, 0));
        assert_eq!(at("2011-11-06T09:00:00Z"), datetime(2011, 11, 6, 1, 0, 0, 0));
        assert_eq!(at("2012-01-01T07:59:59Z"), datetime(2011, 12, 31, 23, 59, 59, 0));
        let mut clock = Clock::new(local);
        let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        assert!(!clock.is_repeat(second("2011-11-06T08:30:00Z")));
        assert!(clock.is_repeat(second("2011-11-06T09:00:00Z")));
        assert!(!clock.is_repeat(second("2011-11-06T10:00:00Z")));
        assert!(clock.is_skipped(date(2011, 3, 13), 7200));
        assert!(clock.is_skipped(date(2011, 3, 13), 10_799));
        assert!(!clock.is_skipped(date(2011, 3, 13), 10_800));
        assert!(!clock.is_skipped(date(2011, 11, 6), 3600));
    }

    #[test]
    fn south_of_the_equator() {
        // Sydney: first Sunday of October 02:00 to first Sunday of April 03:00 daylight time.
        let dst = Dst { start: rule("A40E2000"), end: rule("440E3000"), offset_s: 3600 };
        let local = LocalTime { tz_offset_s: 36_000, dst: Some(dst) };
        let offset = |text: &str| local.offset_s(text.parse().unwrap());
        assert_eq!(offset("2011-01-01T00:00:00Z"), 39_600);
        assert_eq!(offset("2011-04-02T15:59:59Z"), 39_600);
        assert_eq!(offset("2011-04-02T16:00:00Z"), 36_000);
        assert_eq!(offset("2011-10-01T15:59:59Z"), 36_000);
        assert_eq!(offset("2011-10-01T16:00:00Z"), 39_600);
    }

    #[test]
    fn every_operator() {
        // Last Sunday of March 01:00; the 15th of June; first Monday on or after 8 May; fifth Friday of February.
        assert_eq!(rule("3E0E1000").at(2024), Some(datetime(2024, 3, 31, 1, 0, 0, 0)));
        assert_eq!(rule("60F00000").at(2024), Some(datetime(2024, 6, 15, 0, 0, 0, 0)));
        assert_eq!(rule("52820000").at(2024), Some(datetime(2024, 5, 13, 0, 0, 0, 0)));
        assert_eq!(rule("2C0A0000").at(2024), Some(datetime(2024, 2, 23, 0, 0, 0, 0)));
        assert_eq!(rule("2C0A0000").at(2036), Some(datetime(2036, 2, 29, 0, 0, 0, 0)));
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert_eq!(DstRule::decode("FFFFFFFF"), Ok(None));
        assert_eq!(DstRule::decode("00000000"), Ok(None));
        for bad in [
            "",
            "36 E2000",
            "360E20000",
            "+60E2000",
            "D60E2000",
            "3600 2000",
            "36002000",
            "360F9000",
            "30002000",
        ] {
            assert!(DstRule::decode(bad).is_err(), "{bad}");
        }
    }
}
