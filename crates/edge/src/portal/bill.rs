//! One bill: what, why, how it comes about, what it would be otherwise, and where the rules are published.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{
    BillId,
    catalogue::{
        replies::{AlternativeBill, BillGet, BillState, MonthAmount, TariffBrief},
        requests,
    },
};
use web::{
    chart::{Bars, Column},
    domain::{
        billing::{BillLine, LineKind, LineNote},
        money::{Fen, PriceE4, Wh},
    },
    words,
};

use super::{
    bills::StateTag,
    exports::ExportWords,
    shell::{Shell, Tab, figure},
    visit::{Made, Page, Stop, Visit},
    why::{self, Voice, Why, period_name},
    words::tier_name,
};

#[derive(Template)]
#[template(path = "bill.html")]
struct Bill {
    shell: Shell,
    account: String,
    holder: String,
    address: String,
    title: String,
    amount: String,
    state: StateTag,
    period: String,
    days: String,
    energy: String,
    issued: String,
    standing: String,
    late_fee: Option<String>,
    pay_href: Option<String>,
    x: &'static ExportWords,
    /// Whether there is an invoice of it.
    has_invoice: bool,
    account_number: String,
    why: Option<Why>,
    receipt: Receipt,
    formulas: Vec<String>,
    tiers_used: Option<String>,
    history: Option<String>,
    whatif: Option<WhatIf>,
    compare_href: String,
    hours: Option<String>,
    tariff: String,
    source: String,
    valid_from: String,
    tariff_note: Option<String>,
    limits: String,
    number: String,
}

/// A bill's lines in their groups.
pub(super) struct Receipt {
    pub(super) groups: Vec<Group>,
    pub(super) total: String,
}

pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) subtotal: Option<String>,
}

pub(super) struct Line {
    pub(super) name: String,
    pub(super) calculation: String,
    pub(super) amount: String,
    pub(super) note: Option<&'static str>,
}

struct WhatIf {
    own_tariff: String,
    own_amount: String,
    other_tariff: String,
    other_amount: String,
    verdict: String,
    tone: &'static str,
    receipt: Receipt,
}

