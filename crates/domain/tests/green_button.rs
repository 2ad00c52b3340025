//! Green Button files as they come, and as they should not.
#![allow(clippy::unwrap_used)] // Also in the functions that write files, which are no tests themselves.

use std::fmt::Write as _;
use std::io::{BufReader, Read};

use gridesk_domain::green_button::{
    GreenButtonError, Import, Limits, LocalTime, Note, Options, Select, read, read_with,
};
use gridesk_domain::money::Wh;
use gridesk_domain::readings::Quality;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use proptest::prelude::*;

const BASE: &str = "https://utility.example/espi/1_1/resource";
const PACIFIC: &str = "<LocalTimeParameters xmlns='http://naesb.org/espi'><dstEndRule>B40E2000</dstEndRule>\
    <dstOffset>3600</dstOffset><dstStartRule>360E2000</dstStartRule><tzOffset>-28800</tzOffset></LocalTimeParameters>";

/// Begin of 2011 in California.
const START_2011: i64 = 1_293_868_800;

fn entry(links: &[(&str, &str)], title: &str, content: &str) -> String {
    let mut text = String::from("<entry>\n");
    for (rel, href) in links {
        writeln!(text, "<link rel=\"{rel}\" href=\"{BASE}/{href}\"/>").unwrap();
    }
    write!(text, "<title>{title}</title>\n<content>{content}</content>\n</entry>\n").unwrap();
    text
}

fn point(number: u32, kind: u32) -> String {
    entry(
        &[
            ("self", &format!("UsagePoint/{number}")),
            ("related", &format!("UsagePoint/{number}/MeterReading")),
            ("related", "LocalTimeParameters/01"),
        ],
        &format!("Meter {number}"),
        &format!(
            "<UsagePoint xmlns='http://naesb.org/espi'><ServiceCategory><kind>{kind}</kind></ServiceCategory></UsagePoint>"
        ),
    )
}

fn local_time(content: &str) -> String {
    entry(&[("self", "LocalTimeParameters/01")], "Local time", content)
}

fn meter(point: u32, number: u32, reading_type: u32) -> String {
    entry(
        &[
            ("self", &format!("UsagePoint/{point}/MeterReading/{number}")),
            ("up", &format!("UsagePoint/{point}/MeterReading")),
            ("related", &format!("UsagePoint/{point}/MeterReading/{number}/IntervalBlock")),
            ("related", &format!("ReadingType/{reading_type}")),
        ],
        &format!("Series {number}"),
        "<MeterReading xmlns='http://naesb.org/espi'/>",
    )
}

/// A usual reading type but for `fields`; `i64::MIN` leaves a field out.
fn reading_type(number: u32, fields: &[(&str, i64)]) -> String {
    let usual = [
        ("accumulationBehaviour", 4),
        ("commodity", 1),
        ("currency", 840),
        ("dataQualifier", 12),
        ("flowDirection", 1),
        ("intervalLength", 3600),
        ("kind", 12),
        ("powerOfTenMultiplier", 0),
        ("uom", 72),
    ];
    let mut text = String::from("<ReadingType xmlns='http://naesb.org/espi'>");
    let kept = usual.iter().filter(|(name, _)| fields.iter().all(|(other, _)| other != name));
    for (name, value) in fields.iter().chain(kept).filter(|(_, value)| *value != i64::MIN) {
        write!(text, "<{name}>{value}</{name}>").unwrap();
    }
    text.push_str("<interharmonic><numerator>1</numerator></interharmonic></ReadingType>");
    entry(&[("self", &format!("ReadingType/{number}"))], "Type", &text)
}

fn block(point: u32, meter: u32, readings: &str) -> String {
    let up = format!("UsagePoint/{point}/MeterReading/{meter}/IntervalBlock");
    let content = format!("<IntervalBlock xmlns='http://naesb.org/espi'>\n{readings}</IntervalBlock>");
    entry(&[("self", &format!("{up}/1")), ("up", &up)], "", &content)
}

fn reading(start: i64, duration: i64, value: i64) -> String {
    format!(
        "<IntervalReading><cost>974</cost><timePeriod><duration>{duration}</duration><start>{start}</start>\
         </timePeriod><value>{value}</value><tou>1</tou></IntervalReading>\n"
    )
}

