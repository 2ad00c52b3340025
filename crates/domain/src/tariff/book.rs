//! The book of tariffs: read from TOML, checked as a whole, then trusted.
use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::civil::Date;
use serde::Deserialize;

use super::{Period, PeriodName, Prices, Season, Tariff, TariffId, TariffVersion, TierPeriod, Window};
use crate::money::PriceE4;

const MAX_TARIFFS: usize = 10_000;
const MAX_TIERS: usize = 9;
const MAX_TEXT: usize = 500;
const MAX_KWH: i64 = 1_000_000_000;
const MAX_PRICE_E4: i64 = 1_000_000;

/// All tariffs an installation bills with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TariffBook {
    tariffs: BTreeMap<TariffId, Tariff>,
}

/// The tariffs a place offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivisionTariffs<'a> {
    /// The one with the same price at all hours.
    pub single: Option<&'a Tariff>,
    /// The one that prices by time of use.
    pub time_of_use: Option<&'a Tariff>,
}

/// Why a text is no tariff book.
#[derive(Debug, thiserror::Error)]
pub enum TariffBookError {
    /// It is no TOML, or has missing, unknown or mistyped fields; the message says where.
    #[error("tariff book: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A rule is broken.
    #[error("tariff {tariff}, {field}: {problem}")]
    Rule {
        /// The tariff's id.
        tariff: TariffId,
        /// The field, such as `versions[0].seasons[1].tier_limits_kwh`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There are more tariffs than any country has.
    #[error("tariff book: {0} tariffs are more than {MAX_TARIFFS}")]
    TooMany(usize),
}

static PUBLISHED: LazyLock<TariffBook> = LazyLock::new(|| {
    TariffBook::from_toml(include_str!("../../tariffs.toml")).expect("the built-in book is checked by a test")
});

impl TariffBook {
    /// The published residential tariffs that come with the program: Zhejiang, Guangzhou, Beijing, Shanghai.
    pub fn published() -> &'static TariffBook {
        &PUBLISHED
    }

    /// Reads and checks a book; `crates/domain/tariffs.toml` is the example of its form.
    ///
    /// # Errors
    /// [`TariffBookError`] with the tariff and the field that is wrong.
    pub fn from_toml(text: &str) -> Result<TariffBook, TariffBookError> {
        let raw: RawBook = toml::from_str(text)?;
        if raw.tariffs.len() > MAX_TARIFFS {
            return Err(TariffBookError::TooMany(raw.tariffs.len()));
        }
        let mut tariffs = BTreeMap::new();
        for raw in raw.tariffs {
            let id = raw.id.clone();
            let rule = |(field, problem)| TariffBookError::Rule { tariff: id.clone(), field, problem };
            let tariff = check(raw).map_err(rule)?;
            if tariffs.insert(id.clone(), tariff).is_some() {
                return Err(rule(("id".into(), "is there twice".into())));
            }
        }
        Ok(TariffBook { tariffs })
    }

    /// The tariff of that name.
    pub fn get(&self, id: &str) -> Option<&Tariff> {
        self.tariffs.get(id)
    }

