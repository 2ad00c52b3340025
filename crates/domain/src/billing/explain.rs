//! Why a bill differs from another, as parts that sum to the difference, to the fen.
//!
//! One thing after the other is changed from the earlier bill to the later: the number of days, the use a day, what
//! fell into which tier, when it was used, the prices. Energy is valued at what the earlier bill's kWh cost in its
//! lowest tier; what a higher tier costs beyond that is the tier's part. Everything comes from the lines of the two
//! bills, so that a customer can follow it with both in hand.
//!
//! Where the two were billed by different tariffs, or a new version's lines leave out the price that would be
//! compared, the lines cannot tell tiers, hours and prices apart: then all of it is one part, what the average kWh cost.
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{BillLine, LineKind};
use crate::calendar::Month;
use crate::money::{Fen, PriceE4, Wh};
use crate::tariff::{PeriodName, TariffId};

/// Wh × 1e-4 yuan/kWh that make one fen.
const PER_FEN: i128 = 100_000;

/// A bill to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Billed<'a> {
    /// The month it charges.
    pub month: Month,
    /// The tariff it was billed with.
    pub tariff: &'a TariffId,
    /// The first day of the tariff's version.
    pub version: Date,
    /// The month's energy.
    pub energy_wh: Wh,
    /// The sum of its lines.
    pub amount_fen: Fen,
    /// What the amount is made of.
    pub lines: &'a [BillLine],
}

/// Why a bill differs from an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    /// The earlier bill's month.
    pub month: Month,
    /// Its energy.
    pub energy_wh: Wh,
    /// Its amount.
    pub amount_fen: Fen,
    /// The later bill's amount less the earlier's: what the parts sum to.
    pub difference_fen: Fen,
    /// What it is made of; none of them zero.
    pub parts: Vec<Part>,
}

/// One reason, and what it costs or saves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ExplanationPart)]
pub struct Part {
    /// The reason, with its numbers.
    pub cause: Cause,
    /// What it adds to the bill; negative where it makes it less.
    pub amount_fen: Fen,
}

/// A reason why a bill differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ExplanationCause)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The months have different numbers of days.
    Days {
        /// Days of the earlier month.
        before: u8,
        /// Days of the later.
        now: u8,
        /// What the earlier month's use a day makes of that.
        energy_wh: Wh,
    },
    /// More or less was used a day.
    DailyUse {
        /// Use a day in the earlier month, rounded to the Wh.
        before_wh: Wh,
        /// Use a day in the later.
        now_wh: Wh,
        /// What that makes over the later month's days. With the energy of the days it is the difference of the bills'.
        energy_wh: Wh,
    },
    /// More or less fell into a tier above the lowest one of both bills.
    Tier {
        /// Which tier, from 2.
        tier: u8,
        /// What fell into it in the earlier month.
        before_wh: Wh,
        /// What fell into it in the later.
        now_wh: Wh,
        /// What a kWh of it costs beyond the lowest tier; `None` where that differs between periods of the day.
        price_e4: Option<PriceE4>,
    },
    /// Another share was used in the dear hours.
    PeriodMix {
        /// The dearest period of the day.
        period: PeriodName,
        /// Its share of the earlier month's use, per mille.
        before_per_mille: u16,
        /// Its share of the later's.
        now_per_mille: u16,
    },
    /// A kWh costs more or less than it did.
    Price {
        /// Each price that both bills' lines show and that is another now.
        changes: Vec<PriceChange>,
    },
    /// Another tariff, or prices that cannot be told apart by the lines.
    Tariff {
        /// What a kWh cost on average in the earlier month.
        before_e4: PriceE4,
        /// What it costs on average in the later.
        now_e4: PriceE4,
    },
    /// Each line and each part above is rounded to the fen.
    Rounding,
}

/// A price of both bills that is another now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PriceChange {
    /// What it is the price of.
    pub kind: LineKind,
    /// In the earlier bill.
    pub before_e4: PriceE4,
    /// In the later.
    pub now_e4: PriceE4,
}

