//! Automatic debit (自动缴费): a customer's leave, the debits under it, and what happens when one is not made.
//!
//! The leave is given on the provider's page and believed by the provider's signed message alone. From then on the schedule
//! orders a debit some days before a bill is due, as a payment like any other: settled by the provider's message, booked
//! once. One debit at a time is under way, and another is ordered only after the provider said of the last that it was made
//! or is not: a message that is lost or held back never costs anybody a second debit for one bill. Until it answers it is
//! told the same order again.
use domain::{late_fee::LateFeeRate, money::Fen};
use jiff::{ToSpan, civil::Date};
use protocol::{
    AccountId, Code, CustomerId, MandateId, PaymentId, Problem, Reply,
    bounds::Text,
    catalogue::{
        replies::{self, DebitFailure, MandateState, NoticeBody},
        requests,
    },
    payment::{Instruction, MandateOrder},
};
use serde::{Deserialize, Deserializer, de::Error};
use storage::{
    message::{Child, Decision, NewMessage},
    rows::{BillHead, LastFailure, Mandate, Payment, Put},
    working_set::{NotLoaded, WorkingSet},
};

use super::{Decided, Rules, arrears::Arrears, request::told};
use crate::{
    config::Provider,
    day::{day_of, hour_of},
    operation::{DebitFail, MandateDue, MandateLeave, MandateSign},
};

/// How long a mandate can be signed, in ms. One that is signed later counts all the same.
const SIGN_WITHIN_MS: u64 = 30 * 60 * 1000;
/// How long after its end a debit's answer is waited for, in ms.
const GRACE_MS: u64 = 5 * 60 * 1000;
const HOUR_MS: u64 = 3600 * 1000;
/// A provider is told of a debit this often, over about two weeks.
const MOST_TOLD: u32 = 20;

/// When bills are debited by themselves, and how often that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebitTerms {
    /// A bill is debited this many days before its due day: 3 unless set.
    pub days_before_due: u8,
    /// At this hour, in China, 0 to 23: 9 unless set.
    #[serde(deserialize_with = "hour")]
    pub at_hour: i8,
    /// How long after a debit that was not made it is tried again, in hours, for each further try: 24 and 48 unless set.
    /// Then the customer has to pay it themselves; the next bill begins anew.
    pub again_after_h: Vec<u16>,
    /// How long a provider may take to debit, in seconds: 7200 unless set.
    pub within_s: u32,
}

impl Default for DebitTerms {
    fn default() -> Self {
        DebitTerms { days_before_due: 3, at_hour: 9, again_after_h: vec![24, 48], within_s: 7200 }
    }
}

fn hour<'de, D: Deserializer<'de>>(source: D) -> Result<i8, D::Error> {
    let hour = i8::deserialize(source)?;
    let is_one = (0..24).contains(&hour);
    is_one.then_some(hour).ok_or_else(|| D::Error::custom(format!("{hour} is no hour of the day: 0 to 23")))
}

impl DebitTerms {
    /// When the next of these open bills is to be debited, not before `now_ms`; `None` where none is open.
    pub(super) fn next_run_ms<'a>(
        &self,
        open: impl IntoIterator<Item = &'a BillHead>,
        now_ms: u64,
    ) -> Option<u64> {
        let first = open.into_iter().filter(|bill| bill.is_open()).map(|bill| bill.due_on).min()?;
        let day = first.saturating_sub(i64::from(self.days_before_due).days());
        Some(hour_of(day, self.at_hour).max(now_ms))
    }

    /// When the next of these open bills is to be debited that is not to be debited now.
    fn later_run_ms(&self, open: &[BillHead], now_ms: u64) -> Option<u64> {
        let last = self.last_due_on(now_ms);
        self.next_run_ms(open.iter().filter(|bill| bill.due_on > last), now_ms)
    }

    /// Of these open bills, what is to be debited now: those that are due within the days before, with their late fees,
    /// and those of the months before them, to which the money goes first.
    fn amount_fen(&self, open: &[BillHead], now_ms: u64, late_fee: LateFeeRate) -> Fen {
        let last = self.last_due_on(now_ms);
        let due = open.iter().filter(|bill| bill.is_open() && bill.due_on <= last);
        let Some(month) = due.map(|bill| bill.id.month).max() else { return Fen::ZERO };
        let now = open.iter().filter(|bill| bill.id.month <= month);
        Arrears::of(now, day_of(now_ms), late_fee).items().iter().map(|item| item.open_fen).sum()
    }

    /// The last due day of the bills that are to be debited now.
    fn last_due_on(&self, now_ms: u64) -> Date {
        day_of(now_ms).saturating_add(i64::from(self.days_before_due).days())
    }
}

