//! How writes stand, and how the gate does.
use std::time::Instant;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use protocol::{
    OperationId,
    bounds::Opaque,
    catalogue::{replies, requests},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiProblem, body::Named, caller::Caller};

/// How an accepted write stands.
#[utoipa::path(get, path = "/operations/{operation}", operation_id = "operation_get", tag = "operations",
    responses((status = OK, body = replies::OperationGet)))]
pub(super) async fn get(
    caller: Caller,
    Named(operation): Named<OperationId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::OperationGet { operation }).await
}

#[derive(Serialize, ToSchema)]
struct Echo {
    /// Whether what was sent came back.
    ok: bool,
    /// How long it took, in microseconds.
    round_trip_us: u64,
    /// Whether a node of the service center is within the gate's reach; `null` where its inner half does not say.
    reaches_center: Option<bool>,
}

/// An echo from the gate's inner half.
#[utoipa::path(get, path = "/gate", operation_id = "gate_probe", tag = "operations",
    responses((status = OK, body = Echo)))]
pub(super) async fn gate(caller: Caller) -> Result<Response, ApiProblem> {
    let sent = Opaque::new(caller.call.request_id.to_u128().to_be_bytes())
        .map_err(|e| ApiProblem::invalid(e.to_string()))?;
    let started = Instant::now();
    let echo = caller.answer(requests::GateProbe { payload: sent.clone() }).await?.done()?;
    let round_trip_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (ok, reaches_center) = (echo.payload == sent, echo.reaches_center);
    Ok(Json(Echo { ok, round_trip_us, reaches_center }).into_response())
}
