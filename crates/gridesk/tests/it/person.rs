//! What a customer does about themselves and for others, through every zone of a whole system.
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Client, Said, World, key, send};

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
    data_and_sessions(&world).await;
    another_phone(&world).await;
    deletion(&world).await;
}

async fn put(client: &mut Client, path: &str, body: &Value) -> Said {
    let request = client.own(Method::PUT, path).header("idempotency-key", key("put"));
    let said = send(request.header("prefer", "wait=10").json(body)).await;
    client.seen.merge(&said.token());
    said
}

async fn data_and_sessions(world: &World) {
    let phone = &world.phones[9];
    let mut one = world.customer(phone).await;
    let mut other = world.customer(phone).await;
    let held = one.get("/v1/person").await;
    assert_eq!((held.status, &held.json["phone"]), (200, &json!(phone)), "{held:?}");
    let notices =
        json!({ "bill_issued": true, "payment_received": true, "outage": true, "request_progress": true });
    assert_eq!(held.json["preferences"], json!({ "language": null, "elder": false, "notices": notices }));
    assert_eq!(held.json["accounts"].as_array().map(Vec::len), Some(1));
    let corrected = put(&mut one, "/v1/person", &json!({ "name": "样例", "language": "en" })).await;
    assert_eq!(corrected.status, 200, "{corrected:?}");
    assert_eq!(other.get("/v1/person").await.json["name"], "样例", "on every device");
    for bad in [
        json!({}),
        json!({ "name": "a\u{202e}b", "language": null }),
        json!({ "name": "x".repeat(61), "language": null }),
        json!({ "name": "x", "language": "fr" }),
        json!({ "name": "x", "language": null, "phone": "1" }),
    ] {
        let refused = put(&mut one, "/v1/person", &bad).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "{bad}: {refused:?}");
    }
    let mut wanted = json!({ "language": "zh", "elder": true, "notices": notices });
    wanted["notices"]["outage"] = json!(false);
    let set = put(&mut one, "/v1/person/preferences", &wanted).await;
    assert_eq!(set.status, 200, "{set:?}");
    assert_eq!(other.get("/v1/person/preferences").await.json, wanted);
    wanted["notices"].as_object_mut().unwrap().remove("outage");
    let refused = put(&mut one, "/v1/person/preferences", &wanted).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "all or nothing: {refused:?}");

    let sessions = one.get("/v1/sessions").await.json["sessions"].as_array().unwrap().clone();
    let current: Vec<_> = sessions.iter().filter(|s| s["is_current"] == true).collect();
    assert_eq!((sessions.len(), current.len()), (2, 1), "{sessions:?}");
    let refused =
        one.post("/v1/sessions/end-other", &key("e"), 10, &json!({ "session": current[0]["session"] })).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{refused:?}");
    let ended = one.post("/v1/sessions/end-other", &key("e"), 10, &json!({ "session": null })).await;
    assert_eq!((ended.status, &ended.json["ended"]), (200, &json!(1)), "{ended:?}");
    assert_eq!(other.get("/v1/accounts").await.status, 401, "ended at once");
    assert_eq!(one.get("/v1/accounts").await.status, 200);
}

async fn another_phone(world: &World) {
    let (old, new) = (&world.phones[10], "13900002222");
    let mut one = world.customer(old).await;
    let mine = accounts(&mut one).await;
    let taken = &world.phones[11];
    world.customer(taken).await;
    for (phone, status, code) in [(taken.as_str(), 409, "conflict"), (new, 200, "")] {
        let before = one.inbox_end(phone).await;
        let started = one.post("/v1/person/phone/start", &key("p"), 10, &json!({ "phone": phone })).await;
        assert_eq!(started.status, 200, "{started:?}");
        let sent = one.code(phone, before).await;
        let body = json!({ "challenge": started.json["challenge"], "code": sent });
        let changed = one.post("/v1/person/phone", &key("p"), 10, &body).await;
        assert_eq!((changed.status, changed.code()), (status, code), "{phone}: {changed:?}");
    }
    assert_eq!(one.get("/v1/person").await.json["phone"], new);
    world.carried(Duration::from_secs(20)).await;
    let mut again = world.customer(new).await;
    assert_eq!(accounts(&mut again).await, mine, "the same person by the new phone");
    assert_eq!(again.get("/v1/sessions").await.json["sessions"].as_array().map(Vec::len), Some(2));
    let mut anew = world.customer(old).await;
    assert_eq!(accounts(&mut anew).await, Vec::<String>::new(), "the old phone begins anew");
}

async fn deletion(world: &World) {
    let phone = &world.phones[0];
    let mut one = world.customer(phone).await;
    let mine = accounts(&mut one).await;
    assert_eq!(mine.len(), 2);
    let before = one.inbox_end(phone).await;
    let started = one.post("/v1/person/delete/start", &key("d"), 10, &json!({})).await;
    assert_eq!(started.status, 200, "{started:?}");
    assert_eq!(started.json["phone"], format!("{}****{}", &phone[..3], &phone[7..]));
    let code = one.code(phone, before).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let body = |code: &str| json!({ "challenge": started.json["challenge"], "code": code });
    let refused = one.post("/v1/person/delete", &key("d"), 10, &body(wrong)).await;
    assert_eq!((refused.status, refused.code()), (422, "code_wrong"), "{refused:?}");
    let mut other = world.customer(&world.phones[12]).await;
    let refused = other.post("/v1/person/delete", &key("d"), 10, &body(&code)).await;
    assert_eq!((refused.status, refused.code()), (422, "code_expired"), "{refused:?}");
    assert_eq!(accounts(&mut one).await, mine, "nothing was done");
    // The center dies just as it is accepted: whatever is left of it is done afterwards.
    let accepted = one.post("/v1/person/delete", &key("d"), 0, &body(&code)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    world.kill("center");
    world.carried(Duration::from_secs(60)).await;
    assert_eq!(one.get("/v1/accounts").await.status, 401, "logged out");
    let mut anew = world.customer(phone).await;
    assert_eq!(accounts(&mut anew).await, Vec::<String>::new());
    for account in &mine {
        assert_eq!(anew.get(&format!("/v1/accounts/{account}")).await.status, 404);
    }
    let held = anew.get("/v1/person").await;
    assert_eq!((&held.json["phone"], &held.json["payees"]), (&json!(phone), &json!([])));
    assert!(world.ledger().await.0.iter().all(|sum| *sum == 0));
    // And the account can be bound by whoever shows proof, with all its bills.
    let payee = anew.get(&format!("/v1/payees/{}", mine[0])).await;
    assert_eq!(payee.status, 200, "the account itself is there: {payee:?}");
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
    let asked = payer.request(Method::GET, &format!("/v1/payees/{theirs}"));
    assert_eq!(send(asked).await.status, 401, "not without a session");

    let ordered = payer.post(&orders, &key("p"), 10, &order).await;
    assert_eq!(ordered.status, 201, "{ordered:?}");
    let payment = ordered.json["payment"].as_str().unwrap().to_owned();
    let pay_url = ordered.json["pay_url"].as_str().unwrap().to_owned();
    let settled = payer.settle(&payment, &pay_url, json!({})).await;
    assert!(settled.status < 300, "{settled:?}");
    world.carried(Duration::from_secs(20)).await;

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
