//! Every page of the portal: whether all people can use it, whether it fits the screen, and what it weighs.
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    browser::log_in,
    client::root,
    files::{log_in_auditor, question, upload},
    webdriver::{Browser, DESKTOP},
    world::{Client, World, key},
};

/// A page with all that it brings on a first visit, in bytes sent.
const WEIGHT_MAX: u64 = 100_000;
/// Which of axe-core's rules have to hold: WCAG 2.2 A and AA, and what its authors hold to be good practice.
const RULES: [&str; 6] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/// Routes that are no pages.
const NO_PAGES: &[(&str, &str)] = &[
    ("/audit/{file}/look", "a file"),
    ("/assets/{name}", "style sheet, script and icon: they come with the pages"),
    ("/exports/{id}/content", "a file"),
    ("/exports/{id}/live", "a stream of events"),
    ("/me/data/download", "a file"),
    ("/payments/{id}/live", "a stream of events"),
    ("/requests/{id}/live", "a stream of events"),
    ("/working/{operation}", "goes on as soon as the operation is done, which is sooner than one can look"),
];

/// A page to look at.
struct Place {
    route: &'static str,
    path: String,
    /// What is typed into its form, which is sent then: the page says what is wrong.
    typed: Option<(&'static str, &'static str)>,
}

fn place(route: &'static str, path: impl Into<String>) -> Place {
    Place { route, path: path.into(), typed: None }
}

/// A page whose address is its route.
fn fixed(route: &'static str) -> Place {
    place(route, route)
}

/// A page after its form was sent with something wrong in it.
fn wrong(route: &'static str, path: impl Into<String>, css: &'static str, text: &'static str) -> Place {
    Place { route, path: path.into(), typed: Some((css, text)) }
}

/// How a page is looked at. Any two of language, type size and colours meet in one of [`LOOKS`].
struct Look {
    preferences: &'static str,
    colours: &'static str,
}

const LOOKS: [Look; 4] = [
    Look { preferences: "lang=en&size=normal", colours: "light" },
    Look { preferences: "lang=zh&size=normal", colours: "dark" },
    Look { preferences: "lang=en&size=large", colours: "dark" },
    Look { preferences: "lang=zh&size=large", colours: "light" },
];

/// What was found on all pages.
#[derive(Default)]
struct Found {
    faults: BTreeSet<String>,
    /// In bytes, of each page at its first visit.
    weights: Vec<(u64, String)>,
    seen: BTreeSet<&'static str>,
}

/// Routes of the router that answer `GET`, in its own words.
fn routes() -> BTreeSet<String> {
    let source = std::fs::read_to_string(root().join("crates/edge/src/portal/mod.rs")).unwrap();
    let routes = source.lines().filter_map(|line| {
        let (path, handlers) = line.trim().strip_prefix(".route(\"")?.split_once("\", ")?;
        handlers.contains("get(").then(|| path.to_owned())
    });
    routes.collect()
}

async fn screen(browser: &Browser, is_phone: bool) {
    let (width, height) = if is_phone { (390, 844) } else { (1280, 900) };
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
}

impl Found {
    /// Looks at the pages in every language, type size, colours and width.
    async fn look_at(&mut self, browser: &Browser, axe: &str, who: &str, places: &[Place]) {
        for (number, look) in LOOKS.iter().enumerate() {
            // Weighed as who comes for the first time.
            browser.devtools("Network.setCacheDisabled", json!({ "cacheDisabled": number == 0 })).await;
            let scheme = json!([{ "name": "prefers-color-scheme", "value": look.colours }]);
            browser.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
            browser.open(&format!("/developers?{}", look.preferences)).await;
            for (index, place) in places.iter().enumerate() {
                self.seen.insert(place.route);
                let here = format!(
                    "{}{}",
                    place.path,
                    if place.typed.is_some() { " with something wrong" } else { "" }
                );
                let is_phone = (index + number / 2 + number).is_multiple_of(2);
                let how = format!("{who}, {}, {}", look.preferences, look.colours);
                screen(browser, is_phone).await;
                browser.open(&place.path).await;
                if number == 0 && place.typed.is_none() {
                    self.weights.push((weight(browser).await, here.clone()));
                }
                if let Some((css, text)) = place.typed {
                    let send = format!(
                        "const field = document.querySelector({css:?}); field.value = {text:?}; field.form.submit()"
                    );
                    browser.run(&send).await;
                    browser.text("main [role=alert]").await;
                }
                browser
                    .run("for (const more of document.querySelectorAll('main details')) more.open = true")
                    .await;
                for fault in axe_says(browser, axe).await {
                    let width = if is_phone { "phone" } else { "desktop" };
                    self.faults.insert(format!("{here} ({how}, {width}): {fault}"));
                }
                for is_phone in [is_phone, !is_phone] {
                    screen(browser, is_phone).await;
                    let excess_px = browser.excess_px().await;
                    if excess_px > 0 {
                        self.faults
                            .insert(format!("{here} ({how}): {excess_px} px too wide, phone: {is_phone}"));
                    }
                }
            }
        }
    }
}

