//! More than can be served, slower than can be waited for, and an orderly end.
use std::time::Duration;

use edge::config::Limits;
use protocol::{Code, Outcome, Problem};
use runtime::config::TimeSpan;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::*;

const SHORT: TimeSpan = TimeSpan(Duration::from_millis(100));

async fn answer_to(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_string(&mut answer))
        .await
        .expect("the connection stays open");
    answer
}

#[tokio::test]
async fn over_the_limit_is_refused_at_once_and_health_is_not() {
    let world = World::start_with(Limits { in_flight: 1, ..Limits::default() }, "http://127.0.0.1:9").await;
    world.gate.may.forget_permits(usize::MAX);
    let asking = tokio::spawn(world.get("/v1/accounts").send());
    until(|| world.gate.asked() == 1).await;
    problem(world.get("/v1/accounts").send().await.unwrap(), Code::Overloaded).await;
    assert_eq!(world.get("/healthz").send().await.unwrap().status(), 200);
    let person = world.get("/bills").header("accept", "text/html,*/*;q=0.8").header("accept-language", "en");
    let page = person.send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (503, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(page.headers().contains_key("request-id"));
    assert!(page.text().await.unwrap().contains("Not available for the moment"));
    world.gate.may.add_permits(1);
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let limits = Limits { head_within: SHORT, body_within: SHORT, ..Limits::default() };
    let world = World::start_with(limits, "http://127.0.0.1:9").await;
    let head = answer_to(&world, b"GET /v1/accounts HTTP/1.1\r\nhost:").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let slow = b"POST /v1/login/start HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let body = answer_to(&world, slow).await;
    assert!(body.starts_with("HTTP/1.1 400") && body.contains("in time"), "{body}");
    let long = b"POST /v1/login/start HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    assert!(answer_to(&world, long).await.starts_with("HTTP/1.1 413"));
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let answer = answer_to(&world, head.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn stopping_ends_open_requests_first_and_frees_the_folder() {
    let world = World::start().await;
    world.gate.may.forget_permits(usize::MAX);
    let asking = tokio::spawn(world.get("/v1/accounts").send());
    until(|| world.gate.asked() == 1).await;
    world.shutdown.begin();
    world.gate.may.add_permits(2);
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
    let (folder, gate) = world.stop().await;
    let world = World::on(folder, gate, Limits::default(), "http://127.0.0.1:9").await;
    world.gate.answers(Outcome::Problem(Problem::new(Code::Conflict, "x")));
    problem(world.get("/v1/accounts").send().await.unwrap(), Code::Conflict).await;
}

#[tokio::test]
async fn nobody_answers_within_the_deadline() {
    let world = World::start().await;
    world.gate.may.forget_permits(usize::MAX);
    problem(world.get("/v1/accounts").send().await.unwrap(), Code::DeadlineExceeded).await;
}

#[tokio::test]
async fn half_a_request_takes_no_place_from_a_whole_one() {
    let world = World::start_with(Limits { in_flight: 1, ..Limits::default() }, "http://127.0.0.1:9").await;
    let mut halves = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let half = b"POST /v1/login/start HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
                     content-length: 100\r\n\r\n";
        stream.write_all(half).await.unwrap();
        let mut go_on = [0; 21];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue");
        halves.push(stream);
    }
    assert_eq!(world.get("/v1/accounts").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn who_does_not_read_the_answers_is_not_written_to_for_ever() {
    let limits = Limits { write_within: SHORT, requests_per_second: 0, ..Limits::default() };
    let world = World::start_with(limits, "http://127.0.0.1:9").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let many = b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let asking = async { while stream.write_all(&many).await.is_ok() {} };
    tokio::time::timeout(LONG, asking).await.expect("the connection stays open");
}