/// Explains `now` by `before`.
pub fn explain(before: &Billed<'_>, now: &Billed<'_>) -> Explanation {
    let same_tariff = before.tariff == now.tariff;
    let layers = if same_tariff { layers(before, now) } else { None };
    let mut parts = Vec::new();
    let mut push = |cause: Cause, amount_fen: Fen| {
        if amount_fen != Fen::ZERO {
            parts.push(Part { cause, amount_fen });
        }
    };
    let value = match &layers {
        Some(layers) => {
            let base = || layers.iter().filter(|layer| layer.is_base());
            Average::of(base().map(|layer| (layer.before, layer.before_price)))
                .or_else(|| Average::of(base().map(|layer| (layer.now, layer.before_price))))
        }
        None => average_of_bill(before).or_else(|| average_of_bill(now)),
    }
    .unwrap_or(Average { cost: 0, energy: 1 });

    let (days_before, days_now) = (i128::from(before.month.days()), i128::from(now.month.days()));
    let by_days = rounded(i128::from(before.energy_wh.0) * (days_now - days_before), days_before);
    let by_use = i128::from(now.energy_wh.0) - i128::from(before.energy_wh.0) - by_days;
    let days =
        Cause::Days { before: before.month.days(), now: now.month.days(), energy_wh: Wh(narrow(by_days)) };
    push(days, value.charge(by_days));
    let daily = Cause::DailyUse {
        before_wh: Wh(narrow(rounded(before.energy_wh.0.into(), days_before))),
        now_wh: Wh(narrow(rounded(now.energy_wh.0.into(), days_now))),
        energy_wh: Wh(narrow(by_use)),
    };
    push(daily, value.charge(by_use));

    match layers {
        Some(layers) => {
            tier_parts(&layers, &mut push);
            mix_part(&layers, value, &mut push);
            price_part(&layers, before, now, &mut push);
        }
        None => {
            let cost: i128 = now.lines.iter().map(|line| cost(line.energy_wh, line.price_e4)).sum();
            let beyond = cost * value.energy - i128::from(now.energy_wh.0) * value.cost;
            let now_e4 = average_of_bill(now).map_or(value.price_e4(), Average::price_e4);
            let cause = Cause::Tariff { before_e4: value.price_e4(), now_e4 };
            push(cause, fen(beyond, value.energy));
        }
    }
    let difference_fen = now.amount_fen - before.amount_fen;
    let rest = difference_fen - parts.iter().map(|part| part.amount_fen).sum();
    if rest != Fen::ZERO {
        parts.push(Part { cause: Cause::Rounding, amount_fen: rest });
    }
    Explanation {
        month: before.month,
        energy_wh: before.energy_wh,
        amount_fen: before.amount_fen,
        difference_fen,
        parts,
    }
}

/// Energy at one price, in both bills: of a period of the day (or all hours) in the lowest tier, or what a higher tier
/// costs beyond it.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// 0: the energy itself; from 2: of that tier, beyond the lowest.
    tier: u8,
    period: Option<PeriodName>,
    before: Wh,
    now: Wh,
    before_price: PriceE4,
    now_price: PriceE4,
}

impl Layer {
    fn is_base(&self) -> bool {
        self.tier == 0
    }
}

/// A price as a fraction: so much cost for so much energy.
#[derive(Clone, Copy, Debug)]
struct Average {
    cost: i128,
    energy: i128,
}

impl Average {
    /// `None` where there is no energy.
    fn of(parts: impl Iterator<Item = (Wh, PriceE4)>) -> Option<Average> {
        let mut sum = Average { cost: 0, energy: 0 };
        for (energy, price) in parts {
            sum = Average { cost: sum.cost + cost(energy, price), energy: sum.energy + i128::from(energy.0) };
        }
        (sum.energy > 0).then_some(sum)
    }

    fn charge(self, energy: i128) -> Fen {
        fen(energy * self.cost, self.energy)
    }

    fn price_e4(self) -> PriceE4 {
        PriceE4(narrow(rounded(self.cost, self.energy)))
    }
}

/// What a kWh of a bill cost, surcharges included.
fn average_of_bill(bill: &Billed<'_>) -> Option<Average> {
    let cost = bill.lines.iter().map(|line| cost(line.energy_wh, line.price_e4)).sum();
    (bill.energy_wh.0 > 0).then(|| Average { cost, energy: bill.energy_wh.0.into() })
}

/// The two bills layer by layer; `None` where their lines cannot be laid beside each other.
fn layers(before: &Billed<'_>, now: &Billed<'_>) -> Option<Vec<Layer>> {
    let lines = || before.lines.iter().chain(now.lines);
    if lines().all(|line| matches!(line.kind, LineKind::Tier(_))) {
        return tier_layers(before, now);
    }
    if lines().any(|line| matches!(line.kind, LineKind::Tier(_))) {
        return None;
    }
    let mut layers = Vec::new();
    for line in lines() {
        let (tier, period) = match line.kind {
            LineKind::Period(period) => (0, Some(period)),
            LineKind::Surcharge { tier, period } => (tier, period),
            LineKind::Tier(_) => return None,
        };
        if layers.iter().any(|layer: &Layer| (layer.tier, layer.period) == (tier, period)) {
            continue;
        }
        let (then, today) = (find(before, line.kind), find(now, line.kind));
        // A period that one of the bills does not have is another tariff's.
        if tier == 0 && (then.is_none() || today.is_none()) {
            return None;
        }
        layers.push(Layer {
            tier,
            period,
            before: then.map_or(Wh(0), |line| line.energy_wh),
            now: today.map_or(Wh(0), |line| line.energy_wh),
            before_price: then.or(today)?.price_e4,
            now_price: today.or(then)?.price_e4,
        });
    }
    Some(layers)
}

