//! Paying: an amount, a confirmation, and over to the payment provider.
use askama::Template;
use axum::{http::StatusCode, response::Response};
use protocol::{
    AccountId,
    bounds::{PayableFen, ShortName},
    catalogue::{
        replies::{AccountSummary, BillBrief, BillState},
        requests,
    },
};
use serde::Deserialize;
use web::{domain::money::Fen, words};

use super::{
    debit::DebitWords,
    home::AccountQuery,
    shell::{Shell, Tab},
    visit::{Again, Asked, Made, Page, Posted, Stop, Visit, Written},
};

/// The payment providers one can choose from.
const PROVIDERS: &[&str] = &[SIMULATED];
/// The one of `gridesk sim`, with which no money moves.
pub(super) const SIMULATED: &str = "sim-pay";

#[derive(Deserialize)]
pub(super) struct PayForm {
    form: String,
    key: String,
    pub(super) account: String,
    amount: String,
    provider: String,
}

#[derive(Template)]
#[template(path = "pay.html")]
struct Pay {
    shell: Shell,
    action: String,
    for_other: bool,
    account: String,
    account_number: String,
    holder: String,
    address: String,
    amount: String,
    hint: String,
    wrong: bool,
    is_en: bool,
    /// Each bill and late fee that is owed, where they are several: what, where it is, how much.
    items: Vec<(String, String, String)>,
    /// Said while a debit is under way by itself.
    debited: Option<&'static str>,
    providers: Vec<Provider>,
}

/// A provider one can choose, on a form.
pub(super) struct Provider {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) is_chosen: bool,
}

/// The providers to choose from, the first chosen.
pub(super) fn providers(visit: &Visit) -> Vec<Provider> {
    let offered = PROVIDERS.iter().enumerate();
    offered.map(|(index, name)| Provider { name, label: visit.w.pay_sim, is_chosen: index == 0 }).collect()
}

/// The provider a form names.
pub(super) fn chosen_provider(name: &str) -> Result<ShortName, Stop> {
    let known = PROVIDERS.contains(&name).then(|| name.parse().ok()).flatten();
    known.ok_or(Stop::Form)
}

/// `GET /pay`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<AccountQuery>) -> Response {
    let asked = query.account;
    let made = show(&mut visit, asked.as_deref(), None).await;
    visit.finish(made)
}

