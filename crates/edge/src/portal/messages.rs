//! What the customer was told.
use askama::Template;
use axum::response::Response;
use protocol::{
    bounds::NoticeNumber,
    catalogue::{
        replies::{Notice, NoticeBody, RefundState},
        requests,
    },
};
use serde::Deserialize;
use web::words;

use super::{
    debit::{DebitWords, why},
    requests::state,
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Posted, Visit, Written},
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct MessagesQuery {
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "messages.html")]
struct Messages {
    shell: Shell,
    messages: Vec<Message>,
    newest: Option<u64>,
    has_unread: bool,
    older_href: Option<String>,
    newest_href: Option<&'static str>,
}

struct Message {
    href: String,
    title: String,
    text: String,
    when: String,
    icon: &'static str,
    is_new: bool,
}

/// `GET /messages`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<MessagesQuery>) -> Response {
    let made = list(&mut visit, query.before).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit, before: Option<u64>) -> Made {
    let chosen = visit.choose_account(None).await?;
    let list = visit.read(requests::NoticeList { before, limit: 0 }).await?;
    let page = Messages {
        shell: Shell::within(visit, visit.w.messages_title, Tab::Me, &chosen),
        messages: list.notices.iter().map(|notice| shown(visit, notice)).collect(),
        newest: list.notices.first().map(|notice| notice.number),
        has_unread: list.unread > 0,
        older_href: list.next_before.map(|number| format!("/messages?before={number}")),
        newest_href: before.map(|_| "/messages"),
    };
    Ok(Page::html(page.render()?))
}

fn shown(visit: &Visit, notice: &Notice) -> Message {
    let (w, f, d) = (visit.w, visit.f, DebitWords::of(visit.language));
    let (href, title, text, icon) = match &notice.body {
        NoticeBody::Request { request, title_en, title_zh, state: at, text } => {
            let name = if visit.is_zh() { title_zh } else { title_en };
            let title = words::fill(w.message_request, &[name, &state(visit, *at).0]);
            (format!("/requests/{request}"), title, text.clone(), "request")
        }
        NoticeBody::Payment { payment, account, amount_fen } => {
            let text = words::fill(w.message_payment_for, &[&f.account(*account)]);
            let title = words::fill(w.message_payment, &[&f.money(*amount_fen)]);
            (format!("/payments/{payment}"), title, text, "pay")
        }
        NoticeBody::Refund { payment, account, amount_fen, state } => {
            let text = words::fill(w.message_payment_for, &[&f.account(*account)]);
            let said =
                if *state == RefundState::Failed { d.message_refund_failed } else { d.message_refund_done };
            (format!("/payments/{payment}"), words::fill(said, &[&f.money(*amount_fen)]), text, "pay")
        }
        NoticeBody::Mandate { account, state } => {
            let text = words::fill(w.message_payment_for, &[&f.account(*account)]);
            let title = if state.has_ended() { d.message_ended } else { d.message_signed };
            (format!("/debit?account={account}"), title.to_owned(), text, "pay")
        }
        NoticeBody::DebitFailed { account, amount_fen, why: reason, again_ms } => {
            let about = words::fill(w.message_payment_for, &[&f.account(*account)]);
            let then =
                again_ms.map_or_else(|| d.pay_self.to_owned(), |at| words::fill(d.again, &[&f.instant(at)]));
            let text = format!("{about} · {} {then}", why(d, *reason));
            let title = words::fill(d.message_failed, &[&f.money(*amount_fen)]);
            (format!("/debit?account={account}"), title, text, "info")
        }
    };
    Message { href, title, text, when: f.instant(notice.at_ms), icon, is_new: !notice.read }
}

/// Marks messages as read.
#[derive(Debug, Deserialize)]
pub(super) struct ReadForm {
    form: String,
    key: String,
    through: NoticeNumber,
}

/// `POST /messages`
pub(super) async fn read(mut visit: Visit, Posted(form): Posted<ReadForm>) -> Response {
    let made = match form {
        Ok(form) => mark(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn mark(visit: &mut Visit, form: ReadForm) -> Made {
    visit.check_form(&form.form)?;
    let said = form.through.get().to_string();
    let operation = requests::NoticeRead { through: form.through };
    Ok(Page::See(match visit.write(&form.key, &[&said], operation).await? {
        Written::Done(_) => "/messages".to_owned(),
        Written::Accepted(operation) => format!("/working/{operation}?next=/messages"),
    }))
}
