//! Every page of the portal, fetched as a browser does it: without script, in both languages.
use std::sync::atomic::Ordering;

use reqwest::{Client, Response, StatusCode, header, redirect::Policy};

use crate::portal_fixture::{self as fixture, CODE, Portal, accounts};

pub(crate) struct Browser {
    client: Client,
    pub(crate) portal: Portal,
    _folder: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn new(language: &str) -> Browser {
        let folder = tempfile::tempdir().unwrap();
        let portal = fixture::start(folder.path(), 0).await;
        let headers = [(header::ACCEPT_LANGUAGE, language.parse().unwrap())].into_iter().collect();
        let client = Client::builder()
            .cookie_store(true)
            .redirect(Policy::none())
            .default_headers(headers)
            .build()
            .unwrap();
        Browser { client, portal, _folder: folder }
    }

    pub(crate) async fn logged_in(language: &str) -> Browser {
        let browser = Browser::new(language).await;
        let sent =
            browser.submit("/login", "/login", &[("phone", "138 0013 8000"), ("next", "/bills")]).await;
        assert_eq!(place(&sent), "/login/code");
        let opened = browser.submit("/login/code", "/login/code", &[("code", CODE)]).await;
        assert_eq!((opened.status(), place(&opened)), (StatusCode::SEE_OTHER, "/bills".into()));
        browser
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.portal.url)).send().await.unwrap()
    }

    /// Fetches a page that must be there, and holds it to what every page must be.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        check_headers(&answer);
        let html = answer.text().await.unwrap();
        check_html(path, &html);
        html
    }

    /// Fetches the page `from`, and sends its form to `to` with these fields.
    pub(crate) async fn submit(&self, from: &str, to: &str, fields: &[(&str, &str)]) -> Response {
        let html = self.page(from).await;
        let (form, key) = (hidden(&html, "form"), hidden(&html, "key"));
        self.post(to, &[&[("form", form.as_str()), ("key", key.as_str())], fields].concat()).await
    }

    pub(crate) async fn post(&self, to: &str, fields: &[(&str, &str)]) -> Response {
        self.client.post(format!("{}{to}", self.portal.url)).form(fields).send().await.unwrap()
    }
}

pub(crate) fn place(answer: &Response) -> String {
    answer.headers().get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The value of a hidden field.
pub(crate) fn hidden(html: &str, name: &str) -> String {
    let (_, after) = html.split_once(&format!(r#"name="{name}" value=""#)).unwrap();
    after.split('"').next().unwrap().to_owned()
}

fn check_headers(answer: &Response) {
    let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap()).unwrap_or_default();
    assert!(header("content-security-policy").starts_with("default-src 'self'; script-src 'self'"));
    assert_eq!((header("cache-control"), header("x-content-type-options")), ("no-store", "nosniff"));
    for cookie in answer.headers().get_all(header::SET_COOKIE) {
        assert!(cookie.to_str().unwrap().contains("; HttpOnly; SameSite=Lax"), "{cookie:?}");
    }
}

/// Tags that close, nothing inline, nothing from outside, nothing left to fill in, a bounded weight.
pub(crate) fn check_html(path: &str, html: &str) {
    const VOID: &[&str] = &["meta", "link", "input", "br", "!doctype"];
    assert!(html.len() < 90_000, "{path}: {} bytes", html.len());
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1) {
        let (inside, _) =
            tag.split_once('>').unwrap_or_else(|| panic!("{path}: a tag that does not end: {tag}"));
        let name = inside.split([' ', '\n', '/']).find(|part| !part.is_empty()).unwrap();
        if let Some(closed) = inside.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{path}: closed out of order");
            continue;
        }
        if !inside.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        assert!(
            !inside.contains(" style=") && !inside.contains(" on") || name == "span",
            "{path}: inline: {inside}"
        );
        assert!(name != "script" || inside.contains(" src=\"/assets/"), "{path}: {inside}");
    }
    assert!(open.is_empty(), "{path}: left open: {open:?}");
    for attribute in ["src=\"http", "action=\"http"] {
        assert!(!html.contains(attribute), "{path}: {attribute}");
    }
    let text = text_of(html);
    assert!(!text.contains('{') && !text.contains("NaN"), "{path}: left to fill in: {text}");
}

/// What one reads.
fn text_of(html: &str) -> String {
    html.split('<')
        .filter_map(|part| part.split_once('>'))
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join(" ")
}

