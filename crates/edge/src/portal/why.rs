//! Why a bill differs from the one before and from last year's: the center's decomposition in words and as a table.
//!
//! Nothing is worked out here: each number is one of the decomposition's, whose parts sum to the difference.
use protocol::catalogue::replies::BillGet;
use web::{
    Format,
    domain::{
        billing::{Cause, Explanation, LineKind, Part, PriceChange},
        money::{Fen, Wh},
        tariff::{PeriodName, TierPeriod},
    },
    words,
};

use super::words::{Words, tier_name};

/// What the page says about it.
pub(super) struct Why {
    /// Against the bill before, then against last year's.
    pub(super) compared: Vec<Compared>,
    pub(super) table: Table,
}

/// One comparison: how much it differs and what made most of it, then each reason in a sentence.
pub(super) struct Compared {
    pub(super) headline: String,
    pub(super) reasons: Vec<String>,
}

/// The parts as numbers: a column for each bill compared with.
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<(String, Vec<String>)>,
    pub(super) total: Vec<String>,
}

/// How one language says it.
#[derive(Clone, Copy)]
pub(super) struct Voice {
    pub(super) w: &'static Words,
    pub(super) f: Format,
    pub(super) zh: bool,
}

/// `None` where there is no earlier bill to compare with.
pub(super) fn why(voice: Voice, bill: &BillGet) -> Option<Why> {
    let last_year = bill.against_last_year.as_ref();
    let previous = bill.against_previous.as_ref();
    let other_year = last_year.filter(|year| previous.is_none_or(|previous| previous.month != year.month));
    let compared: Vec<&Explanation> = previous.into_iter().chain(other_year).collect();
    if compared.is_empty() {
        return None;
    }
    let told = |explained: &&Explanation| {
        let is_previous = previous.is_some_and(|previous| previous.month == explained.month);
        Compared { headline: voice.headline(explained), reasons: voice.reasons(bill, explained, is_previous) }
    };
    Some(Why { compared: compared.iter().map(told).collect(), table: voice.table(&compared) })
}

impl Voice {
    /// How much it differs, and what made most of it.
    fn headline(self, explained: &Explanation) -> String {
        let mainly = main_part(explained).map(|part| {
            let reason = words::fill(self.w.why_mainly, &[&self.briefly(part)]);
            if self.zh { reason } else { format!(" {reason}") }
        });
        self.amount(explained) + &mainly.unwrap_or_default()
    }

