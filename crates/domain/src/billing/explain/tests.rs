//! The parts of a difference against a calculation of their own: from energy and prices, in floating point, by hand.
use proptest::prelude::*;

use super::*;
use crate::billing::{BillDraft, BillInput, BillTerms, bill};
use crate::tariff::{Prices, Tariff, TariffBook};
use crate::usage::UsageMonth;

const IDS: [&str; 6] = [
    "zj-residential",
    "zj-residential-tou",
    "gz-residential",
    "bj-residential",
    "sh-residential",
    "sh-residential-tou",
];

/// A month's use: energy at 10:00 (peak everywhere) and at 23:00 (valley everywhere), and what was used before.
#[derive(Clone, Copy, Debug)]
struct Use {
    month: Month,
    peak: i64,
    valley: i64,
    used: i64,
}

impl Use {
    fn total(&self) -> f64 {
        (self.peak + self.valley) as f64
    }

    fn days(&self) -> f64 {
        f64::from(self.month.days())
    }

    fn bill(&self, tariff: &Tariff) -> BillDraft {
        let mut hours = [Wh(0); 24];
        (hours[10], hours[23]) = (Wh(self.peak), Wh(self.valley));
        let usage = UsageMonth::from_hours(self.month, hours);
        let terms = BillTerms::default();
        bill(&BillInput { tariff, usage: &usage, used_before_wh: Wh(self.used), terms }).unwrap()
    }
}

fn explained(before: &BillDraft, now: &BillDraft) -> Explanation {
    fn billed(draft: &BillDraft) -> Billed<'_> {
        Billed {
            month: draft.period,
            tariff: &draft.tariff,
            version: draft.version,
            energy_wh: draft.energy_wh,
            amount_fen: draft.amount_fen,
            lines: &draft.lines,
        }
    }
    explain(&billed(before), &billed(now))
}

/// What each tier of a month holds, kWh.
fn tiers(tariff: &Tariff, of: &Use) -> Vec<f64> {
    let version = tariff.version_named(of.month.first_day()).unwrap();
    let by_month = version.tier_period == crate::tariff::TierPeriod::Month;
    let season = version.seasons.iter().find(|s| s.months.contains(&of.month.month())).unwrap();
    let from = if by_month { 0.0 } else { of.used as f64 / 1000.0 };
    let to = from + of.total() / 1000.0;
    let mut low = 0.0;
    let mut parts = Vec::new();
    for limit in season.tier_limits_kwh.iter().map(|kwh| *kwh as f64).chain([f64::INFINITY]) {
        parts.push((to.min(limit) - from.max(low)).max(0.0));
        low = limit;
    }
    parts
}

/// Yuan by reason: days, daily use, tiers (by number), mix; with one version of the prices.
fn by_hand(tariff: &Tariff, before: &Use, now: &Use) -> (f64, f64, Vec<(u8, f64)>, f64) {
    let (then, today) = (tiers(tariff, before), tiers(tariff, now));
    let yuan = |price: PriceE4| price.0 as f64 / 10_000.0;
    let kwh = |wh: i64| wh as f64 / 1000.0;
    let more_by_days = before.total() / before.days() * (now.days() - before.days()) / 1000.0;
    let more_by_use = (now.total() / now.days() - before.total() / before.days()) * now.days() / 1000.0;
    match &tariff.versions[0].prices {
        Prices::Single { tier_e4 } => {
            // A month without use has a line of the first tier.
            let empty = before.total() == 0.0 || now.total() == 0.0;
            let lowest = if empty { 0 } else { (0..3).find(|t| then[*t] + today[*t] > 0.0).unwrap_or(0) };
            let base = yuan(tier_e4[lowest]);
            let above = (lowest + 1..tier_e4.len())
                .map(|t| (t as u8 + 1, (today[t] - then[t]) * (yuan(tier_e4[t]) - base)))
                .collect();
            (more_by_days * base, more_by_use * base, above, 0.0)
        }
        Prices::TimeOfUse { periods } => {
            let price = |period: usize, tier: usize| yuan(periods[period].tier_e4[tier]);
            let share = |of: &Use| if of.total() > 0.0 { of.peak as f64 / of.total() } else { 0.0 };
            let first = if before.total() > 0.0 { share(before) } else { share(now) };
            let average = first * price(0, 0) + (1.0 - first) * price(1, 0);
            let mix =
                kwh(now.peak) * price(0, 0) + kwh(now.valley) * price(1, 0) - now.total() / 1000.0 * average;
            let beyond = |of: &Use, parts: &[f64], tier: usize| {
                let share = share(of);
                let peak = price(0, tier) - price(0, 0);
                let valley = price(1, tier) - price(1, 0);
                parts[tier] * (share * peak + (1.0 - share) * valley)
            };
            let above = (1..then.len())
                .map(|t| (t as u8 + 1, beyond(now, &today, t) - beyond(before, &then, t)))
                .collect();
            (more_by_days * average, more_by_use * average, above, mix)
        }
    }
}

