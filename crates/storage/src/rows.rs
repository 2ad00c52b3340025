//! The rows of the business, as values. A row's tables and columns are in the store's schema.
mod export;
mod payment;
mod request;

use domain::{
    billing::BillLine,
    calendar::Month,
    late_fee::{LateFee, LateFeeRate, Overdue},
    ledger::Posting,
    money::{Fen, Wh},
    tariff::TariffId,
};
use jiff::civil::Date;
use protocol::{
    AccountId, BillId, Bucket, ChallengeId, Channel, CustomerId, ExportId, PaymentId, PushId,
    ServiceRequestId, SessionId,
    bounds::Phone,
    catalogue::{
        replies::{NoticeBody, RequestStep},
        requests::Notices,
    },
    envelope::Language,
    payment::ProviderFailure,
    push::{CodePurpose, PushBody},
};
use serde::{Deserialize, Serialize};

pub use export::Export;
pub use payment::{LastFailure, Mandate, Payment, Refund, Settled};
pub use protocol::catalogue::replies::SupplyState;
pub use request::{DivisionReport, DivisionState, FileRow, OutageRow, RequestView, ServiceRequest};

/// A supply contract and its premise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// 用电户号.
    pub id: AccountId,
    /// The holder's name.
    pub holder: String,
    /// The registered phone.
    pub phone: Option<Phone>,
    /// Where the power goes.
    pub address: String,
    /// GB/T 2260 code of its district.
    pub division: String,
    /// What it is billed by.
    pub tariff: TariffId,
    /// Whether its tiers are those of a large household.
    pub large_household: bool,
    /// The first month of supply.
    pub opened: Month,
    /// Money to the customer's credit.
    pub credit_fen: Fen,
    /// Wrong proofs shown since [`Account::proof_window_ms`].
    pub wrong_proofs: u32,
    /// When counting of wrong proofs began, Unix ms.
    pub proof_window_ms: u64,
}

/// Whether an account has power, as far as its payments go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Supply {
    /// Which account.
    pub account: AccountId,
    /// How it stands.
    pub state: SupplyState,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// When a reconnection is completed, Unix ms; only while reconnecting.
    pub reconnect_at_ms: Option<u64>,
}

/// A bill's head: everything but its lines.
#[derive(Clone, Debug, PartialEq)]
pub struct BillHead {
    /// Whose, and for which month.
    pub id: BillId,
    /// What it was billed by.
    pub tariff: TariffId,
    /// Which version of the tariff.
    pub tariff_from: Date,
    /// The energy.
    pub energy_wh: Wh,
    /// The amount.
    pub amount_fen: Fen,
    /// What has been paid.
    pub paid_fen: Fen,
    /// When it was issued.
    pub issued_on: Date,
    /// Until when it is to be paid.
    pub due_on: Date,
    /// Its late fee, as far as it has been charged.
    pub late_fee: LateFee,
}

impl BillHead {
    /// What is still to be paid of the amount, late fee aside.
    pub fn open_fen(&self) -> Fen {
        self.amount_fen - self.paid_fen
    }

    /// Whether anything is still to be paid, a late fee that was charged included.
    pub fn is_open(&self) -> bool {
        self.open_fen() > Fen::ZERO || self.late_fee.open_fen() > Fen::ZERO
    }

    /// Its late fee with every day through `day` in it.
    pub fn late_fee_on(&self, day: Date, rate: LateFeeRate) -> LateFee {
        let overdue = Overdue { amount_fen: self.amount_fen, open_fen: self.open_fen(), due_on: self.due_on };
        self.late_fee.through(day, &overdue, rate)
    }
}

/// What a bill was computed from and into, stored packed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BillDetail {
    /// Its lines.
    pub lines: Vec<BillLine>,
    /// Use in the tier period before it.
    pub used_before_wh: Wh,
    /// The tiers' upper limits that held.
    pub tier_limits_wh: Vec<Wh>,
}