fn feed(entries: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<?xml-stylesheet href=\"a.xslt\"?>\n<!-- a file -->\n\
         <feed xmlns=\"http://www.w3.org/2005/Atom\">\n<title>Green Button &amp; more</title>\n{entries}</feed>\n"
    )
}

/// One home with the given readings.
fn home(fields: &[(&str, i64)], readings: &str) -> String {
    feed(
        &(point(1, 0)
            + &local_time(PACIFIC)
            + &meter(1, 1, 7)
            + &reading_type(7, fields)
            + &block(1, 1, readings)),
    )
}

/// The energy of the hour that begins at `start`; something that differs from hour to hour.
fn energy(start: i64) -> i64 {
    200 + (start / 3600) % 24 * 10 + (start / 86_400) % 7
}

fn year_2011() -> String {
    (0..8760).map(|hour| START_2011 + hour * 3600).map(|start| reading(start, 3600, energy(start))).collect()
}

fn import(text: &str) -> Result<Import, GreenButtonError> {
    read(text.as_bytes(), Limits::default())
}

fn imported(text: &str) -> Import {
    import(text).unwrap_or_else(|error| panic!("{error}"))
}

fn import_error(text: &str) -> GreenButtonError {
    import(text).map(|import| import.days.len()).unwrap_err()
}

fn refused(text: &str) -> String {
    import_error(text).to_string()
}

fn slot(import: &Import, day: Date, index: usize) -> i64 {
    import.days[&day].slots[index].0
}