fn any_use() -> impl Strategy<Value = Use> {
    let energy = || prop_oneof![8 => 0i64..900_000, 1 => Just(0i64), 1 => 0i64..4_000_000];
    (1i8..=12, 2023i16..2026, energy(), energy(), 0i64..6_000_000).prop_map(
        |(month, year, peak, valley, used)| Use {
            month: Month::new(year, month).unwrap(),
            peak,
            valley,
            used,
        },
    )
}

fn amount(explained: &Explanation, wanted: impl Fn(&Cause) -> bool) -> f64 {
    let parts = explained.parts.iter().filter(|part| wanted(&part.cause));
    parts.map(|part| part.amount_fen.0 as f64 / 100.0).sum()
}

/// As near as rounding to a Wh and to a fen lets it be; a split of a tier over periods moves a Wh more.
fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.0105
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn parts_are_what_one_works_out_by_hand(
        id in prop::sample::select(IDS.to_vec()),
        before in any_use(),
        now in any_use(),
    ) {
        let tariff = TariffBook::published().get(id).unwrap();
        let (first, second) = (before.bill(tariff), now.bill(tariff));
        let explained = explained(&first, &second);
        let parts = &explained.parts;
        prop_assert_eq!(explained.difference_fen, second.amount_fen - first.amount_fen);
        prop_assert_eq!(parts.iter().map(|part| part.amount_fen).sum::<Fen>(), explained.difference_fen);
        prop_assert!(parts.iter().all(|part| part.amount_fen != Fen::ZERO));
        prop_assert_eq!((explained.energy_wh, explained.amount_fen), (first.energy_wh, first.amount_fen));

        let (days, daily, above, mix) = by_hand(tariff, &before, &now);
        let found = amount(&explained, |cause| matches!(cause, Cause::Days { .. }));
        prop_assert!(near(found, days), "days: {found} for {days}: {explained:?}");
        let found = amount(&explained, |cause| matches!(cause, Cause::DailyUse { .. }));
        prop_assert!(near(found, daily), "daily: {found} for {daily}: {explained:?}");
        for (tier, expected) in above {
            let found = amount(&explained, |c| matches!(c, Cause::Tier { tier: t, .. } if *t == tier));
            prop_assert!(near(found, expected), "tier {tier}: {found} for {expected}: {explained:?}");
        }
        let found = amount(&explained, |cause| matches!(cause, Cause::PeriodMix { .. }));
        prop_assert!(near(found, mix), "mix: {found} for {mix}: {explained:?}");
        let otherwise = parts.iter().any(|p| matches!(p.cause, Cause::Price { .. } | Cause::Tariff { .. }));
        prop_assert!(!otherwise, "{explained:?}");
        let rounding = amount(&explained, |cause| *cause == Cause::Rounding);
        let rounded = first.lines.len() + second.lines.len() + parts.len();
        prop_assert!(rounding.abs() * 100.0 <= rounded as f64 / 2.0, "{rounding}: {explained:?}");
        for part in parts {
            if let Cause::Days { energy_wh, .. } = part.cause {
                let rest = (second.energy_wh - first.energy_wh - energy_wh).0;
                let daily = parts.iter().find_map(|p| match p.cause {
                    Cause::DailyUse { energy_wh, .. } => Some(energy_wh.0),
                    _ => None,
                });
                prop_assert!(daily.is_none_or(|daily| daily == rest), "the energies sum up");
            }
        }
    }

    #[test]
    fn whatever_two_bills_they_are_the_parts_sum_up(
        ids in (prop::sample::select(IDS.to_vec()), prop::sample::select(IDS.to_vec())),
        before in any_use(),
        now in any_use(),
    ) {
        let tariff = |id| TariffBook::published().get(id).unwrap();
        let (first, second) = (before.bill(tariff(ids.0)), now.bill(tariff(ids.1)));
        let explained = explained(&first, &second);
        let sum: Fen = explained.parts.iter().map(|part| part.amount_fen).sum();
        prop_assert_eq!(sum, second.amount_fen - first.amount_fen);
        let tells_apart = explained.parts.iter().any(|p| matches!(p.cause, Cause::Tier { .. } | Cause::PeriodMix { .. }));
        prop_assert!(ids.0 == ids.1 || !tells_apart);
        let encoded = postcard::to_stdvec(&explained).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Explanation>(&encoded).unwrap(), explained);
    }
}

