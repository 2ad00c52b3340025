//! Payments: the list, and one from order to receipt.
use askama::Template;
use axum::{extract::Path, http::StatusCode, response::Response};
use protocol::{
    PaymentId,
    catalogue::{
        replies::{DebitFailure, Payment, PaymentState, Receipt, RefundState},
        requests,
    },
};
use serde::Deserialize;
use web::{domain::money::Fen, headers::FormTargets, words};

use super::{
    debit::{DebitWords, why},
    pay::{SIMULATED, is_web_address},
    refunds::{self, Refunds},
    shell::{Shell, Tab, figure},
    visit::{Asked, Made, Page, Stop, Visit},
};

/// How many payments a page shows.
const SHOWN: u8 = 20;
/// How often a page looks whether a payment has arrived, in seconds.
const LOOK_AGAIN_S: u32 = 2;

#[derive(Template)]
#[template(path = "payments.html")]
struct Payments {
    shell: Shell,
    d: &'static DebitWords,
    account: String,
    account_number: String,
    payments: Vec<Row>,
    newest_href: Option<String>,
    older_href: Option<String>,
}

/// Whose payments, and from where on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PaymentsQuery {
    account: Option<String>,
    before: Option<u64>,
}

struct Row {
    href: String,
    amount: String,
    when: String,
    by_another: bool,
    is_automatic: bool,
    state: &'static str,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "payment.html")]
struct OnePayment {
    shell: Shell,
    d: &'static DebitWords,
    title: &'static str,
    lead: String,
    is_automatic: bool,
    refunds: Option<Refunds>,
    icon: &'static str,
    tone: &'static str,
    is_open: bool,
    is_expired: bool,
    /// It is for an account that this customer has not bound.
    for_other: bool,
    by_another: bool,
    again_href: String,
    amount: String,
    account: String,
    ordered: String,
    provider: String,
    number: String,
    pay_url: Option<String>,
    open_until: String,
    nothing_due: Option<&'static str>,
    receipt: Option<ReceiptView>,
}

struct ReceiptView {
    number: String,
    paid_at: String,
    paid: String,
    transactions: Vec<String>,
    parts: Vec<Part>,
    twice: Option<String>,
}

struct Part {
    label: String,
    href: Option<String>,
    amount: String,
}

/// `GET /payments`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<PaymentsQuery>) -> Response {
    let made = list(&mut visit, query).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit, query: PaymentsQuery) -> Made {
    let chosen = visit.choose_account(query.account.as_deref()).await?;
    let Some(account) = chosen.account else { return Ok(Page::See("/".to_owned())) };
    let reply = visit.read(requests::PaymentList { account, before: query.before, limit: SHOWN }).await?;
    let d = DebitWords::of(visit.language);
    let row = |payment: &Payment| {
        let (state, tone) = match payment.state {
            PaymentState::Open => (visit.w.payment_state_open, ""),
            PaymentState::Paid => (visit.w.payment_state_paid, "good"),
            PaymentState::Expired => (visit.w.payment_state_expired, ""),
            PaymentState::Failed => (d.state_failed, "warn"),
        };
        let paid = payment.receipt.as_ref().map_or(payment.amount_fen, |receipt| receipt.paid_fen);
        Row {
            href: format!("/payments/{}", payment.payment),
            amount: visit.f.money(paid),
            when: visit.f.instant(payment.created_ms),
            by_another: payment.by_another,
            is_automatic: payment.is_automatic,
            state,
            tone,
        }
    };
    let page = Payments {
        shell: Shell::within(visit, visit.w.payments_title, Tab::Payments, &chosen),
        d,
        account: visit.f.account(account),
        account_number: account.to_string(),
        payments: reply.payments.iter().map(row).collect(),
        newest_href: query.before.map(|_| format!("/payments?account={account}")),
        older_href: reply.next_before.map(|before| format!("/payments?account={account}&before={before}")),
    };
    Ok(Page::html(page.render()?))
}

/// `GET /payments/{id}`
pub(super) async fn one(mut visit: Visit, Path(id): Path<String>) -> Response {
    let made = show(&mut visit, &id, None).await;
    visit.finish(made)
}