#[test]
fn a_year_of_hours_with_daylight_saving() {
    let import = imported(&home(&[], &year_2011()));
    let total: i64 = (0..8760).map(|hour| energy(START_2011 + hour * 3600)).sum();
    assert_eq!((import.readings, import.days.len(), import.total()), (8760, 365, Wh(total)));
    assert_eq!((import.title.as_str(), import.usage_point.as_str()), ("Green Button & more", "Meter 1"));
    assert_eq!((import.meter_reading.as_str(), import.interval_s), ("Series 1", 3600));
    assert_eq!(import.first.as_second(), START_2011);
    assert_eq!(import.last, "2012-01-01T08:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(import.notes, [Note::RepeatedHour { readings: 1 }]);
    assert!(import.days.values().all(|day| day.quality.is_empty() && day.slots.len() == 24));

    let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
    let spring = date(2011, 3, 13);
    assert_eq!(slot(&import, spring, 1), energy(second("2011-03-13T09:00:00Z")));
    assert_eq!(slot(&import, spring, 2), 0);
    assert_eq!(slot(&import, spring, 3), energy(second("2011-03-13T10:00:00Z")));
    let autumn = date(2011, 11, 6);
    let twice = energy(second("2011-11-06T08:00:00Z")) + energy(second("2011-11-06T09:00:00Z"));
    assert_eq!(slot(&import, autumn, 1), twice);
    assert_eq!(slot(&import, autumn, 2), energy(second("2011-11-06T10:00:00Z")));
}

#[test]
fn order_prefixes_and_wrappers_do_not_matter() {
    let usual = imported(&home(&[], &year_2011()));
    let readings = block(1, 1, &year_2011());
    let parts = [readings, reading_type(7, &[]), meter(1, 1, 7), local_time(PACIFIC), point(1, 0)];
    assert_eq!(imported(&feed(&parts.concat())), usual);

    let mut prefixed = feed(&parts.concat()).replace(" xmlns='http://naesb.org/espi'", "");
    for name in
        ["IntervalBlock", "IntervalReading", "timePeriod", "start", "duration", "value", "ReadingType", "uom"]
    {
        prefixed = prefixed.replace(&format!("<{name}>"), &format!("<espi:{name}>"));
        prefixed = prefixed.replace(&format!("</{name}>"), &format!("</espi:{name}>"));
    }
    let prefixed = prefixed.replace("<feed ", "<feed xmlns:espi='http://naesb.org/espi' ");
    assert!(prefixed.contains("<espi:value>"));
    assert_eq!(imported(&prefixed), usual);

    let wrapped = home(&[], &year_2011())
        .replace(
            "<content>",
            "<content><ServiceStatus><currentStatus>1</currentStatus></ServiceStatus><BatchItemInfo>",
        )
        .replace("</content>", "</BatchItemInfo></content>");
    assert_eq!(imported(&wrapped), usual);

    let relative =
        home(&[], &year_2011()).replace("rel=\"up\" href=\"https://utility.example", "rel=\"up\" href=\"");
    assert_eq!(imported(&relative), usual);
    let backwards: String = year_2011().lines().rev().collect();
    assert_eq!(imported(&home(&[], &backwards)), usual);
    assert_eq!(imported(&format!("\u{FEFF}{}", home(&[], &year_2011()))), usual);
}

#[test]
fn a_foreign_element_of_the_same_name_is_no_reading() {
    let text = home(&[], &reading(START_2011, 3600, 5));
    let customer = "<IntervalBlock xmlns='http://naesb.org/espi/customer'><IntervalReading><value>x</value>\
        </IntervalReading></IntervalBlock>";
    let text = text.replace("</feed>", &(entry(&[], "", customer) + "</feed>"));
    assert_eq!(imported(&text).readings, 1);
}

#[test]
fn quarter_hours_five_minutes_and_days() {
    for (length, count) in [(300, 288), (900, 96), (1800, 48), (3600, 24)] {
        let readings: String = (0..count).map(|i| reading(START_2011 + i * length, length, i)).collect();
        let import = imported(&home(&[("intervalLength", length)], &readings));
        assert_eq!(import.days[&date(2011, 1, 1)].slots, (0..count).map(Wh).collect::<Vec<_>>());
        assert_eq!(import.notes, []);
    }
    // Whole days; the 13th of March has 23 hours, the 6th of November 25.
    let mut start = START_2011;
    let mut readings = String::new();
    for day in 1..=365 {
        let length = match day {
            72 => 82_800,
            310 => 90_000,
            _ => 86_400,
        };
        readings += &reading(start, length, day);
        start += length;
    }
    // Some give every day 86,400 s all the same.
    let nominal = readings
        .replace("<duration>82800<", "<duration>86400<")
        .replace("<duration>90000<", "<duration>86400<");
    let import = imported(&home(&[("intervalLength", 86_400)], &nominal));
    assert_eq!((import.days.len(), import.notes.len(), slot(&import, date(2011, 3, 14), 0)), (365, 0, 73));
    for declared in [86_400, 0] {
        let import = imported(&home(&[("intervalLength", declared)], &readings));
        assert_eq!((import.interval_s, import.days.len(), import.notes.len()), (86_400, 365, 0));
        assert_eq!(slot(&import, date(2011, 11, 6), 0), 310);
    }
}

#[test]
fn readings_without_a_time_follow_their_block() {
    let bare: String =
        (0..96).map(|i| format!("<IntervalReading><value>{i}</value></IntervalReading>")).collect();
    let interval = format!("<interval><duration>86400</duration><start>{START_2011}</start></interval>");
    for readings in [format!("{interval}{bare}"), format!("{bare}{interval}")] {
        let import = imported(&home(&[("intervalLength", 900)], &readings));
        assert_eq!(slot(&import, date(2011, 1, 1), 95), 95);
        assert_eq!(import.notes, [Note::DerivedTimes { readings: 96 }]);
        assert!(refused(&home(&[("intervalLength", 0)], &readings)).contains("no intervalLength"));
    }
    assert!(refused(&home(&[], &bare)).contains("the block has no start"));
}

#[test]
fn powers_of_ten_lose_nothing() {
    let readings: String = (0..24).map(|i| reading(START_2011 + i * 3600, 3600, 1500)).collect();
    let kilo = imported(&home(&[("powerOfTenMultiplier", 3)], &readings));
    assert_eq!(kilo.total(), Wh(24 * 1_500_000));
    let milli = imported(&home(&[("powerOfTenMultiplier", -3)], &readings));
    assert_eq!(milli.total(), Wh(36));
    let slots = &milli.days[&date(2011, 1, 1)].slots;
    assert!(slots.iter().all(|slot| (1..=2).contains(&slot.0)), "{slots:?}");
    assert!(
        refused(&home(&[("powerOfTenMultiplier", 12)], &readings))
            .contains("beyond what a meter can measure")
    );
    assert!(refused(&home(&[("powerOfTenMultiplier", 40)], &readings)).contains("outside -12 to 12"));
}

#[test]
fn qualities_of_readings_and_blocks() {
    let marked = |start, code| {
        let quality = format!("<ReadingQuality><quality>{code}</quality></ReadingQuality><timePeriod>");
        reading(start, 3600, 1).replace("<timePeriod>", &quality)
    };
    let codes = [0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 99];
    let readings: String =
        codes.iter().enumerate().map(|(i, code)| marked(START_2011 + i as i64 * 3600, code)).collect();
    let import = imported(&home(&[], &readings));
    let quality = &import.days[&date(2011, 1, 1)].quality;
    let (v, e, q, m) = (Quality::Valid, Quality::Estimated, Quality::Questionable, Quality::Missing);
    assert_eq!(quality[..16], [v, e, e, e, q, e, e, e, v, e, q, v, v, v, q, m]);
    assert_eq!(import.notes, [Note::Estimated { readings: 7 }, Note::Questionable { readings: 3 }]);

    let block =
        format!("{}<ReadingQuality><quality>8</quality></ReadingQuality>", reading(START_2011, 3600, 1));
    assert_eq!(imported(&home(&[], &block)).notes, [Note::Estimated { readings: 1 }]);
}

#[test]
fn gaps_missing_values_and_lengths_are_noted() {
    let mut readings = reading(START_2011, 3600, 1) + &reading(START_2011 + 7200, 3600, 1);
    readings += "<IntervalReading><timePeriod><start>1293876000</start></timePeriod></IntervalReading>";
    let import = imported(&home(&[], &readings));
    let first = Timestamp::from_second(START_2011 + 3600).unwrap();
    assert_eq!(
        import.notes,
        [Note::Gaps { gaps: 1, total_s: 3600, first }, Note::WithoutValue { readings: 1 }]
    );
    assert_eq!(import.days[&date(2011, 1, 1)].quality_of(1), Quality::Missing);

    let import = imported(&home(&[], &(reading(START_2011, 900, 1) + &reading(START_2011 + 900, 900, 2))));
    assert_eq!((import.interval_s, slot(&import, date(2011, 1, 1), 1)), (900, 2));
    assert_eq!(import.notes, [Note::IntervalLength { declared_s: 3600, found_s: 900 }]);
    let import = imported(&home(&[], &(reading(START_2011, 900, 1) + &reading(START_2011 + 900, 2700, 2))));
    assert_eq!((slot(&import, date(2011, 1, 1), 0), import.interval_s), (3, 3600));
    assert_eq!(import.notes, [Note::ShorterThanSlot { readings: 2 }, Note::Unaligned { readings: 1 }]);
}

#[test]
fn repeated_and_contradicting_readings() {
    let one = reading(START_2011, 3600, 7);
    let import = imported(&home(&[], &one.repeat(3)));
    assert_eq!((import.readings, import.total()), (1, Wh(7)));
    assert_eq!(import.notes, [Note::Duplicates { readings: 2 }]);

    let error = import_error(&home(&[], &(one.clone() + &reading(START_2011, 3600, 8))));
    let GreenButtonError::Conflict { first, second, .. } = &error else { panic!("{error}") };
    assert_eq!(second.line, first.line + 1);
    assert!(error.to_string().contains("feed/entry/content/IntervalBlock/IntervalReading"), "{error}");
    let overlap = refused(&home(&[], &(one.clone() + &reading(START_2011 + 1800, 3600, 8))));
    assert!(overlap.contains("overlaps the one at line"), "{overlap}");
    let long = refused(&home(&[], &(one + &reading(START_2011 + 3600, 7200, 8))));
    assert!(long.contains("longer than its slot of 3600 s"), "{long}");
    assert!(refused(&home(&[], &reading(START_2011, 2_678_400, 8))).contains("3600 s"));
}

#[test]
fn what_is_no_consumption_is_refused_with_what_was_found() {
    let one = reading(START_2011, 3600, 7);
    for (field, value, said) in [
        ("uom", 38, "unit of measure 38 (W) is not Wh (72)"),
        ("uom", i64::MIN, "no unit of measure"),
        ("flowDirection", 19, "flow direction 19 (reverse"),
        ("accumulationBehaviour", 3, "accumulation behaviour 3 (cumulative"),
        ("accumulationBehaviour", 1, "accumulation behaviour 1 (bulk quantity)"),
        ("kind", 8, "kind 8 (demand)"),
        ("dataQualifier", 8, "maximum"),
    ] {
        let error = refused(&home(&[(field, value)], &one));
        assert!(error.contains(said) && error.contains("Meter 1, Series 1, 1 readings"), "{error}");
    }
    for (kind, said) in [(1, "(gas)"), (2, "(water)")] {
        let entries = point(1, kind)
            + &local_time(PACIFIC)
            + &meter(1, 1, 7)
            + &reading_type(7, &[])
            + &block(1, 1, &one);
        assert!(refused(&feed(&entries)).contains(said));
    }
    assert!(refused(&feed("")).contains("holds no readings"));
    let unmarked = imported(&home(&[("flowDirection", i64::MIN), ("accumulationBehaviour", i64::MIN)], &one));
    assert_eq!(unmarked.notes, [Note::AssumedDelta]);
    assert!(refused(&home(&[], &reading(START_2011, 3600, -1))).contains("negative"));
}

#[test]
fn one_of_several_series() {
    let one = |value| reading(START_2011, 3600, value);
    let shared = local_time(PACIFIC) + &reading_type(7, &[]) + &reading_type(8, &[("flowDirection", 19)]);
    // A gas meter, a solar series, and one consumption: clear without a question.
    let gas = point(2, 1) + &meter(2, 1, 7) + &block(2, 1, &one(100));
    let house =
        point(1, 0) + &meter(1, 1, 7) + &meter(1, 2, 8) + &block(1, 2, &one(-9)) + &block(1, 1, &one(5));
    let import = imported(&feed(&(gas.clone() + &shared + &house)));
    assert_eq!((import.total(), import.notes), (Wh(5), vec![Note::OtherSeries { series: 2 }]));

    let shop = point(3, 0) + &meter(3, 1, 7) + &block(3, 1, &one(11));
    let text = feed(&(gas + &house + &shop + &shared));
    let error = import_error(&text);
    let GreenButtonError::Several { found, .. } = &error else { panic!("{error}") };
    assert_eq!(found.iter().map(|f| f.number).collect::<Vec<_>>(), [2, 4]);
    assert!(error.to_string().contains("Meter 3, Series 1"), "{error}");
    let select = |select| {
        let options = Options { select: Some(select), ..Options::default() };
        read_with(text.as_bytes(), Limits::default(), &options)
    };
    assert_eq!(select(Select::Number(4)).unwrap().total(), Wh(11));
    assert_eq!(select(Select::Href(format!("{BASE}/UsagePoint/1"))).unwrap().total(), Wh(5));
    assert_eq!(select(Select::Href("UsagePoint/3/MeterReading/1".into())).unwrap().total(), Wh(11));
    for none in [Select::Number(3), Select::Number(9), Select::Href(String::new())] {
        assert!(matches!(select(none), Err(GreenButtonError::NothingMatches { .. })));
    }
}

#[test]
fn links_may_be_missing() {
    let text = home(&[], &reading(START_2011, 3600, 7));
    let without: String = text.lines().filter(|line| !line.starts_with("<link")).collect();
    let import = imported(&without);
    assert_eq!((import.total(), import.usage_point.as_str()), (Wh(7), "Meter 1"));
    // Only a block and its type: still clear.
    let bare =
        feed(&(local_time(PACIFIC) + &reading_type(7, &[]) + &block(1, 1, &reading(START_2011, 3600, 7))));
    assert_eq!(imported(&bare).total(), Wh(7));
}

#[test]
fn local_time_absent_fixed_or_wrong() {
    let one = reading(START_2011, 3600, 7);
    let entries = |time: &str| {
        feed(&(point(1, 0) + time + &meter(1, 1, 7) + &reading_type(7, &[]) + &block(1, 1, &one)))
    };
    assert!(matches!(import_error(&entries("")), GreenButtonError::LocalTime { .. }));
    let options = Options { default_offset_s: Some(28_800), ..Options::default() };
    let import = read_with(entries("").as_bytes(), Limits::default(), &options).unwrap();
    assert_eq!(import.time_zone, LocalTime::fixed(28_800));
    assert_eq!(import.notes, [Note::DefaultOffset { offset_s: 28_800 }]);
    assert_eq!(slot(&import, date(2011, 1, 1), 16), 7);

    let off = PACIFIC.replace("360E2000", "FFFFFFFF").replace("B40E2000", "FFFFFFFF");
    assert_eq!(imported(&entries(&local_time(&off))).time_zone, LocalTime::fixed(-28_800));
    let bad = refused(&entries(&local_time(&PACIFIC.replace("360E2000", "360E2zzz"))));
    assert!(bad.contains("LocalTimeParameters/dstStartRule: a daylight-saving rule is eight"), "{bad}");
    let other = entry(&[("self", "LocalTimeParameters/02")], "", &PACIFIC.replace("-28800", "-18000"));
    assert_eq!(imported(&entries(&(other + &local_time(PACIFIC)))).time_zone.tz_offset_s, -28_800);
}

#[test]
fn numbers_that_cannot_be_say_where() {
    let good = home(&[], &reading(START_2011, 3600, 7));
    let wrong = |from: &str, to: &str| refused(&good.replace(from, to));
    let line = 1 + good.lines().position(|line| line.contains("<value>")).unwrap();
    let column = 1 + good.lines().find_map(|line| line.find("<value>")).unwrap();
    assert_eq!(
        wrong("<value>7</value>", "<value>7.5</value>"),
        format!(
            "line {line}, column {column}, feed/entry/content/IntervalBlock/IntervalReading/value: \
             a whole number is wanted, found '7.5'"
        )
    );
    for (to, said) in [
        ("<value/>", "found ''"),
        ("<value>99999999999999999999</value>", "whole number"),
        ("<value>1<!-- x --><b>2</b></value>", "an element was found"),
        ("<value>7</value><value>7</value>", "given twice"),
        ("<value>9223372036854775807</value>", "beyond what a meter can measure"),
    ] {
        let error = wrong("<value>7</value>", to);
        assert!(error.contains(said), "{to}: {error}");
    }
    assert!(wrong("<start>1293868800<", "<start>0<").contains("1990"));
    assert!(wrong("<start>1293868800<", "<start>4102444800<").contains("1990"));
    assert!(wrong("<duration>3600<", "<duration>0<").contains("outside 1 to"));
    assert!(wrong("<duration>3600<", "<duration>-3600<").contains("outside 1 to"));
    assert_eq!(
        imported(&good.replace("<value>7<", "<value> 1<![CDATA[2]]><!-- . -->&#51;\n<")).total(),
        Wh(123)
    );
}

#[test]
fn hostile_files() {
    let good = home(&[], &reading(START_2011, 3600, 7));
    for declaration in [
        "<!DOCTYPE feed>",
        "<!DOCTYPE feed [<!ENTITY a \"b\">]>",
        "<!DOCTYPE feed SYSTEM \"file:///etc/passwd\">",
    ] {
        let error = refused(&good.replace("<feed ", &format!("{declaration}<feed ")));
        assert!(error.ends_with("document type declarations are not accepted"), "{error}");
    }
    let with = |from: &str, to: &str| refused(&good.replace(from, to));
    for (error, said) in [
        (with("<value>7", "<value>&a;"), "entities are not accepted"),
        (with("rel=\"up\" href=\"", "rel=\"up\" href=\"&a;"), "entities are not accepted"),
        (with("UTF-8", "GB18030"), "only UTF-8 is accepted, the file says 'GB18030'"),
        (with("Meter 1", "Meter\0"), "NUL bytes"),
        (with("Meter 1", "Meter\u{1}"), "control character"),
        (with("Meter 1", "&#0;"), "entities"),
        (refused(&"<entry>".repeat(100)), "inside an entry"),
        (refused(&format!("<feed>{}", "<a>".repeat(100))), "more than 64 levels"),
        (refused(&format!("<feed>{}", "x".repeat(100_000))), "more than 65536 bytes in one"),
        (refused(&format!("<feed><!--{}", "x".repeat(100_000))), "more than 65536 bytes in one"),
        (refused(&format!("<feed>{}", "<![CDATA[xxxxxxxxxxxxxxxx]]>".repeat(10_000))), "bytes of text"),
        (
            refused(&format!("<feed{}/>", (0..100).map(|i| format!(" a{i}=''")).collect::<String>())),
            "64 attributes",
        ),
        (refused(&format!("<feed a='{}'/>", "x".repeat(5000))), "more than 4096 bytes"),
        (refused(&format!("<{}/>", "x".repeat(300))), "more than 256 bytes"),
        (refused("<feed a='1' a='2'/>"), "not well-formed"),
        (refused("<x:feed/>"), "bound to no namespace"),
        (refused("<feed></entry>"), "does not match"),
        (refused("<feed/><feed/>"), "second root"),
        (refused("<feed/>text"), "after the root"),
        (refused("<html/>"), "its root is 'html'"),
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
    for none in ["", "   \n", "hello", "{\"a\": 1}", "PK\u{3}\u{4}", "<!-- only -->"] {
        let error = import_error(none);
        let expected =
            matches!(error, GreenButtonError::NotGreenButton { .. } | GreenButtonError::Refused { .. });
        assert!(expected, "{none}: {error}");
    }
    for bytes in [&b"\xFF\xFE<\0f\0"[..], b"\xFE\xFF\0<", b"<\0f\0e\0", b"\0\0\0<", b"<feed>\xFF</feed>"] {
        let error = read(bytes, Limits::default()).unwrap_err().to_string();
        assert!(error.contains("only UTF-8"), "{bytes:?}: {error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let good = home(&[], &reading(START_2011, 3600, 7));
    for length in 0..good.trim_end().len() {
        let error =
            read(&good.as_bytes()[..length], Limits::default()).map(|import| import.readings).unwrap_err();
        assert!(error.to_string().starts_with("line "), "{error}");
    }
}

#[test]
fn limits_hold() {
    let good = home(&[], &year_2011());
    let within = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        read(good.as_bytes(), limits).map(|import| import.readings).unwrap_err().to_string()
    };
    assert!(within(|limits| limits.readings = 8759).contains("more than 8759 readings"));
    assert!(within(|limits| limits.days = 364).contains("more than 364 days"));
    assert!(within(|limits| limits.elements = 1000).contains("more than 1000 elements"));
    assert!(within(|limits| limits.file_bytes = 10_000).contains("more than 10000 bytes in the file"));
    assert!(within(|limits| limits.resources = 3).contains("more than 3 usage points"));
    assert!(within(|limits| limits.link_bytes = 100).contains("more than 100 bytes of links"));
    let exact = Limits { readings: 8760, days: 365, file_bytes: good.len() as u64, ..Limits::default() };
    assert_eq!(read(good.as_bytes(), exact).unwrap().readings, 8760);
}

/// A file that is made while it is read.
struct Generated<F> {
    part: Vec<u8>,
    given: usize,
    next: F,
}

impl<F: FnMut() -> Option<String>> Read for Generated<F> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.part.len() {
            match (self.next)() {
                Some(part) => (self.part, self.given) = (part.into_bytes(), 0),
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.part.len() - self.given);
        out[..count].copy_from_slice(&self.part[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_file_of_more_than_100_mb_streams() {
    const READINGS: i64 = 420_000;
    let five_minutes = reading_type(7, &[("intervalLength", 300)]);
    let head = feed(&(point(1, 0) + &local_time(PACIFIC) + &meter(1, 1, 7) + &five_minutes));
    let shell = block(1, 1, "@");
    let (open, close) = shell.split_once('@').unwrap();
    let filler = format!("<!-- {} -->\n", "x".repeat(120));
    let (mut part, mut bytes) = (0, 0_u64);
    let counted = &mut bytes;
    let next = || {
        part += 1;
        let text = match part - 2 {
            -1 => head.trim_end().trim_end_matches("</feed>").to_owned() + open,
            index @ 0..READINGS => reading(START_2011 + index * 300, 300, 1) + &filler,
            READINGS => format!("{close}</feed>"),
            _ => return None,
        };
        *counted += text.len() as u64;
        Some(text)
    };
    let before = peak_memory_kib();
    let import =
        read(BufReader::new(Generated { part: Vec::new(), given: 0, next }), Limits::default()).unwrap();
    assert_eq!((import.readings, import.total()), (READINGS as u64, Wh(READINGS)));
    assert!(bytes > 100_000_000, "{bytes}");
    if let (Some(before), Some(after)) = (before, peak_memory_kib()) {
        assert!(after - before < 64 << 10, "{} KiB more", after - before);
    }
}

#[test]
fn a_comment_without_end_is_not_buffered() {
    let mut parts = 0_u64;
    let given = &mut parts;
    let next = || {
        *given += 1;
        Some(if *given == 1 { "<feed><!-- ".to_owned() } else { "x".repeat(4096) })
    };
    let error =
        read(BufReader::new(Generated { part: Vec::new(), given: 0, next }), Limits::default()).unwrap_err();
    assert!(matches!(error, GreenButtonError::Limit { .. }), "{error}");
    assert!(parts < 40, "{parts} parts were read");
}

/// Real files are not part of the project; a folder of them can be given.
#[test]
fn files_of_a_folder_import() {
    let Some(folder) = std::env::var_os("GRIDESK_GREEN_BUTTON_DIR") else { return };
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let source = BufReader::new(std::fs::File::open(&path).unwrap());
        let import =
            read(source, Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let days = import.days.len();
        println!("{}: {} readings, {days} days, {:?}", path.display(), import.readings, import.total());
        println!("  {} / {}: {:?}", import.usage_point, import.meter_reading, import.notes);
        if path.ends_with("RetailCustomer_5.xml") {
            assert_eq!((import.readings, import.total(), days), (8760, Wh(4_425_305), 365));
        }
        seen += 1;
    }
    assert!(seen > 0);
}

proptest! {
    #[test]
    fn random_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes[..], Limits::default());
    }

    #[test]
    fn mutated_files_return(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..12),
        part in any::<prop::sample::Index>(),
    ) {
        let readings: String = (0..4).map(|i| reading(START_2011 + i * 3600, 3600, i)).collect();
        let mut bytes = home(&[], &readings).into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, b"<>&;/'\"-!?0123456789"[usize::from(byte) % 20]),
                2 => drop(bytes.remove(at)),
                _ => {
                    let from = part.index(bytes.len());
                    let copied: Vec<u8> = bytes.iter().skip(from).take(usize::from(byte)).copied().collect();
                    bytes.splice(at..at, copied);
                }
            }
        }
        if let Ok(import) = read(&bytes[..], Limits::default()) {
            prop_assert!(import.days.values().flat_map(|day| &day.slots).all(|slot| slot.0 >= 0));
        }
    }

    #[test]
    fn any_numbers_return(
        start in any::<i64>(), near in 0_i64..100_000_000, duration in any::<u32>(), value in any::<i64>(),
        length in 0_i64..100_000, power in -12_i64..12,
    ) {
        let fields = [("intervalLength", length), ("powerOfTenMultiplier", power)];
        for start in [start, START_2011 + near] {
            for duration in [i64::from(duration), length] {
                let _ = import(&home(&fields, &reading(start, duration, value)));
                let readings = reading(start, duration, value % 1000) + &reading(START_2011, length, value % 7);
                let _ = import(&home(&fields, &readings));
            }
        }
    }

    #[test]
    fn scaled_sums_are_exact(values in proptest::collection::vec(0_i64..1_000_000, 1..200), power in 0_u32..6) {
        let readings: String =
            values.iter().enumerate().map(|(i, v)| reading(START_2011 + i as i64 * 900, 900, *v)).collect();
        let fields = [("intervalLength", 900), ("powerOfTenMultiplier", -i64::from(power))];
        let divisor = 10_i64.pow(power);
        let exact = values.iter().sum::<i64>();
        prop_assert_eq!(imported(&home(&fields, &readings)).total(), Wh((2 * exact + divisor) / (2 * divisor)));
    }
}
