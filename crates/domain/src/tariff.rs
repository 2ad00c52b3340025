//! Tariffs: what a kilowatt-hour costs, where, since when, and who said so.
//!
//! Residential prices in China are set by provincial notices: rising tiers over a year or a month, in some places
//! with seasons, and on request by time of use. They change, and an operator must be able to change them without a
//! programmer, so a tariff is configuration ([`TariffBook`], TOML) that is checked as a whole before anything is
//! billed with it, and that carries its source.
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::calendar::Month;
use crate::money::{PriceE4, Wh};

mod book;
mod window;

pub use book::{DivisionTariffs, TariffBook, TariffBookError};
pub use window::{Window, WindowError};

/// The name of a tariff, such as `zj-residential-tou`: 1 to 40 of `a`–`z`, `0`–`9` and `-`, starting with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TariffId(String);

crate::text_schema!(
    TariffId,
    "^[a-z][a-z0-9-]{0,39}$",
    40,
    "The stable name of a tariff.",
    "zj-residential-tou"
);

/// A text that is no tariff id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tariff id: expected 1 to 40 of a-z, 0-9 and -, starting with a letter")]
pub struct TariffIdError;

impl TariffId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TariffId {
    type Error = TariffIdError;

    fn try_from(text: String) -> Result<TariffId, TariffIdError> {
        let fits = (1..=40).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(TariffId(text)) } else { Err(TariffIdError) }
    }
}

impl FromStr for TariffId {
    type Err = TariffIdError;

    fn from_str(text: &str) -> Result<TariffId, TariffIdError> {
        if text.len() > 40 {
            return Err(TariffIdError);
        }
        TariffId::try_from(text.to_owned())
    }
}

impl From<TariffId> for String {
    fn from(id: TariffId) -> String {
        id.0
    }
}

impl Borrow<str> for TariffId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TariffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A tariff with all its versions. Made by [`TariffBook`] only, which checks every rule stated here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tariff {
    /// Its stable name.
    pub id: TariffId,
    /// What customers read, in English.
    pub name_en: String,
    /// What customers read, in Chinese.
    pub name_zh: String,
    /// The place it holds for, in English.
    pub place_en: String,
    /// The place it holds for, in Chinese.
    pub place_zh: String,
    /// The GB/T 2260 division it holds for, as a prefix of 2, 4 or 6 digits: `33` is all of Zhejiang.
    pub division: String,
    /// Who published the figures, and where they were read, in English.
    pub source_en: String,
    /// The same, in Chinese.
    pub source_zh: String,
    /// The day the source carries, where it is known.
    pub source_date: Option<Date>,
    /// What is not confirmed about it, in English.
    pub note_en: Option<String>,
    /// What is not confirmed about it, in Chinese.
    pub note_zh: Option<String>,
    /// At least one; by rising `valid_from`; all single-rate or all time-of-use, of one tier period.
    pub versions: Vec<TariffVersion>,
}

/// The prices of a tariff from one day on, until its next version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TariffVersion {
    /// The first day it holds for; the first of a month, so that a bill has one version.
    pub valid_from: Date,
    /// Whether `valid_from` was read in the source; otherwise it is set early enough for the data to be billed.
    pub valid_from_confirmed: bool,
    /// Over what the tiers count.
    pub tier_period: TierPeriod,
    /// Tier limits by season; together they cover each month once. Year tiers have one season.
    pub seasons: Vec<Season>,
    /// What the energy costs.
    pub prices: Prices,
    /// By how many kWh **a month** every tier limit is raised for a large household; year tiers by as much for each
    /// month that is served. `None`: no such rule is known.
    pub large_household_extra_kwh: Option<i64>,
}

/// Over what the tiers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TierPeriod {
    /// From January to December; part years scale the limits by months.
    Year,
    /// Each month by itself.
    Month,
}

/// The tier limits of some months.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Season {
    /// Months, 1 to 12.
    pub months: Vec<i8>,
    /// The upper limit of each tier but the last, kWh, rising; energy up to and including it is in the tier.
    pub tier_limits_kwh: Vec<i64>,
}

/// What energy costs: one price per tier, for all hours or for each period of the day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Prices {
    /// The same price at all hours.
    Single {
        /// One per tier, never falling.
        tier_e4: Vec<PriceE4>,
    },
    /// Prices by time of use.
    TimeOfUse {
        /// Together they cover every minute of the day once.
        periods: Vec<Period>,
    },
}

/// A part of the day with its prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its name, once in a tariff.
    pub name: PeriodName,
    /// When it holds, local wall-clock time.
    pub windows: Vec<Window>,
    /// One price per tier, never falling.
    pub tier_e4: Vec<PriceE4>,
}

/// The periods of the day that notices name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PeriodName {
    /// 尖
    Sharp,
    /// 峰
    Peak,
    /// 平
    Flat,
    /// 谷
    Valley,
}

impl PeriodName {
    /// `sharp`, `peak`, `flat` or `valley`.
    pub fn as_str(self) -> &'static str {
        match self {
            PeriodName::Sharp => "sharp",
            PeriodName::Peak => "peak",
            PeriodName::Flat => "flat",
            PeriodName::Valley => "valley",
        }
    }
}

impl fmt::Display for PeriodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many people a contract was registered for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Household {
    /// The limits as published.
    #[default]
    Ordinary,
    /// A registered large household: its limits are raised where the tariff says so.
    Large,
}

impl Period {
    /// Whether it holds at `minute` of the day.
    pub fn holds(&self, minute: u16) -> bool {
        self.windows.iter().any(|window| window.contains(minute))
    }
}

impl Tariff {
    /// The version that holds on `date`; `None` before the first.
    pub fn version_on(&self, date: Date) -> Option<&TariffVersion> {
        self.versions.iter().rev().find(|version| version.valid_from <= date)
    }

    /// The version to bill `date` with when this tariff was asked for by name: as [`Tariff::version_on`], but days
    /// before the first version are billed with the first.
    pub fn version_named(&self, date: Date) -> Option<&TariffVersion> {
        self.version_on(date).or_else(|| self.versions.first())
    }

    /// Whether it prices by time of use.
    pub fn is_time_of_use(&self) -> bool {
        self.versions.iter().any(|version| matches!(version.prices, Prices::TimeOfUse { .. }))
    }
}

impl TariffVersion {
    /// How many tiers it has, at least one.
    pub fn tier_count(&self) -> usize {
        match &self.prices {
            Prices::Single { tier_e4 } => tier_e4.len(),
            Prices::TimeOfUse { periods } => periods.first().map_or(0, |period| period.tier_e4.len()),
        }
    }

    /// The upper limits of all tiers but the last, for the tier period that holds `month`.
    ///
    /// `months_served` (1 to 12) scales year limits for a contract that is not served all the year; month limits
    /// ignore it. Fractions of a Wh are dropped.
    pub fn limits_wh(&self, month: Month, household: Household, months_served: u8) -> Vec<Wh> {
        let extra_kwh = match household {
            Household::Ordinary => 0,
            Household::Large => self.large_household_extra_kwh.unwrap_or(0),
        };
        let season = self.seasons.iter().find(|season| season.months.contains(&month.month()));
        let limits = season.map_or(&[][..], |season| &season.tier_limits_kwh);
        let served = i64::from(months_served.clamp(1, 12));
        let limit = |kwh: &i64| match self.tier_period {
            TierPeriod::Month => Wh::from_kwh(kwh + extra_kwh),
            TierPeriod::Year => Wh((kwh + extra_kwh * 12) * 1000 * served / 12),
        };
        limits.iter().map(limit).collect()
    }
}
