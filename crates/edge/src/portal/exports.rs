//! Files to take away: use as a table or Green Button, and electronic invoices. Asked for, made, downloaded.
use askama::Template;
use axum::{extract::Path, http::HeaderMap, response::Response};
use protocol::{
    AccountId, Code,
    catalogue::{
        replies::{Export, ExportFailure, ExportState},
        requests::{self, ExportWhat},
    },
};
use serde::Deserialize;
use web::{domain::calendar::Month, words::fill};

use super::{
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Posted, Stop, Visit, after},
};
use crate::api::exports::deliver;

mod words;
pub(super) use self::words::ExportWords;

/// How often the page looks whether a file is there, in seconds.
const LOOK_AGAIN_S: u32 = 2;

/// Which account, and which days are offered first.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ExportsQuery {
    account: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct AskForm {
    form: String,
    key: String,
    account: String,
    kind: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    bill: String,
}

/// What stands in the form.
struct Typed {
    kind: String,
    from: String,
    to: String,
}

#[derive(Template)]
#[template(path = "exports.html")]
struct Exports {
    shell: Shell,
    x: &'static ExportWords,
    account: String,
    account_number: String,
    typed: Typed,
    wrong: Option<String>,
    exports: Vec<Row>,
}

struct Row {
    title: String,
    about: String,
    tag: &'static str,
    tone: &'static str,
    say: Option<&'static str>,
    href: Option<String>,
    is_making: bool,
}

/// `GET /exports`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<ExportsQuery>) -> Response {
    let made = list(&mut visit, query).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit, query: ExportsQuery) -> Made {
    let ExportsQuery { account, from, to } = query;
    let typed = Typed { kind: "csv".to_owned(), from: from.unwrap_or_default(), to: to.unwrap_or_default() };
    show(visit, account.as_deref(), typed, None).await
}

/// The page; `wrong` says what is wrong with what was asked for.
async fn show(visit: &mut Visit, asked: Option<&str>, mut typed: Typed, wrong: Option<String>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/accounts/bind".to_owned())) };
    let exports = visit.read(requests::ExportList { account }).await?.exports;
    if typed.from.is_empty() && typed.to.is_empty() {
        // The months since the last January, as far as they are known: what one asks for most.
        let this = visit.read(requests::AccountSummary { account }).await?.this_month.month;
        typed.from = this.january().first_day().to_string();
        typed.to = this.last_day().to_string();
    }
    let x = ExportWords::of(visit.language);
    let moves = exports.iter().any(|export| export.state == ExportState::Making);
    let mut shell = Shell::within(visit, x.title, Tab::Usage, &chosen);
    shell.frame.refresh_s = moves.then_some(LOOK_AGAIN_S);
    shell.frame.events = moves.then(|| format!("/exports/{account}/live"));
    let is_wrong = wrong.is_some();
    let page = Exports {
        shell,
        x,
        account: visit.f.account(account),
        account_number: account.to_string(),
        typed,
        wrong,
        exports: exports.iter().map(|export| row(visit, x, export)).collect(),
    };
    let body = page.render()?;
    Ok(if is_wrong { Page::not_accepted(body) } else { Page::html(body) })
}

fn row(visit: &Visit, x: &'static ExportWords, export: &Export) -> Row {
    let f = visit.f;
    let title = match export.what {
        ExportWhat::UsageCsv { .. } => x.csv.to_owned(),
        ExportWhat::GreenButton { .. } => x.green.to_owned(),
        ExportWhat::Invoice { bill } => fill(x.invoice_of, &[&f.month(bill.month)]),
    };
    let days = match export.what {
        ExportWhat::UsageCsv { from, to } | ExportWhat::GreenButton { from, to } => {
            Some(fill(x.days, &[&f.date(from), &f.date(to)]))
        }
        ExportWhat::Invoice { .. } => None,
    };
    let (tag, tone) = match export.state {
        ExportState::Making => (x.making, ""),
        ExportState::Ready => (x.ready, "good"),
        ExportState::Failed => (x.failed, "warn"),
        ExportState::Expired => (x.expired, ""),
    };
    let say = match (export.state, export.failure) {
        (ExportState::Failed, Some(ExportFailure::NoReadings)) => Some(x.why_no_readings),
        (ExportState::Failed, Some(ExportFailure::NotPaid)) => Some(x.why_not_paid),
        (ExportState::Failed, Some(ExportFailure::TooLarge)) => Some(x.why_too_large),
        (ExportState::Failed, _) => Some(x.why_our_side),
        (ExportState::Expired, _) => Some(x.expired_lead),
        _ => None,
    };
    let when = match export.until_ms {
        Some(until) => fill(x.until, &[&f.instant_date(until)]),
        None => fill(x.asked, &[&f.instant(export.created_ms)]),
    };
    let size = export.size.filter(|_| export.state == ExportState::Ready).map(size);
    let about: Vec<String> = days.into_iter().chain([when]).chain(size).collect();
    Row {
        title,
        about: about.join(" · "),
        tag,
        tone,
        say,
        href: (export.state == ExportState::Ready).then(|| format!("/exports/{}/content", export.export)),
        is_making: export.state == ExportState::Making,
    }
}

