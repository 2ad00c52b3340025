//! Signed messages of payment providers, as in Standard Webhooks: passed on byte by byte, believed by the center only.
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use protocol::{
    Channel,
    bounds::{Opaque, ShortName, Text},
    catalogue::{replies, requests},
};
use runtime::telemetry::RequestId;

use super::{ApiProblem, body::Named, caller::text, reply};
use crate::inward::{Call, Inward};

/// How long a provider waits for the result, in ms; a message that is accepted by then counts as taken.
const WAIT_MS: u32 = 5_000;

/// A payment provider's signed message.
///
/// Signed as in Standard Webhooks. `200` once it is durable inside; sent again, it is taken once.
#[utoipa::path(post, path = "/callbacks/payments/{provider}", operation_id = "payment_callback", tag = "callbacks",
    request_body(content = String, content_type = "application/json", description = "The message, byte by byte as it was signed; at most 16 KiB."),
    responses((status = OK, body = replies::PaymentCallback)))]
pub(super) async fn payment(
    State(inward): State<Inward>,
    axum::Extension(request_id): axum::Extension<RequestId>,
    Named(provider): Named<ShortName>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiProblem> {
    let id = needed(&headers, "webhook-id")?;
    let key = id.parse().map_err(|error| ApiProblem::invalid(format!("webhook-id: {error}.")))?;
    let timestamp_s = needed(&headers, "webhook-timestamp")?
        .parse()
        .map_err(|_| ApiProblem::invalid("webhook-timestamp is not a number of seconds."))?;
    let operation = requests::PaymentCallback {
        provider,
        id: bounded(id, "webhook-id")?,
        timestamp_s,
        signature: bounded(needed(&headers, "webhook-signature")?, "webhook-signature")?,
        body: Opaque::new(body).map_err(|error| ApiProblem::invalid(format!("body: {error}.")))?,
    };
    let mut call = Call::new(Channel::System).with_key(key).with_wait_ms(WAIT_MS);
    call.request_id = request_id;
    let mut response = reply::response(inward.ask(&call, operation).await?);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

fn needed<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, ApiProblem> {
    text(headers, name)?.ok_or_else(|| ApiProblem::invalid(format!("Header {name} is missing.")))
}

fn bounded<const MAX: usize>(value: &str, name: &str) -> Result<Text<MAX>, ApiProblem> {
    Text::new(value).map_err(|error| ApiProblem::invalid(format!("{name}: {error}.")))
}
