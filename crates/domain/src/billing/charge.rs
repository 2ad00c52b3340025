//! One month: its energy told apart by tier and period, and charged.
use super::{
    BillDraft, BillInput, BillLine, BillTerms, BillingError, LineKind, LineNote, TierPrice, TierStatus,
    VersionChoice,
};
use crate::calendar::Month;
use crate::money::{PriceE4, Wh};
use crate::tariff::{Period, PeriodName, Prices, Tariff, TariffVersion, TierPeriod};

/// The most energy a month or year may have, 1,000 TWh: beyond any customer, far from overflow.
const MAX_ENERGY: Wh = Wh(1_000_000_000_000_000);

/// The bill of one month.
///
/// # Errors
/// [`BillingError`] where the tariff has no version for the month, its energy is negative or beyond bounds, or the
/// readings are too coarse for the tariff's hours.
pub fn bill(input: &BillInput<'_>) -> Result<BillDraft, BillingError> {
    let month = input.usage.month();
    let version = version_for(input.tariff, month, &input.terms)?;
    let energy = input.usage.total();
    in_bounds(energy, month)?;
    let before = used_before(version, input.used_before_wh);
    in_bounds(before, month)?;

    let limits = version.limits_wh(month, input.terms.household, input.terms.months_served(month));
    let by_tier = split_by_tier(before, energy, &limits);
    let lines = match &version.prices {
        Prices::Single { tier_e4 } => single_rate_lines(&by_tier, tier_e4),
        Prices::TimeOfUse { periods } => {
            let by_period = input.usage.by_period(periods)?;
            if by_period.iter().any(|(_, energy)| energy.0 < 0) {
                return Err(BillingError::Negative(month));
            }
            time_of_use_lines(&by_tier, &by_period, periods)
        }
    };
    Ok(BillDraft {
        period: month,
        tariff: input.tariff.id.clone(),
        version: version.valid_from,
        energy_wh: energy,
        amount_fen: lines.iter().map(|line| line.amount_fen).sum(),
        lines,
        tier_status: status_of(version, month, &limits, before + energy),
    })
}

/// Where an account stands in the tiers once it has used `used_wh` in the tier period of `month` (since January,
/// or in the month itself).
///
/// # Errors
/// [`BillingError`] where the tariff has no version for the month or the energy is out of bounds.
pub fn tier_status(
    tariff: &Tariff,
    month: Month,
    used_wh: Wh,
    terms: &BillTerms,
) -> Result<TierStatus, BillingError> {
    let version = version_for(tariff, month, terms)?;
    in_bounds(used_wh, month)?;
    let limits = version.limits_wh(month, terms.household, terms.months_served(month));
    Ok(status_of(version, month, &limits, used_wh))
}

fn version_for<'a>(
    tariff: &'a Tariff,
    month: Month,
    terms: &BillTerms,
) -> Result<&'a TariffVersion, BillingError> {
    match terms.version {
        VersionChoice::ByDate => tariff.version_on(month.first_day()),
        VersionChoice::Named => tariff.version_named(month.first_day()),
    }
    .ok_or(BillingError::NoVersion(month))
}

fn in_bounds(energy: Wh, month: Month) -> Result<(), BillingError> {
    match energy {
        Wh(..0) => Err(BillingError::Negative(month)),
        energy if energy > MAX_ENERGY => Err(BillingError::TooMuch(month)),
        _ => Ok(()),
    }
}

/// Tiers by month begin anew with every bill.
fn used_before(version: &TariffVersion, used_before_wh: Wh) -> Wh {
    match version.tier_period {
        TierPeriod::Year => used_before_wh,
        TierPeriod::Month => Wh(0),
    }
}

/// How much of `energy`, used after `before`, falls into each tier; one value per tier.
fn split_by_tier(before: Wh, energy: Wh, limits: &[Wh]) -> Vec<Wh> {
    let after = before + energy;
    let mut lower = Wh(0);
    let mut parts = Vec::with_capacity(limits.len() + 1);
    for upper in limits.iter().copied().chain([Wh(i64::MAX)]) {
        let inside = |used: Wh| used.clamp(lower, upper);
        parts.push(inside(after) - inside(before));
        lower = upper;
    }
    parts
}

fn single_rate_lines(by_tier: &[Wh], prices: &[PriceE4]) -> Vec<BillLine> {
    let all_zero = by_tier.iter().all(|energy| *energy == Wh(0));
    let tiers = (1u8..).zip(by_tier.iter().zip(prices));
    tiers
        // A month without use still says so, in a line of the first tier.
        .filter(|(tier, (energy, _))| **energy != Wh(0) || (all_zero && *tier == 1))
        .map(|(tier, (energy, price))| line(LineKind::Tier(tier), *energy, *price, None))
        .collect()
}

