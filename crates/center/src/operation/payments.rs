//! Own operations about payments: what providers said, and what is due.
use domain::money::Fen;
use protocol::{AccountId, MandateId, PaymentId, RefundId, payment::ProviderFailure};
use serde::{Deserialize, Serialize};

/// See [`super::Own::Settle`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settle {
    /// Which payment.
    pub payment: PaymentId,
    /// Through which provider.
    pub provider: String,
    /// The provider's id of the debit.
    pub transaction: String,
    /// What was debited.
    pub amount_fen: Fen,
    /// When, Unix seconds.
    pub paid_s: u64,
}

/// See [`super::Own::DebitFail`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DebitFail {
    /// Which payment.
    pub payment: PaymentId,
    /// Through which provider.
    pub provider: String,
    /// Why.
    pub reason: ProviderFailure,
}

/// See [`super::Own::MandateSign`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MandateSign {
    /// For which account.
    pub account: AccountId,
    /// Which mandate.
    pub mandate: MandateId,
    /// Through which provider.
    pub provider: String,
    /// The provider's number of it.
    pub agreement: String,
    /// The most that one debit may take there.
    pub limit_fen: Fen,
}

/// See [`super::Own::MandateLeave`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MandateLeave {
    /// For which account.
    pub account: AccountId,
    /// Which mandate.
    pub mandate: MandateId,
    /// Through which provider.
    pub provider: String,
}

/// See [`super::Own::MandateDue`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MandateDue {
    /// For which account.
    pub account: AccountId,
    /// When it was due, Unix ms.
    pub due_ms: u64,
}

/// See [`super::Own::RefundEnd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefundEnd {
    /// Of which payment.
    pub payment: PaymentId,
    /// Which refund.
    pub refund: RefundId,
    /// Through which provider.
    pub provider: String,
    /// How much went back, or why nothing did.
    pub outcome: Result<Fen, ProviderFailure>,
}

/// See [`super::Own::RefundDue`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefundDue {
    /// Of which payment.
    pub payment: PaymentId,
    /// When it was due, Unix ms.
    pub due_ms: u64,
}
