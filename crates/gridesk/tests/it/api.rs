//! What the channel API answers to those who make mistakes and to those who mean harm, through every zone of a whole
//! system; and that none of it had an effect.
use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use protocol::{
    AccountId, Bucket, ChallengeId, LaneId, OperationId, PaymentId, Position, Token,
    payment::sign_callback,
    session::{Claims, TokenUse},
};
use reqwest::{Method, RequestBuilder};
use runtime::secret::{ExposeSecret, load_key};
use serde_json::{Value, json};

use crate::world::{Client, Said, World, key, send};

/// Collects what is not as it should be, so that one run says everything.
#[derive(Default)]
struct Cases {
    failed: Vec<String>,
    checked: u32,
}

impl Cases {
    fn that(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.failed.push(what());
        }
    }

    /// A success.
    fn done(&mut self, name: &str, said: &Said, status: u16) {
        self.that(said.status == status, || format!("{name}: {status} expected, got {said:?}"));
        self.that(said.header("request-id").is_some(), || format!("{name}: no Request-Id"));
    }

    /// A problem, complete and of its one form.
    fn problem(&mut self, name: &str, said: &Said, status: u16, code: &str) {
        let brief = || format!("{} {} {:?}", said.status, said.text, said.headers);
        self.that((said.status, said.code()) == (status, code), || {
            format!("{name}: {status} {code} expected, got {}", brief())
        });
        self.shape(name, said);
    }

    fn shape(&mut self, name: &str, said: &Said) {
        let brief = || format!("{} {} {:?}", said.status, said.text, said.headers);
        let texts = ["type", "title", "code", "detail", "request_id"];
        let complete =
            texts.iter().all(|name| said.json[*name].as_str().is_some_and(|text| !text.is_empty()));
        self.that(complete, || format!("{name}: incomplete problem {}", brief()));
        self.that(said.json["status"] == said.status, || {
            format!("{name}: another status in the body {}", brief())
        });
        let named = said.header("request-id") == said.json["request_id"].as_str();
        self.that(named, || format!("{name}: two request ids {}", brief()));
        for (header, value) in [("content-type", "application/problem+json"), ("cache-control", "no-store")] {
            self.that(said.header(header) == Some(value), || {
                format!("{name}: {header} is not {value}: {}", brief())
            });
        }
        if matches!(said.status, 429 | 503) {
            let seconds = said.header("retry-after").and_then(|s| s.parse::<u32>().ok());
            self.that(seconds.is_some_and(|s| s > 0), || format!("{name}: no Retry-After: {}", brief()));
        }
    }
}

/// Two customers and what is theirs.
struct Scene<'a> {
    world: &'a World,
    cases: Cases,
    one: Client,
    account: String,
    other: Client,
    others: String,
    /// The payments of everybody that these cases may have made.
    expected: HashSet<String>,
}

fn order_path(account: &str) -> String {
    format!("/v1/accounts/{account}/payments")
}

