//! The bytes of a day: small, versioned, and safe to read whoever wrote them.
use jiff::{Span, civil::Date};

use super::{DayReadings, Quality, ReadingError, check_energy, slot_count};
use crate::money::Wh;

const VERSION: u8 = 1;
const HAS_QUALITY: u8 = 1;
const ZIGZAG: u8 = 2;
const EPOCH: Date = Date::constant(1970, 1, 1);

/// Why bytes are no packed day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// A version this program does not know.
    #[error("packed readings of unknown version {0}")]
    Version(u8),
    /// The bytes end too early, or a number is too long.
    #[error("packed readings are cut short or hold a malformed number")]
    Truncated,
    /// Bytes are left over.
    #[error("packed readings are followed by other bytes")]
    Trailing,
    /// A date outside the calendar.
    #[error("packed readings of an impossible date")]
    Date,
    /// Unknown flags, an unknown quality, or runs that do not cover the slots.
    #[error("packed readings with malformed quality marks")]
    Quality,
    /// Values outside the bounds of a day.
    #[error(transparent)]
    Reading(#[from] ReadingError),
}

pub(super) fn pack(day: &DayReadings) -> Vec<u8> {
    let negative = day.slots.iter().any(|slot| slot.0 < 0);
    let marked = day.quality.iter().any(|quality| *quality != Quality::Valid);
    let mut bytes = Vec::with_capacity(8 + day.slots.len() * 2);
    bytes.push(VERSION);
    bytes.push(if marked { HAS_QUALITY } else { 0 } | if negative { ZIGZAG } else { 0 });
    put(&mut bytes, zigzag(days_since_epoch(day.date)));
    put(&mut bytes, u64::from(day.interval_s));
    for slot in &day.slots {
        put(&mut bytes, if negative { zigzag(slot.0) } else { slot.0.unsigned_abs() });
    }
    if marked {
        for run in day.quality.chunk_by(|a, b| a == b) {
            bytes.push(run[0] as u8);
            put(&mut bytes, run.len() as u64);
        }
    }
    bytes
}

pub(super) fn unpack(bytes: &[u8]) -> Result<DayReadings, UnpackError> {
    let mut rest = bytes;
    let version = take_byte(&mut rest)?;
    if version != VERSION {
        return Err(UnpackError::Version(version));
    }
    let flags = take_byte(&mut rest)?;
    if flags & !(HAS_QUALITY | ZIGZAG) != 0 {
        return Err(UnpackError::Quality);
    }
    let date = date_after_epoch(unzigzag(take(&mut rest)?))?;
    let interval = take(&mut rest)?;
    let interval_s = u32::try_from(interval).map_err(|_| ReadingError::Interval(u32::MAX))?;
    let count = slot_count(interval_s)?;
    let mut slots = Vec::with_capacity(count);
    for _ in 0..count {
        let raw = take(&mut rest)?;
        let value = if flags & ZIGZAG != 0 {
            unzigzag(raw)
        } else {
            i64::try_from(raw).map_err(|_| ReadingError::Energy(i64::MAX))?
        };
        check_energy(Wh(value))?;
        slots.push(Wh(value));
    }
    let quality = if flags & HAS_QUALITY != 0 { take_quality(&mut rest, count)? } else { Vec::new() };
    if !rest.is_empty() {
        return Err(UnpackError::Trailing);
    }
    Ok(DayReadings { date, interval_s, slots, quality })
}

fn take_quality(rest: &mut &[u8], count: usize) -> Result<Vec<Quality>, UnpackError> {
    let mut quality = Vec::with_capacity(count);
    while quality.len() < count {
        let mark = match take_byte(rest)? {
            0 => Quality::Valid,
            1 => Quality::Estimated,
            2 => Quality::Missing,
            3 => Quality::Questionable,
            _ => return Err(UnpackError::Quality),
        };
        let run = usize::try_from(take(rest)?).map_err(|_| UnpackError::Quality)?;
        if run == 0 || run > count - quality.len() {
            return Err(UnpackError::Quality);
        }
        quality.resize(quality.len() + run, mark);
    }
    // A day without marks is written without them, so that equal days have equal bytes.
    if quality.iter().all(|mark| *mark == Quality::Valid) {
        return Err(UnpackError::Quality);
    }
    Ok(quality)
}

