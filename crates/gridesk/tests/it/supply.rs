//! Power cut off for arrears through the administration socket, paid for over the API, and back by the schedule.
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Client, World, key};

async fn supply(client: &mut Client, account: &str) -> Value {
    client.get(&format!("/v1/accounts/{account}")).await.json["supply"].clone()
}

#[tokio::test]
async fn who_pays_what_is_overdue_is_reconnected() {
    let world = World::start();
    // The third demonstration customer is in arrears.
    let mut customer = world.customer(&world.phones[2]).await;
    let account = customer.account().await;
    let cut = async |account: &str| {
        let socket = world.data().join("run/center-admin.sock");
        let path = format!("/admin/supply/cut?account={account}");
        gridesk::unix_http::post(&socket, &path, "text/plain", http_body_util::Full::new(Bytes::new()))
            .await
            .unwrap()
            .status
    };
    assert_eq!(supply(&mut customer, &account).await["state"], "connected");
    let paid_up = world.customer(&world.phones[1]).await.account().await;
    assert_eq!(cut(&paid_up).await, 409, "nothing is overdue there");
    assert_eq!(cut("0000000000000").await, 400);
    assert_eq!(cut(&account).await, 200);
    assert_eq!(supply(&mut customer, &account).await["state"], "cut");

    let summary = customer.get(&format!("/v1/accounts/{account}")).await.json;
    let balance = &summary["balance"];
    let overdue = balance["overdue_fen"].as_i64().unwrap();
    assert!(balance["late_fee_fen"].as_i64().unwrap() > 0, "{balance}");
    let order = json!({ "amount_fen": overdue, "provider": "sim-pay" });
    let ordered = customer.post(&format!("/v1/accounts/{account}/payments"), &key("pay"), 10, &order).await;
    assert_eq!(ordered.status, 201, "{ordered:?}");
    let (payment, url) =
        (ordered.json["payment"].as_str().unwrap(), ordered.json["pay_url"].as_str().unwrap());
    customer.settle(payment, url, json!({})).await;
    world.settled(Duration::from_secs(20)).await;
    let after = supply(&mut customer, &account).await;
    assert_eq!(after["state"], "reconnecting", "{after}");
    let back = async {
        while supply(&mut customer, &account).await["state"] != "connected" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("the power comes back");
    let balance = customer.get(&format!("/v1/accounts/{account}")).await.json["balance"].clone();
    assert_eq!(
        (balance["overdue_fen"].as_i64(), balance["late_fee_fen"].as_i64()),
        (Some(0), Some(0)),
        "{balance}"
    );
    assert!(world.ledger().await.0.iter().all(|sum| *sum == 0));
}