/// How often somebody tried to bind an account, whether or not there is such an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BindTries {
    /// Which account.
    pub account: AccountId,
    /// Who tried.
    pub customer: CustomerId,
    /// How often since [`BindTries::window_ms`].
    pub tries: u32,
    /// When counting began, Unix ms.
    pub window_ms: u64,
}

/// An account that is not their own, about which a customer has asked in order to pay for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payee {
    /// Which account, whether or not there is one.
    pub account: AccountId,
    /// When they asked last, Unix ms.
    pub asked_ms: u64,
}

/// A verified way to recognise somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// `phone:19900000001`.
    pub identity: String,
    /// Who it is, once verified.
    pub customer: Option<CustomerId>,
    /// When the last code was sent, Unix ms.
    pub last_code_ms: u64,
    /// Codes sent since [`Identity::code_window_ms`].
    pub codes: u32,
    /// When counting of codes began, Unix ms.
    pub code_window_ms: u64,
}

/// A one-time code that was sent. The code itself is not stored: it is a keyed hash of the challenge's id.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// To which phone.
    pub phone: Phone,
    /// What it is for.
    pub purpose: CodePurpose,
    /// Which account, where it is about one.
    pub account: Option<AccountId>,
    /// Until when it is good, Unix ms.
    pub expires_ms: u64,
    /// Wrong codes so far.
    pub attempts: u32,
    /// Whether it has been used.
    pub used: bool,
}

/// A log-in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who.
    pub customer: CustomerId,
    /// Counts refreshes.
    pub generation: u32,
    /// Until when it can be refreshed, Unix ms.
    pub expires_ms: u64,
    /// Whether it has been ended.
    pub ended: bool,
    /// When it was opened, Unix ms; 0 where it was not noted.
    pub begun_ms: u64,
    /// When it was opened or last renewed, Unix ms; 0 where it was not noted.
    pub used_ms: u64,
    /// Where it was opened, where that was noted.
    pub channel: Option<Channel>,
}

/// What is held about a customer besides their accounts; in their own shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    pub customer: CustomerId,
    /// The phone by which they log in.
    pub phone: Option<Phone>,
    /// Since when they are known, Unix ms.
    pub since_ms: u64,
    /// How they want to be called.
    pub name: String,
    /// In which language they are spoken to, where they said so.
    pub language: Option<Language>,
    /// Whether type is large.
    pub elder: bool,
    /// What they want a message about.
    pub notices: Notices,
    /// When the last code to delete it all was sent, Unix ms.
    pub last_code_ms: u64,
    /// Such codes since [`Person::code_window_ms`].
    pub codes: u32,
    /// When counting of them began, Unix ms.
    pub code_window_ms: u64,
    /// When it was deleted, Unix ms. The row stays, empty, so that what was under way brings nothing back.
    pub gone_ms: Option<u64>,
}

impl Person {
    /// Somebody of whom nothing is known yet.
    pub fn new(customer: CustomerId, since_ms: u64) -> Person {
        Person {
            customer,
            phone: None,
            since_ms,
            name: String::new(),
            language: None,
            elder: false,
            notices: Notices::default(),
            last_code_ms: 0,
            codes: 0,
            code_window_ms: 0,
            gone_ms: None,
        }
    }
}

/// A person or company, and the accounts they have bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// Accounts and since when, Unix ms, in the order they were bound.
    pub accounts: Vec<(AccountId, u64)>,
}