/// The page of a payment; `wrong` is an amount that was asked back and cannot be.
pub(super) async fn show(visit: &mut Visit, id: &str, wrong: Option<&str>) -> Made {
    let payment: PaymentId = id.parse().map_err(|_| Stop::NotFound)?;
    let reply = visit.read(requests::PaymentGet { payment }).await?;
    let mut chosen = visit.choose_account(None).await?;
    let for_other = !chosen.bound.iter().any(|bound| bound.account == reply.payment.account);
    if !for_other {
        chosen = visit.choose_account(Some(&reply.payment.account.to_string())).await?;
    }
    let is_waiting = reply.payment.state == PaymentState::Open && !reply.payment.is_automatic;
    let account = reply.payment.account;
    let is_due = match is_waiting && !for_other {
        true => visit.read(requests::AccountSummary { account }).await?.balance.due_fen > Fen::ZERO,
        false => true,
    };
    let (w, f, d) = (visit.w, visit.f, DebitWords::of(visit.language));
    let refunds = refunds::of(visit, &reply, wrong);
    let payment = reply.payment;
    let only_https = visit.portal.is_secure();
    let (title, lead, icon, tone) = match payment.state {
        PaymentState::Open if payment.is_automatic => (d.open, d.open_lead.to_owned(), "clock", ""),
        PaymentState::Open => (w.payment_open, w.payment_open_lead.to_owned(), "clock", ""),
        PaymentState::Failed => {
            let reason = payment.failure.map_or(DebitFailure::Other, DebitFailure::from);
            (d.not_made, words::fill(d.not_made_lead, &[&why(d, reason)]), "info", "warn")
        }
        PaymentState::Paid if for_other => (w.payment_paid, w.payee_paid_lead.to_owned(), "check", ""),
        PaymentState::Paid => (w.payment_paid, w.payment_paid_lead.to_owned(), "check", ""),
        PaymentState::Expired => (w.payment_expired, w.payment_expired_lead.to_owned(), "info", "warn"),
    };
    let is_open = payment.state == PaymentState::Open;
    let mut shell = Shell::within(visit, w.payment_title, Tab::Payments, &chosen);
    // So is money on its way back, as long as its row is not at its end.
    let moves = is_open || payment.refunds.iter().any(|refund| refund.state == RefundState::UnderWay);
    shell.frame.refresh_s = moves.then_some(LOOK_AGAIN_S);
    shell.frame.events = moves.then(|| format!("/payments/{}/live", payment.payment));
    let amount = payment.receipt.as_ref().map_or(payment.amount_fen, |receipt| receipt.paid_fen);
    let page = OnePayment {
        shell,
        title,
        d,
        lead,
        icon,
        tone,
        is_open,
        is_expired: matches!(payment.state, PaymentState::Expired | PaymentState::Failed),
        is_automatic: payment.is_automatic,
        refunds,
        amount: figure(&f.amount(amount), ""),
        account: f.account(payment.account),
        for_other,
        by_another: payment.by_another,
        again_href: if for_other {
            format!("/pay/other/{}", payment.account)
        } else {
            format!("/pay?account={}", payment.account)
        },
        ordered: f.instant(payment.created_ms),
        provider: provider_name(visit, &payment.provider),
        number: payment.payment.to_string(),
        pay_url: reply.pay_url.filter(|url| is_open && is_web_address(url, only_https)),
        nothing_due: (!is_due).then_some(w.payment_nothing_due),
        open_until: words::fill(w.payment_open_until, &[&f.instant(payment.expires_ms)]),
        receipt: payment.receipt.as_ref().map(|receipt| receipt_view(visit, receipt, for_other)),
    };
    let body = page.render()?;
    Ok(match wrong {
        Some(_) => Page::Html { body, status: StatusCode::UNPROCESSABLE_ENTITY, targets: FormTargets::Own },
        None => Page::html(body),
    })
}

pub(super) fn provider_name(visit: &Visit, provider: &str) -> String {
    if provider == SIMULATED { visit.w.pay_sim.to_owned() } else { provider.to_owned() }
}

fn receipt_view(visit: &Visit, receipt: &Receipt, for_other: bool) -> ReceiptView {
    let (w, f) = (visit.w, visit.f);
    let bills = receipt.bills.iter().map(|part| Part {
        label: words::fill(w.receipt_bill, &[&f.month(part.bill.month)]),
        href: Some(format!("/bills/{}", part.bill)),
        amount: f.money(part.amount_fen),
    });
    let late_fees = receipt.late_fees.iter().map(|part| Part {
        label: words::fill(w.receipt_late_fee, &[&f.month(part.bill.month)]),
        href: Some(format!("/bills/{}", part.bill)),
        amount: f.money(part.amount_fen),
    });
    let credit = (receipt.credit_fen > Fen::ZERO).then(|| Part {
        label: w.receipt_credit.to_owned(),
        href: None,
        amount: f.money(receipt.credit_fen),
    });
    // What the payment did there is for who has bound the account.
    let whole = for_other.then(|| Part {
        label: w.receipt_other.to_owned(),
        href: None,
        amount: f.money(receipt.paid_fen),
    });
    let debits = receipt.transactions.len();
    ReceiptView {
        number: receipt.number.clone(),
        paid_at: f.instant(receipt.paid_ms),
        paid: f.money(receipt.paid_fen),
        transactions: receipt.transactions.clone(),
        parts: bills.chain(late_fees).chain(credit).chain(whole).collect(),
        twice: (debits > 1).then(|| words::fill(w.receipt_twice, &[&debits])),
    }
}
