//! Automatic debit and a refund through the whole system: signed at the provider, debited by the schedule, declined, ended,
//! and money that was too much on its way back.
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use crate::world::{Client, World, key};

/// Asks until it is so, for at most 30 seconds.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Option<Value>) -> Value {
    let found = async {
        loop {
            if let Some(value) = is_so().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap_or_else(|_| panic!("{what}"))
}

async fn mandate(client: &mut Client, account: &str) -> Value {
    client.get(&format!("/v1/accounts/{account}/mandate")).await.json["mandate"].clone()
}

/// Signs at the provider, as the payer presses the button there.
async fn sign(url: &str) -> reqwest::StatusCode {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let url = Url::parse(url).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    client.post(url.join("/mandate/confirm").unwrap()).form(&pairs).send().await.unwrap().status()
}

async fn at_provider(world: &World, path: &str, body: Option<Value>) -> u16 {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post(format!("{}{path}", world.sim));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap().status().as_u16()
}

/// The account's automatic payment that is not open any more and not among `known`.
async fn debited(client: &mut Client, account: &str, known: &[Value]) -> Value {
    until("the debit", async || {
        let payments = client.get(&format!("/v1/accounts/{account}/payments")).await.json;
        let is_new = |p: &&Value| p["is_automatic"] == true && !known.contains(&p["payment"]);
        let new = payments["payments"].as_array()?.iter().find(is_new)?;
        (new["state"] != "open").then(|| new.clone())
    })
    .await
}

#[tokio::test]
async fn what_is_owed_is_debited_under_a_signed_mandate_and_a_declined_debit_is_told() {
    let world = World::start();
    // The third demonstration customer is in arrears.
    let mut customer = world.customer(&world.phones[2]).await;
    let account = customer.account().await;
    let path = format!("/v1/accounts/{account}/mandate");
    assert_eq!(mandate(&mut customer, &account).await, Value::Null);
    let nobody = json!({ "provider": "nobody", "limit_fen": 500_000 });
    assert_eq!(customer.post(&path, &key("nobody"), 10, &nobody).await.status, 400);
    let asked = json!({ "provider": "sim-pay", "limit_fen": 500_000 });
    let made = customer.post(&path, &key("mandate"), 10, &asked).await;
    assert_eq!(made.status, 200, "{made:?}");
    let (id, url) = (made.json["mandate"].as_str().unwrap(), made.json["sign_url"].as_str().unwrap());
    let declined = json!({ "reasons": ["insufficient_funds"] });
    assert_eq!(at_provider(&world, &format!("/mandates/{id}/decline"), Some(declined)).await, 303);
    assert_eq!(sign(&url.replace("limit_fen=500000", "limit_fen=900000")).await, 400, "changed on the way");
    assert_eq!(mandate(&mut customer, &account).await["state"], "unsigned");
    assert_eq!(sign(url).await, 303);
    assert_eq!(sign(url).await, 303, "pressed twice");
    let failed = debited(&mut customer, &account, &[]).await;
    assert_eq!((&failed["state"], &failed["failure"]), (&json!("failed"), &json!("insufficient_funds")));
    let row = mandate(&mut customer, &account).await;
    assert_eq!(row["last_failure"]["why"], "insufficient_funds", "{row}");
    assert!(row["next_run_ms"].as_u64() > row["last_failure"]["at_ms"].as_u64(), "{row}");
    until("the notice", async || {
        let notices = customer.get("/v1/notices").await.json;
        let told = |notice: &&Value| notice["body"]["debit_failed"]["why"] == "insufficient_funds";
        notices["notices"].as_array()?.iter().find(told).cloned()
    })
    .await;
    assert_eq!(at_provider(&world, &format!("/mandates/{id}/end"), None).await, 303);
    until("the end", async || {
        let row = mandate(&mut customer, &account).await;
        (row["state"] == "ended_there").then_some(row)
    })
    .await;
    assert_eq!(customer.post(&format!("{path}/end"), &key("end"), 10, &json!({})).await.status, 404);

    // Begun anew, it pays what is owed, late fee and all.
    let made = customer.post(&path, &key("again"), 10, &asked).await;
    assert_eq!(sign(made.json["sign_url"].as_str().unwrap()).await, 303);
    let paid = debited(&mut customer, &account, &[failed["payment"].clone()]).await;
    assert_eq!((&paid["state"], &paid["receipt"]["credit_fen"]), (&json!("paid"), &json!(0)), "{paid}");
    let balance = customer.get(&format!("/v1/accounts/{account}")).await.json["balance"].clone();
    assert_eq!((&balance["overdue_fen"], &balance["credit_fen"]), (&json!(0), &json!(0)), "{balance}");
    assert_eq!(customer.post(&format!("{path}/end"), &key("end-2"), 10, &json!({})).await.status, 200);
    assert!(world.ledger().await.0.iter().all(|sum| *sum == 0));
}

#[tokio::test]
async fn a_second_debit_goes_back_to_who_paid() {
    let world = World::start();
    let mut customer = world.customer(&world.phones[1]).await;
    let account = customer.account().await;
    // What is owed is paid first: on some days of a month there is a new bill.
    let balance = customer.get(&format!("/v1/accounts/{account}")).await.json["balance"].clone();
    if let Some(owed @ 1..) = balance["due_fen"].as_i64() {
        let order = json!({ "amount_fen": owed, "provider": "sim-pay" });
        let first =
            customer.post(&format!("/v1/accounts/{account}/payments"), &key("owed"), 10, &order).await;
        let (payment, url) =
            (first.json["payment"].as_str().unwrap(), first.json["pay_url"].as_str().unwrap());
        customer.settle(payment, url, json!({})).await;
        world.settled(Duration::from_secs(20)).await;
    }
    let order = json!({ "amount_fen": 1200, "provider": "sim-pay" });
    let ordered = customer.post(&format!("/v1/accounts/{account}/payments"), &key("pay"), 10, &order).await;
    let (payment, url) =
        (ordered.json["payment"].as_str().unwrap(), ordered.json["pay_url"].as_str().unwrap());
    customer.settle(payment, url, json!({ "second_debit": true })).await;
    world.settled(Duration::from_secs(20)).await;
    let path = format!("/v1/payments/{payment}");
    let before = customer.get(&path).await.json;
    assert_eq!(before["refundable_fen"], 2400, "nothing was owed: {before}");
    let back = async |client: &mut Client, key: &str, fen: i64| {
        client.post(&format!("{path}/refunds"), key, 10, &json!({ "amount_fen": fen })).await
    };
    let mut stranger = world.customer(&world.phones[2]).await;
    assert_eq!(back(&mut stranger, &key("stranger"), 100).await.status, 404);
    assert_eq!(back(&mut customer, &key("more"), 2401).await.status, 409);
    let once = key("back");
    let asked = back(&mut customer, &once, 1200).await;
    assert_eq!((asked.status, asked.json["amount_fen"].as_i64()), (200, Some(1200)), "{asked:?}");
    assert_eq!(back(&mut customer, &once, 1200).await.json, asked.json, "asked twice, sent once");
    let done = until("the money back", async || {
        let shown = customer.get(&path).await.json;
        (shown["payment"]["refunds"][0]["state"] == "done").then_some(shown)
    });
    let done = done.await;
    assert_eq!(done["payment"]["refunds"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(done["refundable_fen"], 1200);
    let balance = customer.get(&format!("/v1/accounts/{account}")).await.json["balance"].clone();
    assert_eq!(balance["credit_fen"], 1200, "{balance}");
    assert!(world.ledger().await.0.iter().all(|sum| *sum == 0));
}

#[tokio::test]
async fn payments_are_listed_page_by_page() {
    let world = World::start();
    let mut customer = world.customer(&world.phones[0]).await;
    let account = customer.account().await;
    let path = format!("/v1/accounts/{account}/payments");
    let ids = |page: &Value| -> Vec<String> {
        let payments = page["payments"].as_array().unwrap().iter();
        payments.map(|payment| payment["payment"].as_str().unwrap().to_owned()).collect()
    };
    let whole = customer.get(&path).await.json;
    let (mut paged, mut before) = (Vec::new(), String::new());
    loop {
        let page = customer.get(&format!("{path}?limit=5{before}")).await.json;
        paged.extend(ids(&page));
        let Some(next) = page["next_before"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert!(paged.len() > 10 && paged == ids(&whole), "{paged:?}");
    assert_eq!(customer.get(&format!("{path}?limit=51")).await.status, 400);
    let mut stranger = world.customer(&world.phones[1]).await;
    assert_eq!(stranger.get(&path).await.status, 404);
}
