//! Binding an account: with a code sent to its registered phone, or with what its latest bill shows.
use askama::Template;
use axum::response::Response;
use protocol::{
    AccountId, ChallengeId, Code,
    bounds::OneTimeCode,
    catalogue::requests::{self, BindProof},
};
use serde::Deserialize;
use web::{
    domain::{calendar::Month, money::Fen},
    format, words,
};

use super::{
    cookies::name,
    errors,
    shell::{Chosen, Shell, Tab},
    visit::{Asked, Made, Page, Posted, Stop, Visit, Written, YEAR_S, typed_code},
};

/// How long a binding may stay half done, in seconds.
pub(super) const STEP_S: i64 = 1800;

#[derive(Default, Deserialize)]
pub(super) struct StartForm {
    form: String,
    key: String,
    account: String,
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
    account: Option<String>,
    month: Option<String>,
    amount: Option<String>,
    all: Option<String>,
}

#[derive(Template)]
#[template(path = "bind.html")]
struct BindPage {
    shell: Shell,
    typed: StartForm,
    by_bill: bool,
    months: Vec<(String, String)>,
    wrong: Wrong,
}

/// What another page fills in already.
#[derive(Debug, Default, Deserialize)]
pub(super) struct BindQuery {
    account: Option<String>,
    how: Option<String>,
}

#[derive(Template)]
#[template(path = "bind_code.html")]
struct CodePage {
    shell: Shell,
    account_number: String,
    lead: String,
    wrong: Option<String>,
    demo_inbox: Option<String>,
}

/// A binding under way, as its cookie keeps it: `account|challenge|phone, masked`.
struct Step {
    account: AccountId,
    challenge: ChallengeId,
    phone: String,
}

impl Step {
    fn read(visit: &Visit) -> Option<Step> {
        let mut parts = visit.cookies.get(name::BIND)?.splitn(3, '|');
        Some(Step {
            account: parts.next()?.parse().ok()?,
            challenge: parts.next()?.parse().ok()?,
            phone: parts.next()?.to_owned(),
        })
    }
}

/// `GET /accounts/bind`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<BindQuery>) -> Response {
    let account: Option<AccountId> = query.account.as_deref().and_then(|text| text.parse().ok());
    let typed = StartForm {
        account: account.map(|account| account.to_string()).unwrap_or_default(),
        how: query.how.unwrap_or_default(),
        ..StartForm::default()
    };
    let made = show(&mut visit, typed, Wrong::default()).await.map(Page::html);
    visit.finish(made)
}