fn time_of_use_lines(by_tier: &[Wh], by_period: &[(PeriodName, Wh)], periods: &[Period]) -> Vec<BillLine> {
    let mut lines: Vec<BillLine> = by_period
        .iter()
        .zip(periods)
        .map(|((name, energy), period)| line(LineKind::Period(*name), *energy, price_of(period, 1), None))
        .collect();
    for (tier, energy) in (1u8..).zip(by_tier).skip(1).filter(|(_, energy)| **energy != Wh(0)) {
        let surcharges: Vec<PriceE4> =
            periods.iter().map(|period| price_of(period, tier) - price_of(period, 1)).collect();
        if surcharges.windows(2).all(|pair| pair[0] == pair[1]) {
            let kind = LineKind::Surcharge { tier, period: None };
            lines.extend(surcharges.first().map(|price| line(kind, *energy, *price, None)));
            continue;
        }
        let weights: Vec<Wh> = by_period.iter().map(|(_, energy)| *energy).collect();
        for (((name, _), price), part) in by_period.iter().zip(surcharges).zip(pro_rata(*energy, &weights)) {
            if part != Wh(0) {
                let kind = LineKind::Surcharge { tier, period: Some(*name) };
                lines.push(line(kind, part, price, Some(LineNote::SplitProRata)));
            }
        }
    }
    lines
}

/// The price of a tier, counted from 1; the book checks that each period has one per tier.
fn price_of(period: &Period, tier: u8) -> PriceE4 {
    period.tier_e4.get(usize::from(tier) - 1).copied().unwrap_or_default()
}

fn line(kind: LineKind, energy_wh: Wh, price_e4: PriceE4, note: Option<LineNote>) -> BillLine {
    BillLine { kind, energy_wh, price_e4, amount_fen: price_e4.charge(energy_wh), note }
}

/// Splits `energy` in proportion to `weights` (none negative) into whole Wh that sum to it exactly: the shares are
/// rounded down, and what is left goes one Wh each to the largest remainders, the earlier first among equals.
pub(super) fn pro_rata(energy: Wh, weights: &[Wh]) -> Vec<Wh> {
    let all = i128::from(weights.iter().sum::<Wh>().0).max(1);
    let exact = |weight: &Wh| i128::from(energy.0) * i128::from(weight.0);
    let mut parts: Vec<Wh> = weights.iter().map(|w| Wh((exact(w) / all) as i64)).collect();
    let left = (energy - parts.iter().sum()).0;
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|index| -(exact(&weights[*index]) % all));
    for index in by_remainder.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        parts[index] += Wh(1);
    }
    parts
}

fn status_of(version: &TariffVersion, month: Month, limits: &[Wh], used: Wh) -> TierStatus {
    let below = limits.iter().filter(|limit| **limit <= used).count();
    let limit_wh = limits.get(below).copied();
    let tier_price = |period: Option<PeriodName>, prices: &[PriceE4]| TierPrice {
        period,
        price_e4: prices.get(below).copied().unwrap_or_default(),
        next_price_e4: prices.get(below + 1).copied(),
    };
    TierStatus {
        tier: (below + 1) as u8,
        tiers: (limits.len() + 1) as u8,
        used_in_period_wh: used,
        limit_wh,
        left_in_tier_wh: limit_wh.map(|limit| limit - used),
        until: match version.tier_period {
            TierPeriod::Year => month.december(),
            TierPeriod::Month => month,
        },
        prices: match &version.prices {
            Prices::Single { tier_e4 } => vec![tier_price(None, tier_e4)],
            Prices::TimeOfUse { periods } => {
                periods.iter().map(|period| tier_price(Some(period.name), &period.tier_e4)).collect()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_split_conserves_energy_and_is_fair(
            energy in 0i64..1_000_000_000,
            weights in prop::collection::vec(0i64..1_000_000_000, 1..5),
        ) {
            prop_assume!(weights.iter().sum::<i64>() > 0);
            let weights: Vec<Wh> = weights.into_iter().map(Wh).collect();
            let parts = pro_rata(Wh(energy), &weights);
            prop_assert_eq!(parts.iter().sum::<Wh>(), Wh(energy));
            let all = i128::from(weights.iter().sum::<Wh>().0);
            for (part, weight) in parts.iter().zip(&weights) {
                let off = i128::from(part.0) * all - i128::from(energy) * i128::from(weight.0);
                prop_assert!(off.abs() < all, "no part is off by a whole Wh");
            }
        }

        #[test]
        fn tiers_fill_from_below(before in 0i64..20_000_000, energy in 0i64..20_000_000) {
            let limits = [Wh(2_760_000), Wh(4_800_000)];
            let parts = split_by_tier(Wh(before), Wh(energy), &limits);
            prop_assert_eq!(parts.iter().sum::<Wh>(), Wh(energy));
            prop_assert!(parts.iter().all(|part| part.0 >= 0));
            // Energy in a higher tier means that the lower ones are full.
            if parts[2].0 > 0 {
                prop_assert_eq!(parts[1], limits[1] - limits[0].max(Wh(before).min(limits[1])));
            }
            if parts[1].0 > 0 {
                prop_assert_eq!(parts[0], limits[0] - Wh(before).min(limits[0]));
            }
            // Splitting a use in two steps gives the same as in one.
            let half = Wh(energy / 2);
            let first = split_by_tier(Wh(before), half, &limits);
            let second = split_by_tier(Wh(before) + half, Wh(energy) - half, &limits);
            for tier in 0..3 {
                prop_assert_eq!(first[tier] + second[tier], parts[tier]);
            }
        }
    }
}
