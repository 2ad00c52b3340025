//! Files to take away, as a customer meets them.
use protocol::catalogue::replies::ExportState;
use reqwest::{StatusCode, header};

use crate::{
    portal_fixture::accounts,
    portal_pages::{Browser, check_html, place},
};

#[tokio::test]
async fn a_file_is_asked_for_followed_and_downloaded_in_both_languages() {
    for (language, making, ready, expired) in
        [("en", "Being made", "Ready", "Expired"), ("zh-CN", "生成中", "可下载", "已过期")]
    {
        let browser = Browser::logged_in(language).await;
        let [account, ..] = accounts().map(|account| account.to_string());
        let here = format!("/exports?account={account}");
        let html = browser.page(&here).await;
        assert!(html.contains(ready) && html.contains(expired) && !html.contains("data-live"), "{html}");
        let fields =
            [("account", account.as_str()), ("kind", "green"), ("from", "2026-07-01"), ("to", "2026-07-31")];
        let sent = browser.submit(&here, "/exports", &fields).await;
        assert_eq!((sent.status(), place(&sent)), (StatusCode::SEE_OTHER, here.clone()));
        let html = browser.page(&here).await;
        assert!(html.contains(making) && html.contains(&format!(r#"data-events="/exports/{account}/live""#)));
        browser.portal.inside.exports(|exports| exports.newest_is(ExportState::Ready));
        assert!(!browser.page(&here).await.contains(making));
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_and_what_was_chosen_stays() {
    let browser = Browser::logged_in("en").await;
    let [account, ..] = accounts().map(|account| account.to_string());
    let here = format!("/exports?account={account}");
    for (from, to) in [("2026-07-31", "2026-07-01"), ("", "2026-07-01"), ("x", "y")] {
        let fields = [("account", account.as_str()), ("kind", "green"), ("from", from), ("to", to)];
        let answer = browser.submit(&here, "/exports", &fields).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{from} {to}");
        let html = answer.text().await.unwrap();
        check_html(&here, &html);
        assert!(html.contains("at most 37 months apart") && html.contains(r#"value="green" checked"#));
        assert!(html.contains(&format!(r#"value="{to}""#)), "{html}");
    }
    let unknown = [("account", account.as_str()), ("kind", "all"), ("from", ""), ("to", "")];
    assert_ne!(browser.submit(&here, "/exports", &unknown).await.status(), StatusCode::SEE_OTHER);
    let elsewhere = accounts()[2].to_string();
    assert_eq!(browser.get(&format!("/exports?account={elsewhere}")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_paid_bill_has_an_invoice_and_others_have_none() {
    let browser = Browser::logged_in("en").await;
    let [first, second, _] = accounts().map(|account| account.to_string());
    let bill = format!("{second}-2026-07");
    let page = format!("/bills/{bill}");
    let html = browser.page(&page).await;
    assert!(html.contains("Electronic invoice (sample)") && html.contains("no tax document"), "{html}");
    let fields = [("account", second.as_str()), ("kind", "invoice"), ("bill", bill.as_str())];
    let sent = browser.submit(&page, "/exports", &fields).await;
    assert_eq!(place(&sent), format!("/exports?account={second}"));
    let html = browser.page(&place(&sent)).await;
    assert!(html.contains("Electronic invoice (sample), Jul 2026"), "{html}");
    assert!(!browser.page(&format!("/bills/{first}-2026-07")).await.contains("Electronic invoice"));
}

#[tokio::test]
async fn a_file_that_cannot_be_had_leads_to_how_it_stands() {
    let browser = Browser::logged_in("en").await;
    let [account, ..] = accounts().map(|account| account.to_string());
    let here = format!("/exports?account={account}");
    let html = browser.page(&here).await;
    let at = html.find("/exports/ex_").unwrap();
    let content = html[at..].split('"').next().unwrap().to_owned();
    for state in [ExportState::Making, ExportState::Failed, ExportState::Expired] {
        browser.portal.inside.exports(|exports| exports.newest_is(state));
        let answer = browser.get(&content).await;
        assert_eq!((answer.status(), place(&answer)), (StatusCode::SEE_OTHER, here.clone()), "{state:?}");
        assert!(answer.headers().get(header::CONTENT_DISPOSITION).is_none());
    }
    for path in ["/exports/ex_0/content", "/exports/ex_00000000000000000000000000/content"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
