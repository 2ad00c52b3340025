//! Requests, fault reports, outages and messages, as a customer meets them.
use reqwest::StatusCode;

use crate::{
    portal_fixture::accounts,
    portal_pages::{Browser, check_html, hidden, place},
};
use protocol::catalogue::replies::{RequestState, StepKind};

#[tokio::test]
async fn a_fault_is_reported_and_followed_in_both_languages() {
    for (language, reported, received, done) in
        [("en", "No power at all", "Received", "Done"), ("zh-CN", "全部停电", "已受理", "已办结")]
    {
        let browser = Browser::logged_in(language).await;
        assert!(browser.page("/requests").await.contains("/requests/new"));
        assert!(browser.page("/requests/new").await.contains("/requests/fault"));
        let account = accounts()[0].to_string();
        let fields = [
            ("account", account.as_str()),
            ("kind", "no_power"),
            ("text", "since eight\r\nall dark"),
            ("phone", ""),
        ];
        let sent = browser.submit("/requests/fault", "/requests/fault", &fields).await;
        let to = place(&sent);
        assert!(to.starts_with("/requests/rq_"), "{to}");
        let html = browser.page(&to).await;
        assert!(html.contains(reported) && html.contains(received) && html.contains("all dark"), "{html}");
        assert!(html.contains(&format!(r#"data-events="{to}/live""#)), "an open request is followed");
        assert!(browser.page("/").await.contains(&to), "open requests are on the home page");

        browser.portal.inside.desk(|desk| desk.step(StepKind::Done, RequestState::Done, "更换熔断器"));
        let html = browser.page(&to).await;
        assert!(html.contains(done) && html.contains("更换熔断器"));
        assert!(!html.contains("data-events") && !html.contains("/cancel"), "nothing more happens to it");
        assert!(browser.page("/messages").await.contains("更换熔断器"));
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_form_is_said_beside_its_field_and_nothing_is_lost() {
    let browser = Browser::logged_in("en").await;
    let form = "/requests/new/complaint-meter";
    let account = accounts()[0].to_string();
    let wrong = [
        ("account", account.as_str()),
        ("field-reading", "12 kWh"),
        ("field-read-on", "2026-08-01"),
        ("field-note", "<b>odd & old</b>"),
    ];
    let answer = browser.submit(form, form, &wrong).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = answer.text().await.unwrap();
    check_html(form, &html);
    assert!(
        html.contains("Write a whole number") && html.contains(r#"aria-describedby="field-reading-wrong""#)
    );
    assert!(
        html.contains("12 kWh") && html.contains("odd &#38; old"),
        "what was typed stays, as text: {html}"
    );
    let right = [
        ("account", account.as_str()),
        ("field-reading", "12"),
        ("field-read-on", "2026-08-01"),
        ("field-note", ""),
    ];
    let sent = browser.submit(form, form, &right).await;
    let html = browser.page(&place(&sent)).await;
    assert!(html.contains("What the meter shows, in kWh") && !html.contains("Anything else"));

    for path in ["/requests/new/no-such-form", "/requests/rq_0", "/requests/rq_00000000000000000000000000"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let fault = "/requests/fault";
    let wrong = [("account", account.as_str()), ("kind", "curse"), ("text", ""), ("phone", "12")];
    let answer = browser.submit(fault, fault, &wrong).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = answer.text().await.unwrap();
    check_html(fault, &html);
    assert!(html.contains("Please answer this") && html.contains("eleven digits"));
}

#[tokio::test]
async fn a_question_is_answered_and_a_request_withdrawn() {
    let browser = Browser::logged_in("en").await;
    let form = "/requests/new/suggestion";
    let sent = browser.submit(form, form, &[("field-suggestion", "More chargers")]).await;
    let to = place(&sent);
    browser.portal.inside.desk(|desk| desk.step(StepKind::Asked, RequestState::Waiting, "Where?"));
    let html = browser.page(&to).await;
    assert!(html.contains("Waiting for you") && html.contains("Where?") && html.contains("Your answer"));
    let note = format!("{to}/note");
    let empty = browser.submit(&to, &note, &[("note", "  ")]).await;
    assert_eq!(empty.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = empty.text().await.unwrap();
    check_html(&to, &html);
    assert!(html.contains("Write something first"));
    assert_eq!(place(&browser.submit(&to, &note, &[("note", "At the station")]).await), to);
    assert!(browser.page(&to).await.contains("At the station"));
    // The page has two forms; the second withdraws.
    assert_eq!(place(&browser.submit(&to, &format!("{to}/cancel"), &[]).await), to);
    assert!(browser.page(&to).await.contains("Withdrawn"));
    let forged = browser.post(&note, &[("form", "guess"), ("key", "k"), ("note", "x")]).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_outage_is_seen_at_home_before_it_is_reported_and_messages_are_marked() {
    let browser = Browser::logged_in("en").await;
    assert!(browser.page("/").await.contains("No outage is known"));
    assert!(browser.page("/outages").await.contains("No outage is known here"));
    browser.portal.inside.desk(|desk| desk.is_off = true);
    let home = browser.page("/").await;
    assert!(
        home.contains("No power now") && home.contains("Sample Road") && home.contains("expected back by")
    );
    let outages = browser.page("/outages").await;
    assert!(outages.contains("A storm brought a line down") && outages.contains("need not report"));
    assert!(browser.page("/requests/fault").await.contains("Sample Road"));

    assert!(browser.page("/messages").await.contains("No messages yet"));
    let account = accounts()[0].to_string();
    let fields = [("account", account.as_str()), ("kind", "no_power"), ("text", ""), ("phone", "")];
    let sent = browser.submit("/requests/fault", "/requests/fault", &fields).await;
    assert!(browser.page(&place(&sent)).await.contains("Sample Road"), "its request says which outage it is");
    let html = browser.page("/messages").await;
    assert!(html.contains("Mark all as read"));
    let through = hidden(&html, "through");
    assert_eq!(place(&browser.submit("/messages", "/messages", &[("through", &through)]).await), "/messages");
    assert!(!browser.page("/messages").await.contains("Mark all as read"));
}

#[tokio::test]
async fn an_open_page_is_told_when_its_request_moves() {
    let browser = Browser::logged_in("en").await;
    let form = "/requests/new/suggestion";
    let to = place(&browser.submit(form, form, &[("field-suggestion", "x")]).await);
    let mut events = browser.get(&format!("{to}/live")).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    browser.portal.inside.desk(|desk| desk.step(StepKind::Started, RequestState::UnderWay, ""));
    let mut said = String::new();
    while !said.contains("event: change") {
        let chunk = events.chunk().await.unwrap().expect("told before the stream ends");
        said.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert_eq!(browser.get("/requests/rq_0/live").await.status(), StatusCode::NOT_FOUND);
    let stranger = Browser::new("en").await;
    assert_eq!(stranger.get(&format!("{to}/live")).await.status(), StatusCode::UNAUTHORIZED);
    // An answer that goes on ends when the edge does.
    browser.portal.shutdown.begin();
    while let Ok(Some(_)) = events.chunk().await {}
}
