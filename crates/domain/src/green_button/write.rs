//! Writes Green Button files (NAESB ESPI) that [`read`](super::read) and others read.
//!
//! Readings are in wall-clock slots of China's time, which has no daylight saving: a slot's begin is a moment. Each length of
//! slot is a meter reading of its own, because a reading type names one; where there are several, an importer takes the one
//! that it is told. A slot without a reading is left out. A part at a time is written, so that years need no memory.
use std::fmt::Write as _;

use jiff::{Timestamp, civil::Date, tz::Offset};
use quick_xml::escape::escape;

use crate::readings::{DayReadings, Quality};

/// Seconds east of UTC.
const OFFSET_S: i32 = 8 * 3600;
const ATOM: &str = "http://www.w3.org/2005/Atom";
const ESPI: &str = "http://naesb.org/espi";

/// A file while it is written.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Makes the ids of entries: the same file has the same ones.
    seed: u128,
    /// When it was made.
    updated: Timestamp,
    /// Lengths of slot that have their meter reading, in the order in which they came.
    lengths: Vec<u32>,
    blocks: u32,
}

impl Writer {
    /// Begins a file that is known by `seed`, of `title`, about a usage point of that name.
    pub fn begin(out: &mut String, seed: u128, updated: Timestamp, title: &str, point: &str) -> Writer {
        let writer = Writer { seed, updated, lengths: Vec::new(), blocks: 0 };
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        push(out, format_args!("<feed xmlns=\"{ATOM}\" xmlns:espi=\"{ESPI}\">\n"));
        let id = writer.id(0);
        push(out, format_args!("<id>{id}</id>\n<title>{}</title>\n", escape(title)));
        push(out, format_args!("<updated>{updated}</updated>\n"));
        let links = [
            ("self", "UsagePoint/1"),
            ("related", "UsagePoint/1/MeterReading"),
            ("related", "LocalTimeParameters/1"),
        ];
        writer.entry(out, 1, &links, point, "<espi:UsagePoint><espi:ServiceCategory><espi:kind>0</espi:kind></espi:ServiceCategory></espi:UsagePoint>");
        let time = format!(
            "<espi:LocalTimeParameters><espi:dstEndRule>00000000</espi:dstEndRule><espi:dstOffset>0</espi:dstOffset>\
             <espi:dstStartRule>00000000</espi:dstStartRule><espi:tzOffset>{OFFSET_S}</espi:tzOffset></espi:LocalTimeParameters>"
        );
        writer.entry(out, 2, &[("self", "LocalTimeParameters/1")], "Asia/Shanghai", &time);
        writer
    }

    /// Appends a day; nothing where nothing was read on it.
    pub fn day(&mut self, out: &mut String, day: &DayReadings) {
        let is_read = |slot: &usize| day.quality_of(*slot) != Quality::Missing;
        if !(0..day.slots.len()).any(|slot| is_read(&slot)) {
            return;
        }
        let meter = self.meter(out, day.interval_s);
        self.blocks += 1;
        let begin = start_s(day.date);
        let mut block = format!(
            "<espi:IntervalBlock>\n<espi:interval><espi:duration>86400</espi:duration><espi:start>{begin}</espi:start></espi:interval>\n"
        );
        for slot in (0..day.slots.len()).filter(is_read) {
            let start = begin + slot as i64 * i64::from(day.interval_s);
            block.push_str("<espi:IntervalReading>");
            if let Some(code) = quality_code(day.quality_of(slot)) {
                push(
                    &mut block,
                    format_args!(
                        "<espi:ReadingQuality><espi:quality>{code}</espi:quality></espi:ReadingQuality>"
                    ),
                );
            }
            push(
                &mut block,
                format_args!(
                    "<espi:timePeriod><espi:duration>{}</espi:duration><espi:start>{start}</espi:start></espi:timePeriod><espi:value>{}</espi:value></espi:IntervalReading>\n",
                    day.interval_s, day.slots[slot].0
                ),
            );
        }
        block.push_str("</espi:IntervalBlock>");
        let up = format!("UsagePoint/1/MeterReading/{meter}/IntervalBlock");
        let own = format!("{up}/{}", self.blocks);
        let id = 1000 + u128::from(self.blocks);
        self.entry(out, id, &[("self", &own), ("up", &up)], "", &block);
    }

    /// Ends the file.
    pub fn end(self, out: &mut String) {
        out.push_str("</feed>\n");
    }

    /// The number of the meter reading with slots of that length, whose entries are written where they are not yet.
    fn meter(&mut self, out: &mut String, interval_s: u32) -> usize {
        if let Some(found) = self.lengths.iter().position(|known| *known == interval_s) {
            return found + 1;
        }
        self.lengths.push(interval_s);
        let n = self.lengths.len();
        let own = format!("UsagePoint/1/MeterReading/{n}");
        let (blocks, kind) = (format!("{own}/IntervalBlock"), format!("ReadingType/{n}"));
        let links = [
            ("self", own.as_str()),
            ("up", "UsagePoint/1/MeterReading"),
            ("related", &blocks),
            ("related", &kind),
        ];
        let title = format!("{interval_s} s");
        self.entry(out, 10 + 2 * n as u128, &links, &title, "<espi:MeterReading/>");
        // Electricity delivered, energy in Wh, of each interval alone; 156 is the yuan, ISO 4217.
        let content = format!(
            "<espi:ReadingType><espi:accumulationBehaviour>4</espi:accumulationBehaviour><espi:commodity>1</espi:commodity>\
             <espi:currency>156</espi:currency><espi:dataQualifier>12</espi:dataQualifier><espi:flowDirection>1</espi:flowDirection>\
             <espi:intervalLength>{interval_s}</espi:intervalLength><espi:kind>12</espi:kind>\
             <espi:powerOfTenMultiplier>0</espi:powerOfTenMultiplier><espi:uom>72</espi:uom></espi:ReadingType>"
        );
        self.entry(out, 11 + 2 * n as u128, &[("self", &kind)], "", &content);
        n
    }

