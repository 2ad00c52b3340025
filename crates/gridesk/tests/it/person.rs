//! What a customer does about themselves and for others, through every zone of a whole system.
use serde_json::{Value, json};

use crate::world::{Client, World, key};

/// The month and amount of an account's latest bill, as a proof.
async fn proof(client: &mut Client, account: &str) -> Value {
    let bills = client.get(&format!("/v1/accounts/{account}/bills?limit=1")).await;
    let latest = &bills.json["bills"][0];
    json!({ "proof": { "latest_bill": { "month": latest["month"], "amount_fen": latest["amount_fen"] } } })
}

async fn accounts(client: &mut Client) -> Vec<String> {
    let said = client.get("/v1/accounts").await;
    let list = said.json["accounts"].as_array().unwrap_or_else(|| panic!("{said:?}"));
    list.iter().map(|bound| bound["account"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_accounts_come_and_go_and_are_paid_by_others() {
    let world = World::start();
    unbinding(&world).await;
    paying_for_another(&world).await;
}

async fn unbinding(world: &World) {
    let mut one = world.customer(&world.phones[0]).await;
    let mine = accounts(&mut one).await;
    assert_eq!(mine.len(), 2, "a home and a second one, each in its own bucket");
    let second = mine[1].clone();
    let right = proof(&mut one, &second).await;
    let path = format!("/v1/accounts/{second}/unbind");
    let mut wrong = right.clone();
    wrong["proof"]["latest_bill"]["amount_fen"] = json!(1);
    let refused = one.post(&path, &key("u"), 10, &wrong).await;
    assert_eq!((refused.status, refused.code()), (422, "proof_wrong"), "{refused:?}");
    for bad in [json!({}), json!({ "proof": {} }), json!({ "proof": "yes" })] {
        let refused = one.post(&path, &key("u"), 10, &bad).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "{refused:?}");
    }
    let mut other = world.customer(&world.phones[1]).await;
    for path in [path.clone(), format!("{path}/start")] {
        let body = if path.ends_with("start") { json!({}) } else { right.clone() };
        let refused = other.post(&path, &key("u"), 10, &body).await;
        assert_eq!((refused.status, refused.code()), (404, "not_found"), "{refused:?}");
    }
    assert_eq!(accounts(&mut one).await, mine, "nothing was done");

    let same = key("u");
    let done = one.post(&path, &same, 10, &right).await;
    assert_eq!((done.status, &done.json["account"]), (200, &json!(second)), "{done:?}");
    assert_eq!(accounts(&mut one).await, mine[..1], "off the list by the time it is answered");
    let again = one.post(&path, &same, 10, &right).await;
    assert_eq!((again.status, &again.json), (200, &done.json), "the same request again is answered again");
    let summary = one.get(&format!("/v1/accounts/{second}")).await;
    assert_eq!((summary.status, summary.code()), (404, "not_found"), "{summary:?}");

    let bound = one.post(&format!("/v1/accounts/{second}/bind"), &key("b"), 10, &right).await;
    assert_eq!(bound.status, 200, "{bound:?}");
    assert_eq!(accounts(&mut one).await, mine);
}

async fn paying_for_another(world: &World) {
    let mut payer = world.customer(&world.phones[2]).await;
    let mut holder = world.customer(&world.phones[3]).await;
    let theirs = holder.account().await;
    let order = json!({ "amount_fen": 1234, "provider": "sim-pay" });
    let orders = format!("/v1/accounts/{theirs}/payments");
    // Who has not looked is told as of an account that is none.
    let blind = payer.post(&orders, &key("p"), 10, &order).await;
    assert_eq!((blind.status, blind.code()), (404, "not_found"), "{blind:?}");
    let nobody = protocol::AccountId::mint(33, 9_999_999_996).unwrap();
    let no_list = payer.get(&format!("/v1/accounts/{nobody}/payments")).await;
    let list = payer.get(&orders).await;
    assert_eq!((list.status, &list.json["detail"]), (404, &no_list.json["detail"]), "{list:?}");

    let payee = payer.get(&format!("/v1/payees/{theirs}")).await;
    assert_eq!(payee.status, 200, "{payee:?}");
    let whole = holder.get(&format!("/v1/accounts/{theirs}")).await;
    for (said, known) in [("holder", "holder"), ("address", "address")] {
        assert_eq!(payee.json[said], whole.json[known]);
        assert!(payee.json[said].as_str().unwrap().contains('*'), "masked: {payee:?}");
    }
    assert_eq!(payee.json["due_fen"], whole.json["balance"]["due_fen"]);
    let asked = payer.request(reqwest::Method::GET, &format!("/v1/payees/{theirs}"));
    assert_eq!(crate::world::send(asked).await.status, 401, "not without a session");

    let ordered = payer.post(&orders, &key("p"), 10, &order).await;
    assert_eq!(ordered.status, 201, "{ordered:?}");
    let payment = ordered.json["payment"].as_str().unwrap().to_owned();
    let pay_url = ordered.json["pay_url"].as_str().unwrap().to_owned();
    let settled = payer.settle(&payment, &pay_url, json!({})).await;
    assert!(settled.status < 300, "{settled:?}");
    world.settled(std::time::Duration::from_secs(20)).await;

    let shown = payer.get(&format!("/v1/payments/{payment}")).await;
    let (receipt, paid) = (&shown.json["payment"]["receipt"], &shown.json["payment"]);
    assert_eq!((&paid["state"], &paid["by_another"]), (&json!("paid"), &json!(false)), "{shown:?}");
    assert_eq!(
        (&receipt["paid_fen"], &receipt["bills"], &receipt["credit_fen"]),
        (&json!(1234), &json!([]), &json!(0))
    );
    let list = payer.get(&orders).await;
    assert_eq!(list.json["payments"].as_array().map(Vec::len), Some(1), "their own and no other: {list:?}");
    let seen = holder.get(&format!("/v1/payments/{payment}")).await;
    let (receipt, paid) = (&seen.json["payment"]["receipt"], &seen.json["payment"]);
    assert_eq!((&paid["state"], &paid["by_another"]), (&json!("paid"), &json!(true)), "{seen:?}");
    let parts: i64 =
        receipt["bills"].as_array().unwrap().iter().map(|p| p["amount_fen"].as_i64().unwrap()).sum();
    assert_eq!(parts + receipt["credit_fen"].as_i64().unwrap(), 1234, "the holder sees what it did");
    let list = holder.get(&orders).await;
    assert!(list.text.contains(&payment), "{list:?}");
    for path in [format!("/v1/accounts/{theirs}"), format!("/v1/accounts/{theirs}/bills")] {
        assert_eq!(payer.get(&path).await.status, 404, "a payer is no holder: {path}");
    }
    let mut third = world.customer(&world.phones[4]).await;
    assert_eq!(third.get(&format!("/v1/payments/{payment}")).await.status, 404);

    // Numbers tried out: the one and nineteen more in a day, found or not; then all look alike.
    for n in 0..19u64 {
        let number = protocol::AccountId::mint(33, 9_100_000_000 + n).unwrap();
        let said = payer.get(&format!("/v1/payees/{number}")).await;
        assert_eq!((said.status, said.code()), (404, "not_found"), "{n}: {said:?}");
    }
    let others = third.account().await;
    let unknown = protocol::AccountId::mint(33, 9_200_000_000).unwrap();
    let [known, unknown] = [others, unknown.to_string()].map(|number| format!("/v1/payees/{number}"));
    let (known, unknown) = (payer.get(&known).await, payer.get(&unknown).await);
    assert_eq!((known.status, known.code()), (429, "too_many_attempts"), "{known:?}");
    assert_eq!((unknown.status, &unknown.json["detail"]), (429, &known.json["detail"]), "{unknown:?}");
    assert_eq!(payer.get(&format!("/v1/payees/{theirs}")).await.status, 200, "one asked about stays open");
}