fn paths() -> Vec<String> {
    let [first, second, _] = accounts();
    let mut paths: Vec<String> =
        ["/", "/bills", "/usage", "/pay", "/payments", "/me", "/accounts/bind"].map(String::from).to_vec();
    paths.extend(
        ["/accounts", "/pay/other", "/me/data", "/me/phone", "/me/delete", "/me/settings", "/me/sessions"]
            .map(String::from),
    );
    paths.extend([
        format!("/accounts/{first}"),
        format!("/accounts/{second}/unbind"),
        format!("/pay/other/{first}"),
        format!("/?account={second}"),
        format!("/exports?account={first}"),
        format!("/exports?account={second}&from=2026-07-01&to=2026-07-31"),
        format!("/bills/{first}-2026-07"),
        format!("/bills/{first}-2025-12"),
        format!("/bills/{second}-2026-07"),
        format!("/bills?account={first}&before=2025-06"),
        format!("/usage?account={first}&month=2026-07&day=2026-07-09"),
        format!("/usage?account={second}&month=2026-08"),
        format!("/usage?account={second}&month=2020-01"),
        format!("/usage?account={first}&year=2026"),
        format!("/usage?account={second}&year=2025"),
        format!("/usage?account={second}&year=2020"),
        format!("/tariffs?account={first}"),
        format!("/tariffs?account={second}"),
        format!("/tariffs?account={first}&month=2026-08&energy=360&valley=40&before=2600"),
        format!("/tariffs?account={first}&month=2026-13&energy=x"),
    ]);
    paths
}