/// `POST /accounts/bind`: sends a code, or binds by what the bill shows.
pub(super) async fn start(mut visit: Visit, Posted(form): Posted<StartForm>) -> Response {
    let made = match form {
        Ok(form) => begin(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn begin(visit: &mut Visit, form: StartForm) -> Made {
    visit.check_form(&form.form)?;
    let by_bill = form.how == "bill";
    let account: Result<AccountId, _> = form.account.trim().parse();
    let month: Option<Month> = form.month.trim().parse().ok();
    let amount = Fen::parse(form.amount.trim().trim_start_matches(['¥', '￥'])).ok();
    let say = |is_wrong: bool, text: &str| is_wrong.then(|| text.to_owned());
    let wrong = Wrong {
        account: say(account.is_err(), visit.w.bind_number_wrong),
        month: say(by_bill && month.is_none(), visit.w.bind_month_wrong),
        amount: say(by_bill && amount.is_none(), visit.w.pay_amount_wrong),
        all: None,
    };
    match (account, by_bill, month, amount) {
        (Ok(account), true, Some(month), Some(amount)) => {
            let proof = BindProof::LatestBill { month, amount_fen: amount.0 };
            let said = [account.to_string(), month.to_string(), amount.to_string()];
            bind(visit, &form.key, &said, account, proof).await.or_else_wrong(visit, form).await
        }
        (Ok(account), false, _, _) => send_code(visit, form, account).await,
        _ => show(visit, form, wrong).await.map(Page::not_accepted),
    }
}

async fn send_code(visit: &mut Visit, form: StartForm, account: AccountId) -> Made {
    let asked = visit.write(&form.key, &[&account.to_string()], requests::AccountBindStart { account }).await;
    let started = match asked {
        Ok(Written::Done(reply)) => reply,
        Ok(Written::Accepted(_)) => return Err(Stop::Pending),
        Err(Stop::Problem(problem)) if problem.code.status() == 429 => {
            let all = Some(errors::too_often(visit, &problem));
            return show(visit, form, Wrong { all, ..Wrong::default() }).await.map(Page::not_accepted);
        }
        Err(stop) => return Err(stop),
    };
    let phone: String = started.phone.chars().filter(|c| c.is_ascii_digit() || *c == '*').take(20).collect();
    visit.cookies.set(name::BIND, format!("{account}|{}|{phone}", started.challenge), STEP_S);
    Ok(Page::See("/accounts/bind/code".to_owned()))
}

/// `GET /accounts/bind/code`
pub(super) async fn code_page(visit: Visit) -> Response {
    let made = match Step::read(&visit) {
        Some(step) => show_code(&visit, &step, None).map(Page::html),
        None => Ok(Page::See("/accounts/bind".to_owned())),
    };
    visit.finish(made)
}

/// `POST /accounts/bind/code`: binds with the code.
pub(super) async fn finish(mut visit: Visit, Posted(form): Posted<CodeForm>) -> Response {
    let made = match form {
        Ok(form) => bind_by_code(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn bind_by_code(visit: &mut Visit, form: CodeForm) -> Made {
    visit.check_form(&form.form)?;
    let Some(step) = Step::read(visit) else { return Ok(Page::See("/accounts/bind".to_owned())) };
    let typed = typed_code(&form.code);
    let Ok(code) = typed.parse::<OneTimeCode>() else {
        return show_code(visit, &step, Some(visit.w.code_form.to_owned())).map(Page::not_accepted);
    };
    let said = [step.account.to_string(), step.challenge.to_string(), typed];
    let proof = BindProof::Code { challenge: step.challenge, code };
    match bind(visit, &form.key, &said, step.account, proof).await {
        Err(Stop::Problem(problem)) => match errors::code_refused(visit, &problem) {
            Some(wrong) => show_code(visit, &step, Some(wrong)).map(Page::not_accepted),
            None if matches!(problem.code, Code::ProofWrong | Code::Forbidden) => {
                let wrong = visit.w.bind_proof_wrong.to_owned();
                show_code(visit, &step, Some(wrong)).map(Page::not_accepted)
            }
            None => Err(Stop::Problem(problem)),
        },
        Err(Stop::NotFound) => {
            show_code(visit, &step, Some(visit.w.code_expired.to_owned())).map(Page::not_accepted)
        }
        other => other,
    }
}

async fn bind(visit: &mut Visit, key: &str, said: &[String], account: AccountId, proof: BindProof) -> Made {
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let written = visit.write(key, &said, requests::AccountBind { account, proof }).await?;
    visit.cookies.remove(name::BIND);
    visit.cookies.set(name::ACCOUNT, account.to_string(), YEAR_S);
    Ok(Page::See(match written {
        Written::Done(_) => "/".to_owned(),
        Written::Accepted(operation) => format!("/working/{operation}?next=/"),
    }))
}

/// Turns a refused proof into the form with a word on it.
trait OrElseWrong {
    async fn or_else_wrong(self, visit: &mut Visit, form: StartForm) -> Made;
}

impl OrElseWrong for Made {
    async fn or_else_wrong(self, visit: &mut Visit, form: StartForm) -> Made {
        let all = match &self {
            Err(Stop::NotFound) => visit.w.bind_proof_wrong.to_owned(),
            Err(Stop::Problem(problem)) => match problem.code {
                Code::ProofWrong | Code::Forbidden | Code::OperationFailed => {
                    visit.w.bind_proof_wrong.to_owned()
                }
                Code::TooManyAttempts => errors::too_many_tries(visit, problem),
                Code::TooManyRequests => errors::too_often(visit, problem),
                _ => return self,
            },
            _ => return self,
        };
        show(visit, form, Wrong { all: Some(all), ..Wrong::default() }).await.map(Page::not_accepted)
    }
}

/// The months a latest bill may be of: the thirteen before this one, newest first, as sent and as written.
pub(super) fn recent_months(visit: &Visit) -> Vec<(String, String)> {
    let today = format::china_date(visit.portal.inward.clock().unix_ms());
    let newest = today.map(|today| Month::of(today).prev());
    let months = std::iter::successors(newest, |month| Some(month.prev())).take(13);
    months.map(|month| (month.to_string(), visit.f.month(month))).collect()
}

async fn show(visit: &mut Visit, typed: StartForm, wrong: Wrong) -> Result<String, Stop> {
    let chosen = visit.choose_account(None).await?;
    let shell = Shell::within(visit, visit.w.bind_title, Tab::Me, &chosen);
    let by_bill = typed.how == "bill";
    Ok(BindPage { shell, typed, by_bill, months: recent_months(visit), wrong }.render()?)
}

fn show_code(visit: &Visit, step: &Step, wrong: Option<String>) -> Result<String, Stop> {
    let nobody = Chosen { bound: Vec::new(), account: None };
    let shell = Shell::within(visit, visit.w.bind_title, Tab::Me, &nobody);
    let account = visit.f.account(step.account);
    // The center does not say whether the account exists or whose phone it has; neither do we.
    let lead = if step.phone.is_empty() {
        words::fill(visit.w.bind_code_lead_unnamed, &[&account])
    } else {
        words::fill(visit.w.bind_code_lead, &[&account, &step.phone])
    };
    let account_number = step.account.to_string();
    Ok(CodePage { shell, account_number, lead, wrong, demo_inbox: visit.portal.demo_inbox_url() }.render()?)
}