    /// A part's cause in a few words, by what it did to the bill.
    fn briefly(self, part: &Part) -> &'static str {
        let (w, is_more) = (self.w, part.amount_fen.0 > 0);
        let by_sign = |more, less| if is_more { more } else { less };
        match &part.cause {
            Cause::Days { .. } => by_sign(w.main_days_more, w.main_days_less),
            Cause::DailyUse { .. } => by_sign(w.main_daily_more, w.main_daily_less),
            Cause::Tier { .. } => by_sign(w.main_tier_more, w.main_tier_less),
            Cause::PeriodMix { .. } => by_sign(w.main_mix_more, w.main_mix_less),
            Cause::Price { .. } => by_sign(w.main_price_more, w.main_price_less),
            Cause::Tariff { .. } => w.main_tariff,
            Cause::Rounding => w.main_rounding,
        }
    }

    fn reasons(self, bill: &BillGet, explained: &Explanation, is_previous: bool) -> Vec<String> {
        let mut said: Vec<String> = self.energy(bill.bill.energy_wh, explained).into_iter().collect();
        said.extend(self.new_year(bill).filter(|_| is_previous));
        // Said once, before what fell into the tier.
        let mut crossed = self.crossed(bill).filter(|_| is_previous);
        for part in telling(&explained.parts) {
            if matches!(part.cause, Cause::Tier { .. }) {
                said.extend(crossed.take());
            }
            said.push(self.part(part));
        }
        said
    }

    fn amount(self, explained: &Explanation) -> String {
        let (w, f) = (self.w, self.f);
        let (difference, month) = (explained.difference_fen, f.month(explained.month));
        match difference.0 {
            0 => words::fill(w.why_same, &[&month]),
            1.. => words::fill(w.why_more, &[&f.money(difference), &month]),
            _ => words::fill(w.why_less, &[&f.money(-difference), &month]),
        }
    }

    fn energy(self, energy: Wh, explained: &Explanation) -> Option<String> {
        let (w, f) = (self.w, self.f);
        let difference = energy - explained.energy_wh;
        let change = f.percent_change(energy.0, explained.energy_wh.0)?;
        match difference.0 {
            0 => None,
            1.. => {
                let change = format_args!("+{change}%").to_string();
                Some(words::fill(w.why_used_more, &[&f.energy_full(difference), &change]))
            }
            _ => {
                let change = format_args!("−{}%", -change).to_string();
                Some(words::fill(w.why_used_less, &[&f.energy_full(-difference), &change]))
            }
        }
    }

    /// In January tiers that count over the year begin anew, which is why it may cost less than December did.
    fn new_year(self, bill: &BillGet) -> Option<String> {
        let begins = bill.tariff.tier_period == TierPeriod::Year && bill.bill.month.month() == 1;
        (begins && !bill.tier_limits_wh.is_empty()).then(|| self.w.why_new_year.to_owned())
    }

    /// Which limit the month's use passed: energy up to and including a limit is in its tier.
    fn crossed(self, bill: &BillGet) -> Option<String> {
        let start = bill.used_before_wh;
        let end = Wh(start.0.saturating_add(bill.bill.energy_wh.0));
        let limit = bill.tier_limits_wh.iter().rev().find(|limit| start < **limit && end > **limit)?;
        Some(words::fill(self.w.why_crossed, &[&self.f.energy(*limit)]))
    }

    /// What a part does to the bill: `adds ¥3.80`.
    fn effect(self, amount: Fen) -> String {
        let (w, f) = (self.w, self.f);
        if amount.0 < 0 {
            words::fill(w.why_saves, &[&f.money(-amount)])
        } else {
            words::fill(w.why_adds, &[&f.money(amount)])
        }
    }

    fn part(self, part: &Part) -> String {
        let (w, f) = (self.w, self.f);
        let effect = self.effect(part.amount_fen);
        match &part.cause {
            Cause::Days { before, now, .. } => words::fill(w.why_days, &[now, before, &effect]),
            Cause::DailyUse { before_wh, now_wh, .. } => {
                words::fill(w.why_daily, &[&f.energy(*now_wh), &f.energy(*before_wh), &effect])
            }
            Cause::Tier { tier, before_wh, now_wh, price_e4 } => {
                let tier = tier_name(w, self.zh, *tier);
                let at = price_e4.map(|price| words::fill(w.why_at_more, &[&f.price(price)]));
                let at = at.unwrap_or_default();
                let (before, now) = (f.energy_full(*before_wh), f.energy_full(*now_wh));
                match (before_wh.0, now_wh.0) {
                    (0, _) => words::fill(w.why_tier_new, &[&now, &tier, &at, &effect]),
                    (_, 0) => words::fill(w.why_tier_none, &[&tier, &before, &at, &effect]),
                    _ => words::fill(w.why_tier, &[&now, &tier, &before, &at, &effect]),
                }
            }
            Cause::PeriodMix { period, before_per_mille, now_per_mille } => {
                let share = |per_mille: u16| format!("{}.{}%", per_mille / 10, per_mille % 10);
                let period = self.period_within(*period);
                words::fill(w.why_mix, &[&share(*now_per_mille), &period, &share(*before_per_mille), &effect])
            }
            Cause::Price { changes } => {
                let change = |change: &PriceChange| {
                    let PriceChange { kind, before_e4, now_e4 } = change;
                    format!("{} {} → {}", self.kind(*kind), f.price(*before_e4), f.price(*now_e4))
                };
                let changes: Vec<String> = changes.iter().map(change).collect();
                words::fill(w.why_price, &[&changes.join(if self.zh { "，" } else { ", " }), &effect])
            }
            Cause::Tariff { before_e4, now_e4 } => {
                words::fill(w.why_tariff, &[&f.price(*now_e4), &f.price(*before_e4), &effect])
            }
            Cause::Rounding => words::fill(w.why_rounding, &[&self.signed(part.amount_fen)]),
        }
    }

    /// A period's name within a sentence.
    fn period_within(self, period: PeriodName) -> String {
        period_name(self.w, period).to_lowercase()
    }

    fn kind(self, kind: LineKind) -> String {
        let (w, named) = (self.w, |tier| tier_name(self.w, self.zh, tier));
        match kind {
            LineKind::Tier(tier) => named(tier),
            LineKind::Period(period) => period_name(w, period).to_owned(),
            LineKind::Surcharge { tier, period: None } => words::fill(w.surcharge_of, &[&named(tier)]),
            LineKind::Surcharge { tier, period: Some(period) } => {
                words::fill(w.surcharge_of_period, &[&named(tier), &period_name(w, period)])
            }
        }
    }

    fn table(self, compared: &[&Explanation]) -> Table {
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        for (column, explained) in compared.iter().enumerate() {
            for part in &explained.parts {
                let label = self.label(&part.cause);
                let at = rows.iter().position(|(known, _)| *known == label).unwrap_or_else(|| {
                    rows.push((label, vec!["0".to_owned(); compared.len()]));
                    rows.len() - 1
                });
                rows[at].1[column] = self.signed(part.amount_fen);
            }
        }
        // Rounding is what is left over, whichever bill has it.
        let rounding = self.label(&Cause::Rounding);
        rows.sort_by_key(|(label, _)| *label == rounding);
        let against =
            |explained: &&Explanation| words::fill(self.w.why_against, &[&self.f.month(explained.month)]);
        Table {
            head: compared.iter().map(against).collect(),
            rows,
            total: compared.iter().map(|explained| self.signed(explained.difference_fen)).collect(),
        }
    }

    fn label(self, cause: &Cause) -> String {
        let w = self.w;
        match cause {
            Cause::Days { .. } => w.part_days.to_owned(),
            Cause::DailyUse { .. } => w.part_daily.to_owned(),
            Cause::Tier { tier, .. } => tier_name(w, self.zh, *tier),
            Cause::PeriodMix { .. } => w.part_mix.to_owned(),
            Cause::Price { .. } => w.part_price.to_owned(),
            Cause::Tariff { .. } => w.part_tariff.to_owned(),
            Cause::Rounding => w.part_rounding.to_owned(),
        }
    }

    fn signed(self, amount: Fen) -> String {
        let plus = if amount.0 > 0 { "+" } else { "" };
        format!("{plus}{}", self.f.money(amount))
    }
}

