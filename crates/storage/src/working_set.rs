//! What an applier's rules may look at: the rows of one batch, loaded on demand.
//!
//! A rule asks for a row; if it is not loaded yet it gets [`NotLoaded`], passes that on with `?`, and is called again
//! with the row there. So rules stay pure functions, and a store may fetch the rows of a whole batch in one go.
use std::collections::HashMap;

use protocol::{
    AccountId, BillId, ChallengeId, CustomerId, ExportId, FileId, OutageId, PaymentId, ServiceRequestId,
    SessionId,
};

use crate::rows::{
    Account, BillHead, BindTries, Challenge, Customer, DivisionReport, DivisionState, Export, FileRow,
    Identity, Mandate, Payee, Payment, Person, Put, ServiceRequest, Session, Supply,
};

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An account, its holders, and its bills that are open.
    Account(AccountId),
    /// All bills of an account.
    Bills(AccountId),
    /// Somebody's tries to bind an account.
    BindTries(AccountId, CustomerId),
    /// The accounts of others that a customer has asked about.
    Payees(CustomerId),
    /// What is held about a customer.
    Person(CustomerId),
    /// A customer's sessions that have not been ended.
    Sessions(CustomerId),
    /// How an account's supply stands.
    Supply(AccountId),
    /// An identity.
    Identity(String),
    /// A challenge.
    Challenge(ChallengeId),
    /// A session.
    Session(SessionId),
    /// A customer.
    Customer(CustomerId),
    /// A payment.
    Payment(PaymentId),
    /// An account's mandate.
    Mandate(AccountId),
    /// The payments of an account that became credit.
    Credits(AccountId),
    /// A provider's transaction.
    ProviderTransaction(String, String),
    /// A request.
    Request(ServiceRequestId),
    /// A file of a request.
    File(FileId),
    /// A request's files.
    RequestFiles(ServiceRequestId),
    /// A file that is made for a customer.
    Export(ExportId),
    /// The files that are made for an account.
    Exports(AccountId),
    /// How many of a customer's requests are open in this shard.
    OpenRequests(CustomerId),
    /// A district's outages and reports.
    Division(String),
    /// An outage's reports, by id from after the second: at most 500.
    OutageReports(OutageId, ServiceRequestId),
}

/// The row asked for must be loaded first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLoaded(pub Key);

/// An account as rules see it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountState {
    /// The account itself.
    pub account: Account,
    /// Who has bound it.
    pub holders: Vec<CustomerId>,
    /// Its bills that are not paid, oldest first.
    pub open_bills: Vec<BillHead>,
    /// The newest bill.
    pub latest_bill: Option<BillHead>,
}

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident: $key:ty => $row:ty, $ask:ident, $fill:ident, $make:expr;)*) => {
        /// The rows loaded so far, with what the batch has changed of them.
        #[derive(Clone, Debug, Default)]
        pub struct WorkingSet { $($table: HashMap<$key, Option<$row>>,)* }

        impl WorkingSet {
            $($(#[$doc])*
            pub fn $ask(&self, key: &$key) -> Result<Option<&$row>, NotLoaded> {
                let make: fn(&$key) -> Key = $make;
                self.$table.get(key).map(Option::as_ref).ok_or_else(|| NotLoaded(make(key)))
            }

            pub(crate) fn $fill(&mut self, key: $key, row: Option<$row>) {
                self.$table.insert(key, row);
            }
            )*
        }
    };
}

