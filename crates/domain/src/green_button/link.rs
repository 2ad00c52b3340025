//! Which block belongs to which series, and which series is imported.
//!
//! ESPI says it by Atom links: a block's `up` is a `related` of its meter reading, a meter reading's `up` is a
//! `related` of its usage point, and its `related` names the `self` of its reading type. Addresses also nest
//! (`…/UsagePoint/1/MeterReading/01/IntervalBlock/173`). Exporters take liberties with both; where neither helps,
//! a single resource is taken for meant, then the order of the file, which is noted.
use std::collections::HashMap;

use super::parse::{Feed, Links, LocalTimeParameters, ReadingType, Resource, Source, canonical};
use super::{Dst, Found, GreenButtonError, LocalTime, Note, Options, Place, Select};

/// The series to import.
#[derive(Debug)]
pub(super) struct Series {
    /// By source: whether its readings belong to the series.
    pub(super) sources: Vec<bool>,
    pub(super) usage_point: String,
    pub(super) meter_reading: String,
    pub(super) power_of_ten: i32,
    pub(super) declared_s: Option<u32>,
    pub(super) local: LocalTime,
    pub(super) notes: Vec<Note>,
}

/// A series before it is chosen; the meter reading may be missing from the file.
struct Candidate<'f> {
    meter: Option<usize>,
    point: Option<usize>,
    reading_type: Option<&'f ReadingType>,
    found: Found,
}

/// Chooses the one series that can be imported, or the one that is selected.
pub(super) fn choose(feed: &Feed, options: &Options) -> Result<Series, GreenButtonError> {
    let owners = owners(feed);
    let candidates = candidates(feed, &owners);
    let list = |of: &[&Candidate<'_>]| of.iter().map(|candidate| candidate.found.clone()).collect::<Vec<_>>();
    let selected: Vec<&Candidate<'_>> = match &options.select {
        None => candidates.iter().collect(),
        Some(Select::Number(number)) => candidates.iter().filter(|c| c.found.number == *number).collect(),
        Some(Select::Href(href)) => candidates.iter().filter(|c| is_at(feed, c, href)).collect(),
    };
    let fitting: Vec<&Candidate<'_>> =
        selected.iter().copied().filter(|c| c.found.refused.is_none()).collect();
    let chosen = match fitting[..] {
        [chosen] => chosen,
        [] => {
            // What a selection hits explains most; where it hits nothing, everything does.
            let found = if selected.is_empty() {
                list(&candidates.iter().collect::<Vec<_>>())
            } else {
                list(&selected)
            };
            let place = found.first().map_or_else(|| feed.end.clone(), |found| found.place.clone());
            return Err(GreenButtonError::NothingMatches { place, found });
        }
        [first, ..] => {
            return Err(GreenButtonError::Several {
                place: first.found.place.clone(),
                found: list(&fitting),
            });
        }
    };
    let mut notes = Vec::new();
    let local = match local_time(feed, chosen)? {
        Some(local) => local,
        None => match options.default_offset_s {
            Some(offset_s) if (-50_400..=50_400).contains(&offset_s) => {
                notes.push(Note::DefaultOffset { offset_s });
                LocalTime::fixed(offset_s)
            }
            _ => {
                let reason = "no LocalTimeParameters with a tzOffset".into();
                return Err(GreenButtonError::LocalTime { place: chosen.found.place.clone(), reason });
            }
        },
    };
    let reading_type = chosen.reading_type.cloned().unwrap_or_default();
    if matches!(reading_type.accumulation, None | Some(0)) {
        notes.push(Note::AssumedDelta);
    }
    let by_order: Vec<bool> =
        owners.iter().map(|owner| owner.meter == chosen.meter && owner.by_order).collect();
    let readings = count(feed, &by_order);
    if readings > 0 {
        notes.push(Note::LinkedByOrder { readings });
    }
    if candidates.len() > 1 {
        notes.push(Note::OtherSeries { series: candidates.len() - 1 });
    }
    Ok(Series {
        sources: owners.iter().map(|owner| owner.meter == chosen.meter).collect(),
        usage_point: chosen.found.usage_point.clone(),
        meter_reading: chosen.found.meter_reading.clone(),
        power_of_ten: reading_type.power_of_ten.and_then(|power| i32::try_from(power).ok()).unwrap_or(0),
        declared_s: reading_type
            .interval_s
            .and_then(|length| u32::try_from(length).ok())
            .filter(|&length| length > 0),
        local,
        notes,
    })
}

/// The meter reading a source belongs to; `None` where the file has none.
struct Owner {
    meter: Option<usize>,
    by_order: bool,
}

fn owners(feed: &Feed) -> Vec<Owner> {
    let related = related(&feed.meters);
    let addresses = addresses(&feed.meters);
    let linked = |meter| Owner { meter: Some(meter), by_order: false };
    feed.sources
        .iter()
        .map(|source| match source {
            Source::Meter(meter) => linked(first_of(&addresses, &feed.meters, *meter)),
            Source::Href(href, before) => {
                if let Some(meter) =
                    related.get(href.as_str()).copied().or_else(|| enclosing(&addresses, href))
                {
                    linked(first_of(&addresses, &feed.meters, meter))
                } else if feed.meters.len() <= 1 {
                    Owner { meter: feed.meters.first().map(|_| 0), by_order: false }
                } else {
                    let meter = first_of(&addresses, &feed.meters, before.saturating_sub(1));
                    Owner { meter: Some(meter), by_order: true }
                }
            }
        })
        .collect()
}