fn on(month: &str, peak: i64, valley: i64, used: i64) -> Use {
    Use { month: month.parse().unwrap(), peak, valley, used }
}

#[test]
fn a_crossed_tier_is_told_with_its_energy_and_price() {
    let tariff = TariffBook::published().get("zj-residential").unwrap();
    // 31 days each: 112 kWh more, 76 of them beyond the limit.
    let before = on("2026-07", 200_000, 124_000, 2_300_000).bill(tariff);
    let now = on("2026-08", 260_000, 176_000, 2_400_000).bill(tariff);
    let explained = explained(&before, &now);
    assert_eq!(
        explained.parts,
        [
            Part {
                cause: Cause::DailyUse { before_wh: Wh(10_452), now_wh: Wh(14_065), energy_wh: Wh(112_000) },
                amount_fen: Fen(6_026),
            },
            Part {
                cause: Cause::Tier {
                    tier: 2,
                    before_wh: Wh(0),
                    now_wh: Wh(76_000),
                    price_e4: Some(PriceE4(500)),
                },
                amount_fen: Fen(380),
            },
        ]
    );
    assert_eq!(explained.difference_fen, Fen(6_406));
}

const TWO_VERSIONS: &str = r#"
[[tariff]]
id = "x"
name_en = "x"
name_zh = "x"
place_en = "x"
place_zh = "x"
division = "33"
source_en = "x"
source_zh = "样例"
[[tariff.versions]]
valid_from = "2006-01-01"
valid_from_confirmed = true
tier_period = "year"
tier_limits_kwh = [2760, 4800]
tier_e4 = [5000, 6000, 9000]
[[tariff.versions]]
valid_from = "2026-08-01"
valid_from_confirmed = true
tier_period = "year"
tier_limits_kwh = [2760, 4800]
tier_e4 = [5200, 6400, 9000]
"#;

#[test]
fn a_new_price_is_a_part_of_its_own() {
    let book = TariffBook::from_toml(TWO_VERSIONS).unwrap();
    let tariff = book.get("x").unwrap();
    let before = on("2026-07", 100_000, 0, 0).bill(tariff);
    let now = on("2026-08", 100_000, 0, 100_000).bill(tariff);
    let change = PriceChange { kind: LineKind::Tier(1), before_e4: PriceE4(5000), now_e4: PriceE4(5200) };
    assert_eq!(
        explained(&before, &now).parts,
        [Part { cause: Cause::Price { changes: vec![change] }, amount_fen: Fen(200) }]
    );
    // Into the second tier: its surcharge is the new version's own, 0.12 yuan.
    let now = on("2026-08", 100_000, 0, 2_700_000).bill(tariff);
    let tier = Cause::Tier { tier: 2, before_wh: Wh(0), now_wh: Wh(40_000), price_e4: Some(PriceE4(1200)) };
    assert_eq!(
        explained(&before, &now).parts,
        [
            Part { cause: tier, amount_fen: Fen(480) },
            Part { cause: Cause::Price { changes: vec![change] }, amount_fen: Fen(200) },
        ]
    );
    // All of it in the second: no line shows the new price of the first.
    let now = on("2026-08", 100_000, 0, 3_000_000).bill(tariff);
    let tariff = Cause::Tariff { before_e4: PriceE4(5000), now_e4: PriceE4(6400) };
    assert_eq!(explained(&before, &now).parts, [Part { cause: tariff, amount_fen: Fen(1400) }]);
}

#[test]
fn months_without_use_are_explained_too() {
    for id in IDS {
        let tariff = TariffBook::published().get(id).unwrap();
        let (none, some) = (on("2026-02", 0, 0, 3_000_000), on("2026-03", 70_000, 30_000, 3_000_000));
        let (none, some) = (none.bill(tariff), some.bill(tariff));
        for (first, second) in [(&none, &some), (&some, &none), (&none, &none)] {
            let explained = explained(first, second);
            let sum: Fen = explained.parts.iter().map(|part| part.amount_fen).sum();
            assert_eq!(sum, second.amount_fen - first.amount_fen, "{id}");
        }
    }
}
