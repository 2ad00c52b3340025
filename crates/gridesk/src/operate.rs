//! What an operator does to a running system from its own machine: through the center's administration socket.
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use protocol::bounds::ShortName;
use runtime::telemetry::RequestId;
use serde_json::{Value, json};

use crate::{
    cli::{OutageAction, RequestAction},
    unix_http::{self, Answer, UnixHttpError},
    up::folder::admin_socket,
};

const WITHIN: Duration = Duration::from_secs(60);

/// Why nothing was done, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// Nothing runs on the data folder.
    #[error("nothing runs on {}: start `gridesk up` first, or name its folder with --data ({source})", data.display())]
    NotRunning {
        /// The folder.
        data: PathBuf,
        /// What was tried.
        #[source]
        source: UnixHttpError,
    },
    /// The center refused it.
    #[error("{code}: {detail}")]
    Refused {
        /// The problem's code.
        code: String,
        /// What is wrong.
        detail: String,
    },
    /// The center answered what nobody understands.
    #[error("the center answered {status} with something that is no result: {text}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
}

/// Lists open requests, or moves one on. Answers what is to be printed.
///
/// # Errors
/// [`OperateError`].
pub async fn request(action: &RequestAction) -> Result<Vec<String>, OperateError> {
    match action {
        RequestAction::List { data, json } => {
            let answer = get(data, "/admin/requests").await?;
            Ok(lines(&answer["requests"], *json, |r| {
                format!(
                    "{}  {:<10} {:<9} {}",
                    text(r, "request"),
                    text(r, "kind"),
                    text(r, "state"),
                    text(r, "title_en")
                )
            }))
        }
        RequestAction::Step { request, kind, text, data } => {
            let key = RequestId::random().to_string();
            let body = json!({ "key": key, "kind": kind, "text": text });
            post(data, &format!("/admin/requests/{request}/steps"), &body).await?;
            Ok(vec![format!("{request}: {kind}")])
        }
    }
}

/// Publishes, ends or lists outages. Answers what is to be printed.
///
/// # Errors
/// [`OperateError`].
pub async fn outage(action: &OutageAction) -> Result<Vec<String>, OperateError> {
    let shown = |answer: &Value, json: bool| {
        lines(&answer["outages"], json, |o| {
            format!(
                "{}  {:<9} {} / {}",
                text(o, "outage"),
                text(o, "state"),
                text(o, "area_en"),
                text(o, "area_zh")
            )
        })
    };
    match action {
        OutageAction::Publish {
            name,
            divisions,
            planned,
            area_en,
            area_zh,
            cause_en,
            cause_zh,
            in_minutes,
            minutes,
            data,
            json,
        } => {
            let now_ms = jiff::Timestamp::now().as_millisecond().unsigned_abs();
            let starts_ms = now_ms + u64::from(*in_minutes) * 60_000;
            let body = json!({
                "name": name, "divisions": divisions, "planned": planned, "area_en": area_en, "area_zh": area_zh,
                "cause_en": cause_en, "cause_zh": cause_zh, "starts_ms": starts_ms,
                "estimate_ms": minutes.map(|minutes| starts_ms + u64::from(minutes) * 60_000),
            });
            Ok(shown(&post(data, "/admin/outages", &body).await?, *json))
        }
        OutageAction::Restore { outage, division, data, json } => {
            let body = json!({ "division": division });
            Ok(shown(&post(data, &format!("/admin/outages/{outage}/restore"), &body).await?, *json))
        }
        OutageAction::List { division, data, json } => {
            Ok(shown(&get(data, &format!("/admin/divisions/{division}/outages")).await?, *json))
        }
    }
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn lines(values: &Value, as_json: bool, line: impl Fn(&Value) -> String) -> Vec<String> {
    let values = values.as_array().map_or(&[][..], Vec::as_slice);
    values.iter().map(|value| if as_json { value.to_string() } else { line(value) }).collect()
}

fn socket(data: &Path) -> PathBuf {
    admin_socket(&std::path::absolute(data).unwrap_or_else(|_| data.to_owned()))
}

pub(crate) async fn get(data: &Path, path: &str) -> Result<Value, OperateError> {
    understood(data, unix_http::get(&socket(data), path, WITHIN).await)
}

/// Ends every log-in of a member of the staff. Answers what is to be printed.
///
/// # Errors
/// [`OperateError`].
pub async fn revoke(name: &ShortName, data: &Path) -> Result<Vec<String>, OperateError> {
    let answer = post(data, &format!("/admin/staff/{name}/revoke"), &json!({})).await?;
    let mut lines = vec![format!("{name}: every log-in before now is ended")];
    if answer["may_log_in"] == true {
        lines.push(format!("{name} is still in the center's settings and can log in anew"));
    }
    Ok(lines)
}

pub(crate) async fn post(data: &Path, path: &str, body: &Value) -> Result<Value, OperateError> {
    let body = Full::new(Bytes::from(body.to_string()));
    understood(data, unix_http::post(&socket(data), path, "application/json", body).await)
}

pub(crate) async fn delete(data: &Path, path: &str) -> Result<Value, OperateError> {
    understood(data, unix_http::delete(&socket(data), path, WITHIN).await)
}

fn understood(data: &Path, asked: Result<Answer, UnixHttpError>) -> Result<Value, OperateError> {
    let answer = asked.map_err(|source| OperateError::NotRunning { data: data.to_owned(), source })?;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match body {
        Some(body) if answer.status == 200 => Ok(body),
        Some(body) if body["code"].is_string() => Err(OperateError::Refused {
            code: text(&body, "code").to_owned(),
            detail: text(&body, "detail").to_owned(),
        }),
        _ => {
            let text = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            Err(OperateError::Answer { status: answer.status, text })
        }
    }
}
