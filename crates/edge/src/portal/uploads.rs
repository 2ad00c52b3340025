//! A request's files: which there are and how they stand, sending another, withdrawing one.
//!
//! A form with a file does not say how long it is before it has come, so it is taken as a part first and becomes the
//! request's file when it is whole.
use axum::{
    extract::{Multipart, Path, multipart::Field},
    http::StatusCode,
    response::Response,
};
use protocol::{
    Code, FileId, ServiceRequestId,
    bounds::Text,
    catalogue::{
        replies::{FileBrief, FileState, RequestBrief, RequestGet},
        requests::RequestForm,
    },
};
use serde::Deserialize;
use web::words::fill;

use super::{
    requests,
    visit::{Made, Page, Posted, Stop, Visit},
};
use crate::files::{About, NewFile, Record, RulesFor, Stage};

mod words;
pub(super) use self::words::FileWords;

/// No field of the form but the file is longer, in bytes.
const FIELD_MAX: usize = 256;

/// The part of a request's page that is about files.
pub(super) struct FilesCard {
    pub(super) d: &'static FileWords,
    pub(super) rows: Vec<FileShown>,
    /// What may be sent, where anything may.
    pub(super) hint: Option<String>,
    /// What the file picker offers.
    pub(super) accept: String,
    pub(super) wrong: Option<String>,
    /// Whether something is under way, so that the page looks again.
    pub(super) moves: bool,
}

/// A file as the page shows it.
pub(super) struct FileShown {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) size: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) why: Option<String>,
    pub(super) can_withdraw: bool,
}

impl FilesCard {
    /// The files of a request: what the center knows, and of what has not come what this edge knows.
    pub(super) async fn of(
        visit: &mut Visit,
        request: &RequestGet,
        wrong: Option<String>,
    ) -> Result<FilesCard, Stop> {
        let d = FileWords::of(visit.language);
        let files = visit.portal.files.clone();
        let here = files.of_request(request.request.request).await?;
        let known = |file: &FileBrief| here.iter().find(|record| record.id == file.file);
        let rows: Vec<FileShown> = request.files.iter().map(|file| shown(d, file, known(file))).collect();
        let moves = request.files.iter().any(|file| {
            file.state == FileState::Expected
                && known(file)
                    .is_some_and(|record| !matches!(record.stage, Stage::ForAPerson | Stage::Receiving))
        });
        let open = !request.request.state.is_closed();
        let rules = rules_of(visit, request).await?;
        let extensions: Vec<&str> = rules.inspection.allowed.iter().map(|kind| kind.extension()).collect();
        let kinds = extensions.join(", ").to_uppercase();
        let size = size_text(rules.inspection.size_bytes_max);
        let hint = fill(d.hint, &[&kinds, &size, &rules.files_max.to_string()]);
        Ok(FilesCard {
            d,
            rows,
            hint: (open && rules.files_max > 0 && !extensions.is_empty()).then_some(hint),
            accept: extensions.iter().map(|extension| format!(".{extension}")).collect::<Vec<_>>().join(","),
            wrong,
            moves,
        })
    }
}

/// The rules for a request's files. The page knows its kind; its form is asked for only where some form has rules of its own.
async fn rules_of(visit: &mut Visit, request: &RequestGet) -> Result<RulesFor, Stop> {
    let files = visit.portal.files.clone();
    let RequestBrief { request, kind, state, .. } = request.request;
    if files.settings().forms.is_empty() || state.is_closed() {
        return Ok(files.settings().rules_for(&About { kind: Some(kind), form: None }));
    }
    let form = visit.read(RequestForm { request }).await?;
    Ok(files.rules_of(&form))
}

fn shown(d: &FileWords, file: &FileBrief, here: Option<&Record>) -> FileShown {
    let stage = here.map(|record| record.stage);
    let (state, tone) = match (file.state, stage) {
        (FileState::Stored, _) => (d.stored, "good"),
        (FileState::Ended, _) | (_, Some(Stage::Ended)) => (d.ended, "warn"),
        (FileState::Expected, Some(Stage::Receiving)) => (d.receiving, ""),
        (FileState::Expected, Some(Stage::Received)) => (d.received, ""),
        (FileState::Expected, Some(Stage::ForAPerson)) => (d.for_a_person, ""),
        (FileState::Expected, Some(Stage::Queued | Stage::Stored)) => (d.queued, ""),
        (FileState::Expected, None) => (d.expected, ""),
    };
    let ended = file.state == FileState::Ended || stage == Some(Stage::Ended);
    let why = match here {
        Some(record) if !record.why.is_empty() => record.why.as_str(),
        _ => file.why.as_str(),
    };
    let can_withdraw = file.state == FileState::Expected && stage.is_some_and(|stage| !stage.is_over());
    FileShown {
        id: file.file.to_string(),
        name: file.name.clone(),
        size: size_text(file.size),
        state,
        tone,
        why: ended.then(|| d.why(why)),
        can_withdraw,
    }
}

/// A length as people read it.
pub(in crate::portal) fn size_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
    for (unit, length) in UNITS {
        if bytes >= length {
            let tenths = bytes.saturating_mul(10) / length;
            let whole = tenths / 10;
            return if whole >= 10 || tenths.is_multiple_of(10) {
                format!("{whole} {unit}")
            } else {
                format!("{whole}.{} {unit}", tenths % 10)
            };
        }
    }
    format!("{bytes} B")
}

/// `POST /requests/{id}/files`
pub(super) async fn take(mut visit: Visit, Path(id): Path<String>, form: Multipart) -> Response {
    let made = receive(&mut visit, &id, form).await;
    visit.finish(made)
}

