//! Bills: what a month's energy costs, line by line, so that anybody can recompute it.
//!
//! A customer who asks "why is it higher?" must be able to follow every fen. So a bill is nothing but its lines;
//! each line is an energy, a price and their product rounded half up once, and what could be told only by looking
//! into the program (how a tier was split) is a line of its own or a note on it.
//!
//! * Single rate: one line per tier.
//! * Time of use: one line per period at tier-1 prices, and one surcharge line per higher tier at the difference of
//!   the tiers' prices. Where that difference depends on the period (Shanghai), the tier's energy is split pro
//!   rata to the month's use by period, and the lines say so.
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::calendar::Month;
use crate::money::{Fen, PriceE4, Wh};
use crate::tariff::{Household, PeriodName, Tariff, TariffId};
use crate::usage::{UsageError, UsageMonth};

mod charge;
mod explain;
mod pace;
mod quote;
mod year;

pub use charge::{bill, tier_status};
pub use explain::{Billed, Cause, Explanation, Part, PriceChange, explain};
pub use pace::{PACE_DAYS, Pace, last_known};
pub use quote::{LeftOut, Quote, QuoteError, month_under};
pub use year::{Comparison, MonthComparison, compare, year_bills};

/// What a bill of one month is made from.
#[derive(Clone, Copy, Debug)]
pub struct BillInput<'a> {
    /// The tariff; its version is chosen by the first day of the month.
    pub tariff: &'a Tariff,
    /// The month's energy.
    pub usage: &'a UsageMonth,
    /// The energy billed since January of the same year; ignored where tiers count by month.
    pub used_before_wh: Wh,
    /// What the contract says.
    pub terms: BillTerms,
}

/// What a contract says about its bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillTerms {
    /// Ordinary, or a registered large household with higher limits.
    #[serde(default)]
    pub household: Household,
    /// The first month of service; in that year the year limits are scaled by the months served.
    #[serde(default)]
    pub service_start: Option<Month>,
    /// The last month of service, where it has ended; scales the year limits likewise.
    #[serde(default)]
    pub service_end: Option<Month>,
    /// How the tariff's version is chosen.
    #[serde(default)]
    pub version: VersionChoice,
}

/// How the version of a tariff is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionChoice {
    /// By date; a month before the first version cannot be billed.
    #[default]
    ByDate,
    /// The tariff was asked for by name: months before its first version are billed with the first.
    Named,
}

impl BillTerms {
    /// How many months of the year of `month` are served, 1 to 12.
    pub fn months_served(&self, month: Month) -> u8 {
        let first = self.service_start.filter(|start| start.year() == month.year()).map_or(1, Month::month);
        let last = self.service_end.filter(|end| end.year() == month.year()).map_or(12, Month::month);
        u8::try_from(last - first + 1).unwrap_or(0).clamp(1, 12)
    }
}

/// A computed bill, not yet issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillDraft {
    /// The month billed.
    pub period: Month,
    /// The tariff it was billed with.
    pub tariff: TariffId,
    /// The `valid_from` of the tariff's version.
    pub version: Date,
    /// The month's energy.
    pub energy_wh: Wh,
    /// The sum of the lines.
    pub amount_fen: Fen,
    /// What the amount is made of, in the order of the bill.
    pub lines: Vec<BillLine>,
    /// Where the account stands in the tiers after this month.
    pub tier_status: TierStatus,
}

/// One line of a bill: the energy times the price, rounded half up to the fen, is the amount
/// (`amount_fen = energy_wh × price_e4 / 100000`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BillLine {
    /// What is charged.
    pub kind: LineKind,
    /// The energy charged.
    pub energy_wh: Wh,
    /// The price per kWh; for a surcharge, the difference of two prices.
    pub price_e4: PriceE4,
    /// Their product, rounded half up to the fen.
    pub amount_fen: Fen,
    /// What one must know to recompute the energy of the line.
    pub note: Option<LineNote>,
}

/// A remark on how a line came about; a code, so that each page says it in its own language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineNote {
    /// The tier's energy was split over the periods pro rata to the month's use by period.
    SplitProRata,
}

/// What a bill line charges. Text form, in serde too: `tier-1`, `peak`, `surcharge-tier-2`,
/// `surcharge-tier-2-valley`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LineKind {
    /// Energy of a tier at the tier's price; tiers count from 1.
    Tier(u8),
    /// All energy of a period at its tier-1 price.
    Period(PeriodName),
    /// What energy of a higher tier costs more than in tier 1; of one period where that differs between periods.
    Surcharge {
        /// From 2.
        tier: u8,
        /// `None`: the same in all periods.
        period: Option<PeriodName>,
    },
}

crate::text_schema!(
    LineKind,
    "^(tier-[1-9]|sharp|peak|flat|valley|surcharge-tier-[2-9](-(sharp|peak|flat|valley))?)$",
    40,
    "What a bill line charges: the energy of a tier, of a period, or what a higher tier costs more.",
    "tier-1"
);

/// A text that names no kind of bill line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of bill line")]
pub struct LineKindError;

