//! The inbox: every short message that the system sent, for whoever looks.
use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::JsonRejection},
    http::StatusCode,
    response::Response,
};
use protocol::payment::PercentEncoded;
use serde::{Deserialize, Serialize};

use super::{
    Refused, World, html, now_ms,
    store::{Message, NewMessage},
};

/// The most messages in one answer.
const MAX_PAGE: i64 = 200;
/// The longest a reader may wait for a message, in ms.
const MAX_WAIT_MS: u64 = 30_000;

/// `POST /inbox/messages` `{"id","to","text","code"?}` → 201, or 200 where the id has come before.
pub(super) async fn receive(
    State(world): State<Arc<World>>,
    body: Result<Json<NewMessage>, JsonRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), Refused> {
    let Json(message) = body.map_err(|rejection| Refused(rejection.status(), rejection.body_text()))?;
    let within = |text: &str, max: usize| !text.is_empty() && text.chars().count() <= max;
    if !within(&message.id, 128) || !within(&message.to, 64) || !within(&message.text, 2_000) {
        return Err(Refused::bad("id takes 1 to 128 characters, to 1 to 64, text 1 to 2000"));
    }
    if message.code.as_ref().is_some_and(|code| !within(code, 32)) {
        return Err(Refused::bad("code takes 1 to 32 characters"));
    }
    let added = world.store.add_message(message, now_ms()).await?;
    world.arrived.send_modify(|n| *n += u64::from(added));
    let status = if added { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(serde_json::json!({ "duplicate": !added }))))
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    to: Option<String>,
    #[serde(default)]
    after: i64,
    /// How long to wait for a message where there is none yet.
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Serialize)]
pub(super) struct Listed {
    messages: Vec<Message>,
    /// For `after` of the next request.
    next_after: i64,
}

/// `GET /inbox/messages?to=&after=&wait_ms=` → messages after the cursor, oldest first, 200 at most; with `wait_ms`
/// (30 s at most) it answers as soon as there is one.
pub(super) async fn list(
    State(world): State<Arc<World>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listed>, Refused> {
    let to = query.to.filter(|to| !to.is_empty());
    let mut arrived = world.arrived.subscribe();
    let patience = tokio::time::sleep(Duration::from_millis(query.wait_ms.min(MAX_WAIT_MS)));
    tokio::pin!(patience);
    loop {
        arrived.mark_unchanged();
        let messages = world.store.messages_after(to.clone(), query.after, MAX_PAGE).await?;
        if messages.is_empty() && query.wait_ms > 0 {
            tokio::select! {
                changed = arrived.changed() => if changed.is_ok() { continue },
                () = &mut patience => {}
                () = world.shutdown.begun() => {}
            }
        }
        let next_after = messages.last().map_or(query.after, |message| message.seq);
        return Ok(Json(Listed { messages, next_after }));
    }
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    #[serde(default)]
    to: String,
}

struct Line {
    to: String,
    /// The page with this recipient's messages only.
    link: String,
    time: String,
    text: String,
    code: Option<String>,
}

#[derive(askama::Template)]
#[template(path = "sim/inbox.html")]
struct Page {
    to: String,
    lines: Vec<Line>,
}

/// `GET /inbox?to=`: the newest messages as a page that renews itself.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Refused> {
    let to = query.to.trim().to_owned();
    let messages = world.store.newest_messages((!to.is_empty()).then(|| to.clone()), 50).await?;
    let line = |message: Message| Line {
        link: format!("/inbox?to={}", PercentEncoded(&message.to)),
        to: message.to,
        time: local_time(message.received_ms),
        text: message.text,
        code: message.code,
    };
    Ok(html(&Page { to, lines: messages.into_iter().map(line).collect() }))
}

/// China Standard Time; it has no summer time.
fn local_time(unix_ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(unix_ms) else { return String::new() };
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
