//! What passes the gates just now: from the halves' metrics and the edge's own files.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    operate::OperateError,
    unix_http::{self, UnixHttpError},
    up::plan::{Part, Places},
};

const WITHIN: Duration = Duration::from_secs(10);
/// Rates are taken over this long.
const OVER: Duration = Duration::from_secs(1);

/// The counters of one half by name and labels.
type Samples = BTreeMap<String, f64>;

/// What is to be printed, a line each.
///
/// # Errors
/// [`OperateError::NotRunning`] where the half or the edge does not answer.
pub async fn status(data: &Path, as_json: bool) -> Result<Vec<String>, OperateError> {
    let root = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let places = Places::of(&root);
    let not_running = |source| OperateError::NotRunning { data: data.to_owned(), source };
    let up = unix_http::get(&places.control(), "/", WITHIN).await.map_err(not_running)?;
    let up: Value = serde_json::from_slice(&up.body).unwrap_or_default();
    let gates = up["gates"].as_u64().and_then(|gates| u8::try_from(gates).ok()).unwrap_or(1);
    let halves: Vec<Part> = (1..=gates).flat_map(Part::halves).collect();
    let read = async || -> Result<Vec<Samples>, UnixHttpError> {
        let asked = halves.iter().map(|half| samples(places.inside(*half)));
        futures_util::future::try_join_all(asked).await
    };
    let begun = Instant::now();
    let before = read().await.map_err(not_running)?;
    tokio::time::sleep(OVER).await;
    let now = read().await.map_err(not_running)?;
    let over_s = begun.elapsed().as_secs_f64();
    let files = unix_http::get(&places.inside(Part::EDGE), "/files", WITHIN).await.map_err(not_running)?;
    let files: Value = serde_json::from_slice(&files.body).unwrap_or_default();

    let mut lines = Vec::new();
    for (half, (before, now)) in halves.iter().zip(before.iter().zip(&now)) {
        let rate = |name: &str| {
            let sum = |samples: &Samples| total(samples, name);
            (sum(now) - sum(before)).max(0.0) / over_s
        };
        let refused: BTreeMap<String, u64> =
            by_label(now, &["gate_refused_total", "gate_file_refused_total"]);
        let status = json!({
            "half": half.name(),
            "messages_per_s": rate("gate_messages_total").round(),
            "file_bytes_per_s": rate("gate_file_bytes_total{form=\"wire\"}").round(),
            "messages": total(now, "gate_messages_total"),
            "in_flight": total(now, "gate_in_flight"),
            "files": by_label(now, &["gate_files_total"]),
            "files_in_flight": total(now, "gate_files_in_flight"),
            "links_idle": total(now, "gate_file_links_idle"),
            "refused": refused,
            "confined_by": confined_by(now),
        });
        lines.push(if as_json { status.to_string() } else { said_of_half(&status) });
    }
    for gate in files["gates"].as_array().into_iter().flatten() {
        lines.push(if as_json { json!({ "queue": gate }).to_string() } else { said_of_queue(gate) });
    }
    for stage in files["stages"].as_array().into_iter().flatten() {
        lines.push(if as_json {
            json!({ "stage": stage }).to_string()
        } else {
            format!("files {:<14} {:>8}  {} bytes", text(&stage["stage"]), stage["files"], stage["bytes"])
        });
    }
    Ok(lines)
}

fn said_of_half(status: &Value) -> String {
    let counts = |value: &Value| {
        let pairs = value.as_object().into_iter().flatten().map(|(name, n)| format!("{name} {n}"));
        let text = pairs.collect::<Vec<_>>().join(", ");
        if text.is_empty() { "none".to_owned() } else { text }
    };
    let named = |value: &Value| {
        let names = value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
        if names.is_empty() { "nothing".to_owned() } else { names }
    };
    format!(
        "{}: {} messages/s, {} file bytes/s, {} messages and {} files under way, {} links idle; files: {}; refused: {}; \
         confined by: {}",
        text(&status["half"]),
        status["messages_per_s"],
        status["file_bytes_per_s"],
        status["in_flight"],
        status["files_in_flight"],
        status["links_idle"],
        counts(&status["files"]),
        counts(&status["refused"]),
        named(&status["confined_by"]),
    )
}

fn said_of_queue(gate: &Value) -> String {
    let there = match (gate["leaves"].as_bool(), gate["connected"].as_bool()) {
        (Some(true), _) => "leaving",
        (_, Some(true)) => "connected",
        _ => "away",
    };
    format!(
        "queue {}: {there}, {} waiting, {} crossing ({} bytes), {} stored, {} refused, {} postponed",
        text(&gate["socket"]),
        gate["waiting"],
        gate["crossing"],
        gate["bytes"],
        gate["stored"],
        gate["refused"],
        gate["postponed"],
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn samples(socket: PathBuf) -> Result<Samples, UnixHttpError> {
    let answer = unix_http::get(&socket, "/metrics", WITHIN).await?;
    Ok(parse(&String::from_utf8_lossy(&answer.body)))
}

/// Prometheus' text form: a name with its labels, a space, a number.
fn parse(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// The sum over all labels of a metric, or the one sample of that full name.
fn total(samples: &Samples, name: &str) -> f64 {
    let is_it = |key: &str| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
    samples.iter().filter(|(key, _)| is_it(key)).map(|(_, value)| value).sum()
}

/// The samples of metrics by what their labels say.
fn by_label(samples: &Samples, names: &[&str]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (key, value) in samples {
        let Some((name, labels)) = key.split_once('{') else { continue };
        if names.contains(&name) {
            let values: Vec<&str> =
                labels.split('"').skip(1).step_by(2).filter(|value| !value.is_empty()).collect();
            *found.entry(values.join(" ")).or_default() += *value as u64;
        }
    }
    found
}

/// What confines a half.
fn confined_by(samples: &Samples) -> Vec<String> {
    let by = by_label(samples, &["gate_confined"]);
    by.into_iter().filter_map(|(by, is_so)| (is_so > 0).then_some(by)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_and_named_by_their_labels() {
        let samples = parse(
            "# HELP x\ngate_messages_total{direction=\"inward\"} 7\ngate_messages_total{direction=\"outward\"} 5\n\
             gate_confined{by=\"landlock\"} 0\ngate_confined{by=\"seccomp\"} 1\ngate_in_flight 2\ngate_files_total{outcome=\"stored\",reason=\"\"} 3\nodd line\n",
        );
        assert_eq!((total(&samples, "gate_messages_total"), total(&samples, "gate_in_flight")), (12.0, 2.0));
        assert_eq!(by_label(&samples, &["gate_files_total"]), BTreeMap::from([("stored".to_owned(), 3)]));
        assert_eq!(confined_by(&samples), ["seccomp"]);
        assert_eq!(total(&samples, "gate_messages"), 0.0, "a part of a name is none");
    }
}
