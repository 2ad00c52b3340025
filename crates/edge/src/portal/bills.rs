//! The list of bills.
use askama::Template;
use axum::response::Response;
use protocol::catalogue::{
    replies::{BillBrief, BillState},
    requests,
};
use serde::Deserialize;
use web::domain::calendar::Month;

use super::{
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Visit},
};

/// How many bills a page has: a year and the month before.
const PAGE_SIZE: u8 = 13;

#[derive(Debug, Default, Deserialize)]
pub(super) struct BillsQuery {
    account: Option<String>,
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "bills.html")]
struct Bills {
    shell: Shell,
    account: String,
    bills: Vec<Row>,
    older_href: Option<String>,
    newest_href: Option<String>,
}

struct Row {
    href: String,
    month: String,
    energy: String,
    amount: String,
    state: StateTag,
}

/// A bill's state as a small label.
pub(super) struct StateTag {
    pub(super) text: &'static str,
    pub(super) tone: &'static str,
}

impl StateTag {
    pub(super) fn of(visit: &Visit, state: BillState) -> StateTag {
        let (text, tone) = match state {
            BillState::Open => (visit.w.state_open, "warn"),
            BillState::Overdue => (visit.w.state_overdue, "bad"),
            BillState::Paid => (visit.w.state_paid, "good"),
        };
        StateTag { text, tone }
    }
}

/// `GET /bills`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<BillsQuery>) -> Response {
    let made = make(&mut visit, query).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit, query: BillsQuery) -> Made {
    let chosen = visit.choose_account(query.account.as_deref()).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/".to_owned())) };
    let before: Option<Month> = query.before.as_deref().and_then(|text| text.parse().ok());
    let list = visit.read(requests::BillList { account, before, limit: PAGE_SIZE }).await?;
    let row = |bill: &BillBrief| Row {
        href: format!("/bills/{}", bill.bill),
        month: visit.f.month(bill.month),
        energy: visit.f.energy(bill.energy_wh),
        amount: visit.f.money(bill.amount_fen),
        state: StateTag::of(visit, bill.state),
    };
    let page = Bills {
        shell: Shell::within(visit, visit.w.bills_title, Tab::Bills, &chosen),
        account: visit.f.account(account),
        bills: list.bills.iter().map(row).collect(),
        older_href: list.next_before.map(|month| format!("/bills?account={account}&before={month}")),
        newest_href: before.map(|_| format!("/bills?account={account}")),
    };
    Ok(Page::html(page.render()?))
}
