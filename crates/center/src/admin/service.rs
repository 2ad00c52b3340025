//! What the service's people do from the intranet: move requests on, publish outages and say that power is back.
use axum::{
    Json,
    extract::{Path, State},
};
use protocol::{
    Bucket, Code, OutageId, Problem, Reply, ServiceRequestId, ShardId,
    bounds::{IdempotencyKey, Prose, ShortName, Text},
    catalogue::replies::{Outage, RequestBrief, StepBy, StepKind},
};
use serde::{Deserialize, Serialize};
use storage::rows::OutageRow;

use super::Refused;
use crate::{
    node::{Node, unavailable},
    operation::{OutagePut, Own, RequestAdvance},
    reads::request_brief,
    rules::outage_id,
    staff_revoked::RevokeError,
};

/// The most open requests that are listed, a shard.
const MOST: u32 = 200;
/// The most districts of one outage.
const MOST_DIVISIONS: usize = 50;

/// Requests that are not closed, oldest first.
#[derive(Serialize)]
pub(super) struct OpenRequests {
    requests: Vec<RequestBrief>,
}

/// `GET /admin/requests`
pub(super) async fn requests(State(node): State<Node>) -> Result<Json<OpenRequests>, Refused> {
    let mut requests = Vec::new();
    for shard in (0..node.store().map().shards()).map(ShardId) {
        let open = node.store().open_requests(shard, MOST).await.map_err(unavailable)?;
        requests.extend(open.iter().map(request_brief));
    }
    requests.sort_by_key(|request| request.created_ms);
    Ok(Json(OpenRequests { requests }))
}

/// A step of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// The same for the same step when it is sent again.
    key: IdempotencyKey,
    /// assigned, started, asked, note or done.
    kind: StepKind,
    /// What the customer is told.
    #[serde(default)]
    text: Prose<1500>,
}

/// `POST /admin/requests/{request}/steps`
pub(super) async fn step(
    State(node): State<Node>,
    Path(request): Path<ServiceRequestId>,
    Json(step): Json<Step>,
) -> Result<Json<Reply>, Refused> {
    if !matches!(
        step.kind,
        StepKind::Assigned | StepKind::Started | StepKind::Asked | StepKind::Note | StepKind::Done
    ) {
        let why = "The service's people say assigned, started, asked, note or done.";
        return Err(Problem::new(Code::InvalidRequest, why).into());
    }
    let (kind, text) = (step.kind, step.text.to_string());
    let own = Own::RequestAdvance(RequestAdvance { request, by: StepBy::Service, kind, text, outage: None });
    Ok(Json(node.run_own(own, request.bucket(), step.key.as_str()).await?))
}

/// An outage, the same in some districts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    /// The operator's own name for it: publishing it again under the same name changes it.
    name: Text<64>,
    /// GB/T 2260 codes of the districts.
    divisions: Vec<Text<6>>,
    #[serde(default)]
    planned: bool,
    area_en: Text<200>,
    area_zh: Text<200>,
    #[serde(default)]
    cause_en: Text<200>,
    #[serde(default)]
    cause_zh: Text<200>,
    /// Unix ms; now where it is not given.
    starts_ms: Option<u64>,
    /// Unix ms.
    estimate_ms: Option<u64>,
    /// Unix ms, once power is back.
    restored_ms: Option<u64>,
}

/// What was published.
#[derive(Serialize)]
pub(super) struct Published {
    outages: Vec<Outage>,
}

/// `POST /admin/outages`
pub(super) async fn publish(
    State(node): State<Node>,
    Json(asked): Json<Publish>,
) -> Result<Json<Published>, Refused> {
    let invalid = |why: &str| Refused::from(Problem::new(Code::InvalidRequest, why));
    let is_code = |code: &str| code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit());
    if !(1..=MOST_DIVISIONS).contains(&asked.divisions.len()) || !asked.divisions.iter().all(|d| is_code(d)) {
        return Err(invalid("divisions: 1 to 50 codes of six digits (GB/T 2260)."));
    }
    let now_ms = node.clock().unix_ms();
    let starts_ms = asked.starts_ms.unwrap_or(now_ms);
    if asked.estimate_ms.is_some_and(|ms| ms <= starts_ms)
        || asked.restored_ms.is_some_and(|ms| ms <= starts_ms)
    {
        return Err(invalid("An outage ends after it begins."));
    }
    let mut outages = Vec::new();
    for division in &asked.divisions {
        let outage = OutageRow {
            id: outage_id(division, &asked.name),
            division: division.to_string(),
            planned: asked.planned,
            area_en: asked.area_en.to_string(),
            area_zh: asked.area_zh.to_string(),
            cause_en: asked.cause_en.to_string(),
            cause_zh: asked.cause_zh.to_string(),
            starts_ms,
            estimate_ms: asked.estimate_ms,
            restored_ms: asked.restored_ms,
        };
        outages.extend(put(&node, outage, now_ms).await?);
    }
    Ok(Json(Published { outages }))
}

