//! What is acknowledged is on the disk: seen from outside, in the system calls of the processes that say so.
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::{World, key, send};

/// A process watched by strace.
struct Trace {
    strace: Child,
    file: PathBuf,
    /// What its file descriptors are, as of the beginning.
    names: HashMap<String, String>,
}

/// One system call: when it began and ended, in seconds, and how it is written, with all text in hexadecimal. One that
/// ended before any other thread did anything has one time: strace writes it as one line, in its place.
#[derive(Debug)]
struct SystemCall {
    begun_s: f64,
    ended_s: f64,
    name: String,
    text: String,
}

const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync";

impl Trace {
    /// Attaches to a process; none, and the reason printed, where this machine cannot.
    async fn of(process: Pid, file: PathBuf) -> Option<Trace> {
        let pid = process.as_raw_nonzero().to_string();
        let watching = format!("/proc/{pid}/status");
        let spawned = Command::new("strace")
            .args(["-f", "-ttt", "-xx", "-s", "65536", "-e", CALLS, "-p", &pid, "-o"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut strace = match spawned {
            Ok(strace) => strace,
            Err(error) => {
                println!("skipped: strace cannot be run: {error}");
                return None;
            }
        };
        let begun = Instant::now();
        let attached = || {
            let status = std::fs::read_to_string(&watching).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        while !attached() {
            if strace.try_wait().unwrap().is_some() || begun.elapsed() > Duration::from_secs(10) {
                println!("skipped: strace may not watch process {pid} on this machine");
                strace.kill().ok();
                strace.wait().unwrap();
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Attached to the first thread; the others follow at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let name = |link: std::fs::DirEntry| {
            let target = std::fs::read_link(link.path()).ok()?;
            Some((link.file_name().to_str()?.to_owned(), target.to_str()?.to_owned()))
        };
        Some(Trace { strace, file, names: links.filter_map(name).collect() })
    }

    /// Ends once a write that holds `answered` has been seen, or after ten seconds: what the answer causes elsewhere may
    /// be noticed before the system call that sent it is in the trace.
    async fn end_after(mut self, answered: &[u8]) -> (Vec<SystemCall>, HashMap<String, String>) {
        let begun = Instant::now();
        let is_answer = |call: &SystemCall| {
            let to_log = self.names.get(call.descriptor()).is_some_and(|name| name.starts_with('/'));
            call.is_write() && !to_log && call.holds(answered)
        };
        while !read_calls(&self.file).iter().any(is_answer) && begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let pid = Pid::from_raw(i32::try_from(self.strace.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.strace.wait().unwrap();
        (read_calls(&self.file), std::mem::take(&mut self.names))
    }
}

fn read_calls(file: &Path) -> Vec<SystemCall> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut open: HashMap<&str, (f64, String)> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(at_s) = time.parse::<f64>() else { continue };
        if let Some((first, _)) = rest.split_once(" <unfinished ...>") {
            open.insert(thread, (at_s, first.to_owned()));
            continue;
        }
        let (begun_s, text) = match rest.split_once(" resumed>") {
            Some((_, second)) => match open.remove(thread) {
                Some((begun_s, first)) => (begun_s, first + second),
                None => continue,
            },
            None => (at_s, rest.to_owned()),
        };
        let Some((name, _)) = text.split_once('(') else { continue };
        calls.push(SystemCall { begun_s, ended_s: at_s, name: name.to_owned(), text });
    }
    calls
}

impl SystemCall {
    fn is_read(&self) -> bool {
        matches!(self.name.as_str(), "read" | "readv" | "recvfrom" | "recvmsg")
    }

    fn is_write(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "sendto" | "sendmsg")
    }

    fn is_flush(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync") && self.text.ends_with("= 0")
    }

    /// The file descriptor it is about.
    fn descriptor(&self) -> &str {
        let arguments = self.text.split_once('(').map_or("", |(_, rest)| rest);
        arguments.split([',', ')']).next().unwrap_or_default()
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.text.contains(&bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>())
    }
}

/// Shows that between the arrival of `asked` and the first write to a socket that holds `answered`, a file whose name ends
/// with `log` was written and then flushed. Gives what was seen, in words.
fn flushed_between(
    (calls, names): &(Vec<SystemCall>, HashMap<String, String>),
    asked: &[u8],
    answered: &[u8],
    log: &str,
) -> Result<String, String> {
    let is_socket =
        |call: &SystemCall| names.get(call.descriptor()).is_none_or(|name| name.starts_with("socket:"));
    let is_log = |call: &SystemCall| names.get(call.descriptor()).is_some_and(|name| name.ends_with(log));
    let arrival = calls.iter().find(|call| call.is_read() && is_socket(call) && call.holds(asked));
    let arrival = arrival.ok_or("the request is not in the trace")?;
    let mut replies = calls.iter().filter(|call| call.is_write() && is_socket(call) && call.holds(answered));
    let reply =
        replies.find(|call| call.begun_s >= arrival.ended_s).ok_or("the reply is not in the trace")?;
    let within = |call: &&SystemCall| call.begun_s >= arrival.ended_s && call.ended_s <= reply.begun_s;
    let written = calls.iter().filter(within).find(|call| call.name == "pwrite64" && is_log(call));
    let written = written.ok_or("nothing was written to the log before the reply")?;
    let flush = calls.iter().filter(within).find(|call| {
        call.is_flush() && call.descriptor() == written.descriptor() && call.begun_s >= written.ended_s
    });
    let flush = flush.ok_or("the log was not flushed before the reply")?;
    let after_us = |s: f64| ((s - arrival.ended_s) * 1e6).round();
    Ok(format!(
        "{} written {} µs after the request came, {} at {} µs, answered at {} µs",
        names[written.descriptor()].rsplit('/').next().unwrap_or_default(),
        after_us(written.begun_s),
        flush.name,
        after_us(flush.begun_s),
        after_us(reply.begun_s),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_flush_before_answer() {
    let world = World::start();
    let mut client = world.customer(&world.phones[0]).await;
    let account = client.account().await;

    // A write, accepted without waiting for its result.
    let center = world.process_of("center").unwrap();
    let Some(trace) = Trace::of(center, world.data().join("center.trace")).await else { return };
    let request_id: runtime::telemetry::RequestId = "3vq8z6n1t0xk4c9r5m2w7h8j6d".parse().unwrap();
    let body = json!({ "amount_fen": 100, "provider": "sim-pay" });
    let order_key = key("flush");
    let request = client.own(Method::POST, &format!("/v1/accounts/{account}/payments"));
    let request = request.header("idempotency-key", &order_key).header("request-id", request_id.to_string());
    let said = send(request.json(&body)).await;
    assert_eq!((said.status, said.header("request-id")), (202, Some(&*request_id.to_string())), "{said:?}");
    let id = request_id.to_u128().to_be_bytes();
    let traced = trace.end_after(&id).await;
    match flushed_between(&traced, order_key.as_bytes(), &id, "-wal") {
        Ok(seen) => println!("center: {seen}"),
        Err(why) => panic!("center: {why}; {} calls in the trace", traced.0.len()),
    }

    // A push, acknowledged by the edge.
    let edge = world.process_of("edge").unwrap();
    let Some(trace) = Trace::of(edge, world.data().join("edge.trace")).await else { return };
    let phone = "13955556666";
    let said = client.post("/v1/login/start", &key("flush"), 10, &json!({ "phone": phone })).await;
    assert_eq!(said.status, 200, "{said:?}");
    client.code(phone, 0).await;
    // A push and its challenge come from one operation: their ids have the same bits.
    let challenge: protocol::ChallengeId = said.json["challenge"].as_str().unwrap().parse().unwrap();
    let push = protocol::PushId::from_bits(challenge.bits());
    let asked = protocol::wire::encode(&push);
    let traced = trace.end_after(&asked).await;
    match flushed_between(&traced, &asked, &asked, "inbox.sqlite-wal") {
        Ok(seen) => println!("edge: {seen}"),
        Err(why) => panic!("edge: {why}; {} calls in the trace", traced.0.len()),
    }
}

#[test]
fn an_answer_before_the_flush_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let names = HashMap::from([
        ("3".to_owned(), "socket:[1]".to_owned()),
        ("5".to_owned(), "/d/x.db-wal".to_owned()),
    ]);
    let judged = |lines: &[&str]| {
        let file = folder.path().join("trace");
        std::fs::write(&file, lines.join("\n")).unwrap();
        flushed_between(&(read_calls(&file), names.clone()), b"k1", b"i1", "-wal")
    };
    let came = r#"7 1.0 recvfrom(3, "\x6b\x31", 8, 0, NULL, NULL) = 2"#;
    let written = r#"8 1.1 pwrite64(5, "\x00", 1, 0) = 1"#;
    let (flush, flushed) = ("8 1.2 fdatasync(5 <unfinished ...>", "8 1.4 <... fdatasync resumed>) = 0");
    let answered = r#"7 1.5 sendto(3, "\x69\x31", 2, 0, NULL, 0) = 2"#;
    assert!(judged(&[came, written, flush, flushed, answered]).is_ok());
    let too_early = r#"7 1.3 sendto(3, "\x69\x31", 2, 0, NULL, 0) = 2"#;
    assert!(judged(&[came, written, flush, too_early, flushed]).is_err());
    assert!(judged(&[came, written, answered]).is_err());
    assert!(judged(&[came, "8 1.0 fdatasync(5) = 0", written, answered]).is_err());
    assert!(judged(&[came, written, "8 1.2 fdatasync(4) = 0", answered]).is_err());
}
