//! Taking an account off one's list, with the same proof as adding it.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{
    AccountId, ChallengeId, Code,
    bounds::OneTimeCode,
    catalogue::requests::{self, BindProof},
};
use serde::Deserialize;
use web::{
    domain::{calendar::Month, money::Fen},
    words,
};

use super::{
    bind::{STEP_S, recent_months},
    cookies::name,
    errors,
    shell::{Shell, Tab},
    visit::{Made, Page, Posted, Stop, Visit, Written, typed_code},
};

#[derive(Default, Deserialize)]
pub(super) struct StartForm {
    form: String,
    key: String,
    #[serde(default)]
    how: String,
    #[serde(default)]
    month: String,
    #[serde(default)]
    amount: String,
}

#[derive(Deserialize)]
pub(super) struct CodeForm {
    form: String,
    key: String,
    code: String,
}

/// What is wrong with a field.
#[derive(Default)]
struct Wrong {
    month: Option<String>,
    amount: Option<String>,
    all: Option<String>,
}

#[derive(Template)]
#[template(path = "unbind.html")]
struct UnbindPage {
    shell: Shell,
    account: String,
    account_number: String,
    typed: StartForm,
    by_bill: bool,
    months: Vec<(String, String)>,
    wrong: Wrong,
}

#[derive(Template)]
#[template(path = "unbind_code.html")]
struct CodePage {
    shell: Shell,
    account_number: String,
    lead: String,
    wrong: Option<String>,
    demo_inbox: Option<String>,
}

/// `GET /accounts/{account}/unbind`
pub(super) async fn page(mut visit: Visit, Path(account): Path<String>) -> Response {
    let made = show(&mut visit, &account, StartForm::default(), Wrong::default()).await.map(Page::html);
    visit.finish(made)
}

