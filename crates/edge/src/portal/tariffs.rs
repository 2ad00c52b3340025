//! Tariffs beside each other: the customer's own past year under each, and what another use would cost.
use askama::Template;
use axum::response::Response;
use protocol::{
    AccountId,
    bounds::{PerMille, QuotedWh},
    catalogue::{
        replies::{Cheapest, ComparedMonth, ComparedTariff, LeftOutMonth, TariffCompare},
        requests,
    },
};
use serde::Deserialize;
use web::{
    domain::{
        billing::LeftOut,
        calendar::Month,
        money::{Fen, Wh},
    },
    words::{self, SharedWords},
};

use super::{
    bill::{Receipt, receipt, tariff_name},
    shell::{Shell, Tab, figure},
    visit::{Asked, Made, Page, Stop, Visit},
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct TariffsQuery {
    account: Option<String>,
    month: Option<String>,
    energy: Option<String>,
    valley: Option<String>,
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "tariffs.html")]
struct Tariffs {
    shell: Shell,
    account: String,
    account_number: String,
    lead: String,
    tariffs: Vec<Beside>,
    verdict: String,
    tone: &'static str,
    used: Option<String>,
    left_out: Option<String>,
    table: Option<Table>,
    quote: QuoteForm,
}

/// A tariff, and what the compared months cost under it.
struct Beside {
    label: &'static str,
    name: String,
    amount: String,
    own: bool,
}

struct Table {
    head: Vec<String>,
    rows: Vec<Row>,
    energy: String,
    total: Vec<String>,
}

struct Row {
    month: String,
    energy: String,
    amounts: Vec<(String, bool)>,
}

struct QuoteForm {
    month: String,
    energy: String,
    valley: String,
    before: String,
    with_valley: bool,
    wrong: bool,
    quoted: Vec<Quoted>,
}

/// What the use would cost under one tariff.
struct Quoted {
    name: String,
    amount: String,
    receipt: Receipt,
}

/// `GET /tariffs`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<TariffsQuery>) -> Response {
    let made = make(&mut visit, query).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit, query: TariffsQuery) -> Made {
    let chosen = visit.choose_account(query.account.as_deref()).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/".to_owned())) };
    let compared = visit.read(requests::TariffCompare { account }).await?;
    let quote = quote(visit, account, &compared, &query).await?;
    let (w, f) = (visit.w, visit.f);
    let (verdict, tone) = verdict(visit, &compared);
    let energy: Wh = compared.months.iter().map(|month| month.energy_wh).sum();
    let count = compared.months.len();
    let beside = |tariff: &ComparedTariff| Beside {
        label: if tariff.own { w.compare_own } else { w.compare_other },
        name: tariff_name(visit, &tariff.tariff),
        amount: figure(&f.amount(tariff.total_fen), "mid"),
        own: tariff.own,
    };
    let page = Tariffs {
        shell: Shell::within(visit, w.compare_title, Tab::Usage, &chosen),
        account: f.account(account),
        account_number: account.to_string(),
        lead: words::fill(w.compare_lead, &[&f.month(compared.from), &f.month(compared.to)]),
        tariffs: if count > 0 { compared.tariffs.iter().map(beside).collect() } else { Vec::new() },
        verdict,
        tone,
        used: (count > 0).then(|| words::fill(w.compare_used, &[&count, &f.energy(energy)])),
        left_out: left_out(visit, &compared.left_out),
        table: (count > 0).then(|| table(visit, &compared)),
        quote,
    };
    Ok(Page::html(page.render()?))
}

/// Which tariff is the cheapest, in a sentence.
fn verdict(visit: &Visit, compared: &TariffCompare) -> (String, &'static str) {
    let (w, f) = (visit.w, visit.f);
    let count = compared.months.len();
    if compared.tariffs.len() < 2 {
        return (w.compare_single.to_owned(), "");
    }
    let Some(Cheapest { tariff, saves_fen }) = &compared.cheapest else {
        return (w.compare_none.to_owned(), "");
    };
    let found = compared.tariffs.iter().find(|compared| compared.tariff.tariff == *tariff);
    match found {
        _ if *saves_fen == Fen::ZERO => (w.compare_equal.to_owned(), ""),
        Some(cheapest) if !cheapest.own => {
            let name = tariff_name(visit, &cheapest.tariff);
            (words::fill(w.compare_saves, &[&name, &f.money(*saves_fen), &count]), "good")
        }
        _ => (words::fill(w.compare_own_best, &[&f.money(*saves_fen), &count]), "good"),
    }
}

/// Which months are left out, and why; `None` where none is.
fn left_out(visit: &Visit, months: &[LeftOutMonth]) -> Option<String> {
    let (w, f) = (visit.w, visit.f);
    let one = |left: &LeftOutMonth| {
        let reason = match left.reason {
            LeftOut::Unread => w.left_unread,
            LeftOut::Incomplete => w.left_incomplete,
            LeftOut::Coarse => w.left_coarse,
            LeftOut::Unbillable => w.left_unbillable,
        };
        words::fill(w.compare_left, &[&f.month(left.month), &reason])
    };
    let all: Vec<String> = months.iter().map(one).collect();
    let list = all.join(if visit.is_zh() { "、" } else { ", " });
    (!all.is_empty()).then(|| words::fill(w.compare_left_out, &[&list]))
}

