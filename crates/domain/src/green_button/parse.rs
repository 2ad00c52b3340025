//! From events to plain values, kept small: the resources of the feed with their links, and raw readings.
use std::collections::HashMap;
use std::io::BufRead;

use super::xml::{Open, Step, Tag, Xml};
use super::{DstRule, GreenButtonError, Limits, Place};
use crate::readings::Quality;

/// 1990-01-01 and 2100-01-01, UTC: a reading from outside is a mistake.
const EARLIEST_S: i64 = 631_152_000;
const LATEST_S: i64 = 4_102_444_800;

/// No reading or block lasts longer than 400 days.
const LONGEST_S: i64 = 400 * 86_400;

/// What a kept link takes beside its text.
const LINK_BYTES: usize = 48;

/// Characters kept of a title.
const TITLE_CHARS: usize = 256;

/// Everything of a file that matters.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) title: String,
    pub(super) points: Vec<Resource<UsagePoint>>,
    pub(super) meters: Vec<Resource<MeterReading>>,
    pub(super) types: Vec<Resource<ReadingType>>,
    pub(super) times: Vec<Resource<LocalTimeParameters>>,
    /// What blocks say they belong to; a reading has an index into it.
    pub(super) sources: Vec<Source>,
    pub(super) readings: Vec<RawReading>,
    pub(super) without_value: u64,
    /// The path of the last reading, for messages.
    pub(super) reading_path: String,
    /// Where the file ends.
    pub(super) end: Place,
}

/// A resource of the feed with its Atom entry.
#[derive(Debug)]
pub(super) struct Resource<T> {
    pub(super) links: Links,
    pub(super) place: Place,
    /// How many usage points were written before it; the same order holds for meter readings.
    pub(super) points_before: usize,
    pub(super) body: T,
}

/// Title and links of an Atom entry; addresses without scheme, host and trailing slash.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    pub(super) title: String,
    pub(super) href: String,
    pub(super) up: String,
    pub(super) related: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct UsagePoint {
    pub(super) service: Option<i64>,
}

#[derive(Debug)]
pub(super) struct MeterReading;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadingType {
    pub(super) accumulation: Option<i64>,
    pub(super) commodity: Option<i64>,
    pub(super) qualifier: Option<i64>,
    pub(super) flow: Option<i64>,
    pub(super) interval_s: Option<i64>,
    pub(super) kind: Option<i64>,
    pub(super) power_of_ten: Option<i64>,
    pub(super) uom: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LocalTimeParameters {
    pub(super) tz_offset_s: Option<i64>,
    pub(super) dst_offset_s: Option<i64>,
    pub(super) dst_start: Option<Option<DstRule>>,
    pub(super) dst_end: Option<Option<DstRule>>,
}

/// What a block belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A meter reading that links to this very block.
    Meter(usize),
    /// The address of the block's collection, and how many meter readings were written before it.
    Href(String, usize),
}

/// A reading as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawReading {
    pub(super) value: i64,
    /// Seconds since 1970. Where `derived`: of the block.
    pub(super) start_s: u32,
    /// 0 where not given. Where `derived`: the reading's place in its block, from 0.
    pub(super) duration_s: u32,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) source: u16,
    pub(super) quality: Quality,
    pub(super) derived: bool,
}

#[derive(Default)]
struct Entry {
    links: Links,
    /// What its related links take.
    bytes: usize,
    first_reading: usize,
    first_point: usize,
    first_meter: usize,
    first_type: usize,
    first_time: usize,
}

struct Block {
    first_reading: usize,
    count: u32,
    start_s: Option<i64>,
    duration_s: Option<i64>,
    quality: Option<Quality>,
    place: Place,
}

#[derive(Default)]
struct Reading {
    start_s: Option<i64>,
    duration_s: Option<i64>,
    value: Option<i64>,
    quality: Option<Quality>,
}

/// Reads a whole file.
pub(super) fn parse(source: impl BufRead, limits: &Limits) -> Result<Feed, GreenButtonError> {
    let mut parser = Parser {
        xml: Xml::new(source, limits),
        limits,
        feed: Feed::default(),
        source_ids: HashMap::new(),
        block_meters: HashMap::new(),
        link_bytes: 0,
        entry: None,
        point: UsagePoint::default(),
        reading_type: ReadingType::default(),
        time: LocalTimeParameters::default(),
        block: None,
        reading: None,
    };
    loop {
        match parser.xml.next()? {
            Step::Open { tag, link } => parser.open(tag, link)?,
            Step::Close => parser.close()?,
            Step::End => break,
        }
    }
    parser.close_entry()?;
    parser.feed.end = parser.xml.place();
    Ok(parser.feed)
}

