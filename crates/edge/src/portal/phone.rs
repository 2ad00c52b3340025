//! Changing the phone by which one logs in, with a code to the new one.
use askama::Template;
use axum::response::Response;
use protocol::{
    ChallengeId, Code,
    bounds::{OneTimeCode, Phone},
    catalogue::requests,
};
use serde::Deserialize;
use web::words;

use super::{
    bind::STEP_S,
    cookies::name,
    data::masked,
    errors,
    shell::{Chosen, Shell, Tab},
    visit::{Made, Page, Posted, Stop, Visit, Written, after, typed_code},
};

/// Where one logs in anew and comes back from.
const LOG_IN_ANEW: &str = "/login?next=/me/phone";

#[derive(Deserialize)]
pub(super) struct PhoneForm {
    form: String,
    key: String,
    phone: String,
}

#[derive(Deserialize)]
pub(super) struct CodeForm {
    form: String,
    key: String,
    code: String,
}

#[derive(Template)]
#[template(path = "phone.html")]
struct PhonePage {
    shell: Shell,
    typed: String,
    wrong: Option<String>,
}

#[derive(Template)]
#[template(path = "phone_code.html")]
struct CodePage {
    shell: Shell,
    lead: String,
    wrong: Option<String>,
    demo_inbox: Option<String>,
}

/// `GET /me/phone`
pub(super) async fn page(mut visit: Visit) -> Response {
    let made = show(&mut visit, String::new(), None).await.map(Page::html);
    visit.finish(made)
}

/// `POST /me/phone`: sends the code.
pub(super) async fn start(mut visit: Visit, Posted(form): Posted<PhoneForm>) -> Response {
    let made = match form {
        Ok(form) => send_code(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn send_code(visit: &mut Visit, form: PhoneForm) -> Made {
    visit.check_form(&form.form)?;
    let typed: String = form.phone.chars().filter(|c| !matches!(c, ' ' | '-')).take(20).collect();
    let Ok(phone) = typed.strip_prefix("+86").unwrap_or(&typed).parse::<Phone>() else {
        let wrong = Some(visit.w.login_phone_wrong.to_owned());
        return show(visit, typed, wrong).await.map(Page::not_accepted);
    };
    let operation = requests::PhoneChangeStart { phone: phone.clone() };
    match visit.write(&form.key, &[phone.as_str()], operation).await {
        Ok(Written::Done(started)) => {
            let step = format!("{}|{}", started.challenge, masked(phone.as_str()));
            visit.cookies.set(name::PHONE, step, STEP_S);
            Ok(Page::See("/me/phone/code".to_owned()))
        }
        Ok(Written::Accepted(_)) => Err(Stop::Pending),
        Err(Stop::Problem(problem)) if problem.code == Code::SessionStale => {
            Ok(Page::See(LOG_IN_ANEW.to_owned()))
        }
        Err(Stop::Problem(problem)) if problem.code.status() == 429 => {
            let wrong = Some(errors::too_often(visit, &problem));
            show(visit, typed, wrong).await.map(Page::not_accepted)
        }
        Err(stop) => Err(stop),
    }
}

/// What waits for its code, as a cookie keeps it: `challenge|phone, masked`.
pub(super) fn code_step(visit: &Visit, cookie: &'static str) -> Option<(ChallengeId, String)> {
    let (challenge, phone) = visit.cookies.get(cookie)?.split_once('|')?;
    Some((challenge.parse().ok()?, phone.to_owned()))
}

/// `GET /me/phone/code`
pub(super) async fn code_page(visit: Visit) -> Response {
    let made = match code_step(&visit, name::PHONE) {
        Some((_, phone)) => show_code(&visit, &phone, None).map(Page::html),
        None => Ok(Page::See("/me/phone".to_owned())),
    };
    visit.finish(made)
}

/// `POST /me/phone/code`: changes it.
pub(super) async fn finish(mut visit: Visit, Posted(form): Posted<CodeForm>) -> Response {
    let made = match form {
        Ok(form) => change(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn change(visit: &mut Visit, form: CodeForm) -> Made {
    visit.check_form(&form.form)?;
    let Some((challenge, phone)) = code_step(visit, name::PHONE) else {
        return Ok(Page::See("/me/phone".to_owned()));
    };
    let typed = typed_code(&form.code);
    let Ok(code) = typed.parse::<OneTimeCode>() else {
        return show_code(visit, &phone, Some(visit.w.code_form.to_owned())).map(Page::not_accepted);
    };
    let said = [challenge.to_string(), typed];
    let operation = requests::PhoneChange { challenge, code };
    match visit.write(&form.key, &[&said[0], &said[1]], operation).await {
        Ok(written) => {
            visit.cookies.remove(name::PHONE);
            Ok(after(written, "/me/data"))
        }
        Err(Stop::Problem(problem)) if problem.code == Code::SessionStale => {
            Ok(Page::See(LOG_IN_ANEW.to_owned()))
        }
        Err(Stop::Problem(problem)) if problem.code == Code::Conflict => {
            let wrong = Some(visit.w.phone_taken.to_owned());
            show_code(visit, &phone, wrong).map(Page::not_accepted)
        }
        Err(Stop::Problem(problem)) => match errors::code_refused(visit, &problem) {
            Some(wrong) => show_code(visit, &phone, Some(wrong)).map(Page::not_accepted),
            None => Err(Stop::Problem(problem)),
        },
        Err(stop) => Err(stop),
    }
}

async fn show(visit: &mut Visit, typed: String, wrong: Option<String>) -> Result<String, Stop> {
    let chosen = visit.choose_account(None).await?;
    let shell = Shell::within(visit, visit.w.phone_title, Tab::Me, &chosen);
    Ok(PhonePage { shell, typed, wrong }.render()?)
}

fn show_code(visit: &Visit, phone: &str, wrong: Option<String>) -> Result<String, Stop> {
    let nobody = Chosen { bound: Vec::new(), account: None };
    let page = CodePage {
        shell: Shell::within(visit, visit.w.phone_title, Tab::Me, &nobody),
        lead: words::fill(visit.w.phone_code_lead, &[&phone]),
        wrong,
        demo_inbox: visit.portal.demo_inbox_url(),
    };
    Ok(page.render()?)
}
