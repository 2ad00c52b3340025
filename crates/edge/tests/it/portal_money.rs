//! Late fees, refunds and the like, as a customer reads them.
use protocol::{
    catalogue::replies::{DebitFailure, FailedDebit, MandateState, PaymentState, RefundState, SupplyState},
    payment::ProviderFailure,
};
use web::domain::money::Fen;

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

#[tokio::test]
async fn automatic_debit_is_set_up_signed_explained_and_ended() {
    let browser = Browser::logged_in("en").await;
    let account = accounts()[0].to_string();
    let page = format!("/debit?account={account}");
    assert!(browser.page(&format!("/payments?account={account}")).await.contains(&page));
    assert!(browser.page(&page).await.contains("Not set up"));
    let fields = |limit: &'static str, provider: &'static str| {
        [("account", account.clone()), ("limit", limit.to_owned()), ("provider", provider.to_owned())]
    };
    let submit = async |limit, provider| {
        let fields = fields(limit, provider);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.submit(&page, "/debit", &fields).await
    };
    for (limit, provider) in [("123", "sim-pay"), ("-200", "sim-pay"), ("500", "nobody")] {
        let refused = submit(limit, provider).await;
        assert!(refused.status().is_client_error(), "{limit} {provider}: {}", refused.status());
    }
    let signing = submit("500", "sim-pay").await;
    assert!(place(&signing).starts_with("http://127.0.0.1:9/mandate?mandate=md_"));
    let unsigned = browser.page(&page).await;
    assert!(unsigned.contains("Go there and sign") && unsigned.contains("Waiting for your signature"));
    browser.portal.inside.mandate(|mandate| {
        mandate.state = MandateState::Active;
        mandate.next_run_ms = Some(1_787_300_000_000);
        mandate.last_failure = Some(FailedDebit {
            at_ms: 1_787_200_000_000,
            amount_fen: Fen(4883),
            why: DebitFailure::InsufficientFunds,
        });
    });
    let on = browser.page(&page).await;
    assert!(
        on.contains("The last debit, of ¥48.83 on 20 Aug 2026, was not made: there was not enough money.")
    );
    assert!(on.contains("It is tried again on") && on.contains("¥500.00"), "{on}");
    let ended = browser.submit(&page, "/debit/end", &[("account", account.as_str())]).await;
    assert_eq!(place(&ended), page);
    assert!(browser.page(&page).await.contains("You ended it on 18 Aug 2026."));
    browser
        .portal
        .inside
        .mandate(|mandate| (mandate.state, mandate.by_another) = (MandateState::Active, true));
    let another = browser.page(&page).await;
    assert!(another.contains("Another person") && !another.contains("/debit/end"), "{another}");
}

#[tokio::test]
async fn what_became_credit_can_be_asked_back_and_a_debit_says_why_it_failed() {
    let browser = Browser::logged_in("zh-CN").await;
    let account = accounts()[0].to_string();
    let ordered = browser
        .submit("/pay", "/pay", &[("account", account.as_str()), ("amount", "400"), ("provider", "sim-pay")])
        .await;
    let id = place(&ordered).split_once("order=").unwrap().1.to_owned();
    let page = format!("/payments/{id}");
    browser.portal.inside.settle(id.parse().unwrap(), 2);
    let shown = browser.page(&page).await;
    assert!(shown.contains("本次缴费有 400.00 元 转为账户余额") && shown.contains("申请退款"), "{shown}");
    for wrong in ["400.01", "0", "x"] {
        let refused = browser.submit(&page, &format!("{page}/refund"), &[("amount", wrong)]).await;
        assert_eq!(refused.status(), 422, "{wrong}");
        assert!(refused.text().await.unwrap().contains("请输入金额，不超过 400.00 元。"));
    }
    let asked = browser.submit(&page, &format!("{page}/refund"), &[("amount", "400")]).await;
    assert_eq!(place(&asked), page);
    let shown = browser.page(&page).await;
    assert!(shown.contains("退款中") && !shown.contains("申请退款"), "{shown}");
    browser.portal.inside.payment(id.parse().unwrap(), |payment| {
        payment.refunds[0].state = RefundState::Failed;
        (payment.receipt, payment.is_automatic) = (None, true);
        (payment.state, payment.failure) = (PaymentState::Failed, Some(ProviderFailure::InsufficientFunds));
    });
    let failed = browser.page(&page).await;
    assert!(failed.contains("未扣款：余额不足。") && failed.contains("退款失败"), "{failed}");
}
