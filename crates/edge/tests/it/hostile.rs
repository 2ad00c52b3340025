//! Input that nobody sends by mistake, and some that people do.
use protocol::{AccountId, Code};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::*;

fn payments() -> String {
    format!("/v1/accounts/{}/payments", AccountId::mint(33, 7).unwrap())
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_with_the_field_that_is_wrong() {
    let world = World::start().await;
    for (body, word) in [
        (json!({ "amount_fen": 1, "provider": "sim", "discount": 1 }), "discount"),
        (json!({ "amount_fen": 0, "provider": "sim" }), "amount_fen"),
        (json!({ "amount_fen": 1.5, "provider": "sim" }), "amount_fen"),
        (json!({ "amount_fen": "1", "provider": "sim" }), "amount_fen"),
        (json!({ "amount_fen": 1, "provider": "SIM" }), "provider"),
        (json!({ "amount_fen": 1 }), "provider"),
        (json!([1]), "amount_fen"),
    ] {
        let told = problem(world.post(&payments(), &body).send().await.unwrap(), Code::InvalidRequest).await;
        if body.is_object() {
            assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
        }
    }
    let send = |body: Vec<u8>, kind: &'static str| {
        let request = world.client.post(world.url(&payments())).header("idempotency-key", "k");
        request.header("content-type", kind).body(body).send()
    };
    for bad in [b"{".to_vec(), b"\xff\xfe".to_vec(), vec![b'['; 10_000], vec![b' '; 100], b"{}{}".to_vec()] {
        problem(send(bad, "application/json").await.unwrap(), Code::InvalidRequest).await;
    }
    let deep = format!("{{\"amount_fen\":{}1{}}}", "[".repeat(4000), "]".repeat(4000));
    problem(send(deep.into_bytes(), "application/json").await.unwrap(), Code::InvalidRequest).await;
    problem(send(b"{}".to_vec(), "text/plain").await.unwrap(), Code::UnsupportedMediaType).await;
    problem(send(vec![b' '; 16 * 1024 + 1], "application/json").await.unwrap(), Code::TooLarge).await;
    assert_eq!(world.gate.asked(), 0);
}

#[tokio::test]
async fn addresses_that_are_none() {
    let world = World::start().await;
    problem(world.get("/v1/nothing").send().await.unwrap(), Code::NotFound).await;
    problem(world.get("/v1/").send().await.unwrap(), Code::NotFound).await;
    let wrong = world.client.delete(world.url("/v1/accounts")).send().await.unwrap();
    assert!(wrong.headers()["allow"].to_str().unwrap().contains("GET"));
    problem(wrong, Code::MethodNotAllowed).await;
    for path in [
        "/v1/accounts/1",
        "/v1/accounts/3300000000000",
        "/v1/accounts/%00",
        "/v1/accounts/%ff",
        "/v1/accounts/..%2f..%2fetc",
        "/v1/bills/x",
        "/v1/operations/op_1",
        "/v1/payments/py_zzzzzzzzzzzzzzzzzzzzzzzzzz",
    ] {
        problem(world.get(path).send().await.unwrap(), Code::InvalidRequest).await;
    }
    for query in ["limit=x", "limit=999", "before=2026", "unknown=1", "limit=1&limit=2"] {
        let path = format!("{}?{query}", payments().replace("payments", "bills"));
        problem(world.get(&path).send().await.unwrap(), Code::InvalidRequest).await;
    }
    assert_eq!(world.gate.asked(), 0);
}

#[tokio::test]
async fn a_header_that_comes_twice_is_refused() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = "GET /v1/accounts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                   authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("comes twice"), "{answer}");
}
