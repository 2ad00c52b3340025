//! Pages for when something does not work: what happened, whether anything was done, what to do next.
use askama::Template;
use axum::{http::StatusCode, response::Response};
use protocol::{Code, Problem};
use web::{headers::FormTargets, words};

use super::{
    cookies::name,
    shell::{Shell, Tab},
    visit::{Again, Page, Stop, Visit},
    words::Words,
};

/// How soon a page that may work in a moment is tried again, in seconds.
const AGAIN_S: u32 = 3;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    title: &'static str,
    lead: String,
    icon: &'static str,
    tone: &'static str,
    retry_href: Option<String>,
    retry: &'static str,
    again: Option<Again>,
    home: (&'static str, &'static str),
    request: String,
}

/// Any address that is none.
pub(super) async fn not_found(visit: Visit) -> Response {
    visit.finish(Err(Stop::NotFound))
}

/// The page for what stopped another one.
pub(super) fn page(visit: &mut Visit, stop: Stop) -> Page {
    if let Stop::LogIn = stop {
        let had_session = visit.is_logged_in();
        visit.forget_session();
        let next = visit.return_path();
        let over = if had_session { "&over=1" } else { "" };
        let next = if next == "/" { String::new() } else { format!("next={}", encode(&next)) };
        return Page::See(format!("/login?{next}{over}"));
    }
    let (title, mut lead, status, can_wait) = describe(visit, &stop);
    let mut shell = Shell::bare(visit, title);
    shell.with_tabs = visit.is_logged_in();
    shell.tab = Tab::None;
    let is_busy = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
    let can_repeat = visit.return_path() == visit.here;
    if is_busy && can_wait && can_repeat {
        shell.frame.refresh_s = Some(AGAIN_S);
    }
    let (retry_href, retry) = match &stop {
        Stop::Form => (visit.came_from.clone(), visit.w.error_form_again),
        _ => ((can_wait && can_repeat).then(|| visit.here.clone()), visit.w.error_retry),
    };
    let again = visit.again.take().filter(|_| is_busy);
    if let Some(again) = &again {
        lead = again.unknown.to_owned();
    }
    let leads_out = again.as_ref().is_some_and(|again| again.is_payment);
    let targets = if leads_out { visit.portal.payment_targets() } else { FormTargets::Own };
    let home = match visit.is_logged_in() {
        true => ("/", visit.w.error_home),
        false => ("/login", visit.w.log_in),
    };
    let request = words::fill(visit.w.error_request, &[&visit.request_id()]);
    let (icon, tone) = if is_busy { ("clock", "warn") } else { ("alert", "warn") };
    let page = ErrorPage { shell, title, lead, icon, tone, retry_href, retry, again, home, request };
    let body = page.render().unwrap_or_else(|_| format!("{title}. {}", page.request));
    Page::Html { body, status, targets }
}

/// Title, what to do, status, and whether trying again helps.
fn describe(visit: &Visit, stop: &Stop) -> (&'static str, String, StatusCode, bool) {
    let w = visit.w;
    let could_write = visit.return_path() != visit.here;
    match stop {
        Stop::NotFound | Stop::LogIn => {
            (w.error_not_found, w.error_not_found_lead.to_owned(), StatusCode::NOT_FOUND, false)
        }
        Stop::Form => (w.error_form, w.error_form_lead.to_owned(), StatusCode::FORBIDDEN, false),
        Stop::Pending => {
            (w.error_pending, w.error_pending_lead.to_owned(), StatusCode::SERVICE_UNAVAILABLE, true)
        }
        Stop::Problem(problem) | Stop::Refused(problem) => {
            let status =
                StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match status.as_u16() {
                429 => (w.error_often, too_often(visit, problem), status, true),
                503 if matches!(stop, Stop::Refused(_)) => {
                    (w.error_busy, w.error_full_lead.to_owned(), status, true)
                }
                503 | 504 if could_write => (w.error_busy, w.error_busy_lead.to_owned(), status, false),
                503 | 504 => (w.error_busy, w.error_read_lead.to_owned(), status, true),
                500.. => (w.error_internal, w.error_internal_lead.to_owned(), status, false),
                _ => (w.error_refused, w.error_refused_lead.to_owned(), status, false),
            }
        }
    }
}

/// What to tell somebody who was too fast.
pub(super) fn too_often(visit: &Visit, problem: &Problem) -> String {
    words::fill(visit.w.too_often, &[&soon(visit.w, problem.retry_after_s.unwrap_or(60))])
}

/// What to tell somebody who tried wrong proofs too often.
pub(super) fn too_many_tries(visit: &Visit, problem: &Problem) -> String {
    words::fill(visit.w.too_many_tries, &[&soon(visit.w, problem.retry_after_s.unwrap_or(60))])
}

/// When to come again, as one says it: `in 1 second`, `in 58 minutes`, `in 5 hours`, `tomorrow`; never too early.
fn soon(w: &Words, seconds: u32) -> String {
    const HOUR_S: u32 = 3600;
    const DAY_S: u32 = 24 * HOUR_S;
    match seconds {
        0..=1 => w.in_1_second.to_owned(),
        2..=90 => words::fill(w.in_seconds, &[&seconds]),
        91..=5400 => words::fill(w.in_minutes, &[&seconds.div_ceil(60)]),
        5401..=72_000 => words::fill(w.in_hours, &[&seconds.div_ceil(HOUR_S)]),
        72_001..=DAY_S => w.in_1_day.to_owned(),
        _ => words::fill(w.in_days, &[&seconds.div_ceil(DAY_S)]),
    }
}

/// What a form says about a refused one-time code; `None` where the problem is another.
pub(super) fn code_refused(visit: &Visit, problem: &Problem) -> Option<String> {
    let w = visit.w;
    Some(match problem.code {
        Code::CodeWrong => w.code_wrong.to_owned(),
        Code::CodeExpired => w.code_expired.to_owned(),
        Code::TooManyAttempts => w.code_attempts.to_owned(),
        Code::TooManyRequests => too_often(visit, problem),
        _ => return None,
    })
}

/// Ends whatever was under way with a code.
pub(super) fn forget_steps(visit: &mut Visit) {
    for step in [name::LOGIN, name::BIND, name::UNBIND, name::PHONE, name::DELETE] {
        visit.cookies.remove(step);
    }
}

/// Writes a path as a query's value (RFC 3986, 2.1).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use web::Language;

    use super::*;

    #[test]
    fn a_wait_is_said_as_people_say_it_and_never_too_short() {
        let say = |language, s| soon(Words::of(language), s);
        let en = [0, 1, 59, 90, 91, 3480, 5400, 5401, 18_000, 86_394, 86_400, 86_401]
            .map(|s| say(Language::En, s));
        assert_eq!(
            en.each_ref().map(String::as_str),
            [
                "in 1 second",
                "in 1 second",
                "in 59 seconds",
                "in 90 seconds",
                "in 2 minutes",
                "in 58 minutes",
                "in 90 minutes",
                "in 2 hours",
                "in 5 hours",
                "tomorrow",
                "tomorrow",
                "in 2 days",
            ]
        );
        let zh = [1, 3480, 18_000, 86_394].map(|s| say(Language::Zh, s));
        assert_eq!(zh.each_ref().map(String::as_str), [" 1 秒后", " 58 分钟后", " 5 小时后", "明天"]);
    }

    #[test]
    fn a_path_survives_a_query() {
        assert_eq!(encode("/bills?account=33&x=1"), "/bills%3Faccount%3D33%26x%3D1");
    }
}
