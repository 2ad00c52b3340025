//! Money in integer fen (分), energy in integer Wh, prices in 1e-4 yuan per kWh.
//!
//! All arithmetic is exact; a bill line is rounded half up to the fen, once, where it is charged.
use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of money in fen (1/100 yuan). Negative amounts are credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fen(pub i64);

/// An amount of energy in watt-hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wh(pub i64);

/// A price in 1e-4 yuan per kWh: 0.5380 yuan/kWh is `PriceE4(5380)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceE4(pub i64);

impl PriceE4 {
    /// What `energy` costs at this price, rounded half up (away from zero for negative amounts) to the fen.
    ///
    /// fen = Wh × price_e4 / 100 000; computed in 128 bits, so that no input overflows on the way.
    pub fn charge(self, energy: Wh) -> Fen {
        let exact = i128::from(energy.0) * i128::from(self.0);
        let half = if exact < 0 { -50_000 } else { 50_000 };
        Fen(i64::try_from((exact + half) / 100_000).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl fmt::Display for Fen {
    /// `706.24`, `-0.05`: yuan with two decimals, no unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", abs / 100, abs % 100)
    }
}