struct Parser<'l, R> {
    xml: Xml<'l, R>,
    limits: &'l Limits,
    feed: Feed,
    source_ids: HashMap<Source, u16>,
    /// Links of meter readings seen so far.
    block_meters: HashMap<String, usize>,
    link_bytes: usize,
    entry: Option<Entry>,
    point: UsagePoint,
    reading_type: ReadingType,
    time: LocalTimeParameters,
    block: Option<Block>,
    reading: Option<Reading>,
}

impl<R: BufRead> Parser<'_, R> {
    fn open(&mut self, tag: Tag, link: Option<(String, String)>) -> Result<(), GreenButtonError> {
        let parent = self.xml.above(1);
        if parent.is_none() && !self.is_root(tag) {
            let name = self.xml.place().path;
            let reason = format!("its root is '{name}', not an Atom feed or an ESPI element");
            return Err(GreenButtonError::NotGreenButton { place: self.xml.place(), reason });
        }
        match tag {
            Tag::Entry => {
                if self.xml.inside(Tag::Entry) {
                    return Err(self.value("an entry inside an entry"));
                }
                self.close_entry()?;
                self.entry = Some(self.new_entry());
            }
            Tag::Link if parent == Some(Tag::Entry) => {
                if let Some((rel, href)) = link {
                    self.link(&rel, &href)?;
                }
            }
            Tag::UsagePoint => self.point = UsagePoint::default(),
            Tag::ReadingType => self.reading_type = ReadingType::default(),
            Tag::LocalTimeParameters => self.time = LocalTimeParameters::default(),
            Tag::IntervalBlock => {
                if self.block.is_some() {
                    return Err(self.value("an interval block inside an interval block"));
                }
                self.block = Some(Block {
                    first_reading: self.feed.readings.len(),
                    count: 0,
                    start_s: None,
                    duration_s: None,
                    quality: None,
                    place: self.xml.place(),
                });
            }
            Tag::IntervalReading => {
                if self.block.is_none() || self.reading.is_some() {
                    return Err(self.value("a reading belongs into an interval block"));
                }
                self.reading = Some(Reading::default());
            }
            _ => {}
        }
        if matches!(tag, Tag::UsagePoint | Tag::MeterReading | Tag::ReadingType | Tag::LocalTimeParameters)
            && [
                Tag::UsagePoint,
                Tag::MeterReading,
                Tag::ReadingType,
                Tag::LocalTimeParameters,
                Tag::IntervalBlock,
            ]
            .iter()
            .any(|&outer| self.xml.inside(outer))
        {
            return Err(self.value("a resource inside a resource; each has its own entry"));
        }
        if self.entry.is_none() && parent.is_some() && !matches!(tag, Tag::Other | Tag::Title | Tag::Link) {
            self.entry = Some(self.new_entry());
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), GreenButtonError> {
        let Some(&Open { tag, has_child, .. }) = self.xml.here() else { return Ok(()) };
        let parent = self.xml.above(1);
        let grandparent = self.xml.above(2);
        match (parent, tag) {
            (_, Tag::Entry) => self.close_entry()?,
            (_, Tag::UsagePoint) => {
                let body = std::mem::take(&mut self.point);
                let resource = self.resource(body)?;
                self.feed.points.push(resource);
            }
            (_, Tag::MeterReading) => {
                let resource = self.resource(MeterReading)?;
                self.feed.meters.push(resource);
            }
            (_, Tag::ReadingType) => {
                let body = std::mem::take(&mut self.reading_type);
                let resource = self.resource(body)?;
                self.feed.types.push(resource);
            }
            (_, Tag::LocalTimeParameters) => {
                let body = std::mem::take(&mut self.time);
                let resource = self.resource(body)?;
                self.feed.times.push(resource);
            }
            (_, Tag::IntervalReading) => self.close_reading()?,
            (_, Tag::IntervalBlock) => self.close_block()?,
            (Some(Tag::Feed), Tag::Title) => self.feed.title = clean(self.xml.text()),
            (Some(Tag::Entry), Tag::Title) => {
                let title = clean(self.xml.text());
                if let Some(entry) = &mut self.entry {
                    entry.links.title = title;
                }
            }
            (Some(Tag::ServiceCategory), Tag::Kind) if grandparent == Some(Tag::UsagePoint) => {
                let kind = self.number(has_child, 0, 255)?;
                self.point.service = self.once(self.point.service, kind)?;
            }
            (Some(Tag::ReadingType), _) => self.reading_type_field(tag, has_child)?,
            (Some(Tag::LocalTimeParameters), _) => self.time_field(tag, has_child)?,
            (Some(Tag::Interval), Tag::Start | Tag::Duration) if grandparent == Some(Tag::IntervalBlock) => {
                let seconds = self.time_value(tag, has_child)?;
                let (start_s, duration_s) =
                    self.block.as_ref().map_or((None, None), |b| (b.start_s, b.duration_s));
                let field = self.once(if tag == Tag::Start { start_s } else { duration_s }, seconds)?;
                if let Some(block) = &mut self.block {
                    *(if tag == Tag::Start { &mut block.start_s } else { &mut block.duration_s }) = field;
                }
            }
            (Some(Tag::TimePeriod), Tag::Start | Tag::Duration)
                if grandparent == Some(Tag::IntervalReading) =>
            {
                let seconds = self.time_value(tag, has_child)?;
                let mut reading = self.reading.take().unwrap_or_default();
                let field = if tag == Tag::Start { &mut reading.start_s } else { &mut reading.duration_s };
                *field = self.once(*field, seconds)?;
                self.reading = Some(reading);
            }
            (Some(Tag::IntervalReading), Tag::Value) => {
                let value = self.number(has_child, i64::MIN, i64::MAX)?;
                let mut reading = self.reading.take().unwrap_or_default();
                reading.value = self.once(reading.value, value)?;
                self.reading = Some(reading);
            }
            (Some(Tag::ReadingQuality), Tag::Quality) => {
                let quality = quality_of(self.number(has_child, 0, i64::from(u16::MAX))?);
                if let (Some(Tag::IntervalReading), Some(reading)) = (grandparent, &mut self.reading) {
                    reading.quality = reading.quality.max(Some(quality));
                } else if let (Some(Tag::IntervalBlock), Some(block)) = (grandparent, &mut self.block) {
                    block.quality = block.quality.max(Some(quality));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_root(&self, tag: Tag) -> bool {
        use Tag::{
            Entry, Feed, IntervalBlock, LocalTimeParameters, MeterReading, Other, ReadingType, UsagePoint,
        };
        match tag {
            Feed | Entry | UsagePoint | MeterReading | ReadingType | LocalTimeParameters | IntervalBlock => {
                true
            }
            // Batches wrap entries without a feed.
            Other => self.xml.place().path.starts_with("Batch"),
            _ => false,
        }
    }

    fn new_entry(&self) -> Entry {
        Entry {
            links: Links::default(),
            bytes: 0,
            first_reading: self.feed.readings.len(),
            first_point: self.feed.points.len(),
            first_meter: self.feed.meters.len(),
            first_type: self.feed.types.len(),
            first_time: self.feed.times.len(),
        }
    }

    fn link(&mut self, rel: &str, href: &str) -> Result<(), GreenButtonError> {
        let href = canonical(href);
        let Some(entry) = &mut self.entry else { return Ok(()) };
        match rel {
            "self" => entry.links.href = href,
            "up" => entry.links.up = href,
            "related" => {
                entry.bytes += href.len() + LINK_BYTES;
                entry.links.related.push(href);
            }
            _ => {}
        }
        let bytes = self.link_bytes + entry.bytes;
        self.limit(bytes, self.limits.link_bytes, "bytes of links")
    }

    /// Links come before or after the content: they are known when the entry ends.
    fn close_entry(&mut self) -> Result<(), GreenButtonError> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let links = entry.links;
        if self.feed.readings.len() > entry.first_reading {
            let id = self.source_id(&links)?;
            for reading in &mut self.feed.readings[entry.first_reading..] {
                reading.source = id;
            }
        }
        let feed = &mut self.feed;
        let kept = (feed.meters.len() - entry.first_meter)
            + (feed.points.len() - entry.first_point)
            + (feed.types.len() - entry.first_type)
            + (feed.times.len() - entry.first_time);
        if kept == 0 {
            return Ok(());
        }
        // Each resource keeps the links, and the table of meter readings once more.
        self.link_bytes = self.link_bytes.saturating_add(entry.bytes.saturating_mul(kept + 1));
        self.limit(self.link_bytes, self.limits.link_bytes, "bytes of links")?;
        let feed = &mut self.feed;
        for (index, meter) in feed.meters.iter_mut().enumerate().skip(entry.first_meter) {
            for href in &links.related {
                self.block_meters.entry(href.clone()).or_insert(index);
            }
            meter.links.clone_from(&links);
        }
        feed.points[entry.first_point..].iter_mut().for_each(|point| point.links.clone_from(&links));
        feed.types[entry.first_type..].iter_mut().for_each(|of| of.links.clone_from(&links));
        feed.times[entry.first_time..].iter_mut().for_each(|time| time.links.clone_from(&links));
        Ok(())
    }

    fn source_id(&mut self, links: &Links) -> Result<u16, GreenButtonError> {
        let source = match self.block_meters.get(&links.href).filter(|_| !links.href.is_empty()) {
            Some(&meter) => Source::Meter(meter),
            None => {
                let parent = links.href.rsplit_once('/').map_or("", |(parent, _)| parent);
                let href = if links.up.is_empty() { parent } else { &links.up };
                Source::Href(href.to_owned(), self.feed.meters.len())
            }
        };
        if let Some(&id) = self.source_ids.get(&source) {
            return Ok(id);
        }
        let limit = u16::MAX as usize;
        self.limit(self.feed.sources.len() + 1, limit, "different links of interval blocks")?;
        if let Source::Href(href, _) = &source {
            // Kept twice: as key and in the list.
            self.link_bytes += 2 * (href.len() + LINK_BYTES);
        }
        self.limit(self.link_bytes, self.limits.link_bytes, "bytes of links")?;
        let id = self.feed.sources.len() as u16;
        self.feed.sources.push(source.clone());
        self.source_ids.insert(source, id);
        Ok(id)
    }

    fn resource<T>(&self, body: T) -> Result<Resource<T>, GreenButtonError> {
        let feed = &self.feed;
        let count = feed.points.len() + feed.meters.len() + feed.types.len() + feed.times.len() + 1;
        self.limit(
            count,
            self.limits.resources,
            "usage points, meter readings, reading types and local times",
        )?;
        Ok(Resource {
            links: Links::default(),
            place: self.xml.place(),
            points_before: feed.points.len(),
            body,
        })
    }

    fn close_reading(&mut self) -> Result<(), GreenButtonError> {
        let (Some(reading), Some(block)) = (self.reading.take(), &mut self.block) else { return Ok(()) };
        let place = block.count;
        block.count = block.count.saturating_add(1);
        let Some(value) = reading.value else {
            self.feed.without_value += 1;
            return Ok(());
        };
        let derived = reading.start_s.is_none() && reading.duration_s.is_none();
        if !derived && reading.start_s.is_none() {
            return Err(self.value("the reading has a duration but no start"));
        }
        self.limit(self.feed.readings.len() + 1, self.limits.readings, "readings")?;
        let at = self.xml.place();
        let narrow = |number: Option<i64>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
        self.feed.readings.push(RawReading {
            value,
            start_s: narrow(reading.start_s),
            duration_s: if derived { place } else { narrow(reading.duration_s) },
            line: u32::try_from(at.line).unwrap_or(u32::MAX),
            column: u32::try_from(at.column).unwrap_or(u32::MAX),
            source: 0,
            quality: reading.quality.unwrap_or_default(),
            derived,
        });
        self.feed.reading_path = at.path;
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), GreenButtonError> {
        let Some(block) = self.block.take() else { return Ok(()) };
        for reading in &mut self.feed.readings[block.first_reading..] {
            reading.quality = reading.quality.max(block.quality.unwrap_or_default());
            if reading.derived {
                let Some(start) = block.start_s.and_then(|start| u32::try_from(start).ok()) else {
                    let reason = "its readings have no time and the block has no start".into();
                    return Err(GreenButtonError::Value { place: block.place, reason });
                };
                reading.start_s = start;
            }
        }
        Ok(())
    }

    fn reading_type_field(&mut self, tag: Tag, has_child: bool) -> Result<(), GreenButtonError> {
        let mut of = std::mem::take(&mut self.reading_type);
        let (field, low, high) = match tag {
            Tag::AccumulationBehaviour => (&mut of.accumulation, 0, 255),
            Tag::Commodity => (&mut of.commodity, 0, 255),
            Tag::DataQualifier => (&mut of.qualifier, 0, 255),
            Tag::FlowDirection => (&mut of.flow, 0, 255),
            Tag::IntervalLength => (&mut of.interval_s, 0, LONGEST_S),
            Tag::Kind => (&mut of.kind, 0, 255),
            Tag::PowerOfTenMultiplier => (&mut of.power_of_ten, -12, 12),
            Tag::Uom => (&mut of.uom, 0, 65_535),
            _ => {
                self.reading_type = of;
                return Ok(());
            }
        };
        *field = self.once(*field, self.number(has_child, low, high)?)?;
        self.reading_type = of;
        Ok(())
    }

    fn time_field(&mut self, tag: Tag, has_child: bool) -> Result<(), GreenButtonError> {
        match tag {
            Tag::TzOffset => {
                let offset = self.number(has_child, -14 * 3600, 14 * 3600)?;
                self.time.tz_offset_s = self.once(self.time.tz_offset_s, offset)?;
            }
            Tag::DstOffset => {
                let offset = self.number(has_child, 0, 3 * 3600)?;
                self.time.dst_offset_s = self.once(self.time.dst_offset_s, offset)?;
            }
            Tag::DstStartRule | Tag::DstEndRule => {
                let rule = DstRule::decode(self.xml.text())
                    .map_err(|source| GreenButtonError::Rule { place: self.xml.place(), source })?;
                if tag == Tag::DstStartRule {
                    self.time.dst_start = self.once(self.time.dst_start, rule)?;
                } else {
                    self.time.dst_end = self.once(self.time.dst_end, rule)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn time_value(&self, tag: Tag, has_child: bool) -> Result<i64, GreenButtonError> {
        if tag == Tag::Duration {
            return self.number(has_child, 1, LONGEST_S);
        }
        let start = self.number(has_child, i64::MIN, i64::MAX)?;
        if (EARLIEST_S..LATEST_S).contains(&start) {
            Ok(start)
        } else {
            Err(self.value(format!("{start} is no time from 1990 to 2099 in seconds since 1970")))
        }
    }

    fn number(&self, has_child: bool, low: i64, high: i64) -> Result<i64, GreenButtonError> {
        let text = self.xml.text();
        if has_child {
            return Err(self.value("a number is wanted, an element was found"));
        }
        let number: i64 = text.parse().map_err(|_| {
            let shown: String = clean(text).chars().take(40).collect();
            self.value(format!("a whole number is wanted, found '{shown}'"))
        })?;
        if (low..=high).contains(&number) {
            Ok(number)
        } else {
            Err(self.value(format!("{number} is outside {low} to {high}")))
        }
    }

    fn once<T>(&self, before: Option<T>, value: T) -> Result<Option<T>, GreenButtonError> {
        if before.is_some() { Err(self.value("given twice")) } else { Ok(Some(value)) }
    }

    fn value(&self, reason: impl Into<String>) -> GreenButtonError {
        GreenButtonError::Value { place: self.xml.place(), reason: reason.into() }
    }

    fn limit(&self, count: usize, limit: usize, what: &'static str) -> Result<(), GreenButtonError> {
        if count <= limit {
            Ok(())
        } else {
            Err(GreenButtonError::Limit { place: self.xml.place(), what, limit: limit as u64 })
        }
    }
}

/// ESPI `QualityOfReading`; see the module's documentation for the mapping.
fn quality_of(code: i64) -> Quality {
    match code {
        0 | 14 | 17 | 18 | 19 => Quality::Valid,
        7 | 8 | 9 | 11 | 12 | 13 | 15 => Quality::Estimated,
        _ => Quality::Questionable,
    }
}

/// An address without scheme, host and trailing slash, because exporters mix absolute and relative ones.
pub(super) fn canonical(href: &str) -> String {
    let href = href.trim();
    let path = match href.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |from| &rest[from..]),
        None => href,
    };
    path.trim_end_matches('/').to_owned()
}

/// A title fit to be shown: one line, no control characters, bounded.
fn clean(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(TITLE_CHARS).collect()
}
