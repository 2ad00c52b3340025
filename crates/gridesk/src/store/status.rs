//! `gridesk store status`: what the notes of `gridesk store keep` say.
use std::path::Path;

use serde_json::json;

use super::state::{self, StateError, Summary};

/// So many files that are not kept are named.
const REASONS: u32 = 20;

/// What is to be printed, a line each; with `json` one object a line.
///
/// # Errors
/// [`StateError`].
pub fn status(folder: &Path, json: bool) -> Result<Vec<String>, StateError> {
    Ok(match (state::summary(folder, REASONS)?, json) {
        (None, _) => {
            vec![format!("nothing is noted in {}: gridesk store keep has not run there", folder.display())]
        }
        (Some(summary), false) => lines(&summary),
        (Some(summary), true) => objects(&summary),
    })
}

fn lines(summary: &Summary) -> Vec<String> {
    let mut lines =
        vec![format!("{}: {} files kept, {} bytes", summary.bucket, summary.files, summary.bytes)];
    lines.push(match &summary.walk {
        None => "no walk has ended yet".to_owned(),
        Some(walk) => {
            let so_far =
                walk.stopped.as_ref().map_or(String::new(), |why| format!("; it did not end: {why}"));
            format!(
                "last walk: {}, {} s, {} put, {} freed, {} failed{so_far}",
                time(walk.ended_at),
                walk.ended_at.saturating_sub(walk.began_at),
                walk.put,
                walk.freed,
                walk.failed
            )
        }
    });
    lines.push(format!("not kept: {}", summary.not_kept));
    lines.extend(summary.why.iter().map(|(hash, why)| format!("{hash}  {why}")));
    lines
}

fn objects(summary: &Summary) -> Vec<String> {
    let walk = summary.walk.as_ref().map(|walk| {
        json!({
            "ended_at": time(walk.ended_at),
            "seconds": walk.ended_at.saturating_sub(walk.began_at),
            "put": walk.put,
            "freed": walk.freed,
            "failed": walk.failed,
            "stopped": walk.stopped,
        })
    });
    let mut objects = vec![json!({
        "bucket": summary.bucket,
        "kept_files": summary.files,
        "kept_bytes": summary.bytes,
        "not_kept_files": summary.not_kept,
        "walk": walk,
    })];
    objects.extend(summary.why.iter().map(|(hash, why)| json!({ "not_kept": hash, "why": why })));
    objects.iter().map(ToString::to_string).collect()
}

fn time(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::state::Walk;

    #[test]
    fn says_what_is_not_kept_and_why() {
        let summary = Summary {
            bucket: "https://s3.example/files/".to_owned(),
            files: 2,
            bytes: 9,
            walk: Some(Walk { began_at: 0, ended_at: 3, put: 2, freed: 0, failed: 1, stopped: None }),
            not_kept: 1,
            why: vec![("ab".to_owned(), "damaged".to_owned())],
        };
        let expected = [
            "https://s3.example/files/: 2 files kept, 9 bytes",
            "last walk: 1970-01-01T00:00:03Z, 3 s, 2 put, 0 freed, 1 failed",
            "not kept: 1",
            "ab  damaged",
        ];
        assert_eq!(lines(&summary), expected);
        let objects = objects(&summary);
        assert!(
            objects[0].contains(r#""kept_files":2"#) && objects[0].contains(r#""failed":1"#),
            "{objects:?}"
        );
        assert_eq!(objects[1], r#"{"not_kept":"ab","why":"damaged"}"#);
    }
}
