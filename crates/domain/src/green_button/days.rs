//! From the readings of one series to local days.
use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::link::Series;
use super::local_time::Clock;
use super::parse::{Feed, RawReading};
use super::{GreenButtonError, Import, Limits, Note, Place};
use crate::money::Wh;
use crate::readings::{DAY_S, DayReadings, MAX_SLOT_WH, MIN_INTERVAL_S, Quality};

/// A day while it is added up: values in the file's power of ten, `None` where there is no reading.
struct Day {
    values: Vec<i64>,
    quality: Vec<Option<Quality>>,
}

/// Counts that become notes.
#[derive(Default)]
struct Seen {
    estimated: u64,
    questionable: u64,
    duplicates: u64,
    repeated: u64,
    shorter: u64,
    unaligned: u64,
    derived: u64,
    gaps: u64,
    gap_s: u64,
    first_gap: Option<i64>,
}

/// Builds the days of the chosen series.
pub(super) fn build(feed: Feed, series: Series, limits: &Limits) -> Result<Import, GreenButtonError> {
    let Feed { title, mut readings, reading_path, without_value, end, .. } = feed;
    let place = |reading: &RawReading| Place {
        line: reading.line.into(),
        column: reading.column.into(),
        path: reading_path.clone(),
    };
    let wrong =
        |reading: &RawReading, reason: String| GreenButtonError::Value { place: place(reading), reason };
    let mut seen = Seen::default();
    readings.retain(|reading| series.sources.get(usize::from(reading.source)).copied().unwrap_or(false));
    settle_times(&mut readings, series.declared_s, &mut seen)
        .map_err(|(reading, why)| wrong(&reading, why))?;
    readings.sort_unstable_by_key(|reading| (reading.start_s, reading.line, reading.column));
    drop_duplicates(&mut readings, &mut seen)
        .map_err(|(one, other, reason)| conflict(place(&one), place(&other), reason))?;
    let (Some(first), Some(last)) = (readings.first().copied(), readings.last().copied()) else {
        return Err(GreenButtonError::NothingMatches { place: end, found: Vec::new() });
    };
    let interval_s = slot_length(&readings, series.declared_s);
    if !(MIN_INTERVAL_S..=DAY_S).contains(&interval_s) || !DAY_S.is_multiple_of(interval_s) {
        return Err(wrong(
            &first,
            format!("intervals of {interval_s} s do not divide a day of {DAY_S} s in slots"),
        ));
    }

    let (factor, divisor) = scale(series.power_of_ten);
    let largest = i128::from(MAX_SLOT_WH) * divisor / factor;
    let mut clock = Clock::new(series.local);
    let mut days: BTreeMap<Date, Day> = BTreeMap::new();
    let slots = (DAY_S / interval_s) as usize;
    let mut before: Option<RawReading> = None;
    for reading in &readings {
        if let Some(before) = before {
            let free_s =
                i64::from(reading.start_s) - (i64::from(before.start_s) + i64::from(before.duration_s));
            if changed_clock(&mut clock, &before, reading, free_s, interval_s) {
                // Both begin where their slots do; only the length was not adapted to the change.
            } else if free_s < 0 {
                let reason = "the reading overlaps the one".to_owned();
                return Err(conflict(place(&before), place(reading), reason));
            } else if free_s > 0 {
                seen.gaps += 1;
                seen.gap_s += free_s.unsigned_abs();
                seen.first_gap.get_or_insert(i64::from(reading.start_s) - free_s);
            }
        }
        before = Some(*reading);
        if reading.value < 0 {
            let reason =
                format!("{} is negative, but energy delivered to a customer cannot be", reading.value);
            return Err(wrong(reading, reason));
        }
        if i128::from(reading.value) > largest {
            let reason = format!(
                "{} × 10^{} Wh is beyond what a meter can measure",
                reading.value, series.power_of_ten
            );
            return Err(wrong(reading, reason));
        }
        let start_s = i64::from(reading.start_s);
        let wall = clock.wall_clock(start_s);
        let second = second_of_day(wall);
        let aligned = second.is_multiple_of(interval_s);
        if reading.duration_s != interval_s {
            // Where a clock changes, a slot lasts longer or shorter than its name says: the ends decide.
            let last = clock.wall_clock(start_s + i64::from(reading.duration_s) - 1);
            let same = last.date() == wall.date() && second_of_day(last) / interval_s == second / interval_s;
            if reading.duration_s > interval_s && !same {
                let reason =
                    format!("it lasts {} s, longer than its slot of {interval_s} s", reading.duration_s);
                return Err(wrong(reading, reason));
            }
            let whole = aligned && (second_of_day(last) + 1).is_multiple_of(interval_s);
            seen.shorter += u64::from(reading.duration_s < interval_s && !whole);
        }
        seen.unaligned += u64::from(!aligned);
        seen.repeated += u64::from(interval_s <= 3600 && clock.is_repeat(start_s));
        seen.estimated += u64::from(reading.quality == Quality::Estimated);
        seen.questionable += u64::from(reading.quality == Quality::Questionable);
        if days.len() >= limits.days && !days.contains_key(&wall.date()) {
            return Err(GreenButtonError::Limit {
                place: place(reading),
                what: "days",
                limit: limits.days as u64,
            });
        }
        let day = days
            .entry(wall.date())
            .or_insert_with(|| Day { values: vec![0; slots], quality: vec![None; slots] });
        let slot = (second / interval_s) as usize;
        let sum = day.values[slot].checked_add(reading.value).filter(|&sum| i128::from(sum) <= largest);
        day.values[slot] =
            sum.ok_or_else(|| wrong(reading, "its slot adds up to more than a meter can measure".into()))?;
        day.quality[slot] = day.quality[slot].max(Some(reading.quality));
    }

    let mut notes = series.notes;
    seen.tell(&mut notes, without_value, series.declared_s.unwrap_or(interval_s), interval_s);
    Ok(Import {
        title,
        usage_point: series.usage_point,
        meter_reading: series.meter_reading,
        days: finish(days, interval_s, factor, divisor, &mut clock),
        interval_s,
        time_zone: series.local,
        readings: readings.len() as u64,
        first: timestamp(i64::from(first.start_s)),
        last: timestamp(i64::from(last.start_s) + i64::from(last.duration_s)),
        notes,
    })
}

