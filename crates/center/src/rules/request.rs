//! Service requests (工单): sent in, moved on, answered, withdrawn; and what customers are told.
use domain::forms::{AboutAccount, Form, FormKind};
use protocol::{
    Code, CustomerId, Problem, Reply, ServiceRequestId,
    catalogue::{
        replies::{self, NoticeBody, RequestKind, RequestState, RequestStep, ShownAnswer, StepBy, StepKind},
        requests::{self, FaultKind, Notices},
    },
};
use storage::{
    message::{Child, Decision, NewMessage},
    rows::{Put, ServiceRequest},
    working_set::WorkingSet,
};

use super::{Decided, Rules};
use crate::operation::{DivisionReportAdd, NoticeAdd, Own, RequestAdvance};

/// The most requests of one customer that may be open in one shard.
const MOST_OPEN: u32 = 20;
/// The most steps of a request.
const MOST_STEPS: u32 = 200;
const HOUR_MS: u64 = 3600 * 1000;
/// Within what time a crew is at a fault in a town, in ms: the 45 minutes that State Grid and China Southern promise
/// publicly for urban districts (供电服务“十项承诺”).
const FAULT_WITHIN_MS: u64 = 45 * 60 * 1000;

pub(super) fn create(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::RequestCreate,
) -> Decided {
    let Some(customer) = message.origin.customer else { return Ok(Decision::rejected(nobody())) };
    let Some(form) = rules.forms.get(asked.form.as_str()) else {
        let why = format!("There is no form {}. Nothing was sent in.", asked.form);
        return Ok(Decision::rejected(Problem::new(Code::InvalidRequest, why)));
    };
    if let Err(problem) = fits(form, asked) {
        return Ok(Decision::rejected(problem));
    }
    if let Some(account) = &asked.account {
        let state = rows.account(account)?;
        if !state.is_some_and(|state| state.holders.contains(&customer)) {
            return Ok(Decision::rejected(Problem::not_found("account")));
        }
    }
    if rows.open_requests(&customer)?.is_some_and(|open| *open >= MOST_OPEN) {
        return Ok(Decision::rejected(too_many()));
    }
    let answers = form.fields.iter().filter_map(|field| {
        let answer = asked.answers.iter().find(|answer| answer.field.as_str() == field.id)?;
        let (value_en, value_zh) = field.shown(&answer.value);
        (!answer.value.is_empty()).then(|| ShownAnswer {
            label_en: field.label_en.clone(),
            label_zh: field.label_zh.clone(),
            value_en: value_en.to_owned(),
            value_zh: value_zh.to_owned(),
        })
    });
    let within_ms = u64::from(form.answer_within_h) * HOUR_MS;
    let request = ServiceRequest {
        account: asked.account,
        kind: match form.kind {
            FormKind::Consult => RequestKind::Consult,
            FormKind::Complaint => RequestKind::Complaint,
            FormKind::Suggestion => RequestKind::Suggestion,
        },
        form: form.id.clone(),
        title_en: form.title_en.clone(),
        title_zh: form.title_zh.clone(),
        answers: answers.collect(),
        ..received(message, customer, within_ms)
    };
    let reply = replies::RequestCreate {
        request: request.id,
        answer_by_ms: request.answer_by_ms.unwrap_or_default(),
    };
    Ok(Decision::done(Reply::RequestCreate(reply), first_step(request, String::new())))
}

/// Whether what was sent in fits its form.
fn fits(form: &Form, asked: &requests::RequestCreate) -> Result<(), Problem> {
    let invalid = |why: String| Problem::new(Code::InvalidRequest, format!("{why} Nothing was sent in."));
    match (form.account, asked.account) {
        (AboutAccount::None, Some(_)) => return Err(invalid("This form is about no account.".to_owned())),
        (AboutAccount::Required, None) => return Err(invalid("This form needs an account.".to_owned())),
        _ => {}
    }
    let answers = asked.answers.iter().map(|answer| (answer.field.as_str(), &*answer.value));
    form.check_answers(answers).map_err(|error| invalid(format!("Field {error}.")))
}

