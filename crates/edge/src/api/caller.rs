//! Who asks and how: the headers of a request as a [`Call`].
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
    response::Response,
};
use protocol::{
    Channel, Code, Problem,
    bounds::{IdempotencyKey, Text},
    catalogue::Operation,
    envelope::Language,
};
use runtime::telemetry::{RequestId, TraceContext};
use serde::Serialize;

use super::{ApiProblem, etag::Known, reply};
use crate::inward::{Answer, Call, Inward};

/// `Prefer: wait` is cut to this many seconds.
const WAIT_MAX_S: u32 = 30;

/// One who asks.
pub(crate) struct Caller {
    pub(crate) inward: Inward,
    pub(crate) call: Call,
    applied: Vec<String>,
    /// What a reader has already; `None` for who writes.
    known: Option<Known>,
}

impl Caller {
    /// Asks inside, and makes the answer a response.
    pub(crate) async fn ask<O>(self, operation: O) -> Result<Response, ApiProblem>
    where
        O: Operation<Reply: Serialize>,
    {
        let answer = self.answer(operation).await?;
        let response = match &self.known {
            Some(known) => reply::read(answer, self.call.language, known),
            None => reply::response(answer),
        };
        Ok(self.prefer(response))
    }

    /// Asks inside.
    pub(crate) async fn answer<O: Operation>(&self, operation: O) -> Result<Answer<O::Reply>, ApiProblem> {
        Ok(self.inward.ask(&self.call, operation).await?)
    }

    /// Waits for the result also where the client did not say so, because the operation is of no use without.
    pub(crate) fn or_wait_ms(mut self, wait_ms: u32) -> Self {
        if self.call.wait_ms == 0 {
            self.call = self.call.with_wait_ms(wait_ms);
        }
        self
    }

    /// Says which preferences were heeded.
    pub(crate) fn prefer(&self, mut response: Response) -> Response {
        if let (false, Ok(value)) = (self.applied.is_empty(), self.applied.join(", ").parse()) {
            response.headers_mut().insert("preference-applied", value);
        }
        response
    }
}

impl FromRequestParts<Inward> for Caller {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, inward: &Inward) -> Result<Self, ApiProblem> {
        let headers = &parts.headers;
        let mut call = Call::new(channel(headers)?);
        call.request_id = parts.extensions.get::<RequestId>().copied().unwrap_or(call.request_id);
        call.trace = parts.extensions.get::<TraceContext>().copied().unwrap_or(call.trace);
        call.language = language(headers);
        match text(headers, "authorization")?.map(access_token).transpose() {
            Ok(session) => call.session = session,
            // Logging in with anything in hand must work.
            Err(problem) => call.session_refused = Some(problem),
        }
        if let Some(text) = text(headers, "idempotency-key")? {
            let key: IdempotencyKey =
                text.parse().map_err(|error| ApiProblem::invalid(format!("Idempotency-Key: {error}.")))?;
            call.idempotency_key = Some(key);
        }
        if let Some(text) = text(headers, "consistency-token")? {
            let invalid = |_| Problem::new(Code::TokenInvalid, "Present the token of an answer as it came.");
            call.token = text.parse().map_err(invalid)?;
        }
        let mut applied = Vec::new();
        for preference in preferences(headers) {
            match preference
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            {
                Some(("wait", seconds)) => {
                    if let Ok(seconds) = seconds.parse::<u32>() {
                        let seconds = seconds.min(WAIT_MAX_S);
                        call = call.with_wait_ms(seconds * 1000);
                        applied.push(format!("wait={seconds}"));
                    }
                }
                Some(("handling", "strict")) => {
                    call = call.strictly();
                    applied.push("handling=strict".to_owned());
                }
                // RFC 7240, section 2: preferences that are not understood are ignored.
                _ => {}
            }
        }
        let known = parts.method.is_safe().then(|| Known::from_headers(headers));
        Ok(Caller { inward: inward.clone(), call, applied, known })
    }
}

/// A header's text, if it is there. Twice is wrong: which of them counts would be a guess.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ApiProblem> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiProblem::invalid(format!("Header {name} comes twice.")));
    }
    first.to_str().map(Some).map_err(|_| ApiProblem::invalid(format!("Header {name} is no plain text.")))
}

fn channel(headers: &HeaderMap) -> Result<Channel, ApiProblem> {
    let Some(name) = text(headers, "gridesk-channel")? else { return Ok(Channel::Partner) };
    let found =
        Channel::ALL.into_iter().find(|channel| channel.as_str() == name && *channel != Channel::System);
    found.ok_or_else(|| {
        ApiProblem::invalid("Gridesk-Channel is one of portal, app, wechat, alipay, hotline, hall, partner.")
    })
}

fn access_token(value: &str) -> Result<Text<{ protocol::session::MAX_TOKEN_LEN }>, Problem> {
    let unauthenticated =
        || Problem::new(Code::Unauthenticated, "Authorization is not `Bearer` and an access token.");
    let (scheme, token) = value.split_once(' ').ok_or_else(unauthenticated)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthenticated());
    }
    Text::new(token.trim()).map_err(|_| unauthenticated())
}

fn preferences(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|one| one.trim().to_ascii_lowercase()).take(16).collect()
}

/// The better liked of Chinese and English; Chinese where neither is named.
fn language(headers: &HeaderMap) -> Language {
    let value =
        headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (mut best, mut best_q) = (Language::Zh, 0.0);
    for range in value.split(',').take(16) {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let q = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
        let primary = tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
        let language = match primary.as_str() {
            "zh" => Language::Zh,
            "en" => Language::En,
            _ => continue,
        };
        if q > best_q {
            (best, best_q) = (language, q);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_liked_language_wins() {
        let spoken = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, value.parse().unwrap());
            language(&headers)
        };
        assert_eq!(spoken("en-GB,en;q=0.9,zh;q=0.8"), Language::En);
        assert_eq!(spoken("zh-CN, en;q=0.5"), Language::Zh);
        assert_eq!(spoken("fr, en;q=0.1"), Language::En);
        for none in ["fr", "", "en;q=0", "en;q=x", ";;;,,,"] {
            assert_eq!(spoken(none), Language::Zh, "{none}");
        }
    }
}
