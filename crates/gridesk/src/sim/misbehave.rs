//! A provider on a bad day, on demand: what the tour and the tests need to show that money stays right.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use protocol::payment::PayOrder;
use runtime::secret::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{
    Refused, World, callbacks,
    callbacks::Answer,
    now_ms,
    pay::debit,
    store::{Callback, Debit},
};

/// How an order is to be settled. All but `url` may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settle {
    /// The order's `pay_url`, signature included.
    url: String,
    /// How often the same message is sent, 1 to 10.
    #[serde(default = "once")]
    times: u8,
    /// Afterwards a second, real debit of the same order, with a message of its own.
    #[serde(default)]
    second_debit: bool,
    /// The money was taken this many seconds ago, and the merchant hears of it only now.
    #[serde(default)]
    late_s: u64,
    /// The message was signed this many seconds ago: a replay.
    #[serde(default)]
    stale_s: u64,
    /// The message is signed with a wrong secret. Nothing was paid.
    #[serde(default)]
    forge: bool,
    /// Another amount than was ordered.
    amount_fen: Option<i64>,
}

fn once() -> u8 {
    1
}

#[derive(Debug, Serialize)]
pub(super) struct Settled {
    /// Every message that was sent, in order.
    callbacks: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct Told {
    /// The debit it tells of.
    transaction: String,
    /// The message; the same where it was sent twice.
    id: String,
    #[serde(flatten)]
    answer: Answer,
}

/// `POST /pay/orders/{order}/settle` → how each callback was answered, once all have been.
///
/// A genuine message that nobody takes is tried again later, as from the page; what is wrong on purpose is not.
pub(super) async fn settle(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    body: Result<Json<Settle>, JsonRejection>,
) -> Result<Json<Settled>, Refused> {
    let Json(settle) = body.map_err(|rejection| Refused(rejection.status(), rejection.body_text()))?;
    if !(1..=10).contains(&settle.times) {
        return Err(Refused::bad("times is 1 to 10"));
    }
    let url = reqwest::Url::parse(&settle.url).map_err(|error| Refused::bad(format!("url: {error}")))?;
    let pairs: Vec<_> = url.query_pairs().collect();
    let order = PayOrder::from_query_pairs(
        pairs.iter().map(|(name, value)| (&**name, &**value)),
        world.secret.expose_secret(),
    )
    .map_err(|error| Refused::bad(error.to_string()))?;
    if order.order.to_string() != id {
        return Err(Refused::bad("url is of another order"));
    }

    let amount_fen = settle.amount_fen.unwrap_or(order.amount_fen.into());
    let paid_s = (now_ms() / 1000).saturating_sub(settle.late_s);
    let mut told = Vec::new();
    let (debited, callback) = debit(&order, amount_fen, paid_s)?;
    tell(&world, &settle, debited, callback, settle.times, &mut told).await?;
    if settle.second_debit {
        let (debited, callback) = debit(&order, amount_fen, paid_s)?;
        tell(&world, &settle, debited, callback, 1, &mut told).await?;
    }
    Ok(Json(Settled { callbacks: told }))
}

async fn tell(
    world: &World,
    settle: &Settle,
    debit: Debit,
    callback: Callback,
    times: u8,
    told: &mut Vec<Told>,
) -> Result<(), Refused> {
    let transaction = debit.transaction.clone();
    if !settle.forge {
        world.store.pay(debit, callback.clone(), None, false).await?;
    }
    let mut taken = false;
    for _ in 0..times {
        let timestamp_s = (now_ms() / 1000).saturating_sub(settle.stale_s);
        let answer = callbacks::send(world, &callback, timestamp_s, settle.forge).await;
        taken |= answer.taken();
        told.push(Told { transaction: transaction.clone(), id: callback.id.clone(), answer });
    }
    let genuine = !settle.forge && settle.stale_s == 0 && settle.amount_fen.is_none();
    if genuine && !taken {
        let delay_ms = u64::try_from(world.retry_first.as_millis()).unwrap_or(u64::MAX / 2);
        world.store.tried(callback.id, "not taken".to_owned(), Some(now_ms() + delay_ms)).await?;
        world.callbacks.send_modify(|n| *n += 1);
    }
    Ok(())
}