pub(super) fn fault(rows: &WorkingSet, message: &NewMessage, asked: &requests::FaultReport) -> Decided {
    let Some(customer) = message.origin.customer else { return Ok(Decision::rejected(nobody())) };
    let state = rows.account(&asked.account)?.filter(|state| state.holders.contains(&customer));
    let Some(state) = state else { return Ok(Decision::rejected(Problem::not_found("account"))) };
    if rows.open_requests(&customer)?.is_some_and(|open| *open >= MOST_OPEN) {
        return Ok(Decision::rejected(too_many()));
    }
    let (kind_en, kind_zh) = fault_words(asked.kind);
    let shown = |label_en: &str, label_zh: &str, en: &str, zh: &str| ShownAnswer {
        label_en: label_en.to_owned(),
        label_zh: label_zh.to_owned(),
        value_en: en.to_owned(),
        value_zh: zh.to_owned(),
    };
    let mut answers = vec![shown("What is wrong", "故障现象", kind_en, kind_zh)];
    if let Some(phone) = &asked.phone {
        answers.push(shown("Phone to call", "联系电话", phone.as_str(), phone.as_str()));
    }
    let request = ServiceRequest {
        account: Some(asked.account),
        title_en: "Fault report".to_owned(),
        title_zh: "故障报修".to_owned(),
        answers,
        ..received(message, customer, FAULT_WITHIN_MS)
    };
    let reply =
        replies::FaultReport { request: request.id, answer_by_ms: request.answer_by_ms.unwrap_or_default() };
    let division = state.account.division.clone();
    let add = DivisionReportAdd { request: request.id, at_ms: message.origin.accepted_ms, division };
    let bucket = protocol::Bucket::of_division(&add.division);
    let children = vec![Own::DivisionReport(add).child(bucket)];
    let puts = first_step(request, asked.text.to_string());
    Ok(Decision { children, ..Decision::done(Reply::FaultReport(reply), puts) })
}

fn fault_words(kind: FaultKind) -> (&'static str, &'static str) {
    match kind {
        FaultKind::NoPower => ("No power at all", "全部停电"),
        FaultKind::PartOnly => ("Part of the home is without power", "部分停电"),
        FaultKind::Voltage => ("Lights flicker or are dim", "电压不稳"),
        FaultKind::Danger => ("A line is down, sparks or smoke", "线路断落、冒火花或冒烟"),
        FaultKind::Meter => ("The meter", "电能表故障"),
        FaultKind::Other => ("Something else", "其他"),
    }
}

/// A request that has just come in: a fault report until something else is said.
fn received(message: &NewMessage, customer: CustomerId, within_ms: u64) -> ServiceRequest {
    let now_ms = message.origin.accepted_ms;
    ServiceRequest {
        id: ServiceRequestId::from_bits(message.operation.bits()),
        account: None,
        customer,
        kind: RequestKind::Fault,
        form: String::new(),
        title_en: String::new(),
        title_zh: String::new(),
        answers: Vec::new(),
        state: RequestState::Received,
        created_ms: now_ms,
        changed_ms: now_ms,
        answer_by_ms: Some(now_ms + within_ms),
        paused_left_ms: None,
        outage: None,
        steps: 0,
    }
}

fn first_step(request: ServiceRequest, text: String) -> Vec<Put> {
    let step =
        RequestStep { at_ms: request.created_ms, by: StepBy::Customer, kind: StepKind::Received, text };
    let id = request.id;
    vec![Put::Request(ServiceRequest { steps: 1, ..request }), Put::RequestStep { request: id, n: 0, step }]
}

/// A request after a step, with the rows that say so.
pub(super) fn stepped(request: &ServiceRequest, step: RequestStep) -> (ServiceRequest, Vec<Put>) {
    let now_ms = step.at_ms;
    let mut next = ServiceRequest { changed_ms: now_ms, steps: request.steps + 1, ..request.clone() };
    match step.kind {
        StepKind::Received | StepKind::Joined => {}
        StepKind::Assigned => next.state = RequestState::Assigned,
        StepKind::Started => next.state = RequestState::UnderWay,
        // The clock stands while the customer has the word.
        StepKind::Asked => {
            next.state = RequestState::Waiting;
            next.paused_left_ms =
                request.answer_by_ms.map(|by| by.saturating_sub(now_ms)).or(request.paused_left_ms);
            next.answer_by_ms = None;
        }
        StepKind::Note | StepKind::File
            if step.by == StepBy::Customer && request.state == RequestState::Waiting =>
        {
            next.state = RequestState::UnderWay;
            next.answer_by_ms = request.paused_left_ms.map(|left| now_ms + left);
            next.paused_left_ms = None;
        }
        StepKind::Note | StepKind::File => {}
        StepKind::Done | StepKind::Cancelled => {
            let done = step.kind == StepKind::Done;
            next.state = if done { RequestState::Done } else { RequestState::Cancelled };
            (next.answer_by_ms, next.paused_left_ms) = (None, None);
        }
    }
    let step = Put::RequestStep { request: request.id, n: request.steps, step };
    (next.clone(), vec![Put::Request(next), step])
}

