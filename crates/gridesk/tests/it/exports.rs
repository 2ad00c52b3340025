//! Files made for customers, through every zone of a whole system: asked for, made by the center, fetched over the gate.
use std::time::Duration;

use domain::green_button;
use protocol::file::place;
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::world::{Client, World, key};

const LONG: Duration = Duration::from_secs(60);

/// Waits until a file is not being made any more; how it stands then.
pub(crate) async fn settled(client: &mut Client, export: &str) -> Value {
    comes_to(client, export, |state| state != "making").await
}

async fn comes_to(client: &mut Client, export: &str, is_there: impl Fn(&str) -> bool) -> Value {
    let waiting = async {
        loop {
            let said = client.get(&format!("/v1/exports/{export}")).await;
            let state = said.json["export"]["state"].as_str().unwrap_or_else(|| panic!("{said:?}"));
            assert!(!said.text.contains("ticket"), "a ticket is the edge's alone: {}", said.text);
            if is_there(state) {
                return said.json["export"].clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{export} stays as it is"))
}

async fn ask(client: &mut Client, account: &str, what: &Value) -> Value {
    let path = format!("/v1/accounts/{account}/exports");
    let said = client.post(&path, &key("export"), 10, &json!({ "what": what })).await;
    assert_eq!(said.status, 201, "{said:?}");
    let export = said.json["export"]["export"].as_str().unwrap();
    assert_eq!(said.header("location"), Some(format!("/v1/exports/{export}").as_str()));
    settled(client, export).await
}

/// The bytes of a file that is there, over HTTP; they are those that the center put in its place.
async fn content(world: &World, client: &Client, export: &Value) -> Vec<u8> {
    let path = format!("/v1/exports/{}/content", export["export"].as_str().unwrap());
    let said = client.own(Method::GET, &path).send().await.unwrap();
    assert_eq!(said.status(), 200, "{}", said.text().await.unwrap());
    let named = said.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().to_owned();
    assert!(named.contains(export["name"].as_str().unwrap()), "{named}");
    let bytes = said.bytes().await.unwrap().to_vec();
    assert_eq!(json!(bytes.len()), export["size"]);
    let made = world.data().join("outward").join(place(blake3::hash(&bytes).as_bytes()));
    assert_eq!(std::fs::read(&made).unwrap(), bytes, "{}", made.display());
    bytes
}

/// An account's bill that is paid, and its energy.
async fn paid_bill(client: &mut Client, account: &str) -> (String, Value) {
    let bills = client.get(&format!("/v1/accounts/{account}/bills")).await.json;
    let bills = bills["bills"].as_array().unwrap();
    let paid = bills.iter().find(|bill| bill["state"] == "paid").unwrap_or_else(|| panic!("{bills:?}"));
    (paid["bill"].as_str().unwrap().to_owned(), paid.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_use_and_invoices_are_taken_away_as_files() {
    let world = World::start_with(&[("GRIDESK_CENTER__EXPORT_KEEP_S", "20")]);
    let mut customer = world.customer(&world.phones[0]).await;
    let account = customer.account().await;
    let (bill, head) = paid_bill(&mut customer, &account).await;
    let month: jiff::civil::Date = format!("{}-01", head["month"].as_str().unwrap()).parse().unwrap();
    let (from, to) = (month.first_of_month(), month.last_of_month());

    let csv = ask(&mut customer, &account, &json!({ "usage_csv": { "from": from, "to": to } })).await;
    assert_eq!(csv["state"], "ready", "{csv}");
    let text = String::from_utf8(content(&world, &customer, &csv).await).unwrap();
    assert!(text.starts_with('\u{feff}'), "Excel knows by it that it is UTF-8");
    let wh = |row: &str| row.split(',').nth(3).unwrap().replace('.', "").parse::<i64>().unwrap();
    assert_eq!(json!(text.lines().skip(1).map(wh).sum::<i64>()), head["energy_wh"], "what the bill charged");

    let green = ask(&mut customer, &account, &json!({ "green_button": { "from": from, "to": to } })).await;
    let file = content(&world, &customer, &green).await;
    let read = green_button::read(&file[..], Default::default()).unwrap();
    assert_eq!(json!(read.total().0), head["energy_wh"]);
    assert_eq!(read.days.len(), usize::try_from(to.day()).unwrap());

    let invoice = ask(&mut customer, &account, &json!({ "invoice": { "bill": bill } })).await;
    let pdf = content(&world, &customer, &invoice).await;
    assert!(pdf.starts_with(b"%PDF-") && pdf.windows(6).any(|w| w == b"SAMPLE"));
    let none = json!({ "usage_csv": { "from": "2001-01-01", "to": "2001-01-31" } });
    let none = ask(&mut customer, &account, &none).await;
    assert_eq!((&none["state"], &none["failure"]), (&json!("failed"), &json!("no_readings")));
    let refused = customer.get(&format!("/v1/exports/{}/content", none["export"].as_str().unwrap())).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{refused:?}");

    others_get_nothing(&world, &account, &invoice).await;
    what_cannot_be_is_refused(&world, &mut customer, &account).await;

    // The time of the first is over: it is gone, from here and from the disk.
    let export = csv["export"].as_str().unwrap();
    comes_to(&mut customer, export, |state| state == "expired").await;
    let gone = customer.get(&format!("/v1/exports/{export}/content")).await;
    assert_eq!((gone.status, gone.code()), (410, "export_gone"), "{gone:?}");
    let place = world.data().join("outward").join(place(blake3::hash(text.as_bytes()).as_bytes()));
    let removed = async {
        while place.exists() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, removed).await.expect("the bytes of what expired are removed");
    let list = customer.get(&format!("/v1/accounts/{account}/exports")).await.json;
    assert_eq!(list["exports"].as_array().unwrap().len(), 4, "{list}");
}

async fn others_get_nothing(world: &World, account: &str, export: &Value) {
    let mut other = world.customer(&world.phones[1]).await;
    let export = export["export"].as_str().unwrap();
    for path in [
        format!("/v1/exports/{export}"),
        format!("/v1/exports/{export}/content"),
        format!("/v1/accounts/{account}/exports"),
    ] {
        let said = other.get(&path).await;
        assert_eq!((said.status, said.code()), (404, "not_found"), "{path}: {said:?}");
    }
    let what = json!({ "what": { "usage_csv": { "from": "2026-10-01", "to": "2026-10-31" } } });
    let said = other.post(&format!("/v1/accounts/{account}/exports"), &key("export"), 10, &what).await;
    assert_eq!((said.status, said.code()), (404, "not_found"), "{said:?}");
    let mut nobody = world.client();
    assert_eq!(nobody.get(&format!("/v1/exports/{export}/content")).await.status, 401);
}

async fn what_cannot_be_is_refused(world: &World, customer: &mut Client, account: &str) {
    let path = format!("/v1/accounts/{account}/exports");
    for (from, to) in [("2026-10-02", "2026-10-01"), ("2020-01-01", "2026-10-31")] {
        let what = json!({ "what": { "green_button": { "from": from, "to": to } } });
        let said = customer.post(&path, &key("export"), 10, &what).await;
        assert_eq!((said.status, said.code()), (400, "invalid_request"), "{said:?}");
    }
    // The third demonstration customer is in arrears.
    let mut late = world.customer(&world.phones[2]).await;
    let account = late.account().await;
    let bills = late.get(&format!("/v1/accounts/{account}/bills")).await.json;
    let overdue = bills["bills"].as_array().unwrap().iter().find(|bill| bill["state"] == "overdue").unwrap();
    let what = json!({ "what": { "invoice": { "bill": overdue["bill"] } } });
    let said = late.post(&format!("/v1/accounts/{account}/exports"), &key("export"), 10, &what).await;
    assert_eq!((said.status, said.code()), (409, "conflict"), "{said:?}");
}
