//! What each operation needs to know. In HTTP these are path, query and body together; unknown fields are refused.
use domain::{calendar::Month, tariff::TariffId};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, BillId, ChallengeId, FileId, OperationId, PaymentId, PushId, ServiceRequestId,
    bounds::{
        Few, FileSize, IdempotencyKey, NoticeNumber, OneTimeCode, Opaque, PayableFen, PerMille, Phone, Prose,
        QuotedWh, Secret, ShortName, Text, Year,
    },
};

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
        #[schema(as = requests::$name)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* })*
    };
}

mod export;
pub use export::*;
/// How a file ended that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileEnding {
    /// Rules or a scanner refused it.
    Refused,
    /// A person refused it.
    RefusedByPerson,
    /// The customer took it back.
    Withdrawn,
    /// It did not come in time.
    Expired,
    /// It was lost at the edge.
    Lost,
}

mod person;
pub use person::*;

requests! {
    /// Asks the gate for an echo.
    GateProbe {
        /// Comes back as it is; at most 4 KiB.
        payload: Opaque<4096>,
    }
    /// Sends a one-time code to a phone.
    LoginStart {
        /// Where to.
        phone: Phone,
    }
    /// Opens a session with the code.
    LoginFinish {
        /// The challenge that `login_start` named.
        challenge: ChallengeId,
        /// The code that came by phone.
        code: OneTimeCode,
    }
    /// Exchanges a refresh token for the next pair.
    SessionRefresh {
        /// The newest refresh token.
        refresh_token: Text<{ crate::session::MAX_TOKEN_LEN }>,
    }
    /// Ends the session whose access token comes along.
    SessionEnd {}
    /// Logs a member of the staff in.
    StaffLogin {
        /// Their name.
        name: ShortName,
        /// Their password.
        password: Secret<128>,
    }
    /// The accounts the customer has bound.
    AccountList {}
    /// What is owed, this month so far, the tier.
    AccountSummary {
        /// Which account.
        account: AccountId,
    }
    /// Sends a code to the phone that is registered with an account.
    AccountBindStart {
        /// Which account.
        account: AccountId,
    }
    /// Binds an account to the customer.
    AccountBind {
        /// Which account.
        account: AccountId,
        /// What shows that it is theirs to bind.
        proof: BindProof,
    }
    /// An account's bills, newest first.
    BillList {
        /// Which account.
        account: AccountId,
        /// Only bills of months before this one: the cursor of the page before.
        before: Option<Month>,
        /// At most this many; 1 to 60, 0 means 13.
        limit: u8,
    }
    /// One bill with lines that one can recompute.
    BillGet {
        /// Which bill.
        bill: BillId,
    }
    /// A month's use, day by day.
    UsageMonth {
        /// Which account.
        account: AccountId,
        /// Which month.
        month: Month,
    }
    /// Where the use stands in the tiers, and where its pace leads.
    TierGet {
        /// Which account.
        account: AccountId,
    }
    /// A year's use, month by month.
    UsageYear {
        /// Which account.
        account: AccountId,
        /// Which year.
        year: Year,
    }
    /// What energy would cost at an account's place.
    TariffQuote {
        /// Which account: its place, its household, its first month.
        account: AccountId,
        /// By which tariff of the place; absent: the account's own.
        tariff: Option<TariffId>,
        /// In which month.
        month: Month,
        /// How much.
        energy_wh: QuotedWh,
        /// How much of it in the valley hours; needed where the tariff prices by the hour.
        valley_per_mille: Option<PerMille>,
        /// Used before in the tier period; ignored where tiers count by month.
        used_before_wh: QuotedWh,
    }
    /// The account's past twelve months under every tariff of its place.
    TariffCompare {
        /// Which account.
        account: AccountId,
    }
    /// Orders a payment. What is more than owed becomes credit.
    PaymentCreate {
        /// For which account.
        account: AccountId,
        /// How much, in fen.
        amount_fen: PayableFen,
        /// Through which payment provider.
        provider: ShortName,
    }
    /// A payment's state, and its receipt once paid.
    PaymentGet {
        /// Which payment.
        payment: PaymentId,
    }
    /// An account's payments, newest first.
    PaymentList {
        /// Which account.
        account: AccountId,
        /// Only payments ordered before this time, Unix ms: the cursor of the page before.
        before: Option<u64>,
        /// At most this many; 1 to 50, 0 means 50.
        limit: u8,
    }
    /// Asks for credit back that a payment became.
    RefundCreate {
        /// Of which payment.
        payment: PaymentId,
        /// How much, in fen.
        amount_fen: PayableFen,
    }
    /// Asks a provider for leave to be debited for an account's bills.
    MandateCreate {
        /// For which account.
        account: AccountId,
        /// Through which payment provider.
        provider: ShortName,
        /// The most that one debit may take, in fen.
        limit_fen: PayableFen,
    }
    /// How automatic debit stands for an account.
    MandateGet {
        /// Which account.
        account: AccountId,
    }
    /// Ends automatic debit for an account.
    MandateEnd {
        /// Which account.
        account: AccountId,
    }
    /// A payment provider's message, exactly as it was signed.
    PaymentCallback {
        /// Which provider.
        provider: ShortName,
        /// The message's id, part of what is signed.
        id: Text<128>,
        /// The signed time, Unix seconds.
        timestamp_s: u64,
        /// The signature header.
        signature: Text<256>,
        /// The body, byte by byte.
        body: Opaque<16384>,
    }
    /// The forms a customer can send in.
    FormList {}
    /// Sends in a form.
    RequestCreate {
        /// Which form.
        form: ShortName,
        /// About which account, where the form is about one.
        account: Option<AccountId>,
        /// What was filled in.
        #[schema(value_type = Vec<Answer>, max_items = 12)]
        answers: Few<Answer, { domain::forms::MAX_FIELDS }>,
    }
    /// Reports a fault.
    FaultReport {
        /// Where.
        account: AccountId,
        /// What is wrong.
        kind: FaultKind,
        /// In the customer's own words; may be empty.
        text: Prose<1000>,
        /// Whom to call, if not the phone one logged in with.
        phone: Option<Phone>,
    }
    /// Requests, newest first.
    RequestList {
        /// Of which account; absent: those about none, that the customer sent in.
        account: Option<AccountId>,
        /// Only requests made before this time, Unix ms: the cursor of the page before.
        before: Option<u64>,
        /// At most this many; 1 to 50, 0 means 20.
        limit: u8,
    }
    /// A request and what has happened to it.
    RequestGet {
        /// Which request.
        request: ServiceRequestId,
    }
    /// Adds a word to a request that is not closed.
    RequestNote {
        /// Which request.
        request: ServiceRequestId,
        /// The customer's words.
        text: Prose<1500>,
    }
    /// Withdraws a request that is not closed.
    RequestCancel {
        /// Which request.
        request: ServiceRequestId,
    }
    /// Says that a file is to come with a request that is not closed.
    FileCreate {
        /// Which request.
        request: ServiceRequestId,
        /// The file's name, as the customer has it.
        name: Text<255>,
        /// Its length in bytes.
        size: FileSize,
    }
    /// What a request is, for who takes its files in.
    RequestForm {
        /// Which request.
        request: ServiceRequestId,
    }
    /// Says that a file will not come.
    FileEnd {
        /// Which file.
        file: FileId,
        /// Why: a code of the audit, `withdrawn`, `expired`, `lost`.
        why: ShortName,
    }
    /// Says how the audit of a file ended that does not come.
    FileResult {
        /// Which file.
        file: FileId,
        /// How.
        how: FileEnding,
        /// Why: a code of the audit; of a person's refusal `refused`.
        why: ShortName,
        /// In the words of the person who refused it; else empty.
        words: Text<200>,
        /// By the rules of which kind of request or form: `kind:complaint`; empty where they were the general ones.
        rule: Text<48>,
    }
    /// Attaches a file that is in the intranet's store, verified and inspected.
    FileAttach {
        /// Which file.
        file: FileId,
        /// Its length in bytes.
        size: FileSize,
        /// Its BLAKE3 hash, by which the store knows it.
        root: [u8; 32],
        /// What it is by its content: `pdf`, `jpeg`.
        kind: ShortName,
    }
    /// Outages at an account's premise, now and planned.
    OutageList {
        /// Which account.
        account: AccountId,
    }
    /// What the customer was told, newest first.
    NoticeList {
        /// Only notices with a smaller number: the cursor of the page before.
        before: Option<u64>,
        /// At most this many; 1 to 50, 0 means 20.
        limit: u8,
    }
    /// Marks what the customer was told as read.
    NoticeRead {
        /// Up to and with this number.
        through: NoticeNumber,
    }
    /// How an accepted write stands.
    OperationGet {
        /// Which write.
        operation: OperationId,
    }
    /// How the delivery of a push ended.
    PushResult {
        /// Which push.
        push: PushId,
        /// Whether the channel took it.
        delivered: bool,
        /// Why not, where it did not.
        reason: Text<256>,
    }
}

// The most answers, as the schema above says it.
const _: () = assert!(domain::forms::MAX_FIELDS == 12);

/// What was filled into one field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Which field.
    pub field: ShortName,
    /// What was filled in.
    pub value: Prose<{ domain::forms::MAX_ANSWER }>,
}

/// What is wrong with the supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No power at all.
    NoPower,
    /// Some rooms or phases are without.
    PartOnly,
    /// Lights flicker or are dim: the voltage is too low, too high or unsteady.
    Voltage,
    /// A line is down, sparks, smoke: danger.
    Danger,
    /// The meter.
    Meter,
    /// Something else.
    Other,
}

impl PushResult {
    /// The idempotency key of a delivery result: there is one for each push.
    pub fn key(&self) -> Option<IdempotencyKey> {
        self.push.to_string().parse().ok()
    }
}

/// What shows that an account is one's own to bind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BindProof {
    /// The code sent to the account's registered phone.
    Code {
        /// The challenge that `account_bind_start` named.
        challenge: ChallengeId,
        /// The code.
        code: OneTimeCode,
    },
    /// What the account's latest bill shows.
    LatestBill {
        /// Its month.
        month: Month,
        /// Its amount, in fen.
        amount_fen: i64,
    },
}
