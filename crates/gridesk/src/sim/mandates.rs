//! The page on which a payer gives leave to be debited, and the list on which they take it back.
use std::sync::Arc;

use axum::{
    Form,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use domain::money::Fen;
use protocol::{
    AccountId, MandateId,
    bounds::Text,
    payment::{CallbackBody, MandateOrder, OrderError, ProviderFailure},
};
use runtime::secret::ExposeSecret;
use serde::Deserialize;

use super::{
    Refused, World, html, mint, now_ms,
    pay::{Pairs, china, grouped, refuse, tell_merchant},
    store::{Callback, Mandate, Signed},
};

#[derive(askama::Template)]
#[template(path = "sim/mandate.html")]
struct Page {
    merchant: String,
    limit: Fen,
    account: String,
    mandate: String,
    until: String,
    /// The signed order as it came, for the form.
    pairs: Pairs,
    return_url: String,
    signed: bool,
    expired: bool,
}

#[derive(askama::Template)]
#[template(path = "sim/mandates.html")]
struct ListPage {
    merchant: String,
    rows: Vec<Row>,
}

struct Row {
    mandate: String,
    account: String,
    limit: Fen,
    ended: bool,
    declines: String,
}

/// `GET /mandate?mandate=…&sign=…`: the order, with buttons to sign and to leave.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Refused> {
    let order = match believe(&world, &pairs) {
        Ok(order) => order,
        Err(error) => return Ok(refuse(&error)),
    };
    let signed = world.store.mandate(order.mandate.to_string()).await?.is_some();
    Ok(show(&world, order, pairs, signed))
}

/// `POST /mandate/confirm` with the order's parameters as a form: notes the leave (once, however often it is pressed),
/// tells the merchant, and sends the payer back.
pub(super) async fn confirm(
    State(world): State<Arc<World>>,
    Form(pairs): Form<Pairs>,
) -> Result<Response, Refused> {
    let order = match believe(&world, &pairs) {
        Ok(order) => order,
        Err(error) => return Ok(refuse(&error)),
    };
    if order.expires_s <= now_ms() / 1000 {
        return Ok(show(&world, order, pairs, false));
    }
    let mandate = Mandate {
        id: order.mandate.to_string(),
        agreement: mint("agr-")?,
        account: order.account.to_string(),
        limit_fen: order.limit_fen.into(),
        notify_url: order.notify_url.clone(),
        ended: false,
        declines: String::new(),
    };
    let body = CallbackBody::MandateSigned {
        mandate: order.mandate,
        account: order.account,
        agreement: Text::new(mandate.agreement.clone()).map_err(|error| Refused::bad(error.to_string()))?,
        limit_fen: order.limit_fen,
    };
    let callback = message(&order.notify_url, &body)?;
    let id = callback.id.clone();
    if let Signed::Now = world.store.sign(mandate, callback, now_ms()).await? {
        tell_merchant(&world, id).await;
    }
    Ok(Redirect::to(&order.return_url).into_response())
}

/// `GET /mandates`: the leaves, to end them or have debits declined.
pub(super) async fn list(State(world): State<Arc<World>>) -> Result<Response, Refused> {
    let rows = world.store.mandates().await?.into_iter().map(|mandate| Row {
        account: mandate
            .account
            .parse()
            .map_or(mandate.account.clone(), |account: AccountId| grouped(account)),
        mandate: mandate.id,
        limit: Fen(mandate.limit_fen),
        ended: mandate.ended,
        declines: mandate.declines,
    });
    Ok(html(&ListPage { merchant: world.merchant.clone(), rows: rows.collect() }))
}

/// `POST /mandates/{mandate}/end`: the payer takes their leave back.
pub(super) async fn end(
    State(world): State<Arc<World>>,
    Path(id): Path<MandateId>,
) -> Result<Response, Refused> {
    let known = world.store.mandate(id.to_string()).await?.ok_or_else(unknown)?;
    let account = known.account.parse().map_err(|_| unknown())?;
    let callback = message(&known.notify_url, &CallbackBody::MandateEnded { mandate: id, account })?;
    let message = callback.id.clone();
    if world.store.end_mandate(id.to_string(), Some(callback), now_ms()).await? {
        tell_merchant(&world, message).await;
    }
    Ok(Redirect::to("/mandates").into_response())
}

/// Why debits are to be declined.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decline {
    /// One after the other.
    reasons: Vec<ProviderFailure>,
}

/// `POST /mandates/{mandate}/decline`: the next debits are not made. A form with nothing in it declines one for want of
/// money; JSON names the reasons.
pub(super) async fn decline(
    State(world): State<Arc<World>>,
    Path(id): Path<MandateId>,
    body: Bytes,
) -> Result<Response, Refused> {
    let reasons = if body.is_empty() {
        vec![ProviderFailure::InsufficientFunds]
    } else {
        let asked: Decline =
            serde_json::from_slice(&body).map_err(|error| Refused::bad(error.to_string()))?;
        asked.reasons
    };
    let names = reasons.iter().map(|reason| serde_json::to_value(reason).unwrap_or_default());
    let names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    world.store.decline(id.to_string(), names.join(" ")).await?;
    Ok(Redirect::to("/mandates").into_response())
}

fn unknown() -> Refused {
    Refused(StatusCode::NOT_FOUND, "there is no such mandate".to_owned())
}

fn believe(world: &World, pairs: &Pairs) -> Result<MandateOrder, OrderError> {
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    MandateOrder::from_query_pairs(pairs, world.secret.expose_secret())
}

fn show(world: &World, order: MandateOrder, pairs: Pairs, signed: bool) -> Response {
    let expired = !signed && order.expires_s <= now_ms() / 1000;
    let page = Page {
        merchant: world.merchant.clone(),
        limit: order.limit_fen.fen(),
        account: grouped(order.account),
        mandate: order.mandate.to_string(),
        until: china(order.expires_s),
        pairs,
        return_url: order.return_url,
        signed,
        expired,
    };
    let status = if expired { StatusCode::GONE } else { StatusCode::OK };
    (status, html(&page)).into_response()
}

/// A message to the merchant.
pub(super) fn message(url: &str, body: &CallbackBody) -> Result<Callback, Refused> {
    Ok(Callback {
        id: mint("msg_")?,
        url: url.to_owned(),
        body: serde_json::to_string(body).map_err(|error| Refused::bad(error.to_string()))?,
        made_ms: now_ms(),
        attempts: 0,
    })
}
