//! The home page: what do I owe, how am I doing.
use askama::Template;
use axum::response::Response;
use protocol::catalogue::{
    replies::{
        AccountSummary, BillBrief, BillState, Outage, OutageState, SupplyState, TierPace, TierStanding,
        UsageSoFar,
    },
    requests,
};
use serde::Deserialize;
use web::{
    chart,
    domain::money::{Fen, Wh},
    format, words,
};

use super::{
    bills::StateTag,
    outages::OutageCard,
    requests::{Row, all},
    shell::{Shell, Tab, figure, quantity},
    visit::{Asked, Made, Page, Stop, Visit},
    words::tier_name,
};

/// How many open requests are shown.
const OPEN_SHOWN: usize = 3;
/// So many bills are looked through for what is not paid: two years.
const UNPAID_MAX: u8 = 24;

/// How often the page looks whether the power is back, in seconds.
const LOOK_AGAIN_S: u32 = 5;

/// Which account a page is about; every page that has one takes this.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AccountQuery {
    /// As in the address; checked against the customer's accounts.
    pub(super) account: Option<String>,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    shell: Shell,
    account: String,
    account_number: String,
    holder: String,
    address: String,
    supply: Option<Supply>,
    due: Due,
    usage: Usage,
    tier: Tier,
    power: Power,
    open: Vec<Row>,
}

/// Whether power is on.
struct Power {
    text: String,
    more: Option<String>,
    tone: &'static str,
    icon: &'static str,
}

/// Said before all else, where the power is not simply on.
struct Supply {
    title: &'static str,
    lead: String,
    tone: &'static str,
    icon: &'static str,
    is_cut: bool,
}

struct Due {
    is_due: bool,
    tag: Option<StateTag>,
    amount: String,
    sentence: String,
    late_fee: Option<String>,
    credit: Option<String>,
    bill_href: Option<String>,
    bill_label: String,
}

struct Usage {
    energy: String,
    through: Option<String>,
    sentence: Option<String>,
    outlook: Option<String>,
    bars: Vec<UsageBar>,
}

struct UsageBar {
    label: &'static str,
    energy: String,
    meter: String,
}

struct Tier {
    name: String,
    price: String,
    sentence: String,
    pace: Option<String>,
    track: Option<String>,
    used: String,
    resets: String,
}

#[derive(Template)]
#[template(path = "home_empty.html")]
struct HomeEmpty {
    shell: Shell,
}

/// `GET /`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let made = make(&mut visit, query).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit, query: AccountQuery) -> Made {
    let chosen = visit.choose_account(query.account.as_deref()).await?;
    let shell = |visit: &Visit| Shell::within(visit, visit.w.home_title, Tab::Home, &chosen);
    let Some(account) = chosen.account else {
        return Ok(Page::html(HomeEmpty { shell: shell(visit) }.render()?));
    };
    let summary = visit.read(requests::AccountSummary { account }).await?;
    let outages = visit.read(requests::OutageList { account }).await?.outages;
    let open: Vec<_> = all(visit, Some(account)).await?;
    let open = open.iter().filter(|request| !request.state.is_closed()).take(OPEN_SHOWN);
    let unpaid = unpaid(visit, &summary).await?;
    let standing = visit.read(requests::TierGet { account }).await?;
    let pace = standing.pace.as_ref();
    let mut shell = shell(visit);
    if summary.supply.state == SupplyState::Reconnecting {
        shell.frame.refresh_s = Some(LOOK_AGAIN_S);
    }
    let page = Home {
        power: power(visit, &outages),
        open: open.map(|request| Row::of(visit, request)).collect(),
        shell,
        supply: supply(visit, &summary),
        account: visit.f.account(account),
        account_number: account.to_string(),
        due: due(visit, &summary, &unpaid),
        usage: usage(visit, &summary.this_month, pace),
        tier: tier(visit, &summary.tier, summary.tariff.time_of_use, pace),
        holder: summary.holder,
        address: summary.address,
    };
    Ok(Page::html(page.render()?))
}

fn power(visit: &Visit, outages: &[Outage]) -> Power {
    let is = |state| outages.iter().find(|outage| outage.state == state);
    let found = is(OutageState::Now).or_else(|| is(OutageState::Planned));
    let Some(card) = found.map(|outage| OutageCard::of(visit, outage)) else {
        return Power { text: visit.w.power_on.to_owned(), more: None, tone: "", icon: "check" };
    };
    let text = format!("{} · {}", card.state, card.area);
    let more = if card.tone == "bad" { card.until } else { format!("{} · {}", card.until, card.when) };
    Power { text, more: Some(more), tone: card.tone, icon: "bolt" }
}

