//! Requests: the list, and one with its timeline.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::{
    Code, ServiceRequestId,
    bounds::Prose,
    catalogue::{
        replies::{
            Outage, RequestBrief, RequestGet, RequestKind, RequestState, RequestStep, StepBy, StepKind,
        },
        requests,
    },
};
use serde::Deserialize;
use web::words;

use super::{
    home::AccountQuery,
    outages::OutageCard,
    shell::{Shell, Tab},
    uploads::FilesCard,
    visit::{Asked, Made, Page, Posted, Stop, Visit, Written},
};

/// How many requests the page shows of each list.
const SHOWN: u8 = 20;
/// How often an open request's page looks whether it has moved, in seconds.
const LOOK_AGAIN_S: u32 = 5;

#[derive(Template)]
#[template(path = "requests.html")]
struct Requests {
    shell: Shell,
    account: Option<String>,
    requests: Vec<Row>,
}

/// A request in a list.
pub(super) struct Row {
    pub(super) href: String,
    pub(super) title: String,
    pub(super) when: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) next: String,
}

impl Row {
    pub(super) fn of(visit: &Visit, request: &RequestBrief) -> Row {
        let (state, tone) = state(visit, request.state);
        Row {
            href: format!("/requests/{}", request.request),
            title: title(visit, request).to_owned(),
            when: visit.f.instant(request.created_ms),
            state,
            tone,
            next: next(visit, request),
        }
    }
}

fn title<'a>(visit: &Visit, request: &'a RequestBrief) -> &'a str {
    if visit.is_zh() { &request.title_zh } else { &request.title_en }
}

/// A state in plain words, and how it is coloured.
pub(super) fn state(visit: &Visit, state: RequestState) -> (&'static str, &'static str) {
    let w = visit.w;
    match state {
        RequestState::Received => (w.request_received, ""),
        RequestState::Assigned => (w.request_assigned, ""),
        RequestState::UnderWay => (w.request_under_way, ""),
        RequestState::Waiting => (w.request_waiting, "warn"),
        RequestState::Done => (w.request_done, "good"),
        RequestState::Cancelled => (w.request_cancelled, ""),
    }
}

/// What happens next, and until when.
fn next(visit: &Visit, request: &RequestBrief) -> String {
    let (w, f) = (visit.w, visit.f);
    match (request.state, request.answer_by_ms) {
        (RequestState::Done, _) => words::fill(w.request_next_done, &[&f.instant(request.changed_ms)]),
        (RequestState::Cancelled, _) => w.request_next_cancelled.to_owned(),
        (RequestState::Waiting, _) => w.request_next_waiting.to_owned(),
        (_, Some(by)) => words::fill(w.request_next_by, &[&f.instant(by)]),
        (_, None) => w.request_next.to_owned(),
    }
}

/// `GET /requests`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let made = list(&mut visit, query.account.as_deref()).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit, asked: Option<&str>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let rows = all(visit, chosen.account).await?;
    let page = Requests {
        shell: Shell::within(visit, visit.w.requests_title, Tab::Requests, &chosen),
        account: chosen.account.map(|account| visit.f.account(account)),
        requests: rows.iter().map(|request| Row::of(visit, request)).collect(),
    };
    Ok(Page::html(page.render()?))
}

/// The customer's requests about an account and about none, newest first.
pub(super) async fn all(
    visit: &mut Visit,
    account: Option<protocol::AccountId>,
) -> Result<Vec<RequestBrief>, Stop> {
    let own = requests::RequestList { account: None, before: None, limit: SHOWN };
    let mut found = visit.read(own.clone()).await?.requests;
    if account.is_some() {
        found.extend(visit.read(requests::RequestList { account, ..own }).await?.requests);
    }
    found.sort_by_key(|request| std::cmp::Reverse(request.created_ms));
    Ok(found)
}

#[derive(Template)]
#[template(path = "request.html")]
struct OneRequest {
    shell: Shell,
    title: String,
    state: &'static str,
    tone: &'static str,
    next: String,
    account: Option<String>,
    number: String,
    answers: Vec<(String, String)>,
    steps: Vec<Step>,
    outage: Option<OutageCard>,
    is_open: bool,
    /// Where to send in the like of it again.
    again_href: Option<String>,
    is_waiting: bool,
    note: String,
    wrong: Option<&'static str>,
    files: FilesCard,
}

struct Step {
    when: String,
    title: &'static str,
    lines: Vec<String>,
    icon: &'static str,
    tone: &'static str,
}

/// `GET /requests/{id}`
pub(super) async fn one(mut visit: Visit, Path(id): Path<String>) -> Response {
    let made = show(&mut visit, &id, String::new(), None).await;
    visit.finish(made)
}

async fn show(visit: &mut Visit, id: &str, note: String, wrong: Option<&'static str>) -> Made {
    make(visit, id, (note, wrong), None).await
}

/// The page with what was wrong with a file.
pub(super) async fn show_with(visit: &mut Visit, id: &str, file_wrong: Option<String>) -> Made {
    make(visit, id, (String::new(), None), file_wrong).await
}