tables! {
    /// An account with its holders and open bills.
    accounts: AccountId => AccountState, account, fill_account, |k| Key::Account(*k);
    /// All bills of an account, oldest first.
    bills: AccountId => Vec<BillHead>, bills, fill_bills, |k| Key::Bills(*k);
    /// Somebody's tries to bind an account.
    bind_tries: (AccountId, CustomerId) => BindTries, bind_tries, fill_bind_tries, |k| Key::BindTries(k.0, k.1);
    /// The accounts of others that a customer has asked about.
    payees: CustomerId => Vec<Payee>, payees, fill_payees, |k| Key::Payees(*k);
    /// What is held about a customer.
    persons: CustomerId => Person, person, fill_person, |k| Key::Person(*k);
    /// A customer's sessions that have not been ended, newest first; at most 64.
    sessions_of: CustomerId => Vec<Session>, sessions_of, fill_sessions_of, |k| Key::Sessions(*k);
    /// How an account's supply stands; none where it was never cut off.
    supplies: AccountId => Supply, supply, fill_supply, |k| Key::Supply(*k);
    /// An identity.
    identities: String => Identity, identity, fill_identity, |k| Key::Identity(k.clone());
    /// A challenge.
    challenges: ChallengeId => Challenge, challenge, fill_challenge, |k| Key::Challenge(*k);
    /// A session.
    sessions: SessionId => Session, session, fill_session, |k| Key::Session(*k);
    /// A customer's accounts.
    customers: CustomerId => Customer, customer, fill_customer, |k| Key::Customer(*k);
    /// A payment.
    payments: PaymentId => Payment, payment, fill_payment, |k| Key::Payment(*k);
    /// The payments of an account that became credit, newest first; at most 200.
    credits: AccountId => Vec<Payment>, credits, fill_credits, |k| Key::Credits(*k);
    /// An account's mandate, the newest.
    mandates: AccountId => Mandate, mandate, fill_mandate, |k| Key::Mandate(*k);
    /// Which payment a provider's transaction settled.
    transactions: (String, String) => PaymentId, transaction, fill_transaction,
        |k| Key::ProviderTransaction(k.0.clone(), k.1.clone());
    /// A request.
    requests: ServiceRequestId => ServiceRequest, request, fill_request, |k| Key::Request(*k);
    /// A file of a request.
    files: FileId => FileRow, file, fill_file, |k| Key::File(*k);
    /// A request's files, oldest first; at most 100.
    request_files: ServiceRequestId => Vec<FileRow>, request_files, fill_request_files, |k| Key::RequestFiles(*k);
    /// A file that is made for a customer.
    exports: ExportId => Export, export, fill_export, |k| Key::Export(*k);
    /// The files that are made for an account, newest first; at most 100.
    account_exports: AccountId => Vec<Export>, account_exports, fill_account_exports, |k| Key::Exports(*k);
    /// How many of a customer's requests are open in this shard.
    open_requests: CustomerId => u32, open_requests, fill_open_requests, |k| Key::OpenRequests(*k);
    /// A district's outages and reports.
    divisions: String => DivisionState, division, fill_division, |k| Key::Division(k.clone());
    /// An outage's reports, by id from after one on.
    outage_reports: (OutageId, ServiceRequestId) => Vec<DivisionReport>, outage_reports, fill_outage_reports,
        |k| Key::OutageReports(k.0, k.1);
}

