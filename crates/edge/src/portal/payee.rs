//! Paying for somebody else: a number, whose it is (masked), and then as for one's own.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{AccountId, Code, catalogue::requests};
use serde::Deserialize;

use super::{
    errors,
    pay::{self, PayForm},
    shell::{Shell, Tab},
    visit::{Made, Page, Posted, Stop, Visit},
};

#[derive(Default, Deserialize)]
pub(super) struct NumberForm {
    form: String,
    account: String,
}

#[derive(Template)]
#[template(path = "payee.html")]
struct PayeePage {
    shell: Shell,
    typed: String,
    wrong: Option<String>,
}

/// `GET /pay/other`
pub(super) async fn page(mut visit: Visit) -> Response {
    let made = show(&mut visit, String::new(), None).await.map(Page::html);
    visit.finish(made)
}

/// `POST /pay/other`: looks whose number it is.
pub(super) async fn look(mut visit: Visit, Posted(form): Posted<NumberForm>) -> Response {
    let made = match form {
        Ok(form) => find(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn find(visit: &mut Visit, form: NumberForm) -> Made {
    visit.check_form(&form.form)?;
    let typed: String = form.account.chars().take(32).collect();
    let Ok(account) = typed.trim().parse::<AccountId>() else {
        let wrong = Some(visit.w.bind_number_wrong.to_owned());
        return show(visit, typed, wrong).await.map(Page::not_accepted);
    };
    let wrong = match visit.read(requests::PayeeGet { account }).await {
        Ok(_) => return Ok(Page::See(format!("/pay/other/{account}"))),
        Err(Stop::NotFound) => visit.w.payee_unknown.to_owned(),
        Err(Stop::Problem(problem)) if problem.code == Code::TooManyAttempts => {
            errors::too_often(visit, &problem)
        }
        Err(stop) => return Err(stop),
    };
    show(visit, typed, Some(wrong)).await.map(Page::not_accepted)
}

/// `GET /pay/other/{account}`: whose it is, and how much to pay.
pub(super) async fn pay_page(mut visit: Visit, Path(account): Path<String>) -> Response {
    let made = pay::show_for_other(&mut visit, &account, None).await;
    visit.finish(made)
}

/// `POST /pay/other/{account}`: orders the payment and goes to the provider.
pub(super) async fn order(
    mut visit: Visit,
    Path(account): Path<String>,
    Posted(form): Posted<PayForm>,
) -> Response {
    let made = match form {
        Ok(form) if form.account == account => pay::create(&mut visit, form, true).await,
        Ok(_) => Err(Stop::Form),
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn show(visit: &mut Visit, typed: String, wrong: Option<String>) -> Result<String, Stop> {
    let chosen = visit.choose_account(None).await?;
    let shell = Shell::within(visit, visit.w.payee_title, Tab::Payments, &chosen);
    Ok(PayeePage { shell, typed, wrong }.render()?)
}
