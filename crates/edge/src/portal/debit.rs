//! Automatic debit: whether it is on, setting it up, ending it.
use askama::Template;
use axum::{http::StatusCode, response::Response};
use protocol::{
    AccountId,
    bounds::PayableFen,
    catalogue::{
        replies::{DebitFailure, Mandate, MandateState},
        requests,
    },
};
use serde::Deserialize;
use web::{domain::money::Fen, words::fill};

use super::{
    home::AccountQuery,
    pay::{Provider, chosen_provider, is_web_address, providers},
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Posted, Stop, Visit, Written, after},
};

mod words;
pub(super) use self::words::DebitWords;

/// The limits one can choose from, in yuan, and the one that is offered first.
const LIMITS_YUAN: [i64; 5] = [200, 500, 1000, 2000, 5000];
const FIRST_LIMIT_YUAN: i64 = 500;

#[derive(Deserialize)]
pub(super) struct SetUpForm {
    form: String,
    key: String,
    account: String,
    limit: String,
    provider: String,
}

#[derive(Deserialize)]
pub(super) struct EndForm {
    form: String,
    key: String,
    account: String,
}

#[derive(Template)]
#[template(path = "debit.html")]
struct DebitPage {
    shell: Shell,
    d: &'static DebitWords,
    account: String,
    account_number: String,
    tag: &'static str,
    tone: &'static str,
    say: Option<String>,
    /// What signing has debited at once.
    due_now: Option<String>,
    view: View,
}

/// What the page offers.
enum View {
    /// To set it up.
    Off { limits: Vec<Limit>, providers: Vec<Provider> },
    /// To sign it.
    Unsigned { sign_url: Option<String> },
    /// To end it.
    On { limit: String, provider: String, since: String, next: Option<String>, running: Option<String> },
    /// Nothing: it is another's.
    Another,
}

struct Limit {
    yuan: i64,
    label: String,
    is_chosen: bool,
}

/// `GET /debit`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let asked = query.account;
    let made = show(&mut visit, asked.as_deref()).await;
    visit.finish(made)
}

async fn show(visit: &mut Visit, asked: Option<&str>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/accounts/bind".to_owned())) };
    let mut mandate = visit.read(requests::MandateGet { account }).await?.mandate;
    let due_fen = visit.read(requests::AccountSummary { account }).await?.balance.due_fen;
    // What failed has been paid otherwise since.
    mandate.iter_mut().filter(|_| due_fen == Fen::ZERO).for_each(|mandate| mandate.last_failure = None);
    let d = DebitWords::of(visit.language);
    let (tag, tone) = match mandate.as_ref().map(|mandate| mandate.state) {
        Some(MandateState::Active) => (d.on, "good"),
        Some(MandateState::Unsigned) => (d.unsigned, "warn"),
        _ => (d.off, ""),
    };
    let page = DebitPage {
        shell: Shell::within(visit, d.title, Tab::Payments, &chosen),
        d,
        account: visit.f.account(account),
        account_number: account.to_string(),
        tag,
        tone,
        due_now: (due_fen > Fen::ZERO).then(|| fill(d.due_now, &[&visit.f.money(due_fen)])),
        say: mandate.as_ref().and_then(|mandate| said(visit, d, mandate)),
        view: mandate.filter(|m| !m.state.has_ended()).map_or_else(|| off(visit), |m| view(visit, &m)),
    };
    let targets = visit.portal.payment_targets();
    Ok(Page::Html { body: page.render()?, status: StatusCode::OK, targets })
}

fn off(visit: &Visit) -> View {
    let limit = |yuan: i64| Limit {
        yuan,
        label: visit.f.money(Fen(yuan * 100)),
        is_chosen: yuan == FIRST_LIMIT_YUAN,
    };
    View::Off { limits: LIMITS_YUAN.into_iter().map(limit).collect(), providers: providers(visit) }
}

fn view(visit: &Visit, mandate: &Mandate) -> View {
    if mandate.by_another {
        return View::Another;
    }
    let only_https = visit.portal.is_secure();
    match mandate.state {
        MandateState::Unsigned => View::Unsigned {
            sign_url: mandate.sign_url.clone().filter(|url| is_web_address(url, only_https)),
        },
        _ => View::On {
            limit: visit.f.money(mandate.limit_fen.unwrap_or(Fen::ZERO)),
            provider: super::payments::provider_name(visit, &mandate.provider),
            since: visit.f.instant_date(mandate.created_ms),
            next: mandate.next_run_ms.map(|at| visit.f.instant(at)),
            running: mandate.running.map(|payment| format!("/payments/{payment}")),
        },
    }
}