/// The layers of a single rate: all energy at the price of the lowest tier that either bill has, and above it what each
/// higher tier costs more.
fn tier_layers(before: &Billed<'_>, now: &Billed<'_>) -> Option<Vec<Layer>> {
    let tiers = |bill: &Billed<'_>| -> Vec<u8> {
        let tier = |line: &BillLine| match line.kind {
            LineKind::Tier(tier) => Some(tier),
            _ => None,
        };
        bill.lines.iter().filter_map(tier).collect()
    };
    let mut all = [tiers(before), tiers(now)].concat();
    all.sort_unstable();
    all.dedup();
    let lowest = *all.first()?;
    let same_version = before.version == now.version;
    // One version has one price; another version's is known only where its own lines show it.
    let price = |bill: &Billed<'_>, other: &Billed<'_>, tier: u8| {
        let own = find(bill, LineKind::Tier(tier));
        let shown = own.or_else(|| find(other, LineKind::Tier(tier)).filter(|_| same_version));
        shown.map(|line| line.price_e4)
    };
    let base = (price(before, now, lowest)?, price(now, before, lowest)?);
    let mut layers = vec![Layer {
        tier: 0,
        period: None,
        before: before.energy_wh,
        now: now.energy_wh,
        before_price: base.0,
        now_price: base.1,
    }];
    for tier in all.into_iter().skip(1) {
        let energy = |bill| find(bill, LineKind::Tier(tier)).map_or(Wh(0), |line| line.energy_wh);
        let beyond = |price: Option<PriceE4>, base: PriceE4| price.map(|price| price - base);
        let then = beyond(price(before, now, tier), base.0);
        let today = beyond(price(now, before, tier), base.1);
        layers.push(Layer {
            tier,
            period: None,
            before: energy(before),
            now: energy(now),
            before_price: then.or(today)?,
            now_price: today.or(then)?,
        });
    }
    Some(layers)
}

fn find<'a>(bill: &Billed<'a>, kind: LineKind) -> Option<&'a BillLine> {
    bill.lines.iter().find(|line| line.kind == kind)
}

/// A part for each tier of which more or less was used, at the price it had.
fn tier_parts(layers: &[Layer], push: &mut impl FnMut(Cause, Fen)) {
    let mut tiers: Vec<u8> = layers.iter().map(|layer| layer.tier).filter(|tier| *tier > 0).collect();
    tiers.sort_unstable();
    tiers.dedup();
    for tier in tiers {
        let own = || layers.iter().filter(move |layer| layer.tier == tier);
        let change: i128 = own()
            .map(|layer| {
                let more = i128::from(layer.now.0) - i128::from(layer.before.0);
                more * i128::from(layer.before_price.0)
            })
            .sum();
        let first = own().map(|layer| layer.before_price).next();
        let cause = Cause::Tier {
            tier,
            before_wh: own().map(|layer| layer.before).sum(),
            now_wh: own().map(|layer| layer.now).sum(),
            price_e4: first.filter(|price| own().all(|layer| layer.before_price == *price)),
        };
        push(cause, fen(change, 1));
    }
}

/// What it makes that the later month's use falls otherwise over the periods of the day, at the prices they had.
fn mix_part(layers: &[Layer], value: Average, push: &mut impl FnMut(Cause, Fen)) {
    let base = || layers.iter().filter(|layer| layer.is_base());
    let Some(dearest) = base().max_by_key(|layer| layer.before_price) else { return };
    let Some(period) = dearest.period else { return };
    let (mut cost_now, mut before, mut now) = (0i128, 0i128, 0i128);
    for layer in base() {
        cost_now += cost(layer.now, layer.before_price);
        before += i128::from(layer.before.0);
        now += i128::from(layer.now.0);
    }
    let share = |part: Wh, all: i128| {
        u16::try_from(rounded(i128::from(part.0) * 1000, all.max(1)).clamp(0, 1000)).unwrap_or(1000)
    };
    let cause = Cause::PeriodMix {
        period,
        before_per_mille: share(dearest.before, before),
        now_per_mille: share(dearest.now, now),
    };
    push(cause, fen(cost_now * value.energy - now * value.cost, value.energy));
}

/// What the later month's use costs more because prices are others.
fn price_part(layers: &[Layer], before: &Billed<'_>, now: &Billed<'_>, push: &mut impl FnMut(Cause, Fen)) {
    let change: i128 = layers
        .iter()
        .map(|layer| cost(layer.now, layer.now_price) - cost(layer.now, layer.before_price))
        .sum();
    let changed = |line: &BillLine| {
        let then = find(before, line.kind)?;
        (then.price_e4 != line.price_e4).then_some(PriceChange {
            kind: line.kind,
            before_e4: then.price_e4,
            now_e4: line.price_e4,
        })
    };
    push(Cause::Price { changes: now.lines.iter().filter_map(changed).collect() }, fen(change, 1));
}

fn cost(energy: Wh, price: PriceE4) -> i128 {
    i128::from(energy.0) * i128::from(price.0)
}

/// `numerator / denominator` (which is positive), half away from zero.
fn rounded(numerator: i128, denominator: i128) -> i128 {
    let half = denominator / 2 * numerator.signum();
    (numerator + half) / denominator
}

/// An exact cost, over `divisor`, in fen.
fn fen(exact: i128, divisor: i128) -> Fen {
    Fen(narrow(rounded(exact, divisor * PER_FEN)))
}

fn narrow(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests;