/// Feeds put together from parts repeat a resource: the first with an address stands for all.
fn first_of<T>(addresses: &HashMap<&str, usize>, all: &[Resource<T>], index: usize) -> usize {
    all.get(index).and_then(|it| addresses.get(it.links.href.as_str())).copied().unwrap_or(index)
}

fn addresses<T>(all: &[Resource<T>]) -> HashMap<&str, usize> {
    let mut map = HashMap::new();
    for (index, it) in all.iter().enumerate().filter(|(_, it)| !it.links.href.is_empty()) {
        map.entry(it.links.href.as_str()).or_insert(index);
    }
    map
}

fn related<T>(all: &[Resource<T>]) -> HashMap<&str, usize> {
    let mut map = HashMap::new();
    for (index, it) in all.iter().enumerate() {
        for href in it.links.related.iter().filter(|href| !href.is_empty()) {
            map.entry(href.as_str()).or_insert(index);
        }
    }
    map
}

/// The resource at this address or at the closest address above it.
fn enclosing(addresses: &HashMap<&str, usize>, href: &str) -> Option<usize> {
    // A block is two levels below its meter reading; an address of a thousand levels is not worth the time.
    const LEVELS: usize = 16;
    let parents = std::iter::successors(Some(href), |rest| rest.rsplit_once('/').map(|(parent, _)| parent));
    parents.take(LEVELS).find_map(|parent| addresses.get(parent).copied())
}

fn count(feed: &Feed, sources: &[bool]) -> u64 {
    feed.readings.iter().filter(|r| sources.get(usize::from(r.source)).copied().unwrap_or(false)).count()
        as u64
}

fn candidates<'f>(feed: &'f Feed, owners: &[Owner]) -> Vec<Candidate<'f>> {
    // One pass over the readings: there may be millions, and thousands of series.
    let mut readings: HashMap<Option<usize>, u64> = HashMap::new();
    for reading in &feed.readings {
        if let Some(owner) = owners.get(usize::from(reading.source)) {
            *readings.entry(owner.meter).or_default() += 1;
        }
    }
    let point_addresses = addresses(&feed.points);
    let point_related = related(&feed.points);
    let types: HashMap<&str, &ReadingType> = feed
        .types
        .iter()
        .map(|it| (it.links.href.as_str(), &it.body))
        .filter(|(href, _)| !href.is_empty())
        .collect();
    let mut series: Vec<(Option<usize>, u64)> = readings.into_iter().collect();
    series.sort_unstable();
    series
        .into_iter()
        .enumerate()
        .map(|(index, (meter, readings))| {
            let resource = meter.and_then(|meter| feed.meters.get(meter));
            let none = Links::default();
            let links = resource.map_or(&none, |it| &it.links);
            let before = resource.map_or(0, |it| it.points_before);
            let point = point_related
                .get(links.up.as_str())
                .or_else(|| point_related.get(links.href.as_str()))
                .copied()
                .or_else(|| enclosing(&point_addresses, &links.up))
                .or_else(|| enclosing(&point_addresses, &links.href))
                .or_else(|| before.checked_sub(1))
                .or_else(|| feed.points.first().map(|_| 0));
            let mut linked = links.related.iter().filter_map(|href| types.get(href.as_str()).copied());
            let reading_type = match linked.next() {
                Some(of) if linked.all(|other| other == of) => Ok(of),
                Some(_) => Err("it is linked to several different reading types"),
                None => match &feed.types[..] {
                    [] => Err("the file has no ReadingType"),
                    [first, rest @ ..] if rest.iter().all(|other| other.body == first.body) => {
                        Ok(&first.body)
                    }
                    _ => Err("it is linked to none of the file's reading types"),
                },
            };
            let service = point.and_then(|point| feed.points.get(point)).and_then(|point| point.body.service);
            let refused = match reading_type {
                Ok(of) => refusal(service, of),
                Err(why) => Some(why.to_owned()),
            };
            let found = Found {
                number: index + 1,
                usage_point: point
                    .and_then(|p| feed.points.get(p))
                    .map(|p| name(&p.links))
                    .unwrap_or_default(),
                meter_reading: name(links),
                href: links.href.clone(),
                place: resource.map_or_else(|| first_reading(feed, owners, meter), |it| it.place.clone()),
                readings,
                refused,
            };
            Candidate { meter, point, reading_type: reading_type.ok(), found }
        })
        .collect()
}

fn first_reading(feed: &Feed, owners: &[Owner], meter: Option<usize>) -> Place {
    let owned = |source: u16| owners.get(usize::from(source)).is_some_and(|owner| owner.meter == meter);
    let first = feed.readings.iter().find(|reading| owned(reading.source));
    first.map_or_else(
        || feed.end.clone(),
        |reading| Place {
            line: reading.line.into(),
            column: reading.column.into(),
            path: feed.reading_path.clone(),
        },
    )
}

