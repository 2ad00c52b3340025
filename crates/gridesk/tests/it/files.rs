//! Files through every zone of a whole system: sent in, audited, decided by a person, in the store, attached, receipted.
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use data_encoding::BASE64;
use futures_util::FutureExt;
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    browser::log_in,
    client::{said, script, tool},
    webdriver::{Browser, Kind},
    world::{Client, World, key},
};

const LONG: Duration = Duration::from_secs(60);

/// Makes a request, to which files can be sent.
pub(crate) async fn question(client: &mut Client) -> String {
    let answers = json!([{ "field": "topic", "value": "tier" }, { "field": "question", "value": "?" }]);
    let body = json!({ "form": "billing-question", "account": null, "answers": answers });
    let key = key("q");
    loop {
        let made = client.post("/v1/requests", &key, 10, &body).await;
        if made.status == 201 {
            return made.json["request"].as_str().unwrap().to_owned();
        }
        assert!(made.is_not_now(), "{made:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends a file by tus in one go; gives its address.
pub(crate) async fn upload(client: &Client, request: &str, name: &str, bytes: &[u8]) -> String {
    let metadata =
        format!("request {},filename {}", BASE64.encode(request.as_bytes()), BASE64.encode(name.as_bytes()));
    let key = key("upload");
    loop {
        let sent = client
            .own(Method::POST, "/v1/files")
            .header("tus-resumable", "1.0.0")
            .header("idempotency-key", &key)
            .header("upload-length", bytes.len())
            .header("upload-metadata", &metadata)
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
            .body(bytes.to_vec())
            .send()
            .await;
        match sent {
            Ok(sent) if sent.status() == 201 => {
                assert_eq!(sent.headers()["upload-offset"], bytes.len().to_string().as_str());
                return sent.headers()["location"].to_str().unwrap().to_owned();
            }
            // Something was killed just now: under the same key it is the same file.
            Ok(sent) if sent.status().is_server_error() => {}
            Ok(sent) => panic!("{}", sent.text().await.unwrap()),
            Err(error) => assert!(!error.is_builder(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn files(client: &mut Client, request: &str) -> Vec<Value> {
    let said = client.get(&format!("/v1/requests/{request}")).await;
    said.json["files"].as_array().unwrap_or_else(|| panic!("{said:?}")).clone()
}

/// Waits until the request's only file is in that state.
pub(crate) async fn comes_to(client: &mut Client, request: &str, state: &str) -> Value {
    let waiting = async {
        loop {
            let found = files(client, request).await;
            if found.len() == 1 && found[0]["state"] == state {
                return found[0].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{request} never came to {state}"))
}

/// Where the intranet's store keeps what has this content.
fn stored(world: &World, bytes: &[u8]) -> PathBuf {
    let hash = blake3::hash(bytes).to_hex().to_string();
    world.data().join("inner/store").join(&hash[..2]).join(&hash[2..])
}

fn on_edge(world: &World, address: &str) -> PathBuf {
    world.data().join("edge/files").join(address.rsplit('/').next().unwrap())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Readings as a table: what customers send, and what the rules let pass.
pub(crate) fn table(lines: usize) -> Vec<u8> {
    let line = |n: usize| format!("2026-11-{:02},{}\n", n % 28 + 1, n.wrapping_mul(2_654_435_761) % 100_000);
    (0..lines).map(line).collect::<String>().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_a_file_crosses_and_the_edge_forgets_it() {
    let world = World::start_with(&[("GRIDESK_EDGE__FILES__KEEP_AFTER_RECEIPT", "1s")]);
    let mut client = world.customer(&world.phones[0]).await;
    let request = question(&mut client).await;
    let bytes = table(60_000);
    let address = upload(&client, &request, "读数 ../../x.csv", &bytes).await;
    let file = comes_to(&mut client, &request, "stored").await;
    assert_eq!((&file["name"], &file["size"]), (&json!("读数 ../../x.csv"), &json!(bytes.len())));
    assert_eq!(std::fs::read(stored(&world, &bytes)).unwrap(), bytes);
    let steps = client.get(&format!("/v1/requests/{request}")).await.json["steps"].clone();
    assert!(steps.as_array().unwrap().iter().any(|step| step["kind"] == "file"), "{steps}");
    let left = on_edge(&world, &address);
    until("the edge's copy is gone", || !left.exists()).await;

    let refused = question(&mut client).await;
    let address = upload(&client, &refused, "invoice.pdf", b"MZ\x90\x00 no invoice at all").await;
    let file = comes_to(&mut client, &refused, "ended").await;
    assert!(file["why"].as_str().unwrap().starts_with("kind"), "{file}");
    until("a refused file is gone", || !on_edge(&world, &address).exists()).await;
    let status = gridesk::gate_status::status(&world.data(), true).await.unwrap();
    let all = status.join("\n");
    assert!(all.contains("\"stored\":1") && all.contains("\"half\":\"inner-1\""), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_a_tus_client_of_others_goes_on_where_the_line_broke() {
    let world = World::start();
    let mut client = world.customer(&world.phones[0]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut sent = Vec::new();
    for (name, lines) in [("用电读数.csv", 60_000), ("checked.csv", 30_000)] {
        let (request, bytes) = (question(&mut client).await, table(lines));
        std::fs::write(folder.path().join(name), &bytes).unwrap();
        sent.push((request, name, bytes));
    }
    let mut uploads = Command::new(tool("python"));
    uploads
        .arg(script("uploads.py"))
        .args([&world.portal, client.access.as_ref().unwrap()])
        .arg(folder.path());
    for (request, name, _) in &sent {
        uploads.arg(request).arg(folder.path().join(name));
    }
    // Nothing of this machine's settings stands between the client and its own line.
    let gone = uploads.env("NO_PROXY", "127.0.0.1").output().unwrap();
    assert!(gone.status.success(), "{}", said(&gone));
    assert_eq!(String::from_utf8_lossy(&gone.stdout).lines().count(), 2, "{}", said(&gone));
    for (request, name, bytes) in &sent {
        let file = comes_to(&mut client, request, "stored").await;
        assert_eq!((&file["name"], &file["size"]), (&json!(name), &json!(bytes.len())));
        assert_eq!(std::fs::read(stored(&world, bytes)).unwrap(), *bytes);
        let steps = client.get(&format!("/v1/requests/{request}")).await.json["steps"].clone();
        assert!(steps.as_array().unwrap().iter().any(|step| step["kind"] == "file"), "{steps}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_killed_halves_cost_no_file() {
    let world = World::start();
    let mut client = world.customer(&world.phones[0]).await;
    let mut sent = Vec::new();
    for n in 0..12 {
        let request = question(&mut client).await;
        let bytes = table(2_000 + n * 40_000);
        upload(&client, &request, "readings.csv", &bytes).await;
        sent.push((request, bytes));
        if n % 3 == 1 {
            world.kill(["outer", "inner", "edge", "center"][n / 3]);
            world.settled(LONG).await;
            answers(&mut client).await;
        }
    }
    for (request, bytes) in &sent {
        comes_to(&mut client, request, "stored").await;
        assert_eq!(std::fs::read(stored(&world, bytes)).unwrap(), *bytes);
    }
    assert_eq!(walk(&world.data().join("inner/store")).len(), sent.len(), "nothing else is visible");
}

/// Gates are added and taken away while customers ask and send: nobody is refused, and nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_gates_come_and_go_unnoticed() {
    let world = World::start();
    let mut client = world.customer(&world.phones[0]).await;
    let request = question(&mut client).await;
    let mut asking = world.customer(&world.phones[1]).await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let asked = tokio::spawn(async move {
        let mut stopped = std::pin::pin!(stopped);
        let mut answers = 0;
        while stopped.as_mut().now_or_never().is_none() {
            let said = asking.get("/v1/accounts").await;
            assert_eq!(said.status, 200, "{said:?}");
            answers += 1;
        }
        answers
    });
    let mut sent = Vec::new();
    for (n, gates) in [1, 3, 2, 4, 1].into_iter().enumerate() {
        let said = gridesk::up::control::scale(&world.data(), gates).await.unwrap();
        assert_eq!(said, format!("{gates} gates"));
        for m in 0..4 {
            let bytes = table(1_000 + n * 20_000 + m);
            upload(&client, &request, "readings.csv", &bytes).await;
            sent.push(bytes);
        }
    }
    let all_stored = async {
        while !files(&mut client, &request).await.iter().all(|file| file["state"] == "stored") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, all_stored).await.expect("not all files are stored");
    stop.send(()).unwrap();
    assert!(asked.await.unwrap() > 10);
    for bytes in &sent {
        assert_eq!(std::fs::read(stored(&world, bytes)).unwrap(), *bytes);
    }
    assert_eq!(walk(&world.data().join("inner/store")).len(), sent.len());
    let steps = client.get(&format!("/v1/requests/{request}")).await.json["steps"].clone();
    let steps = steps.as_array().unwrap();
    assert_eq!(steps.iter().filter(|step| step["kind"] == "file").count(), sent.len());
    let status = gridesk::gate_status::status(&world.data(), true).await.unwrap().join("\n");
    assert!(status.contains("outer-1") && !status.contains("outer-2"), "{status}");
    assert!(gridesk::up::control::scale(&world.data(), 0).await.is_err());
}

/// Waits until the edge serves again.
async fn answers(client: &mut Client) {
    let waiting = async {
        while client.get("/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("the edge never came back"));
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_a_document_is_sent_approved_and_stored() {
    let world = World::start();
    let phone = &world.phones[0];
    let mut client = world.customer(phone).await;
    let request = question(&mut client).await;
    let folder = tempfile::tempdir().unwrap();
    // A table that computes when it is opened: for a person to look at.
    let document = folder.path().join("申请书.csv");
    let bytes = b"meter,sum\n1,=SUM(A1:A9)\n".to_vec();
    std::fs::write(&document, &bytes).unwrap();
    let browser = Browser::start(&world.portal, Kind { is_phone: true, has_script: true }).await;
    log_in(&browser, &world, phone).await;
    browser.open(&format!("/requests/{request}")).await;
    browser.choose_file("#file", &document).await;
    // The bar at the foot of a phone's screen lies over the button until one scrolls.
    browser.run("document.querySelector('#files form.line-top').requestSubmit()").await;
    browser.until_at(|url| url.contains(&request)).await;
    until_text(&browser, "#files .rows", "A person looks at it").await;
    assert_eq!(browser.excess_px().await, 0);

    browser.open("/audit").await;
    browser.fill("#name", "auditor").await;
    browser.fill("#password", "wrong password").await;
    browser.click("main form .btn").await;
    assert!(browser.text("#wrong").await.contains("wrong"));
    log_in_auditor(&browser, &world).await;
    browser.click("section .rows a").await;
    assert!(browser.text("h1").await.contains("申请书.csv"));
    browser.click("button[value=approve]").await;
    browser.until_at(|url| url == "/audit").await;

    comes_to(&mut client, &request, "stored").await;
    assert_eq!(std::fs::read(stored(&world, &bytes)).unwrap(), bytes);
    browser.open(&format!("/requests/{request}")).await;
    until_text(&browser, "#files .rows", "Received").await;
    // The browser notes the page that said that the password was wrong.
    let mut errors = browser.console_errors().await;
    errors.retain(|error| !error.contains("422"));
    assert_eq!(errors, Vec::<String>::new());
}

/// What no request refers to is moved aside, found again by what turns out to refer to it, and deleted by a later run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_what_nobody_refers_to_leaves_the_store_in_two_steps() {
    use gridesk::store::{Found, Stores, check};
    let world = World::start();
    let mut client = world.customer(&world.phones[0]).await;
    let (request, kept) = (question(&mut client).await, table(50));
    upload(&client, &request, "kept.csv", &kept).await;
    comes_to(&mut client, &request, "stored").await;
    let put = |bytes: &[u8]| {
        let place = stored(&world, bytes);
        std::fs::write(&place, bytes).unwrap();
        (*blake3::hash(bytes).as_bytes(), place)
    };
    let (orphan, place) = put(b"nobody's");
    let inner = world.data().join("inner");
    let stores = Stores {
        data: world.data(),
        store: inner.join("store"),
        quarantines: vec![inner.join("quarantine")],
    };
    let now = Duration::ZERO;
    assert_eq!(check(&stores, true, gridesk::store::DAY).await.unwrap(), Found::default(), "it is new");
    let found = check(&stores, false, now).await.unwrap();
    assert_eq!(found, Found { orphans: vec![orphan], ..Found::default() });
    assert!(place.exists(), "only looked at");
    check(&stores, true, now).await.unwrap();
    assert!(!place.exists() && stored(&world, &kept).exists());
    // A day has not passed since.
    assert_eq!(check(&stores, true, gridesk::store::DAY).await.unwrap(), Found::default());
    assert_eq!(check(&stores, true, now).await.unwrap(), Found { deleted: vec![orphan], ..Found::default() });

    // Content that was moved aside comes with a request: it is there, and the copy aside is no more.
    let bytes = table(70);
    let (came, place) = put(&bytes);
    check(&stores, true, now).await.unwrap();
    assert!(!place.exists());
    let request = question(&mut client).await;
    upload(&client, &request, "came.csv", &bytes).await;
    comes_to(&mut client, &request, "stored").await;
    let found = check(&stores, true, now).await.unwrap();
    assert_eq!(found, Found { restored: vec![came], ..Found::default() });
    assert_eq!(std::fs::read(&place).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(stores.store.join("aside")).unwrap().count(), 0);
    let mut said = Command::new(env!("CARGO_BIN_EXE_gridesk"));
    let said = said.args(["store", "check", "--data"]).arg(world.data()).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("is referred to"), "{said:?}");
}

/// Logs the auditor in by the API; gives the token.
async fn staff_token(world: &World) -> String {
    let password = std::fs::read_to_string(world.data().join("secrets/auditor.password")).unwrap();
    let body = json!({ "name": "auditor", "password": password.trim() });
    let asked = world.client().request(Method::POST, "/v1/staff/login").json(&body);
    let said = crate::world::send(asked).await;
    assert_eq!(said.status, 200, "{said:?}");
    said.json["token"].as_str().unwrap().to_owned()
}

/// The auditor's page, or where they are sent from there.
async fn audit_page(world: &World, token: &str) -> String {
    let cookie = format!("gd_staff={token}; gd_lang=en");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    match client.get(format!("{}/audit", world.portal)).header("cookie", cookie).send().await {
        Ok(page) => page.text().await.unwrap_or_default(),
        // The edge is not back yet.
        Err(_) => String::new(),
    }
}

async fn until_page(world: &World, token: &str, says: &str) {
    let waiting = async {
        while !audit_page(world, token).await.contains(says) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("the page never said {says}"));
}

/// The word of the intranet ends a log-in in the extranet, and goes on to whatever was killed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_an_auditor_who_is_revoked_is_out_until_they_log_in_anew() {
    const IN: &str = "Waiting for you";
    const OUT: &str = "Your log-in was ended by an administrator";
    let world = World::start();
    let token = staff_token(&world).await;
    until_page(&world, &token, IN).await;
    let mut revoke = Command::new(env!("CARGO_BIN_EXE_gridesk"));
    let said = revoke.args(["staff", "revoke", "auditor", "--data"]).arg(world.data()).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("can log in anew"), "{said:?}");
    until_page(&world, &token, OUT).await;
    for role in ["edge", "outer", "inner", "center"] {
        world.kill(role);
    }
    world.settled(LONG).await;
    answers(&mut world.client()).await;
    until_page(&world, &token, OUT).await;
    // A token made in the same second as the word would be one of those before it.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    until_page(&world, &staff_token(&world).await, IN).await;
    assert!(audit_page(&world, &token).await.contains(OUT));
}

/// Logs the auditor in that `up` made.
pub(crate) async fn log_in_auditor(browser: &Browser, world: &World) {
    let password = std::fs::read_to_string(world.data().join("secrets/auditor.password")).unwrap();
    browser.open("/audit/login").await;
    browser.fill("#name", "auditor").await;
    browser.fill("#password", password.trim()).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/audit").await;
}

async fn until_text(browser: &Browser, css: &str, text: &str) {
    let waiting = async {
        // In one go: the page makes itself anew while one looks.
        let shown = format!("return document.querySelector({css:?})?.innerText ?? ''");
        while !browser.run(&shown).await.as_str().is_some_and(|shown| shown.contains(text)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{css} never said {text}"));
}
