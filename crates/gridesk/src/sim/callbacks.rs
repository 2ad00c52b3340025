//! Messages to the merchant: signed anew on every try, tried until taken, for a day.
use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use protocol::payment::sign_callback;
use runtime::secret::ExposeSecret;
use serde::Serialize;

use super::{World, now_ms, store::Callback};

/// The longest delay between two tries.
const LONGEST_DELAY: Duration = Duration::from_secs(600);
/// After this a provider gives up.
const GIVE_UP_AFTER_MS: u64 = 24 * 3600 * 1000;
/// So many are sent at once.
const AT_ONCE: usize = 8;
/// So much of an answer is kept, in bytes.
const MAX_ANSWER: usize = 4 * 1024;

/// How a callback was answered.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Answer {
    /// The HTTP status; 0 where there was no answer.
    pub(super) status: u16,
    /// The body, or what went wrong; 4 KiB of it.
    pub(super) body: String,
}

impl Answer {
    pub(super) fn taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends a message once, signed at `timestamp_s` (a forged one with a signature that cannot be right).
pub(super) async fn send(world: &World, callback: &Callback, timestamp_s: u64, forge: bool) -> Answer {
    let secret = world.secret.expose_secret();
    let key = if forge { secret.map(|byte| !byte) } else { *secret };
    let signature = sign_callback(&key, &callback.id, timestamp_s, callback.body.as_bytes());
    let sent = world
        .client
        .post(&callback.url)
        .header("content-type", "application/json")
        .header("webhook-id", &callback.id)
        .header("webhook-timestamp", timestamp_s)
        .header("webhook-signature", signature)
        .body(callback.body.clone())
        .send()
        .await;
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return Answer { status: 0, body: error.to_string() },
    };
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Answer { status: 0, body: error.to_string() },
        }
    }
    body.truncate(MAX_ANSWER);
    Answer { status: response.status().as_u16(), body: String::from_utf8_lossy(&body).into_owned() }
}

/// Delivers what is due, until the shutdown begins.
pub(super) async fn deliver(world: Arc<World>) {
    let mut queued = world.callbacks.subscribe();
    while !world.shutdown.is_begun() {
        queued.mark_unchanged();
        let idle = match world.store.due(now_ms(), 64).await {
            Ok((due, next_ms)) if due.is_empty() => next_ms.map_or(Duration::from_secs(3600), |at| {
                Duration::from_millis(at.saturating_sub(now_ms()).max(1))
            }),
            Ok((due, _)) => {
                let tries =
                    stream::iter(due).for_each_concurrent(AT_ONCE, |callback| try_once(&world, callback));
                tokio::select! {
                    () = tries => {}
                    () = world.shutdown.begun() => {}
                }
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "callbacks cannot be read");
                Duration::from_secs(5)
            }
        };
        tokio::select! {
            changed = queued.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(idle) => {}
            () = world.shutdown.begun() => {}
        }
    }
}

async fn try_once(world: &World, callback: Callback) {
    let answer = send(world, &callback, now_ms() / 1000, false).await;
    let age_ms = now_ms().saturating_sub(callback.made_ms);
    let next_ms = if answer.taken() {
        None
    } else if age_ms >= GIVE_UP_AFTER_MS {
        tracing::error!(
            callback = callback.id,
            url = callback.url,
            status = answer.status,
            "given up after a day"
        );
        None
    } else {
        let delay = world.retry_first.saturating_mul(1 << callback.attempts.min(16)).min(LONGEST_DELAY);
        tracing::warn!(callback = callback.id, status = answer.status, ?delay, "not taken; tried again");
        Some(now_ms() + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / 2))
    };
    let answered = format!("{} {}", answer.status, answer.body);
    if let Err(error) = world.store.tried(callback.id, answered, next_ms).await {
        tracing::error!(%error, "how a callback ended cannot be stored; it is sent again");
        // Without the pause a full disk would make this a storm.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.callbacks.send_modify(|n| *n += 1);
}
