//! What is held about the customer: seen, corrected, downloaded, deleted.
use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use protocol::{
    Code, Problem,
    bounds::{OneTimeCode, Text},
    catalogue::{replies::PersonGet, requests},
};
use serde::Deserialize;
use web::words;

use super::{
    bind::STEP_S,
    cookies::name,
    errors,
    phone::code_step,
    shell::{Chosen, Shell, Tab},
    visit::{Made, Page, Posted, Stop, Visit, Written, after, typed_code},
};

#[derive(Deserialize)]
pub(super) struct NameForm {
    form: String,
    key: String,
    name: String,
}

#[derive(Deserialize)]
pub(super) struct KeyForm {
    form: String,
    key: String,
}

#[derive(Deserialize)]
pub(super) struct CodeForm {
    form: String,
    key: String,
    code: String,
}

#[derive(Template)]
#[template(path = "data.html")]
struct DataPage {
    shell: Shell,
    phone: String,
    since: Option<String>,
    name: String,
    wrong: Option<String>,
    held: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "delete.html")]
struct DeletePage {
    shell: Shell,
    wrong: Option<String>,
}

#[derive(Template)]
#[template(path = "delete_code.html")]
struct DeleteCodePage {
    shell: Shell,
    lead: String,
    wrong: Option<String>,
    demo_inbox: Option<String>,
}

#[derive(Template)]
#[template(path = "deleted.html")]
struct DeletedPage {
    shell: Shell,
}

/// `GET /me/data`
pub(super) async fn page(mut visit: Visit) -> Response {
    let made = show(&mut visit, None).await.map(Page::html);
    visit.finish(made)
}

async fn show(visit: &mut Visit, typed: Option<(String, String)>) -> Result<String, Stop> {
    let chosen = visit.choose_account(None).await?;
    let person = visit.read(requests::PersonGet {}).await?;
    let (w, f) = (visit.w, visit.f);
    let (name, wrong) = match typed {
        Some((name, wrong)) => (name, Some(wrong)),
        None => (person.name.clone(), None),
    };
    let page = DataPage {
        shell: Shell::within(visit, w.data_title, Tab::Me, &chosen),
        phone: person.phone.as_ref().map(|phone| masked(phone.as_str())).unwrap_or_default(),
        since: person.since_ms.map(|ms| f.instant_date(ms)),
        name,
        wrong,
        held: held(visit, &person),
    };
    Ok(page.render()?)
}

fn held(visit: &Visit, person: &PersonGet) -> Vec<(&'static str, String)> {
    let w = visit.w;
    vec![
        (w.accounts, person.accounts.len().to_string()),
        (w.sessions_title, person.sessions.len().to_string()),
        (w.data_payees, person.payees.len().to_string()),
    ]
}

/// 199****0001
pub(super) fn masked(phone: &str) -> String {
    match (phone.get(..3), phone.get(7..)) {
        (Some(first), Some(last)) => format!("{first}****{last}"),
        _ => String::new(),
    }
}