fn name(links: &Links) -> String {
    if links.title.is_empty() { links.href.chars().take(256).collect() } else { links.title.clone() }
}

fn is_at(feed: &Feed, candidate: &Candidate<'_>, href: &str) -> bool {
    let href = canonical(href);
    let point =
        candidate.point.and_then(|point| feed.points.get(point)).map_or("", |point| &point.links.href);
    let ends = |address: &str| {
        address == href
            || (!href.is_empty()
                && address
                    .strip_suffix(href.as_str())
                    .is_some_and(|rest| rest.ends_with('/') || href.starts_with('/')))
    };
    ends(&candidate.found.href) || ends(point)
}

/// Why a series is not electricity delivered per interval in Wh; the codes are those of the ESPI schema.
fn refusal(service: Option<i64>, of: &ReadingType) -> Option<String> {
    match service {
        None if !matches!(of.commodity, None | Some(0..=2)) => {
            return Some(format!("commodity {} is not electricity", of.commodity.unwrap_or_default()));
        }
        None | Some(0) => {}
        Some(kind) => {
            let what = match kind {
                1 => " (gas)",
                2 => " (water)",
                3 => " (time)",
                4 => " (heat)",
                5 => " (refuse)",
                6 => " (sewerage)",
                7 => " (rates)",
                8 => " (TV licence)",
                9 => " (internet)",
                _ => "",
            };
            return Some(format!("service kind {kind}{what} is not electricity (0)"));
        }
    }
    if let Some(flow) = of.flow.filter(|flow| !matches!(flow, 0 | 1)) {
        let what = match flow {
            4 => " (net)",
            19 => " (reverse: delivered to the grid)",
            20 => " (total)",
            _ => "",
        };
        return Some(format!("flow direction {flow}{what} is not forward (1)"));
    }
    match of.uom {
        Some(72) => {}
        Some(uom) => {
            let what = match uom {
                5 => " (A)",
                29 => " (V)",
                38 => " (W)",
                42 => " (m³)",
                61 => " (VA)",
                63 => " (var)",
                71 => " (VAh)",
                73 => " (varh)",
                119 => " (ft³)",
                169 => " (therm)",
                _ => "",
            };
            return Some(format!("unit of measure {uom}{what} is not Wh (72)"));
        }
        None => return Some("the reading type has no unit of measure".into()),
    }
    if let Some(behaviour) = of.accumulation.filter(|behaviour| !matches!(behaviour, 0 | 4)) {
        let what = match behaviour {
            1 => " (bulk quantity)",
            2 => " (continuous cumulative)",
            3 => " (cumulative register)",
            6 => " (indicating)",
            9 => " (summation)",
            12 => " (instantaneous)",
            _ => "",
        };
        return Some(format!(
            "accumulation behaviour {behaviour}{what} is not energy per interval (4, delta data)"
        ));
    }
    if let Some(kind) = of.kind.filter(|kind| !matches!(kind, 0 | 12)) {
        let what = match kind {
            8 => " (demand)",
            37 => " (power)",
            3 => " (currency)",
            _ => "",
        };
        return Some(format!("kind {kind}{what} is not energy (12)"));
    }
    match of.qualifier {
        Some(8) => Some("data qualifier 8 (maximum) is not energy used".into()),
        Some(9) => Some("data qualifier 9 (minimum) is not energy used".into()),
        _ => None,
    }
}

/// The local time of a series: linked from its usage point, else the only one of the file.
fn local_time(feed: &Feed, chosen: &Candidate<'_>) -> Result<Option<LocalTime>, GreenButtonError> {
    let addresses = addresses(&feed.times);
    let point = chosen.point.and_then(|point| feed.points.get(point));
    let linked = point.and_then(|point| {
        point
            .links
            .related
            .iter()
            .find_map(|href| addresses.get(href.as_str()))
            .and_then(|&index| feed.times.get(index))
    });
    let Some(time) = linked.or(feed.times.first()) else { return Ok(None) };
    let same_address = |other: &&Resource<LocalTimeParameters>| {
        linked.is_none() || (!other.links.href.is_empty() && other.links.href == time.links.href)
    };
    if let Some(other) = feed.times.iter().filter(same_address).find(|other| other.body != time.body) {
        return Err(GreenButtonError::Conflict {
            first: time.place.clone(),
            second: other.place.clone(),
            reason: "a different local time, and no link says which is meant; the first is".into(),
        });
    }
    let Some(tz_offset_s) = time.body.tz_offset_s.and_then(|offset| i32::try_from(offset).ok()) else {
        return Ok(None);
    };
    let offset_s = time.body.dst_offset_s.and_then(|offset| i32::try_from(offset).ok()).unwrap_or(0);
    let rules = time.body.dst_start.flatten().zip(time.body.dst_end.flatten());
    let dst = match rules {
        Some((start, end)) if offset_s > 0 => Some(Dst { start, end, offset_s }),
        _ => None,
    };
    Ok(Some(LocalTime { tz_offset_s, dst }))
}
