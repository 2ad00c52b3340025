//! Late fees, refunds and the like, as a customer reads them.
use protocol::catalogue::replies::SupplyState;

use crate::{
    portal_fixture::accounts,
    portal_pages::{Browser, place},
};

#[tokio::test]
async fn a_late_fee_is_said_wherever_its_bill_is_and_paid_with_it() {
    let browser = Browser::logged_in("en").await;
    let account = accounts()[0];
    let bill = format!("/bills/{account}-2026-07");
    assert!(!browser.page("/").await.contains("late fee"), "nothing is late");
    assert!(!browser.page(&bill).await.contains("ate fee"));
    browser.portal.inside.be_late(321);
    let home = browser.page("/").await;
    assert!(home.contains("This includes a late fee of ¥3.21 up to today."), "{home}");
    let page = browser.page(&bill).await;
    assert!(page.contains("Late fee up to 18 Aug 2026: ¥3.21. To close this bill today you pay ¥"), "{page}");
    assert!(page.contains("From the day after the due date"));
    let pay = browser.page(&format!("/pay?account={account}")).await;
    assert!(pay.contains("¥3.21 of it late fee up to today"), "{pay}");

    let account = account.to_string();
    let ordered = browser
        .submit("/pay", "/pay", &[("account", account.as_str()), ("amount", "400"), ("provider", "sim-pay")])
        .await;
    let id = place(&ordered).split_once("order=").unwrap().1.to_owned();
    browser.portal.inside.settle(id.parse().unwrap(), 1);
    let receipt = browser.page(&format!("/payments/{id}")).await;
    assert!(receipt.contains("Late fee on the bill for Jul 2026"), "{receipt}");
    assert!(browser.page(&bill).await.contains("A late fee of ¥3.21 was paid as well."));
}

#[tokio::test]
async fn a_late_fee_is_said_in_chinese() {
    let browser = Browser::logged_in("zh-CN").await;
    browser.portal.inside.be_late(321);
    assert!(browser.page("/").await.contains("含截至今日的违约金 3.21 元，缴清前按日累计。"));
    let page = browser.page(&format!("/bills/{}-2026-07", accounts()[0])).await;
    assert!(
        page.replace('\u{2060}', "").contains("截至2026年8月18日违约金 3.21 元，今日结清本期共需缴纳"),
        "{page}"
    );
}

#[tokio::test]
async fn a_home_without_power_says_so_first_and_what_brings_it_back() {
    for (language, cut, pay, back) in [
        (
            "en",
            "Pay ¥@ and it comes back by itself, within 5 minutes of the payment.",
            "Pay and reconnect",
            "Your power is being switched on again",
        ),
        ("zh-CN", "缴清欠费 @ 元后将自动复电，预计到账后 5 分钟内恢复供电。", "缴费复电", "正在为您恢复供电"),
    ] {
        let browser = Browser::logged_in(language).await;
        assert!(!browser.page("/").await.contains("supply-h"), "power is on: nothing is said");
        browser.portal.inside.be_late(321);
        browser.portal.inside.supply(SupplyState::Cut);
        let home = browser.page("/").await;
        let (before, after) = cut.split_once('@').unwrap();
        assert!(home.contains(before) && home.contains(after) && home.contains(pay), "{home}");
        assert!(home.find("supply-h") < home.find("due-h"), "before all else");
        assert!(!home.contains(r#"<a class="strip"#), "and not that the power is on");
        browser.portal.inside.supply(SupplyState::Reconnecting);
        let home = browser.page("/").await;
        assert!(home.contains(back) && !home.contains(pay), "{home}");
    }
}
