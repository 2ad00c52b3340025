//! What the merchant has done without the payer being there: debits under a mandate, refunds, the end of a mandate.
//!
//! Each is done once, however often it is told; how it ended is told by a message of its own, each time anew.
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
    Refused, World, mint, now_ms,
    store::{Answer, Debit, Mandate, Work},
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
    let (transaction, paid_s) = (mint("sim-")?, now_ms() / 1000);
    let paid = Paid {
        order: order.order,
        transaction: Text::new(transaction.clone()).map_err(|error| Refused::bad(error.to_string()))?,
        amount_fen: order.amount_fen,
        paid_s,
    };
    let id = order.order.to_string();
    let work = match reason {
        Some(_) => {
            Work::Decline { mandate: leave.map(|leave| leave.id).unwrap_or_default(), rest: rest.to_owned() }
        }
        None => {
            Work::Debit(Debit { transaction, order: id.clone(), amount_fen: order.amount_fen.into(), paid_s })
        }
    };
    let done = CallbackBody::PaymentSucceeded(paid);
    let reason = reason.unwrap_or(ProviderFailure::Other);
    let refused = CallbackBody::PaymentFailed { order: order.order, reason };
    let answer = answer(order.notify_url, &done, &refused)?;
    Ok(world.store.carry_out(id, work, answer, now_ms()).await?)
}

async fn give_back(
    world: &World,
    refund: RefundId,
    order: PaymentId,
    amount_fen: PayableFen,
    notify_url: &str,
) -> Result<(), Refused> {
    let done = CallbackBody::RefundSucceeded { refund, order, amount_fen };
    let refused = CallbackBody::RefundFailed { refund, order, reason: ProviderFailure::Other };
    let id = refund.to_string();
    let work = Work::Refund { refund: id.clone(), order: order.to_string(), amount_fen: amount_fen.into() };
    let answer = answer(notify_url, &done, &refused)?;
    Ok(world.store.carry_out(id, work, answer, now_ms()).await?)
}

fn answer(url: &str, done: &CallbackBody, refused: &CallbackBody) -> Result<Answer, Refused> {
    let written = |body| serde_json::to_string(body).map_err(|error| Refused::bad(error.to_string()));
    Ok(Answer { id: mint("msg_")?, url: url.to_owned(), done: written(done)?, refused: written(refused)? })
}
