//! One visit of a page: who looks, in which language, what they have seen, and how the page asks inside for them.
use std::convert::Infallible;

use axum::{
    Form,
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::FormRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use protocol::{
    AccountId, Channel, Code, OperationId, Problem, Token,
    bounds::{BoundsError, IdempotencyKey},
    catalogue::Operation,
};
use runtime::telemetry::{RequestId, TraceContext};
use serde::de::DeserializeOwned;
use web::{
    Format, Language,
    headers::{self, FormTargets},
    language,
};

use super::{
    Portal,
    cookies::{Cookies, name},
    errors,
    words::Words,
};
use crate::inward::{Answered, Call};

/// How long a page waits for a write's result before it says that the write is under way, in ms.
const WAIT_MS: u32 = 8_000;
/// Preferences are kept for a year.
pub(super) const YEAR_S: i64 = 365 * 24 * 3600;
/// How long what one has seen is insisted on; by then it is visible everywhere.
const SEEN_S: i64 = 24 * 3600;

/// A visit of a page.
pub(super) struct Visit {
    /// What every page has at hand.
    pub(super) portal: Portal,
    /// The cookies that came, and those to be set.
    pub(super) cookies: Cookies,
    /// The language of the page.
    pub(super) language: Language,
    /// The portal's words in it.
    pub(super) w: &'static Words,
    /// How values are written in it.
    pub(super) f: Format,
    /// Whether type is large.
    pub(super) elder: bool,
    /// Path and query of a page that can be fetched again.
    pub(super) here: String,
    /// The page of ours that a form came from, as far as the browser says.
    pub(super) came_from: Option<String>,
    /// The form that came, to be sent once more should nobody know what has become of it.
    pub(super) again: Option<Again>,
    method: Method,
    is_same_origin: bool,
    base: Call,
}

/// A form as it came. Sent once more, its key makes it the same write.
pub(super) struct Again {
    /// Where it goes.
    pub(super) action: String,
    /// Its fields, hidden ones included.
    pub(super) fields: Vec<(&'static str, String)>,
    /// What to say while nobody knows what has become of it.
    pub(super) unknown: &'static str,
    /// Whether it may lead to a payment provider.
    pub(super) is_payment: bool,
}

/// What a page is.
pub(super) enum Page {
    /// A page to show.
    Html {
        /// The page.
        body: String,
        /// Its status.
        status: StatusCode,
        /// Where its forms may lead.
        targets: FormTargets,
    },
    /// Another place to go to.
    See(String),
}

/// Where to go after a write.
pub(super) fn after<R>(written: Written<R>, next: &str) -> Page {
    Page::See(match written {
        Written::Done(_) => next.to_owned(),
        Written::Accepted(operation) => format!("/working/{operation}?next={next}"),
    })
}

/// A one-time code as people type it: spaces do not count.
pub(super) fn typed_code(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace()).take(12).collect()
}

/// Why a page cannot be shown.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something went wrong.
    Problem(Problem),
    /// Refused before it came to any page; nothing was done.
    Refused(Problem),
    /// Data fresh enough is not visible yet.
    Pending,
    /// One has to log in first.
    LogIn,
    /// The form is too old, or not ours.
    Form,
    /// There is no such page.
    NotFound,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        match problem.code {
            Code::Unauthenticated => Stop::LogIn,
            Code::NotFound => Stop::NotFound,
            Code::NotYetVisible => Stop::Pending,
            _ => Stop::Problem(problem),
        }
    }
}

impl From<askama::Error> for Stop {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "page not rendered");
        Stop::Problem(Problem::new(Code::Internal, "The page could not be made."))
    }
}

/// What a page comes to.
pub(super) type Made = Result<Page, Stop>;

/// How a write went.
pub(super) enum Written<R> {
    /// Done.
    Done(R),
    /// Taken; it will be done.
    Accepted(OperationId),
}

impl Page {
    /// A page as rendered.
    pub(super) fn html(body: String) -> Page {
        Page::Html { body, status: StatusCode::OK, targets: FormTargets::Own }
    }

    /// A page whose form was not accepted.
    pub(super) fn not_accepted(body: String) -> Page {
        Page::Html { body, status: StatusCode::UNPROCESSABLE_ENTITY, targets: FormTargets::Own }
    }
}

