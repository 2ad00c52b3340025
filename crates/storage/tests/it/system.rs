//! A flush before every answer, as the kernel sees it.
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use gridesk_storage::{queue::Queue, store::Batch};

use crate::{
    embedded::open,
    suite::{LANE, message, one_lane, rules, rules::Op},
};

const FOLDER: &str = "GRIDESK_TEST_FLUSH_FOLDER";
const ROUNDS: u64 = 8;

#[test]
fn system_an_append_is_flushed_before_it_is_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    if let Ok(folder) = std::env::var(FOLDER) {
        return runtime.block_on(write_with_marks(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().unwrap();
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !traced.is_ok_and(|status| status.success()) {
        println!("skipped: strace is not there, or may not trace");
        return;
    }
    let log = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", "40", "-e", "trace=fdatasync,fsync,write,pwrite64,pwritev", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "system::system_an_append_is_flushed_before_it_is_acknowledged", "--nocapture"])
        .env(FOLDER, folder.path().join("data"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = std::fs::read_to_string(&log).unwrap();
    for step in ["append", "apply"] {
        for n in 0..ROUNDS {
            let lines = between(&trace, &format!("{step} {n} begins"), &format!("{step} {n} ends"));
            assert!(flushed(&lines), "{step} {n} was answered before its flush:\n{}", lines.join("\n"));
        }
    }
    assert!(!flushed(&between(&trace, "nothing begins", "nothing ends")), "the check sees flushes anywhere");
}

async fn write_with_marks(folder: &Path) {
    let (store, _closing) = open(folder, &one_lane()).unwrap();
    let queue = Queue::new(store.clone());
    // Not buffered: one line, one write.
    let mark = |text: String| std::io::stderr().write_all(text.as_bytes()).unwrap();
    for n in 0..ROUNDS {
        mark(format!("append {n} begins\n"));
        queue.append(LANE, vec![message(n, &Op::Session { session: 1 })]).await.unwrap();
        mark(format!("append {n} ends\n"));
        let messages = queue.fetch(LANE, n, 1).await.unwrap();
        let epoch = store.claim(LANE, None).await.unwrap().0;
        mark(format!("apply {n} begins\n"));
        let batch = Batch { lane: LANE, epoch, generation: 1, after: n, messages };
        store.apply(batch, rules()).await.unwrap();
        mark(format!("apply {n} ends\n"));
    }
    mark("nothing begins\n".to_owned());
    store.account_count(crate::suite::SHARD).await.unwrap();
    mark("nothing ends\n".to_owned());
}

/// The lines of a trace between two marks.
fn between<'a>(trace: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    let lines = trace.lines().skip_while(|line| !line.contains(begin)).skip(1);
    let mut found = false;
    let lines: Vec<_> = lines
        .take_while(|line| {
            found = line.contains(end);
            !found
        })
        .collect();
    assert!(found, "the trace lacks the mark {end:?}");
    lines
}

/// Whether the log was written, and a flush of it that began after the last write has ended.
fn flushed(lines: &[&str]) -> bool {
    let is_wal = |line: &str| line.contains(".db-wal>");
    let Some(written) = lines.iter().rposition(|line| is_wal(line) && line.contains("pwrite")) else {
        return false;
    };
    let rest = &lines[written + 1..];
    let Some(begun) = rest.iter().position(|line| is_wal(line) && line.contains("sync(")) else {
        return false;
    };
    let ended = |line: &&str| line.contains("sync resumed") && line.ends_with("= 0");
    rest[begun].ends_with("= 0") || rest[begun + 1..].iter().any(ended)
}
