//! A year's use, month by month.
use askama::Template;
use protocol::{
    AccountId,
    bounds::Year,
    catalogue::{
        replies::{MonthUsage, UsageYear},
        requests,
    },
};
use web::{
    chart::{Bars, Column},
    domain::{calendar::Month, money::Wh, tariff::PeriodName},
    words::{self, SharedWords},
};

use super::{
    shell::{Chosen, Shell, Tab, quantity},
    usage::By,
    visit::{Made, Page, Stop, Visit},
};

#[derive(Template)]
#[template(path = "usage_year.html")]
struct OfYear {
    shell: Shell,
    account: String,
    by: By,
    year: String,
    before_href: Option<String>,
    after_href: Option<String>,
    none_title: String,
    last_known_href: Option<String>,
    months: Option<Months>,
}

struct Months {
    total: String,
    average: String,
    highest: String,
    chart: String,
    peak: Option<String>,
    valley: Option<String>,
    has_estimates: bool,
}

/// `GET /usage?year=2026`
pub(super) async fn make(visit: &mut Visit, chosen: &Chosen, account: AccountId, year: i16) -> Made {
    let year = Year::try_from(year).map_err(|_| Stop::NotFound)?;
    let usage = visit.read(requests::UsageYear { account, year }).await?;
    let (w, f) = (visit.w, visit.f);
    let known = |year: i16| {
        let within = |month: Option<Month>| month.map(Month::year);
        within(usage.first_month).is_some_and(|first| year >= first)
            && within(usage.last_month).is_some_and(|last| year <= last)
    };
    let link = |year: i16| format!("/usage?account={account}&year={year}");
    let beside = |year: i16| known(year).then(|| link(year));
    let last = usage.months.last().map(|month| month.month);
    let year = usage.year;
    let month = last.or(usage.last_month).or_else(|| Month::new(year, 1).ok()).ok_or(Stop::NotFound)?;
    // Its last day has readings where the month is whole; otherwise the month is shown, without a day.
    let page = OfYear {
        shell: Shell::within(visit, w.usage_title, Tab::Usage, chosen),
        account: f.account(account),
        by: By {
            year_href: link(year),
            ..By::of(account, "year", month, Some(month.first_day().to_string()))
        },
        year: words::fill(w.usage_year, &[&year]),
        before_href: beside(year - 1),
        after_href: beside(year + 1),
        none_title: words::fill(w.usage_year_none, &[&year]),
        last_known_href: usage.last_month.filter(|last| last.year() != year).map(|last| link(last.year())),
        months: months(visit, &usage),
    };
    Ok(Page::html(page.render()?))
}

fn months(visit: &Visit, usage: &UsageYear) -> Option<Months> {
    let (w, f) = (visit.w, visit.f);
    let shared = SharedWords::of(visit.language);
    let highest = usage.months.iter().max_by_key(|month| month.energy_wh)?;
    let count = i64::try_from(usage.months.len()).unwrap_or(1).max(1);
    let has_periods = usage.months.iter().any(|month| !month.periods.is_empty());
    let columns = (1..=12).filter_map(|number| Month::new(usage.year, number).ok()).map(|month| {
        let used = usage.months.iter().find(|used| used.month == month);
        column(visit, usage.account, month, used, has_periods, highest.month)
    });
    let mut table_head = vec![shared.month.to_owned()];
    if has_periods {
        table_head.extend([shared.peak.to_owned(), shared.valley.to_owned()]);
    }
    table_head.extend([format!("{} ({})", shared.total, f.energy_unit()), w.usage_bill.to_owned()]);
    let title = words::fill(w.usage_year_chart, &[&usage.year]);
    let bars = Bars {
        id: "months",
        title,
        description: words::fill(
            w.usage_year_desc,
            &[&count, &f.energy(usage.energy_wh), &f.month(highest.month), &f.energy(highest.energy_wh)],
        ),
        unit: f.energy_unit(),
        scale: 1000,
        columns: columns.collect(),
        table_head,
    };
    let peak: Wh = usage.months.iter().map(peak).sum();
    Some(Months {
        total: quantity(&f.energy_round(usage.energy_wh), f.energy_unit(), ""),
        average: f.energy(Wh(usage.energy_wh.0 / count)),
        highest: format!("{} · {}", f.energy(highest.energy_wh), f.month_short(highest.month)),
        chart: bars.draw().html(shared),
        peak: has_periods.then(|| f.energy(peak)),
        valley: has_periods.then(|| f.energy(usage.energy_wh - peak)),
        has_estimates: usage.months.iter().any(|month| month.estimated),
    })
}

/// What was used in the peak hours; all of it where the hours are not known.
fn peak(month: &MonthUsage) -> Wh {
    let own = month.periods.iter().find(|part| part.period == PeriodName::Peak);
    own.map_or(month.energy_wh, |part| part.energy_wh)
}

/// A month's column; a month without readings keeps its place.
fn column(
    visit: &Visit,
    account: AccountId,
    month: Month,
    used: Option<&MonthUsage>,
    has_periods: bool,
    highest: Month,
) -> Column {
    let f = visit.f;
    let shared = SharedWords::of(visit.language);
    let (label, label_narrow) = (f.month_short(month), month.month().to_string());
    let Some(used) = used else {
        let row = vec!["–".to_owned(); if has_periods { 4 } else { 2 }];
        let row = [vec![f.month(month)], row].concat();
        return Column { label, label_narrow, hint: f.month(month), row, ..Column::default() };
    };
    let peak = peak(used);
    let parts = [(shared.peak, peak), (shared.valley, used.energy_wh - peak)];
    let mut hint = format!("{} · {}", f.month(month), f.energy_full(used.energy_wh));
    let mut row = vec![f.month(month)];
    if has_periods {
        for (name, energy) in parts {
            hint.push_str(&format!(" · {name} {}", f.energy_full(energy)));
            row.push(f.energy_exact(energy));
        }
    }
    if used.estimated {
        hint.push_str(&format!(" · {}", shared.estimated));
        row[0].push_str(" *");
    }
    row.push(f.energy_exact(used.energy_wh));
    row.push(used.amount_fen.map_or_else(|| "–".to_owned(), |amount| f.money(amount)));
    Column {
        label,
        label_narrow,
        hint,
        parts: if has_periods { parts.map(|(_, energy)| energy.0).to_vec() } else { vec![used.energy_wh.0] },
        value_label: (month == highest).then(|| f.energy(used.energy_wh)),
        uncertain: used.estimated,
        link: Some(format!("/usage?account={account}&month={month}")),
        row,
        ..Column::default()
    }
}
