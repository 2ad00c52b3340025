//! The customer portal: pages made on the server that work without script.
//!
//! It reads and writes only through [`Inward`], as any channel does; what it keeps between two pages (session tokens,
//! how far the customer has seen, language, the account shown) it keeps in the customer's own cookies.
use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use protocol::Problem;
use tokio_util::sync::CancellationToken;
use web::headers::FormTargets;

use self::visit::{Stop, Visit};
use crate::{
    config::{Config, Sms},
    files::Files,
    inward::Inward,
};

mod accounts;
mod ask;
mod audit;
mod bill;
mod bills;
mod bind;
mod cookies;
mod data;
mod debit;
mod developers;
mod errors;
mod exports;
mod home;
mod live;
mod login;
mod me;
mod messages;
mod outages;
mod pay;
mod payee;
mod payments;
mod phone;
mod refunds;
mod requests;
mod session;
mod settings;
mod shell;
mod tariffs;
mod unbind;
mod uploads;
mod usage;
mod usage_year;
mod visit;
mod why;
mod words;
mod working;

/// Where the portal's forms send files.
pub(crate) const UPLOADS: &str = "/requests/{id}/files";
/// No form of the portal is longer, in bytes.
const FORM_MAX: usize = 16 * 1024;

/// What every page has at hand. Cheap to clone.
#[derive(Clone)]
struct Portal {
    inward: Inward,
    config: Arc<Config>,
    files: Files,
    /// Answers that go on end with it.
    closing: CancellationToken,
}

impl Portal {
    /// Whether customers come by https: cookies then say so, and payments go nowhere else.
    fn is_secure(&self) -> bool {
        self.config.public_url.starts_with("https://")
    }

    /// Where short messages can be read on a demonstration system; `None` where they reach real phones.
    fn demo_inbox_url(&self) -> Option<String> {
        match &self.config.sms {
            Sms::Sim { url } => Some(format!("{url}/inbox")),
        }
    }

    /// Where the forms of the payment page may lead.
    fn payment_targets(&self) -> FormTargets {
        FormTargets::Payment { plain_http: !self.is_secure() }
    }
}

/// Which page asks for or shows which operation; forms are at the address of their page.
pub const PAGES: &[(&str, &str)] = &[
    ("login_start", "/login"),
    ("login_finish", "/login/code"),
    ("session_end", "/logout"),
    ("account_list", "/accounts"),
    ("account_summary", "/"),
    ("account_bind_start", "/accounts/bind"),
    ("account_bind", "/accounts/bind"),
    ("account_bind", "/accounts/bind/code"),
    ("account_unbind", "/accounts/{account}/unbind"),
    ("account_unbind", "/accounts/{account}/unbind/code"),
    ("payee_get", "/pay/other"),
    ("tier_get", "/"),
    ("usage_year", "/usage"),
    ("tariff_quote", "/tariffs"),
    ("tariff_compare", "/tariffs"),
    ("account_unbind_start", "/accounts/{account}/unbind"),
    ("bill_list", "/bills"),
    ("bill_get", "/bills/{id}"),
    ("usage_month", "/usage"),
    ("payment_create", "/pay"),
    ("payment_create", "/pay/other/{account}"),
    ("payment_get", "/payments/{id}"),
    ("payment_list", "/payments"),
    ("refund_create", "/payments/{id}/refund"),
    ("mandate_create", "/debit"),
    ("mandate_get", "/debit"),
    ("mandate_end", "/debit/end"),
    ("form_list", "/requests/new"),
    ("request_create", "/requests/new/{form}"),
    ("fault_report", "/requests/fault"),
    ("request_list", "/requests"),
    ("request_get", "/requests/{id}"),
    ("request_note", "/requests/{id}/note"),
    ("request_cancel", "/requests/{id}/cancel"),
    ("file_create", "/requests/{id}/files"),
    ("outage_list", "/outages"),
    ("notice_list", "/messages"),
    ("notice_read", "/messages"),
    ("person_get", "/me/data"),
    ("person_correct", "/me/data"),
    ("person_delete_start", "/me/delete"),
    ("person_delete", "/me/delete/code"),
    ("phone_change_start", "/me/phone"),
    ("phone_change", "/me/phone/code"),
    ("preferences_get", "/me/settings"),
    ("preferences_set", "/me/settings"),
    ("session_list", "/me/sessions"),
    ("session_end_other", "/me/sessions"),
    ("export_create", "/exports"),
    ("export_list", "/exports"),
    ("export_get", "/exports/{id}/content"),
    ("operation_get", "/working/{operation}"),
    ("staff_login", "/audit/login"),
];