    /// All tariffs, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tariff> {
        self.tariffs.values()
    }

    /// The tariffs of a GB/T 2260 division: those of the longest prefix of `division` that has any.
    ///
    /// `330106` (a district of Hangzhou) finds Zhejiang's. `None` where the book has no tariff for the place: a price
    /// is never borrowed from elsewhere, the operator adds a tariff or names one. Of several of one kind the first
    /// by id is taken.
    pub fn for_division(&self, division: &str) -> Option<DivisionTariffs<'_>> {
        let mut here = self.offered(division).peekable();
        here.peek()?;
        let (time_of_use, single): (Vec<_>, Vec<_>) = here.partition(|tariff| tariff.is_time_of_use());
        Some(DivisionTariffs { single: single.first().copied(), time_of_use: time_of_use.first().copied() })
    }

    /// All tariffs offered in a GB/T 2260 division, by id: those of the longest prefix of `division` that has any.
    pub fn offered(&self, division: &str) -> impl Iterator<Item = &Tariff> {
        let covers = move |tariff: &&Tariff| division.starts_with(&tariff.division);
        let longest = self.iter().filter(covers).map(|tariff| tariff.division.len()).max();
        self.iter().filter(covers).filter(move |tariff| Some(tariff.division.len()) == longest)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBook {
    #[serde(rename = "tariff")]
    tariffs: Vec<RawTariff>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTariff {
    id: TariffId,
    name_en: String,
    name_zh: String,
    place_en: String,
    place_zh: String,
    division: String,
    source_en: String,
    source_zh: String,
    source_date: Option<Date>,
    note_en: Option<String>,
    note_zh: Option<String>,
    versions: Vec<RawVersion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVersion {
    valid_from: Date,
    valid_from_confirmed: bool,
    tier_period: TierPeriod,
    tier_limits_kwh: Option<Vec<i64>>,
    seasons: Option<Vec<RawSeason>>,
    tier_e4: Option<Vec<PriceE4>>,
    periods: Option<Vec<RawPeriod>>,
    large_household_extra_kwh: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeason {
    months: Vec<i8>,
    tier_limits_kwh: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeriod {
    name: PeriodName,
    windows: Vec<Window>,
    tier_e4: Vec<PriceE4>,
}

/// A field and what is wrong with it.
type Broken = (String, String);

fn broken<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, Broken> {
    Err((field.into(), problem.into()))
}

fn check(raw: RawTariff) -> Result<Tariff, Broken> {
    for (field, text) in [
        ("name_en", &raw.name_en),
        ("name_zh", &raw.name_zh),
        ("place_en", &raw.place_en),
        ("place_zh", &raw.place_zh),
        ("source_en", &raw.source_en),
        ("source_zh", &raw.source_zh),
    ] {
        if text.trim().is_empty() || text.len() > MAX_TEXT {
            return broken(field, format!("is empty or longer than {MAX_TEXT} bytes"));
        }
    }
    for (field, text) in [("note_en", &raw.note_en), ("note_zh", &raw.note_zh)] {
        if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
            return broken(field, format!("is longer than {MAX_TEXT} bytes"));
        }
    }
    if !matches!(raw.division.len(), 2 | 4 | 6) || !raw.division.bytes().all(|b| b.is_ascii_digit()) {
        return broken("division", "is no GB/T 2260 prefix of 2, 4 or 6 digits");
    }
    let mut versions: Vec<TariffVersion> = Vec::with_capacity(raw.versions.len());
    for (n, raw) in raw.versions.into_iter().enumerate() {
        let version =
            check_version(raw).map_err(|(field, problem)| (format!("versions[{n}].{field}"), problem))?;
        if let Some(last) = versions.last() {
            if last.valid_from >= version.valid_from {
                return broken(
                    format!("versions[{n}].valid_from"),
                    "is not after that of the version before",
                );
            }
            let same_kind = matches!(last.prices, Prices::Single { .. })
                == matches!(version.prices, Prices::Single { .. })
                && last.tier_period == version.tier_period;
            if !same_kind {
                return broken(
                    format!("versions[{n}]"),
                    "changes between kinds of price or tier period: make it a tariff of its own",
                );
            }
        }
        versions.push(version);
    }
    if versions.is_empty() {
        return broken("versions", "is empty");
    }
    Ok(Tariff {
        id: raw.id,
        name_en: raw.name_en,
        name_zh: raw.name_zh,
        place_en: raw.place_en,
        place_zh: raw.place_zh,
        division: raw.division,
        source_en: raw.source_en,
        source_zh: raw.source_zh,
        source_date: raw.source_date,
        note_en: raw.note_en,
        note_zh: raw.note_zh,
        versions,
    })
}

fn check_version(raw: RawVersion) -> Result<TariffVersion, Broken> {
    if raw.valid_from.day() != 1 {
        return broken("valid_from", "is not the first of a month: a bill has one version");
    }
    let prices = match (raw.tier_e4, raw.periods) {
        (Some(tier_e4), None) => {
            check_prices("tier_e4", &tier_e4)?;
            Prices::Single { tier_e4 }
        }
        (None, Some(periods)) => Prices::TimeOfUse { periods: check_periods(periods)? },
        _ => {
            return broken(
                "tier_e4",
                "give either tier_e4 (one price at all hours) or periods (time of use)",
            );
        }
    };
    let seasons = match (raw.tier_limits_kwh, raw.seasons) {
        (Some(tier_limits_kwh), None) => vec![Season { months: (1..=12).collect(), tier_limits_kwh }],
        (None, Some(seasons)) if raw.tier_period == TierPeriod::Month => seasons
            .into_iter()
            .map(|season| Season { months: season.months, tier_limits_kwh: season.tier_limits_kwh })
            .collect(),
        (None, Some(_)) => {
            return broken("seasons", "need tier_period \"month\": year limits have no seasons");
        }
        _ => return broken("tier_limits_kwh", "give either tier_limits_kwh or seasons"),
    };
    let version = TariffVersion {
        valid_from: raw.valid_from,
        valid_from_confirmed: raw.valid_from_confirmed,
        tier_period: raw.tier_period,
        seasons,
        prices,
        large_household_extra_kwh: raw.large_household_extra_kwh,
    };
    check_seasons(&version)?;
    match version.large_household_extra_kwh {
        Some(extra) if !(1..=MAX_KWH).contains(&extra) => {
            broken("large_household_extra_kwh", "is not positive")
        }
        _ => Ok(version),
    }
}

fn check_seasons(version: &TariffVersion) -> Result<(), Broken> {
    for month in 1..=12i8 {
        let times = version.seasons.iter().flat_map(|season| &season.months).filter(|m| **m == month).count();
        if times != 1 {
            return broken("seasons", format!("month {month} is there {times} times, not once"));
        }
    }
    for (n, season) in version.seasons.iter().enumerate() {
        if let Some(bad) = season.months.iter().find(|m| !(1..=12).contains(*m)) {
            return broken(format!("seasons[{n}].months"), format!("{bad} is no month"));
        }
        let field = format!("seasons[{n}].tier_limits_kwh");
        let limits = &season.tier_limits_kwh;
        if limits.len() + 1 != version.tier_count() {
            let tiers = version.tier_count();
            return broken(
                field,
                format!("{} limits do not fit {tiers} prices: one fewer is needed", limits.len()),
            );
        }
        if limits.iter().any(|kwh| !(1..=MAX_KWH).contains(kwh)) || !limits.is_sorted_by(|a, b| a < b) {
            return broken(field, "limits are not positive and rising");
        }
    }
    Ok(())
}

fn check_prices(field: &str, prices: &[PriceE4]) -> Result<(), Broken> {
    if prices.is_empty() || prices.len() > MAX_TIERS {
        return broken(field, format!("needs 1 to {MAX_TIERS} prices"));
    }
    if prices.iter().any(|price| !(1..=MAX_PRICE_E4).contains(&price.0)) {
        return broken(field, "a price is not between 0.0001 and 100 yuan per kWh (prices are in 1e-4 yuan)");
    }
    if !prices.is_sorted() {
        return broken(field, "prices fall from one tier to the next");
    }
    Ok(())
}

fn check_periods(raw: Vec<RawPeriod>) -> Result<Vec<Period>, Broken> {
    let tiers = raw.first().map_or(0, |period| period.tier_e4.len());
    for (n, period) in raw.iter().enumerate() {
        check_prices(&format!("periods[{n}].tier_e4"), &period.tier_e4)?;
        if period.tier_e4.len() != tiers {
            return broken(
                format!("periods[{n}].tier_e4"),
                "has another number of tiers than the first period",
            );
        }
        if raw[..n].iter().any(|earlier| earlier.name == period.name) {
            return broken(format!("periods[{n}].name"), format!("{} is there twice", period.name));
        }
    }
    for minute in 0..1440u16 {
        let times =
            raw.iter().flat_map(|period| &period.windows).filter(|window| window.contains(minute)).count();
        if times != 1 {
            let problem = if times == 0 { "is in no window" } else { "is in more than one window" };
            return broken("periods", format!("{:02}:{:02} {problem}", minute / 60, minute % 60));
        }
    }
    let period = |raw: RawPeriod| Period { name: raw.name, windows: raw.windows, tier_e4: raw.tier_e4 };
    Ok(raw.into_iter().map(period).collect())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TEXT: &str = include_str!("../../tariffs.toml");

    #[test]
    fn the_published_book_holds_six_tariffs_with_their_source() {
        let book = TariffBook::published();
        let ids: Vec<&str> = book.iter().map(|tariff| tariff.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "bj-residential",
                "gz-residential",
                "sh-residential",
                "sh-residential-tou",
                "zj-residential",
                "zj-residential-tou"
            ]
        );
        for tariff in book.iter() {
            assert!(
                !tariff.source_en.is_empty()
                    && !tariff.source_zh.is_empty()
                    && tariff.note_zh.is_some()
                    && tariff.note_en.is_some()
            );
            assert!(tariff.version_on(date(2011, 1, 1)).is_some(), "readings of 2011 can be billed");
            assert!(tariff.version_on(date(2005, 12, 31)).is_none());
            assert!(tariff.version_named(date(2005, 12, 31)).is_some());
        }
    }

    #[test]
    fn a_place_has_the_tariffs_of_its_longest_prefix() {
        let book = TariffBook::published();
        let ids = |division| {
            book.for_division(division).map(|found| {
                (
                    found.single.map(|tariff| tariff.id.as_str()),
                    found.time_of_use.map(|tariff| tariff.id.as_str()),
                )
            })
        };
        assert_eq!(ids("330106"), Some((Some("zj-residential"), Some("zj-residential-tou"))));
        assert_eq!(ids("440106"), Some((Some("gz-residential"), None)));
        assert_eq!(ids("440300"), None, "Shenzhen is not billed with Guangzhou's prices");
        assert_eq!(ids(""), None);
        let city = TEXT.replace("division = \"11\"", "division = \"3301\"");
        let book = TariffBook::from_toml(&city).unwrap();
        let hangzhou = book.for_division("330106").unwrap();
        assert_eq!(hangzhou.single.unwrap().id.as_str(), "bj-residential");
        assert_eq!(hangzhou.time_of_use, None, "a city's tariffs replace the province's");
    }

    #[test]
    fn mistakes_are_named_with_tariff_and_field() {
        let cases = [
            (
                "[2760, 4800]",
                "[4800, 2760]",
                "zj-residential, versions[0].seasons[0].tier_limits_kwh: limits are not",
            ),
            ("[2760, 4800]", "[2760]", "1 limits do not fit 3 prices"),
            ("[5380, 5880, 8380]", "[5380, 8380, 5880]", "zj-residential, versions[0].tier_e4: prices fall"),
            ("[5380, 5880, 8380]", "[0, 5880, 8380]", "is not between"),
            ("[5380, 5880, 8380]", "[]", "needs 1 to 9 prices"),
            ("[2880, 3380, 5880]", "[2880, 3380]", "versions[0].periods[1].tier_e4: has another number"),
            ("22:00-08:00", "22:00-07:30", "zj-residential-tou, versions[0].periods: 07:30 is in no window"),
            ("22:00-08:00", "21:00-08:00", "21:00 is in more than one window"),
            ("22:00-08:00", "22-8", "not a window of the day"),
            ("name = \"valley\"", "name = \"peak\"", "periods[1].name: peak is there twice"),
            ("name = \"valley\"", "name = \"night\"", "unknown variant `night`"),
            (
                "[5, 6, 7, 8, 9, 10]",
                "[6, 7, 8, 9, 10]",
                "gz-residential, versions[0].seasons: month 5 is there 0",
            ),
            ("[5, 6, 7, 8, 9, 10]", "[5, 6, 7, 8, 9, 10, 13]", "13 is no month"),
            ("tier_period = \"month\"", "tier_period = \"year\"", "year limits have no seasons"),
            ("2006-01-01", "2006-01-02", "versions[0].valid_from: is not the first of a month"),
            ("division = \"33\"", "division = \"3\"", "division: is no GB/T 2260 prefix"),
            ("id = \"bj-residential\"", "id = \"zj-residential\"", "zj-residential, id: is there twice"),
            ("id = \"bj-residential\"", "id = \"BJ\"", "not a tariff id"),
            ("place_en = \"Beijing\"", "place_en = \" \"", "bj-residential, place_en: is empty"),
            ("large_household_extra_kwh = 100", "large_household_extra_kwh = 0", "is not positive"),
            ("large_household_extra_kwh", "large_houshold_extra_kwh", "unknown field"),
            ("tier_e4 = [4883, 5383, 7883]", "", "give either tier_e4"),
            ("tier_limits_kwh = [2880, 4800]", "", "give either tier_limits_kwh"),
        ];
        for (from, to, expected) in cases {
            let error = TariffBook::from_toml(&TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{from} as {to}: {error}");
        }
    }

    #[test]
    fn versions_follow_each_other() {
        let with = |valid_from: &str, prices: &str| {
            let head = TEXT.split("[[tariff]]").nth(1).unwrap();
            TariffBook::from_toml(&format!(
                "[[tariff]]{head}\n[[tariff.versions]]\nvalid_from = \"{valid_from}\"\nvalid_from_confirmed = true\n\
                 tier_period = \"year\"\ntier_limits_kwh = [2760, 4800]\n{prices}"
            ))
        };
        let book = with("2020-07-01", "tier_e4 = [5000, 5500, 8000]").unwrap();
        let tariff = book.get("zj-residential").unwrap();
        let first_price = |version: Option<&TariffVersion>| match version.map(|version| &version.prices) {
            Some(Prices::Single { tier_e4 }) => tier_e4[0],
            _ => PriceE4(0),
        };
        assert_eq!(first_price(tariff.version_on(date(2020, 6, 30))), PriceE4(5380));
        assert_eq!(first_price(tariff.version_on(date(2020, 7, 1))), PriceE4(5000));
        assert_eq!(first_price(tariff.version_named(date(1990, 1, 1))), PriceE4(5380));
        let error = with("2006-01-01", "tier_e4 = [5000, 5500, 8000]").unwrap_err().to_string();
        assert!(error.contains("versions[1].valid_from: is not after"), "{error}");
        let periods = "periods = [{ name = \"flat\", windows = [\"00:00-24:00\"], tier_e4 = [1, 2, 3] }]";
        let error = with("2020-07-01", periods).unwrap_err().to_string();
        assert!(error.contains("changes between kinds of price"), "{error}");
    }
}