/// Gives every reading its start and duration.
fn settle_times(
    readings: &mut [RawReading],
    declared_s: Option<u32>,
    seen: &mut Seen,
) -> Result<(), (RawReading, String)> {
    for reading in readings {
        if !reading.derived && reading.duration_s != 0 {
            continue;
        }
        let Some(length_s) = declared_s else {
            return Err((*reading, "it has no duration, and its reading type no intervalLength".into()));
        };
        if reading.derived {
            let start = u64::from(reading.start_s) + u64::from(reading.duration_s) * u64::from(length_s);
            reading.start_s = u32::try_from(start)
                .ok()
                .filter(|&start| start < 4_102_444_800)
                .ok_or_else(|| (*reading, "its place in the block puts it after 2099".to_owned()))?;
            seen.derived += 1;
        }
        reading.duration_s = length_s;
    }
    Ok(())
}

/// Leaves out repeated readings; the worse quality of the two stays.
fn drop_duplicates(
    readings: &mut Vec<RawReading>,
    seen: &mut Seen,
) -> Result<(), (RawReading, RawReading, String)> {
    let mut contradiction = None;
    readings.dedup_by(|later, kept| {
        if later.start_s != kept.start_s {
            return false;
        }
        if (later.value, later.duration_s) != (kept.value, kept.duration_s) {
            contradiction.get_or_insert((*kept, *later));
            return false;
        }
        kept.quality = kept.quality.max(later.quality);
        seen.duplicates += 1;
        true
    });
    match contradiction {
        Some((kept, later)) => Err((kept, later, "the reading contradicts another of the same time,".into())),
        None => Ok(()),
    }
}

/// The length of a slot: what the reading type says, unless all readings agree on something else that fits a day.
fn slot_length(readings: &[RawReading], declared_s: Option<u32>) -> u32 {
    let shortest = readings.iter().map(|reading| reading.duration_s).min().unwrap_or(0);
    let longest = readings.iter().map(|reading| reading.duration_s).max().unwrap_or(0);
    let uniform =
        shortest == longest && (MIN_INTERVAL_S..=DAY_S).contains(&longest) && DAY_S.is_multiple_of(longest);
    match declared_s {
        _ if uniform => longest,
        Some(declared_s) => declared_s,
        // A day may last up to three hours longer than usual.
        None if longest > DAY_S && longest <= DAY_S + 3 * 3600 => DAY_S,
        None => longest,
    }
}

