//! The HTTP conventions, rule by rule.
use protocol::{
    AccountId, Bucket, Channel, Code, OperationId, Outcome, PaymentId, Problem, Reply, Request,
    catalogue::{replies, requests},
    envelope::Language,
};
use serde_json::{Value, json};

use crate::world::*;

fn account() -> AccountId {
    AccountId::mint(33, 7).unwrap()
}

fn operation() -> OperationId {
    OperationId::derive(Bucket::of(b"x"), "c", "s", "k")
}

#[tokio::test]
async fn headers_become_the_call() {
    let world = World::start().await;
    let response = world
        .get("/v1/accounts")
        .header("authorization", "Bearer gs1.abc")
        .header("gridesk-channel", "hall")
        .header("accept-language", "en")
        .header("prefer", "handling=strict, wait=99, respond-async")
        .header("consistency-token", token().to_string())
        .header("request-id", "00000000000000000000000007")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["request-id"], "00000000000000000000000007");
    assert_eq!(response.headers()["preference-applied"], "handling=strict, wait=30");
    assert_eq!(response.headers()["consistency-token"], token().to_string().as_str());
    assert_eq!(response.headers()["cache-control"], "private, no-cache");
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "accounts": [] }));
    let head = world.gate.last().head;
    assert_eq!(head.request_id, 7u128.to_be_bytes());
    assert_eq!(head.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!((head.channel, head.client.as_str(), head.language), (Channel::Hall, "hall", Language::En));
    assert_eq!((head.session.as_deref(), head.strict, head.wait_ms), (Some("gs1.abc"), true, 30_000));
    assert_eq!(head.token, token());
}

#[tokio::test]
async fn wrong_headers_are_refused_and_nothing_is_asked() {
    let world = World::start().await;
    for (name, value, code) in [
        ("gridesk-channel", "system", Code::InvalidRequest),
        ("gridesk-channel", "pigeon", Code::InvalidRequest),
        ("consistency-token", "%%", Code::TokenInvalid),
        ("consistency-token", "AAAAAA", Code::TokenInvalid),
        ("authorization", "Basic eDp5", Code::Unauthenticated),
        ("authorization", "Bearer", Code::Unauthenticated),
        ("idempotency-key", "a b", Code::InvalidRequest),
    ] {
        let response = world.get("/v1/accounts").header(name, value).send().await.unwrap();
        problem(response, code).await;
    }
    let long = "x".repeat(600);
    let response = world.get("/v1/accounts").bearer_auth(long).send().await.unwrap();
    problem(response, Code::Unauthenticated).await;
    let key = "k".repeat(129);
    let response = world.get("/v1/accounts").header("idempotency-key", key).send().await.unwrap();
    problem(response, Code::InvalidRequest).await;
    assert_eq!(world.gate.asked(), 0);
}

#[tokio::test]
async fn a_write_needs_a_key_and_says_where_its_result_will_be() {
    let world = World::start().await;
    let path = format!("/v1/accounts/{}/payments", account());
    let body = json!({ "amount_fen": 12_345, "provider": "sim" });
    let response = world.client.post(world.url(&path)).json(&body).send().await.unwrap();
    problem(response, Code::IdempotencyKeyRequired).await;

    world.gate.answers(Outcome::Accepted(operation()));
    let response = world.post(&path, &body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["location"], format!("/v1/operations/{}", operation()).as_str());
    let taken: Value = response.json().await.unwrap();
    assert_eq!(taken, json!({ "operation": operation().to_string(), "state": "accepted" }));
    let asked = world.gate.last();
    assert_eq!((asked.head.wait_ms, asked.head.idempotency_key.unwrap().as_str()), (0, "k1"));
    assert!(matches!(asked.request, Request::PaymentCreate(ref r) if i64::from(r.amount_fen) == 12_345));

    let payment = PaymentId::mint(account().bucket(), 1 << 40);
    let made = replies::PaymentCreate { payment, pay_url: "http://pay".into(), expires_s: 1 };
    world.gate.answers(Outcome::Done(Reply::PaymentCreate(made)));
    let response = world.post(&path, &body).header("prefer", "wait=2").send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], format!("/v1/payments/{payment}").as_str());
    assert_eq!(response.headers()["preference-applied"], "wait=2");
    assert_eq!(world.gate.last().head.wait_ms, 2_000);
}