impl FromRequestParts<Portal> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<Self, Infallible> {
        let mut cookies = Cookies::read(&parts.headers, portal.is_secure());
        let query = parts.uri.query().unwrap_or_default();
        let asked = query_value(query, "lang").and_then(language::parse);
        if let Some(asked) = asked {
            cookies.set(name::LANGUAGE, language::short(asked), YEAR_S);
        }
        let size = query_value(query, "size").filter(|size| matches!(*size, "large" | "normal"));
        if let Some(size) = size {
            cookies.set(name::SIZE, size, YEAR_S);
        }
        let header_language = || {
            let header = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
            language::from_header(header.unwrap_or_default())
        };
        let language = cookies.get(name::LANGUAGE).and_then(language::parse).unwrap_or_else(header_language);
        let elder = cookies.get(name::SIZE) == Some("large");
        if cookies.get(name::FORM).is_none() {
            cookies.set(name::FORM, RequestId::random().to_string(), YEAR_S);
        }
        let seen: Token = cookies.get(name::SEEN).and_then(|text| text.parse().ok()).unwrap_or_default();
        let mut base = Call::new(Channel::Portal).with_language(language).with_token(seen);
        if let Some(id) = parts.extensions.get::<RequestId>() {
            base.request_id = *id;
        }
        if let Some(trace) = parts.extensions.get::<TraceContext>() {
            base.trace = *trace;
        }
        Ok(Visit {
            is_same_origin: is_same_origin(&parts.headers, &portal.config.public_url),
            here: without_preferences(parts.uri.path(), query),
            method: parts.method.clone(),
            portal: portal.clone(),
            w: Words::of(language),
            f: Format::of(language),
            cookies,
            language,
            elder,
            came_from: came_from(&parts.headers),
            again: None,
            base,
        })
    }
}

/// What an address asks for after its `?`; what cannot be read counts as not asked for.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequestParts<Portal> for Asked<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<Self, Infallible> {
        let query: Result<Query<T>, _> = Query::from_request_parts(parts, portal).await;
        Ok(Asked(query.map(|Query(query)| query).unwrap_or_default()))
    }
}

/// A form that came with a visit; `Err` where it is not what the page had sent out.
pub(super) struct Posted<T>(pub(super) Result<T, Stop>);

impl<T: DeserializeOwned + Send> FromRequest<Portal> for Posted<T> {
    type Rejection = Infallible;

    async fn from_request(request: Request, portal: &Portal) -> Result<Self, Infallible> {
        let form: Result<Form<T>, FormRejection> = Form::from_request(request, portal).await;
        Ok(Posted(form.map(|Form(form)| form).map_err(|_| Stop::Form)))
    }
}

impl Visit {
    /// The id under which this request is logged.
    pub(super) fn request_id(&self) -> RequestId {
        self.base.request_id
    }

    /// Whether it is in Chinese.
    pub(super) fn is_zh(&self) -> bool {
        self.language == Language::Zh
    }

    /// Whether somebody is logged in, as far as the cookies tell.
    pub(super) fn is_logged_in(&self) -> bool {
        self.cookies.get(name::ACCESS).is_some() || self.cookies.get(name::REFRESH).is_some()
    }

    /// What forms of this page must send back.
    pub(super) fn form_token(&self) -> String {
        self.cookies.get(name::FORM).unwrap_or_default().to_owned()
    }

    /// A key for a form that writes: pressed twice, the same write.
    pub(super) fn form_key(&self) -> String {
        RequestId::random().to_string()
    }

    /// Lets a form through that this portal had sent to this browser, and nothing else.
    pub(super) fn check_form(&self, form_token: &str) -> Result<(), Stop> {
        let ours = self.cookies.get(name::FORM).unwrap_or_default();
        let same = !ours.is_empty() && blake3::hash(ours.as_bytes()) == blake3::hash(form_token.as_bytes());
        if same && self.is_same_origin { Ok(()) } else { Err(Stop::Form) }
    }

    /// The account shown last.
    pub(super) fn last_account(&self) -> Option<AccountId> {
        self.cookies.get(name::ACCOUNT)?.parse().ok()
    }

    /// Asks for the customer.
    ///
    /// # Errors
    /// [`Stop::LogIn`] where there is no session, [`Stop::Pending`] where the data is not fresh enough yet.
    pub(super) async fn read<O: Operation + Clone>(&mut self, operation: O) -> Result<O::Reply, Stop> {
        match self.ask_as_customer(None, 0, operation).await? {
            Answered::Done(reply) => Ok(reply),
            Answered::Accepted(_) | Answered::Pending(_) => Err(Stop::Pending),
        }
    }

    /// Asks for the customer how something stands, whatever was seen before: the answer speaks for itself.
    pub(super) async fn read_unseen<O: Operation + Clone>(&mut self, operation: O) -> Result<O::Reply, Stop> {
        let seen = std::mem::take(&mut self.base.token);
        let reply = self.read(operation).await;
        let newly = std::mem::replace(&mut self.base.token, seen);
        self.note_seen(&newly);
        reply
    }