/// `POST /me/data`: corrects the name.
pub(super) async fn correct(mut visit: Visit, Posted(form): Posted<NameForm>) -> Response {
    let made = match form {
        Ok(form) => set_name(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn set_name(visit: &mut Visit, form: NameForm) -> Made {
    visit.check_form(&form.form)?;
    let Ok(name) = Text::new(form.name.trim()) else {
        let typed: String = form.name.chars().filter(|c| !c.is_control()).take(100).collect();
        let wrong = visit.w.data_name_wrong.to_owned();
        return show(visit, Some((typed, wrong))).await.map(Page::not_accepted);
    };
    let language = visit.read(requests::PreferencesGet {}).await?.language;
    let said = [form.name.trim().to_owned()];
    let written = visit.write(&form.key, &[&said[0]], requests::PersonCorrect { name, language }).await?;
    Ok(after(written, "/me/data"))
}

/// `GET /me/data/download`: all of it as JSON, as it is held.
pub(super) async fn download(mut visit: Visit) -> Response {
    let person = visit.read(requests::PersonGet {}).await;
    let text = person.and_then(|person| {
        serde_json::to_string_pretty(&person)
            .map_err(|error| Stop::Problem(Problem::new(Code::Internal, error.to_string())))
    });
    let is_there = text.is_ok();
    let mut response = visit.finish(text.map(Page::html));
    if is_there {
        let head = response.headers_mut();
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        let name = HeaderValue::from_static("attachment; filename=\"my-data.json\"");
        head.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

/// `GET /me/delete`
pub(super) async fn delete_page(mut visit: Visit) -> Response {
    let made = show_delete(&mut visit, None).await.map(Page::html);
    visit.finish(made)
}

async fn show_delete(visit: &mut Visit, wrong: Option<String>) -> Result<String, Stop> {
    let chosen = visit.choose_account(None).await?;
    let shell = Shell::within(visit, visit.w.delete_title, Tab::Me, &chosen);
    Ok(DeletePage { shell, wrong }.render()?)
}

/// `POST /me/delete`: sends the code.
pub(super) async fn delete_start(mut visit: Visit, Posted(form): Posted<KeyForm>) -> Response {
    let made = match form {
        Ok(form) => send_code(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn send_code(visit: &mut Visit, form: KeyForm) -> Made {
    visit.check_form(&form.form)?;
    match visit.write(&form.key, &[], requests::PersonDeleteStart {}).await {
        Ok(Written::Done(started)) => {
            let phone: String =
                started.phone.chars().filter(|c| c.is_ascii_digit() || *c == '*').take(20).collect();
            visit.cookies.set(name::DELETE, format!("{}|{phone}", started.challenge), STEP_S);
            Ok(Page::See("/me/delete/code".to_owned()))
        }
        Ok(Written::Accepted(_)) => Err(Stop::Pending),
        Err(Stop::Problem(problem)) if problem.code == Code::SessionStale => {
            Ok(Page::See("/login?next=/me/delete".to_owned()))
        }
        Err(Stop::Problem(problem)) if problem.code.status() == 429 => {
            let wrong = Some(errors::too_often(visit, &problem));
            show_delete(visit, wrong).await.map(Page::not_accepted)
        }
        Err(stop) => Err(stop),
    }
}

/// `GET /me/delete/code`
pub(super) async fn delete_code_page(visit: Visit) -> Response {
    let made = match code_step(&visit, name::DELETE) {
        Some((_, phone)) => show_code(&visit, &phone, None).map(Page::html),
        None => Ok(Page::See("/me/delete".to_owned())),
    };
    visit.finish(made)
}

/// `POST /me/delete/code`: deletes.
pub(super) async fn delete(mut visit: Visit, Posted(form): Posted<CodeForm>) -> Response {
    let made = match form {
        Ok(form) => delete_all(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn delete_all(visit: &mut Visit, form: CodeForm) -> Made {
    visit.check_form(&form.form)?;
    let Some((challenge, phone)) = code_step(visit, name::DELETE) else {
        return Ok(Page::See("/me/delete".to_owned()));
    };
    let typed = typed_code(&form.code);
    let Ok(code) = typed.parse::<OneTimeCode>() else {
        return show_code(visit, &phone, Some(visit.w.code_form.to_owned())).map(Page::not_accepted);
    };
    let said = [challenge.to_string(), typed];
    let operation = requests::PersonDelete { challenge, code };
    match visit.write(&form.key, &[&said[0], &said[1]], operation).await {
        // Taken is as good: it will be done, and nothing here is left that could ask how far it is.
        Ok(Written::Done(_) | Written::Accepted(_)) => {
            visit.forget_session();
            errors::forget_steps(visit);
            Ok(Page::See("/me/deleted".to_owned()))
        }
        Err(Stop::Problem(problem)) => match errors::code_refused(visit, &problem) {
            Some(wrong) => show_code(visit, &phone, Some(wrong)).map(Page::not_accepted),
            None => Err(Stop::Problem(problem)),
        },
        Err(stop) => Err(stop),
    }
}

fn show_code(visit: &Visit, phone: &str, wrong: Option<String>) -> Result<String, Stop> {
    let nobody = Chosen { bound: Vec::new(), account: None };
    let page = DeleteCodePage {
        shell: Shell::within(visit, visit.w.delete_title, Tab::Me, &nobody),
        lead: words::fill(visit.w.delete_code_lead, &[&phone]),
        wrong,
        demo_inbox: visit.portal.demo_inbox_url(),
    };
    Ok(page.render()?)
}

/// `GET /me/deleted`
pub(super) async fn deleted(visit: Visit) -> Response {
    let shell = Shell::bare(&visit, visit.w.deleted_title);
    let made = DeletedPage { shell }.render().map(Page::html).map_err(Stop::from);
    visit.finish(made)
}