#[tokio::test]
async fn what_is_under_way_is_named() {
    let world = World::start().await;
    world.gate.answers(Outcome::Pending(vec![operation()]));
    let response = world.get("/v1/accounts").send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["gridesk-pending"] == "true"), (200, true));
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "pending": [operation().to_string()] }));
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let world = World::start().await;
    let path = format!("/v1/accounts/{}/payments", account());
    let ask = |language: &'static str, known: Option<String>| {
        let request = world.get(&path).header("accept-language", language);
        known.into_iter().fold(request, |request, tag| request.header("if-none-match", tag)).send()
    };
    let first = ask("en", None).await.unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(first.headers()["vary"].to_str().unwrap().contains("authorization"));
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
        let again = ask("en", Some(known)).await.unwrap();
        assert_eq!(again.status(), 304);
        assert_eq!(again.headers()["etag"], tag.as_str());
        assert_eq!(again.headers()["cache-control"], "private, no-cache");
        assert_eq!(again.headers()["consistency-token"], token().to_string().as_str());
        assert!(again.headers().contains_key("request-id") && !again.headers().contains_key("content-type"));
        assert_eq!(again.text().await.unwrap(), "");
    }
    // Asked each time: what is inside may have changed, and another language is another answer.
    assert_eq!(world.gate.asked(), 4);
    assert_eq!(ask("zh", Some(tag.clone())).await.unwrap().status(), 200);
    assert_eq!(ask("en", Some("\"other\"".into())).await.unwrap().status(), 200);

    world.gate.answers(Outcome::Problem(Problem::new(Code::NotFound, "no")));
    let refused = ask("en", Some("*".into())).await.unwrap();
    assert!(!refused.headers().contains_key("etag"));
    problem(refused, Code::NotFound).await;
    world.gate.answers(Outcome::Pending(vec![operation()]));
    let pending = ask("en", Some("*".into())).await.unwrap();
    assert_eq!((pending.status().as_u16(), &pending.headers()["cache-control"] == "no-store"), (200, true));
    assert!(!pending.headers().contains_key("etag"));
    // A write is never "not modified".
    let write = world.post("/v1/sessions/end", &json!({})).header("if-none-match", "*").send().await.unwrap();
    assert_eq!((write.status().as_u16(), write.headers().contains_key("etag")), (200, false));
    assert_eq!(write.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn problems_from_inside_come_out_as_they_are() {
    let world = World::start().await;
    for code in Code::ALL {
        world.gate.answers(Outcome::Problem(Problem::new(*code, "so it is")));
        let body = problem(world.get("/v1/accounts").send().await.unwrap(), *code).await;
        assert_eq!(body["detail"], "so it is");
    }
}

#[tokio::test]
async fn every_route_asks_its_operation() {
    let world = World::start().await;
    let (account, payment) = (account(), PaymentId::mint(Bucket::of(b"p"), 1 << 20));
    let challenge = protocol::ChallengeId::mint(Bucket::of(b"p"), 1 << 20);
    let writes = [
        ("/v1/login/start".to_owned(), json!({ "phone": "19900000001" }), "login_start"),
        ("/v1/login/finish".to_owned(), json!({ "challenge": challenge, "code": "123456" }), "login_finish"),
        ("/v1/sessions/refresh".to_owned(), json!({ "refresh_token": "gs1.x" }), "session_refresh"),
        ("/v1/sessions/end".to_owned(), json!({}), "session_end"),
        (format!("/v1/accounts/{account}/bind/start"), json!({}), "account_bind_start"),
        (
            format!("/v1/accounts/{account}/bind"),
            json!({ "proof": { "latest_bill": { "month": "2026-01", "amount_fen": 100 } } }),
            "account_bind",
        ),
    ];
    for (path, body, name) in writes {
        world.post(&path, &body).send().await.unwrap();
        let asked = world.gate.last();
        assert_eq!(asked.request.spec().name, name);
        let waits = matches!(name, "login_start" | "login_finish" | "session_refresh" | "account_bind_start");
        assert_eq!(asked.head.wait_ms, if waits { 10_000 } else { 0 }, "{name}");
    }
    for (path, name) in [
        ("/v1/accounts".to_owned(), "account_list"),
        (format!("/v1/accounts/{account}"), "account_summary"),
        (format!("/v1/accounts/{account}/bills?before=2026-01&limit=5"), "bill_list"),
        (format!("/v1/bills/{account}-2026-01"), "bill_get"),
        (format!("/v1/accounts/{account}/usage/2026-01"), "usage_month"),
        (format!("/v1/accounts/{account}/usage?year=2026"), "usage_year"),
        (format!("/v1/accounts/{account}/tier"), "tier_get"),
        (format!("/v1/accounts/{account}/tariffs/compare"), "tariff_compare"),
        (
            format!(
                "/v1/accounts/{account}/tariffs/quote?month=2026-08&energy_wh=300000&valley_per_mille=400"
            ),
            "tariff_quote",
        ),
        (format!("/v1/accounts/{account}/payments"), "payment_list"),
        (format!("/v1/payments/{payment}"), "payment_get"),
        (format!("/v1/operations/{}", operation()), "operation_get"),
    ] {
        world.get(&path).send().await.unwrap();
        assert_eq!(world.gate.last().request.spec().name, name);
    }
    let seen = world.gate.seen.lock().unwrap().clone();
    let bills = seen.iter().find_map(|asked| match &asked.request {
        Request::BillList(list) => Some(list.clone()),
        _ => None,
    });
    let before = Some("2026-01".parse().unwrap());
    assert_eq!(bills, Some(requests::BillList { account, before, limit: 5 }));
}

#[tokio::test]
async fn what_is_out_of_bounds_is_asked_of_nobody() {
    let world = World::start().await;
    let account = account();
    for query in [
        "usage",
        "usage?year=",
        "usage?year=20266",
        "usage?year=2026.5",
        "usage?year=2026&x=1",
        "tariffs/quote",
        "tariffs/quote?month=2026-08",
        "tariffs/quote?month=2026-13&energy_wh=1",
        "tariffs/quote?month=2026-08&energy_wh=-1",
        "tariffs/quote?month=2026-08&energy_wh=1000000000001",
        "tariffs/quote?month=2026-08&energy_wh=1&valley_per_mille=1001",
        "tariffs/quote?month=2026-08&energy_wh=1&tariff=%3Cscript%3E",
        "tariffs/quote?month=2026-08&energy_wh=1&used_before_wh=x",
    ] {
        let response = world.get(&format!("/v1/accounts/{account}/{query}")).send().await.unwrap();
        problem(response, Code::InvalidRequest).await;
    }
    assert_eq!(world.gate.asked(), 0);
    let path =
        format!("/v1/accounts/{account}/tariffs/quote?month=2026-08&energy_wh=7&tariff=zj-residential");
    world.get(&path).send().await.unwrap();
    let Request::TariffQuote(asked) = world.gate.last().request else { panic!() };
    assert_eq!((asked.energy_wh.get(), asked.used_before_wh.get(), asked.valley_per_mille), (7, 0, None));
    assert_eq!(asked.tariff.map(String::from).as_deref(), Some("zj-residential"));
}

#[tokio::test]
async fn a_callback_crosses_byte_by_byte() {
    let world = World::start().await;
    let send = |id: Option<&'static str>| {
        let request = world.client.post(world.url("/v1/callbacks/payments/sim-pay"));
        let request =
            request.header("webhook-timestamp", "1700000000").header("webhook-signature", "v1,abc=");
        let request = id.into_iter().fold(request, |request, id| request.header("webhook-id", id));
        request.body(&b"{ \"a\" :1}\n\xff"[..]).send()
    };
    problem(send(None).await.unwrap(), Code::InvalidRequest).await;
    world.gate.answers(Outcome::Accepted(operation()));
    assert_eq!(send(Some("msg_1")).await.unwrap().status(), 200);
    let asked = world.gate.last();
    assert_eq!((asked.head.channel, asked.head.wait_ms), (Channel::System, 5_000));
    let Request::PaymentCallback(callback) = asked.request else { panic!("{:?}", asked.request) };
    assert_eq!(&*callback.body, b"{ \"a\" :1}\n\xff");
    assert_eq!(
        (&*callback.id, callback.timestamp_s, &*callback.signature),
        ("msg_1", 1_700_000_000, "v1,abc=")
    );
    world.gate.answers(Outcome::Problem(Problem::new(Code::SignatureWrong, "no")));
    problem(send(Some("msg_2")).await.unwrap(), Code::SignatureWrong).await;
}