impl Provider {
    /// The provider's page for a mandate, with our signed order; `None` where it makes no automatic debits.
    pub fn sign_url(&self, mandate: &Mandate, public_url: &str) -> Option<String> {
        let order = MandateOrder {
            mandate: mandate.id,
            limit_fen: mandate.limit_fen.0.try_into().ok()?,
            account: mandate.account,
            expires_s: mandate.expires_ms / 1000,
            return_url: format!("{public_url}/debit?account={}", mandate.account),
            notify_url: self.notify_url(public_url),
        };
        Some(order.to_url(self.mandate_url.as_ref()?, self.secret.bytes()))
    }
}

pub(super) fn create(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::MandateCreate,
) -> Decided {
    let refuse = |code, why: String| Ok(Decision::rejected(Problem::new(code, why)));
    let holder =
        message.origin.customer.map_or(Ok(None), |customer| holder(rows, asked.account, customer))?;
    let Some(customer) = holder else { return Ok(Decision::rejected(Problem::not_found("account"))) };
    let Some(provider) = rules.provider(asked.provider.as_str()).filter(|p| p.mandate_url.is_some()) else {
        let why = format!("The provider {} makes no automatic debits. Nothing was changed.", asked.provider);
        return refuse(Code::InvalidRequest, why);
    };
    let now_ms = message.origin.accepted_ms;
    let id = MandateId::from_bits(message.operation.bits());
    if let Some(why) = stands_in_the_way(rows, rows.mandate(&asked.account)?, (id, customer), now_ms)? {
        return refuse(Code::Conflict, why.to_owned());
    }
    let mandate = Mandate {
        id,
        account: asked.account,
        customer,
        provider: asked.provider.to_string(),
        limit_fen: asked.limit_fen.fen(),
        state: MandateState::Unsigned,
        agreement: String::new(),
        created_ms: now_ms,
        expires_ms: now_ms + SIGN_WITHIN_MS,
        ended_ms: None,
        due_ms: Some(now_ms + SIGN_WITHIN_MS),
        running: None,
        tries: 0,
        told: 0,
        last_failure: None,
    };
    let reply = replies::MandateCreate {
        mandate: mandate.id,
        sign_url: provider.sign_url(&mandate, &rules.public_url).unwrap_or_default(),
        expires_s: mandate.expires_ms / 1000,
    };
    Ok(Decision::done(Reply::MandateCreate(reply), vec![Put::Mandate(mandate)]))
}

/// Why an account cannot have a new mandate now, if it cannot.
fn stands_in_the_way(
    rows: &WorkingSet,
    row: Option<&Mandate>,
    (id, customer): (MandateId, CustomerId),
    now_ms: u64,
) -> Result<Option<&'static str>, NotLoaded> {
    let Some(row) = row else { return Ok(None) };
    if let Some(running) = row.running {
        let payment = rows.payment(&running)?;
        let may_be_made = |payment: &Payment| {
            payment.settled.is_none() && payment.failure.is_none() && now_ms < payment.expires_ms + GRACE_MS
        };
        if payment.is_some_and(may_be_made) {
            return Ok(Some("A debit is still under way for this account. Set it up anew in a few hours."));
        }
    }
    Ok(match row.state {
        _ if row.id == id => Some("This Idempotency-Key set up automatic debit before. Use a new key."),
        MandateState::Active => Some("Automatic debit is set up for this account already. End it first."),
        MandateState::Unsigned if row.customer != customer && now_ms < row.expires_ms => {
            Some("Another person is just setting it up for this account. Try again in half an hour.")
        }
        _ => None,
    })
}

/// The customer, where they have bound the account.
fn holder(
    rows: &WorkingSet,
    account: AccountId,
    customer: CustomerId,
) -> Result<Option<CustomerId>, NotLoaded> {
    let holds = rows.account(&account)?.is_some_and(|state| state.holders.contains(&customer));
    Ok(holds.then_some(customer))
}

