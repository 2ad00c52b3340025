//! The rules by which operations are applied: pure functions from rows and a message to a decision.
//!
//! A rule knows no clock and no randomness: "now" is when the operation was accepted, new ids come from its own id. So
//! applying it again, anywhere, gives the same. It asks for rows first and decides afterwards; see
//! [`storage::working_set`].
mod account;
mod arrears;
mod export;
mod file;
mod file_words;
mod import;
mod login;
mod mandate;
mod outage;
mod payee;
mod payment;
mod person;
mod phone;
mod provider;
mod refund;
mod request;
mod session;
mod supply;
#[cfg(test)]
mod tests;

pub(crate) use export::shown as export_shown;
pub(crate) use outage::outage_id;
pub(crate) use refund::newer_left_fen;

use std::sync::Arc;

use domain::{forms::FormBook, late_fee::LateFeeRate, tariff::TariffBook};
use protocol::{Code, Problem, Reply, Request, catalogue::replies};
use storage::{
    message::{Decision, NewMessage},
    rows::Put,
    store::Decide,
    working_set::{NotLoaded, WorkingSet},
};

use crate::{
    config::Provider,
    keys::{CodeKey, ReceiptKey},
    operation::{Operation, Own},
};

pub use export::ExportTerms;
pub use mandate::DebitTerms;
pub use supply::SupplyTerms;

type Decided = Result<Decision, NotLoaded>;

/// What rules know besides rows: the same on every node.
pub struct Rules {
    /// Makes and checks one-time codes.
    pub codes: CodeKey,
    /// Signs the receipts of files.
    pub receipts: ReceiptKey,
    /// The tariffs.
    pub tariffs: Arc<TariffBook>,
    /// The forms a customer can send in.
    pub forms: Arc<FormBook>,
    /// The payment providers.
    pub providers: Vec<Provider>,
    /// The portal's address, to which a payer returns.
    pub public_url: String,
    /// What a day of being late costs.
    pub late_fee: LateFeeRate,
    /// When bills are debited by themselves, and how often that is tried.
    pub debit: DebitTerms,
    /// When power is cut off and how soon it is back.
    pub supply: SupplyTerms,
    /// How files for customers are made.
    pub exports: ExportTerms,
}

impl Decide for Rules {
    fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> Decided {
        match Operation::decode(message.code, message.version, &message.body) {
            Ok(Operation::Asked(request)) => self.asked(rows, message, &request),
            Ok(Operation::Own(own)) => self.own(rows, message, &own),
            Err(refusal) => Ok(Decision::rejected(Problem::new(
                Code::OperationFailed,
                format!("It cannot be read: {refusal}."),
            ))),
        }
    }
}

impl Rules {
    fn asked(&self, rows: &WorkingSet, message: &NewMessage, request: &Request) -> Decided {
        match request {
            Request::LoginStart(r) => login::start(self, rows, message, r),
            Request::LoginFinish(r) => login::finish(self, rows, message, r),
            Request::AccountBindStart(r) => account::bind_start(self, rows, message, r),
            Request::AccountBind(r) => account::bind(self, rows, message, r),
            Request::AccountUnbindStart(r) => account::unbind_start(self, rows, message, r),
            Request::AccountUnbind(r) => account::unbind(self, rows, message, r),
            Request::PersonCorrect(r) => person::correct(rows, message, r),
            Request::PreferencesSet(r) => person::prefer(rows, message, r),
            Request::PersonDeleteStart(_) => person::delete_start(self, rows, message),
            Request::PersonDelete(r) => person::delete(self, rows, message, r),
            Request::PhoneChangeStart(r) => phone::start(self, rows, message, r),
            Request::PhoneChange(r) => phone::change(self, rows, message, r),
            Request::SessionEndOther(r) => session::end_other(rows, message, r),
            Request::PaymentCreate(r) => payment::create(self, rows, message, r),
            Request::RefundCreate(r) => refund::create(self, rows, message, r),
            Request::MandateCreate(r) => mandate::create(self, rows, message, r),
            Request::MandateEnd(r) => mandate::end(self, rows, message, r),
            Request::RequestCreate(r) => request::create(self, rows, message, r),
            Request::FaultReport(r) => request::fault(rows, message, r),
            Request::RequestNote(r) => request::note(rows, message, r),
            Request::RequestCancel(r) => request::cancel(rows, message, r),
            Request::FileCreate(r) => file::create(rows, message, r),
            Request::FileEnd(r) => file::end(rows, message, r),
            Request::FileResult(r) => file::result(rows, message, r),
            Request::FileAttach(r) => file::attach(self, rows, message, r),
            Request::NoticeRead(r) => Ok(request::notice_read(message, r)),
            Request::ExportCreate(r) => export::create(self, rows, message, r),
            Request::PushResult(r) => Ok(Decision::done(
                Reply::PushResult(replies::PushResult {}),
                vec![Put::PushDone { id: r.push, delivered: r.delivered }],
            )),
            // Reads, and writes that the node turns into the center's own operations: none of them enters a lane.
            other => {
                let why = format!("{} is not applied from a lane.", other.spec().name);
                Ok(Decision::rejected(Problem::new(Code::OperationFailed, why)))
            }
        }
    }

    fn own(&self, rows: &WorkingSet, message: &NewMessage, own: &Own) -> Decided {
        match own {
            Own::Settle(settle) => payment::settle(self, rows, message, settle),
            Own::DebitFail(fail) => mandate::debit_failed(self, rows, message, fail),
            Own::MandateSign(sign) => mandate::signed(self, rows, message, sign),
            Own::MandateLeave(leave) => mandate::left(rows, message, leave),
            Own::MandateDue(due) => mandate::due(self, rows, message, due),
            Own::RefundEnd(end) => refund::ended(rows, message, end),
            Own::FileExpire(due) => file::expire(rows, message, due),
            Own::RefundDue(due) => refund::due(self, rows, message, due),
            Own::CustomerAccountAdd(add) => account::list_add(rows, add),
            Own::CustomerAccountRemove(gone) => account::list_remove(rows, gone),
            Own::PayeeAsk(ask) => payee::ask(rows, message, ask),
            Own::SessionOpen(open) => session::open(rows, message, open),
            Own::SessionContinue(go_on) => session::go_on(rows, message, go_on),
            Own::SessionClose(close) => session::close(rows, close),
            Own::PersonPhone(take) => phone::take(rows, message, take),
            Own::PhoneLeave(leave) => phone::leave(rows, leave),
            Own::HolderRemove(gone) => account::holder_remove(self, rows, message, gone),
            Own::PersonForget(forget) => person::forget(rows, message, forget.customer),
            Own::Import(import) => import::import(self, rows, message, import),
            Own::SupplyCut(cut) => supply::cut(self, rows, message, cut),
            Own::SupplyRestore(restore) => supply::restore(rows, message, restore),
            Own::RequestAdvance(advance) => request::advance(rows, message, advance),
            Own::OutagePut(put) => outage::put(rows, message, put),
            Own::OutageClose(close) => outage::close(rows, close),
            Own::DivisionReport(add) => outage::report(rows, add),
            Own::NoticeAdd(add) => request::notice_add(rows, add),
            Own::ExportMade(made) => export::made(self, rows, message, made),
            Own::ExportFail(fail) => export::failed(rows, message, fail),
            Own::ExportDue(due) => export::due(rows, message, due),
        }
    }
}
