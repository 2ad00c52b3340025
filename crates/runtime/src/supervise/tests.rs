use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn quick() -> Backoff {
    Backoff {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        forgiven_after: Duration::from_secs(10),
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

fn supervisor() -> (Supervisor, Lines) {
    let lines = Lines::default();
    let kept = lines.clone();
    let sink: LineSink = Arc::new(move |name, stream, line| {
        kept.lock().unwrap().push(format!("{name} {stream:?} {line}"));
    });
    (Supervisor::with(quick(), sink), lines)
}

fn shell(name: &str, script: &str) -> ChildSpec {
    ChildSpec::new(name, "/bin/sh").args(["-c", script]).stop_within(SOON)
}

async fn until(supervisor: &Supervisor, wanted: impl Fn(&[ChildStatus]) -> bool) -> Vec<ChildStatus> {
    let mut updates = supervisor.status.subscribe();
    let list = tokio::time::timeout(SOON, updates.wait_for(|list| wanted(list))).await;
    list.expect("the state is reached in time").unwrap().clone()
}

#[test]
fn the_delay_doubles_up_to_a_limit() {
    let backoff = Backoff::default();
    let delays: Vec<_> = (0..8).map(|n| backoff.delay(n).as_millis()).collect();
    assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    assert_eq!(backoff.delay(u32::MAX), backoff.longest);
}

#[tokio::test]
async fn a_child_that_ends_is_started_again_and_its_lines_pass() {
    let (mut supervisor, lines) = supervisor();
    supervisor.start(shell("gate", "echo out; echo err >&2; printf tail; exit 3"));
    let list = until(&supervisor, |list| list[0].restarts >= 2).await;
    assert_eq!(list[0].last_exit.as_deref(), Some("exit status: 3"));
    supervisor.stop().await;
    let lines = lines.lock().unwrap();
    for line in ["gate Out out", "gate Err err", "gate Out tail"] {
        assert!(lines.iter().filter(|l| *l == line).count() >= 2, "{lines:?}");
    }
}

#[tokio::test]
async fn wrong_settings_are_not_tried_again() {
    let (mut supervisor, _) = supervisor();
    supervisor.start(shell("edge", "exit 64"));
    let error = supervisor.wait_ready("edge", SOON).await;
    let failed = tokio::time::timeout(SOON, supervisor.failed()).await.unwrap();
    assert_eq!((failed.state, failed.restarts), (ChildState::Failed, 0));
    // Without a probe the child counts as ready while it runs, so the wait may have seen either.
    assert!(error.is_ok() || error.unwrap_err().to_string().contains("exit status: 64"));
    assert!(supervisor.wait_ready("nobody", SOON).await.is_err());
}

#[tokio::test]
async fn a_missing_program_is_said() {
    let (mut supervisor, _) = supervisor();
    supervisor.start(ChildSpec::new("center", "/nowhere/gridesk"));
    let list = until(&supervisor, |list| list[0].restarts >= 1).await;
    assert!(list[0].last_exit.as_deref().unwrap().starts_with("cannot run /nowhere/gridesk"));
    supervisor.stop().await;
}

#[tokio::test]
async fn ready_is_what_the_probe_says() {
    let (mut supervisor, _) = supervisor();
    let works = Arc::new(AtomicBool::new(false));
    let seen = works.clone();
    let spec = shell("center", "exec sleep 600").ready_when(move || {
        let seen = seen.clone();
        async move { seen.load(Ordering::SeqCst) }
    });
    supervisor.start(spec);
    let early = supervisor.wait_ready("center", Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(early.to_string(), "center is not ready: still starting");
    works.store(true, Ordering::SeqCst);
    supervisor.wait_ready("center", SOON).await.unwrap();
    let status = supervisor.status();
    assert!(status[0].pid.is_some());
    supervisor.stop().await;
}

#[tokio::test]
async fn stops_in_order_the_last_first() {
    let (mut supervisor, lines) = supervisor();
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    supervisor.start(shell("first", script));
    supervisor.start(shell("second", script));
    let deadline = Instant::now() + SOON;
    while lines.lock().unwrap().iter().filter(|line| line.ends_with("up")).count() < 2 {
        assert!(Instant::now() < deadline, "both children say that they are up");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    supervisor.stop().await;
    let lines = lines.lock().unwrap();
    let byes: Vec<_> = lines.iter().filter(|line| line.ends_with("bye")).collect();
    assert_eq!(byes, ["second Out bye", "first Out bye"]);
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed() {
    let (mut supervisor, lines) = supervisor();
    let deaf = shell("deaf", "trap '' TERM; echo up; while :; do sleep 0.01; done");
    supervisor.start(deaf.stop_within(Duration::from_millis(20)));
    let deadline = Instant::now() + SOON;
    while lines.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the child says that it is up");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let pid = supervisor.status()[0].pid.unwrap();
    tokio::time::timeout(SOON, supervisor.stop()).await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_long_line_comes_in_pieces() {
    let (mut supervisor, lines) = supervisor();
    supervisor.start(shell("long", "head -c 40000 /dev/zero | tr '\\0' x; echo; exit 64"));
    tokio::time::timeout(SOON, supervisor.failed()).await.unwrap();
    let lengths: Vec<_> = lines.lock().unwrap().iter().map(|l| l.len() - "long Out ".len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 40_000);
    assert!(lengths.len() >= 3 && lengths.iter().all(|length| *length <= 16 * 1024), "{lengths:?}");
}

/// The environment variable that gives this test program a part in [`children_die_with_a_killed_parent`].
const PART: &str = "SUPERVISE_TEST_PART";

/// Runs this test program again, as the one test that plays `part`.
fn myself(part: &str) -> (PathBuf, [&'static str; 3], String) {
    let program = std::env::current_exe().unwrap();
    (program, ["supervise::tests::plays_its_part", "--exact", "--nocapture"], part.to_owned())
}

/// No test by itself: the parent and the child of the next one.
#[tokio::test]
async fn plays_its_part() {
    match std::env::var(PART).as_deref() {
        Ok("parent") => {
            let (program, args, part) = myself("child");
            let mut supervisor = Supervisor::new();
            supervisor.start(ChildSpec::new("child", program).args(args).env(PART, part));
            std::future::pending::<()>().await;
        }
        Ok("child") => {
            let shutdown = Shutdown::new();
            exit_when_parent_dies(&shutdown, Duration::from_secs(1));
            eprintln!("child pid {}", std::process::id());
            shutdown.begun().await;
            std::process::exit(0);
        }
        _ => {}
    }
}

#[tokio::test]
async fn children_die_with_a_killed_parent() {
    use tokio::io::{AsyncBufReadExt, BufReader};

    let (program, args, part) = myself("parent");
    let mut parent = tokio::process::Command::new(program)
        .args(args)
        .env(PART, part)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stderr.take().unwrap()).lines();
    let pid = loop {
        let line = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
        if let Some(pid) = line.strip_prefix("child | child pid ") {
            break pid.to_owned();
        }
    };
    assert!(running(&pid));
    parent.start_kill().unwrap();
    parent.wait().await.unwrap();
    let deadline = Instant::now() + SOON;
    while running(&pid) {
        assert!(Instant::now() < deadline, "the child ends after its parent was killed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process lives; one that only waits to be collected by init does not.
fn running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