fn order(amount_fen: i64) -> Value {
    json!({ "amount_fen": amount_fen, "provider": "sim-pay" })
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a problem says, without what is different every time.
fn same_but_for_ids(said: &Said) -> (u16, Value) {
    let mut json = said.json.clone();
    json.as_object_mut().unwrap().remove("request_id");
    (said.status, json)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_api_refuses_what_is_wrong_and_does_what_is_right() {
    let world = World::start();
    let mut one = world.customer(&world.phones[0]).await;
    let account = one.account().await;
    let mut other = world.customer(&world.phones[1]).await;
    let others = other.account().await;
    let before: HashSet<_> = world.stored_payments().into_iter().collect();
    let owed_before = (owed(&mut one, &account).await, owed(&mut other, &others).await);
    let paid_before = world.ledger().await.1;

    let cases = Cases::default();
    let mut scene = Scene { world: &world, cases, one, account, other, others, expected: HashSet::new() };
    scene.addresses().await;
    scene.bodies().await;
    scene.keys().await;
    scene.paths().await;
    scene.tokens().await;
    scene.of_others().await;
    scene.same_key().await;
    scene.waiting().await;
    scene.consistency().await;
    scene.log_in().await;
    scene.sessions().await;
    scene.binding().await;
    scene.crowd().await;
    let paid_fen = scene.callbacks().await;

    let Scene { mut cases, mut one, account, mut other, others, expected, .. } = scene;
    world.settled(Duration::from_secs(20)).await;
    let owed_after = (owed(&mut one, &account).await, owed(&mut other, &others).await);
    cases.that(owed_before.0 - owed_after.0 == paid_fen, || {
        format!("{paid_fen} paid: {owed_before:?} {owed_after:?}")
    });
    cases.that(owed_before.1 == owed_after.1, || format!("the other's: {owed_before:?} {owed_after:?}"));
    let (sums, paid_after) = world.ledger().await;
    cases.that(sums.iter().all(|sum| *sum == 0), || format!("ledger {sums:?}"));
    cases.that(paid_after - paid_before == paid_fen, || {
        format!("ledger {paid_before} {paid_after}, paid {paid_fen}")
    });
    let new: HashSet<_> = world.stored_payments().into_iter().filter(|one| !before.contains(one)).collect();
    let unasked: Vec<_> = new.iter().filter(|(_, id)| !expected.contains(id)).collect();
    cases.that(unasked.is_empty(), || format!("payments that nobody was told of: {unasked:?}"));
    cases
        .that(new.len() == expected.len(), || format!("{} payments, {} expected", new.len(), expected.len()));
    println!("{} checks, {} failed", cases.checked, cases.failed.len());
    assert!(cases.failed.is_empty(), "{}", cases.failed.join("\n"));
}

async fn owed(client: &mut Client, account: &str) -> i64 {
    let said = client.get(&format!("/v1/accounts/{account}")).await;
    let fen = |name: &str| said.json["balance"][name].as_i64().unwrap_or_else(|| panic!("{said:?}"));
    fen("due_fen") - fen("credit_fen")
}

impl Scene<'_> {
    fn payment_request(&self) -> RequestBuilder {
        self.one.own(Method::POST, &order_path(&self.account)).header("idempotency-key", key("api"))
    }

    async fn addresses(&mut self) {
        for path in
            ["/v1/nothing", "/v1/", "/v1/accounts/", "/v1//accounts", "/v1/accounts/1/2/3/4", "/v1/%00"]
        {
            self.cases.problem(path, &send(self.one.own(Method::GET, path)).await, 404, "not_found");
        }
        for (method, path) in [
            (Method::POST, "/v1/accounts"),
            (Method::DELETE, "/v1/accounts"),
            (Method::GET, "/v1/login/start"),
            (Method::PUT, "/v1/sessions/end"),
            (Method::TRACE, "/v1/accounts"),
        ] {
            let said = send(self.one.own(method.clone(), path)).await;
            self.cases.problem(&format!("{method} {path}"), &said, 405, "method_not_allowed");
            self.cases.that(said.header("allow").is_some(), || format!("{method} {path}: no Allow"));
        }
        let id = "0123456789abcdefghjkmnpqrs";
        let said = send(self.one.own(Method::GET, "/v1/nothing").header("request-id", id)).await;
        self.cases.that(said.header("request-id") == Some(id), || format!("not echoed: {said:?}"));
        let said = send(self.one.own(Method::GET, "/v1/accounts").header("request-id", "<script>")).await;
        self.cases.that(said.header("request-id").is_some_and(|id| id.len() == 26), || format!("{said:?}"));
    }

    async fn bodies(&mut self) {
        let long = "x".repeat(10_000);
        let deep = format!("{}{}", "[".repeat(8_000), "]".repeat(8_000));
        let deep_object = "{\"a\":".repeat(3_000);
        let bodies = [
            ("an unknown field", r#"{"amount_fen":1,"provider":"sim-pay","x":1}"#.to_owned()),
            ("a text for a number", r#"{"amount_fen":"1","provider":"sim-pay"}"#.to_owned()),
            ("a fraction", r#"{"amount_fen":1.5,"provider":"sim-pay"}"#.to_owned()),
            ("null", r#"{"amount_fen":null,"provider":"sim-pay"}"#.to_owned()),
            ("zero", r#"{"amount_fen":0,"provider":"sim-pay"}"#.to_owned()),
            ("less than zero", r#"{"amount_fen":-1,"provider":"sim-pay"}"#.to_owned()),
            ("too much money", r#"{"amount_fen":1000000001,"provider":"sim-pay"}"#.to_owned()),
            (
                "more than a number holds",
                r#"{"amount_fen":99999999999999999999,"provider":"sim-pay"}"#.to_owned(),
            ),
            ("an exponent", r#"{"amount_fen":1e400,"provider":"sim-pay"}"#.to_owned()),
            ("a missing field", r#"{"amount_fen":1}"#.to_owned()),
            ("a doubled field", r#"{"amount_fen":1,"amount_fen":2,"provider":"sim-pay"}"#.to_owned()),
            ("a bad name", r#"{"amount_fen":1,"provider":"SIM PAY"}"#.to_owned()),
            ("a name too long", format!(r#"{{"amount_fen":1,"provider":"{long}"}}"#)),
            ("an array", "[]".to_owned()),
            ("a number", "1".to_owned()),
            ("half of it", r#"{"amount_fen":1,"#.to_owned()),
            ("something after it", r#"{"amount_fen":1,"provider":"sim-pay"} {}"#.to_owned()),
            ("nothing", String::new()),
            ("a depth", deep),
            ("a depth of objects", deep_object),
            ("no JSON", "<xml/>".to_owned()),
        ];
        for (name, body) in bodies {
            let request = self.payment_request().header("content-type", "application/json").body(body);
            self.cases.problem(name, &send(request).await, 400, "invalid_request");
        }
        let bad_utf8 =
            self.payment_request().header("content-type", "application/json").body(vec![b'{', 0xff, 0xfe]);
        self.cases.problem("no UTF-8", &send(bad_utf8).await, 400, "invalid_request");
        for kind in [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("json"), None] {
            let mut request = self.payment_request().body(order(1).to_string());
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            self.cases.problem(&format!("{kind:?}"), &send(request).await, 415, "unsupported_media_type");
        }
        let huge =
            self.payment_request().header("content-type", "application/json").body(vec![b' '; 200_000]);
        let said = send(huge).await;
        // The rest is not read: the client may see the answer, or only the end of the connection.
        if said.status != 0 {
            self.cases.problem("a huge body", &said, 413, "too_large");
        }
        let just =
            self.payment_request().header("content-type", "application/json").body(vec![b' '; 16 * 1024 + 1]);
        self.cases.problem("a byte too much", &send(just).await, 413, "too_large");
        let request = self.payment_request().header("prefer", "wait=10");
        let unknown = request.json(&json!({ "amount_fen": 1, "provider": "nobody" }));
        self.cases.problem("an unknown provider", &send(unknown).await, 400, "invalid_request");
    }

    async fn keys(&mut self) {
        let bare = || self.one.own(Method::POST, &order_path(&self.account)).json(&order(1));
        let none = send(bare()).await;
        let twice = send(bare().header("idempotency-key", "a").header("idempotency-key", "b")).await;
        let mut bad = Vec::new();
        for value in ["".to_owned(), "a b".to_owned(), "k".repeat(129), "ключ".to_owned()] {
            bad.push((value.clone(), send(bare().header("idempotency-key", value.as_bytes())).await));
        }
        self.cases.problem("no key", &none, 400, "idempotency_key_required");
        self.cases.problem("two keys", &twice, 400, "invalid_request");
        for (value, said) in bad {
            self.cases.problem(&format!("key {value:?}"), &said, 400, "invalid_request");
        }
    }

    async fn paths(&mut self) {
        let account = self.account.clone();
        let wrong_digit = format!("{}{}", &account[..12], (account[12..].parse::<u8>().unwrap() + 1) % 10);
        for path in [
            format!("/v1/accounts/{wrong_digit}"),
            "/v1/accounts/abc".to_owned(),
            format!("/v1/accounts/{}", "1".repeat(300)),
            format!("/v1/accounts/{account}/usage/2026-13"),
            format!("/v1/accounts/{account}/usage/x"),
            format!("/v1/accounts/{account}/usage"),
            format!("/v1/accounts/{account}/usage?year=1"),
            format!("/v1/accounts/{account}/tariffs/quote?month=2026-08&energy_wh=-1"),
            format!("/v1/accounts/{account}/tariffs/quote?month=2026-08&energy_wh=1&tariff=nowhere"),
            format!("/v1/accounts/{account}/bills?limit=x"),
            format!("/v1/accounts/{account}/bills?limit=256"),
            format!("/v1/accounts/{account}/bills?before=2026"),
            format!("/v1/accounts/{account}/bills?unknown=1"),
            format!("/v1/bills/{account}"),
            "/v1/payments/py_".to_owned(),
            "/v1/operations/py_0123456789abcdefghjkmnpqrs".to_owned(),
        ] {
            self.cases.problem(&path, &self.one.get(&path).await, 400, "invalid_request");
        }
        let nobody = AccountId::mint(33, 9_999_999_999).unwrap();
        for path in [
            format!("/v1/accounts/{nobody}"),
            format!("/v1/accounts/{nobody}/bills"),
            format!("/v1/accounts/{nobody}/tier"),
            format!("/v1/accounts/{nobody}/usage?year=2026"),
            format!("/v1/accounts/{nobody}/tariffs/compare"),
            format!("/v1/bills/{account}-1999-01"),
            format!("/v1/payments/{}", PaymentId::mint(Bucket::FIRST, 77)),
            format!("/v1/operations/{}", OperationId::from_bits(77)),
        ] {
            self.cases.problem(&path, &self.one.get(&path).await, 404, "not_found");
        }
    }

    async fn tokens(&mut self) {
        let access = self.one.access.clone().unwrap();
        let path = format!("/v1/accounts/{}", self.account);
        let get = || self.one.request(Method::GET, &path);
        let mut flipped = access.clone().into_bytes();
        let last = flipped.len() - 10;
        flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
        let claims = Claims {
            key_id: 0,
            usage: TokenUse::Access,
            session: protocol::SessionId::mint(Bucket::FIRST, 1),
            customer: protocol::CustomerId::mint(Bucket::FIRST, 1),
            generation: 1,
            expires_s: now_s() + 600,
        };
        // Made with a key of our own: well formed, in time, and worth nothing; and one whose time has passed.
        let own_key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let forged = protocol::session::sign(&own_key, &claims);
        let late = protocol::session::sign(&own_key, &Claims { expires_s: 1_000, ..claims.clone() });
        let other_key_id = protocol::session::sign(&own_key, &Claims { key_id: 9, ..claims });
        let mut tried = vec![("none".to_owned(), send(get()).await)];
        for (name, value) in [
            ("garbage", "Bearer garbage".to_owned()),
            ("empty", "Bearer ".to_owned()),
            ("a scheme alone", "Bearer".to_owned()),
            ("another scheme", format!("Basic {access}")),
            ("too long", format!("Bearer {}", "a".repeat(2_000))),
            ("cut", format!("Bearer {}", &access[..access.len() - 1])),
            ("changed", format!("Bearer {}", String::from_utf8(flipped).unwrap())),
            ("forged", format!("Bearer {forged}")),
            ("forged and late", format!("Bearer {late}")),
            ("of an unknown key", format!("Bearer {other_key_id}")),
            ("a refresh token", format!("Bearer {}", self.one.refresh.clone().unwrap())),
        ] {
            tried.push((name.to_owned(), send(get().header("authorization", value)).await));
        }
        for (name, said) in tried {
            self.cases.problem(&format!("token: {name}"), &said, 401, "unauthenticated");
            self.cases
                .that(said.header("www-authenticate") == Some("Bearer"), || format!("{name}: {said:?}"));
        }
        let bearer = format!("Bearer {access}");
        let twice = send(self.one.own(Method::GET, &path).header("authorization", bearer)).await;
        self.cases.problem("two tokens", &twice, 400, "invalid_request");
    }

    /// Orders a payment and waits for it.
    async fn ordered(&mut self, others: bool, amount_fen: i64) -> (Said, String) {
        let account = if others { &self.others } else { &self.account };
        let path = order_path(account);
        let client = if others { &mut self.other } else { &mut self.one };
        let said = client.post(&path, &key("order"), 10, &order(amount_fen)).await;
        self.cases.done("an order", &said, 201);
        let payment = said.json["payment"].as_str().unwrap().to_owned();
        self.cases.that(said.header("location") == Some(&format!("/v1/payments/{payment}")), || {
            format!("{said:?}")
        });
        self.expected.insert(payment.clone());
        (said, payment)
    }

    async fn of_others(&mut self) {
        let others = self.others.clone();
        let (_, payment) = self.ordered(true, 321).await;
        let accepted = self.other.post(&order_path(&others), &key("o"), 0, &order(322)).await;
        let operation = accepted.operation().unwrap().to_owned();
        let made = applied(&mut self.other, &operation).await;
        self.expected.insert(made["result"]["PaymentCreate"]["payment"].as_str().unwrap().to_owned());
        let bills = self.other.get(&format!("/v1/accounts/{others}/bills")).await;
        let bill = bills.json["bills"][0]["bill"].as_str().unwrap().to_owned();
        let nobody = AccountId::mint(33, 9_999_999_998).unwrap();
        let (no_payment, no_operation) = (PaymentId::mint(Bucket::FIRST, 78), OperationId::from_bits(78));
        for (theirs, nobodys) in [
            (format!("/v1/accounts/{others}"), format!("/v1/accounts/{nobody}")),
            (format!("/v1/accounts/{others}/bills"), format!("/v1/accounts/{nobody}/bills")),
            (format!("/v1/accounts/{others}/usage/2026-01"), format!("/v1/accounts/{nobody}/usage/2026-01")),
            (format!("/v1/accounts/{others}/tier"), format!("/v1/accounts/{nobody}/tier")),
            (
                format!("/v1/accounts/{others}/usage?year=2026"),
                format!("/v1/accounts/{nobody}/usage?year=2026"),
            ),
            (
                format!("/v1/accounts/{others}/tariffs/compare"),
                format!("/v1/accounts/{nobody}/tariffs/compare"),
            ),
            (
                format!("/v1/accounts/{others}/tariffs/quote?month=2026-08&energy_wh=1"),
                format!("/v1/accounts/{nobody}/tariffs/quote?month=2026-08&energy_wh=1"),
            ),
            (order_path(&others), order_path(&nobody.to_string())),
            (format!("/v1/bills/{bill}"), format!("/v1/bills/{nobody}-2026-01")),
            (format!("/v1/payments/{payment}"), format!("/v1/payments/{no_payment}")),
            (format!("/v1/operations/{operation}"), format!("/v1/operations/{no_operation}")),
        ] {
            let (theirs_said, nobodys_said) = (self.one.get(&theirs).await, self.one.get(&nobodys).await);
            self.cases.problem(&theirs, &theirs_said, 404, "not_found");
            let same = same_but_for_ids(&theirs_said) == same_but_for_ids(&nobodys_said);
            self.cases.that(same, || {
                format!("{theirs} is told from what is not there: {theirs_said:?} {nobodys_said:?}")
            });
        }
        for wait_s in [0, 10] {
            let said = self.one.post(&order_path(&others), &key("steal"), wait_s, &order(323)).await;
            self.cases.problem("an order for another's account", &said, 404, "not_found");
        }
    }

    async fn same_key(&mut self) {
        let path = order_path(&self.account);
        let same = key("same");
        let first = self.one.post(&path, &same, 0, &order(501)).await;
        self.cases.done("a first", &first, 202);
        let pending_other = self.one.post(&path, &same, 0, &order(502)).await;
        self.cases.problem("another body while the first waits", &pending_other, 422, "idempotency_mismatch");
        let again = self.one.post(&path, &same, 10, &order(501)).await;
        self.cases.done("the same again", &again, 201);
        let payment = again.json["payment"].as_str().unwrap_or_default().to_owned();
        self.expected.insert(payment);
        let once_more = self.one.post(&path, &same, 10, &order(501)).await;
        self.cases.that(again.json == once_more.json, || format!("not the same: {again:?} {once_more:?}"));
        let unwaited = self.one.post(&path, &same, 0, &order(501)).await;
        let same_place = unwaited.status == 201 || unwaited.operation() == first.operation();
        self.cases.that(same_place, || format!("another operation: {first:?} {unwaited:?}"));
        for wait_s in [0, 10] {
            let said = self.one.post(&path, &same, wait_s, &order(502)).await;
            self.cases.problem("another body after it was applied", &said, 422, "idempotency_mismatch");
        }
        let others = order_path(&self.others);
        let said = self.one.post(&others, &same, 10, &order(501)).await;
        self.cases.problem("the same key for another's account", &said, 404, "not_found");
        // Somebody else's key of the same text is another key.
        let said = self.other.post(&others, &same, 10, &order(501)).await;
        self.cases.done("another customer's same key", &said, 201);
        self.expected.insert(said.json["payment"].as_str().unwrap_or_default().to_owned());
        // The same key for another account of one's own is no other order, but a mistake.
        let rebinding =
            self.one.post(&format!("/v1/accounts/{}/bind/start", self.others), &same, 10, &json!({})).await;
        self.cases.problem("the same key for something else", &rebinding, 422, "idempotency_mismatch");
        // Two bodies at once under one key: one of them is done.
        let racing = key("race");
        let (mut left, mut right) = (self.one.clone(), self.one.clone());
        let (one_order, other_order) = (order(601), order(602));
        let (left, right) = tokio::join!(
            left.post(&path, &racing, 10, &one_order),
            right.post(&path, &racing, 10, &other_order)
        );
        let mut statuses = [left.status, right.status];
        statuses.sort_unstable();
        self.cases.that(statuses == [201, 422], || format!("a race: {left:?} {right:?}"));
        for said in [left, right].iter().filter(|said| said.status == 201) {
            self.expected.insert(said.json["payment"].as_str().unwrap_or_default().to_owned());
        }
        // So without waiting: nobody is told that what will not be done was accepted.
        for round in 0..20 {
            let racing = key("race");
            let (mut left, mut right) = (self.one.clone(), self.one.clone());
            let (left, right) = tokio::join!(
                left.post(&path, &racing, 0, &one_order),
                right.post(&path, &racing, 0, &other_order)
            );
            let mut statuses = [left.status, right.status];
            statuses.sort_unstable();
            self.cases
                .that(statuses == [202, 422], || format!("race {round} without waiting: {left:?} {right:?}"));
            let accepted = if left.status == 202 { left } else { right };
            let made = applied(&mut self.one, accepted.operation().unwrap_or_default()).await;
            self.expected
                .insert(made["result"]["PaymentCreate"]["payment"].as_str().unwrap_or_default().to_owned());
        }
        // And one body thrice at once is one payment.
        let tripled = key("triple");
        let ask = async || self.one.clone().post(&path, &tripled, 10, &order(603)).await;
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        self.cases
            .that(a.status == 201 && a.json == b.json && b.json == c.json, || format!("{a:?} {b:?} {c:?}"));
        self.expected.insert(a.json["payment"].as_str().unwrap_or_default().to_owned());
    }

    async fn waiting(&mut self) {
        let path = order_path(&self.account);
        let said = self.one.post(&path, &key("accept"), 0, &order(701)).await;
        self.cases.done("without waiting", &said, 202);
        self.cases.that(said.json["state"] == "accepted", || format!("{said:?}"));
        self.cases.that(said.header("consistency-token").is_some(), || format!("no token: {said:?}"));
        let operation = said.operation().unwrap_or_default().to_owned();
        self.cases.that(said.json["operation"] == operation.as_str(), || format!("{said:?}"));
        // Its token makes the list show it at once, or say that it is under way.
        let list = self.one.get(&path).await;
        let status = applied(&mut self.one, &operation).await;
        self.cases
            .that(status["state"] == "applied" && status["name"] == "payment_create", || format!("{status}"));
        let payment = status["result"]["PaymentCreate"]["payment"].as_str().unwrap_or_default().to_owned();
        let fresh = list.header("gridesk-pending").is_some() || list.text.contains(&payment);
        self.cases.that(fresh, || format!("{payment} is not in {list:?}"));
        self.expected.insert(payment);
        for (prefer, heeded) in
            [("wait=10", Some("wait=10")), ("wait=99999", Some("wait=30")), ("Wait=\"5\"", Some("wait=5"))]
        {
            let request = self.payment_request().header("prefer", prefer).json(&order(702));
            let said = send(request).await;
            self.cases.done(prefer, &said, 201);
            self.cases.that(said.header("preference-applied") == heeded, || format!("{prefer}: {said:?}"));
            self.expected.insert(said.json["payment"].as_str().unwrap_or_default().to_owned());
        }
        for prefer in ["wait=abc", "wait=-1", "wait", "return=minimal", ",,,=", "wait=0"] {
            let said = send(self.payment_request().header("prefer", prefer).json(&order(703))).await;
            self.cases.done(prefer, &said, 202);
            let made = applied(&mut self.one, said.operation().unwrap_or_default()).await;
            self.expected
                .insert(made["result"]["PaymentCreate"]["payment"].as_str().unwrap_or_default().to_owned());
        }
        // What a rule rejects is an answer too, to who waits and to who asks later.
        let nobody = json!({ "amount_fen": 1, "provider": "nobody" });
        let said = self.one.post(&path, &key("reject"), 0, &nobody).await;
        self.cases.done("to be rejected", &said, 202);
        let status = applied(&mut self.one, said.operation().unwrap_or_default()).await;
        self.cases
            .that(status["state"] == "rejected" && status["problem"]["code"] == "invalid_request", || {
                format!("{status}")
            });
    }

    async fn consistency(&mut self) {
        let path = format!("/v1/accounts/{}", self.account);
        let lane_of = |sequence: u64, lane: u16, generation: u32| {
            Token::at(Position { lane: LaneId(lane), generation, sequence }).to_string()
        };
        let mut asked = Vec::new();
        for (name, token) in [
            ("garbage", "garbage!".to_owned()),
            ("cut", "AQ".to_owned()),
            ("too long", "A".repeat(2_000)),
            ("from the future", lane_of(1 << 40, 0, 1)),
            ("of an unknown lane", lane_of(1, 60_000, 1)),
            ("of a generation to come", lane_of(1, 0, 9)),
        ] {
            let request = self.one.request(Method::GET, &path).bearer_auth(self.one.access.as_ref().unwrap());
            asked.push((name, send(request.header("consistency-token", token)).await));
        }
        for (name, said) in asked {
            self.cases.problem(&format!("consistency token {name}"), &said, 400, "token_invalid");
        }
        let genuine = self.one.get(&path).await;
        self.cases.done("a genuine consistency token", &genuine, 200);
    }

    async fn log_in(&mut self) {
        let (known, unknown) = (self.world.phones[5].clone(), "13911112222");
        let mut client = self.world.client();
        let start = |phone: &str| json!({ "phone": phone });
        let before = client.inbox_end(&known).await;
        let to_known = client.post("/v1/login/start", &key("s"), 0, &start(&known)).await;
        let to_unknown = client.post("/v1/login/start", &key("s"), 0, &start(unknown)).await;
        let shape = |said: &Said| {
            let mut json = said.json.clone();
            let challenge = json["challenge"].take().as_str().unwrap_or_default().len();
            let mut headers: Vec<_> = said.headers.keys().map(ToString::to_string).collect();
            headers.sort();
            (said.status, challenge, json, headers, said.text.len())
        };
        self.cases.done("a code", &to_known, 200);
        self.cases.that(shape(&to_known) == shape(&to_unknown), || {
            format!("known phones show: {to_known:?} {to_unknown:?}")
        });
        for phone in [&known, unknown] {
            let again = client.post("/v1/login/start", &key("s"), 0, &start(phone)).await;
            self.cases.problem("another code at once", &again, 429, "too_many_requests");
        }
        for bad in ["", "123", "29900000001", "１９９００００００１", "19900000001 "] {
            let said = client.post("/v1/login/start", &key("s"), 0, &start(bad)).await;
            self.cases.problem(&format!("phone {bad:?}"), &said, 400, "invalid_request");
        }
        let code = client.code(&known, before).await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        let finish = |code: &str| json!({ "challenge": to_known.json["challenge"], "code": code });
        for _ in 0..5 {
            let said = client.post("/v1/login/finish", &key("f"), 0, &finish(wrong)).await;
            self.cases.problem("a wrong code", &said, 422, "code_wrong");
        }
        for code in [wrong, &code] {
            let said = client.post("/v1/login/finish", &key("f"), 0, &finish(code)).await;
            self.cases.problem("after five wrong codes", &said, 429, "too_many_attempts");
        }
        for bad in ["12345", "1234567", "abcdef"] {
            let said = client.post("/v1/login/finish", &key("f"), 0, &finish(bad)).await;
            self.cases.problem(&format!("code {bad}"), &said, 400, "invalid_request");
        }
        let nobodys = json!({ "challenge": ChallengeId::mint(Bucket::FIRST, 79), "code": "123456" });
        let said = client.post("/v1/login/finish", &key("f"), 0, &nobodys).await;
        self.cases.problem("a challenge that is none", &said, 422, "code_expired");

        // A code opens one session; asking for the same again gets the same.
        let phone = self.world.phones[6].clone();
        let before = client.inbox_end(&phone).await;
        let started = client.post("/v1/login/start", &key("s"), 0, &start(&phone)).await;
        let body =
            json!({ "challenge": started.json["challenge"], "code": client.code(&phone, before).await });
        let once = key("f");
        let first = client.post("/v1/login/finish", &once, 0, &body).await;
        let again = client.post("/v1/login/finish", &once, 0, &body).await;
        self.cases.done("a log-in", &first, 200);
        self.cases.that(first.json["session"] == again.json["session"], || format!("{first:?} {again:?}"));
        let reused = client.post("/v1/login/finish", &key("f"), 0, &body).await;
        self.cases.problem("a code again", &reused, 422, "code_expired");
    }

    async fn sessions(&mut self) {
        let mut client = self.world.customer(&self.world.phones[7]).await;
        let (first_access, first_refresh) = (client.access.clone().unwrap(), client.refresh.clone().unwrap());
        let body = |token: &str| json!({ "refresh_token": token });
        let said = client.post("/v1/sessions/refresh", &key("r"), 0, &body(&first_access)).await;
        self.cases.problem("refresh by an access token", &said, 401, "unauthenticated");
        let said = client.post("/v1/sessions/refresh", &key("r"), 0, &body("gs1.x")).await;
        self.cases.problem("refresh by garbage", &said, 401, "unauthenticated");
        let once = key("r");
        let second = client.post("/v1/sessions/refresh", &once, 0, &body(&first_refresh)).await;
        self.cases.done("a refresh", &second, 200);
        let retried = client.post("/v1/sessions/refresh", &once, 0, &body(&first_refresh)).await;
        self.cases.done("the same refresh again", &retried, 200);
        self.cases.that(retried.json["generation"] == second.json["generation"], || {
            format!("{second:?} {retried:?}")
        });
        client.access = second.json["tokens"]["access_token"].as_str().map(str::to_owned);
        let said = client.get("/v1/accounts").await;
        self.cases.done("the new access token", &said, 200);
        // The old refresh token in other hands: the session ends for everybody.
        let reused = client.post("/v1/sessions/refresh", &key("r"), 0, &body(&first_refresh)).await;
        self.cases.problem("an old refresh token", &reused, 401, "unauthenticated");
        let said = client.get("/v1/accounts").await;
        self.cases.problem("after the reuse", &said, 401, "unauthenticated");
        let newest = second.json["tokens"]["refresh_token"].as_str().unwrap_or_default().to_owned();
        let said = client.post("/v1/sessions/refresh", &key("r"), 0, &body(&newest)).await;
        self.cases.problem("the newest refresh token after the reuse", &said, 401, "unauthenticated");

        let mut client = self.world.customer(&self.world.phones[8]).await;
        let ended = client.post("/v1/sessions/end", &key("e"), 10, &json!({})).await;
        self.cases.done("log out", &ended, 200);
        let said = client.get("/v1/accounts").await;
        self.cases.problem("after logging out", &said, 401, "unauthenticated");
        let last = client.refresh.clone().unwrap();
        let said = client.post("/v1/sessions/refresh", &key("r"), 0, &body(&last)).await;
        self.cases.problem("refresh after logging out", &said, 401, "unauthenticated");
    }

    async fn binding(&mut self) {
        let mut owner = self.world.customer(&self.world.phones[2]).await;
        let theirs = owner.account().await;
        let bills = owner.get(&format!("/v1/accounts/{theirs}/bills")).await;
        let latest = &bills.json["bills"][0];
        let (month, amount_fen) = (latest["month"].clone(), latest["amount_fen"].as_i64().unwrap());
        let by_bill = |amount_fen: i64| json!({ "proof": { "latest_bill": { "month": month, "amount_fen": amount_fen } } });
        let mut guest = self.world.customer("13800001111").await;
        let none = guest.get("/v1/accounts").await;
        self.cases.that(none.json["accounts"] == json!([]), || format!("a guest has accounts: {none:?}"));
        let nobody = AccountId::mint(33, 9_999_999_997).unwrap();
        let path = |account: &str| format!("/v1/accounts/{account}/bind");
        let to_unknown = guest.post(&path(&nobody.to_string()), &key("b"), 10, &by_bill(amount_fen)).await;
        let to_known = guest.post(&path(&theirs), &key("b"), 10, &by_bill(amount_fen + 1)).await;
        self.cases.problem("a wrong proof", &to_known, 422, "proof_wrong");
        let same = same_but_for_ids(&to_known) == same_but_for_ids(&to_unknown);
        self.cases.that(same, || format!("known accounts show: {to_known:?} {to_unknown:?}"));
        for bad in [
            json!({}),
            json!({ "proof": {} }),
            json!({ "proof": { "latest_bill": {} } }),
            json!({ "proof": "x" }),
        ] {
            let said = guest.post(&path(&theirs), &key("b"), 10, &bad).await;
            self.cases.problem(&format!("proof {bad}"), &said, 400, "invalid_request");
        }
        let bound = guest.post(&path(&theirs), &key("b"), 10, &by_bill(amount_fen)).await;
        self.cases.done("bound by its latest bill", &bound, 200);
        self.listed(&mut guest, &theirs, "bound by bill").await;

        // By the code that goes to the account's own phone, and only there.
        let phone = self.world.phones[3].clone();
        let mut owner = self.world.customer(&phone).await;
        let theirs = owner.account().await;
        let before = guest.inbox_end(&phone).await;
        let started =
            guest.post(&format!("/v1/accounts/{theirs}/bind/start"), &key("b"), 0, &json!({})).await;
        let at_nobodys =
            guest.post(&format!("/v1/accounts/{nobody}/bind/start"), &key("b"), 0, &json!({})).await;
        self.cases.done("a code for binding", &started, 200);
        let blind = |said: &Said| {
            let mut json = said.json.clone();
            json["challenge"].take();
            (said.status, json)
        };
        self.cases.that(blind(&started) == blind(&at_nobodys), || {
            format!("known accounts show: {started:?} {at_nobodys:?}")
        });
        let code = guest.code(&phone, before).await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        let by_code = |code: &str| json!({ "proof": { "code": { "challenge": started.json["challenge"], "code": code } } });
        let said = guest.post(&path(&theirs), &key("b"), 10, &by_code(wrong)).await;
        self.cases.problem("a wrong code for binding", &said, 422, "proof_wrong");
        let said = guest
            .post(
                "/v1/login/finish",
                &key("b"),
                10,
                &json!({ "challenge": started.json["challenge"], "code": code }),
            )
            .await;
        self.cases.problem("a code for binding does not log in", &said, 422, "code_expired");
        let said = guest.post(&path(&self.others), &key("b"), 10, &by_code(&code)).await;
        self.cases.problem("a code for another account", &said, 422, "proof_wrong");
        let bound = guest.post(&path(&theirs), &key("b"), 10, &by_code(&code)).await;
        self.cases.done("bound by code", &bound, 200);
        self.listed(&mut guest, &theirs, "bound by code").await;

        // Guessing ends.
        let mut owner = self.world.customer(&self.world.phones[4]).await;
        let theirs = owner.account().await;
        let unknown = AccountId::mint(33, 9_999_999_996).unwrap().to_string();
        let mut answers = Vec::new();
        for account in [&theirs, &unknown] {
            for guess in 0..12 {
                let said = guest.post(&path(account), &key("b"), 10, &by_bill(-1 - guess)).await;
                self.cases.shape("guessing", &said);
                answers.push(said.code().to_owned());
            }
        }
        let (known, unknown) = answers.split_at(12);
        let wrong = known.iter().take_while(|code| *code == "proof_wrong").count();
        let ended = (1..12).contains(&wrong) && known[wrong..].iter().all(|code| code == "too_many_attempts");
        self.cases.that(ended, || format!("guessing: {known:?}"));
        self.cases.that(known == unknown, || format!("known accounts show: {known:?} {unknown:?}"));
        let said = guest.get(&format!("/v1/accounts/{theirs}")).await;
        self.cases.problem("an account that was not bound", &said, 404, "not_found");
    }

    /// An account that was just bound is in the list at once, and open.
    async fn listed(&mut self, guest: &mut Client, account: &str, name: &str) {
        let list = guest.get("/v1/accounts").await;
        let shown =
            list.json["accounts"].as_array().is_some_and(|all| all.iter().any(|a| a["account"] == account));
        self.cases.that(shown, || format!("{name}: not in the list: {list:?}"));
        let said = guest.get(&format!("/v1/accounts/{account}")).await;
        self.cases.done(name, &said, 200);
    }

    /// Three hundred requests at once, right and wrong ones.
    async fn crowd(&mut self) {
        let tasks: Vec<_> = (0..300)
            .map(|n| {
                let (mut one, mut other) = (self.one.clone(), self.other.clone());
                let (account, others) = (self.account.clone(), self.others.clone());
                tokio::spawn(async move {
                    match n % 6 {
                        0 => (200, one.get(&format!("/v1/accounts/{account}")).await),
                        1 => (201, one.post(&order_path(&account), &key("crowd"), 20, &order(800)).await),
                        2 => (404, one.get(&format!("/v1/accounts/{others}")).await),
                        3 => (200, other.get(&format!("/v1/accounts/{others}/bills?limit=3")).await),
                        4 => (
                            400,
                            other.post(&order_path(&others), &key("crowd"), 20, &json!({ "x": 1 })).await,
                        ),
                        _ => (401, send(one.request(Method::GET, "/v1/accounts")).await),
                    }
                })
            })
            .collect();
        for task in tasks {
            let (expected, said) = task.await.unwrap();
            self.cases
                .that(said.status == expected, || format!("in a crowd: {expected} expected, got {said:?}"));
            if said.status >= 400 {
                self.cases.shape("in a crowd", &said);
            }
            if said.status == 201 {
                self.expected.insert(said.json["payment"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    /// What a provider, or who pretends to be it, may tell. Gives what was genuinely paid, in fen.
    async fn callbacks(&mut self) -> i64 {
        let secret = *load_key(&self.world.data().join("secrets/sim-pay.key")).unwrap().expose_secret();
        let (_, payment) = self.ordered(false, 1_234).await;
        let (_, second) = self.ordered(false, 1_234).await;
        let body = |payment: &str, transaction: &str, amount_fen: i64| {
            json!({ "kind": "payment.succeeded", "order": payment, "transaction": transaction, "amount_fen": amount_fen,
                    "paid_s": now_s() })
            .to_string()
        };
        let told = Told { client: self.world.client(), secret };
        let now = now_s();
        let genuine = body(&payment, "test-1", 1_234);
        let signature = sign_callback(&secret, "m1", now, genuine.as_bytes());

        let forged = told
            .raw("sim-pay", "m1", now, &sign_callback(&[1; 32], "m1", now, genuine.as_bytes()), &genuine)
            .await;
        self.cases.problem("a forged message", &forged, 401, "signature_wrong");
        let changed = told.raw("sim-pay", "m1", now, &signature, &genuine.replace("1234", "1235")).await;
        self.cases.problem("a changed message", &changed, 401, "signature_wrong");
        for (name, id, at) in [("another id", "m2", now), ("another time", "m1", now + 1)] {
            let said = told.raw("sim-pay", id, at, &signature, &genuine).await;
            self.cases.problem(name, &said, 401, "signature_wrong");
        }
        for signature in ["", "v1,", "garbage", "v2,AAAA", &"x".repeat(256)] {
            let said = told.raw("sim-pay", "m1", now, signature, &genuine).await;
            self.cases.problem(&format!("signature {signature:?}"), &said, 401, "signature_wrong");
        }
        let long = told.raw("sim-pay", "m1", now, &"x".repeat(257), &genuine).await;
        self.cases.problem("a signature too long", &long, 400, "invalid_request");
        let unknown = told.raw("nobody", "m1", now, &signature, &genuine).await;
        self.cases.problem("an unknown provider", &unknown, 401, "signature_wrong");
        for (name, at) in [("an old message", now - 3_600), ("a message of tomorrow", now + 86_400)] {
            let said = told.signed("m3", at, &genuine).await;
            self.cases.problem(name, &said, 401, "signature_stale");
        }
        for (name, body, status, code) in [
            ("a wrong amount", body(&payment, "test-2", 1_233), 422, "amount_mismatch"),
            (
                "an unknown order",
                body(&PaymentId::mint(Bucket::FIRST, 80).to_string(), "test-3", 1_234),
                404,
                "not_found",
            ),
            ("genuine garbage", "{}".to_owned(), 400, "invalid_request"),
            ("genuine bytes", "\u{0}\u{1}".to_owned(), 400, "invalid_request"),
            ("an amount of nothing", body(&payment, "test-4", 0), 400, "invalid_request"),
        ] {
            let said = told.signed("m4", now, &body).await;
            self.cases.problem(name, &said, status, code);
        }
        let bare = told.client.request(Method::POST, "/v1/callbacks/payments/sim-pay").body("{}");
        self.cases.problem("no signature headers", &send(bare).await, 400, "invalid_request");
        let full = told.signed("m5", now, &" ".repeat(16 * 1024)).await;
        self.cases.problem("the longest garbage", &full, 400, "invalid_request");
        let huge = told.signed("m5", now, &" ".repeat(16 * 1024 + 1)).await;
        self.cases.problem("longer garbage", &huge, 413, "too_large");
        let open = self.one.get(&format!("/v1/payments/{payment}")).await;
        self.cases.that(open.json["payment"]["state"] == "open", || format!("paid by a forger: {open:?}"));

        let taken = told.raw("sim-pay", "m1", now, &signature, &genuine).await;
        self.cases.done("a genuine message", &taken, 200);
        self.cases
            .that(taken.json == json!({ "payment": payment, "duplicate": false }), || format!("{taken:?}"));
        // The very same bytes again, the same signed anew, and under another message id.
        let replayed = [
            told.raw("sim-pay", "m1", now, &signature, &genuine).await,
            told.signed("m1", now_s(), &genuine).await,
            told.signed("m6", now_s(), &genuine).await,
        ];
        for said in replayed {
            self.cases.done("a message again", &said, 200);
        }
        let other_order = told.signed("m7", now, &body(&second, "test-1", 1_234)).await;
        self.cases.problem("a transaction of another payment", &other_order, 409, "conflict");
        let seen = self.one.get(&format!("/v1/payments/{payment}")).await;
        let receipt = &seen.json["payment"]["receipt"];
        let once = receipt["transactions"] == json!(["test-1"]) && receipt["paid_fen"] == 1_234;
        self.cases.that(once, || format!("not once: {seen:?}"));
        let seen = self.one.get(&format!("/v1/payments/{second}")).await;
        let open = seen.json["payment"]["state"] == "open";
        self.cases.that(open, || format!("paid by another's transaction: {seen:?} {other_order:?}"));
        1_234
    }
}

/// Who speaks as the provider.
struct Told {
    client: Client,
    secret: [u8; 32],
}

impl Told {
    async fn raw(&self, provider: &str, id: &str, at_s: u64, signature: &str, body: &str) -> Said {
        let request = self.client.request(Method::POST, &format!("/v1/callbacks/payments/{provider}"));
        let request = request.header("webhook-id", id).header("webhook-timestamp", at_s);
        send(request.header("webhook-signature", signature).body(body.to_owned())).await
    }

    async fn signed(&self, id: &str, at_s: u64, body: &str) -> Said {
        let signature = sign_callback(&self.secret, id, at_s, body.as_bytes());
        self.raw("sim-pay", id, at_s, &signature, body).await
    }
}

/// Asks for an operation until it has ended.
async fn applied(client: &mut Client, operation: &str) -> Value {
    for _ in 0..200 {
        let said = client.get(&format!("/v1/operations/{operation}")).await;
        assert_eq!(said.status, 200, "{operation} was accepted: {said:?}");
        if said.json["state"] != "accepted" && said.header("gridesk-pending").is_none() {
            return said.json;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Value::Null
}