/// One row to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// Inserts or replaces an account.
    Account(Account),
    /// Binds a customer to an account, in the account's shard.
    Holder {
        /// The account.
        account: AccountId,
        /// The customer.
        customer: CustomerId,
        /// Since when, Unix ms.
        since_ms: u64,
    },
    /// Binds an account to a customer, in the customer's shard.
    CustomerAccount {
        /// The customer.
        customer: CustomerId,
        /// The account.
        account: AccountId,
        /// Since when, Unix ms.
        since_ms: u64,
    },
    /// Takes a customer off an account, in the account's shard.
    HolderGone {
        /// The account.
        account: AccountId,
        /// The customer.
        customer: CustomerId,
    },
    /// Takes an account off a customer's list, in the customer's shard.
    CustomerAccountGone {
        /// The customer.
        customer: CustomerId,
        /// The account.
        account: AccountId,
    },
    /// Notes about whose account a customer has asked.
    Payee {
        /// Who asked.
        customer: CustomerId,
        /// About which account, and when.
        payee: Payee,
    },
    /// Counts somebody's tries to bind an account.
    BindTries(BindTries),
    /// Issues a bill.
    Bill(BillHead, BillDetail),
    /// Notes what has been paid of a bill.
    BillPaid {
        /// Which bill.
        bill: BillId,
        /// In all so far.
        paid_fen: Fen,
    },
    /// Charges a bill's late fee up to a day, or notes what has been paid of it.
    BillLateFee {
        /// Which bill.
        bill: BillId,
        /// In all so far.
        late_fee: LateFee,
    },
    /// A day's readings, packed.
    Readings {
        /// Whose.
        account: AccountId,
        /// Which day.
        date: Date,
        /// The packed day.
        packed: Vec<u8>,
    },
    /// Forgets about whose accounts a customer has asked.
    PayeesGone {
        /// Who asked.
        customer: CustomerId,
    },
    /// Forgets what a customer was told, and their requests that are about no account.
    WordsGone {
        /// Whose.
        customer: CustomerId,
    },
    /// Inserts or replaces what is held about a customer.
    Person(Person),
    /// Inserts or replaces an identity.
    Identity(Identity),
    /// Notes how an account's supply stands.
    Supply(Supply),
    /// Inserts or replaces a challenge.
    Challenge(Challenge),
    /// Inserts or replaces a session.
    Session(Session),
    /// Inserts or replaces a payment.
    Payment(Payment),
    /// Notes what was paid under a payment.
    PaymentSettled {
        /// Which payment.
        payment: PaymentId,
        /// Its account.
        account: AccountId,
        /// In all so far.
        settled: Settled,
    },
    /// Notes that a debit was not made.
    PaymentFailed {
        /// Which payment.
        payment: PaymentId,
        /// Its account.
        account: AccountId,
        /// Why.
        failure: ProviderFailure,
    },
    /// Notes what of a payment goes back.
    PaymentRefunds {
        /// Which payment.
        payment: PaymentId,
        /// Its account.
        account: AccountId,
        /// All so far, oldest first.
        refunds: Vec<Refund>,
    },
    /// Inserts or replaces an account's mandate.
    Mandate(Mandate),
    /// Notes a provider's transaction id; unique for ever.
    ProviderTransaction {
        /// Which provider.
        provider: String,
        /// Its id there.
        transaction: String,
        /// Which payment it settled.
        payment: PaymentId,
    },
    /// Appends a posting to the ledger.
    Posting {
        /// When, Unix ms.
        at_ms: u64,
        /// What it is about, for a person: `bill 330…-2026-01`.
        text: String,
        /// The posting; its entries sum to zero.
        posting: Posting,
    },
    /// Queues a push.
    Push {
        /// Its id.
        id: PushId,
        /// What is to be sent.
        body: PushBody,
    },
    /// Inserts or replaces a request.
    Request(ServiceRequest),
    /// Appends to what has happened to a request.
    RequestStep {
        /// The request.
        request: ServiceRequestId,
        /// Which step it is, from 0.
        n: u32,
        /// What happened.
        step: RequestStep,
    },
    /// Inserts or replaces a file of a request.
    File(FileRow),
    /// Inserts or replaces a file that is made for a customer.
    Export(Export),
    /// Forgets a file that was made for a customer.
    ExportGone {
        /// Which.
        export: ExportId,
        /// Its account.
        account: AccountId,
    },
    /// Inserts or replaces an outage.
    Outage(OutageRow),
    /// Inserts or replaces a fault report of a district.
    DivisionReport {
        /// The district.
        division: String,
        /// The report.
        report: DivisionReport,
    },
    /// Tells a customer something.
    Notice {
        /// Whom.
        customer: CustomerId,
        /// When, Unix ms.
        at_ms: u64,
        /// What.
        body: NoticeBody,
    },
    /// Marks what a customer was told as read.
    NoticeRead {
        /// Who.
        customer: CustomerId,
        /// Up to and with this number.
        through: u64,
    },
    /// The push's delivery has ended: it is forgotten but for how.
    PushDone {
        /// Which push.
        id: PushId,
        /// Whether it was delivered.
        delivered: bool,
    },
}