/// `GET /bills/{id}`
pub(super) async fn page(mut visit: Visit, Path(id): Path<String>) -> Response {
    let made = make(&mut visit, &id).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit, id: &str) -> Made {
    let bill: BillId = id.parse().map_err(|_| Stop::NotFound)?;
    let chosen = visit.choose_account(Some(&bill.account.to_string())).await?;
    let reply = visit.read(requests::BillGet { bill }).await?;
    let whose = visit.read(requests::AccountSummary { account: bill.account }).await?;
    let (w, f) = (visit.w, visit.f);
    let head = &reply.bill;
    let title = words::fill(w.bill_title, &[&f.month(head.month)]);
    let left = head.amount_fen - head.paid_fen;
    let late_fee_left = head.late_fee_fen - head.late_fee_paid_fen;
    let is_open = head.state != BillState::Paid && left + late_fee_left > Fen::ZERO;
    let late_fee = match head.state {
        BillState::Paid if head.late_fee_paid_fen > Fen::ZERO => {
            Some(words::fill(w.bill_late_fee_paid, &[&f.money(head.late_fee_paid_fen)]))
        }
        BillState::Paid => None,
        _ if late_fee_left > Fen::ZERO => Some(words::fill(
            w.bill_late_fee,
            &[&f.money(late_fee_left), &f.date(head.late_fee_on), &f.money(left + late_fee_left)],
        )),
        _ => None,
    };
    let standing = match head.state {
        BillState::Paid => w.bill_paid_all.to_owned(),
        _ if head.paid_fen > Fen::ZERO => {
            words::fill(w.bill_paid_part, &[&f.money(head.paid_fen), &f.money(left)])
        }
        BillState::Open => words::fill(w.bill_due, &[&f.date(head.due_on)]),
        BillState::Overdue => words::fill(w.bill_was_due, &[&f.date(head.due_on)]),
    };
    let end = Wh(reply.used_before_wh.0.saturating_add(head.energy_wh.0));
    let has_tiers = !reply.tier_limits_wh.is_empty();
    let page = Bill {
        shell: Shell::within(visit, &title, Tab::Bills, &chosen),
        title,
        account: f.account(bill.account),
        holder: whose.holder,
        address: whose.address,
        amount: figure(&f.amount(head.amount_fen), ""),
        state: StateTag::of(visit, head.state),
        period: words::fill(
            w.bill_period,
            &[&f.date(head.month.first_day()), &f.date(head.month.last_day())],
        ),
        days: words::fill(w.bill_days, &[&head.month.days()]),
        energy: f.energy_full(head.energy_wh),
        issued: words::fill(w.bill_issued, &[&f.date(head.issued_on)]),
        standing,
        late_fee,
        pay_href: is_open.then(|| format!("/pay?account={}", bill.account)),
        x: ExportWords::of(visit.language),
        has_invoice: head.state == BillState::Paid,
        account_number: bill.account.to_string(),
        why: why::why(Voice { w, f, zh: visit.is_zh() }, &reply),
        receipt: receipt(visit, &reply.lines, head.amount_fen, &reply.tier_limits_wh),
        formulas: reply.lines.iter().map(formula).collect(),
        tiers_used: has_tiers.then(|| {
            words::fill(w.check_tiers, &[&f.energy_full(reply.used_before_wh), &f.energy_full(end)])
        }),
        history: history(visit, &reply),
        whatif: reply.alternative.as_ref().map(|other| what_if(visit, &reply, other)),
        compare_href: format!("/tariffs?account={}", bill.account),
        hours: hours(visit, &reply.by_hour_wh),
        tariff: tariff_name(visit, &reply.tariff.brief),
        source: match (reply.tariff.source_date, visit.is_zh()) {
            (Some(date), true) => {
                words::fill(w.basis_source_dated, &[&reply.tariff.source_zh, &f.date(date)])
            }
            (Some(date), false) => {
                words::fill(w.basis_source_dated, &[&reply.tariff.source_en, &f.date(date)])
            }
            (None, true) => reply.tariff.source_zh.clone(),
            (None, false) => reply.tariff.source_en.clone(),
        },
        valid_from: if reply.tariff.valid_from_confirmed {
            f.date(reply.tariff.valid_from)
        } else {
            w.basis_from_unknown.to_owned()
        },
        tariff_note: if visit.is_zh() { reply.tariff.note_zh.clone() } else { reply.tariff.note_en.clone() },
        limits: reply.tier_limits_wh.iter().map(|limit| f.energy(*limit)).collect::<Vec<_>>().join(" / "),
        number: bill.to_string(),
    };
    Ok(Page::html(page.render()?))
}

/// A tariff's name in the customer's language.
pub(super) fn tariff_name(visit: &Visit, tariff: &TariffBrief) -> String {
    if visit.is_zh() { tariff.name_zh.clone() } else { tariff.name_en.clone() }
}

/// The lines in their groups: energy first, surcharges after it.
pub(super) fn receipt(visit: &Visit, lines: &[BillLine], total: Fen, limits: &[Wh]) -> Receipt {
    let (w, f) = (visit.w, visit.f);
    let group = |title: &'static str, belongs: fn(LineKind) -> bool| {
        let own: Vec<&BillLine> = lines.iter().filter(|line| belongs(line.kind)).collect();
        let sum: Fen = own.iter().map(|line| line.amount_fen).sum();
        Group {
            title,
            subtotal: (own.len() > 1 && own.len() < lines.len()).then(|| f.money(sum)),
            lines: own.into_iter().map(|line| receipt_line(visit, line, limits)).collect(),
        }
    };
    let groups = [
        group(w.lines_tiers, |kind| matches!(kind, LineKind::Tier(_))),
        group(w.lines_periods, |kind| matches!(kind, LineKind::Period(_))),
        group(w.lines_surcharge, LineKind::is_surcharge),
    ];
    Receipt {
        groups: groups.into_iter().filter(|group| !group.lines.is_empty()).collect(),
        total: f.money(total),
    }
}