/// A signature. One that comes for a mandate that is over, or for a customer who is gone, is given back.
pub(super) fn signed(rules: &Rules, rows: &WorkingSet, message: &NewMessage, asked: &MandateSign) -> Decided {
    let row = rows.mandate(&asked.account)?.filter(|row| is_about(row, asked.mandate, &asked.provider));
    let can_be = |row: &&Mandate| matches!(row.state, MandateState::Unsigned | MandateState::NotSigned);
    let payer = match row.filter(can_be) {
        Some(row) => holder(rows, row.account, row.customer)?,
        None => None,
    };
    let (Some(row), Some(customer)) = (row, payer) else {
        if row.is_some_and(|row| row.state == MandateState::Active && row.agreement == asked.agreement) {
            return Ok(Decision::done(taken(true), Vec::new()));
        }
        let back = rules
            .provider(&asked.provider)
            .and_then(|provider| give_back(provider, message, asked.mandate, &asked.agreement));
        return Ok(Decision::done(taken(false), back.into_iter().collect()));
    };
    let now_ms = message.origin.accepted_ms;
    let open = open_bills(rows, asked.account)?;
    let mandate = Mandate {
        state: MandateState::Active,
        agreement: asked.agreement.clone(),
        limit_fen: row.limit_fen.min(asked.limit_fen),
        ended_ms: None,
        due_ms: rules.debit.next_run_ms(open, now_ms),
        ..row.clone()
    };
    let children = vec![notice(&mandate, customer, now_ms)];
    Ok(Decision { children, ..Decision::done(taken(false), vec![Put::Mandate(mandate)]) })
}

/// The customer ended it at the provider.
pub(super) fn left(rows: &WorkingSet, message: &NewMessage, asked: &MandateLeave) -> Decided {
    let row = rows.mandate(&asked.account)?.filter(|row| is_about(row, asked.mandate, &asked.provider));
    let can_be = |row: &&Mandate| !row.state.has_ended() || row.state == MandateState::NotSigned;
    let Some(row) = row.filter(can_be) else {
        return Ok(Decision::done(taken(true), Vec::new()));
    };
    let now_ms = message.origin.accepted_ms;
    let mandate = over(row, MandateState::EndedThere, now_ms);
    let children = vec![notice(&mandate, row.customer, now_ms)];
    Ok(Decision { children, ..Decision::done(taken(false), vec![Put::Mandate(mandate)]) })
}

/// The customer ends it here.
pub(super) fn end(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::MandateEnd,
) -> Decided {
    let not_found = || Ok(Decision::rejected(Problem::not_found("mandate")));
    let Some(customer) = message.origin.customer else { return not_found() };
    let Some(row) = rows.mandate(&asked.account)?.filter(|row| row.is_live_of(customer)) else {
        return not_found();
    };
    let puts = ended_with(rules, row, MandateState::EndedHere, message);
    let reply = replies::MandateEnd { account: asked.account };
    Ok(Decision::done(Reply::MandateEnd(reply), puts))
}

/// What it writes that a customer is on an account no longer: their mandate ends.
pub(super) fn end_unbound(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    (account, customer): (AccountId, CustomerId),
) -> Result<Vec<Put>, NotLoaded> {
    let row = rows.mandate(&account)?.filter(|row| row.is_live_of(customer));
    Ok(row.map_or(Vec::new(), |row| ended_with(rules, row, MandateState::EndedUnbound, message)))
}

fn ended_with(rules: &Rules, row: &Mandate, state: MandateState, message: &NewMessage) -> Vec<Put> {
    let back = rules
        .provider(&row.provider)
        .filter(|_| row.state == MandateState::Active)
        .and_then(|provider| give_back(provider, message, row.id, &row.agreement));
    let ended = Put::Mandate(over(row, state, message.origin.accepted_ms));
    std::iter::once(ended).chain(back).collect()
}

/// Does what is due, if it is still what was due then.
pub(super) fn due(rules: &Rules, rows: &WorkingSet, message: &NewMessage, asked: &MandateDue) -> Decided {
    let nothing = || Ok(Decision::done(taken(true), Vec::new()));
    let Some(row) = rows.mandate(&asked.account)?.filter(|row| row.due_ms == Some(asked.due_ms)) else {
        return nothing();
    };
    let now_ms = message.origin.accepted_ms;
    match (row.state, row.running) {
        (MandateState::Unsigned, _) => {
            let mandate = over(row, MandateState::NotSigned, now_ms);
            Ok(Decision::done(taken(false), vec![Put::Mandate(mandate)]))
        }
        (_, Some(payment)) => unanswered(rules, rows, message, (row, payment)),
        (MandateState::Active, None) => order(rules, rows, message, row),
        _ => nothing(),
    }
}

