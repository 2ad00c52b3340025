//! Files that are made for customers: asked for, made, ended, forgotten.
//!
//! The rules only say how a file stands. Its bytes are made and removed outside of them ([`crate::exports`]), from the row: a
//! row that is due says what is to be done next, so that after a crash it is done again.
//!
//! ```text
//! making ── made ──► ready ── time over ──► expired ── bytes gone ──► (a month) ──► forgotten
//!    └───── failed ──► (a month) ──► forgotten
//! ```
use jiff::{ToSpan, civil::Date};
use protocol::{
    AccountId, Code, CustomerId, ExportId, Problem, Reply,
    catalogue::{
        replies::{self, ExportState},
        requests::{self, ExportWhat},
    },
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Export, Put},
    working_set::{NotLoaded, WorkingSet},
};

use super::{Decided, Rules};
use crate::operation::{ExportDue, ExportFail, ExportMade};

/// The most files of an account that may be there, or be under way, at once.
const MOST_LIVE: usize = 20;
/// The most files of an account that are known at all, ended ones included.
const MOST_KNOWN: usize = 100;
/// The most months of a file of use.
const MOST_MONTHS: i64 = 37;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// For how long a file that ended is still listed, in ms.
const LISTED_MS: u64 = 30 * DAY_MS;

/// How files are made.
#[derive(Clone, Copy, Debug)]
pub struct ExportTerms {
    /// Whether there is a place for them.
    pub has_place: bool,
    /// For how long a file can be had, in seconds.
    pub keep_s: u32,
}

