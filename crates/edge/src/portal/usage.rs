//! A month's use day by day, and a day's hour by hour.
use askama::Template;
use axum::response::Response;
use protocol::{
    AccountId,
    catalogue::{
        replies::{DayUsage, UsageMonth},
        requests,
    },
};
use serde::Deserialize;
use web::{
    chart::{Bars, Column},
    domain::{calendar::Month, money::Wh},
    words::{self, SharedWords},
};

use super::{
    bill::hour_bars,
    exports::{self, ExportWords},
    shell::{Shell, Tab, quantity},
    visit::{Asked, Made, Page, Visit},
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct UsageQuery {
    account: Option<String>,
    month: Option<String>,
    day: Option<String>,
    year: Option<String>,
}

/// The switch between day, month and year: where each leads, and which is shown.
pub(super) struct By {
    pub(super) shown: &'static str,
    pub(super) day_href: String,
    pub(super) month_href: String,
    pub(super) year_href: String,
    pub(super) compare_href: String,
}

impl By {
    /// For one account. `last` is a day that has readings, `month` a month to show.
    pub(super) fn of(account: AccountId, shown: &'static str, month: Month, last: Option<String>) -> By {
        let day = last.map(|day| format!("&day={day}")).unwrap_or_default();
        By {
            shown,
            day_href: format!("/usage?account={account}&month={month}{day}"),
            month_href: href(account, month, None),
            year_href: format!("/usage?account={account}&year={}", month.year()),
            compare_href: format!("/tariffs?account={account}"),
        }
    }
}

#[derive(Template)]
#[template(path = "usage.html")]
struct Usage {
    shell: Shell,
    account: String,
    by: By,
    month: String,
    previous_href: Option<String>,
    next_href: Option<String>,
    last_known_href: Option<String>,
    none_title: String,
    x: &'static ExportWords,
    download_href: String,
    days: Option<Days>,
    day: Option<Day>,
}

struct Days {
    total: String,
    average: String,
    highest: String,
    chart: String,
    peak: Option<String>,
    valley: Option<String>,
    has_estimates: bool,
}

struct Day {
    title: String,
    total: String,
    chart: Option<String>,
    only_total: String,
    is_estimated: bool,
    before_href: Option<String>,
    after_href: Option<String>,
}

/// `GET /usage`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<UsageQuery>) -> Response {
    let made = make(&mut visit, query).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit, query: UsageQuery) -> Made {
    let chosen = visit.choose_account(query.account.as_deref()).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/".to_owned())) };
    if let Some(year) = query.year.as_deref().and_then(|text| text.parse::<i16>().ok()) {
        return super::usage_year::make(visit, &chosen, account, year).await;
    }
    let asked: Option<Month> = query.month.as_deref().and_then(|text| text.parse().ok());
    let month = match asked {
        Some(month) => month,
        None => visit.read(requests::AccountSummary { account }).await?.this_month.month,
    };
    let mut usage = visit.read(requests::UsageMonth { account, month }).await?;
    // A month begins before its first reading is there: who asked for none in particular sees the last that has some.
    let known = usage.last_month.filter(|_| asked.is_none() && usage.days.is_empty());
    let month = known.unwrap_or(month);
    if known.is_some() {
        usage = visit.read(requests::UsageMonth { account, month }).await?;
    }
    let f = visit.f;
    let within = |month: Month| {
        usage.first_month.is_some_and(|first| month >= first)
            && usage.last_month.is_some_and(|last| month <= last)
    };
    let link = |month: Month| within(month).then(|| href(account, month, None));
    let page = Usage {
        shell: Shell::within(visit, visit.w.usage_title, Tab::Usage, &chosen),
        account: f.account(account),
        by: By::of(
            account,
            if query.day.is_some() { "day" } else { "month" },
            month,
            usage.days.last().map(|day| day.date.to_string()),
        ),
        month: f.month(month),
        previous_href: link(month.prev()),
        next_href: link(month.next()),
        last_known_href: usage.last_month.filter(|last| *last != month).map(|last| href(account, last, None)),
        x: ExportWords::of(visit.language),
        download_href: exports::of_month(account, month),
        none_title: words::fill(visit.w.usage_none, &[&f.month(month)]),
        days: days(visit, &usage, query.day.as_deref()),
        day: query.day.as_deref().and_then(|day| one_day(visit, &usage, day)),
    };
    Ok(Page::html(page.render()?))
}

fn href(account: AccountId, month: Month, day: Option<&DayUsage>) -> String {
    match day {
        Some(day) => format!("/usage?account={account}&month={month}&day={}#day", day.date),
        None => format!("/usage?account={account}&month={month}"),
    }
}