/// The portal's pages and their assets.
pub fn router(inward: Inward, config: Arc<Config>, files: Files, closing: CancellationToken) -> Router {
    Router::new()
        .route("/", get(home::page))
        .route("/login", get(login::page).post(login::send))
        .route("/login/code", get(login::code_page).post(login::finish))
        .route("/logout", post(login::leave))
        .route("/accounts", get(accounts::page))
        .route("/accounts/{account}", get(accounts::one))
        .route("/accounts/{account}/unbind", get(unbind::page).post(unbind::start))
        .route("/accounts/{account}/unbind/code", get(unbind::code_page).post(unbind::finish))
        .route("/accounts/bind", get(bind::page).post(bind::start))
        .route("/accounts/bind/code", get(bind::code_page).post(bind::finish))
        .route("/bills", get(bills::page))
        .route("/bills/{id}", get(bill::page))
        .route("/usage", get(usage::page))
        .route("/exports", get(exports::page).post(exports::ask))
        .route("/exports/{id}/content", get(exports::content))
        .route("/exports/{id}/live", get(live::exports))
        .route("/tariffs", get(tariffs::page))
        .route("/pay", get(pay::page).post(pay::order))
        .route("/pay/other", get(payee::page).post(payee::look))
        .route("/pay/other/{account}", get(payee::pay_page).post(payee::order))
        .route("/payments", get(payments::page))
        .route("/payments/{id}", get(payments::one))
        .route("/payments/{id}/live", get(live::payment))
        .route("/payments/{id}/refund", post(refunds::ask))
        .route("/debit", get(debit::page).post(debit::set_up))
        .route("/debit/end", post(debit::end))
        .route("/requests", get(requests::page))
        .route("/requests/new", get(ask::page))
        .route("/requests/new/{form}", get(ask::form_page).post(ask::send))
        .route("/requests/fault", get(ask::fault_page).post(ask::fault))
        .route("/requests/{id}", get(requests::one))
        .route("/requests/{id}/live", get(live::request))
        .route("/requests/{id}/note", post(requests::note))
        .route("/requests/{id}/cancel", post(requests::cancel))
        .route(UPLOADS, post(uploads::take).layer(DefaultBodyLimit::disable()))
        .route("/requests/{id}/files/{file}/withdraw", post(uploads::withdraw))
        .route("/audit", get(audit::list))
        .route("/audit/login", get(audit::login_page).post(audit::login))
        .route("/audit/logout", post(audit::leave))
        .route("/audit/{file}", get(audit::one).post(audit::decide))
        .route("/audit/{file}/look", get(audit::bytes))
        .route("/outages", get(outages::page))
        .route("/messages", get(messages::page).post(messages::read))
        .route("/me", get(me::page))
        .route("/me/data", get(data::page).post(data::correct))
        .route("/me/data/download", get(data::download))
        .route("/me/delete", get(data::delete_page).post(data::delete_start))
        .route("/me/delete/code", get(data::delete_code_page).post(data::delete))
        .route("/me/deleted", get(data::deleted))
        .route("/me/phone", get(phone::page).post(phone::start))
        .route("/me/phone/code", get(phone::code_page).post(phone::finish))
        .route("/me/settings", get(settings::page).post(settings::set))
        .route("/me/sessions", get(settings::sessions).post(settings::end))
        .route("/working/{operation}", get(working::page))
        .route("/developers", get(developers::page))
        .route("/developers/{operation}", get(developers::operation))
        .route("/assets/{name}", get(asset))
        .fallback(errors::not_found)
        .layer(DefaultBodyLimit::max(FORM_MAX))
        .with_state(Portal { inward, config, files, closing })
}

/// Says with a page, to who asked for one, that a request is refused before it comes to any page.
#[derive(Clone)]
pub(crate) struct Refusals(Portal);

impl Refusals {
    pub(crate) fn new(inward: Inward, config: Arc<Config>, files: Files) -> Self {
        Refusals(Portal { inward, config, files, closing: CancellationToken::new() })
    }

    /// Whether a page is what was asked for: an address outside of the API, by a program that shows pages.
    pub(crate) fn is_for_page(parts: &Parts) -> bool {
        let path = parts.uri.path();
        let is_api = path == "/v1" || path.starts_with("/v1/");
        let accepts =
            parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        !is_api && !path.starts_with("/assets/") && accepts.contains("text/html")
    }

    /// The page that says it.
    pub(crate) async fn page(&self, mut parts: Parts, problem: Problem) -> Response {
        let Ok(visit) = Visit::from_request_parts(&mut parts, &self.0).await;
        visit.finish(Err(Stop::Refused(problem)))
    }
}

/// Style sheet, script and icon, under names that change with their content.
async fn asset(Path(name): Path<String>) -> Response {
    match web::assets::find(&name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, web::assets::CACHE_CONTROL),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.body).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