/// `POST /accounts/{account}/unbind`: sends a code, or unbinds by what the bill shows.
pub(super) async fn start(
    mut visit: Visit,
    Path(account): Path<String>,
    Posted(form): Posted<StartForm>,
) -> Response {
    let made = match form {
        Ok(form) => begin(&mut visit, &account, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn begin(visit: &mut Visit, asked: &str, form: StartForm) -> Made {
    visit.check_form(&form.form)?;
    let account: AccountId = asked.parse().map_err(|_| Stop::NotFound)?;
    let unbound = if form.how == "bill" {
        let month: Option<Month> = form.month.trim().parse().ok();
        let amount = Fen::parse(form.amount.trim().trim_start_matches(['¥', '￥'])).ok();
        let (Some(month), Some(amount)) = (month, amount) else {
            let wrong = Wrong {
                month: month.is_none().then(|| visit.w.bind_month_wrong.to_owned()),
                amount: amount.is_none().then(|| visit.w.pay_amount_wrong.to_owned()),
                all: None,
            };
            return show(visit, asked, form, wrong).await.map(Page::not_accepted);
        };
        let said = [account.to_string(), month.to_string(), amount.to_string()];
        unbind(visit, &form.key, &said, account, BindProof::LatestBill { month, amount_fen: amount.0 }).await
    } else {
        send_code(visit, &form.key, account).await
    };
    let all = match &unbound {
        Err(Stop::Problem(problem)) => match problem.code {
            Code::ProofWrong => visit.w.bind_proof_wrong.to_owned(),
            Code::TooManyAttempts | Code::TooManyRequests => errors::too_often(visit, problem),
            _ => return unbound,
        },
        _ => return unbound,
    };
    show(visit, asked, form, Wrong { all: Some(all), ..Wrong::default() }).await.map(Page::not_accepted)
}

async fn send_code(visit: &mut Visit, key: &str, account: AccountId) -> Made {
    let operation = requests::AccountUnbindStart { account };
    match visit.write(key, &[&account.to_string()], operation).await? {
        Written::Done(started) => {
            visit.cookies.set(name::UNBIND, format!("{account}|{}", started.challenge), STEP_S);
            Ok(Page::See(format!("/accounts/{account}/unbind/code")))
        }
        Written::Accepted(_) => Err(Stop::Pending),
    }
}

/// The code under way for an account, as its cookie keeps it: `account|challenge`.
fn step(visit: &Visit, asked: &str) -> Option<(AccountId, ChallengeId)> {
    let (account, challenge) = visit.cookies.get(name::UNBIND)?.split_once('|')?;
    (account == asked).then_some((account.parse().ok()?, challenge.parse().ok()?))
}

/// `GET /accounts/{account}/unbind/code`
pub(super) async fn code_page(mut visit: Visit, Path(account): Path<String>) -> Response {
    let made = match step(&visit, &account) {
        Some(_) => show_code(&mut visit, &account, None).await.map(Page::html),
        None => Ok(Page::See("/accounts".to_owned())),
    };
    visit.finish(made)
}

/// `POST /accounts/{account}/unbind/code`: unbinds with the code.
pub(super) async fn finish(
    mut visit: Visit,
    Path(account): Path<String>,
    Posted(form): Posted<CodeForm>,
) -> Response {
    let made = match form {
        Ok(form) => by_code(&mut visit, &account, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn by_code(visit: &mut Visit, asked: &str, form: CodeForm) -> Made {
    visit.check_form(&form.form)?;
    let Some((account, challenge)) = step(visit, asked) else {
        return Ok(Page::See("/accounts".to_owned()));
    };
    let typed = typed_code(&form.code);
    let Ok(code) = typed.parse::<OneTimeCode>() else {
        let wrong = Some(visit.w.code_form.to_owned());
        return show_code(visit, asked, wrong).await.map(Page::not_accepted);
    };
    let said = [account.to_string(), challenge.to_string(), typed];
    let unbound = unbind(visit, &form.key, &said, account, BindProof::Code { challenge, code }).await;
    let wrong = match &unbound {
        Err(Stop::Problem(problem)) if problem.code == Code::ProofWrong => {
            visit.w.unbind_code_wrong.to_owned()
        }
        Err(Stop::Problem(problem)) => match errors::code_refused(visit, problem) {
            Some(wrong) => wrong,
            None => return unbound,
        },
        _ => return unbound,
    };
    show_code(visit, asked, Some(wrong)).await.map(Page::not_accepted)
}

async fn unbind(visit: &mut Visit, key: &str, said: &[String], account: AccountId, proof: BindProof) -> Made {
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let written = visit.write(key, &said, requests::AccountUnbind { account, proof }).await?;
    visit.cookies.remove(name::UNBIND);
    visit.cookies.remove(name::ACCOUNT);
    Ok(Page::See(match written {
        Written::Done(_) => "/accounts".to_owned(),
        Written::Accepted(operation) => format!("/working/{operation}?next=/accounts"),
    }))
}

async fn show(visit: &mut Visit, asked: &str, typed: StartForm, wrong: Wrong) -> Result<String, Stop> {
    let chosen = visit.choose_account(Some(asked)).await?;
    let account = chosen.account.ok_or(Stop::NotFound)?;
    let page = UnbindPage {
        shell: Shell::within(visit, visit.w.unbind_title, Tab::Me, &chosen),
        account: visit.f.account(account),
        account_number: account.to_string(),
        by_bill: typed.how == "bill",
        months: recent_months(visit),
        typed,
        wrong,
    };
    Ok(page.render()?)
}

async fn show_code(visit: &mut Visit, asked: &str, wrong: Option<String>) -> Result<String, Stop> {
    let chosen = visit.choose_account(Some(asked)).await?;
    let account = chosen.account.ok_or(Stop::NotFound)?;
    let page = CodePage {
        shell: Shell::within(visit, visit.w.unbind_title, Tab::Me, &chosen),
        account_number: account.to_string(),
        lead: words::fill(visit.w.unbind_code_lead, &[&visit.f.account(account)]),
        wrong,
        demo_inbox: visit.portal.demo_inbox_url(),
    };
    Ok(page.render()?)
}
