//! The simulated outside world alone, against a merchant that this test plays.
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use gridesk::sim::{Config, Sim, SimError};
use protocol::{
    AccountId, Bucket, PaymentId,
    payment::{CallbackBody, Paid, PayOrder, verify_callback},
};
use runtime::{config::TimeSpan, secret::load_or_create_key, shutdown::Shutdown};
use serde_json::{Value, json};
use tokio::sync::watch;

struct World {
    base: String,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), SimError>>,
}

fn config(folder: &Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        folder: folder.join("sim"),
        merchant_key: folder.join("merchant.key"),
        merchant: "供电公司".into(),
        retry_first: TimeSpan(Duration::from_millis(20)),
    }
}

async fn start(folder: &Path) -> World {
    let config = config(folder);
    load_or_create_key(&config.merchant_key).unwrap();
    let shutdown = Shutdown::new();
    let sim = Sim::start(config, &shutdown).await.unwrap();
    let base = format!("http://{}", sim.address());
    let watched = shutdown.clone();
    World { base, shutdown, task: tokio::spawn(async move { sim.serve(&watched).await }) }
}

impl World {
    async fn stop(self) {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap();
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = client().post(format!("{}{path}", self.base)).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = client().get(format!("{}{path}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn messages(&self, query: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/inbox/messages?{query}")).await.1).unwrap()
    }

    async fn settle(&self, order: &PaymentId, body: Value) -> Value {
        let (status, answer) = self.post(&format!("/pay/orders/{order}/settle"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer["callbacks"].clone()
    }
}

fn client() -> reqwest::Client {
    let policy = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(policy).no_proxy().build().unwrap()
}

/// A merchant that remembers what it was told, and refuses the first `refuse` messages with 503.
#[derive(Clone)]
struct Merchant {
    secret: [u8; 32],
    told: watch::Sender<Vec<(String, Result<CallbackBody, String>)>>,
    refuse: Arc<Mutex<u32>>,
}

impl Merchant {
    async fn listen(folder: &Path, refuse: u32) -> (Merchant, String) {
        use runtime::secret::ExposeSecret;
        let key = load_or_create_key(&folder.join("merchant.key")).unwrap();
        let merchant = Merchant {
            secret: *key.expose_secret(),
            told: watch::Sender::new(Vec::new()),
            refuse: Arc::new(Mutex::new(refuse)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/callbacks/sim-pay", listener.local_addr().unwrap());
        let router =
            Router::new().route("/v1/callbacks/sim-pay", post(Self::take)).with_state(merchant.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (merchant, url)
    }

    async fn take(State(merchant): State<Merchant>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
        let seen = verify_callback(
            &merchant.secret,
            &id,
            time.parse().unwrap(),
            &header("webhook-signature"),
            &body,
        )
        .map_err(|error| error.to_string());
        let genuine = seen.is_ok();
        merchant.told.send_modify(|told| told.push((id, seen)));
        let mut refuse = merchant.refuse.lock().unwrap();
        if !genuine {
            (StatusCode::UNAUTHORIZED, "signature".into())
        } else if *refuse > 0 {
            *refuse -= 1;
            (StatusCode::SERVICE_UNAVAILABLE, "later".into())
        } else {
            (StatusCode::OK, "taken".into())
        }
    }

    async fn told(&self, count: usize) -> Vec<(String, Paid)> {
        let mut watch = self.told.subscribe();
        let waiting = watch.wait_for(|told| told.len() >= count);
        let told = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().clone();
        let paid = |(id, seen): (String, Result<CallbackBody, String>)| match seen.unwrap() {
            CallbackBody::PaymentSucceeded(paid) => (id, paid),
            other => panic!("{other:?}"),
        };
        told.into_iter().map(paid).collect()
    }

    fn order(&self, notify_url: &str, n: u128) -> PayOrder {
        PayOrder {
            order: PaymentId::mint(Bucket::of(b"x"), n << 12),
            amount_fen: 70_624.try_into().unwrap(),
            account: AccountId::mint(33, 1).unwrap(),
            expires_s: 4_000_000_000,
            return_url: "http://127.0.0.1:1/back?a=1".into(),
            notify_url: notify_url.into(),
        }
    }
}

fn form(pay_url: &str) -> Vec<(String, String)> {
    reqwest::Url::parse(pay_url).unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
async fn messages_are_kept_once_filtered_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let sim = start(folder.path()).await;
    let code =
        |id: &str, to: &str, code: &str| json!({"id": id, "to": to, "text": "您的验证码 <b>", "code": code});
    assert_eq!(sim.post("/inbox/messages", code("pu_1", "19900000001", "111111")).await.0, 201);
    let again = sim.post("/inbox/messages", code("pu_1", "19900000001", "111111")).await;
    assert_eq!(again, (200, json!({"duplicate": true})));
    sim.post("/inbox/messages", code("pu_2", "19900000002", "222222")).await;

    let mine = sim.messages("to=19900000001&after=0").await;
    assert_eq!(mine["messages"].as_array().unwrap().len(), 1);
    assert_eq!(mine["messages"][0]["code"], "111111");
    let all = sim.messages("").await;
    assert_eq!(all["messages"].as_array().unwrap().len(), 2);
    assert_eq!(sim.messages(&format!("after={}", all["next_after"])).await["messages"], json!([]));

    let query = format!("to=19900000001&after={}&wait_ms=20000", all["next_after"]);
    let (waited, _) = tokio::join!(sim.messages(&query), async {
        sim.post("/inbox/messages", code("pu_3", "19900000002", "333333")).await;
        sim.post("/inbox/messages", code("pu_4", "19900000001", "444444")).await;
    });
    assert_eq!(waited["messages"][0]["code"], "444444");

    let (status, page) = sim.get("/inbox?to=19900000002").await;
    assert!(status == 200 && page.contains("样例") && page.contains("333333") && !page.contains("444444"));
    assert!(page.contains("&#60;b&#62;") && !page.contains("<b>"), "texts are escaped: {page}");
    for bad in [json!({"id": "", "to": "1", "text": "x"}), json!({"id": "1", "to": "1", "text": "x", "x": 1})]
    {
        let (status, answer) = sim.post("/inbox/messages", bad).await;
        assert!((400..500).contains(&status) && answer["error"].is_string(), "{status} {answer}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_inbox_keeps_the_newest_thousand() {
    let folder = tempfile::tempdir().unwrap();
    let sim = start(folder.path()).await;
    for n in 0..1_010 {
        sim.post("/inbox/messages", json!({"id": format!("m{n}"), "to": "1", "text": "t"})).await;
    }
    let first = sim.messages("after=0").await;
    assert_eq!((first["messages"][0]["id"].as_str(), first["next_after"].as_i64()), (Some("m10"), Some(210)));
    sim.stop().await;
}

#[tokio::test]
async fn a_press_on_pay_takes_the_money_once_and_tells_the_merchant() {
    let folder = tempfile::tempdir().unwrap();
    let sim = start(folder.path()).await;
    let (merchant, notify) = Merchant::listen(folder.path(), 2).await;
    let order = merchant.order(&notify, 1);
    let url = order.to_url(&format!("{}/pay", sim.base), &merchant.secret);

    let page = client().get(&url).send().await.unwrap().text().await.unwrap();
    for part in ["样例", "706.24", "供电公司", "/pay/confirm", &order.order.to_string()] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    for _ in 0..2 {
        let pressed =
            client().post(format!("{}/pay/confirm", sim.base)).form(&form(&url)).send().await.unwrap();
        assert_eq!(pressed.status(), 303);
        assert_eq!(pressed.headers()["location"], "http://127.0.0.1:1/back?a=1");
    }
    // Refused twice, taken the third time: the same message each time.
    let told = merchant.told(3).await;
    assert!(told.iter().all(|one| one == &told[0]), "{told:?}");
    assert_eq!((told[0].1.order, i64::from(told[0].1.amount_fen)), (order.order, 70_624));
    let page = client().get(&url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("已支付") && !page.contains("/pay/confirm"));

    let mut expired = order.clone();
    expired.order = PaymentId::mint(Bucket::of(b"x"), 2 << 12);
    expired.expires_s = 1_700_000_000;
    let url = expired.to_url(&format!("{}/pay", sim.base), &merchant.secret);
    let pressed = client().post(format!("{}/pay/confirm", sim.base)).form(&form(&url)).send().await.unwrap();
    assert_eq!(pressed.status(), 410);
    sim.stop().await;
    assert_eq!(merchant.told(3).await.len(), 3);
}

#[tokio::test]
async fn a_changed_or_forged_order_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let sim = start(folder.path()).await;
    let (merchant, notify) = Merchant::listen(folder.path(), 0).await;
    let order = merchant.order(&notify, 1);
    let url = order.to_url(&format!("{}/pay", sim.base), &merchant.secret);
    let forged = order.to_url(&format!("{}/pay", sim.base), b"not the secret");
    for bad in [url.replace("70624", "1"), forged, format!("{}/pay", sim.base)] {
        let answer = client().get(&bad).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains("未扣款"));
        let pressed =
            client().post(format!("{}/pay/confirm", sim.base)).form(&form(&bad)).send().await.unwrap();
        assert_eq!(pressed.status(), 400);
    }
    let (status, _) = sim
        .post(&format!("/pay/orders/{}/settle", order.order), json!({"url": url.replace("70624", "1")}))
        .await;
    assert_eq!(status, 400);
    assert!(merchant.told.borrow().is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn it_misbehaves_on_demand_and_says_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let sim = start(folder.path()).await;
    let (merchant, notify) = Merchant::listen(folder.path(), 0).await;
    let order = merchant.order(&notify, 1);
    let url = order.to_url(&format!("{}/pay", sim.base), &merchant.secret);

    let forged = sim.settle(&order.order, json!({"url": url, "forge": true})).await;
    assert_eq!((&forged[0]["status"], &forged[0]["body"]), (&json!(401), &json!("signature")));
    merchant.told.send_replace(Vec::new());

    let sent = sim.settle(&order.order, json!({"url": url, "times": 2, "second_debit": true})).await;
    assert_eq!(sent.as_array().unwrap().len(), 3);
    assert!(sent.as_array().unwrap().iter().all(|one| one["status"] == 200));
    assert_eq!(sent[0]["id"], sent[1]["id"]);
    assert_ne!(sent[0]["transaction"], sent[2]["transaction"]);
    let told = merchant.told(3).await;
    assert_eq!(told[0], told[1]);
    assert_ne!(told[0].1.transaction, told[2].1.transaction);

    sim.settle(&order.order, json!({"url": url, "late_s": 100_000, "amount_fen": 5})).await;
    let told = merchant.told(4).await;
    assert_eq!(i64::from(told[3].1.amount_fen), 5);
    assert!(told[3].1.paid_s + 99_000 < told[0].1.paid_s);
    sim.stop().await;
}

#[tokio::test]
async fn what_was_paid_is_told_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sim = start(folder.path()).await;
    let (merchant, notify) = Merchant::listen(folder.path(), u32::MAX).await;
    let order = merchant.order(&notify, 1);
    let url = order.to_url(&format!("{}/pay", sim.base), &merchant.secret);
    client().post(format!("{}/pay/confirm", sim.base)).form(&form(&url)).send().await.unwrap();
    sim.post("/inbox/messages", json!({"id": "m1", "to": "1", "text": "t"})).await;

    let second = Sim::start(config(folder.path()), &Shutdown::new()).await;
    assert!(matches!(second, Err(SimError::Lock(_))), "its folder is locked");
    sim.stop().await;

    let before = merchant.told(1).await;
    *merchant.refuse.lock().unwrap() = 0;
    let sim = start(folder.path()).await;
    let told = merchant.told(before.len() + 1).await;
    assert_eq!(told.last(), before.last());
    assert_eq!(sim.messages("").await["messages"][0]["id"], "m1");
    let page = client().get(url.replace(url.split("/pay").next().unwrap(), &sim.base)).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("已支付"));
    sim.stop().await;
}
