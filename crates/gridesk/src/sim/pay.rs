//! The payment page: shows a signed order, takes the money once, tells the merchant, and sends the payer back.
use std::{sync::Arc, time::Duration};

use axum::{
    Form,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use domain::money::Fen;
use protocol::{
    AccountId,
    bounds::Text,
    payment::{CallbackBody, OrderError, Paid, PayOrder},
};
use runtime::secret::ExposeSecret;

use super::{
    Refused, World, html,
    mandates::message,
    mint, now_ms,
    store::{Callback, Debit},
};

/// How long the payer is kept waiting for the merchant to hear of it.
const TELL_MERCHANT_WITHIN: Duration = Duration::from_secs(4);

pub(super) type Pairs = Vec<(String, String)>;

#[derive(askama::Template)]
#[template(path = "sim/pay.html")]
struct Page {
    merchant: String,
    amount: Fen,
    account: String,
    order: String,
    until: String,
    /// The signed order as it came, for the form.
    pairs: Pairs,
    return_url: String,
    paid: bool,
    expired: bool,
}

#[derive(askama::Template)]
#[template(path = "sim/refused.html")]
struct RefusedPage {
    why: String,
}

/// `GET /pay?order=…&sign=…`: the order, with buttons to pay and to leave.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Refused> {
    let order = match believe(&world, &pairs) {
        Ok(order) => order,
        Err(error) => return Ok(refuse(&error)),
    };
    let paid = world.store.first_debit(order.order.to_string()).await?.is_some();
    Ok(show(&world, order, pairs, paid))
}

/// `POST /pay/confirm` with the order's parameters as a form: takes the money (once, however often it is pressed), tells
/// the merchant, and sends the payer back.
pub(super) async fn confirm(
    State(world): State<Arc<World>>,
    Form(pairs): Form<Pairs>,
) -> Result<Response, Refused> {
    let order = match believe(&world, &pairs) {
        Ok(order) => order,
        Err(error) => return Ok(refuse(&error)),
    };
    if order.expires_s <= now_ms() / 1000 {
        let paid = world.store.first_debit(order.order.to_string()).await?.is_some();
        return Ok(show(&world, order, pairs, paid));
    }
    let (debit, callback) = debit(&order, i64::from(order.amount_fen), now_ms() / 1000)?;
    let id = callback.id.clone();
    let (_, first) = world.store.pay(debit, callback, Some(now_ms()), true).await?;
    if first {
        tell_merchant(&world, id).await;
    }
    Ok(Redirect::to(&order.return_url).into_response())
}

/// Waits a moment until the merchant has been told. Later is no failure: the message stays queued.
pub(super) async fn tell_merchant(world: &World, message: String) {
    let mut tried = world.callbacks.subscribe();
    world.callbacks.send_modify(|n| *n += 1);
    let told = async {
        while world.store.attempts(message.clone()).await? == 0 {
            if tried.changed().await.is_err() {
                break;
            }
        }
        Ok::<(), Refused>(())
    };
    tokio::time::timeout(TELL_MERCHANT_WITHIN, told).await.ok();
}

fn believe(world: &World, pairs: &Pairs) -> Result<PayOrder, OrderError> {
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    PayOrder::from_query_pairs(pairs, world.secret.expose_secret())
}

pub(super) fn refuse(error: &OrderError) -> Response {
    (StatusCode::BAD_REQUEST, html(&RefusedPage { why: error.to_string() })).into_response()
}

fn show(world: &World, order: PayOrder, pairs: Pairs, paid: bool) -> Response {
    let until = china(order.expires_s);
    let expired = !paid && order.expires_s <= now_ms() / 1000;
    let page = Page {
        merchant: world.merchant.clone(),
        amount: order.amount_fen.fen(),
        account: grouped(order.account),
        order: order.order.to_string(),
        until,
        pairs,
        return_url: order.return_url,
        paid,
        expired,
    };
    let status = if expired { StatusCode::GONE } else { StatusCode::OK };
    (status, html(&page)).into_response()
}

/// A moment, in Unix seconds, as people in China write it.
pub(super) fn china(unix_s: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(unix_s).unwrap_or(i64::MAX))
        .map(|time| {
            let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
            time.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string()
        })
        .unwrap_or_default()
}

/// An account number in groups.
pub(super) fn grouped(account: AccountId) -> String {
    let number = account.to_string();
    format!("{} {} {}", &number[..4], &number[4..8], &number[8..])
}

/// A debit of an order, and the message that tells of it.
pub(super) fn debit(order: &PayOrder, amount_fen: i64, paid_s: u64) -> Result<(Debit, Callback), Refused> {
    let transaction = mint("sim-")?;
    let paid = Paid {
        order: order.order,
        transaction: Text::new(transaction.clone()).map_err(|error| Refused::bad(error.to_string()))?,
        amount_fen: amount_fen.try_into().map_err(|_| Refused::bad("amount_fen is not payable"))?,
        paid_s,
    };
    let callback = message(&order.notify_url, &CallbackBody::PaymentSucceeded(paid))?;
    Ok((Debit { transaction, order: order.order.to_string(), amount_fen, paid_s }, callback))
}
