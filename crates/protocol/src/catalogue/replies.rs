//! What each operation is answered with. Dates are local to the account; amounts are integer fen, energy integer Wh.
use std::cell::Cell;

use domain::{
    billing::{BillLine, Explanation, LeftOut},
    calendar::Month,
    money::{Fen, Wh},
    tariff::{PeriodName, TariffId},
};
use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    AccountId, BillId, ChallengeId, CustomerId, OperationId, Problem, SessionId, bounds::Opaque,
    session::StaffRole,
};

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* })*
    };
}

mod export;
pub use export::*;

mod payment;
pub use payment::*;

mod person;
pub use person::*;

mod usage;
pub use usage::*;

mod service;
pub use service::*;

replies! {
    /// The gate's echo.
    GateProbe {
        /// What was sent.
        payload: Opaque<4096>,
        /// Whether a node of the center is within reach; not said by a gate whose inner half is of the version before.
        reaches_center: Option<bool>,
    }
    /// A code is on its way (whether or not the phone is known to us).
    LoginStart {
        /// To be named with the code.
        challenge: ChallengeId,
        /// For how long the code is good, in seconds.
        expires_in_s: u32,
        /// When another may be asked for, in seconds.
        resend_in_s: u32,
    }
    /// A session is open.
    LoginFinish {
        /// The session.
        session: SessionId,
        /// Who it is.
        customer: CustomerId,
        /// The tokens; absent where the result is looked up later by its operation.
        tokens: Option<SessionTokens>,
    }
    /// They are logged in.
    StaffLogin {
        /// Their token.
        token: String,
        /// How long it lives, in seconds.
        expires_in_s: u64,
        /// As what.
        roles: Vec<StaffRole>,
    }
    /// The next pair of tokens.
    SessionRefresh {
        /// The session.
        session: SessionId,
        /// Counts refreshes.
        generation: u32,
        /// The tokens; absent where the result is looked up later by its operation.
        tokens: Option<SessionTokens>,
    }
    /// The session has ended.
    SessionEnd {}
    /// The customer's accounts.
    AccountList {
        /// In the order they were bound; at most 64.
        accounts: Vec<BoundAccount>,
    }
    /// An account at a glance.
    AccountSummary {
        /// Which account.
        account: AccountId,
        /// The holder's name, masked: 张*.
        holder: String,
        /// The premise's address, masked.
        address: String,
        /// GB/T 2260 code of its district.
        division: String,
        /// What it is billed by.
        tariff: TariffBrief,
        /// What is owed and what stands to the customer's credit.
        balance: Balance,
        /// Whether it has power, as far as its payments go.
        supply: SupplyStanding,
        /// The newest bill.
        latest_bill: Option<BillBrief>,
        /// The month under way.
        this_month: UsageSoFar,
        /// Where the use stands in the tariff's tiers.
        tier: TierStanding,
    }
    /// A code is on its way to the registered phone, if the account has one.
    AccountBindStart {
        /// To be named with the code.
        challenge: ChallengeId,
        /// The phone, masked: 199****0001. Empty where a code cannot be sent.
        phone: String,
        /// For how long the code is good, in seconds.
        expires_in_s: u32,
    }
    /// The account is bound.
    AccountBind {
        /// Which account.
        account: AccountId,
    }
    /// A page of bills.
    BillList {
        /// Newest first.
        bills: Vec<BillBrief>,
        /// The cursor of the next page; `null` on the last.
        next_before: Option<Month>,
    }
    /// A bill, whole.
    BillGet {
        /// Its head.
        bill: BillBrief,
        /// What it was billed by, with source and date.
        tariff: TariffSource,
        /// Its lines; their amounts sum to the bill's.
        lines: Vec<BillLine>,
        /// Use in the tariff's tier period before this bill.
        used_before_wh: Wh,
        /// The tiers' upper limits in this bill's tier period.
        tier_limits_wh: Vec<Wh>,
        /// Use per hour of the day over the month, in 24 values, where readings are fine enough.
        by_hour_wh: Vec<Wh>,
        /// The same use under the account's other tariff (single rate beside time-of-use), where there is one.
        alternative: Option<AlternativeBill>,
        /// This and the twelve bills before, oldest first.
        history: Vec<MonthAmount>,
        /// Why it differs from the bill before, where there is one: parts that sum to the difference.
        against_previous: Option<Explanation>,
        /// Why it differs from the bill of the same month last year.
        against_last_year: Option<Explanation>,
    }
    /// How a write stands.
    OperationGet {
        /// Which write.
        operation: OperationId,
        /// What it asked for.
        name: String,
        /// How it stands.
        state: OperationState,
        /// Why it was rejected or failed.
        problem: Option<Problem>,
        /// Its result, once applied.
        #[serde(deserialize_with = "unnested")]
        result: Option<Box<super::Reply>>,
        /// When it was accepted, Unix ms.
        accepted_ms: u64,
    }
    /// The delivery result is noted.
    PushResult {}
    /// One of a customer's accounts.
    BoundAccount {
        /// Its number.
        account: AccountId,
        /// Since when it is bound, Unix ms.
        bound_ms: u64,
    }
    /// A session's tokens.
    SessionTokens {
        /// For `Authorization: Bearer`.
        access_token: String,
        /// For the next pair.
        refresh_token: String,
        /// How long the access token lives, in seconds.
        expires_in_s: u64,
    }
    /// Whether an account has power, as far as its payments go.
    SupplyStanding {
        /// How it stands.
        state: SupplyState,
        /// When a reconnection is completed at the latest, Unix ms; only while reconnecting.
        reconnect_at_ms: Option<u64>,
        /// How long reconnecting takes once what is overdue is paid, in seconds.
        reconnect_after_s: u32,
    }
    /// Money owed and owing.
    Balance {
        /// Owed for bills that are open.
        due_fen: Fen,
        /// Of that, past its date.
        overdue_fen: Fen,
        /// Of that, late fees as of today: each day that something stays overdue adds to them.
        late_fee_fen: Fen,
        /// The earliest date by which something is due.
        #[serde(with = "domain::calendar::day::option")]
        due_on: Option<Date>,
        /// To the customer's credit.
        credit_fen: Fen,
    }
    /// The head of a bill.
    BillBrief {
        /// Its id.
        bill: BillId,
        /// The month it charges.
        month: Month,
        /// The energy used.
        energy_wh: Wh,
        /// The amount.
        amount_fen: Fen,
        /// What of it has been paid.
        paid_fen: Fen,
        /// The late fee on top of the amount: all of it through [`BillBrief::late_fee_on`], what was paid included.
        late_fee_fen: Fen,
        /// What of the late fee has been paid.
        late_fee_paid_fen: Fen,
        /// The day as of which the late fee is said.
        #[serde(with = "domain::calendar::day")]
        late_fee_on: Date,
        /// How it stands.
        state: BillState,
        /// When it was issued.
        #[serde(with = "domain::calendar::day")]
        issued_on: Date,
        /// Until when it is to be paid.
        #[serde(with = "domain::calendar::day")]
        due_on: Date,
    }
    /// Use in a period of the day.
    PeriodUsage {
        /// Which period.
        period: PeriodName,
        /// How much.
        energy_wh: Wh,
    }
    /// A tariff that is compared.
    ComparedTariff {
        /// Its name.
        tariff: TariffBrief,
        /// Whether the account is billed by it.
        own: bool,
        /// What all compared months cost under it.
        total_fen: Fen,
    }
    /// A month that could not be compared.
    LeftOutMonth {
        /// Which month.
        month: Month,
        /// Why not.
        reason: LeftOut,
    }
    /// The cheapest tariff.
    Cheapest {
        /// Which.
        tariff: TariffId,
        /// What it would have cost less than the account's own; where it is the own one, than the next cheapest.
        saves_fen: Fen,
    }
    /// What the same use would cost otherwise.
    AlternativeBill {
        /// Under which tariff.
        tariff: TariffBrief,
        /// Its lines.
        lines: Vec<BillLine>,
        /// Their sum.
        amount_fen: Fen,
    }
    /// One column of a bill's history.
    MonthAmount {
        /// Which month.
        month: Month,
        /// Energy.
        energy_wh: Wh,
        /// Amount.
        amount_fen: Fen,
    }
}

/// Takes a write's result, but none within a result: no operation has one, and an answer that nests as deep as its
/// sender likes would end the stack of whoever decodes it.
fn unnested<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Box<super::Reply>>, D::Error> {
    thread_local! {
        static INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    if INSIDE.get() {
        return Err(D::Error::custom("a result within a result"));
    }
    INSIDE.set(true);
    let result = Option::deserialize(d);
    INSIDE.set(false);
    result
}

/// Whether an account has power, as far as its payments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SupplyState {
    /// Not cut off.
    Connected,
    /// Cut off for arrears, until what is overdue is paid.
    Cut,
    /// Paid; power comes back.
    Reconnecting,
}

/// How a bill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillState {
    /// To be paid.
    Open,
    /// To be paid, and late.
    Overdue,
    /// Paid.
    Paid,
}

/// How a write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Taken durably; not yet visible everywhere.
    Accepted,
    /// Done, and visible everywhere.
    Applied,
    /// Not done, by rule.
    Rejected,
    /// Not done, because it cannot be.
    Failed,
}
