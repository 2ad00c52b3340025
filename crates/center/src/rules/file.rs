//! Files that come with a request: named first, then attached by the gate's inner half, or ended.
use protocol::{
    Code, FileId, Problem, Reply,
    catalogue::{
        replies::{self, FileState, RequestStep, StepBy, StepKind},
        requests,
    },
};
use storage::{
    message::{Decision, NewMessage},
    rows::{FileRow, Put},
    working_set::WorkingSet,
};

use super::{
    Decided, Rules,
    request::{own_and_open, stepped},
};

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
