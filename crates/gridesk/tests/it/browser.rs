//! The portal as a customer has it: the real system, and a browser.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    webdriver::{Browser, DESKTOP, ENTER, Kind, TAB},
    world::World,
};

/// Logs in with a code from the inbox and comes to the home page.
pub(crate) async fn log_in(browser: &Browser, world: &World, phone: &str) {
    let inbox = world.client();
    let before = inbox.inbox_end(phone).await;
    browser.open("/login").await;
    browser.fill("#phone", phone).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/login/code").await;
    type_code(browser, &inbox.code(phone, before).await).await;
    browser.until_at(|url| url == "/").await;
}

/// Types a code. Where scripts run it is sent by itself.
async fn type_code(browser: &Browser, code: &str) {
    browser.fill("#code", code).await;
    if !browser.has_script {
        browser.click(".card form .btn").await;
    }
}

/// The newest bill's page.
async fn open_newest_bill(browser: &Browser) -> String {
    browser.open("/bills").await;
    let bill = browser.attribute("main a.row", "href").await;
    browser.open(&bill).await;
    bill
}

/// An amount as a page writes it, in fen: `¥1,706.24`, `706.24 元`.
fn fen(text: &str) -> i64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    assert!(
        text.trim_end_matches([' ', '元']).rsplit_once('.').is_some_and(|(_, cents)| cents.len() == 2),
        "{text}"
    );
    digits.parse().unwrap()
}

/// A number with up to `decimals` decimals, in units of the last of them.
fn scaled(text: &str, decimals: usize) -> i64 {
    let text: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<decimals$}").parse().unwrap()
}

/// Computes a bill anew from the lines that are on its page: energy × price, rounded half up, and their sum.
async fn recompute_bill(browser: &Browser) {
    let card = "main section:has(> .receipt)";
    let calculations = browser.texts(&format!("{card} > .receipt .calc")).await;
    let amounts = browser.texts(&format!("{card} > .receipt .item .sum")).await;
    assert!(!amounts.is_empty() && amounts.len() == calculations.len());
    let mut total = 0;
    for (calculation, amount) in calculations.iter().zip(&amounts) {
        let (energy, price) = calculation.lines().next().unwrap().split_once('×').unwrap();
        // Wh × 1e-4 yuan a kWh is 1e-5 fen.
        let product = scaled(energy, 3) * scaled(price, 4);
        assert_eq!((product + 50_000) / 100_000, fen(amount), "{calculation} = {amount}");
        total += fen(amount);
    }
    assert_eq!(total, fen(&browser.text(&format!("{card} > .receipt .total span + span")).await));
    assert_eq!(total, fen(&browser.text("main .figure").await));
    let months = browser.texts("main figure:has(.marked) .chart-wide path.marked").await;
    assert_eq!(months.len(), 1, "one month is marked in the history");
}

/// Pays at the provider and comes back to a page that turns to paid.
async fn pay_at_provider(browser: &Browser, world: &World) {
    browser.until_at(|url| url.starts_with(&world.sim)).await;
    browser.click("form button").await;
    browser.until_at(|url| url.starts_with("/payments/")).await;
    browser.text("main .receipt").await;
}