fn supply(visit: &Visit, summary: &AccountSummary) -> Option<Supply> {
    let (w, f) = (visit.w, visit.f);
    match summary.supply.state {
        SupplyState::Connected => None,
        SupplyState::Cut => {
            let within = match summary.supply.reconnect_after_s {
                seconds @ ..120 => words::fill(w.seconds_n, &[&seconds]),
                seconds => words::fill(w.minutes_n, &[&seconds.div_ceil(60)]),
            };
            let lead = words::fill(w.supply_cut_lead, &[&f.money(summary.balance.overdue_fen), &within]);
            Some(Supply { title: w.supply_cut, lead, tone: "bad", icon: "bolt", is_cut: true })
        }
        SupplyState::Reconnecting => {
            let at = f.instant(summary.supply.reconnect_at_ms.unwrap_or_default());
            let lead = words::fill(w.supply_back_lead, &[&at]);
            Some(Supply { title: w.supply_back, lead, tone: "good", icon: "clock", is_cut: false })
        }
    }
}

/// What is not paid of which bills, newest first: asked for only where it is not the latest bill alone.
async fn unpaid(visit: &mut Visit, summary: &AccountSummary) -> Result<Vec<BillBrief>, Stop> {
    let left =
        |bill: &BillBrief| bill.amount_fen - bill.paid_fen + bill.late_fee_fen - bill.late_fee_paid_fen;
    let latest = summary.latest_bill.iter().find(|bill| left(bill) == summary.balance.due_fen);
    let mut bills = match latest {
        Some(bill) => vec![bill.clone()],
        None if summary.balance.due_fen <= Fen::ZERO => Vec::new(),
        None => {
            let asked = requests::BillList { account: summary.account, before: None, limit: UNPAID_MAX };
            visit.read(asked).await?.bills
        }
    };
    bills.retain(|bill| bill.state != BillState::Paid);
    Ok(bills)
}

fn due(visit: &Visit, summary: &AccountSummary, unpaid: &[BillBrief]) -> Due {
    let (w, f) = (visit.w, visit.f);
    let balance = &summary.balance;
    let is_due = balance.due_fen > Fen::ZERO;
    let is_overdue = balance.overdue_fen > Fen::ZERO;
    let by = balance.due_on.map(|date| f.date(date)).unwrap_or_default();
    // All that is overdue was due by the last of its dates.
    let late = unpaid.iter().filter(|bill| bill.state == BillState::Overdue).map(|bill| bill.due_on).max();
    let late = late.or(balance.due_on).map(|date| f.date(date)).unwrap_or_default();
    let next = unpaid.iter().filter(|bill| bill.state == BillState::Open).map(|bill| bill.due_on).min();
    let overdue = f.money(balance.overdue_fen);
    let sentence = match (is_due, is_overdue, &summary.latest_bill) {
        (true, true, _) if balance.overdue_fen < balance.due_fen => match next {
            Some(next) => {
                let rest = f.money(balance.due_fen - balance.overdue_fen);
                words::fill(w.overdue_part, &[&overdue, &late, &rest, &f.date(next)])
            }
            None => words::fill(w.overdue_by, &[&overdue, &late]),
        },
        (true, true, _) => words::fill(w.overdue_all, &[&late]),
        (true, false, _) if balance.due_on.is_some() => words::fill(w.pay_until, &[&by]),
        (true, false, _) => String::new(),
        (false, _, Some(_)) => w.owe_nothing_lead.to_owned(),
        (false, _, None) => w.owe_no_bill.to_owned(),
    };
    let credit =
        (balance.credit_fen > Fen::ZERO).then(|| words::fill(w.credit, &[&f.money(balance.credit_fen)]));
    let today = format::china_date(visit.portal.inward.clock().unix_ms());
    let tag = if is_overdue {
        Some(StateTag { text: w.state_overdue, tone: "bad" })
    } else if is_due && balance.due_on.is_some() && balance.due_on == today {
        Some(StateTag { text: w.due_today, tone: "warn" })
    } else {
        None
    };
    // The oldest that is not paid, else the latest.
    let bill = unpaid.last().or(summary.latest_bill.as_ref());
    Due {
        is_due,
        tag,
        amount: figure(&f.amount(balance.due_fen), ""),
        sentence,
        late_fee: (balance.late_fee_fen > Fen::ZERO)
            .then(|| words::fill(w.late_fee_in_due, &[&f.money(balance.late_fee_fen)])),
        credit,
        bill_href: bill.map(|bill| format!("/bills/{}", bill.bill)),
        bill_label: bill.map(|bill| words::fill(w.see_bill_of, &[&f.month(bill.month)])).unwrap_or_default(),
    }
}

