//! Gates that decline, break and come too late; and what does not go through them.
use edge::inward::{Answered, Call, Inward};
use protocol::{Bucket, ChallengeId, Channel, Code, Outcome, Problem, catalogue::requests};
use runtime::{clock::Clock, mux::Service, shutdown::Shutdown};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::*;

#[derive(Clone)]
struct Deaf;

impl Service for Deaf {
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

async fn connected(gates: usize) -> (Inward, Vec<Gate>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..gates).map(|n| folder.path().join(format!("gate-{n}.sock"))).collect();
    let gates: Vec<_> = paths.iter().map(|path| Gate::start(path)).collect();
    let inward = Inward::new(Clock::system());
    for path in &paths {
        inward.connect(path, CancellationToken::new(), &[], &Deaf, &Shutdown::new());
    }
    until(|| inward.gates_connected() == gates.len()).await;
    (inward, gates, folder)
}

fn says(code: Code) -> Outcome {
    Outcome::Problem(Problem::new(code, "Nothing was done."))
}

fn write() -> (Call, requests::SessionEnd) {
    (Call::new(Channel::App).with_key("k1".parse().unwrap()), requests::SessionEnd {})
}

#[tokio::test]
async fn what_a_stopping_gate_declines_goes_through_another() {
    let (inward, gates, _folder) = connected(2).await;
    let ask = async || {
        let (call, operation) = write();
        inward.ask(&call, operation).await.map(|answer| answer.outcome)
    };
    ask().await.unwrap();
    let (first, second) = if gates[0].asked() == 1 { (&gates[0], &gates[1]) } else { (&gates[1], &gates[0]) };
    first.answers(says(Code::GateUnavailable));
    assert!(matches!(ask().await, Ok(Answered::Done(_))));
    assert_eq!((first.asked(), second.asked()), (2, 1));
    assert_eq!(first.last().request, second.last().request);

    // The second's word is not about what the first one did.
    for code in [Code::GateUnavailable, Code::Overloaded] {
        first.answers(says(Code::GateUnavailable));
        second.answers(says(code));
        let problem = ask().await.unwrap_err();
        assert_eq!(problem.code, code);
        assert!(problem.detail.contains("is not known"), "{problem}");
    }
    first.answers(says(Code::Overloaded));
    assert_eq!(ask().await.unwrap_err().detail, "Nothing was done.");
}

#[tokio::test]
async fn the_only_gate_is_asked_once_when_it_is_stopping() {
    let (inward, gates, _folder) = connected(1).await;
    gates[0].answers(says(Code::GateUnavailable));
    let (call, operation) = write();
    let problem = inward.ask(&call, operation).await.unwrap_err();
    assert_eq!((problem.code, &*problem.detail), (Code::GateUnavailable, "Nothing was done."));
    assert_eq!(gates[0].asked(), 1);
}

#[tokio::test]
async fn a_write_that_went_down_with_its_gate_is_not_called_undone() {
    let (inward, gates, _folder) = connected(1).await;
    gates[0].may.forget_permits(usize::MAX);
    let (mut call, operation) = write();
    call.deadline_ms = 300;
    let asking = tokio::spawn({
        let inward = inward.clone();
        async move { inward.ask(&call, operation).await }
    });
    until(|| gates[0].asked() == 1).await;
    gates[0].kill();
    let problem = asking.await.unwrap().unwrap_err();
    assert_eq!(problem.code, Code::GateUnavailable);
    assert!(problem.detail.contains("is not known"), "{problem}");

    let (mut call, operation) = write();
    call.deadline_ms = 30;
    let problem = inward.ask(&call, operation).await.unwrap_err();
    assert_eq!(problem.code, Code::GateUnavailable);
    assert!(problem.detail.contains("Nothing was done"), "{problem}");
}

#[tokio::test]
async fn logging_in_works_with_anything_in_hand() {
    let world = World::start().await;
    let challenge = ChallengeId::mint(Bucket::of(b"c"), 1);
    let ways = [
        ("/v1/login/start", json!({ "phone": "13800000001" })),
        ("/v1/login/finish", json!({ "challenge": challenge, "code": "123456" })),
        ("/v1/sessions/refresh", json!({ "refresh_token": "gs1.abc" })),
    ];
    let long = format!("Bearer {}", "x".repeat(600));
    for (path, body) in &ways {
        for garbage in ["Bearer gs1.stale", "Basic eDp5", "Bearer", &long] {
            let asked = world.gate.asked();
            let response = world.post(path, body).header("authorization", garbage).send().await.unwrap();
            let text = response.text().await.unwrap();
            assert_eq!(world.gate.asked(), asked + 1, "{path} {garbage} {text}");
            assert_eq!(world.gate.last().head.session, None, "{path}");
        }
    }
    let response =
        world.get("/v1/accounts").header("authorization", "Bearer gs1.stale").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(world.gate.last().head.session.as_deref(), Some("gs1.stale"));
}
