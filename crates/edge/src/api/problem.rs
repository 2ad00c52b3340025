//! What went wrong, as RFC 9457 problem details.
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{Code, Problem};
use runtime::telemetry::RequestId;
use serde::Serialize;

/// A problem on its way to the client. Its body is written where the request's id is known: in [`render`].
pub(crate) struct ApiProblem(pub(crate) Problem);

impl ApiProblem {
    /// `invalid_request`, with what is wrong.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        ApiProblem(Problem::new(Code::InvalidRequest, detail))
    }
}

impl From<Problem> for ApiProblem {
    fn from(problem: Problem) -> Self {
        ApiProblem(problem)
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let mut response = status(self.0.code).into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// A code of the intranet's choosing must not make an answer that HTTP does not know.
fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
}

/// Gives a response its `Request-Id`, and its body if it is a problem.
pub(crate) fn render(mut response: Response, request_id: RequestId) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let code = problem.code;
        let details = Details {
            r#type: format!("urn:gridesk:problem:{}", code.as_str()),
            title: code.title(),
            status: code.status(),
            code: code.as_str(),
            detail: &problem.detail,
            request_id: request_id.to_string(),
            retry_after_s: problem.retry_after_s,
        };
        let (kept, _) = response.into_parts();
        response = (status(code), Json(details)).into_response();
        for name in ["allow", "connection", "tus-resumable", "tus-version"] {
            if let Some(value) = kept.headers.get(name) {
                response.headers_mut().insert(HeaderName::from_static(name), value.clone());
            }
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("request-id"), value);
    }
    response
}
