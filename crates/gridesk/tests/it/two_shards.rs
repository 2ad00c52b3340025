//! A customer whose accounts are in two shards sees them as one list.
use serde_json::Value;

use crate::{
    browser::log_in,
    webdriver::{Browser, DESKTOP},
    world::World,
};

fn fen(text: &str) -> i64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[tokio::test]
async fn browser_accounts_in_two_shards_are_one_list_with_one_sum() {
    let world = World::start();
    let browser = Browser::start(&world.portal, DESKTOP).await;
    // The third demonstration customer owes something.
    log_in(&browser, &world, &world.phones[2]).await;
    browser.open("/accounts").await;
    let own = browser.attribute("main ul a.row", "href").await.replace("/accounts/", "");
    let (mut other, mut proof) = (String::new(), Value::Null);
    for phone in &world.phones[3..] {
        let mut owner = world.customer(phone).await;
        other = owner.account().await;
        if world.shard_of(&other) != world.shard_of(&own) {
            proof = owner.get(&format!("/v1/accounts/{other}/bills")).await.json["bills"][0].clone();
            break;
        }
    }
    assert!(proof.is_object(), "no demonstration account is in the other shard");
    browser.open("/accounts/bind").await;
    browser.fill("#account", &other).await;
    browser.click("input[value=bill]").await;
    browser.run(&format!("document.querySelector('#month').value = {}", proof["month"])).await;
    let amount_fen = proof["amount_fen"].as_i64().unwrap();
    browser.fill("#amount", &format!("{}.{:02}", amount_fen / 100, amount_fen % 100)).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/").await;
    browser.open("/accounts").await;
    let numbers: Vec<String> =
        browser.texts("main ul .grow .strong.nowrap").await.iter().map(|n| n.replace(' ', "")).collect();
    assert_eq!(numbers, [own, other]);
    let owed: i64 = browser.texts("main ul .end .strong").await.iter().map(|amount| fen(amount)).sum();
    assert!(owed > 0);
    assert_eq!(fen(&browser.text("main .figure").await), owed);
}
