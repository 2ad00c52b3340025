//! The intranet's administration socket: imports, lists for operators. HTTP over a Unix socket that only our own user can
//! open.
mod moves;
mod service;

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::StreamExt;
use protocol::{AccountId, Problem, ShardId};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    demo, import,
    node::{Node, unavailable},
    operation::{Operation, Own, SupplyCut},
};

/// The socket's table of contents.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/admin/demo", get(demo_phones))
        .route("/admin/failed", get(failed))
        .route("/admin/ledger", get(ledger))
        .route("/admin/lanes", get(lanes))
        .route("/admin/lanes/moves", get(moves::list).post(moves::order))
        .route("/admin/lanes/{lane}/move", delete(moves::cancel))
        .route("/admin/supply/cut", post(supply_cut))
        .route("/admin/requests", get(service::requests))
        .route("/admin/requests/{request}/steps", post(service::step))
        .route("/admin/files/known", post(service::known_files))
        .route("/admin/staff/{name}/revoke", post(service::revoke))
        .route("/admin/outages", post(service::publish))
        .route("/admin/divisions/{division}/outages", get(service::outages))
        .route("/admin/outages/{outage}/restore", post(service::restore))
        .route("/admin/import/green-button", post(import_green_button).layer(DefaultBodyLimit::disable()))
        .with_state(node)
}

/// A problem as an answer.
struct Refused(Problem);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Problem { code, detail, retry_after_s } = self.0;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "type": format!("about:blank#{}", code.as_str()), "title": code.title(), "status": code.status(),
            "code": code.as_str(), "detail": detail, "retry_after_s": retry_after_s,
        });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused(problem)
    }
}

/// The demonstration's phones, where there is one.
async fn demo_phones(State(node): State<Node>) -> Json<serde_json::Value> {
    let phones = match &node.parts.config.demo {
        Some(config) => demo::phones(config.customers, config.seed),
        None => Vec::new(),
    };
    Json(json!({ "phones": phones }))
}

/// Operations that ended as failed, newest first.
async fn failed(State(node): State<Node>) -> Result<Json<serde_json::Value>, Refused> {
    let mut rows = Vec::new();
    for shard in (0..node.store().map().shards()).map(ShardId) {
        rows.extend(node.store().failed(shard, 100).await.map_err(unavailable)?);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.accepted_ms));
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({ "operation": row.id.to_string(), "name": Operation::name_of(row.code), "accepted_ms": row.accepted_ms,
                    "lane": row.position.lane.0, "sequence": row.position.sequence, "why": format!("{:?}", row.ended) })
        })
        .collect();
    Ok(Json(json!({ "failed": shown })))
}

/// Every shard's ledger, summed by code. All of it sums to zero.
async fn ledger(State(node): State<Node>) -> Result<Json<serde_json::Value>, Refused> {
    let mut shards = Vec::new();
    for shard in (0..node.store().map().shards()).map(ShardId) {
        let sums = node.store().ledger_sums(shard).await.map_err(unavailable)?;
        let total: i64 = sums.iter().map(|(_, fen)| fen).sum();
        let by_code: serde_json::Map<_, _> = sums.into_iter().map(|(code, fen)| (code, json!(fen))).collect();
        shards.push(json!({ "shard": shard.0, "sum_fen": total, "by_code_fen": by_code }));
    }
    Ok(Json(json!({ "shards": shards })))
}

/// Where every lane stands: its end, how far it is applied, how far that is visible.
async fn lanes(State(node): State<Node>) -> Result<Json<serde_json::Value>, Refused> {
    let mut lanes = Vec::new();
    for lane in node.store().map().lanes() {
        let applied = node.store().lane(lane).await.map_err(unavailable)?.sequence;
        let tail = node.parts.queue.tail(lane).map_err(unavailable)?;
        let visible = node.cache().watch(lane).and_then(|visible| visible.borrow().map(|at| at.sequence));
        lanes.push(json!({ "lane": lane.0, "tail": tail, "applied": applied, "visible": visible }));
    }
    Ok(Json(json!({ "lanes": lanes })))
}

/// Which account is meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountQuery {
    account: AccountId,
}

/// Cuts an account's power off for arrears. Asked again, it is left as it is.
async fn supply_cut(
    State(node): State<Node>,
    Query(AccountQuery { account }): Query<AccountQuery>,
) -> Result<Json<serde_json::Value>, Refused> {
    let own = Own::SupplyCut(SupplyCut { account });
    // A key a moment: the rule leaves alone what is cut off already, and another day it may be cut off anew.
    let key = format!("{account} {}", node.clock().unix_ms());
    node.run_own(own, account.bucket(), &key).await?;
    Ok(Json(json!({ "account": account, "supply": "cut" })))
}

/// What an import is to be made into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    tariff: String,
    account: Option<AccountId>,
    usage_point: Option<String>,
}

/// Passes a body on; what is not wanted any more is read all the same, so that the sender gets to read why.
async fn drain(body: Body, mut pump: tokio::io::DuplexStream) {
    let mut wanted = true;
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        wanted = wanted && pump.write_all(&chunk).await.is_ok();
    }
}

/// Takes in a Green Button file, streamed, and issues its bills.
async fn import_green_button(
    State(node): State<Node>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Result<Json<import::ImportReport>, Refused> {
    let ImportQuery { tariff, account, usage_point } = query;
    let (pump, source) = tokio::io::duplex(256 * 1024);
    tokio::spawn(drain(body, pump));
    let ask = import::ImportAsk { tariff, account, usage_point };
    Ok(Json(import::green_button(&node, source, ask).await?))
}
