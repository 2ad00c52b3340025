//! Outages at the premise: is my power on?
use askama::Template;
use axum::response::Response;
use protocol::catalogue::{
    replies::{Outage, OutageState},
    requests,
};
use web::words;

use super::{
    home::AccountQuery,
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Visit},
};

#[derive(Template)]
#[template(path = "outages.html")]
struct Outages {
    shell: Shell,
    account: String,
    address: String,
    is_off: bool,
    outages: Vec<OutageCard>,
}

/// An outage as it is shown.
pub(super) struct OutageCard {
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) area: String,
    pub(super) cause: Option<String>,
    /// The first thing to know: until when, or from when.
    pub(super) until: String,
    /// The second.
    pub(super) when: String,
}

impl OutageCard {
    pub(super) fn of(visit: &Visit, outage: &Outage) -> OutageCard {
        let (w, f) = (visit.w, visit.f);
        let (state, tone) = match outage.state {
            OutageState::Now => (w.outage_now, "bad"),
            OutageState::Planned => (w.outage_planned, "warn"),
            OutageState::Restored => (w.outage_restored, "good"),
        };
        let (area, cause) = match visit.is_zh() {
            true => (&outage.area_zh, &outage.cause_zh),
            false => (&outage.area_en, &outage.cause_en),
        };
        let begins = if outage.state == OutageState::Planned { w.outage_begins } else { w.outage_began };
        let until = match (outage.restored_ms, outage.estimate_ms) {
            (Some(restored), _) => words::fill(w.outage_back_at, &[&f.instant(restored)]),
            (None, Some(estimate)) => words::fill(w.outage_back_by, &[&f.instant(estimate)]),
            (None, None) => w.outage_back_unknown.to_owned(),
        };
        let when = words::fill(begins, &[&f.instant(outage.starts_ms)]);
        // What has not begun is about when it will.
        let (until, when) = if outage.state == OutageState::Planned { (when, until) } else { (until, when) };
        OutageCard {
            state,
            tone,
            area: area.clone(),
            cause: (!cause.is_empty()).then(|| cause.clone()),
            when,
            until,
        }
    }
}

/// The outage under way, if there is one.
pub(super) fn now_at(outages: &[Outage]) -> Option<&Outage> {
    outages.iter().find(|outage| outage.state == OutageState::Now)
}

/// `GET /outages`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let made = list(&mut visit, query.account.as_deref()).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit, asked: Option<&str>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/".to_owned())) };
    let outages = visit.read(requests::OutageList { account }).await?.outages;
    let address = visit.read(requests::AccountSummary { account }).await?.address;
    let page = Outages {
        shell: Shell::within(visit, visit.w.outages_title, Tab::Requests, &chosen),
        account: visit.f.account(account),
        address,
        is_off: now_at(&outages).is_some(),
        outages: outages.iter().map(|outage| OutageCard::of(visit, outage)).collect(),
    };
    Ok(Page::html(page.render()?))
}