/// `12 KB`, `1.4 MB`, not to be broken before the unit.
fn size(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes}\u{a0}B"),
        1024..=1_048_575 => format!("{}\u{a0}KB", bytes.div_ceil(1024)),
        _ => format!("{}.{}\u{a0}MB", bytes >> 20, (bytes % (1 << 20)) * 10 / (1 << 20)),
    }
}

/// Where to ask for the use of a month.
pub(super) fn of_month(account: AccountId, month: Month) -> String {
    format!("/exports?account={account}&from={}&to={}", month.first_day(), month.last_day())
}

/// `POST /exports`
pub(super) async fn ask(mut visit: Visit, Posted(form): Posted<AskForm>) -> Response {
    let made = match form {
        Ok(form) => create(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn create(visit: &mut Visit, form: AskForm) -> Made {
    visit.check_form(&form.form)?;
    let account: AccountId = form.account.parse().map_err(|_| Stop::NotFound)?;
    let x = ExportWords::of(visit.language);
    let typed = || Typed { kind: form.kind.clone(), from: form.from.clone(), to: form.to.clone() };
    let what = match form.kind.as_str() {
        "invoice" => ExportWhat::Invoice { bill: form.bill.parse().map_err(|_| Stop::NotFound)? },
        kind @ ("csv" | "green") => match (form.from.parse(), form.to.parse()) {
            (Ok(from), Ok(to)) if kind == "csv" => ExportWhat::UsageCsv { from, to },
            (Ok(from), Ok(to)) => ExportWhat::GreenButton { from, to },
            _ => return show(visit, Some(&form.account), typed(), Some(x.wrong_days.to_owned())).await,
        },
        _ => return Err(Stop::Form),
    };
    let said = [form.account.as_str(), &form.kind, &form.from, &form.to, &form.bill];
    let written = visit.write(&form.key, &said, requests::ExportCreate { account, what }).await;
    let wrong = match written {
        Ok(written) => return Ok(after(written, &format!("/exports?account={account}"))),
        Err(Stop::Problem(problem)) => match problem.code {
            Code::InvalidRequest => x.wrong_days,
            // It is not paid, there are too many, or none are made here.
            Code::Conflict if form.kind == "invoice" => x.wrong_invoice,
            Code::Conflict => x.wrong_too_many,
            _ => return Err(Stop::Problem(problem)),
        },
        Err(stop) => return Err(stop),
    };
    let typed = if form.kind == "invoice" {
        Typed { kind: "csv".to_owned(), from: String::new(), to: String::new() }
    } else {
        typed()
    };
    show(visit, Some(&form.account), typed, Some(wrong.to_owned())).await
}

/// `GET /exports/{id}/content`: the file; where it cannot be had, the page that says how it stands.
pub(super) async fn content(mut visit: Visit, Path(id): Path<String>, asked: HeaderMap) -> Response {
    let found = match id.parse() {
        Ok(export) => visit.read(requests::ExportGet { export }).await,
        Err(_) => Err(Stop::NotFound),
    };
    let found = match found {
        Ok(found) => found,
        Err(stop) => return visit.finish(Err(stop)),
    };
    match deliver(&visit.portal.files, &asked, &found).await {
        Ok(response) => visit.finish_with(response),
        Err(problem) if matches!(problem.code, Code::Conflict | Code::ExportGone) => {
            visit.finish(Ok(Page::See(format!("/exports?account={}", found.export.account))))
        }
        Err(problem) => visit.finish(Err(Stop::Problem(problem))),
    }
}
