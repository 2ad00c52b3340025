//! The auditor's pages: which files a person has to look at, each with a safe look at what it holds, and the decision.
//!
//! The auditor's account is the center's; its token is checked here. What a file holds is never shown as what it says it is:
//! text as text, a picture under a policy that lets nothing run, anything else as a download.
use std::io::Read;

use askama::Template;
use axum::{
    body::Body,
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{
    Code, FileId,
    bounds::{Secret, ShortName, Text},
    catalogue::requests,
    session::{STAFF_TTL_S, StaffRole},
};
use serde::Deserialize;

use super::{
    cookies::name,
    errors,
    shell::Shell,
    uploads::{FileWords, size_text},
    visit::{Made, Page, Posted, Stop, Visit},
};
use crate::{
    files::{AUDITOR, GateStatus, Record, Stage},
    inward::NotStaff,
};

mod words;
use self::words::AuditWords;

/// So much of a text is shown, in bytes.
const EXCERPT: u64 = 16 * 1024;

#[derive(Deserialize)]
pub(super) struct LoginForm {
    form: String,
    name: String,
    password: String,
}

#[derive(Deserialize)]
pub(super) struct DecideForm {
    form: String,
    what: String,
    #[serde(default)]
    why: String,
}

#[derive(Deserialize)]
pub(super) struct LeaveForm {
    form: String,
}

#[derive(Template)]
#[template(path = "audit_login.html")]
struct LoginPage {
    shell: Shell,
    a: &'static AuditWords,
    name: String,
    wrong: Option<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct ListPage {
    shell: Shell,
    a: &'static AuditWords,
    who: String,
    files: Vec<Row>,
    counts: Vec<(&'static str, u64, String)>,
    gates: Vec<GateRow>,
}

struct Row {
    href: String,
    name: String,
    kind: String,
    size: String,
    when: String,
    why: String,
}

struct GateRow {
    name: String,
    connected: bool,
    leaves: bool,
    waiting: usize,
    crossing: usize,
    bytes: String,
    stored: u64,
    refused: u64,
    postponed: u64,
}

#[derive(Template)]
#[template(path = "audit_file.html")]
struct FilePage {
    shell: Shell,
    a: &'static AuditWords,
    id: String,
    name: String,
    kind: String,
    size: String,
    request: String,
    request_kind: String,
    channel: String,
    hash: String,
    why: String,
    state: &'static str,
    can_decide: bool,
    look: Look,
    steps: Vec<(String, String, String)>,
    wrong: Option<&'static str>,
}

/// What can be seen of a file.
enum Look {
    Picture,
    Text { excerpt: String, is_cut: bool },
    Download,
    Gone,
}

/// Who looks; `None` where they have to log in first, and are told there if their log-in was taken back.
fn auditor(visit: &Visit) -> Option<ShortName> {
    let token = visit.cookies.get(name::STAFF)?;
    let claims = visit.portal.inward.check_staff(token).ok()?;
    claims.roles.contains(&StaffRole::Auditor).then_some(claims.name)
}

fn is_revoked(visit: &Visit) -> bool {
    let token = visit.cookies.get(name::STAFF);
    token.is_some_and(|token| visit.portal.inward.check_staff(token) == Err(NotStaff::Revoked))
}

fn log_in_first() -> Made {
    Ok(Page::See("/audit/login".to_owned()))
}

/// `GET /audit/login`
pub(super) async fn login_page(visit: Visit) -> Response {
    let why = is_revoked(&visit).then(|| AuditWords::of(visit.language).login_revoked.to_owned());
    let made = show_login(&visit, String::new(), why).map(Page::html);
    visit.finish(made)
}

fn show_login(visit: &Visit, name: String, wrong: Option<String>) -> Result<String, Stop> {
    let a = AuditWords::of(visit.language);
    Ok(LoginPage { shell: Shell::bare(visit, a.title), a, name, wrong }.render()?)
}

/// `POST /audit/login`
pub(super) async fn login(mut visit: Visit, Posted(form): Posted<LoginForm>) -> Response {
    let made = match form {
        Ok(form) => enter(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn enter(visit: &mut Visit, form: LoginForm) -> Made {
    visit.check_form(&form.form)?;
    let a = AuditWords::of(visit.language);
    let typed: String = form.name.trim().to_lowercase().chars().take(32).collect();
    let (Ok(name), Ok(password)) = (typed.parse::<ShortName>(), Secret::new(form.password)) else {
        return show_login(visit, typed, Some(a.login_wrong.to_owned())).map(Page::not_accepted);
    };
    let asked = visit.portal.inward.ask(&visit.base_call(), requests::StaffLogin { name, password }).await;
    let wrong = match asked.and_then(crate::inward::Answer::done) {
        Ok(entered) if entered.roles.contains(&StaffRole::Auditor) => {
            visit.cookies.set(name::STAFF, entered.token, STAFF_TTL_S as i64);
            return Ok(Page::See("/audit".to_owned()));
        }
        Ok(_) => a.login_role.to_owned(),
        Err(problem) if problem.code == Code::Unauthenticated => a.login_wrong.to_owned(),
        Err(problem) if problem.code.status() == 429 => errors::too_often(visit, &problem),
        Err(problem) => return Err(Stop::Problem(problem)),
    };
    show_login(visit, typed, Some(wrong)).map(Page::not_accepted)
}

/// `POST /audit/logout`
pub(super) async fn leave(mut visit: Visit, Posted(form): Posted<LeaveForm>) -> Response {
    let left = form.and_then(|form| visit.check_form(&form.form));
    let made = left.map(|()| {
        visit.cookies.remove(name::STAFF);
        Page::See("/audit/login".to_owned())
    });
    visit.finish(made)
}

/// `GET /audit`
pub(super) async fn list(mut visit: Visit) -> Response {
    let made = show_list(&mut visit).await;
    visit.finish(made)
}

async fn show_list(visit: &mut Visit) -> Made {
    let Some(who) = auditor(visit) else { return log_in_first() };
    let a = AuditWords::of(visit.language);
    let files = visit.portal.files.clone();
    let waiting = files.in_stage(Stage::ForAPerson).await?;
    let row = |record: &Record| Row {
        href: format!("/audit/{}", record.id),
        name: record.name.clone(),
        kind: record.kind.clone(),
        size: size_text(record.size),
        when: visit.f.instant(record.changed_ms),
        why: FileWords::of(visit.language).why(&record.why),
    };
    let counts = files.counts().await?;
    let gate = |gate: GateStatus| GateRow {
        name: gate.name,
        connected: gate.connected,
        leaves: gate.leaves,
        waiting: gate.waiting,
        crossing: gate.crossing,
        bytes: size_text(gate.bytes),
        stored: gate.stored,
        refused: gate.refused,
        postponed: gate.postponed,
    };
    let mut shell = Shell::bare(visit, a.title);
    shell.frame.refresh_s = Some(5);
    let page = ListPage {
        a,
        who: who.to_string(),
        files: waiting.iter().map(row).collect(),
        counts: counts.into_iter().map(|(stage, n, bytes)| (a.stage(stage), n, size_text(bytes))).collect(),
        gates: files.gates().into_iter().map(gate).collect(),
        shell,
    };
    Ok(Page::html(page.render()?))
}

/// `GET /audit/{file}`
pub(super) async fn one(mut visit: Visit, Path(file): Path<String>) -> Response {
    let made = show(&mut visit, &file, None).await;
    visit.finish(made)
}

async fn show(visit: &mut Visit, file: &str, wrong: Option<&'static str>) -> Made {
    if auditor(visit).is_none() {
        return log_in_first();
    }
    let a = AuditWords::of(visit.language);
    let files = visit.portal.files.clone();
    let id: FileId = file.parse().map_err(|_| Stop::NotFound)?;
    let record = files.get(id).await?.ok_or(Stop::NotFound)?;
    let look = look(visit, &record).await?;
    let step = |decision: crate::files::Decision| {
        let why = if decision.why.is_empty() { String::new() } else { format!(" · {}", decision.why) };
        (visit.f.instant(decision.at_ms), decision.who, format!("{}{why}", a.decision(&decision.what)))
    };
    let page = FilePage {
        shell: Shell::bare(visit, a.title),
        a,
        id: id.to_string(),
        name: record.name.clone(),
        kind: record.kind.clone(),
        size: size_text(record.size),
        request: record.request.map(|request| request.to_string()).unwrap_or_default(),
        request_kind: a.about(&record.about),
        channel: record.channel.clone(),
        hash: record.root.map(|root| blake3::Hash::from_bytes(root).to_hex().to_string()).unwrap_or_default(),
        why: FileWords::of(visit.language).why(&record.why),
        state: a.stage(record.stage),
        can_decide: record.stage == Stage::ForAPerson,
        look,
        steps: files.decisions(id).await?.into_iter().map(step).collect(),
        wrong,
    };
    let body = page.render()?;
    Ok(if wrong.is_some() { Page::not_accepted(body) } else { Page::html(body) })
}

async fn look(visit: &Visit, record: &Record) -> Result<Look, Stop> {
    if record.stage.is_over() {
        return Ok(Look::Gone);
    }
    Ok(match record.kind.as_str() {
        "jpeg" | "png" | "webp" | "gif" => Look::Picture,
        "text" | "csv" | "xml" => {
            let file = visit.portal.files.open_body(record.id).await?;
            let mut bytes = Vec::new();
            file.take(EXCERPT).read_to_end(&mut bytes).map_err(|_| Stop::NotFound)?;
            let is_cut = record.size > EXCERPT;
            Look::Text { excerpt: String::from_utf8_lossy(&bytes).into_owned(), is_cut }
        }
        _ => Look::Download,
    })
}

/// `GET /audit/{file}/look`: the bytes, so that nothing in them can do anything.
pub(super) async fn bytes(visit: Visit, Path(file): Path<String>) -> Response {
    match body(&visit, &file).await {
        Ok(response) => response,
        Err(stop) => visit.finish(Err(stop)),
    }
}

async fn body(visit: &Visit, file: &str) -> Result<Response, Stop> {
    auditor(visit).ok_or(Stop::NotFound)?;
    let id: FileId = file.parse().map_err(|_| Stop::NotFound)?;
    let files = &visit.portal.files;
    let record = files.get(id).await?.filter(|record| !record.stage.is_over()).ok_or(Stop::NotFound)?;
    let open = files.open_body(id).await?;
    let (content_type, disposition) = match record.kind.as_str() {
        "jpeg" => ("image/jpeg", "inline"),
        "png" => ("image/png", "inline"),
        "webp" => ("image/webp", "inline"),
        "gif" => ("image/gif", "inline"),
        _ => ("application/octet-stream", "attachment"),
    };
    let mut response = (StatusCode::OK, Body::from_stream(stream(open))).into_response();
    let head = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    ];
    for (name, value) in fixed {
        head.insert(name, HeaderValue::from_static(value));
    }
    // Under our own name: the customer's is for people to read, not for a file system.
    if let Ok(value) = HeaderValue::try_from(format!("{disposition}; filename=\"{id}.bin\"")) {
        head.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// A file's bytes, piece by piece.
fn stream(file: std::fs::File) -> impl futures_util::Stream<Item = std::io::Result<axum::body::Bytes>> {
    futures_util::stream::unfold(tokio::fs::File::from_std(file), |mut file| async move {
        use tokio::io::AsyncReadExt;
        let mut piece = vec![0; 64 * 1024];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some((Ok(axum::body::Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    })
}

/// `POST /audit/{file}`: the decision.
pub(super) async fn decide(
    mut visit: Visit,
    Path(file): Path<String>,
    Posted(form): Posted<DecideForm>,
) -> Response {
    let made = match form {
        Ok(form) => settle(&mut visit, &file, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn settle(visit: &mut Visit, file: &str, form: DecideForm) -> Made {
    visit.check_form(&form.form)?;
    let Some(who) = auditor(visit) else { return log_in_first() };
    let a = AuditWords::of(visit.language);
    let id: FileId = file.parse().map_err(|_| Stop::NotFound)?;
    let files = visit.portal.files.clone();
    let who = format!("{AUDITOR}{who}");
    let moved = match form.what.as_str() {
        "approve" => files.approve(id, &who).await?,
        "refuse" => match Text::<200>::new(form.why.trim()) {
            Ok(why) if !why.is_empty() => files.refuse(id, &who, &why).await?,
            _ => return show(visit, file, Some(a.why_wrong)).await,
        },
        _ => return Err(Stop::Form),
    };
    if moved { Ok(Page::See("/audit".to_owned())) } else { show(visit, file, Some(a.too_late)).await }
}