async fn make(
    visit: &mut Visit,
    id: &str,
    (note, wrong): (String, Option<&'static str>),
    file_wrong: Option<String>,
) -> Made {
    let request: ServiceRequestId = id.parse().map_err(|_| Stop::NotFound)?;
    let reply = visit.read(requests::RequestGet { request }).await?;
    let account = reply.request.account;
    let chosen = match account {
        Some(account) => visit.choose_account(Some(&account.to_string())).await?,
        None => visit.choose_account(None).await?,
    };
    let outage = outage_of(visit, &reply).await?;
    let has_failed = wrong.is_some() || file_wrong.is_some();
    let files = FilesCard::of(visit, &reply, file_wrong).await?;
    let head = &reply.request;
    let (state, tone) = state(visit, head.state);
    let is_zh = visit.is_zh();
    let answers = reply.answers.iter().map(|answer| match is_zh {
        true => (answer.label_zh.clone(), answer.value_zh.clone()),
        false => (answer.label_en.clone(), answer.value_en.clone()),
    });
    let is_open = !head.state.is_closed();
    let mut shell = Shell::within(visit, visit.w.requests_title, Tab::Requests, &chosen);
    shell.frame.refresh_s = ((is_open || files.moves) && !has_failed).then_some(LOOK_AGAIN_S);
    shell.frame.events = shell.frame.refresh_s.map(|_| format!("/requests/{request}/live"));
    let page = OneRequest {
        title: title(visit, head).to_owned(),
        state,
        tone,
        next: next(visit, head),
        account: account.map(|account| visit.f.account(account)),
        number: request.to_string(),
        answers: answers.collect(),
        steps: reply.steps.iter().rev().map(|step| shown(visit, step)).collect(),
        outage: outage.map(|outage| OutageCard::of(visit, &outage)),
        is_open,
        again_href: again_href(head),
        is_waiting: head.state == RequestState::Waiting,
        note,
        wrong,
        files,
        shell,
    };
    let body = page.render()?;
    Ok(if wrong.is_some() { Page::not_accepted(body) } else { Page::html(body) })
}

async fn outage_of(visit: &mut Visit, reply: &RequestGet) -> Result<Option<Outage>, Stop> {
    let (Some(account), Some(outage)) = (reply.request.account, reply.outage) else { return Ok(None) };
    let outages = visit.read(requests::OutageList { account }).await?.outages;
    Ok(outages.into_iter().find(|known| known.outage == outage))
}

fn shown(visit: &Visit, step: &RequestStep) -> Step {
    let w = visit.w;
    let (title, icon, tone) = match (step.kind, step.by) {
        (StepKind::Received, _) => (w.step_received, "check", ""),
        (StepKind::Assigned, _) => (w.step_assigned, "me", ""),
        (StepKind::Started, _) => (w.step_started, "clock", ""),
        (StepKind::Asked, _) => (w.step_asked, "info", "warn"),
        (StepKind::Note, StepBy::Customer) => (w.step_note_customer, "plus", ""),
        (StepKind::Note, _) => (w.step_note_service, "info", ""),
        (StepKind::File, _) => (w.step_file, "plus", ""),
        (StepKind::Joined, _) => (w.step_joined, "bolt", "warn"),
        (StepKind::Done, StepBy::System) => (w.step_restored, "bolt", "good"),
        (StepKind::Done, _) => (w.step_done, "check", "good"),
        (StepKind::Cancelled, _) => (w.step_cancelled, "out", ""),
    };
    let lines = step.text.lines().map(str::to_owned).collect();
    Step { when: visit.f.instant(step.at_ms), title, lines, icon, tone }
}

/// What is added to a request.
#[derive(Debug, Deserialize)]
pub(super) struct NoteForm {
    form: String,
    key: String,
    #[serde(default)]
    note: String,
}

/// `POST /requests/{id}/note`
pub(super) async fn note(
    mut visit: Visit,
    Path(id): Path<String>,
    Posted(form): Posted<NoteForm>,
) -> Response {
    let made = match form {
        Ok(form) => add(&mut visit, &id, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn add(visit: &mut Visit, id: &str, form: NoteForm) -> Made {
    visit.check_form(&form.form)?;
    let request: ServiceRequestId = id.parse().map_err(|_| Stop::NotFound)?;
    let text = match Prose::<1500>::new(&form.note) {
        Ok(text) if !text.is_empty() => text,
        Ok(_) => return show(visit, id, form.note, Some(visit.w.note_empty)).await,
        Err(_) => return show(visit, id, form.note, Some(visit.w.note_wrong)).await,
    };
    let said = ["note", id, &*text.clone()].map(str::to_owned);
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    match visit.write(&form.key, &said, requests::RequestNote { request, text }).await {
        // It was closed meanwhile: said on its page, with what was written still there.
        Err(Stop::Problem(problem)) if problem.code == Code::Conflict => {
            show(visit, id, form.note, Some(visit.w.note_closed)).await
        }
        written => goes_to(id, written?),
    }
}

/// Where the like of a closed request can be sent in again.
fn again_href(head: &RequestBrief) -> Option<String> {
    let account = head.account.map(|account| format!("?account={account}")).unwrap_or_default();
    let place = if head.kind == RequestKind::Fault { "fault" } else { "new" };
    head.state.is_closed().then(|| format!("/requests/{place}{account}"))
}

/// The form that withdraws a request.
#[derive(Debug, Deserialize)]
pub(super) struct CancelForm {
    form: String,
    key: String,
}

/// `POST /requests/{id}/cancel`
pub(super) async fn cancel(
    mut visit: Visit,
    Path(id): Path<String>,
    Posted(form): Posted<CancelForm>,
) -> Response {
    let made = match form {
        Ok(form) => withdraw(&mut visit, &id, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn withdraw(visit: &mut Visit, id: &str, form: CancelForm) -> Made {
    visit.check_form(&form.form)?;
    let request: ServiceRequestId = id.parse().map_err(|_| Stop::NotFound)?;
    goes_to(id, visit.write(&form.key, &["cancel", id], requests::RequestCancel { request }).await?)
}

fn goes_to<R>(id: &str, written: Written<R>) -> Made {
    Ok(Page::See(match written {
        Written::Done(_) => format!("/requests/{id}"),
        Written::Accepted(operation) => format!("/working/{operation}?next=/requests/{id}"),
    }))
}
