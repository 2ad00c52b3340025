//! Money in integer fen (分), energy in integer Wh, prices in 1e-4 yuan per kWh.
//!
//! Floating point cannot hold 0.1 yuan, and a bill that differs from the customer's own sum by one fen is a
//! complaint. So all arithmetic is exact, a bill line is rounded half up to the fen, once, where it is charged,
//! and overflow panics (checks are on in every profile) instead of wrapping. Where amounts come from outside, use
//! the `checked_` forms.
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of money in fen (1/100 yuan). Negative amounts are credits.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Fen(pub i64);

/// An amount of energy in watt-hours.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Wh(pub i64);

/// A price in 1e-4 yuan per kWh: 0.5380 yuan/kWh is `PriceE4(5380)`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
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

impl Wh {
    /// Whole kilowatt-hours as watt-hours.
    pub const fn from_kwh(kwh: i64) -> Wh {
        Wh(kwh * 1000)
    }

    /// The amount in kWh with three decimals and no unit: `428.756`.
    pub fn kwh(self) -> Kwh {
        Kwh(self)
    }
}

/// Shows energy in kWh; made by [`Wh::kwh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kwh(Wh);

impl fmt::Display for Kwh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0.0, 1000, 3)
    }
}

impl fmt::Display for Fen {
    /// `706.24`, `-0.05`: yuan with two decimals, no unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 100, 2)
    }
}

impl fmt::Display for Wh {
    /// Kilowatt-hours with three decimals, no unit: `428.756`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 1000, 3)
    }
}

impl fmt::Display for PriceE4 {
    /// Yuan per kWh with four decimals, no unit: `0.5380`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 10_000, 4)
    }
}

fn decimal(f: &mut fmt::Formatter<'_>, value: i64, scale: u64, digits: usize) -> fmt::Result {
    let sign = if value < 0 { "-" } else { "" };
    let abs = value.unsigned_abs();
    f.pad(&format!("{sign}{}.{:0digits$}", abs / scale, abs % scale))
}

/// A text that is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount in yuan with at most two decimals")]
pub struct ParseFenError;

impl Fen {
    /// No money.
    pub const ZERO: Fen = Fen(0);

    /// Reads yuan with at most two decimals: `12`, `12.3`, `12.34`, `-0.05`. No blanks, signs other than a leading
    /// minus, or thousands separators.
    ///
    /// # Errors
    /// [`ParseFenError`] for anything else, amounts beyond 64 bits included.
    pub fn parse(text: &str) -> Result<Fen, ParseFenError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (yuan, fraction) = digits.split_once('.').unwrap_or((digits, "00"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(yuan) || !all_digits(fraction) || fraction.len() > 2 {
            return Err(ParseFenError);
        }
        let yuan: i64 = yuan.parse().map_err(|_| ParseFenError)?;
        let mut fen: i64 = fraction.parse().map_err(|_| ParseFenError)?;
        if fraction.len() == 1 {
            fen *= 10;
        }
        let abs = yuan.checked_mul(100).and_then(|v| v.checked_add(fen)).ok_or(ParseFenError)?;
        Ok(Fen(if negative { -abs } else { abs }))
    }
}

impl FromStr for Fen {
    type Err = ParseFenError;

    fn from_str(text: &str) -> Result<Fen, ParseFenError> {
        Fen::parse(text)
    }
}

macro_rules! amount_arithmetic {
    ($($name:ident),*) => {$(
        impl $name {
            /// The sum, or `None` where it does not fit 64 bits: for amounts that come from outside.
            pub fn checked_add(self, other: $name) -> Option<$name> {
                self.0.checked_add(other.0).map($name)
            }

            /// The difference, or `None` where it does not fit 64 bits: for amounts that come from outside.
            pub fn checked_sub(self, other: $name) -> Option<$name> {
                self.0.checked_sub(other.0).map($name)
            }
        }
        impl Add for $name {
            type Output = $name;
            fn add(self, other: $name) -> $name {
                $name(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = $name;
            fn sub(self, other: $name) -> $name {
                $name(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = $name;
            fn neg(self) -> $name {
                $name(-self.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: $name) {
                self.0 += other.0;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: $name) {
                self.0 -= other.0;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = $name>>(iter: I) -> $name {
                iter.fold($name(0), Add::add)
            }
        }
        impl<'a> Sum<&'a $name> for $name {
            fn sum<I: Iterator<Item = &'a $name>>(iter: I) -> $name {
                iter.copied().sum()
            }
        }
    )*};
}

amount_arithmetic!(Fen, Wh);

impl Sub for PriceE4 {
    type Output = PriceE4;

    /// The surcharge of one price over another.
    fn sub(self, other: PriceE4) -> PriceE4 {
        PriceE4(self.0 - other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_rounded_half_up_once() {
        assert_eq!(PriceE4(5380).charge(Wh(428_756)), Fen(23_067));
        assert_eq!(PriceE4(5000).charge(Wh(10)), Fen(1), "0.5 fen rounds up");
        assert_eq!(PriceE4(5000).charge(Wh(9)), Fen(0));
        assert_eq!(PriceE4(5000).charge(Wh(-10)), Fen(-1), "a reversal is the exact opposite");
        assert_eq!(PriceE4(i64::MAX).charge(Wh(i64::MAX)), Fen(i64::MAX));
    }

    #[test]
    fn amounts_read_as_on_a_bill() {
        assert_eq!(Fen(70_624).to_string(), "706.24");
        assert_eq!(Fen(-5).to_string(), "-0.05");
        assert_eq!(Fen(i64::MIN).to_string(), "-92233720368547758.08");
        assert_eq!(PriceE4(5380).to_string(), "0.5380");
        assert_eq!(Wh(428_756).to_string(), "428.756");
        assert_eq!(Wh(428_756).kwh().to_string(), "428.756");
        assert_eq!(format!("{:>8}", Fen(5)), "    0.05");
        assert_eq!(Wh::from_kwh(2760), Wh(2_760_000));
    }

    #[test]
    fn what_is_not_money_is_refused() {
        assert_eq!(Fen::parse("12.34"), Ok(Fen(1234)));
        assert_eq!(Fen::parse("12.3"), Ok(Fen(1230)));
        assert_eq!(Fen::parse("12"), Ok(Fen(1200)));
        assert_eq!(Fen::parse("-0.05"), Ok(Fen(-5)));
        for bad in
            ["", "-", ".", "1.", ".5", "+1", "1.234", "1,000", " 1", "1e3", "--1", "99999999999999999999"]
        {
            assert_eq!(Fen::parse(bad), Err(ParseFenError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_reads_what_display_writes(fen in -i64::MAX..i64::MAX) {
            prop_assert_eq!(Fen::parse(&Fen(fen).to_string()), Ok(Fen(fen)));
        }

        #[test]
        fn parse_never_panics(text in ".{0,40}") {
            let _ = Fen::parse(&text);
        }
    }
}
