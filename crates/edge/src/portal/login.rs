//! Logging in with a code by short message, in two steps, and out again.
use askama::Template;
use axum::response::Response;
use protocol::{
    ChallengeId,
    bounds::{OneTimeCode, Phone},
    catalogue::requests,
};
use runtime::telemetry::RequestId;
use serde::Deserialize;
use web::words;

use super::{
    cookies::name,
    errors,
    shell::Shell,
    visit::{Again, Asked, Made, Page, Posted, Stop, Visit, Written, YEAR_S, local_path, typed_code},
};

/// How long a log-in may stay half done, in seconds.
const STEP_S: i64 = 1800;

#[derive(Debug, Default, Deserialize)]
pub(super) struct LoginQuery {
    next: Option<String>,
    over: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PhoneForm {
    form: String,
    key: String,
    phone: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct CodeForm {
    form: String,
    key: String,
    code: String,
}

#[derive(Deserialize)]
pub(super) struct LeaveForm {
    form: String,
    key: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    shell: Shell,
    phone: String,
    next: String,
    is_over: bool,
    wrong: Option<String>,
    demo_inbox: Option<String>,
}

#[derive(Template)]
#[template(path = "login_code.html")]
struct CodePage {
    shell: Shell,
    lead: String,
    phone: String,
    next: String,
    other_href: String,
    resend_in_s: u64,
    wrong: Option<String>,
    demo_inbox: Option<String>,
}

/// A log-in under way, as its cookie keeps it: `challenge|phone|minutes|resend at, in s|next`.
struct Step {
    challenge: ChallengeId,
    phone: Phone,
    minutes: u32,
    /// From when on another code may be asked for, in seconds since 1970.
    resend_at_s: u64,
    next: String,
}

impl Step {
    fn read(visit: &Visit) -> Option<Step> {
        let mut parts = visit.cookies.get(name::LOGIN)?.splitn(5, '|');
        Some(Step {
            challenge: parts.next()?.parse().ok()?,
            phone: parts.next()?.parse().ok()?,
            minutes: parts.next()?.parse().ok()?,
            resend_at_s: parts.next()?.parse().ok()?,
            next: local_path(parts.next()?)?.to_owned(),
        })
    }

    fn write(&self) -> String {
        let Step { challenge, phone, minutes, resend_at_s, next } = self;
        // A path that holds what separates cookies is not worth coming back to.
        let next = if next.contains([';', ',', '"']) { "/" } else { next };
        format!("{challenge}|{phone}|{minutes}|{resend_at_s}|{next}")
    }
}

/// `GET /login`
pub(super) async fn page(visit: Visit, Asked(query): Asked<LoginQuery>) -> Response {
    let LoginQuery { next, over } = query;
    let next = next.as_deref().and_then(local_path).unwrap_or("/").to_owned();
    let phone = Step::read(&visit).map(|step| step.phone.to_string()).unwrap_or_default();
    let made = login_page(&visit, phone, next, over.is_some(), None).map(Page::html);
    visit.finish(made)
}

/// `POST /login`: sends a code.
pub(super) async fn send(mut visit: Visit, Posted(form): Posted<PhoneForm>) -> Response {
    let made = match form {
        Ok(form) => send_code(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn send_code(visit: &mut Visit, form: PhoneForm) -> Made {
    visit.check_form(&form.form)?;
    let next = local_path(&form.next).unwrap_or("/").to_owned();
    let typed: String = form.phone.chars().filter(|c| !matches!(c, ' ' | '-')).take(20).collect();
    let Ok(phone) = typed.strip_prefix("+86").unwrap_or(&typed).parse::<Phone>() else {
        let wrong = visit.w.login_phone_wrong.to_owned();
        return login_page(visit, typed, next, false, Some(wrong)).map(Page::not_accepted);
    };
    visit.again = Some(Again {
        action: "/login".to_owned(),
        fields: vec![
            ("form", form.form.clone()),
            ("key", form.key.clone()),
            ("phone", phone.to_string()),
            ("next", next.clone()),
        ],
        unknown: visit.w.login_unknown,
        is_payment: false,
    });
    let asked = visit
        .write_before_login(&form.key, &[phone.as_str()], requests::LoginStart { phone: phone.clone() })
        .await;
    let started = match asked {
        Ok(Written::Done(reply)) => reply,
        Ok(Written::Accepted(_)) => return Err(Stop::Pending),
        Err(Stop::Problem(problem)) if problem.code.status() == 429 => {
            let wrong = errors::too_often(visit, &problem);
            // The code that came before is still good: it can be entered where it was asked for.
            if let Some(step) = Step::read(visit).filter(|step| step.phone == phone) {
                return show_code_page(visit, step, Some(wrong)).map(Page::not_accepted);
            }
            return login_page(visit, phone.to_string(), next, false, Some(wrong)).map(Page::not_accepted);
        }
        Err(stop) => return Err(stop),
    };
    let minutes = (started.expires_in_s / 60).max(1);
    let step = Step {
        challenge: started.challenge,
        phone,
        minutes,
        resend_at_s: now_s(visit) + u64::from(started.resend_in_s.min(600)),
        next,
    };
    visit.cookies.set(name::LOGIN, step.write(), STEP_S);
    Ok(Page::See("/login/code".to_owned()))
}

/// `GET /login/code`
pub(super) async fn code_page(visit: Visit) -> Response {
    let made = match Step::read(&visit) {
        Some(step) => show_code_page(&visit, step, None).map(Page::html),
        None => Ok(Page::See("/login".to_owned())),
    };
    visit.finish(made)
}

/// `POST /login/code`: opens the session.
pub(super) async fn finish(mut visit: Visit, Posted(form): Posted<CodeForm>) -> Response {
    let made = match form {
        Ok(form) => open_session(&mut visit, form).await,
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

async fn open_session(visit: &mut Visit, form: CodeForm) -> Made {
    visit.check_form(&form.form)?;
    let Some(step) = Step::read(visit) else { return Ok(Page::See("/login".to_owned())) };
    let typed = typed_code(&form.code);
    let Ok(code) = typed.parse::<OneTimeCode>() else {
        let wrong = visit.w.code_form.to_owned();
        return show_code_page(visit, step, Some(wrong)).map(Page::not_accepted);
    };
    visit.again = Some(Again {
        action: "/login/code".to_owned(),
        fields: vec![("form", form.form.clone()), ("key", form.key.clone()), ("code", typed.clone())],
        unknown: visit.w.login_unknown,
        is_payment: false,
    });
    let operation = requests::LoginFinish { challenge: step.challenge, code };
    let said = [step.challenge.to_string(), typed];
    let finished = match visit.write_before_login(&form.key, &[&said[0], &said[1]], operation).await {
        Ok(Written::Done(reply)) => reply,
        Ok(Written::Accepted(_)) => return Err(Stop::Pending),
        Err(Stop::Problem(problem)) => match errors::code_refused(visit, &problem) {
            Some(wrong) => return show_code_page(visit, step, Some(wrong)).map(Page::not_accepted),
            None => return Err(Stop::Problem(problem)),
        },
        // A challenge that is not there any more is one that has expired.
        Err(Stop::NotFound) => {
            let wrong = visit.w.code_expired.to_owned();
            return show_code_page(visit, step, Some(wrong)).map(Page::not_accepted);
        }
        Err(stop) => return Err(stop),
    };
    let Some(tokens) = finished.tokens else {
        let wrong = visit.w.code_expired.to_owned();
        return show_code_page(visit, step, Some(wrong)).map(Page::not_accepted);
    };
    errors::forget_steps(visit);
    visit.cookies.remove(name::ACCOUNT);
    visit.keep_tokens(&tokens);
    // What guards the forms of one customer is not that of the next.
    visit.cookies.set(name::FORM, RequestId::random().to_string(), YEAR_S);
    // As they like it, in whichever browser. Not worth failing a log-in for.
    if let Ok(preferences) = visit.read(requests::PreferencesGet {}).await
        && (preferences.language.is_some() || preferences.elder)
    {
        visit.take_preferences(preferences.language, preferences.elder);
    }
    Ok(Page::See(step.next))
}

/// `POST /logout`
pub(super) async fn leave(mut visit: Visit, Posted(form): Posted<LeaveForm>) -> Response {
    let made = match form.and_then(|form| visit.check_form(&form.form).map(|()| form)) {
        Ok(form) => {
            // Whatever the center says, this browser forgets its tokens; theirs lapse by themselves.
            if let Err(stop) = visit.write(&form.key, &[], requests::SessionEnd {}).await {
                tracing::info!(request_id = %visit.request_id(), ?stop, "logged out here, not ended inside");
            }
            visit.forget_session();
            errors::forget_steps(&mut visit);
            Ok(Page::See("/login".to_owned()))
        }
        Err(stop) => Err(stop),
    };
    visit.finish(made)
}

fn now_s(visit: &Visit) -> u64 {
    visit.portal.inward.clock().unix_ms() / 1000
}

fn login_page(
    visit: &Visit,
    phone: String,
    next: String,
    is_over: bool,
    wrong: Option<String>,
) -> Result<String, Stop> {
    let shell = Shell::bare(visit, visit.w.login_title);
    let demo_inbox = visit.portal.demo_inbox_url();
    Ok(LoginPage { shell, phone, next, is_over, wrong, demo_inbox }.render()?)
}

fn show_code_page(visit: &Visit, step: Step, wrong: Option<String>) -> Result<String, Stop> {
    let phone = step.phone.to_string();
    let shown = format!("{} {} {}", &phone[..3], &phone[3..7], &phone[7..]);
    let page = CodePage {
        shell: Shell::bare(visit, visit.w.code_title),
        lead: words::fill(visit.w.code_lead, &[&shown, &step.minutes]),
        phone,
        other_href: format!("/login?next={}", errors::encode(&step.next)),
        next: step.next,
        resend_in_s: step.resend_at_s.saturating_sub(now_s(visit)).min(600),
        wrong,
        demo_inbox: visit.portal.demo_inbox_url(),
    };
    Ok(page.render()?)
}