#[tokio::test]
async fn every_page_is_whole_in_english() {
    let browser = Browser::logged_in("en-GB,en").await;
    for path in paths() {
        let html = browser.page(&path).await;
        assert!(html.contains(r#"<html lang="en""#), "{path}");
        // What the customer's own data say stays in its language; the links to the other language too.
        let known = [
            "中文",
            "中",
            "张*华",
            "李*",
            "浙江省杭州市西湖区文三路***号",
            "广东省广州市天河区体育西路***号",
        ];
        let rest = known.iter().fold(text_of(&html), |text, known| text.replace(known, ""));
        let chinese: String = rest.chars().filter(|c| ('\u{4e00}'..'\u{9fff}').contains(c)).collect();
        assert_eq!(chinese, "", "{path}");
    }
}

#[tokio::test]
async fn every_page_is_whole_in_chinese() {
    let browser = Browser::logged_in("zh-CN").await;
    for path in paths() {
        let html = browser.page(&path).await;
        assert!(html.contains(r#"<html lang="zh-CN""#), "{path}");
        for english in ["Pay", "Bill", "Usage", " the ", "kWh", "Jul ", "Aug ", "Account", "Tier"] {
            assert!(!text_of(&html).contains(english), "{path}: {english}");
        }
    }
    let html = browser.page("/?lang=en").await;
    assert!(html.contains(r#"<html lang="en""#));
    assert!(browser.page("/bills").await.contains(r#"<html lang="en""#), "the choice is kept");
    assert!(browser.page("/?size=large").await.contains(r#"class="elder""#));
}

#[tokio::test]
async fn home_says_what_is_owed_and_until_when() {
    let browser = Browser::logged_in("en").await;
    let html = browser.page("/").await;
    for words in ["You can pay until 25 Aug 2026.", "left before the price rises to ¥0.", "This month so far"]
    {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("Due today"));
    browser.portal.inside.hand.set(1_787_637_900_000); // 25 Aug
    assert!(browser.page("/").await.contains("Due today"));
    let [_, second, _] = accounts();
    let html = browser.page(&format!("/?account={second}")).await;
    assert!(html.contains("Nothing to pay") && html.contains("¥36.50 stands to your credit"));
    browser.portal.inside.unbind_all();
    assert!(browser.page("/").await.contains(r#"href="/accounts/bind""#));
}

#[tokio::test]
async fn home_gives_both_dates_where_a_part_is_overdue_and_leads_to_that_bill() {
    let browser = Browser::logged_in("en").await;
    browser.portal.inside.has_arrears.store(true, Ordering::SeqCst);
    let html = browser.page("/").await;
    for words in
        ["was due by 25 Jul 2026", "can be paid until 25 Aug 2026", "-2026-06\">See the bill for Jun 2026"]
    {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("Due today") && html.contains(r#"class="tag bad""#));
}

#[tokio::test]
async fn a_payment_whose_answer_was_lost_can_be_sent_again_and_is_one() {
    let browser = Browser::logged_in("en").await;
    let html = browser.page("/pay").await;
    let (form, key) = (hidden(&html, "form"), hidden(&html, "key"));
    let account = accounts()[0].to_string();
    let fields = [
        ("form", form.as_str()),
        ("key", &key),
        ("account", &account),
        ("amount", "1"),
        ("provider", "sim-pay"),
    ];
    browser.portal.inside.is_mute.store(true, Ordering::SeqCst);
    let lost = browser.post("/pay", &fields).await;
    assert_eq!(lost.status(), StatusCode::GATEWAY_TIMEOUT);
    let policy = lost.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("form-action 'self' http"), "a form may lead on to the provider: {policy}");
    let html = lost.text().await.unwrap();
    check_html("/pay", &html);
    for words in ["We do not know yet", "Nothing is taken until you pay", r#"href="/payments""#, "Send again"]
    {
        assert!(html.contains(words), "{words}");
    }
    browser.portal.inside.is_mute.store(false, Ordering::SeqCst);
    let (_, again) = html.split_once(r#"action="/pay""#).unwrap();
    let names = fields.map(|(name, _)| name);
    let sent = names.map(|name| (name, hidden(again, name)));
    assert_eq!(sent.each_ref().map(|(name, value)| (*name, value.as_str())), fields);
    let again = browser.post("/pay", &fields).await;
    assert!(place(&again).starts_with("http://127.0.0.1:9/pay?order="));
    assert_eq!(browser.portal.inside.payment_count(), 1);
}

#[tokio::test]
async fn a_log_in_whose_answer_was_lost_says_nothing_of_payments() {
    let browser = Browser::new("en").await;
    browser.portal.inside.is_mute.store(true, Ordering::SeqCst);
    let lost = browser.submit("/login", "/login", &[("phone", "13800138000"), ("next", "/")]).await;
    assert_eq!(lost.status(), StatusCode::GATEWAY_TIMEOUT);
    let html = lost.text().await.unwrap();
    check_html("/login", &html);
    assert!(html.contains("Send again") && hidden(&html, "phone") == "13800138000");
    assert!(!text_of(&html).contains("payment") && html.contains(r#"href="/login""#));
}

#[tokio::test]
async fn a_write_that_takes_long_is_waited_for_on_a_page_of_its_own() {
    let browser = Browser::logged_in("en").await;
    browser.portal.inside.is_behind.store(true, Ordering::SeqCst);
    let account = accounts()[0].to_string();
    let fields = [("account", account.as_str()), ("amount", "1"), ("provider", "sim-pay")];
    let sent = browser.submit("/pay", "/pay", &fields).await;
    let working = place(&sent);
    assert_eq!(working, format!("/working/{}?next=/payments", fixture::operation()));
    let html = browser.page(&working).await;
    assert!(html.contains("goes on by itself") && html.contains("data-live"));
    // What was seen is insisted on still where older data could be shown.
    assert_eq!(browser.get("/payments").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    browser.portal.inside.is_behind.store(false, Ordering::SeqCst);
    assert_eq!(place(&browser.get(&working).await), "/payments");
}

#[tokio::test]
async fn who_tried_wrong_proofs_too_often_is_told_when_to_come_again() {
    let browser = Browser::logged_in("en").await;
    let locked = protocol::Problem::new(protocol::Code::TooManyAttempts, "No.").retry_after(86_394);
    let third = accounts()[2].to_string();
    let bind = "/accounts/bind";
    let fields = [("account", third.as_str()), ("how", "bill"), ("month", "2026-07"), ("amount", "1.00")];
    browser.page(bind).await;
    *browser.portal.inside.refusal.lock().unwrap() = Some(locked);
    let wrong = browser.submit(bind, bind, &fields).await;
    assert!(wrong.text().await.unwrap().contains("Too many wrong tries. Please try again tomorrow."));
}

#[tokio::test]
async fn a_bill_can_be_recomputed_from_its_page() {
    let browser = Browser::logged_in("en").await;
    let html = browser.page(&format!("/bills/{}-2025-12", accounts()[0])).await;
    for words in [
        "Surcharge for energy in higher tiers",
        "Check it yourself",
        "Thirteen months",
        "single rate",
        "The date is not confirmed",
        "the hours are those commonly stated",
    ] {
        assert!(html.contains(words), "{words}");
    }
    let (_, formulas) = html.split_once(r#"<div class="formula">"#).unwrap();
    let (formulas, _) = formulas.split_once("</div>").unwrap();
    let number = |text: &str| text.trim().replace(',', "").parse::<f64>().unwrap();
    let mut total = 0.0;
    for line in text_of(formulas).split("→").collect::<Vec<_>>().windows(2) {
        let amount = number(line[1].split_whitespace().next().unwrap());
        let factors = line[0].rsplit("  ").next().unwrap();
        let (product, exact) = factors.split_once('=').unwrap();
        let (energy, price) = product.split_once('×').unwrap();
        let energy = energy.split_whitespace().last().unwrap();
        assert!((number(energy) * number(price) - number(exact)).abs() < 1e-6, "{factors}");
        assert!((number(exact) - amount).abs() <= 0.005_000_1, "{factors}");
        total += amount;
    }
    assert!(html.contains(&format!("<span>¥{total:.2}</span>")), "{total:.2} is not the total");
}

#[tokio::test]
async fn a_bill_says_why_it_differs_and_the_parts_sum_up() {
    let browser = Browser::logged_in("en").await;
    let [first, second, _] = accounts();
    for bill in [format!("{first}-2026-07"), format!("{first}-2026-01"), format!("{second}-2026-07")] {
        let html = browser.page(&format!("/bills/{bill}")).await;
        let (_, why) = html.split_once(r#"<div class="why">"#).unwrap();
        let (words, rest) = why.split_once("<details").unwrap();
        let words = text_of(words);
        assert!(words.contains("than the bill for") && words.contains(", which "), "{words}");
        let (_, table) = rest.split_once("<tbody>").unwrap();
        let (table, _) = table.split_once("</tbody>").unwrap();
        let cell = |text: &str| -> i64 {
            let number: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
            number.parse().unwrap()
        };
        let row = |row: &str| -> Vec<i64> {
            row.split("<td>").skip(1).map(|text| cell(text.split('<').next().unwrap())).collect()
        };
        let rows: Vec<Vec<i64>> =
            table.split("</tr>").filter(|text| text.contains("<td>")).map(row).collect();
        let (total, parts) = rows.split_last().unwrap();
        assert!(parts.len() >= 2 && total.len() == 2, "{table}");
        for column in 0..2 {
            assert_eq!(parts.iter().map(|part| part[column]).sum::<i64>(), total[column], "{bill}: {table}");
        }
    }
    // The first bill of all has none to compare with; one of the first year has none of last year.
    assert!(!browser.page(&format!("/bills/{first}-2025-01")).await.contains(r#"class="why""#));
    assert_eq!(browser.page(&format!("/bills/{first}-2025-03")).await.matches("Against ").count(), 1);
}

#[tokio::test]
async fn home_says_where_the_pace_leads_and_a_year_leads_to_its_months() {
    let browser = Browser::logged_in("en").await;
    let [first, second, _] = accounts();
    let home = browser.page(&format!("/?account={first}")).await;
    assert!(home.contains("you will reach the next tier around 20 Nov 2026"), "{home}");
    assert!(home.contains("At this pace the month will come to about"));
    assert!(browser.page(&format!("/?account={second}")).await.contains("will not reach the next tier"));
    let year = browser.page(&format!("/usage?account={first}&year=2026")).await;
    for wanted in ["2026-03", "2026-08"] {
        assert!(year.contains(&format!("/usage?account={first}&amp;month={wanted}")), "{wanted}");
    }
    assert!(year.contains("Show as a table") && year.contains("Valley") && year.contains("Previous year"));
    assert!(!browser.page(&format!("/usage?account={second}&year=2026")).await.contains("Valley"));
    assert_eq!(browser.get("/usage?year=99999").await.status(), StatusCode::OK, "no year: the month");
    assert_eq!(browser.get("/usage?year=1").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tariffs_are_compared_month_by_month_and_quoted() {
    let browser = Browser::logged_in("en").await;
    let [first, second, _] = accounts();
    let html = browser.page(&format!("/tariffs?account={first}")).await;
    assert!(html.contains("Left out: Oct 2025 (no readings by the hour)."));
    assert!(html.contains("11 months with readings of every hour"));
    let cells: Vec<i64> = html
        .split("<td>")
        .skip(1)
        .map(|cell| text_of(&format!("x>{}", cell.split("</td>").next().unwrap())))
        .filter(|text| text.contains('.'))
        .map(|text| text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap())
        .collect();
    assert_eq!(cells.len(), 24, "eleven months and their sum, under two tariffs");
    for column in 0..2 {
        let amounts: Vec<i64> = cells.iter().skip(column).step_by(2).copied().collect();
        assert_eq!(amounts[..11].iter().sum::<i64>(), amounts[11]);
    }
    let saved = web::Format::of(web::Language::En).money(domain::money::Fen((cells[22] - cells[23]).abs()));
    assert!(html.contains(&saved), "{saved}");
    assert!(browser.page(&format!("/tariffs?account={second}")).await.contains("only one tariff"));
    // 360 kWh, 144 of them in the valley, 200 beyond the first limit.
    let asked = format!("/tariffs?account={first}&month=2026-08&energy=360&valley=40&before=2600");
    let html = browser.page(&asked).await;
    for amount in [21_600 * 568 + 14_400 * 288 + 20_000 * 50, 36_000 * 538 + 20_000 * 50] {
        // In hundredths of Wh times thousandths of a yuan; a fen is a million of them... in yuan.
        let yuan = f64::from(amount) / 100_000.0;
        assert!(html.contains(&format!("{yuan:.2}")), "{yuan:.2}");
    }
    assert!(
        browser.page(&format!("/tariffs?account={first}&energy=-1")).await.contains("Write whole numbers")
    );
}

#[tokio::test]
async fn in_january_a_bill_says_that_tiers_count_anew() {
    let browser = Browser::logged_in("en").await;
    let [first, second, _] = accounts();
    let says = async |bill: String| {
        browser.page(&format!("/bills/{bill}")).await.contains("count anew from January")
    };
    assert!(says(format!("{first}-2026-01")).await);
    assert!(!says(format!("{first}-2026-02")).await);
    assert!(!says(format!("{second}-2026-01")).await, "its tiers count by the month");
}

#[tokio::test]
async fn cookies_of_another_system_are_dropped_and_lead_to_the_log_in() {
    let browser = Browser::logged_in("en").await;
    let far = protocol::Position { lane: protocol::LaneId(3), generation: 9, sequence: 4_000 };
    let seen = protocol::Token::at(far).to_string();
    let with = |cookies: String| {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        let url = format!("{}/bills", browser.portal.url);
        async move { client.get(url).header(header::COOKIE, cookies).send().await.unwrap() }
    };
    let dropped = |answer: &Response, name: &str| {
        let removal = format!("{name}=; Path=/; Max-Age=0");
        answer
            .headers()
            .get_all(header::SET_COOKIE)
            .iter()
            .any(|set| set.to_str().unwrap().starts_with(&removal))
    };
    let answer = with(format!("gd_access=foreign; gd_refresh=foreign; gd_seen={seen}")).await;
    assert_eq!(place(&answer), "/login?next=/bills&over=1");
    for name in ["gd_access", "gd_refresh", "gd_seen"] {
        assert!(dropped(&answer, name), "{name} stays");
    }
    let answer = with(format!("gd_access=foreign; gd_refresh=refresh-0; gd_seen={seen}")).await;
    assert_eq!(answer.status(), StatusCode::OK, "the session is renewed");
    assert!(dropped(&answer, "gd_seen"));
    let answer = with(format!("gd_access=access-1; gd_seen={seen}")).await;
    assert_eq!(answer.status(), StatusCode::OK, "the session is good");
    assert!(dropped(&answer, "gd_seen"));
}

#[tokio::test]
async fn a_double_click_pays_once_and_the_page_turns_to_paid() {
    let browser = Browser::logged_in("en").await;
    let html = browser.page("/pay").await;
    let account = accounts()[0].to_string();
    let (form, key) = (hidden(&html, "form"), hidden(&html, "key"));
    let fields = |amount| {
        [
            ("form", form.as_str()),
            ("key", &key),
            ("account", &account),
            ("amount", amount),
            ("provider", "sim-pay"),
        ]
    };
    let due = fields("208.97");
    let (one, two) = tokio::join!(browser.post("/pay", &due), browser.post("/pay", &due));
    assert_eq!((place(&one), one.status()), (place(&two), StatusCode::SEE_OTHER));
    assert_eq!(browser.portal.inside.payment_count(), 1);
    let id = place(&one).rsplit('=').next().unwrap().to_owned();
    let open = browser.page(&format!("/payments/{id}")).await;
    assert!(
        open.contains("Waiting for your payment")
            && open.contains("http-equiv=\"refresh\"")
            && open.contains("data-live")
    );
    browser.portal.inside.settle(id.parse().unwrap(), 2);
    let paid = browser.page(&format!("/payments/{id}")).await;
    for words in
        ["R-20260818-000417", "sim-tx-882132", "Bill for Jul 2026", "Kept as credit", "debited you 2 times"]
    {
        assert!(paid.contains(words), "{words}");
    }
    assert!(!paid.contains("data-live"));
    assert!(browser.page("/payments").await.contains(&id));
    let wrong = browser.post("/pay", &fields("1.234")).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.portal.inside.payment_count(), 1);
    let other = browser.post("/pay", &fields("100")).await;
    let id = place(&other).rsplit('=').next().unwrap().to_owned();
    browser.portal.inside.expire(id.parse().unwrap());
    assert!(browser.page(&format!("/payments/{id}")).await.contains("Not paid, and nothing was taken"));
}

#[tokio::test]
async fn a_session_is_renewed_unnoticed_and_ends_when_asked() {
    let browser = Browser::logged_in("en").await;
    browser.portal.inside.lapse_access();
    browser.page("/bills").await;
    browser.page("/me").await;
    assert_eq!(browser.portal.inside.refreshed(), 1);
    let left = browser.submit("/me", "/logout", &[]).await;
    assert_eq!(place(&left), "/login");
    let turned = browser.get("/bills?before=2026-01").await;
    assert_eq!(place(&turned), "/login?next=/bills%3Fbefore%3D2026-01");
}

#[tokio::test]
async fn wrong_codes_and_forged_forms_do_nothing() {
    let browser = Browser::new("en").await;
    let wrong = browser.submit("/login", "/login", &[("phone", "12345")]).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    browser.submit("/login", "/login", &[("phone", "13800138000"), ("next", "//evil.example")]).await;
    let wrong = browser.submit("/login/code", "/login/code", &[("code", "111111")]).await;
    assert!(wrong.text().await.unwrap().contains("That code is not right"));
    let html = browser.page("/login/code").await;
    let right = [("form", hidden(&html, "form")), ("key", hidden(&html, "key")), ("code", CODE.to_owned())];
    let url = format!("{}/login/code", browser.portal.url);
    let from_elsewhere =
        browser.client.post(&url).header("sec-fetch-site", "cross-site").form(&right).send().await;
    assert_eq!(from_elsewhere.unwrap().status(), StatusCode::FORBIDDEN);
    let forged = browser.post("/login/code", &[("form", "guess"), ("key", "k"), ("code", CODE)]).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    let opened = browser.client.post(&url).form(&right).send().await.unwrap();
    assert_eq!(place(&opened), "/", "never to another host");
}

#[tokio::test]
async fn a_code_that_is_good_still_can_be_entered_after_another_was_refused() {
    let browser = Browser::new("en").await;
    let fields = [("phone", "13800138000"), ("next", "/usage")];
    browser.submit("/login", "/login", &fields).await;
    assert!(browser.page("/login/code").await.contains(r#"data-after="60""#));
    browser.portal.inside.hand.advance(std::time::Duration::from_secs(25));
    let wrong = browser.submit("/login/code", "/login/code", &[("code", "111111")]).await;
    assert!(wrong.text().await.unwrap().contains(r#"data-after="35""#), "the seconds begin anew");
    let early = protocol::Problem::new(protocol::Code::TooManyRequests, "No.").retry_after(35);
    *browser.portal.inside.refusal.lock().unwrap() = Some(early);
    let refused = browser.submit("/login/code", "/login", &fields).await;
    let html = refused.text().await.unwrap();
    check_html("/login", &html);
    assert!(html.contains("try again in 35 seconds") && html.contains(r#"action="/login/code""#), "{html}");
    let opened = browser.submit("/login/code", "/login/code", &[("code", CODE)]).await;
    assert_eq!(place(&opened), "/usage");
}

#[tokio::test]
async fn a_form_that_is_too_old_leads_to_a_fresh_one_of_ours() {
    let browser = Browser::logged_in("en").await;
    for (referer, path) in [
        (
            format!("{}/pay?account={}", browser.portal.url, accounts()[0]),
            format!("/pay?account={}", accounts()[0]),
        ),
        ("https://evil.example//evil".to_owned(), "/".to_owned()),
    ] {
        let url = format!("{}/pay", browser.portal.url);
        let form = [("form", "old"), ("key", "k"), ("account", ""), ("amount", "1"), ("provider", "sim-pay")];
        let old = browser.client.post(url).header("referer", referer).form(&form).send().await.unwrap();
        assert_eq!(old.status(), StatusCode::FORBIDDEN);
        let html = old.text().await.unwrap();
        assert!(
            html.contains(&format!(r#"<a class="btn" href="{path}">"#)) && !html.contains("evil"),
            "{html}"
        );
    }
}

#[tokio::test]
async fn an_account_is_bound_by_code_or_by_bill() {
    let browser = Browser::logged_in("en").await;
    let third = accounts()[2].to_string();
    let bind = "/accounts/bind";
    let wrong = browser.submit(bind, bind, &[("account", "123"), ("how", "code")]).await;
    assert!(wrong.text().await.unwrap().contains("not an account number"));
    let fields = [("account", third.as_str()), ("how", "bill"), ("month", "2026-07"), ("amount", "1.00")];
    let wrong = browser.submit(bind, bind, &fields).await;
    assert!(wrong.text().await.unwrap().contains("does not fit the account"));
    let sent = browser.submit(bind, bind, &[("account", &third), ("how", "code")]).await;
    assert_eq!(place(&sent), "/accounts/bind/code");
    let html = browser.page("/accounts/bind/code").await;
    assert!(html.contains("If a phone is registered with account 3109"), "{html}");
    let by_bill = format!("{bind}?how=bill&account={third}");
    assert!(html.contains(&by_bill.replace('&', "&amp;")));
    let html = browser.page(&by_bill).await;
    for words in [
        format!(r#"value="{third}""#),
        r#"value="bill" checked"#.into(),
        r#"<option value="2026-07">Jul 2026</option>"#.into(),
    ] {
        assert!(html.contains(&words), "{words}: {html}");
    }
    let form = hidden(&html, "form");
    let fields = [("form", form.as_str()), ("key", "k2"), ("account", &third), ("how", "code")];
    let again = browser.post(bind, &fields).await;
    assert_eq!(place(&again), "/accounts/bind/code", "another code needs no number typed anew");
    let bound = browser.submit("/accounts/bind/code", "/accounts/bind/code", &[("code", CODE)]).await;
    assert_eq!(place(&bound), "/");
    assert!(browser.page("/").await.contains("王*明"), "the new account is shown");
}

#[tokio::test]
async fn accounts_are_one_list_with_a_total_and_can_be_removed() {
    let browser = Browser::logged_in("en").await;
    let [first, second, third] = accounts();
    let home = browser.page(&format!("/?account={first}")).await;
    let (_, due) = home.split_once(r#"<small class="pre">¥</small>"#).unwrap();
    let due = format!(r#"<span class="strong nowrap">¥{}</span>"#, due.split('<').next().unwrap());
    let html = browser.page("/accounts").await;
    for words in ["张*华", "李*", due.as_str(), "Nothing to pay", "¥36.50 stands to their credit"] {
        assert!(html.contains(words), "{words}");
    }
    let unbind = format!("/accounts/{second}/unbind");
    assert!(browser.page(&format!("/accounts/{second}")).await.contains(&unbind));
    let wrong = browser.submit(&unbind, &unbind, &[("how", "bill"), ("month", "x"), ("amount", "y")]).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    check_html(&unbind, &wrong.text().await.unwrap());
    let fields = [("how", "bill"), ("month", "2026-07"), ("amount", "1.00")];
    let wrong = browser.submit(&unbind, &unbind, &fields).await;
    assert!(wrong.text().await.unwrap().contains("does not fit the account"));
    let sent = browser.submit(&unbind, &unbind, &[("how", "code")]).await;
    let code = format!("{unbind}/code");
    assert_eq!(place(&sent), code);
    assert!(browser.page(&code).await.contains("If a phone is registered"));
    let wrong = browser.submit(&code, &code, &[("code", "111111")]).await;
    assert!(wrong.text().await.unwrap().contains("not right or no longer good"));
    let done = browser.submit(&code, &code, &[("code", CODE)]).await;
    assert_eq!(place(&done), "/accounts");
    let html = browser.page("/accounts").await;
    assert!(!html.contains("李*") && html.contains(&format!("/accounts/{first}")));
    for path in [unbind, format!("/accounts/{third}"), format!("/accounts/{third}/unbind")] {
        assert_eq!(browser.get(&path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(place(&browser.get(&format!("/accounts/{third}/unbind/code")).await), "/accounts");
}

#[tokio::test]
async fn one_pays_for_somebody_else_without_seeing_their_bills() {
    let browser = Browser::logged_in("en").await;
    let third = accounts()[2].to_string();
    let other = "/pay/other";
    let wrong = browser.submit(other, other, &[("account", "123")]).await;
    assert!(wrong.text().await.unwrap().contains("not an account number"));
    let nobody = protocol::AccountId::mint(33, 5).unwrap().to_string();
    let wrong = browser.submit(other, other, &[("account", &nobody)]).await;
    assert!(wrong.text().await.unwrap().contains("no account with this number"));
    let found = browser.submit(other, other, &[("account", &third)]).await;
    let pay = format!("{other}/{third}");
    assert_eq!(place(&found), pay);
    let html = browser.page(&pay).await;
    assert!(html.contains("王*明") && html.contains("上海市浦东新区***弄") && html.contains("is due there"));
    let fields = |account, amount| [("account", account), ("amount", amount), ("provider", "sim-pay")];
    let mine = accounts()[0].to_string();
    assert_eq!(browser.submit(&pay, &pay, &fields(&mine, "5")).await.status(), StatusCode::FORBIDDEN);
    let wrong = browser.submit(&pay, &pay, &fields(&third, "1.234")).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.portal.inside.payment_count(), 0);
    let ordered = browser.submit(&pay, &pay, &fields(&third, "5")).await;
    let id = place(&ordered).rsplit('=').next().unwrap().to_owned();
    browser.portal.inside.settle(id.parse().unwrap(), 1);
    let html = browser.page(&format!("/payments/{id}")).await;
    assert!(html.contains("Whoever looks after that account") && html.contains("R-20260818-000417"));
    assert!(html.contains("For that account") && !html.contains("href=\"/bills/3"));

    let paid = browser.submit("/pay", "/pay", &fields(&mine, "5")).await;
    let id = place(&paid).rsplit('=').next().unwrap().to_owned();
    browser.portal.inside.by_another(id.parse().unwrap());
    for path in ["/payments".to_owned(), format!("/payments/{id}")] {
        assert!(browser.page(&path).await.contains("Paid by another person"), "{path}");
    }
}

#[tokio::test]
async fn ones_data_is_seen_corrected_downloaded_and_deleted() {
    let browser = Browser::logged_in("en").await;
    let html = browser.page("/me/data").await;
    assert!(html.contains("138****8000") && !html.contains("13800138000"), "masked on the page");
    let data = "/me/data";
    let wrong = browser.submit(data, data, &[("name", &"x".repeat(61))]).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let saved = browser.submit(data, data, &[("name", "<b>Li</b>")]).await;
    assert_eq!(place(&saved), data);
    let html = browser.page(data).await;
    assert!(html.contains("&#60;b&#62;Li") && !html.contains("<b>Li"), "a name is text: {html}");
    let file = browser.get("/me/data/download").await;
    let disposition = file.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().to_owned();
    assert!(disposition.starts_with("attachment"), "{disposition}");
    let held: serde_json::Value = file.json().await.unwrap();
    assert_eq!((&held["phone"], &held["name"]), (&"13800138000".into(), &"<b>Li</b>".into()));

    let html = browser.page("/me/delete").await;
    assert!(html.contains("What stays, and why") && html.contains("the law obliges us"));
    assert_eq!(place(&browser.get("/me/delete/code").await), "/me/delete", "not without a code");
    let sent = browser.submit("/me/delete", "/me/delete", &[]).await;
    let code = "/me/delete/code";
    assert_eq!(place(&sent), code);
    assert!(browser.page(code).await.contains("138****8000"));
    let wrong = browser.submit(code, code, &[("code", "111111")]).await;
    assert!(wrong.text().await.unwrap().contains("That code is not right"));
    let deleted = browser.submit(code, code, &[("code", CODE)]).await;
    assert_eq!(place(&deleted), "/me/deleted");
    assert!(browser.page("/me/deleted").await.contains("You are logged out everywhere"));
    assert!(place(&browser.get("/me").await).starts_with("/login"), "and so it is");
}

#[tokio::test]
async fn a_phone_is_changed_by_who_logged_in_just_now() {
    let browser = Browser::logged_in("en").await;
    let phone = "/me/phone";
    let wrong = browser.submit(phone, phone, &[("phone", "12")]).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let sent = browser.submit(phone, phone, &[("phone", "139 0013 9000")]).await;
    assert_eq!(place(&sent), "/me/phone/code");
    let code = "/me/phone/code";
    assert!(browser.page(code).await.contains("139****9000"));
    let wrong = browser.submit(code, code, &[("code", "111111")]).await;
    assert!(wrong.text().await.unwrap().contains("That code is not right"));
    assert_eq!(place(&browser.submit(code, code, &[("code", CODE)]).await), "/me/data");
    browser.portal.inside.make_stale();
    let stale = browser.submit(phone, phone, &[("phone", "13900139000")]).await;
    assert_eq!(place(&stale), "/login?next=/me/phone");
}

#[tokio::test]
async fn settings_and_sessions_are_the_customers_not_the_browsers() {
    let browser = Browser::logged_in("en").await;
    let settings = "/me/settings";
    let html = browser.page(settings).await;
    assert!(html.contains(r#"name="bill_issued" value="on" checked"#), "who says nothing is told");
    let fields = [("language", "zh"), ("elder", "on"), ("outage", "on")];
    let saved = place(&browser.submit(settings, settings, &fields).await).to_owned();
    assert!(browser.page(&saved).await.contains("已保存。"));
    let html = browser.page(settings).await;
    assert!(html.contains(r#"<html lang="zh-CN""#) && html.contains(r#"class="elder""#));
    assert!(html.contains(r#"name="outage" value="on" checked"#));
    assert!(!html.contains(r#"name="bill_issued" value="on" checked"#));

    let sessions = "/me/sessions";
    let html = browser.page(sessions).await;
    assert_eq!(html.matches("name=\"session\" value=\"se_").count(), 2, "not the one in use");
    assert_eq!(browser.submit(sessions, sessions, &[("session", "x")]).await.status(), StatusCode::FORBIDDEN);
    let id = hidden(&html, "session");
    assert_eq!(place(&browser.submit(sessions, sessions, &[("session", &id)]).await), sessions);
    assert!(!browser.page(sessions).await.contains(&id));
    browser.submit(sessions, sessions, &[("session", "all")]).await;
    assert!(!browser.page(sessions).await.contains("name=\"session\""), "only this one is left");

    // On another device: as the customer likes it.
    let other = Browser::new("zh-CN").await;
    other.portal.inside.prefer(protocol::envelope::Language::En, true);
    other.submit("/login", "/login", &[("phone", "13800138000"), ("next", "/")]).await;
    other.submit("/login/code", "/login/code", &[("code", CODE)]).await;
    let html = other.page("/me").await;
    assert!(html.contains(r#"<html lang="en""#) && html.contains(r#"class="elder""#));
}

#[tokio::test]
async fn errors_say_what_happened_and_what_to_do() {
    let browser = Browser::logged_in("en").await;
    for path in ["/nowhere", "/bills/1-2026-07", "/payments/py_0", "/bills?account=3300000000017"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        check_html(path, &answer.text().await.unwrap());
    }
    browser.portal.inside.is_away.store(true, Ordering::SeqCst);
    let answer = browser.get("/bills").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let html = answer.text().await.unwrap();
    check_html("/bills", &html);
    assert!(html.contains("Nothing was changed") && html.contains("Try again") && html.contains("Request "));
    browser.portal.inside.is_away.store(false, Ordering::SeqCst);
    browser.page("/bills").await;
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_names_of_their_own() {
    let browser = Browser::new("en").await;
    let html = browser.page("/login").await;
    let (_, after) = html.split_once(r#"rel="stylesheet" href=""#).unwrap();
    let style = browser.get(after.split('"').next().unwrap()).await;
    assert_eq!(style.status(), StatusCode::OK);
    assert_eq!(style.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(browser.get("/assets/style.css").await.status(), StatusCode::NOT_FOUND);
}