fn second_of_day(wall: DateTime) -> u32 {
    let second = i32::from(wall.hour()) * 3600 + i32::from(wall.minute()) * 60 + i32::from(wall.second());
    second.unsigned_abs()
}

/// Whether `free_s` seconds between two readings come from a change of the clock: some meters give a day 86,400 s
/// even when it has 23 or 25 hours.
fn changed_clock(
    clock: &mut Clock,
    before: &RawReading,
    after: &RawReading,
    free_s: i64,
    interval_s: u32,
) -> bool {
    let (from, to) = (i64::from(before.start_s), i64::from(after.start_s));
    let change_s = i64::from(clock.offset_s(from)) - i64::from(clock.offset_s(to));
    interval_s > 3600
        && change_s != 0
        && free_s == change_s
        && before.duration_s == interval_s
        && second_of_day(clock.wall_clock(from)).is_multiple_of(interval_s)
        && second_of_day(clock.wall_clock(to)).is_multiple_of(interval_s)
}

/// 10^power as a fraction.
fn scale(power: i32) -> (i128, i128) {
    let ten = 10_i128.pow(power.unsigned_abs().min(12));
    if power < 0 { (1, ten) } else { (ten, 1) }
}

/// Rounds the running total, so that the sum of the slots is the exact sum rounded once.
fn finish(
    days: BTreeMap<Date, Day>,
    interval_s: u32,
    factor: i128,
    divisor: i128,
    clock: &mut Clock,
) -> BTreeMap<Date, DayReadings> {
    let mut exact: i128 = 0;
    let mut told: i128 = 0;
    days.into_iter()
        .map(|(date, day)| {
            let slots = day.values.iter().map(|&value| {
                exact += i128::from(value) * factor;
                let rounded = (2 * exact + divisor).div_euclid(2 * divisor);
                let slot = rounded - told;
                told = rounded;
                // At most MAX_SLOT_WH + 1 by the checks before.
                Wh(i64::try_from(slot).unwrap_or(MAX_SLOT_WH).min(MAX_SLOT_WH))
            });
            let slots = slots.collect();
            let mut quality: Vec<Quality> = Vec::with_capacity(day.quality.len());
            for (index, &of) in day.quality.iter().enumerate() {
                let from = index as i64 * i64::from(interval_s);
                let until = from + i64::from(interval_s) - 1;
                quality.push(match of {
                    Some(of) => of,
                    None if clock.is_skipped(date, from) && clock.is_skipped(date, until) => Quality::Valid,
                    None => Quality::Missing,
                });
            }
            if quality.iter().all(|&of| of == Quality::Valid) {
                quality = Vec::new();
            }
            (date, DayReadings { date, interval_s, slots, quality })
        })
        .collect()
}

fn conflict(first: Place, second: Place, reason: String) -> GreenButtonError {
    GreenButtonError::Conflict { first, second, reason }
}

/// Readings lie between 1990 and 2100, so this cannot fail.
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Seen {
    fn tell(self, notes: &mut Vec<Note>, without_value: u64, declared_s: u32, found_s: u32) {
        if declared_s != found_s {
            notes.push(Note::IntervalLength { declared_s, found_s });
        }
        if let Some(first) = self.first_gap {
            notes.push(Note::Gaps { gaps: self.gaps, total_s: self.gap_s, first: timestamp(first) });
        }
        let counted = [
            (self.estimated, Note::Estimated { readings: self.estimated }),
            (self.questionable, Note::Questionable { readings: self.questionable }),
            (self.duplicates, Note::Duplicates { readings: self.duplicates }),
            (without_value, Note::WithoutValue { readings: without_value }),
            (self.repeated, Note::RepeatedHour { readings: self.repeated }),
            (self.shorter, Note::ShorterThanSlot { readings: self.shorter }),
            (self.unaligned, Note::Unaligned { readings: self.unaligned }),
            (self.derived, Note::DerivedTimes { readings: self.derived }),
        ];
        notes.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, note)| note));
    }
}