/// What is to be said of it before all else.
fn said(visit: &Visit, d: &DebitWords, mandate: &Mandate) -> Option<String> {
    let f = visit.f;
    if mandate.by_another {
        return match mandate.state {
            MandateState::Active => Some(d.by_another.to_owned()),
            MandateState::Unsigned => Some(d.another_begins.to_owned()),
            _ => None,
        };
    }
    let ended = |text| {
        let said = fill(text, &[&f.instant_date(mandate.ended_ms.unwrap_or_default())]);
        let still = mandate.running.map(|_| d.running_still).unwrap_or_default();
        said + if visit.is_zh() || still.is_empty() { "" } else { " " } + still
    };
    Some(match mandate.state {
        MandateState::Unsigned => fill(d.unsigned_lead, &[&f.instant(mandate.expires_ms)]),
        MandateState::NotSigned => d.not_signed.to_owned(),
        MandateState::EndedHere => ended(d.ended_here),
        MandateState::EndedThere => ended(d.ended_there),
        MandateState::EndedUnbound => ended(d.ended_unbound),
        MandateState::Active => {
            let failure = mandate.last_failure.as_ref()?;
            let values: [&dyn std::fmt::Display; 3] =
                [&f.money(failure.amount_fen), &f.instant_date(failure.at_ms), &why(d, failure.why)];
            let what = fill(d.failed, &values);
            let then = match mandate.next_run_ms {
                Some(at) => fill(d.again, &[&f.instant(at)]),
                None if mandate.running.is_some() => d.running.to_owned(),
                None => d.pay_self.to_owned(),
            };
            format!("{what} {then}")
        }
    })
}

/// Why a debit was not made, in words.
pub(super) fn why(d: &DebitWords, why: DebitFailure) -> &'static str {
    match why {
        DebitFailure::OverLimit => d.why_over_limit,
        DebitFailure::NoAnswer => d.why_no_answer,
        DebitFailure::InsufficientFunds => d.why_funds,
        DebitFailure::LimitExceeded => d.why_limit,
        DebitFailure::AgreementEnded => d.why_ended,
        DebitFailure::PayerAccountClosed => d.why_closed,
        DebitFailure::Other => d.why_other,
    }
}

/// `POST /debit`: asks for a mandate and goes to the provider to sign it.
pub(super) async fn set_up(mut visit: Visit, Posted(form): Posted<SetUpForm>) -> Response {
    let made = match form {
        Ok(form) => create(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn create(visit: &mut Visit, form: SetUpForm) -> Made {
    visit.check_form(&form.form)?;
    let account: AccountId = form.account.parse().map_err(|_| Stop::NotFound)?;
    let provider = chosen_provider(&form.provider)?;
    let limit = form.limit.parse().ok().filter(|yuan| LIMITS_YUAN.contains(yuan)).ok_or(Stop::Form)?;
    let limit_fen = PayableFen::try_from(limit * 100).map_err(|_| Stop::Form)?;
    let said = [form.account.as_str(), &form.limit, &form.provider];
    let operation = requests::MandateCreate { account, provider, limit_fen };
    let here = format!("/debit?account={account}");
    Ok(Page::See(match visit.write(&form.key, &said, operation).await? {
        Written::Done(made) if is_web_address(&made.sign_url, visit.portal.is_secure()) => made.sign_url,
        Written::Done(_) => here,
        Written::Accepted(operation) => format!("/working/{operation}?next={here}"),
    }))
}

/// `POST /debit/end`
pub(super) async fn end(mut visit: Visit, Posted(form): Posted<EndForm>) -> Response {
    let made = match form {
        Ok(form) => finish(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn finish(visit: &mut Visit, form: EndForm) -> Made {
    visit.check_form(&form.form)?;
    let account: AccountId = form.account.parse().map_err(|_| Stop::NotFound)?;
    let operation = requests::MandateEnd { account };
    let written = visit.write(&form.key, &[&form.account], operation).await?;
    Ok(after(written, &format!("/debit?account={account}")))
}