/// Nothing went to another host than the portal's and the simulated provider's, and no script failed.
async fn assert_quiet(browser: &Browser, world: &World) {
    let ours: BTreeSet<String> =
        [&world.portal, &world.sim].map(|url| url.trim_start_matches("http://").to_owned()).into();
    let asked = browser.hosts_asked().await;
    assert!(!asked.is_empty() && asked.is_subset(&ours), "{asked:?}");
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn browser_customer_reads_pays_and_leaves() {
    let world = World::start();
    let browser = Browser::start(&world.portal, DESKTOP).await;
    log_in(&browser, &world, &world.phones[0]).await;
    let home = browser.text("main").await;
    assert!(home.contains("This month so far") && home.contains("Your price tier"), "{home}");

    let bill = open_newest_bill(&browser).await;
    recompute_bill(&browser).await;
    let account = bill.trim_start_matches("/bills/").split('-').next().unwrap().to_owned();

    // A language, and a type size, are chosen on any page and stay there.
    browser.click(".tools a[hreflang]").await;
    browser.until_at(|url| url.starts_with(&bill)).await;
    assert!(browser.text("h1").await.contains("电费账单"));
    recompute_bill(&browser).await;
    browser.click(".tools a[hreflang]").await;
    assert!(browser.text("h1").await.starts_with("Bill for"));
    browser.click(".bar .tools a[href*=\"size=large\"]").await;
    browser.text("html.elder").await;
    browser.open("/me").await;
    assert_eq!(browser.attribute("html", "class").await, "elder", "kept on the next page");
    browser.click(".bar .tools a[href*=\"size=normal\"]").await;

    // A day of the month leads to its hours.
    browser.open("/usage").await;
    let day = browser.run("return document.querySelector('main figure svg a').getAttribute('href')").await;
    browser.open(day.as_str().unwrap()).await;
    browser.text("#day .chart").await;
    browser.click("#day summary").await;
    assert_eq!(browser.texts("#day tbody tr").await.len(), 24);

    // Sent twice at once, and pressed once more: one order. Paid twice at the provider's page: one debit.
    browser.open("/pay").await;
    let due = browser.attribute("#amount", "value").await;
    if due.is_empty() {
        browser.fill("#amount", "43.21").await;
    }
    let sent = "const form = document.querySelector('main form'); \
                const send = () => fetch(form.action, { method: 'POST', redirect: 'manual', body: new URLSearchParams(new FormData(form)) }); \
                return (await Promise.all([send(), send()])).map((answer) => answer.type);";
    assert_eq!(browser.run_async(sent).await, json!(["opaqueredirect", "opaqueredirect"]));
    browser.click("main form .btn").await;
    pay_at_provider(&browser, &world).await;
    assert_eq!(browser.text("h1").await, "Paid");
    let ours = |(number, _): &(String, String)| *number == account;
    assert_eq!(world.debits().len(), 1);
    browser.open("/payments").await;
    let open = "return document.querySelectorAll('main a.row .tag.warn').length";
    assert_eq!(browser.run(open).await, 0, "no second order is open");
    assert!(world.stored_payments().iter().filter(|payment| ours(payment)).count() >= 1);
    assert_quiet(&browser, &world).await;

    browser.open("/me").await;
    browser.click("main form[action='/logout'] button").await;
    browser.until_at(|url| url == "/login").await;
    browser.back().await;
    browser.until_at(|url| url.starts_with("/login")).await;
    assert!(!browser.text("body").await.contains(&account[9..]), "nothing of the account is left");
    world_is_closed(&browser).await;
}

/// No page opens after logging out.
async fn world_is_closed(browser: &Browser) {
    for page in ["/", "/bills", "/usage", "/payments", "/me"] {
        browser.open(page).await;
        browser.until_at(|url| url.starts_with("/login")).await;
    }
}

#[tokio::test]
async fn browser_works_without_script() {
    let world = World::start();
    let kind = Kind { has_script: false, ..DESKTOP };
    let browser = Browser::start(&world.portal, kind).await;
    log_in(&browser, &world, &world.phones[1]).await;
    open_newest_bill(&browser).await;
    recompute_bill(&browser).await;
    browser.open("/pay").await;
    browser.fill("#amount", "12.34").await;
    browser.click("main form .btn").await;
    pay_at_provider(&browser, &world).await;
    assert_eq!(browser.text("h1").await, "Paid");
    browser.open("/me").await;
    browser.click("main form[action='/logout'] button").await;
    browser.until_at(|url| url == "/login").await;
    world_is_closed(&browser).await;
}

#[tokio::test]
async fn browser_needs_only_a_keyboard_to_pay() {
    let world = World::start();
    let browser = Browser::start(&world.portal, DESKTOP).await;
    log_in(&browser, &world, &world.phones[2]).await;
    tab_to(&browser, "a.skip").await;
    tab_to(&browser, "main a[href^='/pay']").await;
    browser.press(ENTER).await;
    browser.until_at(|url| url.starts_with("/pay")).await;
    tab_to(&browser, "#amount").await;
    browser.run("document.activeElement.select()").await;
    for key in ["5", "6", ".", "7", "8"] {
        browser.press(key).await;
    }
    tab_to(&browser, "main form .btn").await;
    browser.press(ENTER).await;
    browser.until_at(|url| url.starts_with(&world.sim)).await;
    tab_to(&browser, "form button").await;
    browser.press(ENTER).await;
    browser.until_at(|url| url.starts_with("/payments/")).await;
    assert!(browser.text("main .receipt .total").await.contains("¥56.78"));
    assert_quiet(&browser, &world).await;
}

/// Presses Tab until an element has the focus, which must be seen, and not hidden under a bar.
async fn tab_to(browser: &Browser, css: &str) {
    let probe = format!(
        "const at = document.activeElement; if (!at.matches({css:?})) return null; \
         const box = at.getBoundingClientRect(), style = getComputedStyle(at); \
         const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2); \
         return [style.outlineStyle !== 'none', at === top || at.contains(top)];"
    );
    for _ in 0..60 {
        browser.press(TAB).await;
        let found = browser.run(&probe).await;
        if found != Value::Null {
            assert_eq!(found, json!([true, true]), "{css}: outlined, in sight");
            return;
        }
    }
    panic!("no Tab leads to {css}");
}

#[tokio::test]
async fn browser_phone_binds_accounts_and_no_page_is_too_wide() {
    let world = World::start();
    let browser = Browser::start(&world.portal, Kind { is_phone: true, ..DESKTOP }).await;
    let mut others = Vec::new();
    for phone in &world.phones[3..5] {
        let mut owner = world.customer(phone).await;
        let account =
            owner.get("/v1/accounts").await.json["accounts"][0]["account"].as_str().unwrap().to_owned();
        let bills = owner.get(&format!("/v1/accounts/{account}/bills")).await;
        others.push((phone, account, bills.json["bills"][0].clone()));
    }
    // Somebody new, who has no account yet.
    log_in(&browser, &world, "13800138000").await;
    assert!(browser.text("h1").await.contains("No account yet"));
    assert_eq!(browser.excess_px().await, 0);

    let (_, account, bill) = &others[0];
    browser.open("/accounts/bind").await;
    browser.fill("#account", account).await;
    browser.click("input[value=bill]").await;
    let month = bill["month"].as_str().unwrap();
    // A month field takes keys by the browser's own habit; its value is what counts.
    browser.run(&format!("document.querySelector('#month').value = {month:?}")).await;
    let amount_fen = bill["amount_fen"].as_i64().unwrap();
    browser.fill("#amount", &format!("{}.{:02}", amount_fen / 100, amount_fen % 100)).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/").await;

    let (owner, account, _) = &others[1];
    let inbox = world.client();
    let before = inbox.inbox_end(owner).await;
    browser.open("/accounts/bind").await;
    browser.fill("#account", account).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/accounts/bind/code").await;
    type_code(&browser, &inbox.code(owner, before).await).await;
    browser.until_at(|url| url == "/").await;
    browser.open("/me").await;
    assert_eq!(browser.texts("main ul a .strong.nowrap").await.len(), 2);

    let bill = open_newest_bill(&browser).await;
    let day = {
        browser.open("/usage").await;
        browser.run("return document.querySelector('main figure svg a').getAttribute('href')").await
    };
    let day = day.as_str().unwrap().to_owned();
    browser.open("/pay").await;
    browser.fill("#amount", "1").await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url.starts_with(&world.sim)).await;
    assert_eq!(browser.excess_px().await, 0, "the provider's page");
    let order = browser.url().await;
    browser.open("/payments").await;
    let open_payment = browser.attribute("main a.row", "href").await;
    let pages =
        ["/", "/bills", &bill, "/usage", &day, "/pay", "/payments", &open_payment, "/me", "/accounts/bind"];
    for look in ["lang=en&size=normal", "lang=zh&size=normal", "lang=en&size=large", "lang=zh&size=large"] {
        browser.open(&format!("/me?{look}")).await;
        for page in pages {
            browser.open(page).await;
            browser
                .run("for (const more of document.querySelectorAll('main details')) more.open = true")
                .await;
            assert_eq!(browser.excess_px().await, 0, "{page} with {look} is too wide");
        }
        // Opened, the menu of accounts is within the screen.
        browser.click(".menu summary").await;
        let list = "const box = document.querySelector('.menu-list').getBoundingClientRect(); \
                    return box.left >= 0 && box.right <= document.documentElement.clientWidth";
        assert_eq!(browser.run(list).await, true, "the menu with {look}");
    }
    browser.open(&order).await;
    browser.click("form button").await;
    browser.until_at(|url| url.starts_with("/payments/")).await;
    browser.text("main .receipt").await;
    assert_eq!(browser.excess_px().await, 0, "the receipt");
    assert_quiet(&browser, &world).await;
}

#[tokio::test]
async fn browser_without_a_connection_keeps_what_was_typed_and_says_so() {
    let world = World::start();
    let browser = Browser::start(&world.portal, Kind { is_phone: true, ..DESKTOP }).await;
    log_in(&browser, &world, &world.phones[0]).await;
    browser.open("/requests/fault").await;
    browser.click("input[value=no_power]").await;
    browser.fill("#text", "整个单元没电").await;
    let connection = async |offline: bool| {
        let network =
            json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        browser.devtools("Network.enable", json!({})).await;
        browser.devtools("Network.emulateNetworkConditions", network).await;
    };
    connection(true).await;
    browser.click("main form .btn").await;
    assert!(browser.text("[data-offline]").await.starts_with("No connection."));
    assert_eq!(browser.url().await, "/requests/fault");
    connection(false).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url.starts_with("/requests/rq_")).await;
    assert!(browser.text("main").await.contains("整个单元没电"));
}
