//! A flush of the stream's file before every acknowledgement, as the kernel sees it.
use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Server;
use crate::suite::{LANE, message, one_lane, queue::NOTHING};

/// Seconds since 1970, as strace tells them.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Whether, between two moments, messages were written to the stream's file and then flushed.
fn flushed(trace: &str, from: f64, to: f64) -> bool {
    let (mut written, mut flushing) = (false, Vec::new());
    for line in trace.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(at)) = (words.next(), words.next().and_then(|at| at.parse::<f64>().ok()))
        else {
            continue;
        };
        if at < from || at > to {
            continue;
        }
        let of_messages = line.contains(".blk>");
        if of_messages && line.contains("write") {
            written = true;
        } else if written && of_messages && line.contains("sync(") {
            if line.contains(") = 0") {
                let took = line
                    .rsplit_once('<')
                    .and_then(|(_, took)| took.trim_end_matches('>').parse::<f64>().ok());
                if took.is_some_and(|took| at + took <= to) {
                    return true;
                }
            }
            flushing.push(thread);
        } else if flushing.contains(&thread) && line.contains("sync resumed") && line.contains(" = 0") {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_a_message_is_flushed_before_it_is_acknowledged() {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !traced.is_ok_and(|status| status.success()) {
        println!("skipped: strace is not there, or may not trace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut server = Server::start_traced(&trace).await;
    let queue = server.queue(&one_lane()).await;
    let mut appends = Vec::new();
    for n in 0..8 {
        let from = now();
        queue.append(LANE, vec![message(n, &NOTHING)]).await.unwrap();
        appends.push((from, now()));
    }
    let from = now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let nothing = (from, now());
    drop(queue);
    server.kill();
    let trace = std::fs::read_to_string(&trace).unwrap();
    for (n, (from, to)) in appends.into_iter().enumerate() {
        assert!(
            flushed(&trace, from, to),
            "append {n}, {from} to {to}, was answered before its flush:\n{trace}"
        );
    }
    assert!(!flushed(&trace, nothing.0, nothing.1), "the check sees flushes anywhere");
}