fn days(visit: &Visit, usage: &UsageMonth, chosen: Option<&str>) -> Option<Days> {
    let (w, f) = (visit.w, visit.f);
    let shared = SharedWords::of(visit.language);
    let highest = usage.days.iter().max_by_key(|day| day.energy_wh)?;
    let count = i64::try_from(usage.days.len()).unwrap_or(1).max(1);
    let has_periods = usage.days.iter().any(|day| day.peak_wh != day.energy_wh);
    let peak: Wh = usage.days.iter().map(|day| day.peak_wh).sum();
    let column = |day: &DayUsage| {
        let number = day.date.day();
        let valley = day.energy_wh - day.peak_wh;
        let name = day_name(visit, day);
        let mut hint = format!("{name} · {}", f.energy_full(day.energy_wh));
        let mut row = vec![name];
        if has_periods {
            let parts = [(shared.peak, day.peak_wh), (shared.valley, valley)];
            for (name, energy) in parts {
                hint.push_str(&format!(" · {name} {}", f.energy_full(energy)));
                row.push(f.energy_exact(energy));
            }
        }
        row.push(f.energy_exact(day.energy_wh));
        if day.estimated {
            hint.push_str(&format!(" · {}", shared.estimated));
            row[0].push_str(" *");
        }
        let is_chosen = chosen == Some(day.date.to_string().as_str());
        Column {
            label: if number % 2 == 1 { number.to_string() } else { String::new() },
            label_narrow: if number == 1 || number % 5 == 0 { number.to_string() } else { String::new() },
            hint,
            parts: if has_periods { vec![day.peak_wh.0, valley.0] } else { vec![day.energy_wh.0] },
            marked: is_chosen,
            value_label: is_chosen.then(|| f.energy(day.energy_wh)),
            uncertain: day.estimated,
            link: Some(href(usage.account, usage.month, Some(day))),
            row,
        }
    };
    let mut table_head = vec![shared.day.to_owned()];
    if has_periods {
        table_head.extend([shared.peak.to_owned(), shared.valley.to_owned()]);
    }
    table_head.push(format!("{} ({})", shared.total, f.energy_unit()));
    let title = words::fill(w.usage_chart, &[&f.month(usage.month)]);
    let bars = Bars {
        id: "days",
        title,
        description: words::fill(
            w.usage_desc,
            &[&count, &f.energy(usage.energy_wh), &f.day(highest.date), &f.energy(highest.energy_wh)],
        ),
        unit: f.energy_unit(),
        scale: 1000,
        columns: usage.days.iter().map(column).collect(),
        table_head,
    };
    Some(Days {
        total: quantity(&f.energy_round(usage.energy_wh), f.energy_unit(), ""),
        average: f.energy(Wh(usage.energy_wh.0 / count)),
        highest: format!("{} · {}", f.energy(highest.energy_wh), f.day(highest.date)),
        chart: bars.draw().html(shared),
        peak: has_periods.then(|| f.energy(peak)),
        valley: has_periods.then(|| f.energy(usage.energy_wh - peak)),
        has_estimates: usage.days.iter().any(|day| day.estimated),
    })
}

/// `Thu 15 Oct`; `10月15日 周四`.
fn day_name(visit: &Visit, day: &DayUsage) -> String {
    let (day, weekday) = (visit.f.day(day.date), visit.f.weekday(day.date));
    if visit.is_zh() { format!("{day} {weekday}") } else { format!("{weekday} {day}") }
}

fn one_day(visit: &Visit, usage: &UsageMonth, chosen: &str) -> Option<Day> {
    let (w, f) = (visit.w, visit.f);
    let index = usage.days.iter().position(|day| day.date.to_string() == chosen)?;
    let day = &usage.days[index];
    let beside = |index: Option<usize>| {
        index.and_then(|index| usage.days.get(index)).map(|day| href(usage.account, usage.month, Some(day)))
    };
    let name = day_name(visit, day);
    let title = words::fill(w.usage_day, &[&name]);
    let highest = day.by_hour_wh.iter().enumerate().max_by_key(|(_, energy)| **energy);
    let chart = highest.map(|(hour, _)| {
        let hour = format!("{hour:02}:00");
        let description = words::fill(w.usage_day_desc, &[&name, &f.energy_full(day.energy_wh), &hour]);
        hour_bars(visit, "day-hours", title.clone(), description, &day.by_hour_wh)
    });
    Some(Day {
        title,
        total: quantity(&f.energy_exact(day.energy_wh), f.energy_unit(), "mid"),
        chart,
        only_total: words::fill(w.usage_no_hours, &[&f.energy_full(day.energy_wh)]),
        is_estimated: day.estimated,
        before_href: beside(index.checked_sub(1)),
        after_href: beside(Some(index + 1)),
    })
}