/// The part that made most of the difference, in its direction; `None` where there is no difference.
fn main_part(explained: &Explanation) -> Option<&Part> {
    let sign = explained.difference_fen.0.signum();
    let same_way = explained.parts.iter().filter(|part| sign != 0 && part.amount_fen.0.signum() == sign);
    same_way.max_by_key(|part| part.amount_fen.0.abs())
}

/// Parts below this say nothing in words, where there are others; the table has them all.
const TELLING_FEN: i64 = 10;

/// The parts that are worth a sentence.
fn telling(parts: &[Part]) -> impl Iterator<Item = &Part> {
    let tells = |part: &&Part| part.amount_fen.0.abs() >= TELLING_FEN;
    let any = parts.iter().any(|part| tells(&part));
    parts.iter().filter(move |part| !any || tells(part))
}

/// A period of the day, as a line of a bill names it.
pub(super) fn period_name(w: &Words, period: PeriodName) -> &'static str {
    match period {
        PeriodName::Sharp => w.period_sharp,
        PeriodName::Peak => w.period_peak,
        PeriodName::Flat => w.period_flat,
        PeriodName::Valley => w.period_valley,
    }
}

#[cfg(test)]
mod tests {
    use web::{Language, domain::money::PriceE4};

    use super::*;

    fn voice(language: Language) -> Voice {
        Voice { w: Words::of(language), f: Format::of(language), zh: language == Language::Zh }
    }

    fn said(cause: Cause, amount: i64) -> (String, String) {
        let part = Part { cause, amount_fen: Fen(amount) };
        (voice(Language::En).part(&part), voice(Language::Zh).part(&part))
    }

