//! Pushes: durable, delivered once, tried again, reported.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use edge::config::Limits;
use protocol::{
    Bucket, Code, Outcome, Problem, PushId, Request,
    catalogue::requests::PushResult,
    envelope::Language,
    push::{CodePurpose, Push, PushBody},
};
use serde_json::Value;

use crate::world::*;

fn code(number: u128, expires_in_s: u32, language: Language) -> Push {
    let body = PushBody::OneTimeCode {
        phone: "19900000001".parse().unwrap(),
        code: "123456".parse().unwrap(),
        purpose: CodePurpose::LogIn,
        expires_in_s,
        language,
    };
    Push { id: PushId::mint(Bucket::of(b"x"), number << 12), body }
}

/// A played carrier of messages, which answers with each status in turn, the last one for ever.
#[derive(Clone)]
struct Carrier {
    got: Arc<Mutex<Vec<Value>>>,
    statuses: Arc<Mutex<Vec<u16>>>,
}

impl Carrier {
    async fn start(statuses: &[u16]) -> (Self, String) {
        let carrier = Carrier { got: Arc::default(), statuses: Arc::new(Mutex::new(statuses.to_vec())) };
        let take = async |State(carrier): State<Carrier>, Json(message): Json<Value>| {
            carrier.got.lock().unwrap().push(message);
            let mut statuses = carrier.statuses.lock().unwrap();
            let status = if statuses.len() > 1 { statuses.remove(0) } else { statuses[0] };
            StatusCode::from_u16(status).unwrap()
        };
        let router = Router::new().route("/inbox/messages", post(take)).with_state(carrier.clone());
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (carrier, url)
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

fn results(gate: &Gate) -> Vec<PushResult> {
    let seen = gate.seen.lock().unwrap();
    let result = |request: &Request| match request {
        Request::PushResult(result) => Some(result.clone()),
        _ => None,
    };
    seen.iter().filter_map(|asked| result(&asked.request)).collect()
}

#[tokio::test]
async fn a_push_is_delivered_once_however_often_it_comes() {
    let (carrier, url) = Carrier::start(&[201]).await;
    let world = World::start_with(Limits::default(), &url).await;
    let push = code(1, 300, Language::Zh);
    for _ in 0..3 {
        assert_eq!(world.gate.push(&push, LONG).await.unwrap().id, push.id);
    }
    until(|| results(&world.gate).len() == 1).await;
    world.gate.push(&push, LONG).await.unwrap();
    world.gate.push(&code(2, 300, Language::En), LONG).await.unwrap();
    until(|| results(&world.gate).len() == 2).await;
    let got = carrier.got.lock().unwrap().clone();
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!((&got[0]["id"], &got[0]["to"]), (&push.id.to_string().into(), &"19900000001".into()));
    assert_eq!(got[0]["code"], "123456");
    assert!(got[0]["text"].as_str().unwrap().contains("登录验证码 123456"));
    assert!(got[1]["text"].as_str().unwrap().contains("log-in code is 123456"));
    let asked = world.gate.seen.lock().unwrap()[0].clone();
    assert_eq!(asked.head.idempotency_key.unwrap().as_str(), push.id.to_string());
    assert!(results(&world.gate).iter().all(|result| result.delivered));
}

#[tokio::test]
async fn a_carrier_that_fails_is_tried_again_and_one_that_refuses_is_not() {
    let (carrier, url) = Carrier::start(&[503, 200, 422]).await;
    let world = World::start_with(Limits::default(), &url).await;
    world.gate.push(&code(1, 300, Language::Zh), LONG).await.unwrap();
    until(|| results(&world.gate).len() == 1).await;
    assert_eq!((carrier.count(), results(&world.gate)[0].delivered), (2, true));
    world.gate.push(&code(2, 300, Language::Zh), LONG).await.unwrap();
    until(|| results(&world.gate).len() == 2).await;
    let refused = results(&world.gate)[1].clone();
    assert_eq!((carrier.count(), refused.delivered), (3, false));
    assert!(refused.reason.contains("422"), "{refused:?}");
}

#[tokio::test]
async fn a_code_is_not_delivered_after_its_time() {
    let (carrier, url) = Carrier::start(&[200]).await;
    let world = World::start_with(Limits::default(), &url).await;
    world.gate.push(&code(1, 0, Language::Zh), LONG).await.unwrap();
    until(|| results(&world.gate).len() == 1).await;
    assert_eq!((carrier.count(), results(&world.gate)[0].delivered), (0, false));
}

#[tokio::test]
async fn an_acknowledged_push_survives_the_edge() {
    // Nobody listens at the first carrier's address.
    let world = World::start().await;
    let push = code(1, 300, Language::Zh);
    world.gate.push(&push, LONG).await.unwrap();
    let (folder, gate) = world.stop().await;
    let (carrier, url) = Carrier::start(&[200]).await;
    let world = World::on(folder, gate, Limits::default(), &url).await;
    world.gate.push(&push, LONG).await.unwrap();
    until(|| results(&world.gate).len() == 1).await;
    assert_eq!(carrier.count(), 1);
}

#[tokio::test]
async fn a_result_is_reported_until_it_is_known_inside() {
    let (carrier, url) = Carrier::start(&[200]).await;
    let world = World::start_with(Limits::default(), &url).await;
    world.gate.answers(Outcome::Problem(Problem::new(Code::Unavailable, "away")));
    world.gate.push(&code(1, 300, Language::Zh), LONG).await.unwrap();
    until(|| results(&world.gate).len() == 2).await;
    assert_eq!(carrier.count(), 1);
}

#[tokio::test]
async fn a_full_inbox_takes_no_more_and_the_center_keeps_it() {
    let world = World::start_with(Limits { pushes: 1, ..Limits::default() }, "http://127.0.0.1:9").await;
    world.gate.push(&code(1, 300, Language::Zh), LONG).await.unwrap();
    let second = world.gate.push(&code(2, 300, Language::Zh), Duration::from_millis(200)).await;
    assert!(second.is_err());
}
