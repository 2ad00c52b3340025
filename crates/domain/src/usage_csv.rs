//! Readings as a table that spreadsheets open: one row an hour, or a day where hours are not known.
//!
//! UTF-8 with a byte order mark, without which Excel on a Chinese Windows reads it as GBK; rows end as RFC 4180 says. It is
//! written day by day, so that years of it need no more memory than a day.
use std::fmt::Write as _;

use crate::{
    money::Wh,
    readings::{DAY_S, DayReadings, Quality},
    tariff::{Period, PeriodName},
};

/// In which language a table's head and words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// 简体中文
    Zh,
    /// English
    En,
}

/// The mark and the first row.
pub fn head(words: Words) -> String {
    let names = match words {
        Words::Zh => ["日期", "开始", "结束", "电量（千瓦时）", "时段", "数据"],
        Words::En => ["Date", "From", "To", "Energy (kWh)", "Period", "Reading"],
    };
    let mut out = String::from('\u{feff}');
    row(&mut out, &names);
    out
}

/// Appends a day's rows. `periods` are those of the tariff on that day; none where it has none. An hour that lies in two of
/// them, and a day, has none: nothing is guessed apart. Energy of which nothing is known stays empty.
pub fn day(out: &mut String, day: &DayReadings, periods: &[Period], words: Words) {
    let date = day.date.to_string();
    let Some(hours) = day.by_hour() else {
        let energy = known(day.total(), day.worst_quality());
        return row(out, &[&date, "00:00", "24:00", &energy, "", quality(day.worst_quality(), words)]);
    };
    let per_hour = day.slots.len() / 24;
    for (hour, energy) in hours.into_iter().enumerate() {
        let slots = hour * per_hour..(hour + 1) * per_hour;
        let marks = slots.map(|slot| day.quality_of(slot));
        // An hour of which a part is missing holds what is known of it, and says so.
        let is_unknown = marks.clone().all(|mark| mark == Quality::Missing);
        let worst = marks.max().unwrap_or_default();
        let energy = if is_unknown { String::new() } else { energy.to_string() };
        let period = period(periods, hour as u16).map_or("", |name| period_name(name, words));
        let (from, to) = (format!("{hour:02}:00"), format!("{:02}:00", hour + 1));
        row(out, &[&date, &from, &to, &energy, period, quality(worst, words)]);
    }
}

fn known(energy: Wh, worst: Quality) -> String {
    if worst == Quality::Missing && energy == Wh(0) { String::new() } else { energy.to_string() }
}

/// The period in which all of an hour lies.
fn period(periods: &[Period], hour: u16) -> Option<PeriodName> {
    let minutes = hour * 60..(hour + 1) * 60;
    let holds = |period: &&Period| minutes.clone().all(|minute| period.holds(minute));
    periods.iter().find(holds).map(|period| period.name)
}

fn period_name(name: PeriodName, words: Words) -> &'static str {
    match (name, words) {
        (PeriodName::Sharp, Words::Zh) => "尖",
        (PeriodName::Peak, Words::Zh) => "峰",
        (PeriodName::Flat, Words::Zh) => "平",
        (PeriodName::Valley, Words::Zh) => "谷",
        (PeriodName::Sharp, Words::En) => "Sharp",
        (PeriodName::Peak, Words::En) => "Peak",
        (PeriodName::Flat, Words::En) => "Flat",
        (PeriodName::Valley, Words::En) => "Valley",
    }
}

fn quality(quality: Quality, words: Words) -> &'static str {
    match (quality, words) {
        (Quality::Valid, Words::Zh) => "实测",
        (Quality::Estimated, Words::Zh) => "估算",
        (Quality::Missing, Words::Zh) => "缺失",
        (Quality::Questionable, Words::Zh) => "存疑",
        (Quality::Valid, Words::En) => "Measured",
        (Quality::Estimated, Words::En) => "Estimated",
        (Quality::Missing, Words::En) => "Missing",
        (Quality::Questionable, Words::En) => "Questionable",
    }
}

fn row(out: &mut String, cells: &[&str]) {
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_cell(out, cell);
    }
    out.push_str("\r\n");
}

/// Writes one cell. What a spreadsheet would take for a formula gets an apostrophe before it and stays text; numbers, dates and
/// times of day stay what they are.
fn write_cell(out: &mut String, cell: &str) {
    let is_number = cell.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':'));
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']) && !is_number;
    let guard = if is_formula { "'" } else { "" };
    if is_formula || cell.contains([',', '"', '\r', '\n']) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\"{guard}{}\"", cell.replace('"', "\"\""));
    } else {
        out.push_str(cell);
    }
}

// An hour has whole slots, and a day whole hours.
const _: () = assert!(DAY_S == 24 * 3600);

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::tariff::TariffBook;

    fn periods() -> Vec<Period> {
        let tariff = TariffBook::published().get("zj-residential-tou").unwrap();
        let version = tariff.version_named(date(2026, 10, 1)).unwrap();
        match &version.prices {
            crate::tariff::Prices::TimeOfUse { periods } => periods.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_reads_as_it_should() {
        let mut hours = DayReadings::new(date(2026, 10, 1), 1800).unwrap();
        for half in 0..48 {
            let quality = match half {
                4 | 5 | 10 => Quality::Missing,
                20 => Quality::Estimated,
                _ => Quality::Valid,
            };
            let energy = if quality == Quality::Missing { Wh(0) } else { Wh(100 + i64::from(half)) };
            hours.add(half * 1800, energy, quality).unwrap();
        }
        let mut whole = DayReadings::new(date(2026, 10, 2), 86_400).unwrap();
        whole.add(0, Wh(8371), Quality::Valid).unwrap();
        for (words, golden) in [
            (Words::Zh, include_str!("../tests/golden/usage-zh.csv")),
            (Words::En, include_str!("../tests/golden/usage-en.csv")),
        ] {
            let mut out = head(words);
            day(&mut out, &hours, &periods(), words);
            day(&mut out, &whole, &periods(), words);
            assert_eq!(out, golden, "{words:?}");
        }
    }

    #[test]
    fn an_hour_has_the_period_in_which_it_lies() {
        let periods = periods();
        assert_eq!(period(&periods, 3), Some(PeriodName::Valley));
        assert_eq!(period(&periods, 9), Some(PeriodName::Peak));
        assert_eq!(period(&[], 3), None);
    }

    #[test]
    fn no_text_becomes_a_formula() {
        let cell = |text: &str| {
            let mut out = String::new();
            write_cell(&mut out, text);
            out
        };
        for hostile in ["=1+1", "+A1", "-A1", "@SUM(A1)", "\tx", "\r=x", "＝1+1"] {
            assert!(cell(hostile).starts_with("\"'"), "{hostile:?}");
        }
        assert_eq!(cell("=HYPERLINK(\"a\")"), "\"'=HYPERLINK(\"\"a\"\")\"");
        for plain in ["-0.250", "2026-10-01", "00:00", "样例", "a b"] {
            assert_eq!(cell(plain), plain);
        }
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("a\nb\"c"), "\"a\nb\"\"c\"");
    }
}