fn receipt_line(visit: &Visit, line: &BillLine, limits: &[Wh]) -> Line {
    let f = visit.f;
    let BillLine { kind, energy_wh, price_e4, amount_fen, note } = line;
    Line {
        name: line_name(visit, *kind, limits),
        calculation: format!("{} × {}", f.energy_full(*energy_wh), f.price(*price_e4)),
        amount: f.money(*amount_fen),
        note: note.map(|LineNote::SplitProRata| visit.w.line_pro_rata),
    }
}

fn line_name(visit: &Visit, kind: LineKind, limits: &[Wh]) -> String {
    let (w, f) = (visit.w, visit.f);
    let named = |tier| tier_name(w, visit.is_zh(), tier);
    match kind {
        LineKind::Tier(_) if limits.is_empty() => w.tier_only.to_owned(),
        LineKind::Tier(tier) => {
            let upper = limits.get(usize::from(tier).wrapping_sub(1));
            let lower = limits.get(usize::from(tier).wrapping_sub(2));
            match (lower, upper) {
                (None, Some(upper)) => words::fill(w.tier_up_to, &[&named(tier), &f.energy(*upper)]),
                (Some(lower), Some(upper)) => {
                    words::fill(w.tier_between, &[&named(tier), &f.energy_round(*lower), &f.energy(*upper)])
                }
                (Some(lower), None) => words::fill(w.tier_over, &[&named(tier), &f.energy(*lower)]),
                (None, None) => named(tier),
            }
        }
        LineKind::Period(period) => period_name(w, period).to_owned(),
        LineKind::Surcharge { tier, period: None } => words::fill(w.surcharge_of, &[&named(tier)]),
        LineKind::Surcharge { tier, period: Some(period) } => {
            words::fill(w.surcharge_of_period, &[&named(tier), &period_name(w, period)])
        }
    }
}

/// A line as one would type it into a calculator: `428.756 × 0.5380 = 230.670728 → 230.67`.
fn formula(line: &BillLine) -> String {
    let BillLine { energy_wh, price_e4, amount_fen, .. } = line;
    let kwh = energy_wh.kwh().to_string();
    let kwh = kwh.trim_end_matches('0').trim_end_matches('.');
    format!("{kwh} × {price_e4} = {} → {amount_fen}", exact_product(*energy_wh, *price_e4))
}

/// Energy times price in yuan, exactly: seven decimals, needless zeros left out but for two.
fn exact_product(energy: Wh, price: PriceE4) -> String {
    let product = i128::from(energy.0) * i128::from(price.0);
    let (sign, product) = if product < 0 { ("-", -product) } else { ("", product) };
    let mut decimals = format!("{:07}", product % 10_000_000);
    while decimals.len() > 2 && decimals.ends_with('0') {
        decimals.pop();
    }
    format!("{sign}{}.{decimals}", product / 10_000_000)
}

fn history(visit: &Visit, bill: &BillGet) -> Option<String> {
    let (w, f) = (visit.w, visit.f);
    let (first, last) = (bill.history.first()?, bill.history.last()?);
    let highest = bill.history.iter().max_by_key(|month| month.amount_fen)?;
    let description = words::fill(
        w.history_desc,
        &[
            &f.month(first.month),
            &f.month(last.month),
            &f.money(bill.bill.amount_fen),
            &f.money(highest.amount_fen),
            &f.month(highest.month),
        ],
    );
    let count = bill.history.len();
    let column = |(index, month): (usize, &MonthAmount)| {
        let marked = month.month == bill.bill.month;
        let is_end = index == 0 || index + 1 == count;
        // The two ends may be the same month of two years; on a narrow page there is room for every second.
        let narrow = match (count - 1 - index) % 2 {
            0 if is_end => month.month.to_string()[2..].to_owned(),
            0 => month.month.month().to_string(),
            _ => String::new(),
        };
        Column {
            label: if is_end { f.month_of_year(month.month) } else { f.month_short(month.month) },
            label_narrow: narrow,
            hint: format!(
                "{} · {} · {}",
                f.month(month.month),
                f.money(month.amount_fen),
                f.energy(month.energy_wh)
            ),
            parts: vec![month.amount_fen.0],
            marked,
            value_label: (marked || month.month == highest.month).then(|| f.money(month.amount_fen)),
            link: None,
            row: vec![f.month(month.month), f.energy_full(month.energy_wh), f.money(month.amount_fen)],
            ..Column::default()
        }
    };
    let shared = web::words::SharedWords::of(visit.language);
    let bars = Bars {
        id: "history",
        title: w.history_title.to_owned(),
        description,
        unit: shared.yuan_axis,
        scale: 100,
        columns: bill.history.iter().enumerate().map(column).collect(),
        table_head: vec![shared.month.into(), shared.energy.into(), shared.amount.into()],
    };
    Some(bars.draw().html(shared))
}

