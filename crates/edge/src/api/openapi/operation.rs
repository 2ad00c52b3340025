//! What all operations of a kind have: headers, ways to be answered, problems.
use protocol::{Code, Kind};
use serde_json::{Map, Value, json};

use super::shared;

/// Which operation it is.
pub(super) struct Place<'a> {
    pub(super) id: &'a str,
    pub(super) kind: Kind,
    pub(super) path: &'a str,
}

/// Operations that are asked without a session; all others need one.
const OPEN: [&str; 7] = [
    "form_list",
    "login_start",
    "login_finish",
    "session_refresh",
    "staff_login",
    "payment_callback",
    "gate_probe",
];

/// Problems that only these operations have.
const OWN_PROBLEMS: &[(&str, &[Code])] = &[
    ("login_start", &[Code::TooManyAttempts]),
    ("login_finish", &[Code::CodeWrong, Code::CodeExpired, Code::TooManyAttempts]),
    ("session_refresh", &[Code::Unauthenticated]),
    (
        "staff_login",
        &[Code::Unauthenticated, Code::TooManyAttempts, Code::TooLarge, Code::UnsupportedMediaType],
    ),
    ("file_create", &[Code::QuotaExceeded, Code::StorageFull]),
    ("account_bind_start", &[Code::TooManyAttempts]),
    ("account_unbind_start", &[Code::TooManyAttempts]),
    ("account_bind", &[Code::CodeWrong, Code::CodeExpired, Code::ProofWrong, Code::TooManyAttempts]),
    ("person_delete_start", &[Code::TooManyAttempts]),
    ("person_delete", &[Code::CodeWrong, Code::CodeExpired, Code::TooManyAttempts]),
    ("phone_change_start", &[Code::SessionStale, Code::TooManyAttempts]),
    ("phone_change", &[Code::SessionStale, Code::CodeWrong, Code::CodeExpired, Code::TooManyAttempts]),
    ("account_unbind", &[Code::CodeWrong, Code::CodeExpired, Code::ProofWrong, Code::TooManyAttempts]),
    ("payment_callback", &[Code::SignatureWrong, Code::SignatureStale, Code::AmountMismatch]),
];

/// Fills in what the handler does not say.
pub(super) fn complete(operation: &mut Value, place: &Place<'_>, example: Option<&Value>) {
    let is_open = OPEN.contains(&place.id);
    if is_open {
        operation["security"] = json!([]);
    }
    parameters(operation, place, example, is_open);
    if !operation["requestBody"].is_null() {
        operation["requestBody"]["required"] = true.into();
    }
    if let (Some(request), Some(media)) = (
        example.and_then(|e| e.get("request")),
        operation.pointer_mut("/requestBody/content/application~1json"),
    ) {
        media["example"] = request.clone();
    }
    let mut responses = Map::new();
    if let Some(described) = operation["responses"].as_object() {
        for (status, response) in described {
            responses.insert(status.clone(), success(response, status, place, example));
        }
    }
    match place.kind {
        Kind::Read => {
            responses.insert(
                "304".into(),
                json!({
                    "description": "Nothing has changed since the answer with that `ETag`.",
                    "headers": shared::refer(&["Request-Id", "Consistency-Token", "ETag", "Cache-Control"]),
                }),
            );
        }
        Kind::Write if place.id != "payment_callback" => {
            responses.insert("202".into(), json!({
                "description": "Taken durably; ask for the result at `Location`.",
                "headers": shared::refer(&["Request-Id", "Consistency-Token", "Location", "Preference-Applied"]),
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Accepted" } } },
            }));
        }
        Kind::Write | Kind::Gate => {}
    }
    problems(&mut responses, place, is_open);
    operation["responses"] = Value::Object(responses);
}

