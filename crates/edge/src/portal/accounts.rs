//! The customer's accounts: all of them with what they owe together, and one by itself.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{
    AccountId,
    catalogue::{replies::AccountSummary, requests},
};
use web::{domain::money::Fen, words};

use super::{
    shell::{Shell, Tab, figure},
    visit::{Made, Page, Stop, Visit},
};

#[derive(Template)]
#[template(path = "accounts.html")]
struct Accounts {
    shell: Shell,
    due: String,
    sentence: String,
    credit: Option<String>,
    rows: Vec<Row>,
}

struct Row {
    href: String,
    number: String,
    alias: String,
    amount: String,
    state: &'static str,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    shell: Shell,
    number: String,
    account_number: String,
    holder: String,
    address: String,
    tariff: String,
    since: String,
    due: String,
    credit: Option<String>,
}

/// `GET /accounts`
pub(super) async fn page(mut visit: Visit) -> Response {
    let made = list(&mut visit).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit) -> Made {
    let chosen = visit.choose_account(None).await?;
    let (mut due, mut overdue, mut credit, mut rows) = (Fen::ZERO, Fen::ZERO, Fen::ZERO, Vec::new());
    for bound in &chosen.bound {
        let summary = match visit.read(requests::AccountSummary { account: bound.account }).await {
            Ok(summary) => summary,
            // Unbound since the list was made.
            Err(Stop::NotFound) => continue,
            Err(stop) => return Err(stop),
        };
        due += summary.balance.due_fen;
        overdue += summary.balance.overdue_fen;
        credit += summary.balance.credit_fen;
        rows.push(row(visit, summary));
    }
    let (w, f) = (visit.w, visit.f);
    let page = Accounts {
        shell: Shell::within(visit, w.accounts, Tab::Me, &chosen),
        due: figure(&f.amount(due), ""),
        sentence: match (due > Fen::ZERO, overdue > Fen::ZERO) {
            (true, true) => words::fill(w.accounts_overdue, &[&f.money(overdue)]),
            (true, false) => words::fill(w.accounts_together, &[&rows.len()]),
            (false, _) => w.accounts_nothing.to_owned(),
        },
        credit: (credit > Fen::ZERO).then(|| words::fill(w.accounts_credit, &[&f.money(credit)])),
        rows,
    };
    Ok(Page::html(page.render()?))
}

fn row(visit: &Visit, summary: AccountSummary) -> Row {
    let balance = &summary.balance;
    let (state, tone) = match (balance.due_fen > Fen::ZERO, balance.overdue_fen > Fen::ZERO) {
        (true, true) => (visit.w.state_overdue, "bad"),
        (true, false) => (visit.w.state_open, "warn"),
        (false, _) => (visit.w.owe_nothing, "good"),
    };
    Row {
        href: format!("/accounts/{}", summary.account),
        number: visit.f.account(summary.account),
        alias: format!("{} · {}", summary.holder, summary.address),
        amount: visit.f.money(balance.due_fen),
        state,
        tone,
    }
}

/// `GET /accounts/{account}`
pub(super) async fn one(mut visit: Visit, Path(account): Path<String>) -> Response {
    let made = show(&mut visit, &account).await;
    visit.finish(made)
}

async fn show(visit: &mut Visit, asked: &str) -> Made {
    let chosen = visit.choose_account(Some(asked)).await?;
    let account: AccountId = chosen.account.ok_or(Stop::NotFound)?;
    let summary = visit.read(requests::AccountSummary { account }).await?;
    let (w, f) = (visit.w, visit.f);
    let since = chosen.bound.iter().find(|bound| bound.account == account);
    let AccountSummary { balance, tariff, .. } = &summary;
    let page = Account {
        shell: Shell::within(visit, w.account_title, Tab::Me, &chosen),
        number: f.account(account),
        account_number: account.to_string(),
        tariff: if visit.is_zh() { tariff.name_zh.clone() } else { tariff.name_en.clone() },
        since: since.map(|bound| f.instant_date(bound.bound_ms)).unwrap_or_default(),
        due: figure(&f.amount(balance.due_fen), "mid"),
        credit: (balance.credit_fen > Fen::ZERO)
            .then(|| words::fill(w.credit, &[&f.money(balance.credit_fen)])),
        holder: summary.holder,
        address: summary.address,
    };
    Ok(Page::html(page.render()?))
}