pub(super) fn note(rows: &WorkingSet, message: &NewMessage, asked: &requests::RequestNote) -> Decided {
    let request = rows.request(&asked.request)?;
    let request = match own_and_open(request, message) {
        Ok(request) => request,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    if asked.text.is_empty() {
        return Ok(Decision::rejected(Problem::new(Code::InvalidRequest, "Write something to add.")));
    }
    let step = RequestStep {
        at_ms: message.origin.accepted_ms,
        by: StepBy::Customer,
        kind: StepKind::Note,
        text: asked.text.to_string(),
    };
    let reply = Reply::RequestNote(replies::RequestNote { request: request.id });
    Ok(Decision::done(reply, stepped(request, step).1))
}

pub(super) fn cancel(rows: &WorkingSet, message: &NewMessage, asked: &requests::RequestCancel) -> Decided {
    let request = match own_and_open(rows.request(&asked.request)?, message) {
        Ok(request) => request,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let step = RequestStep {
        at_ms: message.origin.accepted_ms,
        by: StepBy::Customer,
        kind: StepKind::Cancelled,
        text: String::new(),
    };
    let reply = Reply::RequestCancel(replies::RequestCancel { request: request.id });
    Ok(Decision::done(reply, stepped(request, step).1))
}

/// The request, if it is the asker's own and not closed.
pub(super) fn own_and_open<'a>(
    request: Option<&'a ServiceRequest>,
    message: &NewMessage,
) -> Result<&'a ServiceRequest, Problem> {
    let own = request.filter(|request| Some(request.customer) == message.origin.customer);
    open(own.ok_or_else(|| Problem::not_found("request"))?)
}

/// Whether anything can still be written to it.
pub(super) fn takes_steps(request: &ServiceRequest) -> bool {
    open(request).is_ok()
}

fn open(request: &ServiceRequest) -> Result<&ServiceRequest, Problem> {
    if request.state.is_closed() {
        return Err(Problem::new(Code::Conflict, "The request is closed. Make a new one."));
    }
    if request.steps >= MOST_STEPS {
        return Err(Problem::new(
            Code::Conflict,
            "Too much has been written to this request. Make a new one.",
        ));
    }
    Ok(request)
}

pub(super) fn advance(rows: &WorkingSet, message: &NewMessage, asked: &RequestAdvance) -> Decided {
    let Some(request) = rows.request(&asked.request)? else {
        return Ok(Decision::rejected(Problem::not_found("request")));
    };
    let done = || Reply::RequestNote(replies::RequestNote { request: asked.request });
    let joined_already = asked.kind == StepKind::Joined && request.outage == asked.outage;
    let request = match open(request) {
        Ok(_) if joined_already => return Ok(Decision::done(done(), Vec::new())),
        Ok(request) => request,
        // What the platform says by itself comes too late, and nobody is there to be told.
        Err(_) if asked.by == StepBy::System => return Ok(Decision::done(done(), Vec::new())),
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let at_ms = message.origin.accepted_ms;
    let step = RequestStep { at_ms, by: asked.by, kind: asked.kind, text: asked.text.clone() };
    let joined = ServiceRequest { outage: asked.outage.or(request.outage), ..request.clone() };
    let (next, puts) = stepped(&joined, step);
    let body = NoticeBody::Request {
        request: next.id,
        title_en: next.title_en.clone(),
        title_zh: next.title_zh.clone(),
        state: next.state,
        text: asked.text.clone(),
    };
    let children = vec![told(next.customer, at_ms, body)];
    Ok(Decision { children, ..Decision::done(done(), puts) })
}

/// The operation that tells a customer something.
pub(super) fn told(customer: CustomerId, at_ms: u64, body: NoticeBody) -> Child {
    Own::NoticeAdd(NoticeAdd { customer, at_ms, body }).child(customer.bucket())
}

/// Tells a customer something, unless they do not want to be told of such.
pub(super) fn notice_add(rows: &WorkingSet, add: &NoticeAdd) -> Decided {
    let person = rows.person(&add.customer)?;
    let is_wanted =
        person.is_none_or(|person| person.gone_ms.is_none() && is_wanted(&person.notices, &add.body));
    let put = Put::Notice { customer: add.customer, at_ms: add.at_ms, body: add.body.clone() };
    let puts = if is_wanted { vec![put] } else { Vec::new() };
    Ok(Decision::done(Reply::NoticeRead(replies::NoticeRead { through: 0 }), puts))
}

/// What asks something of the customer, and what went wrong with their money, is told in any case.
fn is_wanted(wanted: &Notices, body: &NoticeBody) -> bool {
    match body {
        NoticeBody::Request { state, .. } => *state == RequestState::Waiting || wanted.request_progress,
        NoticeBody::Payment { .. } => wanted.payment_received,
        NoticeBody::Refund { .. } | NoticeBody::Mandate { .. } | NoticeBody::DebitFailed { .. } => true,
    }
}

pub(super) fn notice_read(message: &NewMessage, asked: &requests::NoticeRead) -> Decision {
    let Some(customer) = message.origin.customer else { return Decision::rejected(nobody()) };
    let through = asked.through.get();
    let reply = Reply::NoticeRead(replies::NoticeRead { through });
    Decision::done(reply, vec![Put::NoticeRead { customer, through }])
}

fn nobody() -> Problem {
    Problem::new(Code::Unauthenticated, "Log in first.")
}

fn too_many() -> Problem {
    let why = "You have many requests open. We work on them; withdraw one, or wait until one is closed.";
    Problem::new(Code::Conflict, why)
}