fn parameters(operation: &mut Value, place: &Place<'_>, example: Option<&Value>, is_open: bool) {
    let mut all: Vec<Value> = place.path.split('/').filter_map(shared::path_parameter).collect();
    let query = example.and_then(|example| example.get("query"));
    for mut own in operation["parameters"].as_array().cloned().unwrap_or_default() {
        if let Some(value) = own["name"].as_str().and_then(|name| query?.get(name)) {
            own["example"] = value.clone();
        }
        all.push(own);
    }
    let headers: &[&str] = match place.kind {
        _ if place.id == "payment_callback" => &["webhook-id", "webhook-timestamp", "webhook-signature"],
        Kind::Read => &["If-None-Match", "Consistency-Token", "Prefer"],
        Kind::Write => &["Idempotency-Key", "Prefer"],
        Kind::Gate => &[],
    };
    let common: &[&str] =
        if place.id == "payment_callback" { &[] } else { &["Accept-Language", "Gridesk-Channel"] };
    let seen: &[&str] = if place.kind == Kind::Write && !is_open { &["Consistency-Token"] } else { &[] };
    let named = headers.iter().chain(seen).chain(common);
    all.extend(named.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })));
    operation["parameters"] = all.into();
}

fn success(described: &Value, status: &str, place: &Place<'_>, example: Option<&Value>) -> Value {
    let mut response = described.clone();
    let description = match status {
        "201" => "Done; what was made is at `Location`.",
        _ if place.kind == Kind::Write => "Done, and visible everywhere.",
        _ => "The answer.",
    };
    response["description"] = description.into();
    let headers: &[&str] = match place.kind {
        Kind::Read => &[
            "Request-Id",
            "Consistency-Token",
            "ETag",
            "Cache-Control",
            "Gridesk-Pending",
            "Preference-Applied",
        ],
        Kind::Write if status == "201" => {
            &["Request-Id", "Consistency-Token", "Location", "Preference-Applied"]
        }
        Kind::Write => &["Request-Id", "Consistency-Token", "Preference-Applied"],
        Kind::Gate => &["Request-Id"],
    };
    response["headers"] = shared::refer(headers);
    if let Some(media) = response.pointer_mut("/content/application~1json") {
        let other = match place.kind {
            Kind::Read => Some("Pending"),
            _ if place.id == "payment_callback" => Some("Accepted"),
            _ => None,
        };
        if let Some(other) = other {
            let reply = media["schema"].take();
            media["schema"] =
                json!({ "oneOf": [reply, { "$ref": format!("#/components/schemas/{other}") }] });
        }
        if let Some(reply) = example.and_then(|example| example.get("reply")) {
            media["example"] = reply.clone();
        }
    }
    response
}

/// The problems an operation may end in, by status.
fn problems(responses: &mut Map<String, Value>, place: &Place<'_>, is_open: bool) {
    use Code as C;
    let mut codes = vec![C::InvalidRequest, C::TooManyRequests, C::Internal];
    codes.extend([C::GateUnavailable, C::Overloaded, C::Unavailable, C::DeadlineExceeded]);
    if !is_open {
        codes.extend([C::Unauthenticated, C::Forbidden, C::TokenInvalid]);
    }
    if place.kind == Kind::Read {
        codes.push(C::NotYetVisible);
    }
    if place.path.contains('{') || !is_open {
        codes.push(C::NotFound);
    }
    if place.kind == Kind::Write {
        codes.extend([C::TooLarge, C::Conflict, C::OperationFailed]);
        if place.id == "payment_callback" {
            codes.push(C::NotFound);
        } else {
            codes.extend([C::IdempotencyKeyRequired, C::IdempotencyMismatch, C::UnsupportedMediaType]);
            codes.push(C::TokenInvalid);
        }
    }
    let own = OWN_PROBLEMS.iter().find(|(id, _)| *id == place.id).map_or(&[][..], |(_, codes)| codes);
    codes.extend(own);
    // In the order of the catalogue of codes, each once.
    let said: Vec<C> = C::ALL.iter().copied().filter(|code| codes.contains(code)).collect();
    let mut statuses: Vec<u16> = said.iter().map(|code| code.status()).collect();
    statuses.dedup();
    for status in statuses {
        let of_status: Vec<C> = said.iter().copied().filter(|code| code.status() == status).collect();
        let described: Vec<String> =
            of_status.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
        let mut headers = vec!["Request-Id"];
        match status {
            401 => headers.push("WWW-Authenticate"),
            429 | 503 => headers.push("Retry-After"),
            _ => {}
        }
        responses.insert(status.to_string(), json!({
            "description": described.join("; "),
            "headers": shared::refer(&headers),
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        }));
    }
}
