//! Files that come with a request: named first, then attached by the gate's inner half, or ended.
use protocol::{
    Code, FileId, Problem, Reply,
    catalogue::{
        replies::{self, FileState, NoticeBody, RequestStep, StepBy, StepKind},
        requests::{self, FileEnding},
    },
};
use storage::{
    message::{Decision, NewMessage},
    rows::{FileRow, Put},
    working_set::WorkingSet,
};

use super::{
    Decided, Rules,
    file_words::not_taken,
    request::{own_and_open, stepped, takes_steps, told},
};
use crate::operation::FileExpire;

/// The most files of a request that came or may come.
const MOST_FILES: usize = 20;
/// The most files that a request may ever have named.
const MOST_NAMED: usize = 100;
/// Within what time a file has to come, in ms.
const WITHIN_MS: u64 = 7 * 24 * 3600 * 1000;

/// A file is to come.
pub(super) fn create(rows: &WorkingSet, message: &NewMessage, asked: &requests::FileCreate) -> Decided {
    let refuse = |code, why: &str| Ok(Decision::rejected(Problem::new(code, why)));
    let request = match own_and_open(rows.request(&asked.request)?, message) {
        Ok(request) => request,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    if asked.name.trim().is_empty() {
        return refuse(Code::InvalidRequest, "The file has no name.");
    }
    let known = rows.request_files(&asked.request)?.map_or(&[][..], Vec::as_slice);
    let live = known.iter().filter(|file| file.state != FileState::Ended).count();
    if live >= MOST_FILES || known.len() >= MOST_NAMED {
        return refuse(Code::Conflict, "The request has as many files as one may have.");
    }
    let now_ms = message.origin.accepted_ms;
    let file = FileRow {
        id: FileId::from_bits(message.operation.bits()),
        request: request.id,
        customer: request.customer,
        name: asked.name.to_string(),
        size: asked.size.get(),
        state: FileState::Expected,
        why: String::new(),
        kind: String::new(),
        root: None,
        created_ms: now_ms,
        changed_ms: now_ms,
    };
    let reply = replies::FileCreate { file: file.id, expires_ms: now_ms + WITHIN_MS };
    Ok(Decision::done(Reply::FileCreate(reply), vec![Put::File(file)]))
}

/// A file will not come. Said twice, it is the same.
pub(super) fn end(rows: &WorkingSet, message: &NewMessage, asked: &requests::FileEnd) -> Decided {
    let Some(file) = rows.file(&asked.file)? else {
        return Ok(Decision::rejected(Problem::not_found("file")));
    };
    let done = Reply::FileEnd(replies::FileEnd { file: file.id });
    match file.state {
        FileState::Ended => Ok(Decision::done(done, Vec::new())),
        FileState::Stored => {
            Ok(Decision::rejected(Problem::new(Code::Conflict, "The file has come already.")))
        }
        FileState::Expected => {
            let (state, why) = (FileState::Ended, asked.why.to_string());
            let file = FileRow { state, why, changed_ms: message.origin.accepted_ms, ..file.clone() };
            Ok(Decision::done(done, vec![Put::File(file)]))
        }
    }
}

/// The edge's audit ended with a file that does not come: what it found is a step of the request, unless that is closed. Said
/// twice, it is the same.
pub(super) fn result(rows: &WorkingSet, message: &NewMessage, asked: &requests::FileResult) -> Decided {
    let Some(file) = rows.file(&asked.file)? else {
        return Ok(Decision::rejected(Problem::not_found("file")));
    };
    let done = Reply::FileResult(replies::FileResult { file: file.id });
    match file.state {
        FileState::Ended => Ok(Decision::done(done, Vec::new())),
        FileState::Stored => {
            Ok(Decision::rejected(Problem::new(Code::Conflict, "The file has come already.")))
        }
        FileState::Expected => {
            let text = not_taken(&file.name, asked.how, asked.why.as_str(), &asked.words, &asked.rule);
            gone(rows, message, file, (asked.how, asked.why.as_str(), text), done)
        }
    }
}

/// A file was named long ago and never came; its edge may be lost. What came or ended meanwhile is left as it is.
pub(super) fn expire(rows: &WorkingSet, message: &NewMessage, asked: &FileExpire) -> Decided {
    let Some(file) = rows.file(&asked.file)? else {
        return Ok(Decision::rejected(Problem::not_found("file")));
    };
    let done = Reply::FileResult(replies::FileResult { file: file.id });
    if file.state != FileState::Expected {
        return Ok(Decision::done(done, Vec::new()));
    }
    let text = not_taken(&file.name, FileEnding::Expired, "expired", "", "");
    gone(rows, message, file, (FileEnding::Expired, "expired", text), done)
}

/// Ends a file that is not to come any more, with a step of its request that says so; the customer is told, unless they did
/// it themselves.
fn gone(
    rows: &WorkingSet,
    message: &NewMessage,
    file: &FileRow,
    (how, why, text): (FileEnding, &str, String),
    done: Reply,
) -> Decided {
    let at_ms = message.origin.accepted_ms;
    let ended = FileRow { state: FileState::Ended, why: why.to_owned(), changed_ms: at_ms, ..file.clone() };
    let mut puts = vec![Put::File(ended)];
    let mut children = Vec::new();
    if let Some(request) = rows.request(&file.request)?.filter(|request| takes_steps(request)) {
        let by = match how {
            FileEnding::RefusedByPerson => StepBy::Service,
            _ => StepBy::System,
        };
        let step = RequestStep { at_ms, by, kind: StepKind::Note, text: text.clone() };
        let (next, steps) = stepped(request, step);
        puts.extend(steps);
        if how != FileEnding::Withdrawn {
            let body = NoticeBody::Request {
                request: next.id,
                title_en: next.title_en.clone(),
                title_zh: next.title_zh.clone(),
                state: next.state,
                text,
            };
            children.push(told(next.customer, at_ms, body));
        }
    }
    Ok(Decision { children, ..Decision::done(done, puts) })
}

/// A file is in the store. It is attached once, however often that is said; another of the same id is refused.
pub(super) fn attach(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::FileAttach,
) -> Decided {
    let conflict = |why: &str| Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    let Some(file) = rows.file(&asked.file)? else {
        return Ok(Decision::rejected(Problem::not_found("file")));
    };
    let receipt = |file: &FileRow| {
        let what = (file.id, file.size, asked.root);
        Reply::FileAttach(replies::FileAttach { receipt: rules.receipts.sign(what, file.changed_ms) })
    };
    match file.state {
        FileState::Stored if file.root == Some(asked.root) => Ok(Decision::done(receipt(file), Vec::new())),
        FileState::Stored => conflict("Another file came under this id."),
        FileState::Ended => conflict("The file was not to come any more."),
        FileState::Expected if file.size != asked.size.get() => {
            conflict("The file has not the length that was said.")
        }
        FileState::Expected => {
            let Some(request) = rows.request(&file.request)? else {
                return Ok(Decision::rejected(Problem::not_found("request")));
            };
            let now_ms = message.origin.accepted_ms;
            let file = FileRow {
                state: FileState::Stored,
                kind: asked.kind.to_string(),
                root: Some(asked.root),
                changed_ms: now_ms,
                ..file.clone()
            };
            let step = RequestStep {
                at_ms: now_ms,
                by: StepBy::Customer,
                kind: StepKind::File,
                text: file.name.clone(),
            };
            let mut puts = stepped(request, step).1;
            let reply = receipt(&file);
            puts.push(Put::File(file));
            Ok(Decision::done(reply, puts))
        }
    }
}