impl WorkingSet {
    /// Takes a row that the batch writes into what later operations of the batch see.
    pub fn absorb(&mut self, put: &Put) {
        match put {
            Put::Account(account) => match self.accounts.get_mut(&account.id) {
                Some(Some(state)) => state.account = account.clone(),
                // It may find bills and holders that came before it.
                _ => drop(self.accounts.remove(&account.id)),
            },
            // A binding takes its place by its time, which is the database's to say; it is rare enough to read again.
            Put::Holder { account, .. } | Put::HolderGone { account, .. } => {
                drop(self.accounts.remove(account))
            }
            Put::CustomerAccount { customer, .. } | Put::CustomerAccountGone { customer, .. } => {
                drop(self.customers.remove(customer))
            }
            Put::Payee { customer, .. } | Put::PayeesGone { customer } => drop(self.payees.remove(customer)),
            Put::Bill(head, _) => {
                if let Some(Some(bills)) = self.bills.get_mut(&head.id.account) {
                    bills.retain(|bill| bill.id != head.id);
                    bills.push(head.clone());
                    bills.sort_by_key(|bill| bill.id.month);
                }
                if let Some(Some(state)) = self.accounts.get_mut(&head.id.account) {
                    state.open_bills.retain(|bill| bill.id != head.id);
                    if head.is_open() {
                        state.open_bills.push(head.clone());
                        state.open_bills.sort_by_key(|bill| bill.id.month);
                    }
                    if state.latest_bill.as_ref().is_none_or(|latest| latest.id.month <= head.id.month) {
                        state.latest_bill = Some(head.clone());
                    }
                }
            }
            Put::BillPaid { bill, paid_fen } => self.change_bill(*bill, |head| head.paid_fen = *paid_fen),
            Put::BillLateFee { bill, late_fee } => self.change_bill(*bill, |head| head.late_fee = *late_fee),
            Put::BindTries(row) => self.fill_bind_tries((row.account, row.customer), Some(*row)),
            Put::Supply(row) => self.fill_supply(row.account, Some(*row)),
            Put::Identity(row) => self.fill_identity(row.identity.clone(), Some(row.clone())),
            Put::Challenge(row) => self.fill_challenge(row.id, Some(row.clone())),
            Put::Person(row) => self.fill_person(row.customer, Some(row.clone())),
            Put::Session(row) => {
                self.fill_session(row.id, Some(row.clone()));
                self.sessions_of.remove(&row.customer);
            }
            Put::Payment(row) => {
                self.credits.remove(&row.account);
                self.fill_payment(row.id, Some(row.clone()));
            }
            Put::PaymentSettled { payment, settled, account } => {
                self.credits.remove(account);
                match self.payments.get_mut(payment) {
                    Some(Some(row)) => row.settled = Some(settled.clone()),
                    _ => drop(self.payments.remove(payment)),
                }
            }
            Put::PaymentFailed { payment, failure, .. } => match self.payments.get_mut(payment) {
                Some(Some(row)) => row.failure = Some(*failure),
                _ => drop(self.payments.remove(payment)),
            },
            Put::PaymentRefunds { payment, refunds, account } => {
                self.credits.remove(account);
                match self.payments.get_mut(payment) {
                    Some(Some(row)) => row.refunds = refunds.clone(),
                    _ => drop(self.payments.remove(payment)),
                }
            }
            Put::Mandate(row) => self.fill_mandate(row.account, Some(row.clone())),
            Put::ProviderTransaction { provider, transaction, payment } => {
                self.fill_transaction((provider.clone(), transaction.clone()), Some(*payment));
            }
            Put::Request(row) => {
                // Whether it was open before is not known here; counted again, it is right.
                self.open_requests.remove(&row.customer);
                self.fill_request(row.id, Some(row.clone()));
            }
            Put::File(row) => {
                self.request_files.remove(&row.request);
                self.fill_file(row.id, Some(row.clone()));
            }
            Put::Export(row) => {
                self.account_exports.remove(&row.account);
                self.fill_export(row.id, Some(row.clone()));
            }
            Put::ExportGone { export, account } => {
                self.account_exports.remove(account);
                self.fill_export(*export, None);
            }
            Put::Outage(row) => drop(self.divisions.remove(&row.division)),
            Put::DivisionReport { division, .. } => {
                self.divisions.remove(division);
                self.outage_reports.clear();
            }
            Put::WordsGone { customer } => {
                self.open_requests.remove(customer);
                self.requests.clear();
                self.files.clear();
                self.request_files.clear();
            }
            Put::RequestStep { .. } | Put::Notice { .. } | Put::NoticeRead { .. } => {}
            Put::Readings { .. } | Put::Posting { .. } | Put::Push { .. } | Put::PushDone { .. } => {}
        }
    }

    fn change_bill(&mut self, bill: BillId, change: impl Fn(&mut BillHead)) {
        if let Some(Some(bills)) = self.bills.get_mut(&bill.account) {
            bills.iter_mut().filter(|b| b.id == bill).for_each(&change);
        }
        let Some(Some(state)) = self.accounts.get_mut(&bill.account) else { return };
        let Some(open) = state.open_bills.iter_mut().find(|b| b.id == bill) else {
            // A bill that was closed may be open again, and is not held here.
            self.accounts.remove(&bill.account);
            return;
        };
        change(open);
        state.open_bills.retain(BillHead::is_open);
        state.latest_bill.iter_mut().filter(|b| b.id == bill).for_each(change);
    }
}