/// The provider has not answered: it is told the same order again, which it does once whenever it comes, and which it
/// answers anew. Another is ordered only when it has said that this one is not made; one that never answers is left to a
/// person.
fn unanswered(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    (row, payment): (&Mandate, PaymentId),
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let payment = rows.payment(&payment)?;
    if row.told < MOST_TOLD
        && let Some(payment) = payment
        && let Some(push) = debit(rules, message, row, payment)
    {
        let due_ms = Some(now_ms + (HOUR_MS << row.told.min(8)).min(24 * HOUR_MS));
        let mandate = Mandate { told: row.told + 1, due_ms, ..row.clone() };
        return Ok(Decision::done(taken(false), vec![Put::Mandate(mandate), push]));
    }
    let open = open_bills(rows, row.account)?;
    let amount_fen = payment.map_or(Fen::ZERO, |payment| payment.amount_fen);
    let (mandate, said) = not_made(rules, row, open, (DebitFailure::NoAnswer, amount_fen), now_ms);
    let puts = vec![Put::Mandate(mandate)];
    let why = "The provider never answered whether it made a debit; a person asks it.";
    let decision = Decision::rejected_for_attention(Problem::new(Code::OperationFailed, why));
    Ok(Decision { puts, children: said.into_iter().collect(), ..decision })
}

fn open_bills(rows: &WorkingSet, account: AccountId) -> Result<&[BillHead], NotLoaded> {
    Ok(rows.account(&account)?.map_or(&[][..], |state| &state.open_bills))
}

/// Orders the debit of what is due, if anything is.
fn order(rules: &Rules, rows: &WorkingSet, message: &NewMessage, row: &Mandate) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let open = open_bills(rows, row.account)?;
    let amount_fen = rules.debit.amount_fen(open, now_ms, rules.late_fee);
    if amount_fen == Fen::ZERO {
        let due_ms = rules.debit.later_run_ms(open, now_ms);
        let mandate = Mandate { due_ms, tries: 0, last_failure: None, ..row.clone() };
        return Ok(Decision::done(taken(false), vec![Put::Mandate(mandate)]));
    }
    let refused = |why| {
        let (mandate, said) = not_made(rules, row, open, (why, amount_fen), now_ms);
        let decision = Decision::done(taken(false), vec![Put::Mandate(mandate)]);
        Ok(Decision { children: said.into_iter().collect(), ..decision })
    };
    if amount_fen > row.limit_fen {
        return refused(DebitFailure::OverLimit);
    }
    let payment = Payment {
        id: PaymentId::from_bits(message.operation.bits()),
        account: row.account,
        customer: row.customer,
        amount_fen,
        provider: row.provider.clone(),
        mandate: Some(row.id),
        created_ms: now_ms,
        expires_ms: now_ms + u64::from(rules.debit.within_s) * 1000,
        failure: None,
        settled: None,
        refunds: Vec::new(),
    };
    let Some(push) = debit(rules, message, row, &payment) else { return refused(DebitFailure::Other) };
    let due_ms = Some(payment.expires_ms + GRACE_MS);
    let mandate = Mandate { running: Some(payment.id), told: 1, due_ms, ..row.clone() };
    Ok(Decision::done(taken(false), vec![Put::Payment(payment), Put::Mandate(mandate), push]))
}

fn debit(rules: &Rules, message: &NewMessage, row: &Mandate, payment: &Payment) -> Option<Put> {
    let provider = rules.provider(&row.provider)?;
    let instruction = Instruction::Debit {
        order: payment.id,
        mandate: row.id,
        agreement: Text::new(row.agreement.clone()).ok()?,
        account: row.account,
        amount_fen: payment.amount_fen.0.try_into().ok()?,
        expires_s: payment.expires_ms / 1000,
        notify_url: Text::new(provider.notify_url(&rules.public_url)).ok()?,
    };
    provider.instruct(message, &instruction)
}

/// The provider said that a debit is not made. Said twice, it is the same.
pub(super) fn debit_failed(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &DebitFail,
) -> Decided {
    let known = rows.payment(&asked.payment)?;
    let known = known.filter(|payment| payment.provider == asked.provider && payment.mandate.is_some());
    let Some(payment) = known else {
        return Ok(Decision::rejected_for_attention(Problem::not_found("payment")));
    };
    let about = |duplicate| {
        Reply::PaymentCallback(replies::PaymentCallback { payment: Some(asked.payment), duplicate })
    };
    if payment.failure.is_some() || payment.settled.is_some() {
        return Ok(Decision::done(about(true), Vec::new()));
    }
    let mut puts =
        vec![Put::PaymentFailed { payment: payment.id, account: payment.account, failure: asked.reason }];
    let mut children = Vec::new();
    if let Some(row) = rows.mandate(&payment.account)?.filter(|row| row.running == Some(payment.id)) {
        let (why, now_ms) = (asked.reason.into(), message.origin.accepted_ms);
        let open = open_bills(rows, payment.account)?;
        let (mandate, said) = not_made(rules, row, open, (why, payment.amount_fen), now_ms);
        puts.push(Put::Mandate(mandate));
        children.extend(said);
    }
    Ok(Decision { children, ..Decision::done(about(false), puts) })
}

