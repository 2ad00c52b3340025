//! Payments, what of them goes back, and mandates, by which an account's bills are debited without its customer being there.
use domain::money::Fen;
use protocol::{
    AccountId, CustomerId, MandateId, PaymentId, RefundId,
    catalogue::replies::{BillPart, DebitFailure, MandateState, RefundState},
    payment::ProviderFailure,
};
use serde::{Deserialize, Serialize};

/// A payment, from the order to the receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// For which account.
    pub account: AccountId,
    /// Who ordered it.
    pub customer: CustomerId,
    /// The amount ordered.
    pub amount_fen: Fen,
    /// Through which provider.
    pub provider: String,
    /// Under which mandate, where it is a debit that runs by itself.
    pub mandate: Option<MandateId>,
    /// When it was ordered, Unix ms.
    pub created_ms: u64,
    /// Until when it can be paid, Unix ms.
    pub expires_ms: u64,
    /// Once the provider said that it is not made.
    pub failure: Option<ProviderFailure>,
    /// Once paid.
    pub settled: Option<Settled>,
    /// What of it goes back, oldest first; few.
    pub refunds: Vec<Refund>,
}

/// What was paid under a payment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// In all.
    pub paid_fen: Fen,
    /// First paid, Unix ms.
    pub paid_ms: u64,
    /// The provider's transaction ids.
    pub transactions: Vec<String>,
    /// What it paid of which bills.
    pub bills: Vec<BillPart>,
    /// What became credit.
    pub credit_fen: Fen,
    /// What it paid of which bills' late fees.
    pub late_fees: Vec<BillPart>,
}

/// Money of a payment on its way back to who paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// Its id.
    pub id: RefundId,
    /// How much.
    pub amount_fen: Fen,
    /// How it stands.
    pub state: RefundState,
    /// When it was asked for, Unix ms.
    pub asked_ms: u64,
    /// When it ended, Unix ms.
    pub ended_ms: Option<u64>,
    /// When the provider is told again, Unix ms; only while it is under way.
    pub again_ms: Option<u64>,
    /// How often the provider was told.
    pub told: u32,
}

impl Payment {
    /// What it became credit and was not asked back yet, whether or not the credit is still there.
    pub fn credit_left_fen(&self) -> Fen {
        let back = self.refunds.iter().filter(|refund| refund.state != RefundState::Failed);
        let credit = self.settled.as_ref().map_or(Fen::ZERO, |settled| settled.credit_fen);
        credit - back.map(|refund| refund.amount_fen).sum()
    }

    /// Of an account's credit, what is this payment's: credit is used from the oldest payment on, so what the newer ones
    /// brought is still there before any of this one's. `newer` is what is left of theirs.
    pub fn credit_share_fen(&self, account_credit_fen: Fen, newer: Fen) -> Fen {
        (account_credit_fen - newer).min(self.credit_left_fen()).max(Fen::ZERO)
    }

    /// When the schedule has to look at its refunds, Unix ms.
    pub fn refund_due_ms(refunds: &[Refund]) -> Option<u64> {
        refunds.iter().filter_map(|refund| refund.again_ms).min()
    }
}

/// A customer's leave to debit them for an account's bills. An account has one at a time; the newest is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mandate {
    /// Its id.
    pub id: MandateId,
    /// For which account.
    pub account: AccountId,
    /// Who pays.
    pub customer: CustomerId,
    /// Through which provider.
    pub provider: String,
    /// The most that one debit may take.
    pub limit_fen: Fen,
    /// How it stands.
    pub state: MandateState,
    /// The provider's number of it; empty until it is signed.
    pub agreement: String,
    /// When it was asked for, Unix ms.
    pub created_ms: u64,
    /// Until when it can be signed, Unix ms.
    pub expires_ms: u64,
    /// When it ended, Unix ms.
    pub ended_ms: Option<u64>,
    /// When the schedule has to look at it, Unix ms: to order the next debit, to give up waiting for an answer, or to
    /// close it unsigned.
    pub due_ms: Option<u64>,
    /// The debit that is under way.
    pub running: Option<PaymentId>,
    /// Debits that failed since one was made or a bill was issued.
    pub tries: u32,
    /// How often the provider was told of the debit that is under way.
    pub told: u32,
    /// The last of them that failed.
    pub last_failure: Option<LastFailure>,
}

/// A debit that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// When, Unix ms.
    pub at_ms: u64,
    /// How much it was for.
    pub amount_fen: Fen,
    /// Why.
    pub why: DebitFailure,
}

impl Mandate {
    /// Whether it is `customer`'s and not over.
    pub fn is_live_of(&self, customer: CustomerId) -> bool {
        self.customer == customer && !self.state.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use domain::calendar::Month;
    use protocol::{BillId, Bucket};

    use super::*;

    #[test]
    fn a_cached_payment_keeps_all_that_it_paid() {
        let account = AccountId::mint(33, 1).unwrap();
        let part = |amount_fen| BillPart {
            bill: BillId { account, month: Month::new(2026, 1).unwrap() },
            amount_fen: Fen(amount_fen),
        };
        let settled = Settled {
            paid_fen: Fen(103),
            paid_ms: 5,
            transactions: vec!["t".to_owned()],
            bills: vec![part(60)],
            credit_fen: Fen(0),
            late_fees: vec![part(43)],
        };
        let payment = Payment {
            id: PaymentId::mint(Bucket::FIRST, 1),
            account,
            customer: CustomerId::mint(Bucket::FIRST, 2),
            amount_fen: Fen(103),
            provider: "p".to_owned(),
            mandate: None,
            created_ms: 1,
            expires_ms: 2,
            failure: None,
            settled: Some(settled),
            refunds: Vec::new(),
        };
        let bytes = protocol::wire::encode(&payment);
        assert_eq!(protocol::wire::decode::<Payment>(&bytes).unwrap(), payment);
    }
}