    /// Writes for the customer. `key` is what the form carried, `said` what the customer wrote in it: sent again it is
    /// the same write; with another content it is another.
    pub(super) async fn write<O: Operation + Clone>(
        &mut self,
        key: &str,
        said: &[&str],
        operation: O,
    ) -> Result<Written<O::Reply>, Stop> {
        let key = write_key(key, said)?;
        written(self.ask_as_customer(Some(key), WAIT_MS, operation).await?)
    }

    /// Writes for somebody who has not logged in.
    pub(super) async fn write_before_login<O: Operation>(
        &mut self,
        key: &str,
        said: &[&str],
        operation: O,
    ) -> Result<Written<O::Reply>, Stop> {
        // What was seen before is not of whoever logs in now, perhaps not even of this system.
        self.forget_seen();
        let call = self.base.clone().with_key(write_key(key, said)?).with_wait_ms(WAIT_MS);
        let answer = self.portal.inward.ask(&call, operation).await?;
        self.note_seen(&answer.token);
        written(answer.outcome)
    }

    /// A call of the customer's own under this form's key, for what goes on for longer than a page. The session was just
    /// found to be good.
    pub(super) fn call_as_customer(&self, key: &str) -> Result<Call, Stop> {
        let access = self.cookies.get(name::ACCESS).ok_or(Stop::LogIn)?;
        let call = self.base.clone().with_session(access);
        Ok(if key.is_empty() { call } else { call.with_key(write_key(key, &[])?) })
    }

    async fn ask_as_customer<O: Operation + Clone>(
        &mut self,
        key: Option<IdempotencyKey>,
        wait_ms: u32,
        operation: O,
    ) -> Result<Answered<O::Reply>, Stop> {
        let mut fresh = false;
        if self.cookies.get(name::ACCESS).is_none() {
            self.refresh_session().await?;
            fresh = true;
        }
        loop {
            let access = self.cookies.get(name::ACCESS).ok_or(Stop::LogIn)?;
            let mut call = self.base.clone().with_session(access);
            if let Some(key) = &key {
                call = call.with_key(key.clone()).with_wait_ms(wait_ms);
            }
            match self.portal.inward.ask(&call, operation.clone()).await {
                Ok(answer) => {
                    self.note_seen(&answer.token);
                    return Ok(answer.outcome);
                }
                Err(problem) if problem.code == Code::Unauthenticated && !fresh => {
                    self.refresh_session().await?;
                    fresh = true;
                }
                // Nobody can see what this system has not done: the cookie is not ours, or from before it was renewed.
                Err(problem) if problem.code == Code::TokenInvalid && !self.base.token.is_empty() => {
                    tracing::info!(request_id = %self.base.request_id, "consistency token of another system dropped");
                    self.forget_seen();
                }
                Err(problem) => return Err(problem.into()),
            }
        }
    }

    /// Remembers how far the customer has seen, for this page and the next.
    pub(super) fn note_seen(&mut self, token: &Token) {
        if token.is_empty() {
            return;
        }
        self.base.token.merge(token);
        self.cookies.set(name::SEEN, self.base.token.to_string(), SEEN_S);
    }

    /// Forgets how far was seen.
    fn forget_seen(&mut self) {
        if !self.base.token.is_empty() || self.cookies.get(name::SEEN).is_some() {
            self.base.token = Token::default();
            self.cookies.remove(name::SEEN);
        }
    }

    /// The call that all of this visit's calls are made from; it has no session.
    pub(super) fn base_call(&self) -> Call {
        self.base.clone()
    }

    /// The answer: the page or what went wrong, with headers and cookies.
    pub(super) fn finish(mut self, made: Made) -> Response {
        let page = made.unwrap_or_else(|stop| errors::page(&mut self, stop));
        let (mut response, targets) = match page {
            Page::See(to) => (see_other(&to), FormTargets::Own),
            Page::Html { body, status, targets } => {
                let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
                ((status, kind, body).into_response(), targets)
            }
        };
        let head = response.headers_mut();
        for (key, value) in headers::PAGE {
            head.insert(HeaderName::from_static(key), HeaderValue::from_static(value));
        }
        if let Ok(policy) = HeaderValue::from_str(&headers::content_security_policy(targets)) {
            head.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        if self.portal.is_secure() {
            let (key, value) = headers::STRICT_TRANSPORT;
            head.insert(HeaderName::from_static(key), HeaderValue::from_static(value));
        }
        head.insert(header::VARY, HeaderValue::from_static("cookie, accept-language"));
        self.cookies.write(head);
        response
    }

    /// An answer that is no page, with the visit's cookies: the session may have been renewed on the way.
    pub(super) fn finish_with(self, mut response: Response) -> Response {
        self.cookies.write(response.headers_mut());
        response
    }

    /// Where to come back to after logging in: this page, if it can be fetched.
    pub(super) fn return_path(&self) -> String {
        if self.method == Method::GET || self.method == Method::HEAD {
            self.here.clone()
        } else {
            "/".to_owned()
        }
    }
}

fn see_other(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(to) => (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response(),
        Err(_) => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static("/"))]).into_response()
        }
    }
}