fn what_if(visit: &Visit, bill: &BillGet, other: &AlternativeBill) -> WhatIf {
    let (w, f) = (visit.w, visit.f);
    let saved = bill.bill.amount_fen - other.amount_fen;
    let (verdict, tone) = match saved.0 {
        0 => (w.whatif_equal.to_owned(), ""),
        1.. => (words::fill(w.whatif_saves, &[&f.money(saved)]), "good"),
        _ => (words::fill(w.whatif_costs, &[&f.money(-saved)]), ""),
    };
    WhatIf {
        own_tariff: tariff_name(visit, &bill.tariff.brief),
        own_amount: figure(&f.amount(bill.bill.amount_fen), "mid"),
        other_tariff: tariff_name(visit, &other.tariff),
        other_amount: figure(&f.amount(other.amount_fen), "mid"),
        verdict,
        tone,
        receipt: receipt(visit, &other.lines, other.amount_fen, &bill.tier_limits_wh),
    }
}

fn hours(visit: &Visit, by_hour: &[Wh]) -> Option<String> {
    let (highest, energy) = by_hour.iter().enumerate().max_by_key(|(_, energy)| **energy)?;
    let (w, f) = (visit.w, visit.f);
    let description = words::fill(w.hours_desc, &[&format_args!("{highest:02}:00"), &f.energy(*energy)]);
    Some(hour_bars(visit, "hours", w.hours_title.to_owned(), description, by_hour))
}

/// Bars for the hours of a day.
pub(super) fn hour_bars(
    visit: &Visit,
    id: &'static str,
    title: String,
    description: String,
    by_hour: &[Wh],
) -> String {
    let f = visit.f;
    let shared = web::words::SharedWords::of(visit.language);
    let column = |(hour, energy): (usize, &Wh)| Column {
        label: if hour % 2 == 0 { format!("{hour:02}") } else { String::new() },
        label_narrow: if hour % 6 == 0 { format!("{hour:02}") } else { String::new() },
        hint: format!("{hour:02}:00–{:02}:00 · {}", hour + 1, f.energy_full(*energy)),
        parts: vec![energy.0],
        row: vec![format!("{hour:02}:00–{:02}:00", hour + 1), f.energy_full(*energy)],
        ..Column::default()
    };
    let bars = Bars {
        id,
        title,
        description,
        unit: f.energy_unit(),
        scale: 1000,
        columns: by_hour.iter().enumerate().map(column).collect(),
        table_head: vec![shared.hour.into(), shared.energy.into()],
    };
    bars.draw().html(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_shows_the_exact_product_and_what_it_rounds_to() {
        let line = BillLine {
            kind: LineKind::Tier(1),
            energy_wh: Wh(428_756),
            price_e4: PriceE4(5380),
            amount_fen: Fen(23_067),
            note: None,
        };
        assert_eq!(formula(&line), "428.756 × 0.5380 = 230.670728 → 230.67");
        assert_eq!(exact_product(Wh(100_000), PriceE4(5000)), "50.00");
        assert_eq!(exact_product(Wh(-1), PriceE4(5000)), "-0.0005");
    }
}
