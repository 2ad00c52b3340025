//! Payments.
use protocol::{
    AccountId, CustomerId, PaymentId, Problem, Reply,
    catalogue::replies::{self, PaymentState, Receipt},
};
use storage::rows::{Entity, Payment, Settled};

use crate::{
    node::{Answer, Node},
    views,
};

/// The most payments of a list.
const MOST: u32 = 50;

impl Node {
    pub(super) async fn payment_get(&self, customer: CustomerId, id: PaymentId) -> Result<Answer, Problem> {
        let not_found = || Problem::not_found("payment");
        let seen = self.view(Entity::Payment(id), views::PAYMENT, self.parts.store.payment(id)).await?;
        let payment = seen.value.as_ref().as_ref().ok_or_else(not_found)?;
        if !self.holders(payment.account).await?.value.contains(&customer) {
            return Err(not_found());
        }
        let now_ms = self.parts.clock.unix_ms();
        let shown = shown(payment, now_ms);
        let provider = self.parts.rules.providers.iter().find(|p| p.name.as_str() == payment.provider);
        let open = shown.state == PaymentState::Open;
        let pay_url =
            provider.filter(|_| open).and_then(|p| p.pay_url(payment, &self.parts.config.public_url));
        Ok(Answer::done(Reply::PaymentGet(replies::PaymentGet { payment: shown, pay_url }), seen.position))
    }

    pub(super) async fn payment_list(&self, account: AccountId) -> Result<Answer, Problem> {
        let load = self.parts.store.payments(account, MOST);
        let seen = self.view(Entity::Account(account), views::PAYMENTS, load).await?;
        let now_ms = self.parts.clock.unix_ms();
        let payments = seen.value.iter().map(|payment| shown(payment, now_ms)).collect();
        Ok(Answer::done(Reply::PaymentList(replies::PaymentList { payments }), seen.position))
    }
}

fn shown(payment: &Payment, now_ms: u64) -> replies::Payment {
    let state = match &payment.settled {
        Some(_) => PaymentState::Paid,
        None if payment.expires_ms <= now_ms => PaymentState::Expired,
        None => PaymentState::Open,
    };
    replies::Payment {
        payment: payment.id,
        account: payment.account,
        amount_fen: payment.amount_fen,
        provider: payment.provider.clone(),
        state,
        created_ms: payment.created_ms,
        expires_ms: payment.expires_ms,
        receipt: payment.settled.as_ref().map(|settled| receipt(payment.id, settled)),
    }
}

/// A receipt's number is its payment's: there is one receipt a payment.
fn receipt(id: PaymentId, settled: &Settled) -> Receipt {
    let id = id.to_string();
    Receipt {
        number: format!("R-{}", id.trim_start_matches("py_").to_uppercase()),
        paid_fen: settled.paid_fen,
        paid_ms: settled.paid_ms,
        transactions: settled.transactions.clone(),
        bills: settled.bills.clone(),
        credit_fen: settled.credit_fen,
    }
}
