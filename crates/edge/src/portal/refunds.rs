//! Credit back: what of a payment can be asked back, and what is on its way.
use axum::{extract::Path, response::Response};
use protocol::{
    PaymentId,
    catalogue::{
        replies::{PaymentGet, RefundState},
        requests,
    },
};
use serde::Deserialize;
use web::{domain::money::Fen, words};

use super::{
    debit::DebitWords,
    pay::payable,
    payments,
    visit::{Made, Posted, Stop, Visit, after},
};

#[derive(Deserialize)]
pub(super) struct RefundForm {
    form: String,
    key: String,
    amount: String,
}

/// The part of a payment's page that is about money back.
pub(super) struct Refunds {
    pub(super) lead: String,
    /// What the form offers; `None` where nothing can be asked back.
    pub(super) amount: Option<String>,
    pub(super) wrong: Option<String>,
    pub(super) rows: Vec<RefundRow>,
}

pub(super) struct RefundRow {
    pub(super) amount: String,
    pub(super) when: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
}

/// What there is to show; `None` where there is nothing. `wrong` is an amount that cannot be.
pub(super) fn of(visit: &Visit, reply: &PaymentGet, wrong: Option<&str>) -> Option<Refunds> {
    let (d, f) = (DebitWords::of(visit.language), visit.f);
    // Where nothing can go back any more, the center says why.
    let most = reply.refundable_fen;
    if most == Fen::ZERO && reply.payment.refunds.is_empty() {
        return None;
    }
    let rows = reply.payment.refunds.iter().map(|refund| {
        let (state, tone) = match refund.state {
            RefundState::UnderWay => (d.refund_under_way, ""),
            RefundState::Done => (d.refund_done, "good"),
            RefundState::Failed => (d.refund_failed, "warn"),
        };
        let when = f.instant(refund.ended_ms.unwrap_or(refund.asked_ms));
        RefundRow { amount: f.money(refund.amount_fen), when, state, tone }
    });
    Some(Refunds {
        lead: words::fill(d.refund_lead, &[&f.money(most)]),
        amount: (most > Fen::ZERO).then(|| wrong.map_or_else(|| most.to_string(), str::to_owned)),
        wrong: wrong.map(|_| words::fill(d.refund_wrong, &[&f.money(most)])),
        rows: rows.collect(),
    })
}

/// `POST /payments/{id}/refund`
pub(super) async fn ask(
    mut visit: Visit,
    Path(id): Path<String>,
    Posted(form): Posted<RefundForm>,
) -> Response {
    let made = match form {
        Ok(form) => create(&mut visit, &id, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn create(visit: &mut Visit, id: &str, form: RefundForm) -> Made {
    visit.check_form(&form.form)?;
    let payment: PaymentId = id.parse().map_err(|_| Stop::NotFound)?;
    let reply = visit.read(requests::PaymentGet { payment }).await?;
    // Where nothing can go back any more, the center says why.
    let most = reply.refundable_fen;
    let Some(amount_fen) = payable(&form.amount).filter(|fen| fen.fen() <= most || most == Fen::ZERO) else {
        return payments::show(visit, id, Some(&form.amount)).await;
    };
    let operation = requests::RefundCreate { payment, amount_fen };
    let written = visit.write(&form.key, &[id, &form.amount], operation).await?;
    Ok(after(written, &format!("/payments/{payment}")))
}