    #[test]
    fn what_is_hardly_anything_is_left_to_the_table() {
        let parts = |amounts: &[i64]| -> Vec<Part> {
            let part = |amount: &i64| Part { cause: Cause::Rounding, amount_fen: Fen(*amount) };
            amounts.iter().map(part).collect()
        };
        let told = |amounts: &[i64]| -> Vec<i64> {
            telling(&parts(amounts)).map(|part| part.amount_fen.0).collect()
        };
        assert_eq!(told(&[661, -9, 10, -10, 1]), [661, 10, -10]);
        assert_eq!(told(&[-9, 1]), [-9, 1], "unless there is nothing else");
        assert!(told(&[]).is_empty());
    }

    #[test]
    fn the_headline_names_what_made_most_of_the_difference() {
        let part = |cause, amount| Part { cause, amount_fen: Fen(amount) };
        let daily = Cause::DailyUse { before_wh: Wh(9200), now_wh: Wh(6300), energy_wh: Wh(-90_000) };
        let days = Cause::Days { before: 30, now: 31, energy_wh: Wh(9200) };
        let mut explained = Explanation {
            month: "2026-09".parse().unwrap(),
            energy_wh: Wh(276_000),
            amount_fen: Fen(14_827),
            difference_fen: Fen(-4052),
            parts: vec![part(days, 494), part(daily, -4790), part(Cause::Rounding, 244)],
        };
        let headline = |explained: &Explanation, language| voice(language).headline(explained);
        assert_eq!(
            headline(&explained, Language::En),
            "¥40.52 less than the bill for Sep 2026. Mainly because you used less electricity a day."
        );
        // Dates hold together by marks that are not seen.
        assert_eq!(
            headline(&explained, Language::Zh).replace('\u{2060}', ""),
            "比2026年9月账单少 40.52 元。主要原因：日均用电减少。"
        );
        (explained.difference_fen, explained.parts[0].amount_fen) = (Fen(5000), Fen(9546));
        assert!(headline(&explained, Language::En).ends_with("Mainly because it covers more days."));
        explained.difference_fen = Fen(0);
        assert_eq!(headline(&explained, Language::En), "The same amount as the bill for Sep 2026.");
    }

    #[test]
    fn each_reason_is_said_in_plain_words() {
        let tier = |before, now| Cause::Tier {
            tier: 2,
            before_wh: Wh(before),
            now_wh: Wh(now),
            price_e4: Some(PriceE4(500)),
        };
        let (en, zh) = said(tier(0, 76_000), 380);
        assert_eq!(en, "76 kWh of it fell into Tier 2, at ¥0.0500 more per kWh, which adds ¥3.80.");
        assert_eq!(zh, "其中 76 度进入第二档，每度加价 0.0500 元，电费增加 3.80 元。");
        let (en, zh) = said(tier(300_000, 0), -1500);
        assert_eq!(
            en,
            "Nothing fell into Tier 2 (before: 300 kWh), at ¥0.0500 more per kWh, which saves ¥15.00."
        );
        assert_eq!(zh, "本期用电未进入第二档（对比期有 300 度），每度加价 0.0500 元，电费减少 15.00 元。");
        let (en, zh) = said(Cause::Days { before: 30, now: 31, energy_wh: Wh(12_300) }, 661);
        assert_eq!(en, "It covers 31 days instead of 30, which adds ¥6.61.");
        assert_eq!(zh, "计费天数为 31 天（对比期 30 天），电费增加 6.61 元。");
        let mix = Cause::PeriodMix { period: PeriodName::Peak, before_per_mille: 580, now_per_mille: 624 };
        let (en, zh) = said(mix, 210);
        assert_eq!(en, "62.4% of it was used in peak hours instead of 58.0%, which adds ¥2.10.");
        assert_eq!(zh, "峰段用电占 62.4%（对比期 58.0%），电费增加 2.10 元。");
        let change = PriceChange { kind: LineKind::Tier(1), before_e4: PriceE4(5380), now_e4: PriceE4(5480) };
        let (en, _) = said(Cause::Price { changes: vec![change] }, 100);
        assert_eq!(en, "Prices changed (Tier 1 ¥0.5380 → ¥0.5480), which adds ¥1.00.");
        let (en, zh) = said(Cause::Rounding, -1);
        assert_eq!((en.as_str(), zh.as_str()), ("Rounding to the fen: -¥0.01.", "四舍五入差额 -0.01 元。"));
    }
}