/// What the page and all that came with it weighed, in bytes sent.
async fn weight(browser: &Browser) -> u64 {
    let sum = "return ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind)) \
               .reduce((sum, entry) => sum + entry.transferSize, 0)";
    browser.run(sum).await.as_u64().unwrap()
}

/// What axe-core finds wrong with the page that is open: rule, element, reason.
async fn axe_says(browser: &Browser, axe: &str) -> Vec<String> {
    // The page allows no script but its own; what comes through the driver is not of the page.
    browser.devtools("Runtime.evaluate", json!({ "expression": axe })).await;
    let run = format!(
        "const said = await axe.run(document, {{ preload: false, resultTypes: ['violations'], \
                                                 runOnly: {{ type: 'tag', values: {} }} }}); \
         return said.violations.flatMap((rule) => rule.nodes.map((node) => \
             rule.id + ' at ' + node.target.join(' ') + ': ' + node.failureSummary.replace(/\\s+/g, ' ')));",
        json!(RULES)
    );
    let said = browser.run_async(&run).await;
    let list = said.as_array().unwrap_or_else(|| panic!("axe-core: {said}"));
    list.iter().map(|fault| fault.as_str().unwrap().to_owned()).collect()
}

/// The script, as a package of PyPI brings it.
fn axe_source() -> String {
    let versions = std::fs::read_dir(root().join("target/venv/lib")).into_iter().flatten().flatten();
    let scripts = versions.map(|python| python.path().join("site-packages/axe_playwright_python/axe.min.js"));
    let script = scripts.into_iter().find(|path| path.exists());
    std::fs::read_to_string(script.expect("axe-core is missing: ./test installs it")).unwrap()
}

/// Something of the first customer's to look at, made over the API.
async fn pages_of_customer(world: &World, customer: &mut Client) -> Vec<Place> {
    let said = customer.get("/v1/accounts").await.json;
    let accounts: Vec<&str> =
        said["accounts"].as_array().unwrap().iter().map(|one| one["account"].as_str().unwrap()).collect();
    let account = accounts[0];
    let bills = customer.get(&format!("/v1/accounts/{account}/bills")).await.json;
    let bill = |n: usize| bills["bills"][n]["bill"].as_str().unwrap().to_owned();
    let month = bills["bills"][0]["month"].as_str().unwrap();
    let order = json!({ "amount_fen": 4321, "provider": "sim-pay" });
    let mut payments = Vec::new();
    for _ in 0..2 {
        let path = format!("/v1/accounts/{account}/payments");
        let ordered = customer.post(&path, &key("look"), 10, &order).await.json;
        payments.push(ordered["payment"].as_str().unwrap().to_owned());
        if payments.len() == 1 {
            customer.settle(&payments[0], ordered["pay_url"].as_str().unwrap(), json!({})).await;
        }
    }
    let report = json!({ "kind": "no_power", "text": "No power since nine.", "phone": null });
    let fault = customer.post(&format!("/v1/accounts/{account}/faults"), &key("look"), 10, &report).await;
    files_to_take_away(customer, account, &bill(1)).await;
    let other = world.customer(&world.phones[1]).await.account().await;
    world.carried(Duration::from_secs(20)).await;
    let requests = customer.get(&format!("/v1/requests?account={account}")).await.json;
    let requests: Vec<&Value> = requests["requests"].as_array().unwrap().iter().collect();
    assert!(!requests.is_empty(), "{fault:?}");
    let forms = customer.get("/v1/forms").await.json;
    let forms = forms["forms"].as_array().unwrap();
    let mut places: Vec<Place> = [
        "/",
        "/accounts",
        "/accounts/bind",
        "/bills",
        "/usage",
        "/tariffs",
        "/pay",
        "/pay/other",
        "/payments",
        "/debit",
    ]
    .map(fixed)
    .into();
    places
        .extend(["/requests", "/requests/new", "/requests/fault", "/outages", "/messages", "/me"].map(fixed));
    places.extend(["/me/data", "/me/delete", "/me/phone", "/me/settings", "/me/sessions"].map(fixed));
    places.extend([
        place("/accounts/{account}", format!("/accounts/{account}")),
        place("/accounts/{account}/unbind", format!("/accounts/{account}/unbind")),
        place("/bills/{id}", format!("/bills/{}", bill(0))),
        place("/bills/{id}", format!("/bills/{}", bill(4))),
        place("/usage", "/usage?year=2026"),
        place("/usage", format!("/usage?month={month}")),
        place("/usage", format!("/usage?day={month}-15")),
        place(
            "/tariffs",
            format!("/tariffs?account={account}&month={month}&energy=900&valley=40&before=2700"),
        ),
        place("/pay/other/{account}", format!("/pay/other/{other}")),
        place("/payments/{id}", format!("/payments/{}", payments[0])),
        place("/payments/{id}", format!("/payments/{}", payments[1])),
        place("", "/there-is-no-such-page"),
        wrong("/accounts/bind", "/accounts/bind", "#account", "1"),
        place("/exports", format!("/exports?account={account}")),
        place("/exports", format!("/exports?account={}", accounts.last().unwrap())),
        wrong("/exports", format!("/exports?account={account}"), "#from", ""),
        wrong("/me/phone", "/me/phone", "#phone", "1"),
        wrong("/pay", "/pay", "#amount", "x"),
    ]);
    places.extend(requests.iter().map(|request| {
        place("/requests/{id}", format!("/requests/{}", request["request"].as_str().unwrap()))
    }));
    places.extend(forms.iter().map(|form| {
        place("/requests/new/{form}", format!("/requests/new/{}", form["id"].as_str().unwrap()))
    }));
    places
}