/// The mandate after a debit that was made, and after which these bills are still open; `None` where it was another's.
pub(super) fn made<'a>(
    rules: &Rules,
    row: Option<&Mandate>,
    payment: &Payment,
    still_open: impl IntoIterator<Item = &'a BillHead>,
    now_ms: u64,
) -> Option<Put> {
    let row = row.filter(|row| row.running == Some(payment.id))?;
    let due_ms = (!row.state.has_ended()).then(|| rules.debit.next_run_ms(still_open, now_ms)).flatten();
    Some(Put::Mandate(Mandate { running: None, due_ms, tries: 0, last_failure: None, ..row.clone() }))
}

/// The mandate after bills were issued, of which and of the others these are open; `None` where nothing changes.
pub(super) fn issued<'a>(
    terms: &DebitTerms,
    row: Option<&Mandate>,
    open: impl IntoIterator<Item = &'a BillHead>,
    now_ms: u64,
) -> Option<Put> {
    // While a debit is under way its end looks for the next.
    let row = row.filter(|row| row.state == MandateState::Active && row.running.is_none())?;
    let due_ms = terms.next_run_ms(open, now_ms)?;
    let due_ms = Some(row.due_ms.map_or(due_ms, |known| known.min(due_ms)));
    Some(Put::Mandate(Mandate { due_ms, tries: 0, ..row.clone() }))
}

/// The mandate after a debit that was not made, and what its customer is told.
fn not_made(
    rules: &Rules,
    row: &Mandate,
    open: &[BillHead],
    (why, amount_fen): (DebitFailure, Fen),
    now_ms: u64,
) -> (Mandate, Option<Child>) {
    let failure = LastFailure { at_ms: now_ms, amount_fen, why };
    let row = Mandate {
        running: None,
        due_ms: None,
        tries: row.tries + 1,
        last_failure: Some(failure),
        ..row.clone()
    };
    if row.state.has_ended() {
        return (row, None);
    }
    if why == DebitFailure::AgreementEnded {
        let mandate = over(&row, MandateState::EndedThere, now_ms);
        let said = notice(&mandate, row.customer, now_ms);
        return (mandate, Some(said));
    }
    // What another try would not change is not tried again.
    let pause_h = match why {
        DebitFailure::OverLimit
        | DebitFailure::LimitExceeded
        | DebitFailure::PayerAccountClosed
        | DebitFailure::NoAnswer => None,
        _ => rules.debit.again_after_h.get(row.tries as usize - 1),
    };
    let again_ms = pause_h.map(|hours| now_ms + u64::from(*hours) * HOUR_MS);
    let body = NoticeBody::DebitFailed { account: row.account, amount_fen, why, again_ms };
    let said = told(row.customer, now_ms, body);
    // What is not tried again does not keep the bills that come due later from being debited.
    let due_ms = again_ms.or_else(|| rules.debit.later_run_ms(open, now_ms));
    (Mandate { due_ms, ..row }, Some(said))
}

/// The mandate, ended. A debit that is under way may still be made: its answer is asked for as before.
fn over(row: &Mandate, state: MandateState, now_ms: u64) -> Mandate {
    Mandate {
        state,
        ended_ms: Some(now_ms),
        due_ms: row.due_ms.filter(|_| row.running.is_some()),
        ..row.clone()
    }
}

fn notice(mandate: &Mandate, customer: CustomerId, now_ms: u64) -> Child {
    told(customer, now_ms, NoticeBody::Mandate { account: mandate.account, state: mandate.state })
}

fn give_back(provider: &Provider, message: &NewMessage, mandate: MandateId, agreement: &str) -> Option<Put> {
    let agreement = Text::new(agreement).ok()?;
    provider.instruct(message, &Instruction::MandateEnd { mandate, agreement })
}

fn is_about(row: &Mandate, mandate: MandateId, provider: &str) -> bool {
    row.id == mandate && row.provider == provider
}

fn taken(duplicate: bool) -> Reply {
    Reply::PaymentCallback(replies::PaymentCallback { payment: None, duplicate })
}