/// When power came back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    /// GB/T 2260 code of the outage's district.
    division: Text<6>,
}

/// `POST /admin/outages/{outage}/restore`
pub(super) async fn restore(
    State(node): State<Node>,
    Path(outage): Path<OutageId>,
    Json(asked): Json<Restore>,
) -> Result<Json<Published>, Refused> {
    let now_ms = node.clock().unix_ms();
    let known = node.store().outages(asked.division.to_string(), 0).await.map_err(unavailable)?.value;
    let found = known.into_iter().find(|known| known.id == outage);
    let mut row = found.ok_or_else(|| Problem::not_found("outage"))?;
    row.restored_ms.get_or_insert(now_ms.max(row.starts_ms + 1));
    Ok(Json(Published { outages: put(&node, row, now_ms).await? }))
}

/// `GET /admin/divisions/{division}/outages`: newest first.
pub(super) async fn outages(
    State(node): State<Node>,
    Path(division): Path<String>,
) -> Result<Json<Published>, Refused> {
    let now_ms = node.clock().unix_ms();
    let known = node.store().outages(division, 0).await.map_err(unavailable)?.value;
    Ok(Json(Published { outages: known.iter().map(|row| crate::reads::shown_outage(row, now_ms)).collect() }))
}

async fn put(node: &Node, outage: OutageRow, now_ms: u64) -> Result<Vec<Outage>, Problem> {
    let bucket = Bucket::of_division(&outage.division);
    // One change is one operation: the same again within the same moment is the same change.
    let key = format!("{} {:?} {now_ms}", outage.id, outage.restored_ms);
    match node.run_own(Own::OutagePut(OutagePut { outage }), bucket, &key).await? {
        Reply::OutageList(list) => Ok(list.outages),
        _ => Ok(Vec::new()),
    }
}

/// `POST /admin/staff/{name}/revoke`: the tokens that a member of the staff has are not good any more.
pub(super) async fn revoke(
    State(node): State<Node>,
    Path(name): Path<ShortName>,
) -> Result<Json<serde_json::Value>, Refused> {
    let now_s = node.clock().unix_ms() / 1000;
    let (by, who) = (node.clone(), name.clone());
    let revoked = tokio::task::spawn_blocking(move || by.parts.staff_revoked.revoke(who, now_s)).await;
    let revoked = revoked.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    revoked.map_err(|error| match error {
        RevokeError::Full => Problem::new(Code::Conflict, error.to_string()),
        RevokeError::Io(_) => Problem::new(Code::Unavailable, error.to_string()),
    })?;
    tracing::info!(%name, "the tokens of a member of the staff are revoked");
    let may_log_in = node.parts.config.staff.iter().any(|member| member.name == name);
    Ok(Json(serde_json::json!({ "name": name, "until_s": now_s, "may_log_in": may_log_in })))
}

/// Hashes of files' content.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hashes {
    /// In hexadecimal digits, at most 1000.
    hashes: Vec<String>,
}

/// `POST /admin/files/known`: to which of these the requests refer.
pub(super) async fn known_files(
    State(node): State<Node>,
    Json(Hashes { hashes }): Json<Hashes>,
) -> Result<Json<serde_json::Value>, Refused> {
    let wrong = || Problem::new(Code::InvalidRequest, "Name at most 1000 hashes of 64 hexadecimal digits.");
    let parsed: Option<Vec<[u8; 32]>> =
        hashes.iter().map(|hash| blake3::Hash::from_hex(hash).ok().map(|hash| *hash.as_bytes())).collect();
    let roots = parsed.filter(|roots| roots.len() <= 1000).ok_or_else(wrong)?;
    let mut known = std::collections::BTreeSet::new();
    for shard in (0..node.store().map().shards()).map(ShardId) {
        known.extend(node.store().known_roots(shard, roots.clone()).await.map_err(unavailable)?);
    }
    let known: Vec<_> =
        known.into_iter().map(|root| blake3::Hash::from_bytes(root).to_hex().to_string()).collect();
    Ok(Json(serde_json::json!({ "known": known })))
}