async fn receive(visit: &mut Visit, id: &str, mut form: Multipart) -> Made {
    let request: ServiceRequestId = id.parse().map_err(|_| Stop::NotFound)?;
    let (mut token, mut key) = (String::new(), String::new());
    while let Some(field) = form.next_field().await.map_err(|_| Stop::Form)? {
        match field.name() {
            Some("form") => token = short(field).await?,
            Some("key") => key = short(field).await?,
            Some("file") => {
                visit.check_form(&token)?;
                let mut limit = visit.portal.files.settings().rules.size_bytes_max;
                return match take_file(visit, (request, &key), field, &mut limit).await {
                    Err(Stop::Problem(problem)) => match said(visit, problem.code, &problem.detail, limit) {
                        Some(wrong) => refuse(visit, id, wrong).await,
                        None => Err(Stop::Problem(problem)),
                    },
                    done => done,
                };
            }
            _ => return Err(Stop::Form),
        }
    }
    Err(Stop::Form)
}

/// What went wrong with a file, where that is for the customer to mend.
fn said(visit: &Visit, code: Code, detail: &str, limit: u64) -> Option<String> {
    let d = FileWords::of(visit.language);
    Some(match code {
        Code::TooLarge => fill(d.wrong_large, &[&size_text(limit)]),
        Code::QuotaExceeded => d.wrong_quota.to_owned(),
        Code::StorageFull | Code::Overloaded => d.wrong_full.to_owned(),
        Code::Conflict => d.wrong_closed.to_owned(),
        Code::InvalidRequest if detail.contains("name") => d.wrong_name.to_owned(),
        Code::InvalidRequest => d.wrong_broken.to_owned(),
        _ => return None,
    })
}

async fn refuse(visit: &mut Visit, id: &str, wrong: String) -> Made {
    match requests::show_with(visit, id, Some(wrong)).await? {
        Page::Html { body, targets, .. } => {
            Ok(Page::Html { body, status: StatusCode::UNPROCESSABLE_ENTITY, targets })
        }
        page => Ok(page),
    }
}

async fn short(mut field: Field<'_>) -> Result<String, Stop> {
    let mut bytes = Vec::new();
    while let Some(more) = field.chunk().await.map_err(|_| Stop::Form)? {
        if bytes.len() + more.len() > FIELD_MAX {
            return Err(Stop::Form);
        }
        bytes.extend_from_slice(&more);
    }
    String::from_utf8(bytes).map_err(|_| Stop::Form)
}

/// Sets `limit` to the largest file that may come with the request, once that is known.
async fn take_file(
    visit: &mut Visit,
    (request, key): (ServiceRequestId, &str),
    field: Field<'_>,
    limit: &mut u64,
) -> Made {
    let d = FileWords::of(visit.language);
    let given = field.file_name().unwrap_or_default().to_owned();
    if given.is_empty() {
        return refuse(visit, &request.to_string(), d.wrong_none.to_owned()).await;
    }
    let Ok(name) = Text::new(given) else {
        return refuse(visit, &request.to_string(), d.wrong_name.to_owned()).await;
    };
    // The session is known to be good for as long as the file takes to come.
    let form = visit.read(RequestForm { request }).await?;
    let call = visit.call_as_customer(key)?;
    let files = visit.portal.files.clone();
    let rules = files.rules_of(&form);
    if form.files.len() >= rules.files_max as usize {
        return Err(rules.too_many().into());
    }
    *limit = rules.inspection.size_bytes_max;
    let part = files.begin(&call, NewFile { request: None, name: name.clone(), size: *limit }).await?.record;
    let written = files.write(&part, 0, field, None).await;
    let size = match written {
        Ok(size) if size > 0 => size,
        Ok(_) => {
            files.withdraw(&part).await?;
            return refuse(visit, &request.to_string(), d.wrong_empty.to_owned()).await;
        }
        Err(problem) => {
            files.withdraw(&part).await?;
            return Err(problem.into());
        }
    };
    files.settle(part.id, size).await?;
    let joined = files.join(&call, NewFile { request: Some(request), name, size }, &[part.id]).await;
    if joined.is_err() {
        files.withdraw(&part).await?;
    }
    // The center knows of the file now, and the page must show it.
    visit.note_seen(&joined?.token);
    Ok(Page::See(format!("/requests/{request}#files")))
}

#[derive(Debug, Deserialize)]
pub(super) struct WithdrawForm {
    form: String,
}

/// `POST /requests/{id}/files/{file}/withdraw`
pub(super) async fn withdraw(
    mut visit: Visit,
    Path((id, file)): Path<(String, String)>,
    Posted(form): Posted<WithdrawForm>,
) -> Response {
    let made = match form {
        Ok(form) => take_back(&mut visit, &id, &file, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn take_back(visit: &mut Visit, id: &str, file: &str, form: WithdrawForm) -> Made {
    visit.check_form(&form.form)?;
    let request: ServiceRequestId = id.parse().map_err(|_| Stop::NotFound)?;
    let file: FileId = file.parse().map_err(|_| Stop::NotFound)?;
    visit.read(protocol::catalogue::requests::RequestGet { request }).await?;
    let call = visit.call_as_customer("")?;
    let files = visit.portal.files.clone();
    let record = files.own(file, files.customer_of(&call)?).await?;
    match files.withdraw(&record).await {
        // It came meanwhile; the page says so.
        Err(problem) if problem.code == Code::Conflict => {}
        done => done?,
    }
    Ok(Page::See(format!("/requests/{request}#files")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_at_a_glance() {
        let texts = [0, 1023, 1024, 1536, 20 << 20, (5 << 30) + (1 << 29)].map(size_text);
        assert_eq!(texts, ["0 B", "1023 B", "1 KB", "1.5 KB", "20 MB", "5.5 GB"]);
    }
}