fn written<R>(outcome: Answered<R>) -> Result<Written<R>, Stop> {
    match outcome {
        Answered::Done(reply) => Ok(Written::Done(reply)),
        Answered::Accepted(operation) => Ok(Written::Accepted(operation)),
        Answered::Pending(_) => Err(Stop::Pending),
    }
}

/// The key of a write: from the form's own and what was written in it.
fn write_key(key: &str, said: &[&str]) -> Result<IdempotencyKey, Stop> {
    if key.is_empty() || key.len() > 64 {
        return Err(Stop::Form);
    }
    let mut hash = blake3::Hasher::new_derive_key("gridesk portal form key v1");
    for part in std::iter::once(&key).chain(said) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let key: Result<IdempotencyKey, BoundsError> =
        format!("form-{}", &hash.finalize().to_hex()[..40]).parse();
    key.map_err(|_| Stop::Form)
}

/// The value of a query's key, without decoding: what is looked for needs none.
fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value))
}

/// A path with its query, but for the switches of language and type size.
fn without_preferences(path: &str, query: &str) -> String {
    let is_switch =
        |pair: &&str| !pair.is_empty() && !pair.starts_with("lang=") && !pair.starts_with("size=");
    let kept: Vec<&str> = query.split('&').filter(is_switch).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

/// A path within this portal: to come back to, never to be sent elsewhere by. `None` for anything else.
pub(super) fn local_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let plain = text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    (plain && !rest.starts_with('/')).then_some(text)
}

/// Path and query of the page before. Whatever host it names, what is kept of it is within this portal.
fn came_from(headers: &HeaderMap) -> Option<String> {
    let referer = headers.get(header::REFERER)?.to_str().ok()?;
    let (_, rest) = referer.split_once("://")?;
    rest.find('/').and_then(|at| local_path(&rest[at..])).map(str::to_owned)
}

/// Whether a form comes from our own pages, as far as the browser says (Fetch Metadata; else `Origin`).
fn is_same_origin(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |key: &str| headers.get(key).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match text("origin") {
        None => true,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            origin == public_url || (host.is_some() && host == text("host"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_portal_are_come_back_to() {
        assert_eq!(local_path("/bills?account=1"), Some("/bills?account=1"));
        for bad in
            ["", "bills", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/ b"]
        {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn switches_do_not_stay_in_the_address() {
        assert_eq!(
            without_preferences("/usage", "month=2026-08&lang=zh&day=2026-08-01"),
            "/usage?month=2026-08&day=2026-08-01"
        );
        assert_eq!(without_preferences("/", "lang=zh"), "/");
    }

    #[test]
    fn forms_from_elsewhere_are_seen() {
        let with = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(k, v): &(&'static str, &'static str)| {
                (HeaderName::from_static(k), HeaderValue::from_static(v))
            };
            HeaderMap::from_iter(pairs.iter().map(pair))
        };
        let url = "https://my.utility.example";
        assert!(is_same_origin(&with(&[]), url));
        assert!(is_same_origin(&with(&[("sec-fetch-site", "same-origin")]), url));
        assert!(!is_same_origin(&with(&[("sec-fetch-site", "cross-site")]), url));
        assert!(!is_same_origin(
            &with(&[("sec-fetch-site", "same-site"), ("origin", "https://my.utility.example")]),
            url
        ));
        assert!(is_same_origin(&with(&[("origin", "https://my.utility.example")]), url));
        assert!(is_same_origin(
            &with(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")]),
            url
        ));
        assert!(!is_same_origin(&with(&[("origin", "null"), ("host", "x")]), url));
        assert!(!is_same_origin(
            &with(&[("origin", "https://evil.example"), ("host", "my.utility.example")]),
            url
        ));
    }

    #[test]
    fn the_same_form_is_the_same_write_and_another_content_is_another() {
        let key = |key, said: &[&str]| write_key(key, said).unwrap();
        assert_eq!(key("k", &["100"]), key("k", &["100"]));
        assert_ne!(key("k", &["100"]), key("k", &["101"]));
        assert_ne!(key("k", &["1", "00"]), key("k", &["10", "0"]));
        assert!(write_key("", &[]).is_err() && write_key(&"k".repeat(65), &[]).is_err());
    }
}