/// One file that is there, one that could not be made, and an invoice.
async fn files_to_take_away(customer: &mut Client, account: &str, bill: &str) {
    for what in [
        json!({ "usage_csv": { "from": "2026-10-01", "to": "2026-10-31" } }),
        json!({ "green_button": { "from": "2001-01-01", "to": "2001-01-31" } }),
        json!({ "invoice": { "bill": bill } }),
    ] {
        let path = format!("/v1/accounts/{account}/exports");
        let asked = customer.post(&path, &key("look"), 10, &json!({ "what": what })).await;
        assert_eq!(asked.status, 201, "{asked:?}");
        crate::exports::settled(customer, asked.json["export"]["export"].as_str().unwrap()).await;
    }
}

/// Comes to the pages on which a code is typed, without typing it; they stay open for some minutes.
async fn pages_of_codes(browser: &Browser, world: &World, account: &str) -> Vec<Place> {
    let other = world.customer(&world.phones[4]).await.account().await;
    browser.open("/accounts/bind").await;
    browser.fill("#account", &other).await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/accounts/bind/code").await;
    let unbind = format!("/accounts/{account}/unbind");
    for (page, field) in [(unbind.as_str(), None), ("/me/phone", Some("13900002222")), ("/me/delete", None)] {
        browser.open(page).await;
        if let Some(text) = field {
            browser.fill("#phone", text).await;
        }
        browser.click("main form .btn").await;
        browser.until_at(|url| url == format!("{page}/code")).await;
    }
    let mut places: Vec<Place> =
        ["/accounts/bind/code", "/me/phone/code", "/me/delete/code"].map(fixed).into();
    places.push(place("/accounts/{account}/unbind/code", format!("{unbind}/code")));
    places
}

/// A customer with something of everything.
async fn customer_with_everything(world: &World, axe: &str) -> Found {
    let mut found = Found::default();
    let browser = Browser::start(&world.portal, DESKTOP).await;
    let mut customer = world.customer(&world.phones[0]).await;
    let mut places = pages_of_customer(world, &mut customer).await;
    log_in(&browser, world, &world.phones[0]).await;
    let account = customer.account().await;
    places.extend(pages_of_codes(&browser, world, &account).await);
    found.look_at(&browser, axe, "a customer", &places).await;
    found
}

