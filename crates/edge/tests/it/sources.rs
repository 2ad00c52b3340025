//! What one source may use.
use edge::config::Limits;
use protocol::{AccountId, Code};
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::world::*;

async fn limited(limits: Limits) -> World {
    World::start_with(limits, "http://127.0.0.1:9").await
}

#[tokio::test]
async fn requests_in_a_second() {
    let world = limited(Limits { requests_per_second: 1, ..Limits::default() }).await;
    assert_eq!(world.get("/v1/nothing").send().await.unwrap().status(), 404);
    let told = problem(world.get("/v1/nothing").send().await.unwrap(), Code::TooManyRequests).await;
    assert_eq!(told["retry_after_s"], 1);
    assert_eq!(world.get("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_page_of_refusal_has_its_sheet() {
    let world = limited(Limits { requests_per_second: 1, ..Limits::default() }).await;
    let person = || world.get("/login").header("accept", "text/html").header("accept-language", "en");
    // The world's own look at the edge may have used the one there is; the second is over the limit in any case.
    person().send().await.unwrap();
    let refused = person().send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let html = refused.text().await.unwrap();
    assert!(html.contains("<h1>Too many requests</h1>") && html.contains("in 1 second"), "{html}");
    for linked in ["href=\"/assets/", "src=\"/assets/"] {
        let (_, path) = html.split_once(linked).unwrap();
        let path = format!("/assets/{}", path.split('"').next().unwrap());
        assert_eq!(world.get(&path).send().await.unwrap().status(), 200, "{path}");
    }
    let (_, icon) = html.split_once("<svg").unwrap();
    assert!(icon.split('>').next().unwrap().contains(r#"width="20" height="20""#), "{icon}");
}

#[tokio::test]
async fn one_time_codes_in_a_minute_over_all_ways_to_ask_for_one() {
    let world = limited(Limits { login_starts_per_minute: 1, ..Limits::default() }).await;
    let phone = json!({ "phone": "13800000001" });
    world.post("/v1/login/start", &phone).send().await.unwrap();
    assert_eq!(world.gate.asked(), 1);
    let told =
        problem(world.post("/v1/login/start", &phone).send().await.unwrap(), Code::TooManyRequests).await;
    assert!((30..=60).contains(&told["retry_after_s"].as_u64().unwrap()), "{told}");
    let bind = format!("/v1/accounts/{}/bind/start", AccountId::mint(33, 7).unwrap());
    problem(world.post(&bind, &json!({})).send().await.unwrap(), Code::TooManyRequests).await;
    for page in ["/login", "/accounts/bind"] {
        let person = world.client.post(world.url(page)).header("accept", "text/html").body("");
        let page = person.send().await.unwrap();
        assert_eq!((page.status().as_u16(), &page.headers()["content-type"]), (429, &html()));
        assert!(page.headers().contains_key("retry-after") && page.headers().contains_key("request-id"));
    }
    assert_eq!(world.gate.asked(), 1);
    assert_eq!(world.get("/v1/accounts").send().await.unwrap().status(), 200);
    assert_eq!(world.get("/login").send().await.unwrap().status(), 200);
}

fn html() -> reqwest::header::HeaderValue {
    reqwest::header::HeaderValue::from_static("text/html; charset=utf-8")
}

#[tokio::test]
async fn connections() {
    let world = limited(Limits { connections_per_source: 2, ..Limits::default() }).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(TcpStream::connect(world.address).await.unwrap());
    }
    // The client's own is open still: only the first of these is taken.
    let closed = async {
        let mut byte = [0; 1];
        (others[1].read(&mut byte).await.unwrap_or(0), others[2].read(&mut byte).await.unwrap_or(0))
    };
    assert_eq!(tokio::time::timeout(LONG, closed).await.expect("they stay open"), (0, 0));
    drop(others);
    let shut = async {
        loop {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            let sent = tokio::io::AsyncWriteExt::write_all(
                &mut stream,
                b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            );
            let mut answer = String::new();
            if sent.await.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && !answer.is_empty() {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(LONG, shut).await.expect("places are not given back");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