fn days_since_epoch(date: Date) -> i64 {
    // The difference of two civil dates in days always fits 32 bits.
    date.duration_since(EPOCH).as_hours() / 24
}

fn date_after_epoch(days: i64) -> Result<Date, UnpackError> {
    let span = Span::new().try_days(days).map_err(|_| UnpackError::Date)?;
    EPOCH.checked_add(span).map_err(|_| UnpackError::Date)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, UnpackError> {
    let (first, tail) = rest.split_first().ok_or(UnpackError::Truncated)?;
    *rest = tail;
    Ok(*first)
}

fn take(rest: &mut &[u8]) -> Result<u64, UnpackError> {
    let mut value = 0u64;
    // Nine groups of seven bits are more than any bounded value needs, and cannot overflow.
    for shift in (0..63).step_by(7) {
        let byte = take_byte(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(UnpackError::Truncated)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::readings::MAX_SLOT_WH;

    fn any_day() -> impl Strategy<Value = DayReadings> {
        let intervals = prop::sample::select(vec![60u32, 300, 900, 1800, 3600, 7200, 86_400]);
        (intervals, -40_000i64..40_000, any::<bool>(), any::<bool>()).prop_flat_map(
            |(interval_s, day, signed, marked)| {
                let count = (86_400 / interval_s) as usize;
                let low = if signed { -MAX_SLOT_WH } else { 0 };
                let quality = prop::sample::select(vec![
                    Quality::Valid,
                    Quality::Estimated,
                    Quality::Missing,
                    Quality::Questionable,
                ]);
                (
                    prop::collection::vec(prop_oneof![low.max(-2000)..2000, low..=MAX_SLOT_WH], count),
                    prop::collection::vec(quality, if marked { count } else { 0 }),
                )
                    .prop_map(move |(slots, quality)| {
                        let marked = quality.iter().any(|q| *q != Quality::Valid);
                        DayReadings {
                            date: date_after_epoch(day).unwrap(),
                            interval_s,
                            slots: slots.into_iter().map(Wh).collect(),
                            quality: if marked { quality } else { Vec::new() },
                        }
                    })
            },
        )
    }

    proptest! {
        #[test]
        fn a_day_survives_packing(day in any_day()) {
            prop_assert_eq!(day.validate(), Ok(()));
            prop_assert_eq!(DayReadings::unpack(&day.pack()), Ok(day));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = DayReadings::unpack(&bytes);
        }

        #[test]
        fn damaged_days_never_panic_and_stay_in_bounds(
            day in any_day(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = day.pack();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = DayReadings::unpack(&bytes) {
                prop_assert_eq!(read.validate(), Ok(()));
            }
            let whole = day.pack();
            let short = &whole[..cut.index(whole.len())];
            prop_assert!(DayReadings::unpack(short).is_err());
        }
    }

    #[test]
    fn an_ordinary_day_takes_about_two_bytes_an_hour() {
        let mut day = DayReadings::new(date(2025, 7, 1), 3600).unwrap();
        for hour in 0..24u32 {
            day.add(hour * 3600, Wh(600), Quality::Valid).unwrap();
        }
        assert!(day.pack().len() <= 56, "{}", day.pack().len());
    }

    #[test]
    fn other_versions_and_leftovers_are_refused() {
        let mut bytes = DayReadings::new(date(1969, 12, 31), 86_400).unwrap().pack();
        assert_eq!(DayReadings::unpack(&bytes).unwrap().date, date(1969, 12, 31));
        bytes.push(0);
        assert_eq!(DayReadings::unpack(&bytes), Err(UnpackError::Trailing));
        let marked_valid = [1, 1, 0, 0x80, 0xa3, 5, 7, 0, 1];
        assert_eq!(DayReadings::unpack(&marked_valid), Err(UnpackError::Quality));
        assert!(DayReadings::unpack(&[1, 1, 0, 0x80, 0xa3, 5, 7, 2, 1]).is_ok());
        for run in [&[0][..], &[2], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            let overlong = [&[1, 1, 0, 0x80, 0xa3, 5, 7, 2][..], run].concat();
            assert_eq!(DayReadings::unpack(&overlong), Err(UnpackError::Quality), "a run beyond the day");
        }
        bytes[0] = 9;
        assert_eq!(DayReadings::unpack(&bytes), Err(UnpackError::Version(9)));
    }
}