/// All others.
async fn others(world: &World, axe: &str) -> Found {
    let mut found = Found::default();
    let browser = Browser::start(&world.portal, DESKTOP).await;
    // Whoever has not logged in.
    browser.open("/login").await;
    browser.fill("#phone", "13800138000").await;
    browser.click("main form .btn").await;
    browser.until_at(|url| url == "/login/code").await;
    let mut places: Vec<Place> = ["/login", "/login/code", "/me/deleted", "/developers"].map(fixed).into();
    let described = ["bill_get", "request_create"];
    places.extend(described.map(|name| place("/developers/{operation}", format!("/developers/{name}"))));
    places.extend([place("", "/there-is-no-such-page"), wrong("/login", "/login", "#phone", "1")]);
    found.look_at(&browser, axe, "nobody", &places).await;

    // Somebody whose power is cut off for arrears.
    let mut customer = world.customer(&world.phones[2]).await;
    let account = customer.account().await;
    let socket = world.data().join("run/center-admin.sock");
    let path = format!("/admin/supply/cut?account={account}");
    let cut = gridesk::unix_http::post(&socket, &path, "text/plain", Full::default()).await.unwrap();
    assert_eq!(cut.status, 200);
    let bills = customer.get(&format!("/v1/accounts/{account}/bills")).await.json;
    let overdue = bills["bills"].as_array().unwrap().iter().find(|bill| bill["state"] == "overdue");
    let overdue = overdue.unwrap_or_else(|| panic!("{bills}"))["bill"].as_str().unwrap();
    browser.devtools("Network.clearBrowserCookies", json!({})).await;
    browser.open("/login?lang=en").await;
    log_in(&browser, world, &world.phones[2]).await;
    let mut places: Vec<Place> = ["/", "/accounts", "/bills", "/pay"].map(fixed).into();
    places.push(place("/bills/{id}", format!("/bills/{overdue}")));
    found.look_at(&browser, axe, "cut off", &places).await;

    auditor(world, &browser, axe, &mut found).await;

    // Somebody who has nothing yet.
    browser.devtools("Network.clearBrowserCookies", json!({})).await;
    browser.open("/login?lang=en").await;
    log_in(&browser, world, "13800138001").await;
    let places = ["/", "/bills", "/requests", "/outages", "/messages", "/me/data"].map(fixed);
    found.look_at(&browser, axe, "new", &places).await;
    found
}

/// An auditor with a file to look at, which its customer sees too.
async fn auditor(world: &World, browser: &Browser, axe: &str, found: &mut Found) {
    let mut customer = world.customer(&world.phones[3]).await;
    let request = question(&mut customer).await;
    let address = upload(&customer, &request, "读数 readings.csv", b"meter,sum\n1,=SUM(A1:A9)\n").await;
    upload(&customer, &request, "invoice.pdf", b"MZ\x90\x00 no invoice at all").await;
    browser.devtools("Network.clearBrowserCookies", json!({})).await;
    let places = [fixed("/audit/login"), wrong("/audit/login", "/audit/login", "#name", "nobody")];
    found.look_at(browser, axe, "nobody", &places).await;
    log_in_auditor(browser, world).await;
    let file = address.rsplit('/').next().unwrap();
    let places = [fixed("/audit"), place("/audit/{file}", format!("/audit/{file}"))];
    found.look_at(browser, axe, "an auditor", &places).await;
    log_in(browser, world, &world.phones[3]).await;
    found
        .look_at(browser, axe, "with files", &[place("/requests/{id}", format!("/requests/{request}"))])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_every_page_is_accessible_fits_and_is_light() {
    let begun = Instant::now();
    let world = World::start();
    let axe = axe_source();
    let (mut found, others) = tokio::join!(customer_with_everything(&world, &axe), others(&world, &axe));
    found.faults.extend(others.faults);
    found.weights.extend(others.weights);
    found.seen.extend(others.seen);
    found.weights.sort();
    let (heaviest, page) = found.weights.last().unwrap();
    println!("heaviest: {page}, {heaviest} bytes; {} s", begun.elapsed().as_secs());
    let heavy = found.weights.iter().filter(|(bytes, _)| *bytes > WEIGHT_MAX);
    let faults: Vec<String> =
        heavy.map(|(bytes, page)| format!("{page}: {bytes} bytes")).chain(found.faults).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));

    let mut known: BTreeSet<String> = found.seen.iter().map(|route| (*route).to_owned()).collect();
    known.remove("");
    assert!(NO_PAGES.iter().all(|(route, _)| known.insert((*route).to_owned())), "no page, and looked at");
    assert_eq!(known, routes(), "each route that answers GET is looked at, or is said to be no page");
}