/// Something whose views a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Entity {
    /// An account with its bills, readings, payments, holders.
    Account(AccountId),
    /// A customer with its bound accounts.
    Customer(CustomerId),
    /// A session.
    Session(SessionId),
    /// A payment.
    Payment(PaymentId),
    /// A request with its steps.
    Request(ServiceRequestId),
    /// A district with its outages, by the number of its GB/T 2260 code.
    Division(u32),
    /// What a customer was told.
    Notices(CustomerId),
}

impl Entity {
    /// The district of that code.
    pub fn division(code: &str) -> Self {
        Entity::Division(code.parse().unwrap_or(0))
    }

    /// Where it lives.
    pub fn bucket(self) -> Bucket {
        match self {
            Entity::Account(id) => id.bucket(),
            Entity::Customer(id) => id.bucket(),
            Entity::Session(id) => id.bucket(),
            Entity::Payment(id) => id.bucket(),
            Entity::Request(id) => id.bucket(),
            Entity::Division(code) => Bucket::of_division(&code.to_string()),
            Entity::Notices(id) => id.bucket(),
        }
    }
}

impl Put {
    /// What changes for readers by this row.
    pub fn changes(&self) -> [Option<Entity>; 2] {
        let one = |entity| [Some(entity), None];
        match self {
            Put::Account(account) => one(Entity::Account(account.id)),
            Put::Holder { account, .. } | Put::HolderGone { account, .. } | Put::Readings { account, .. } => {
                one(Entity::Account(*account))
            }
            Put::CustomerAccount { customer, .. } | Put::CustomerAccountGone { customer, .. } => {
                one(Entity::Customer(*customer))
            }
            Put::Person(person) => one(Entity::Customer(person.customer)),
            Put::WordsGone { customer } => {
                [Some(Entity::Notices(*customer)), Some(Entity::Customer(*customer))]
            }
            Put::Supply(supply) => one(Entity::Account(supply.account)),
            Put::Bill(head, _) => one(Entity::Account(head.id.account)),
            Put::BillPaid { bill, .. } | Put::BillLateFee { bill, .. } => one(Entity::Account(bill.account)),
            Put::Session(session) => one(Entity::Session(session.id)),
            // Itself, and the list of its account.
            Put::Payment(payment) => {
                [Some(Entity::Payment(payment.id)), Some(Entity::Account(payment.account))]
            }
            Put::Mandate(mandate) => one(Entity::Account(mandate.account)),
            Put::Export(export) => one(Entity::Account(export.account)),
            Put::ExportGone { account, .. } => one(Entity::Account(*account)),
            Put::PaymentSettled { payment, account, .. }
            | Put::PaymentFailed { payment, account, .. }
            | Put::PaymentRefunds { payment, account, .. } => {
                [Some(Entity::Payment(*payment)), Some(Entity::Account(*account))]
            }
            // Itself, and the list it is in.
            Put::Request(r) => {
                let list = r.account.map_or(Entity::Customer(r.customer), Entity::Account);
                [Some(Entity::Request(r.id)), Some(list)]
            }
            Put::RequestStep { request, .. } => one(Entity::Request(*request)),
            Put::File(file) => one(Entity::Request(file.request)),
            Put::Outage(outage) => one(Entity::division(&outage.division)),
            Put::Notice { customer, .. } | Put::NoticeRead { customer, .. } => {
                one(Entity::Notices(*customer))
            }
            Put::DivisionReport { .. }
            | Put::BindTries(_)
            | Put::Payee { .. }
            | Put::PayeesGone { .. }
            | Put::Identity(_)
            | Put::Challenge(_)
            | Put::ProviderTransaction { .. }
            | Put::Posting { .. }
            | Put::Push { .. }
            | Put::PushDone { .. } => [None, None],
        }
    }
}
