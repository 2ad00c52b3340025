//! What one wants to be told of, how one is spoken to, and where one is logged in.
use askama::Template;
use axum::response::Response;
use protocol::{
    Channel, SessionId,
    catalogue::{
        replies::{PreferencesGet, SessionBrief},
        requests::{self, Notices},
    },
};
use serde::Deserialize;
use web::{Language, language, words};

use super::{
    cookies::name,
    shell::{Shell, Tab},
    visit::{Asked, Made, Page, Posted, Stop, Visit, YEAR_S, after},
};

/// What a form with boxes sends: only those that are ticked.
#[derive(Deserialize)]
pub(super) struct SettingsForm {
    form: String,
    key: String,
    #[serde(default)]
    language: String,
    elder: Option<String>,
    bill_issued: Option<String>,
    payment_received: Option<String>,
    outage: Option<String>,
    request_progress: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct EndForm {
    form: String,
    key: String,
    #[serde(default)]
    session: String,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    shell: Shell,
    language: &'static str,
    elder: bool,
    saved: Option<&'static str>,
    notices: Notices,
}

/// Where one comes back to after saving.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SettingsQuery {
    saved: Option<String>,
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    shell: Shell,
    rows: Vec<Row>,
    others: bool,
}

struct Row {
    id: String,
    where_: &'static str,
    begun: String,
    is_current: bool,
}

/// `GET /me/settings`
pub(super) async fn page(mut visit: Visit, Asked(query): Asked<SettingsQuery>) -> Response {
    let made = show(&mut visit, query.saved.is_some()).await;
    visit.finish(made)
}

async fn show(visit: &mut Visit, saved: bool) -> Made {
    let chosen = visit.choose_account(None).await?;
    let PreferencesGet { language, notices, .. } = visit.read(requests::PreferencesGet {}).await?;
    let page = SettingsPage {
        shell: Shell::within(visit, visit.w.settings_title, Tab::Me, &chosen),
        language: language.map_or("", language::short),
        // As the page is: whoever saves something else keeps the type they read it in.
        elder: visit.elder,
        saved: saved.then_some(visit.w.settings_saved),
        notices,
    };
    Ok(Page::html(page.render()?))
}

/// `POST /me/settings`
pub(super) async fn set(mut visit: Visit, Posted(form): Posted<SettingsForm>) -> Response {
    let made = match form {
        Ok(form) => prefer(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn prefer(visit: &mut Visit, form: SettingsForm) -> Made {
    visit.check_form(&form.form)?;
    let language = language::parse(&form.language);
    let elder = form.elder.is_some();
    let notices = Notices {
        bill_issued: form.bill_issued.is_some(),
        payment_received: form.payment_received.is_some(),
        outage: form.outage.is_some(),
        request_progress: form.request_progress.is_some(),
    };
    let said = format!("{language:?} {elder} {notices:?}");
    let operation = requests::PreferencesSet { language, elder, notices };
    let written = visit.write(&form.key, &[&said], operation).await?;
    visit.take_preferences(language, elder);
    Ok(after(written, "/me/settings?saved=yes"))
}

impl Visit {
    /// Shows pages in the customer's language and type size from now on in this browser.
    pub(super) fn take_preferences(&mut self, language: Option<Language>, elder: bool) {
        if let Some(language) = language {
            self.cookies.set(name::LANGUAGE, language::short(language), YEAR_S);
        }
        self.cookies.set(name::SIZE, if elder { "large" } else { "normal" }, YEAR_S);
    }
}

/// `GET /me/sessions`
pub(super) async fn sessions(mut visit: Visit) -> Response {
    let made = list(&mut visit).await;
    visit.finish(made)
}

async fn list(visit: &mut Visit) -> Made {
    let chosen = visit.choose_account(None).await?;
    let sessions = visit.read(requests::SessionList {}).await?.sessions;
    let row = |session: &SessionBrief| {
        let used = session.used_ms.or(session.begun_ms).map(|ms| visit.f.instant(ms));
        Row {
            id: session.session.to_string(),
            where_: channel_name(visit, session.channel),
            begun: used.map(|at| words::fill(visit.w.sessions_used, &[&at])).unwrap_or_default(),
            is_current: session.is_current,
        }
    };
    let rows: Vec<Row> = sessions.iter().map(row).collect();
    let others = rows.iter().any(|row| !row.is_current);
    let shell = Shell::within(visit, visit.w.sessions_title, Tab::Me, &chosen);
    Ok(Page::html(SessionsPage { shell, rows, others }.render()?))
}

fn channel_name(visit: &Visit, channel: Option<Channel>) -> &'static str {
    let w = visit.w;
    match channel {
        Some(Channel::Portal) => w.channel_portal,
        Some(Channel::App) => w.channel_app,
        Some(Channel::Wechat) => w.channel_wechat,
        Some(Channel::Alipay) => w.channel_alipay,
        Some(Channel::Hotline) => w.channel_hotline,
        Some(Channel::Hall) => w.channel_hall,
        Some(Channel::Partner) => w.channel_partner,
        Some(Channel::System) | None => w.channel_unknown,
    }
}

/// `POST /me/sessions`: ends one of the others, or all.
pub(super) async fn end(mut visit: Visit, Posted(form): Posted<EndForm>) -> Response {
    let made = match form {
        Ok(form) => end_other(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn end_other(visit: &mut Visit, form: EndForm) -> Made {
    visit.check_form(&form.form)?;
    let session: Option<SessionId> = match form.session.as_str() {
        "all" => None,
        one => Some(one.parse().map_err(|_| Stop::Form)?),
    };
    let operation = requests::SessionEndOther { session };
    Ok(after(visit.write(&form.key, &[&form.session], operation).await?, "/me/sessions"))
}
