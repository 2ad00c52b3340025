//! What is said once for all operations.
use protocol::bounds::IdempotencyKey;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

/// The groups of operations, in the order of a customer's day.
const TAGS: &[(&str, &str)] = &[
    ("login", "Log in by one-time code, keep the session, leave."),
    ("person", "What is held about the customer, how they log in, what they want to be told of."),
    ("accounts", "The accounts a customer has bound, and binding one with proof."),
    ("bills", "Bills with lines that anybody can recompute."),
    ("usage", "What was used, by day and hour."),
    ("payments", "Orders, their state, receipts."),
    ("requests", "Forms, fault reports, requests and their progress, outages, what customers are told."),
    ("exports", "Files that are made for customers: use as a table or Green Button, electronic invoices."),
    ("operations", "How accepted writes stand, and how the way inside does."),
    ("callbacks", "What payment providers tell."),
];

/// What stands for a part of a path: its name, its schema, what it is.
const PATH_PARAMETERS: &[(&str, &str, &str)] = &[
    ("account", "AccountId", "The account's number."),
    ("bill", "BillId", "The bill's id."),
    ("month", "Month", "The month."),
    ("payment", "PaymentId", "The payment's id."),
    ("operation", "OperationId", "The operation's id, as `Location` named it."),
    ("request", "ServiceRequestId", "The request's id."),
    ("export", "ExportId", "The file's id."),
    ("provider", "ShortName", "The payment provider's name."),
];

pub(super) fn info() -> Value {
    json!({
        "title": "Gridesk channel API",
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        "description": "The customer-service platform of an electric utility, as its channels use it.\n\n\
            Amounts are integer fen (1/100 yuan), energy is integer Wh, prices are 1/10000 yuan a kWh, moments are Unix \
            milliseconds, dates are local to the account.\n\n\
            **Writes** take an `Idempotency-Key`. They are answered `202` with a `Location` once they are durable, or, \
            with `Prefer: wait=N`, by their result. Sent again under the same key, a write is done once.\n\n\
            **Reads** carry an `ETag`; with `If-None-Match` an unchanged answer is `304`. The `Consistency-Token` of an \
            answer, presented with the next request, keeps anything older from being shown.\n\n\
            **Problems** are RFC 9457 documents with a stable `code`. `429` and `503` say when to try again.",
    })
}

pub(super) fn tags() -> Value {
    TAGS.iter().map(|(name, description)| json!({ "name": name, "description": description })).collect()
}

pub(super) fn security_schemes() -> Value {
    json!({
        "session": {
            "type": "http",
            "scheme": "bearer",
            "description": "The access token of `login_finish` or `session_refresh`.",
        },
    })
}

/// The parameter that a segment such as `{account}` stands for.
pub(super) fn path_parameter(segment: &str) -> Option<Value> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let (_, schema, description) = PATH_PARAMETERS.iter().find(|(known, ..)| *known == name)?;
    Some(json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": { "$ref": format!("#/components/schemas/{schema}") },
    }))
}

/// Headers of a response, by reference.
pub(super) fn refer(names: &[&str]) -> Value {
    let entry = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    Value::Object(names.iter().map(entry).collect())
}

fn texts(of: &[(&str, &str, Value)], of_parameter: bool) -> Map<String, Value> {
    let make = |(name, description, schema): &(&str, &str, Value)| {
        let mut header = json!({ "description": description, "schema": schema });
        if of_parameter {
            header["name"] = (*name).into();
            header["in"] = "header".into();
        }
        ((*name).to_owned(), header)
    };
    of.iter().map(make).collect()
}

/// Written in place: makers of clients follow no references from headers.
fn key() -> Value {
    serde_json::to_value(<IdempotencyKey as PartialSchema>::schema()).unwrap_or_default()
}

/// Headers that requests carry.
pub(super) fn parameters() -> Value {
    // What is not understood there is ignored, so nothing is refused.
    let any = |example: &str| json!({ "type": "string", "examples": [example] });
    let text = |pattern: &str, longest: usize, example: &str| json!({ "type": "string", "pattern": pattern, "maxLength": longest, "examples": [example] });
    let mut all = texts(
        &[
            (
                "Idempotency-Key",
                "A key of your own: a new one for each new write, the same one when a write is sent again. Kept 30 days.",
                key(),
            ),
            (
                "Prefer",
                "`wait=N`: a write waits up to N seconds (30 at most) for its result. `handling=strict`: a read that cannot be as fresh as the token asks for is refused. Others are ignored (RFC 7240).",
                any("wait=5"),
            ),
            (
                "Consistency-Token",
                "The token of an earlier answer: nothing older is shown.",
                text("^[A-Za-z0-9_-]+$", 1024, "AQEBAQ"),
            ),
            (
                "If-None-Match",
                "The `ETag` of an earlier answer, or several; `*` is any.",
                any("\"0f3c9a51b2d84e67\""),
            ),
            ("Accept-Language", "`en` or `zh`; Chinese where neither is named.", any("en")),
            (
                "Gridesk-Channel",
                "Which channel asks; `partner` where it is not said.",
                json!({ "type": "string", "enum": ["portal", "app", "wechat", "alipay", "hotline", "hall", "partner"] }),
            ),
            ("webhook-id", "The message's id: the same when it is sent again.", key()),
            (
                "webhook-timestamp",
                "When it was signed, Unix seconds.",
                json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            ),
            (
                "webhook-signature",
                "`v1,` and the signature in base64, over `id.timestamp.body`.",
                text("^[ -~]+$", 256, "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
            ),
        ],
        true,
    );
    for name in ["Idempotency-Key", "webhook-id", "webhook-timestamp", "webhook-signature"] {
        all[name]["required"] = true.into();
    }
    Value::Object(all)
}

/// Headers that responses carry.
pub(super) fn headers() -> Value {
    let text = || json!({ "type": "string" });
    Value::Object(texts(
        &[
            (
                "Request-Id",
                "Under which the request is logged in every zone.",
                json!({ "type": "string", "pattern": "^[0-9a-z]{26}$" }),
            ),
            (
                "Consistency-Token",
                "How far its reader has seen: to be presented with the next request.",
                text(),
            ),
            ("ETag", "A strong tag of this answer in this language.", text()),
            (
                "Cache-Control",
                "`private, no-cache`: may be kept by who asked, and is asked for anew with `If-None-Match`.",
                text(),
            ),
            (
                "Gridesk-Pending",
                "`true` where the answer is `Pending`.",
                json!({ "type": "string", "const": "true" }),
            ),
            ("Preference-Applied", "Which preferences were heeded.", text()),
            (
                "Location",
                "Where the result, or what was made, is to be had.",
                json!({ "type": "string", "format": "uri-reference" }),
            ),
            ("Retry-After", "When to try again, in seconds.", json!({ "type": "integer", "minimum": 1 })),
            ("WWW-Authenticate", "`Bearer`.", text()),
        ],
        false,
    ))
}