impl LineKind {
    /// Whether it charges energy that another line has already charged at its tier-1 price.
    pub fn is_surcharge(self) -> bool {
        matches!(self, LineKind::Surcharge { .. })
    }
}

impl fmt::Display for LineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineKind::Tier(tier) => write!(f, "tier-{tier}"),
            LineKind::Period(period) => write!(f, "{period}"),
            LineKind::Surcharge { tier, period: None } => write!(f, "surcharge-tier-{tier}"),
            LineKind::Surcharge { tier, period: Some(period) } => write!(f, "surcharge-tier-{tier}-{period}"),
        }
    }
}

impl FromStr for LineKind {
    type Err = LineKindError;

    fn from_str(text: &str) -> Result<LineKind, LineKindError> {
        let period = |text: &str| {
            [PeriodName::Sharp, PeriodName::Peak, PeriodName::Flat, PeriodName::Valley]
                .into_iter()
                .find(|name| name.as_str() == text)
                .ok_or(LineKindError)
        };
        let tier = |text: &str, from: u8| match text.as_bytes() {
            [digit @ b'1'..=b'9'] if digit - b'0' >= from => Ok(digit - b'0'),
            _ => Err(LineKindError),
        };
        if let Some(rest) = text.strip_prefix("surcharge-tier-") {
            return Ok(match rest.split_once('-') {
                Some((n, name)) => LineKind::Surcharge { tier: tier(n, 2)?, period: Some(period(name)?) },
                None => LineKind::Surcharge { tier: tier(rest, 2)?, period: None },
            });
        }
        match text.strip_prefix("tier-") {
            Some(n) => Ok(LineKind::Tier(tier(n, 1)?)),
            None => Ok(LineKind::Period(period(text)?)),
        }
    }
}

impl TryFrom<String> for LineKind {
    type Error = LineKindError;

    fn try_from(text: String) -> Result<LineKind, LineKindError> {
        text.parse()
    }
}

impl From<LineKind> for String {
    fn from(kind: LineKind) -> String {
        kind.to_string()
    }
}

/// Where an account stands in the tiers of its tier period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierStatus {
    /// The tier of the next Wh, from 1. At exactly a limit that is the tier above it.
    pub tier: u8,
    /// How many tiers there are.
    pub tiers: u8,
    /// The energy used in the tier period so far.
    pub used_in_period_wh: Wh,
    /// Where this tier ends; `None` in the last.
    pub limit_wh: Option<Wh>,
    /// What is left in this tier; `None` in the last.
    pub left_in_tier_wh: Option<Wh>,
    /// The last month of the tier period; the month after it starts at nothing used.
    pub until: Month,
    /// The prices of this tier and the next, one for all hours or one per period.
    pub prices: Vec<TierPrice>,
}

/// What a kWh costs now, and what it will cost in the next tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPrice {
    /// `None`: at all hours.
    pub period: Option<PeriodName>,
    /// In the present tier.
    pub price_e4: PriceE4,
    /// In the next tier; `None` in the last.
    pub next_price_e4: Option<PriceE4>,
}

/// Why a month cannot be billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// The tariff has no version that early.
    #[error("the tariff has no version for {0}")]
    NoVersion(Month),
    /// Energy below zero: what is fed in is not billed by these tariffs.
    #[error("the energy of {0} is negative")]
    Negative(Month),
    /// Energy beyond any customer, which would overflow.
    #[error("the energy of {0} is out of range")]
    TooMuch(Month),
    /// Months that are not in rising order.
    #[error("{0} does not come after the month before it")]
    Order(Month),
    /// The readings are too coarse for the hours of the tariff.
    #[error(transparent)]
    Usage(#[from] UsageError),
}

/// The first line of a bill that does not recompute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecomputeError {
    /// Energy times price is not the amount.
    #[error("line {line}: {expected} recomputed, {found} billed")]
    Line {
        /// Index of the line, from 0.
        line: usize,
        /// Energy times price.
        expected: Fen,
        /// What the line says.
        found: Fen,
    },
    /// The lines do not sum to the amount.
    #[error("total: {expected} recomputed, {found} billed")]
    Total {
        /// The sum of the lines.
        expected: Fen,
        /// What the bill says.
        found: Fen,
    },
}

/// Recomputes a bill from its own lines, as a customer would.
///
/// # Errors
/// [`RecomputeError`] with the first difference.
pub fn recompute(lines: &[BillLine], amount: Fen) -> Result<(), RecomputeError> {
    let mut sum = Fen::ZERO;
    for (index, line) in lines.iter().enumerate() {
        let expected = line.price_e4.charge(line.energy_wh);
        if expected != line.amount_fen {
            return Err(RecomputeError::Line { line: index, expected, found: line.amount_fen });
        }
        sum = sum.checked_add(expected).ok_or(RecomputeError::Total { expected: sum, found: amount })?;
    }
    if sum == amount { Ok(()) } else { Err(RecomputeError::Total { expected: sum, found: amount }) }
}

#[cfg(test)]
mod tests;
