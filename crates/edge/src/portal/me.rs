//! The customer's own page: accounts, language, type size, logging out.
use askama::Template;
use axum::response::Response;
use web::words;

use super::{
    debit::DebitWords,
    shell::{Shell, Tab},
    visit::{Made, Page, Visit},
};

#[derive(Template)]
#[template(path = "me.html")]
struct Me {
    shell: Shell,
    debit_title: &'static str,
    accounts: Vec<AccountRow>,
}

struct AccountRow {
    number: String,
    since: String,
    href: String,
    is_current: bool,
}

/// `GET /me`
pub(super) async fn page(mut visit: Visit) -> Response {
    let made = make(&mut visit).await;
    visit.finish(made)
}

async fn make(visit: &mut Visit) -> Made {
    let chosen = visit.choose_account(None).await?;
    let rows = chosen.bound.iter().map(|bound| AccountRow {
        number: visit.f.account(bound.account),
        since: words::fill(visit.w.me_bound, &[&visit.f.instant_date(bound.bound_ms)]),
        href: format!("/accounts/{}", bound.account),
        is_current: Some(bound.account) == chosen.account,
    });
    let accounts = rows.collect();
    let shell = Shell::within(visit, visit.w.me_title, Tab::Me, &chosen);
    Ok(Page::html(Me { shell, debit_title: DebitWords::of(visit.language).title, accounts }.render()?))
}