fn usage(visit: &Visit, so_far: &UsageSoFar, pace: Option<&TierPace>) -> Usage {
    let (w, f) = (visit.w, visit.f);
    let UsageSoFar { through, energy_wh, last_month_wh, last_year_wh, .. } = so_far;
    let sentence = through.and(f.percent_change(energy_wh.0, last_month_wh.0)).map(|change| match change {
        3.. => words::fill(w.more_than_last_month, &[&change]),
        ..=-3 => words::fill(w.less_than_last_month, &[&-change]),
        _ => w.same_as_last_month.to_owned(),
    });
    let rows = [
        (w.now_so_far, *energy_wh, "now"),
        (w.same_days_last_month, *last_month_wh, ""),
        (w.same_days_last_year, *last_year_wh, ""),
    ];
    let highest = rows.iter().map(|(_, energy, _)| energy.0).max().unwrap_or(0);
    // What was not measured is not compared with.
    let shown = rows.into_iter().filter(|(_, energy, _)| *energy > Wh(0));
    let bar = |(label, energy, class): (&'static str, Wh, &str)| {
        let text = f.energy(energy);
        let meter = chart::meter(energy.0, highest, &format!("{label} {text}"), class);
        UsageBar { label, energy: text, meter }
    };
    Usage {
        energy: quantity(&f.energy_round(*energy_wh), f.energy_unit(), ""),
        through: through.map(|date| words::fill(w.through, &[&f.day(date)])),
        sentence,
        outlook: pace.filter(|_| through.is_some()).map(|pace| outlook(visit, pace)),
        bars: if through.is_some() { shown.map(bar).collect() } else { Vec::new() },
    }
}

/// What the month will come to.
fn outlook(visit: &Visit, pace: &TierPace) -> String {
    let (w, f) = (visit.w, visit.f);
    match pace.month_fen {
        Some(amount) => words::fill(w.outlook, &[&f.energy(pace.month_wh), &f.money(amount)]),
        None => words::fill(w.outlook_energy, &[&f.energy(pace.month_wh)]),
    }
}

/// When the tier will be used up, in a sentence; none where there is no tier after it.
fn crossing(visit: &Visit, standing: &TierStanding, pace: &TierPace) -> Option<String> {
    let (w, f) = (visit.w, visit.f);
    standing.next_price_e4?;
    let daily = f.energy(pace.daily_wh);
    Some(match pace.crossing_on {
        Some(on) => words::fill(w.tier_crossing, &[&daily, &f.date(on)]),
        None => words::fill(w.tier_no_crossing, &[&daily]),
    })
}

fn tier(visit: &Visit, standing: &TierStanding, is_time_of_use: bool, pace: Option<&TierPace>) -> Tier {
    let (w, f) = (visit.w, visit.f);
    let mut price = words::fill(w.tier_price_now, &[&f.price_per_unit(standing.price_e4)]);
    if is_time_of_use {
        price.push_str(w.tier_price_tou);
    }
    let sentence = match (standing.left_wh, standing.next_price_e4) {
        (Some(left), Some(next)) => words::fill(w.tier_left, &[&f.energy(left), &f.price_per_unit(next)]),
        _ if standing.limits_wh.is_empty() => w.tier_none.to_owned(),
        _ => w.tier_last.to_owned(),
    };
    let limits: Vec<_> = standing.limits_wh.iter().map(|limit| (limit.0, f.energy_round(*limit))).collect();
    // The last tenth before a dearer tier is worth a look.
    let near = standing.left_wh.is_some_and(|left| left.0 <= standing.used_wh.0 / 9);
    let track = chart::Track {
        part: standing.used_wh.0,
        limits: &limits,
        unit: f.energy_unit(),
        label: &sentence,
        class: if near { "warn" } else { "" },
    };
    Tier {
        name: tier_name(w, visit.is_zh(), standing.tier),
        price,
        track: (!limits.is_empty()).then(|| track.draw()),
        sentence,
        pace: pace.and_then(|pace| crossing(visit, standing, pace)),
        used: words::fill(w.tier_used, &[&f.energy(standing.used_wh)]),
        resets: words::fill(w.tier_resets, &[&f.date(standing.resets_on)]),
    }
}
