//! What questions about payments, refunds and automatic debit are answered with.
use domain::money::Fen;
use serde::{Deserialize, Serialize};

use crate::{AccountId, BillId, MandateId, PaymentId, RefundId, payment::ProviderFailure};

replies! {
    /// A payment is ordered.
    PaymentCreate {
        /// The payment.
        payment: PaymentId,
        /// Where to pay: the provider's page, with a signed order.
        pay_url: String,
        /// Until when the order is good, Unix seconds.
        expires_s: u64,
    }
    /// A payment.
    PaymentGet {
        /// How it stands.
        payment: Payment,
        /// Where to pay while it is open; absent for a debit that runs by itself, and for who did not order it.
        pay_url: Option<String>,
        /// How much of it can be asked back now: what it became credit and is still there. Zero for who did not order it.
        refundable_fen: Fen,
    }
    /// An account's payments.
    PaymentList {
        /// Newest first.
        payments: Vec<Payment>,
        /// The cursor of the next page; `null` on the last.
        next_before: Option<u64>,
    }
    /// The provider's message was taken.
    PaymentCallback {
        /// The payment it is about; absent for one about a mandate.
        payment: Option<PaymentId>,
        /// Whether it had been taken before.
        duplicate: bool,
    }
    /// Money is on its way back.
    RefundCreate {
        /// The refund.
        refund: RefundId,
        /// Of which payment.
        payment: PaymentId,
        /// How much.
        amount_fen: Fen,
    }
    /// A mandate waits for its signature.
    MandateCreate {
        /// The mandate.
        mandate: MandateId,
        /// Where to sign: the provider's page, with a signed order.
        sign_url: String,
        /// Until when it can be signed, Unix seconds.
        expires_s: u64,
    }
    /// How automatic debit stands.
    MandateGet {
        /// The account's mandate, the newest; absent where there never was one.
        mandate: Option<Mandate>,
    }
    /// Automatic debit has ended.
    MandateEnd {
        /// For which account.
        account: AccountId,
    }
    /// A payment from order to receipt.
    Payment {
        /// Its id.
        payment: PaymentId,
        /// For which account.
        account: AccountId,
        /// The amount ordered.
        amount_fen: Fen,
        /// Through which provider.
        provider: String,
        /// Whether somebody else than who asks ordered it.
        by_another: bool,
        /// Whether it is a debit that runs by itself, under a mandate.
        is_automatic: bool,
        /// How it stands.
        state: PaymentState,
        /// Why it failed, where it did.
        failure: Option<ProviderFailure>,
        /// When it was ordered, Unix ms.
        created_ms: u64,
        /// Until when it can be paid, Unix ms.
        expires_ms: u64,
        /// Once paid.
        receipt: Option<Receipt>,
        /// What of it went back, oldest first; only for who ordered it.
        refunds: Vec<Refund>,
    }
    /// What shows that a payment was made.
    Receipt {
        /// Its number.
        number: String,
        /// What was paid, duplicates included.
        paid_fen: Fen,
        /// When, Unix ms.
        paid_ms: u64,
        /// The provider's transaction ids; more than one where it was paid more than once.
        transactions: Vec<String>,
        /// Which bills it paid, and how much of each. Empty for a payer who has not bound the account.
        bills: Vec<BillPart>,
        /// Which bills' late fees it paid, and how much of each. Empty likewise.
        late_fees: Vec<BillPart>,
        /// What became credit. Zero for a payer who has not bound the account.
        credit_fen: Fen,
    }
    /// A part of a bill that a payment paid.
    BillPart {
        /// Which bill.
        bill: BillId,
        /// How much.
        amount_fen: Fen,
    }
    /// Money of a payment on its way back to who paid.
    Refund {
        /// Its id.
        refund: RefundId,
        /// How much.
        amount_fen: Fen,
        /// How it stands.
        state: RefundState,
        /// When it was asked for, Unix ms.
        asked_ms: u64,
        /// When it ended, Unix ms.
        ended_ms: Option<u64>,
    }
    /// A customer's leave to debit them for an account's bills.
    Mandate {
        /// Its id.
        mandate: MandateId,
        /// For which account.
        account: AccountId,
        /// Through which provider.
        provider: String,
        /// The most that one debit may take; absent for who does not pay.
        limit_fen: Option<Fen>,
        /// Whether somebody else than who asks pays.
        by_another: bool,
        /// How it stands.
        state: MandateState,
        /// When it was asked for, Unix ms.
        created_ms: u64,
        /// Where to sign it, while it is not signed; only for who asked for it.
        sign_url: Option<String>,
        /// Until when it can be signed, Unix ms.
        expires_ms: u64,
        /// When the next debit is ordered, Unix ms; absent while nothing is owed or one is under way, and for who does not
        /// pay.
        next_run_ms: Option<u64>,
        /// The debit that is under way.
        running: Option<PaymentId>,
        /// Why the last debit was not made, until one is made.
        last_failure: Option<FailedDebit>,
        /// When it ended, Unix ms.
        ended_ms: Option<u64>,
    }
    /// A debit that was not made.
    FailedDebit {
        /// When, Unix ms.
        at_ms: u64,
        /// How much it was for.
        amount_fen: Fen,
        /// Why.
        why: DebitFailure,
    }
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Ordered; the provider has not said that it was paid.
    Open,
    /// Paid.
    Paid,
    /// Its time has passed and nothing was taken.
    Expired,
    /// The provider said that it was not paid and will not be.
    Failed,
}

/// How a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// The provider has been told.
    UnderWay,
    /// The provider gave it back.
    Done,
    /// The provider could not give it back; it is credit again.
    Failed,
}

/// How a mandate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MandateState {
    /// The customer has still to sign it at the provider.
    Unsigned,
    /// Bills are debited when they come due.
    Active,
    /// It was never signed.
    NotSigned,
    /// The customer ended it here.
    EndedHere,
    /// The customer ended it at the provider.
    EndedThere,
    /// The customer is on the account no longer.
    EndedUnbound,
}

/// Why a debit was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DebitFailure {
    /// What is due is more than the mandate's limit: none was ordered.
    OverLimit,
    /// The provider did not answer in time.
    NoAnswer,
    /// The payer has not enough money there.
    InsufficientFunds,
    /// It is more than the payer or their bank allows at once.
    LimitExceeded,
    /// The payer took their leave back there.
    AgreementEnded,
    /// The payer's account there is closed or blocked.
    PayerAccountClosed,
    /// Another reason, or none was given.
    Other,
}

impl MandateState {
    /// Whether it is over, for whatever reason.
    pub fn has_ended(self) -> bool {
        !matches!(self, MandateState::Unsigned | MandateState::Active)
    }
}

impl From<ProviderFailure> for DebitFailure {
    fn from(failure: ProviderFailure) -> Self {
        match failure {
            ProviderFailure::InsufficientFunds => DebitFailure::InsufficientFunds,
            ProviderFailure::LimitExceeded => DebitFailure::LimitExceeded,
            ProviderFailure::AgreementEnded => DebitFailure::AgreementEnded,
            ProviderFailure::PayerAccountClosed => DebitFailure::PayerAccountClosed,
            ProviderFailure::Other => DebitFailure::Other,
        }
    }
}