fn table(visit: &Visit, compared: &TariffCompare) -> Table {
    let f = visit.f;
    let shared = SharedWords::of(visit.language);
    // The unit is in the head: a phone has no room for it in every line.
    let number = |amount: Fen| {
        let amount = f.amount(amount);
        format!("{}{}", amount.before.trim_end_matches('¥'), amount.number)
    };
    let unit = if visit.is_zh() { "（元）" } else { " (¥)" };
    let row = |month: &ComparedMonth| {
        let least = month.amounts_fen.iter().min();
        let several = month.amounts_fen.iter().any(|amount| Some(amount) != least);
        let amount = |amount: &Fen| (number(*amount), several && Some(amount) == least);
        Row {
            month: f.month(month.month),
            energy: f.energy_whole(month.energy_wh),
            amounts: month.amounts_fen.iter().map(amount).collect(),
        }
    };
    let names = compared.tariffs.iter().map(|tariff| tariff_name(visit, &tariff.tariff) + unit);
    let energy = format!("{} ({})", shared.energy, f.energy_unit());
    Table {
        head: [shared.month.to_owned(), energy].into_iter().chain(names).collect(),
        rows: compared.months.iter().map(row).collect(),
        energy: f.energy_whole(compared.months.iter().map(|month| month.energy_wh).sum()),
        total: compared.tariffs.iter().map(|tariff| number(tariff.total_fen)).collect(),
    }
}

/// The form with what was written in it, and what that would cost under each tariff.
async fn quote(
    visit: &mut Visit,
    account: AccountId,
    compared: &TariffCompare,
    query: &TariffsQuery,
) -> Result<QuoteForm, Stop> {
    let typed = |text: &Option<String>| -> String {
        text.as_deref().unwrap_or_default().chars().filter(|c| !c.is_control()).take(16).collect()
    };
    let mut form = QuoteForm {
        month: query.month.as_ref().map_or_else(|| compared.to.to_string(), |_| typed(&query.month)),
        energy: typed(&query.energy),
        valley: typed(&query.valley),
        before: typed(&query.before),
        with_valley: compared.tariffs.iter().any(|tariff| tariff.tariff.time_of_use),
        wrong: false,
        quoted: Vec::new(),
    };
    if query.energy.is_none() {
        return Ok(form);
    }
    let Some(asked) = read_form(&form) else { return Ok(QuoteForm { wrong: true, ..form }) };
    for tariff in &compared.tariffs {
        let request = requests::TariffQuote {
            account,
            tariff: Some(tariff.tariff.tariff.clone()),
            month: asked.month,
            energy_wh: asked.energy_wh,
            valley_per_mille: Some(asked.valley),
            used_before_wh: asked.before_wh,
        };
        let quoted = visit.read(request).await?;
        form.quoted.push(Quoted {
            name: tariff_name(visit, &quoted.tariff),
            amount: figure(&visit.f.amount(quoted.amount_fen), "mid"),
            receipt: receipt(visit, &quoted.lines, quoted.amount_fen, &quoted.tier_limits_wh),
        });
    }
    Ok(form)
}

struct Written {
    month: Month,
    energy_wh: QuotedWh,
    valley: PerMille,
    before_wh: QuotedWh,
}

/// The most that the form takes, kWh.
const MOST_KWH: i64 = 1_000_000;

/// What is written in the form; `None` where it is no whole numbers within bounds.
fn read_form(form: &QuoteForm) -> Option<Written> {
    let kwh = |text: &str| -> Option<QuotedWh> {
        let text = text.trim();
        let kwh: i64 = if text.is_empty() { 0 } else { text.parse().ok()? };
        (0..=MOST_KWH).contains(&kwh).then(|| QuotedWh::try_from(kwh * 1000).ok()).flatten()
    };
    let valley = form.valley.trim();
    // Left empty it would count as none, and time of use would look dearer than it is.
    let percent: u16 = match valley {
        "" if !form.with_valley => 0,
        share => share.parse().ok().filter(|p| *p <= 100)?,
    };
    Some(Written {
        month: form.month.trim().parse().ok()?,
        energy_wh: kwh(&form.energy)?,
        valley: PerMille::try_from(percent * 10).ok()?,
        before_wh: kwh(&form.before)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(energy: &str, valley: &str, before: &str) -> QuoteForm {
        QuoteForm {
            month: "2026-08".into(),
            energy: energy.into(),
            valley: valley.into(),
            before: before.into(),
            with_valley: true,
            wrong: false,
            quoted: Vec::new(),
        }
    }

    #[test]
    fn whole_numbers_within_bounds_are_read() {
        let read = read_form(&form(" 360", "40 ", "")).unwrap();
        assert_eq!((read.energy_wh.get(), read.valley.get(), read.before_wh.get()), (360_000, 400, 0));
        for (energy, valley) in
            [("x", "1"), ("-1", "1"), ("1", "101"), ("1000001", "1"), ("1", "-1"), ("1.5", "")]
        {
            assert!(read_form(&form(energy, valley, "")).is_none(), "{energy} {valley}");
        }
        assert!(read_form(&QuoteForm { month: "2026-13".into(), ..form("1", "", "") }).is_none());
    }
}