    fn entry(&self, out: &mut String, n: u128, links: &[(&str, &str)], title: &str, content: &str) {
        push(out, format_args!("<entry>\n<id>{}</id>\n", self.id(n)));
        for (rel, href) in links {
            push(out, format_args!("<link rel=\"{rel}\" href=\"/espi/1_1/resource/{href}\"/>\n"));
        }
        let updated = self.updated;
        push(out, format_args!("<title>{}</title>\n<content>{content}</content>\n", escape(title)));
        push(out, format_args!("<published>{updated}</published>\n<updated>{updated}</updated>\n</entry>\n"));
    }

    /// A UUID of version 8 (RFC 9562): ours to make.
    fn id(&self, n: u128) -> String {
        let mixed = self.seed.wrapping_add(n);
        let bits = (mixed & !(0xf_u128 << 76) & !(0b11_u128 << 62)) | (8_u128 << 76) | (0b10_u128 << 62);
        let hex = format!("{bits:032x}");
        format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// When a day begins in China, Unix seconds.
fn start_s(date: Date) -> i64 {
    let midnight = date.to_datetime(jiff::civil::Time::midnight());
    Offset::constant(8).to_timestamp(midnight).map_or(0, |at| at.as_second())
}

/// ESPI `QualityOfReading`; what is valid needs none.
fn quality_code(quality: Quality) -> Option<u16> {
    match quality {
        Quality::Valid | Quality::Missing => None,
        Quality::Estimated => Some(8),
        Quality::Questionable => Some(10),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        green_button::{Limits, Options, Select, read, read_with},
        money::Wh,
    };

    fn file(days: &[DayReadings]) -> String {
        let mut out = String::new();
        let at = Timestamp::from_second(1_795_595_920).unwrap();
        let mut writer = Writer::begin(&mut out, 0xfeed << 64, at, "用电 <&> use", "3300000020009");
        days.iter().for_each(|day| writer.day(&mut out, day));
        writer.end(&mut out);
        out
    }

    fn of(date: Date, interval_s: u32, marks: &[Quality]) -> DayReadings {
        let mut day = DayReadings::new(date, interval_s).unwrap();
        for (slot, mark) in (0..day.slots.len() as u32).zip(marks.iter().cycle()) {
            let energy = if *mark == Quality::Missing { Wh(0) } else { Wh(i64::from(slot * 7)) };
            day.add(slot * interval_s, energy, *mark).unwrap();
        }
        day
    }

    #[test]
    fn a_file_reads_as_it_should() {
        let day = of(date(2026, 10, 1), 43_200, &[Quality::Estimated, Quality::Valid]);
        assert_eq!(file(&[day]), include_str!("../../tests/golden/green-button.xml"));
    }

    #[test]
    fn a_day_without_a_reading_is_left_out() {
        let days = [
            of(date(2026, 10, 1), 3600, &[Quality::Valid]),
            of(date(2026, 10, 2), 3600, &[Quality::Missing]),
            of(date(2026, 10, 3), 3600, &[Quality::Valid, Quality::Missing]),
        ];
        let found = read(file(&days).as_bytes(), Limits::default()).unwrap();
        let found: Vec<DayReadings> = found.days.into_values().collect();
        assert_eq!(found, [days[0].clone(), days[2].clone()]);
    }

    #[test]
    fn each_length_of_slot_is_a_series_of_its_own() {
        let days = [
            of(date(2026, 10, 1), 3600, &[Quality::Valid]),
            of(date(2026, 10, 2), 86_400, &[Quality::Valid]),
        ];
        let text = file(&days);
        assert!(read(text.as_bytes(), Limits::default()).is_err(), "nothing is chosen by itself");
        for (n, day) in (1..).zip(&days) {
            let options = Options { select: Some(Select::Number(n)), ..Options::default() };
            let found = read_with(text.as_bytes(), Limits::default(), &options).unwrap();
            assert_eq!(found.days.into_values().collect::<Vec<_>>(), std::slice::from_ref(day));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same(
            // From 1990 on: what is earlier is not read.
            first in 7_000_i64..20_000,
            length in prop_oneof![Just(900_u32), Just(1800), Just(3600), Just(86_400)],
            days in proptest::collection::vec(proptest::collection::vec((0_i64..10_000_000, 0_u8..3), 1..100), 1..5),
        ) {
            let first = date(1971, 1, 1).checked_add(jiff::Span::new().days(first)).unwrap();
            let make = |(n, slots): (usize, &Vec<(i64, u8)>)| {
                let date = first.checked_add(jiff::Span::new().days(n as i64)).unwrap();
                let mut day = DayReadings::new(date, length).unwrap();
                for (slot, (wh, mark)) in (0..day.slots.len() as u32).zip(slots.iter().cycle()) {
                    let mark = [Quality::Valid, Quality::Estimated, Quality::Questionable][usize::from(*mark)];
                    day.add(slot * length, Wh(*wh), mark).unwrap();
                }
                day
            };
            let days: Vec<DayReadings> = days.iter().enumerate().map(make).collect();
            let found = read(file(&days).as_bytes(), Limits::default()).unwrap();
            prop_assert_eq!(found.interval_s, length);
            prop_assert_eq!(found.days.into_values().collect::<Vec<_>>(), days);
        }
    }
}
