//! Whose account a number is, for who wants to pay for somebody else; and who may pay for an account.
use protocol::{
    AccountId, Problem, Reply, Request, Token,
    catalogue::replies::{self},
};

use super::{account::balance, customer, mask_address, mask_name};
use crate::{
    authorize,
    node::{Answer, Asked, Node, unavailable},
    operation::{Own, PayeeAsk},
};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// For how long one may pay for an account after looking whose it is. Longer than any retry of an order, so that it is
/// answered as the order was.
const ASKED_GOOD_MS: u64 = 7 * DAY_MS;

impl Node {
    /// The try is counted durably before anything is looked up, so that a number that is none costs the same.
    pub(super) async fn payee_get(&self, asked: &Asked, account: AccountId) -> Result<Answer, Problem> {
        let customer = customer(asked)?;
        let mut token = Token::default();
        if !self.holders(account).await?.value.contains(&customer) {
            let ask = Own::PayeeAsk(PayeeAsk { customer, account });
            // Asked again on the same day, it is the same operation: nothing is written, nothing counted.
            let key = format!("{account} {}", self.parts.clock.unix_ms() / DAY_MS);
            token = self.own_of(asked, ask, customer.bucket(), &key).await?;
        }
        let seen = self.parts.store.account(account, Vec::new()).await.map_err(unavailable)?;
        let row = seen.value.ok_or_else(|| Problem::not_found("account"))?;
        let reply = replies::PayeeGet {
            account,
            holder: mask_name(&row.account.holder),
            address: mask_address(&row.account.address),
            due_fen: balance(&row, self.today(), self.parts.rules.late_fee).due_fen,
        };
        let mut answer = Answer::done(Reply::PayeeGet(reply), seen.position);
        answer.token.merge(&token);
        Ok(answer)
    }

    /// Lets through who has bound the account, and who has looked whose it is. An account that one has not looked at is
    /// answered like one that is none: a payment is no way around the brake.
    pub(crate) async fn check_payer(&self, asked: &Asked, request: &Request) -> Result<(), Problem> {
        let not_found = || Problem::not_found("account");
        let customer = customer(asked)?;
        let account = authorize::account_of(request).ok_or_else(not_found)?;
        if self.holders(account).await?.value.contains(&customer) {
            return Ok(());
        }
        self.wait_for_token(asked, customer.bucket()).await?;
        let payees = self.parts.store.payees(customer).await.map_err(unavailable)?.value;
        let now_ms = self.parts.clock.unix_ms();
        let good = |asked_ms: u64| now_ms.saturating_sub(asked_ms) < ASKED_GOOD_MS;
        let looked_at = payees.iter().any(|payee| payee.account == account && good(payee.asked_ms));
        if looked_at { Ok(()) } else { Err(not_found()) }
    }
}
