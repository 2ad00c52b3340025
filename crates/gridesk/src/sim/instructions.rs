//! What the merchant has done without the payer being there: debits under a mandate, refunds, the end of a mandate.
//!
//! Each is done once, however often it is told; how it ended is told by a message of its own.
use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use protocol::{
    PaymentId, RefundId,
    bounds::{PayableFen, Text},
    payment::{CallbackBody, Instruction, Paid, ProviderFailure, verify_instruction},
};
use runtime::secret::ExposeSecret;

use super::{
    Refused, World,
    mandates::message,
    mint, now_ms,
    store::{Debit, Mandate},
};

/// `POST /instructions`: `202` once it is on the disk.
pub(super) async fn take(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let timestamp_s = header("instruction-timestamp").parse().unwrap_or(0);
    let (id, signature) = (header("instruction-id"), header("instruction-signature"));
    let instruction = verify_instruction(world.secret.expose_secret(), id, timestamp_s, signature, &body)
        .map_err(|error| Refused::bad(error.to_string()))?;
    match instruction {
        Instruction::Debit { order, mandate, agreement, amount_fen, expires_s, notify_url, .. } => {
            let known = world.store.mandate(mandate.to_string()).await?;
            let leave = known.filter(|known| known.agreement == *agreement);
            debit(&world, leave, Order { order, amount_fen, expires_s, notify_url: &notify_url }).await?;
        }
        Instruction::Refund { refund, order, amount_fen, notify_url } => {
            give_back(&world, refund, order, amount_fen, &notify_url).await?;
        }
        Instruction::MandateEnd { mandate, .. } => {
            world.store.end_mandate(mandate.to_string(), None, now_ms()).await?;
        }
    }
    world.callbacks.send_modify(|n| *n += 1);
    Ok(StatusCode::ACCEPTED)
}

struct Order<'a> {
    order: PaymentId,
    amount_fen: PayableFen,
    expires_s: u64,
    notify_url: &'a str,
}

async fn debit(world: &World, leave: Option<Mandate>, order: Order<'_>) -> Result<(), Refused> {
    if world.store.is_answered(order.order.to_string()).await? {
        return Ok(());
    }
    let fits = |leave: &Mandate| i64::from(order.amount_fen) <= leave.limit_fen;
    let declines = leave.as_ref().map_or("", |leave| leave.declines.as_str()).to_owned();
    let (first, rest) = declines.split_once(' ').unwrap_or((&declines, ""));
    let declined =
        (!first.is_empty()).then(|| serde_json::from_value(first.into()).unwrap_or(ProviderFailure::Other));
    let reason = match &leave {
        None => Some(ProviderFailure::AgreementEnded),
        Some(leave) if leave.ended => Some(ProviderFailure::AgreementEnded),
        Some(_) if order.expires_s <= now_ms() / 1000 => Some(ProviderFailure::Other),
        Some(leave) if !fits(leave) => Some(ProviderFailure::LimitExceeded),
        Some(_) => declined,
    };
    let id = order.order.to_string();
    if let Some(reason) = reason {
        let callback =
            message(order.notify_url, &CallbackBody::PaymentFailed { order: order.order, reason })?;
        let mandate = leave.map(|leave| leave.id).unwrap_or_default();
        world.store.declined(mandate, rest.to_owned(), id, callback, now_ms()).await?;
        return Ok(());
    }
    let (transaction, paid_s) = (mint("sim-")?, now_ms() / 1000);
    let paid = Paid {
        order: order.order,
        transaction: Text::new(transaction.clone()).map_err(|error| Refused::bad(error.to_string()))?,
        amount_fen: order.amount_fen,
        paid_s,
    };
    let callback = message(order.notify_url, &CallbackBody::PaymentSucceeded(paid))?;
    let debit = Debit { transaction, order: id, amount_fen: order.amount_fen.into(), paid_s };
    world.store.pay(debit, callback, Some(now_ms()), true).await?;
    Ok(())
}

async fn give_back(
    world: &World,
    refund: RefundId,
    order: PaymentId,
    amount_fen: PayableFen,
    notify_url: &str,
) -> Result<(), Refused> {
    let done = message(notify_url, &CallbackBody::RefundSucceeded { refund, order, amount_fen })?;
    let reason = ProviderFailure::Other;
    let refused = message(notify_url, &CallbackBody::RefundFailed { refund, order, reason })?;
    let debit = Debit {
        transaction: String::new(),
        order: order.to_string(),
        amount_fen: amount_fen.into(),
        paid_s: now_ms() / 1000,
    };
    world.store.refund(refund.to_string(), debit, done, refused, now_ms()).await?;
    Ok(())
}
