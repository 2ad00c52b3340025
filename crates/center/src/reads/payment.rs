//! Payments.
use domain::money::Fen;
use protocol::{
    AccountId, CustomerId, PaymentId, Problem, Reply,
    catalogue::replies::{self, PaymentState, Receipt},
};
use storage::rows::{Entity, Payment, Settled};

use crate::{
    node::{Answer, Node, unavailable},
    views,
};

/// The most payments of a list.
const MOST: u32 = 50;

impl Node {
    pub(super) async fn payment_get(&self, customer: CustomerId, id: PaymentId) -> Result<Answer, Problem> {
        let not_found = || Problem::not_found("payment");
        let seen = self.view(Entity::Payment(id), views::PAYMENT, self.parts.store.payment(id)).await?;
        let payment = seen.value.as_ref().as_ref().ok_or_else(not_found)?;
        let holds = self.holders(payment.account).await?.value.contains(&customer);
        if !holds && payment.customer != customer {
            return Err(not_found());
        }
        let shown = shown(payment, &Looker { customer, holds, now_ms: self.parts.clock.unix_ms() });
        let provider = self.parts.rules.providers.iter().find(|p| p.name.as_str() == payment.provider);
        let open = shown.state == PaymentState::Open;
        let pay_url =
            provider.filter(|_| open).and_then(|p| p.pay_url(payment, &self.parts.config.public_url));
        Ok(Answer::done(Reply::PaymentGet(replies::PaymentGet { payment: shown, pay_url }), seen.position))
    }

    /// All payments for who has bound the account; for who has not, those that they ordered themselves.
    pub(super) async fn payment_list(
        &self,
        customer: CustomerId,
        account: AccountId,
    ) -> Result<Answer, Problem> {
        let looker = |holds| Looker { customer, holds, now_ms: self.parts.clock.unix_ms() };
        let (payments, position) = if self.holders(account).await?.value.contains(&customer) {
            let load = self.parts.store.payments(account, MOST);
            let seen = self.view(Entity::Account(account), views::PAYMENTS, load).await?;
            let looker = looker(true);
            (seen.value.iter().map(|payment| shown(payment, &looker)).collect(), seen.position)
        } else {
            let seen = self.parts.store.payments_of(account, customer, MOST).await.map_err(unavailable)?;
            if seen.value.is_empty() {
                return Err(Problem::not_found("account"));
            }
            let looker = looker(false);
            (seen.value.iter().map(|payment| shown(payment, &looker)).collect(), seen.position)
        };
        Ok(Answer::done(Reply::PaymentList(replies::PaymentList { payments }), position))
    }
}

/// Who looks at a payment.
struct Looker {
    customer: CustomerId,
    /// Whether they have bound its account.
    holds: bool,
    now_ms: u64,
}

fn shown(payment: &Payment, looker: &Looker) -> replies::Payment {
    let state = match &payment.settled {
        Some(_) => PaymentState::Paid,
        None if payment.expires_ms <= looker.now_ms => PaymentState::Expired,
        None => PaymentState::Open,
    };
    replies::Payment {
        payment: payment.id,
        account: payment.account,
        amount_fen: payment.amount_fen,
        provider: payment.provider.clone(),
        by_another: payment.customer != looker.customer,
        state,
        created_ms: payment.created_ms,
        expires_ms: payment.expires_ms,
        receipt: payment.settled.as_ref().map(|settled| receipt(payment.id, settled, looker.holds)),
    }
}

/// A receipt's number is its payment's: there is one receipt a payment. What it did for the account is for who has bound it.
fn receipt(id: PaymentId, settled: &Settled, holds: bool) -> Receipt {
    let id = id.to_string();
    Receipt {
        number: format!("R-{}", id.trim_start_matches("py_").to_uppercase()),
        paid_fen: settled.paid_fen,
        paid_ms: settled.paid_ms,
        transactions: settled.transactions.clone(),
        bills: if holds { settled.bills.clone() } else { Vec::new() },
        late_fees: if holds { settled.late_fees.clone() } else { Vec::new() },
        credit_fen: if holds { settled.credit_fen } else { Fen::ZERO },
    }
}