/// `POST /pay`: orders the payment and goes to the provider.
pub(super) async fn order(mut visit: Visit, Posted(form): Posted<PayForm>) -> Response {
    let made = match form {
        Ok(form) => create(&mut visit, form, false).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

/// Orders a payment for one's own account, or `for_other`'s.
pub(super) async fn create(visit: &mut Visit, form: PayForm, for_other: bool) -> Made {
    visit.check_form(&form.form)?;
    let account: AccountId = form.account.parse().map_err(|_| Stop::NotFound)?;
    let provider = chosen_provider(&form.provider)?;
    let Some(amount_fen) = payable(&form.amount) else {
        return match for_other {
            true => show_for_other(visit, &form.account, Some(form.amount)).await,
            false => show(visit, Some(&form.account), Some(form.amount)).await,
        };
    };
    visit.again = Some(Again {
        action: if for_other { format!("/pay/other/{account}") } else { "/pay".to_owned() },
        fields: vec![
            ("form", form.form.clone()),
            ("key", form.key.clone()),
            ("account", form.account.clone()),
            ("amount", form.amount.clone()),
            ("provider", form.provider.clone()),
        ],
        unknown: visit.w.pay_unknown,
        is_payment: true,
    });
    let said = [form.account.as_str(), &i64::from(amount_fen).to_string(), provider.as_str()];
    let operation = requests::PaymentCreate { account, amount_fen, provider: provider.clone() };
    Ok(Page::See(match visit.write(&form.key, &said, operation).await? {
        Written::Done(created) if is_web_address(&created.pay_url, visit.portal.is_secure()) => {
            created.pay_url
        }
        Written::Done(created) => format!("/payments/{}", created.payment),
        Written::Accepted(operation) => format!("/working/{operation}?next=/payments"),
    }))
}

/// Reads what people write for an amount: `706.24`, `1,000`, `¥100`, `100 元`. A comma groups thousands or is refused: to
/// many it is a decimal point, and `107,75` must not become a hundred times as much.
pub(super) fn payable(text: &str) -> Option<PayableFen> {
    let plain = |c: char| match c {
        ' ' | '¥' | '￥' | '元' => None,
        '，' => Some(','),
        other => Some(other),
    };
    let kept: String = text.chars().filter_map(plain).take(20).collect();
    let (whole, rest) =
        kept.split_once('.').map_or((kept.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    let is_grouped = whole.contains(',');
    if is_grouped && (!(1..=3).contains(&first.len()) || !groups.all(is_group)) {
        return None;
    }
    let digits = whole.replace(',', "");
    let number = rest.map_or_else(|| digits.clone(), |rest| format!("{digits}.{rest}"));
    Fen::parse(&number).ok().and_then(|fen| PayableFen::try_from(fen.0).ok())
}

/// Whether a provider's address is one to send a customer to.
pub(super) fn is_web_address(url: &str, only_https: bool) -> bool {
    let plain = url.len() <= 2048 && url.bytes().all(|b| b.is_ascii_graphic());
    plain && (url.starts_with("https://") || (!only_https && url.starts_with("http://")))
}

async fn show(visit: &mut Visit, asked: Option<&str>, wrong: Option<String>) -> Made {
    let chosen = visit.choose_account(asked).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/accounts/bind".to_owned())) };
    let AccountSummary { holder, address, balance, .. } =
        visit.read(requests::AccountSummary { account }).await?;
    let bills = visit.read(requests::BillList { account, before: None, limit: 24 }).await?.bills;
    let shell = Shell::within(visit, visit.w.pay_title, Tab::Payments, &chosen);
    let (due_fen, late_fee_fen) = (balance.due_fen, balance.late_fee_fen);
    let mandate = visit.read(requests::MandateGet { account }).await?.mandate;
    let is_debited = mandate.is_some_and(|mandate| mandate.running.is_some());
    let items = items(visit, &bills);
    let whom = Whom { is_debited, account, holder, address, due_fen, late_fee_fen, items };
    render(visit, shell, "/pay".to_owned(), whom, wrong)
}

/// What is owed, bill by bill; nothing where it is one thing.
fn items(visit: &Visit, bills: &[BillBrief]) -> Vec<(String, String, String)> {
    let (w, f) = (visit.w, visit.f);
    let mut items = Vec::new();
    for bill in bills.iter().rev().filter(|bill| bill.state != BillState::Paid) {
        let mut owed = |label, fen: Fen| {
            let label = words::fill(label, &[&f.month(bill.month)]);
            if fen > Fen::ZERO {
                items.push((label, format!("/bills/{}", bill.bill), f.money(fen)));
            }
        };
        owed(w.receipt_bill, bill.amount_fen - bill.paid_fen);
        owed(w.receipt_late_fee, bill.late_fee_fen - bill.late_fee_paid_fen);
    }
    if items.len() > 1 { items } else { Vec::new() }
}

/// The same for an account that is somebody else's.
pub(super) async fn show_for_other(visit: &mut Visit, asked: &str, wrong: Option<String>) -> Made {
    let account: AccountId = asked.parse().map_err(|_| Stop::NotFound)?;
    let chosen = visit.choose_account(None).await?;
    let payee = visit.read(requests::PayeeGet { account }).await?;
    let shell = Shell::within(visit, visit.w.payee_title, Tab::Payments, &chosen);
    let whom = Whom {
        account,
        holder: payee.holder,
        address: payee.address,
        due_fen: payee.due_fen,
        late_fee_fen: Fen::ZERO,
        items: Vec::new(),
        is_debited: false,
    };
    render(visit, shell, format!("/pay/other/{account}"), whom, wrong)
}

/// For whom a payment is.
struct Whom {
    account: AccountId,
    holder: String,
    address: String,
    due_fen: Fen,
    /// Of that, late fees; not said of another's account.
    late_fee_fen: Fen,
    items: Vec<(String, String, String)>,
    is_debited: bool,
}

fn render(visit: &Visit, shell: Shell, action: String, whom: Whom, wrong: Option<String>) -> Made {
    let (w, f) = (visit.w, visit.f);
    let for_other = action != "/pay";
    let is_due = whom.due_fen > Fen::ZERO;
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let hint = match (is_due, for_other) {
        (true, true) => words::fill(w.payee_due_hint, &[&f.money(whom.due_fen)]),
        (true, false) if whom.late_fee_fen > Fen::ZERO => {
            words::fill(w.pay_due_late_hint, &[&f.money(whom.due_fen), &f.money(whom.late_fee_fen)])
        }
        (true, false) => words::fill(w.pay_due_hint, &[&f.money(whom.due_fen)]),
        (false, true) => w.payee_none_due_hint.to_owned(),
        (false, false) => w.pay_none_due_hint.to_owned(),
    };
    let page = Pay {
        shell,
        action,
        for_other,
        account: f.account(whom.account),
        account_number: whom.account.to_string(),
        holder: whom.holder,
        address: whom.address,
        hint: if wrong.is_some() { w.pay_amount_wrong.to_owned() } else { hint },
        wrong: wrong.is_some(),
        amount: wrong.unwrap_or_else(|| if is_due { whom.due_fen.to_string() } else { String::new() }),
        is_en: !visit.is_zh(),
        items: whom.items,
        debited: whom.is_debited.then(|| DebitWords::of(visit.language).running_pay),
        providers: providers(visit),
    };
    Ok(Page::Html { body: page.render()?, status, targets: visit.portal.payment_targets() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        let read = |text| payable(text).map(i64::from);
        assert_eq!(
            (read("706.24"), read("¥1,000"), read(" 100 元")),
            (Some(70_624), Some(100_000), Some(10_000))
        );
        assert_eq!(
            (read("1,234.50"), read("12，345"), read("0.01")),
            (Some(123_450), Some(1_234_500), Some(1))
        );
        for bad in [
            "107,75",
            "1,5",
            "12,34",
            ",123",
            "1,,000",
            "1.234,50",
            "1234,567",
            "1,23a",
            "1.2.3",
            "",
            "0",
            "-5",
            "1.234",
            "abc",
            "99999999999999999999999",
            "1e9",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn customers_are_sent_to_web_addresses_only() {
        assert!(is_web_address("https://pay.example/x?o=1", true));
        assert!(is_web_address("http://127.0.0.1:9/pay", false));
        for bad in ["http://pay.example", "javascript:alert(1)", "//x", "https://a b", ""] {
            assert!(!is_web_address(bad, true), "{bad}");
        }
    }
}
