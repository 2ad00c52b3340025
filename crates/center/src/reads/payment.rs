//! Payments.
use domain::money::Fen;
use protocol::{
    AccountId, CustomerId, PaymentId, Problem, Reply,
    catalogue::{
        replies::{self, MandateState, PaymentState, Receipt},
        requests,
    },
};
use storage::{
    rows::{Entity, Mandate, Payment, Refund, Settled},
    store::Seen,
};

use crate::{
    node::{Answer, Node, unavailable},
    rules::newer_left_fen,
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
        let provider = self.parts.rules.provider(&payment.provider);
        // Whose order it is, pays it: else what goes back might go to another than who paid.
        let open = shown.state == PaymentState::Open && !shown.is_automatic && !shown.by_another;
        let pay_url =
            provider.filter(|_| open).and_then(|p| p.pay_url(payment, &self.parts.config.public_url));
        let refundable_fen = self.refundable_fen(payment, customer).await?;
        let reply = replies::PaymentGet { payment: shown, pay_url, refundable_fen };
        Ok(Answer::done(Reply::PaymentGet(reply), seen.position))
    }

    /// What can be asked back of a payment now: of what it became credit, what is still there.
    async fn refundable_fen(&self, payment: &Payment, customer: CustomerId) -> Result<Fen, Problem> {
        let left = payment.credit_left_fen();
        if left <= Fen::ZERO || payment.customer != customer {
            return Ok(Fen::ZERO);
        }
        let account = payment.account;
        let load = self.parts.store.account_row(account);
        let seen = self.view(Entity::Account(account), views::ACCOUNT, load).await?;
        let credit = seen.value.as_ref().as_ref().map_or(Fen::ZERO, |account| account.credit_fen);
        let load = self.parts.store.credits(account);
        let credits = self.view(Entity::Account(account), views::CREDITS, load).await?;
        Ok(payment.credit_share_fen(credit, newer_left_fen(&credits.value, payment)))
    }

    /// How automatic debit stands for an account.
    pub(super) async fn mandate_get(
        &self,
        customer: CustomerId,
        account: AccountId,
    ) -> Result<Answer, Problem> {
        let load = self.parts.store.mandate(account);
        let seen = self.view(Entity::Account(account), views::MANDATE, load).await?;
        let mandate = seen.value.as_ref().as_ref().map(|row| self.mandate_shown(row, customer));
        Ok(Answer::done(Reply::MandateGet(replies::MandateGet { mandate }), seen.position))
    }

    fn mandate_shown(&self, row: &Mandate, customer: CustomerId) -> replies::Mandate {
        let own = row.customer == customer;
        let can_be_signed =
            own && row.state == MandateState::Unsigned && row.expires_ms > self.parts.clock.unix_ms();
        let provider = self.parts.rules.provider(&row.provider);
        let sign_url = || provider.and_then(|p| p.sign_url(row, &self.parts.config.public_url));
        let failure = row.last_failure.map(|failure| replies::FailedDebit {
            at_ms: failure.at_ms,
            amount_fen: failure.amount_fen,
            why: failure.why,
        });
        replies::Mandate {
            mandate: row.id,
            account: row.account,
            provider: row.provider.clone(),
            limit_fen: own.then_some(row.limit_fen),
            by_another: !own,
            state: row.state,
            created_ms: row.created_ms,
            sign_url: can_be_signed.then(sign_url).flatten(),
            expires_ms: row.expires_ms,
            // What is in somebody's pocket is theirs to know.
            next_run_ms: row
                .due_ms
                .filter(|_| own && row.state == MandateState::Active && row.running.is_none()),
            running: row.running.filter(|_| own),
            last_failure: failure.filter(|_| own),
            ended_ms: row.ended_ms,
        }
    }

    /// All payments for who has bound the account; for who has not, those that they ordered themselves.
    pub(super) async fn payment_list(
        &self,
        customer: CustomerId,
        asked: &requests::PaymentList,
    ) -> Result<Answer, Problem> {
        let (account, before) = (asked.account, asked.before);
        let holds = self.holders(account).await?.value.contains(&customer);
        let limit = if asked.limit == 0 { MOST } else { u32::from(asked.limit).min(MOST) };
        let payer = (!holds).then_some(customer);
        let load = self.parts.store.payments(account, payer, before, limit);
        let seen = if holds && before.is_none() {
            self.view(Entity::Account(account), views::payments(limit), load).await?
        } else {
            let Seen { value, position } = load.await.map_err(unavailable)?;
            Seen { value: value.into(), position }
        };
        if !holds && seen.value.is_empty() && before.is_none() {
            return Err(Problem::not_found("account"));
        }
        let looker = Looker { customer, holds, now_ms: self.parts.clock.unix_ms() };
        let payments = seen.value.iter().map(|payment| shown(payment, &looker)).collect();
        let is_whole = seen.value.len() as u32 == limit;
        let next_before = seen.value.last().filter(|_| is_whole).map(|last| last.created_ms);
        Ok(Answer::done(Reply::PaymentList(replies::PaymentList { payments, next_before }), seen.position))
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
        None if payment.failure.is_some() && payment.customer == looker.customer => PaymentState::Failed,
        None if payment.failure.is_some() => PaymentState::Expired,
        None if payment.expires_ms <= looker.now_ms => PaymentState::Expired,
        None => PaymentState::Open,
    };
    replies::Payment {
        payment: payment.id,
        account: payment.account,
        amount_fen: payment.amount_fen,
        provider: payment.provider.clone(),
        by_another: payment.customer != looker.customer,
        is_automatic: payment.mandate.is_some(),
        state,
        // What is in somebody's pocket is theirs to know.
        failure: payment.failure.filter(|_| payment.customer == looker.customer),
        created_ms: payment.created_ms,
        expires_ms: payment.expires_ms,
        receipt: payment.settled.as_ref().map(|settled| receipt(payment.id, settled, looker.holds)),
        refunds: if payment.customer == looker.customer { refunds(payment) } else { Vec::new() },
    }
}

fn refunds(payment: &Payment) -> Vec<replies::Refund> {
    let shown = |refund: &Refund| replies::Refund {
        refund: refund.id,
        amount_fen: refund.amount_fen,
        state: refund.state,
        asked_ms: refund.asked_ms,
        ended_ms: refund.ended_ms,
    };
    payment.refunds.iter().map(shown).collect()
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