#[tokio::test]
async fn the_gate_echoes_and_health_is_told() {
    let world = World::start().await;
    let echo: Value = world.get("/v1/gate").send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["ok"], true);
    assert!(echo["round_trip_us"].as_u64().unwrap() > 0);
    let healthy = world.get("/healthz").send().await.unwrap();
    assert!(healthy.headers().contains_key("request-id"));
    assert_eq!(healthy.text().await.unwrap(), "ok\n");
    world.gate.kill();
    while world.get("/readyz").send().await.unwrap().status() != 503 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_survives_the_loss_of_its_gate() {
    let world = World::start().await;
    world.gate.may.forget_permits(usize::MAX);
    let asking = tokio::spawn(world.get("/v1/accounts").send());
    until(|| world.gate.asked() == 1).await;
    world.gate.kill();
    until(|| std::os::unix::net::UnixStream::connect(gate_path(world.folder.path())).is_err()).await;
    let _second = Gate::start(&gate_path(world.folder.path()));
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_session_that_is_surely_bad_is_shed_here() {
    use ed25519_dalek::SigningKey;
    use protocol::{
        PushId,
        push::{EdgeSettings, Push, PushBody},
    };
    let world = World::start().await;
    assert_eq!(world.get("/v1/accounts").bearer_auth("gs1.x").send().await.unwrap().status(), 200);
    let key = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
    let settings = PushBody::Settings(EdgeSettings { session_keys: vec![(1, key)] });
    let push = Push { id: PushId::mint(Bucket::of(b"x"), 0), body: settings };
    world.gate.push(&push, LONG).await.unwrap();
    let asked = world.gate.asked();
    let response = world.get("/v1/accounts").bearer_auth("gs1.x").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    problem(response, Code::Unauthenticated).await;
    assert_eq!(world.gate.asked(), asked);
}
