//! Journey 2: a retried payment and a duplicated callback are one payment; a forged callback is nothing; a real second
//! debit is credit that one can see.
use protocol::{
    PaymentId,
    catalogue::replies::{self, PaymentState},
};
use serde_json::json;

use super::{
    Failed,
    client::{Client, key},
    ensure,
};
use crate::sim::PROVIDER;

pub(super) const NAME: &str = "Pay twice, charged once";

/// What is paid in advance where nothing is owed, in fen.
const ADVANCE_FEN: i64 = 1_000;

pub(super) async fn journey(client: &Client) -> Result<String, Failed> {
    let accounts: replies::AccountList = client.read("/v1/accounts").await?;
    let account = accounts.accounts.first().ok_or_else(|| Failed("no account".into()))?.account;
    let orders = format!("/v1/accounts/{account}/payments");
    let summary_path = format!("/v1/accounts/{account}");
    let before: replies::AccountSummary = client.read(&summary_path).await?;
    let amount = if before.balance.due_fen.0 > 0 { before.balance.due_fen.0 } else { ADVANCE_FEN };

    // The customer's phone loses the answer and asks again: the same operation, the same payment.
    let body = json!({ "amount_fen": amount, "provider": PROVIDER });
    let key = key("pay")?;
    let first: super::client::Written<replies::PaymentCreate> = client.write(&orders, &body, &key).await?;
    let again: super::client::Written<replies::PaymentCreate> = client.write(&orders, &body, &key).await?;
    let (payment, pay_url) = (first.result.payment, first.result.pay_url.clone());
    ensure!(again.result == first.result, "the retry made another payment: {}", again.result.payment);
    if let (Some(one), Some(other)) = (&first.operation, &again.operation) {
        ensure!(one == other, "the retry was taken as another operation");
    }
    let other = json!({ "amount_fen": amount + 1, "provider": PROVIDER });
    match client.try_write::<replies::PaymentCreate>(&orders, &other, &key).await? {
        Err(refusal) if refusal.status == 422 && refusal.code == "idempotency_mismatch" => {}
        Err(refusal) => {
            return Err(Failed(format!("the same key with another body: {}", Failed::from(refusal))));
        }
        Ok(_) => return Err(Failed("the same key took another body".into())),
    }

    // Somebody pretends that it was paid.
    let forged = client.settle(&payment.to_string(), &pay_url, json!({ "forge": true })).await?;
    for told in &forged {
        ensure!(told.status == 401, "a forged callback was answered {} {}", told.status, told.body);
    }
    let seen: replies::PaymentGet = client.read(&payment_path(payment)).await?;
    ensure!(
        seen.payment.state == PaymentState::Open,
        "a forged callback made the payment {:?}",
        seen.payment.state
    );

    // It is paid, and the provider says so twice.
    let told = client.settle(&payment.to_string(), &pay_url, json!({ "times": 2 })).await?;
    told.iter().try_for_each(|told| told.taken("a genuine callback"))?;
    let paid = until_paid(client, payment, 1).await?;
    ensure!(paid.transactions == [told[0].transaction.clone()], "the receipt names {:?}", paid.transactions);
    ensure!(paid.paid_fen.0 == amount, "the receipt says {} of {amount} fen", paid.paid_fen.0);
    let after_one: replies::AccountSummary = client.read(&summary_path).await?;
    let moved = owed(&before) - owed(&after_one);
    ensure!(moved == amount, "the account moved by {moved} fen, paid were {amount}");

    // The provider really takes the money a second time.
    let told = client.settle(&payment.to_string(), &pay_url, json!({})).await?;
    told.iter().try_for_each(|told| told.taken("the second debit's callback"))?;
    until_paid(client, payment, 2).await?;
    let after_two: replies::AccountSummary = client.read(&summary_path).await?;
    let credited = after_two.balance.credit_fen.0 - after_one.balance.credit_fen.0;
    ensure!(credited == amount, "the second debit of {amount} fen became {credited} fen of credit");
    ensure!(after_two.balance.due_fen == after_one.balance.due_fen, "the second debit changed what is owed");
    Ok(format!(
        "¥{} for {account}: retry and duplicate gave one payment and receipt {}, a forged callback got 401, a second \
         debit became ¥{} of credit",
        paid.paid_fen, paid.number, after_two.balance.credit_fen
    ))
}

fn payment_path(payment: PaymentId) -> String {
    format!("/v1/payments/{payment}")
}

/// What the account owes in all; less than nothing where it has credit.
fn owed(summary: &replies::AccountSummary) -> i64 {
    summary.balance.due_fen.0 - summary.balance.credit_fen.0
}

/// The receipt once it shows `debits` debits.
async fn until_paid(client: &Client, payment: PaymentId, debits: usize) -> Result<replies::Receipt, Failed> {
    let is_so = |seen: &replies::PaymentGet| {
        seen.payment.state == PaymentState::Paid
            && seen.payment.receipt.as_ref().is_some_and(|receipt| receipt.transactions.len() >= debits)
    };
    let wanted = format!("a receipt with {debits} debits");
    let seen: replies::PaymentGet = client.read_until(&payment_path(payment), &wanted, is_so).await?;
    let receipt = seen.payment.receipt.ok_or_else(|| Failed(wanted.clone()))?;
    ensure!(receipt.transactions.len() == debits, "the receipt shows {} debits", receipt.transactions.len());
    Ok(receipt)
}
