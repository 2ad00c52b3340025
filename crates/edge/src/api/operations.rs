//! How writes stand, and how the gate does.
use std::time::Instant;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use protocol::{OperationId, bounds::Opaque, catalogue::requests};
use serde::Serialize;

use super::{ApiProblem, body::Named, caller::Caller};

/// How an accepted write stands: `GET /v1/operations/{operation}`
pub(super) async fn get(
    caller: Caller,
    Named(operation): Named<OperationId>,
) -> Result<Response, ApiProblem> {
    caller.ask(requests::OperationGet { operation }).await
}

#[derive(Serialize)]
struct Echo {
    ok: bool,
    round_trip_us: u64,
}

/// An echo from the gate's inner half: `GET /v1/gate`
pub(super) async fn gate(caller: Caller) -> Result<Response, ApiProblem> {
    let sent = Opaque::new(caller.call.request_id.to_u128().to_be_bytes())
        .map_err(|e| ApiProblem::invalid(e.to_string()))?;
    let started = Instant::now();
    let echo = caller.answer(requests::GateProbe { payload: sent.clone() }).await?.done()?;
    let round_trip_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Json(Echo { ok: echo.payload == sent, round_trip_us }).into_response())
}
