//! Why a bill differs from the one before: sentences that follow from the bill itself, and say nothing else.
use protocol::catalogue::replies::{BillGet, MonthAmount};
use web::{
    Format,
    domain::{
        calendar::Month,
        money::{Fen, PriceE4, Wh},
        tariff::TierPeriod,
    },
    words,
};

use super::words::{Words, tier_name};

/// Differences of the average price below this are rounding, not news, in 1e-4 yuan per kWh.
const PRICE_NEWS_E4: i64 = 20;

/// The sentences, the most telling first; none where there is no bill of the month before.
pub(super) fn sentences(w: &Words, f: Format, zh: bool, bill: &BillGet) -> Vec<String> {
    let month = bill.bill.month;
    let Some(before) = bill.history.iter().find(|m| m.month == month.prev()) else { return Vec::new() };
    let amount = bill.bill.amount_fen;
    let mut said = vec![amount_sentence(w, f, amount, before)];
    said.extend(energy_sentence(w, f, bill.bill.energy_wh, before));
    said.extend(days_sentence(w, month));
    said.extend(new_year_sentence(w, bill));
    said.extend(tier_sentence(w, f, zh, bill));
    said.extend(price_sentence(w, f, bill, before));
    said
}

fn amount_sentence(w: &Words, f: Format, amount: Fen, before: &MonthAmount) -> String {
    let month = f.month(before.month);
    match amount.0.cmp(&before.amount_fen.0) {
        std::cmp::Ordering::Greater => {
            words::fill(w.why_more, &[&f.money(amount - before.amount_fen), &month])
        }
        std::cmp::Ordering::Less => words::fill(w.why_less, &[&f.money(before.amount_fen - amount), &month]),
        std::cmp::Ordering::Equal => words::fill(w.why_same, &[&month]),
    }
}

fn energy_sentence(w: &Words, f: Format, energy: Wh, before: &MonthAmount) -> Option<String> {
    let change = f.percent_change(energy.0, before.energy_wh.0)?;
    let difference = energy - before.energy_wh;
    match difference.0 {
        0 => None,
        1.. => Some(words::fill(w.why_used_more, &[&f.energy(difference), &format_args!("+{change}%")])),
        _ => Some(words::fill(w.why_used_less, &[&f.energy(-difference), &format_args!("−{}%", -change)])),
    }
}

fn days_sentence(w: &Words, month: Month) -> Option<String> {
    let (days, before) = (month.days(), month.prev().days());
    (days != before).then(|| words::fill(w.why_days, &[&days, &before]))
}

/// In January tiers that count over the year begin anew, which is why it may cost less than December did.
fn new_year_sentence(w: &Words, bill: &BillGet) -> Option<String> {
    let begins = bill.tariff.tier_period == TierPeriod::Year && bill.bill.month.month() == 1;
    (begins && !bill.tier_limits_wh.is_empty()).then(|| w.why_new_year.to_owned())
}

/// Which tier the month's use began and ended in.
fn tier_sentence(w: &Words, f: Format, zh: bool, bill: &BillGet) -> Option<String> {
    let limits = &bill.tier_limits_wh;
    let start = bill.used_before_wh;
    let end = Wh(start.0.saturating_add(bill.bill.energy_wh.0));
    // Energy up to and including a limit is in its tier.
    let crossed = limits.iter().enumerate().rev().find(|(_, limit)| start < **limit && end > **limit);
    if let Some((index, limit)) = crossed {
        let tier = tier_name(w, zh, u8::try_from(index + 2).ok()?);
        return Some(words::fill(w.why_crossed, &[&f.energy(*limit), &f.energy(end - *limit), &tier]));
    }
    let below = limits.iter().filter(|limit| start >= **limit).count();
    (below > 0)
        .then(|| words::fill(w.why_all_in, &[&tier_name(w, zh, u8::try_from(below + 1).unwrap_or(u8::MAX))]))
}

fn price_sentence(w: &Words, f: Format, bill: &BillGet, before: &MonthAmount) -> Option<String> {
    let now = average_price(bill.bill.amount_fen, bill.bill.energy_wh)?;
    let then = average_price(before.amount_fen, before.energy_wh)?;
    let is_news = (now.0 - then.0).abs() >= PRICE_NEWS_E4;
    is_news.then(|| words::fill(w.why_price, &[&f.price(now), &f.price(then)]))
}

/// Yuan per kWh, rounded half up; `None` where nothing was used.
fn average_price(amount: Fen, energy: Wh) -> Option<PriceE4> {
    if energy.0 <= 0 || amount.0 < 0 {
        return None;
    }
    // price_e4 = fen × 100 000 / Wh
    let exact = (i128::from(amount.0) * 100_000 + i128::from(energy.0) / 2) / i128::from(energy.0);
    i64::try_from(exact).ok().map(PriceE4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_price_is_that_of_a_single_rate() {
        assert_eq!(average_price(Fen(23_067), Wh(428_756)), Some(PriceE4(5380)));
        assert_eq!(average_price(Fen(0), Wh(0)), None);
    }
}