pub(super) fn create(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::ExportCreate,
) -> Decided {
    let Some(customer) = message.origin.customer else {
        return Ok(Decision::rejected(Problem::new(Code::Unauthenticated, "Log in first.")));
    };
    // Looked at where it is applied: who was unbound in between gets nothing.
    if !rows.account(&asked.account)?.is_some_and(|state| state.holders.contains(&customer)) {
        return Ok(Decision::rejected(Problem::not_found("account")));
    }
    if !rules.exports.has_place {
        let why = "No files are made here: the center has no outward folder. Nothing was begun.";
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    if let Err(problem) = can_be(rows, asked)? {
        return Ok(Decision::rejected(problem));
    }
    let known = rows.account_exports(&asked.account)?.map_or(&[][..], Vec::as_slice);
    if known.iter().filter(|export| export.is_live()).count() >= MOST_LIVE || known.len() >= MOST_KNOWN {
        let why = format!(
            "This account has as many files as one may have: {MOST_LIVE} at once, {MOST_KNOWN} in a month. Take one that is there, or wait until some expire."
        );
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    let now_ms = message.origin.accepted_ms;
    let export = Export {
        id: ExportId::from_bits(message.operation.bits()),
        account: asked.account,
        customer,
        what: asked.what,
        language: message.origin.language,
        state: ExportState::Making,
        failure: None,
        root: None,
        size: 0,
        created_ms: now_ms,
        due_ms: now_ms,
    };
    let reply = replies::ExportCreate { export: shown(&export, now_ms) };
    Ok(Decision::done(Reply::ExportCreate(reply), vec![Put::Export(export)]))
}

/// Whether there can be such a file.
fn can_be(rows: &WorkingSet, asked: &requests::ExportCreate) -> Result<Result<(), Problem>, NotLoaded> {
    let bill = match asked.what {
        ExportWhat::UsageCsv { from, to } | ExportWhat::GreenButton { from, to } => {
            return Ok(range(from, to));
        }
        ExportWhat::Invoice { bill } => bill,
    };
    if bill.account != asked.account {
        return Ok(Err(Problem::not_found("bill")));
    }
    let Some(head) = rows.bills(&asked.account)?.and_then(|bills| bills.iter().find(|b| b.id == bill)) else {
        return Ok(Err(Problem::not_found("bill")));
    };
    let why = "There is an invoice once the bill is paid, late fee included. Pay it, then ask again.";
    Ok(if head.is_open() { Err(Problem::new(Code::Conflict, why)) } else { Ok(()) })
}

fn range(from: Date, to: Date) -> Result<(), Problem> {
    let before = from.checked_add(MOST_MONTHS.months());
    if from > to || before.is_ok_and(|before| to >= before) {
        let why = format!("The days go from the first to the last, at most {MOST_MONTHS} months.");
        return Err(Problem::new(Code::InvalidRequest, why));
    }
    Ok(())
}

/// Its bytes are in their place. Said again, or too late, nothing changes.
pub(super) fn made(rules: &Rules, rows: &WorkingSet, message: &NewMessage, made: &ExportMade) -> Decided {
    let now_ms = message.origin.accepted_ms;
    change(rows, message, made.export, |export| {
        (export.state == ExportState::Making).then(|| Export {
            state: ExportState::Ready,
            root: Some(made.root),
            size: made.size,
            due_ms: now_ms + u64::from(rules.exports.keep_s) * 1000,
            ..export.clone()
        })
    })
}

/// It cannot be made.
pub(super) fn failed(rows: &WorkingSet, message: &NewMessage, fail: &ExportFail) -> Decided {
    let now_ms = message.origin.accepted_ms;
    change(rows, message, fail.export, |export| {
        (export.state == ExportState::Making).then(|| Export {
            state: ExportState::Failed,
            failure: Some(fail.why),
            due_ms: now_ms + LISTED_MS,
            ..export.clone()
        })
    })
}

/// Does what is due: ends a file, notes that its bytes are gone, forgets it.
pub(super) fn due(rows: &WorkingSet, message: &NewMessage, due: &ExportDue) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let found = rows.export(&due.export)?.filter(|export| export.due_ms == due.due_ms);
    let Some(export) = found else { return Ok(nothing(rows.export(&due.export)?, now_ms)) };
    match (export.state, export.root) {
        // It is being made: that is no operation's to do.
        (ExportState::Making, _) => Ok(nothing(Some(export), now_ms)),
        (ExportState::Ready, _) => Ok(put(ended(export, now_ms), now_ms)),
        (ExportState::Expired, Some(_)) => {
            Ok(put(Export { root: None, due_ms: now_ms + LISTED_MS, ..export.clone() }, now_ms))
        }
        (ExportState::Failed | ExportState::Expired, _) => {
            let gone = Put::ExportGone { export: export.id, account: export.account };
            let reply = replies::ExportCreate { export: shown(export, now_ms) };
            Ok(Decision::done(Reply::ExportCreate(reply), vec![gone]))
        }
    }
}

/// What it writes that a customer is on an account no longer: the files they asked for end.
pub(super) fn end_of(
    rows: &WorkingSet,
    message: &NewMessage,
    customer: CustomerId,
    account: AccountId,
) -> Result<Vec<Put>, NotLoaded> {
    let known = rows.account_exports(&account)?.map_or(&[][..], Vec::as_slice);
    let own = known.iter().filter(|export| export.customer == customer && export.is_live());
    Ok(own.map(|export| Put::Export(ended(export, message.origin.accepted_ms))).collect())
}

/// The file as one that cannot be had any more; its bytes are to be removed next.
fn ended(export: &Export, now_ms: u64) -> Export {
    let due_ms = if export.root.is_some() { now_ms } else { now_ms + LISTED_MS };
    Export { state: ExportState::Expired, due_ms, ..export.clone() }
}

fn change(
    rows: &WorkingSet,
    message: &NewMessage,
    id: ExportId,
    changed: impl FnOnce(&Export) -> Option<Export>,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let found = rows.export(&id)?;
    Ok(match found.and_then(changed) {
        Some(export) => put(export, now_ms),
        None => nothing(found, now_ms),
    })
}

fn put(export: Export, now_ms: u64) -> Decision {
    let reply = replies::ExportCreate { export: shown(&export, now_ms) };
    Decision::done(Reply::ExportCreate(reply), vec![Put::Export(export)])
}

fn nothing(export: Option<&Export>, now_ms: u64) -> Decision {
    match export {
        Some(export) => {
            let reply = replies::ExportCreate { export: shown(export, now_ms) };
            Decision::done(Reply::ExportCreate(reply), Vec::new())
        }
        None => Decision::rejected(Problem::not_found("file")),
    }
}

/// A file as customers see it. From the moment its time is over it has expired, also where that is not noted yet.
pub(crate) fn shown(export: &Export, now_ms: u64) -> replies::Export {
    let state = match export.state {
        ExportState::Ready if export.due_ms <= now_ms => ExportState::Expired,
        state => state,
    };
    replies::Export {
        export: export.id,
        account: export.account,
        what: export.what,
        state,
        failure: export.failure,
        created_ms: export.created_ms,
        name: export.what.name(export.account),
        size: (export.size > 0).then_some(export.size),
        until_ms: (state == ExportState::Ready).then_some(export.due_ms),
    }
}
