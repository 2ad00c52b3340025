//! The API's own description: OpenAPI 3.1, for people and for programs that make clients.
//!
//! A handler says what is its own: path, request, reply. What all of them share (headers, problems, security, how a
//! write is accepted) is told from the catalogue and the tables below, so that adding an operation is its handler, its
//! line in the router and an example in `examples.json`.
mod operation;
mod schemas;
mod shared;

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{Kind, catalogue, envelope::Language};
use serde_json::{Map, Value, json};

use super::etag::{self, Known};

use operation::Place;

/// Examples by operation: `query`, `request`, `reply`, as far as it has them.
static EXAMPLES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("openapi/examples.json")).unwrap_or_default());

/// The document, made once.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(make);
    &DOCUMENT
}

/// The document as it is published: keys in one order, a line for each value.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(document()).unwrap_or_default();
    text.push('\n');
    text
}

/// `GET /openapi.json`
pub(crate) async fn serve(asked: HeaderMap) -> Response {
    static TEXT: LazyLock<(String, String)> = LazyLock::new(|| {
        let text = text();
        (etag::of(Language::En, text.as_bytes()), text)
    });
    let (tag, text) = &*TEXT;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::ETAG, tag.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if Known::from_headers(&asked).has(tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, text.as_str()).into_response()
}

fn make() -> Value {
    let described = utoipa_axum::router::OpenApiRouter::new().nest("/v1", super::described());
    // Our own description always becomes JSON; were it not so, the tests of this document would say it.
    let mut made = serde_json::to_value(described.get_openapi()).unwrap_or_default();
    let mut components = schemas::tidied(made["components"]["schemas"].take());
    let mut paths = made["paths"].take();
    schemas::rename(&mut paths);
    for (path, methods) in paths.as_object_mut().into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            let known = catalogue::ALL.iter().find(|spec| spec.name == id);
            // What is posted without being a write is neither kept by anybody nor done once: a password, say.
            let is_read = |kind: Kind| kind != Kind::Read || method == "get";
            let kind = known.map(|spec| spec.kind).filter(|kind| is_read(*kind)).unwrap_or(Kind::Gate);
            operation::complete(operation, &Place { id: &id, kind, path }, EXAMPLES.get(&id));
        }
    }
    schemas::inline(&mut components, &mut paths);
    schemas::settle(&mut components, &paths);
    components.values_mut().for_each(schemas::unlink);
    json!({
        "openapi": "3.1.0",
        "info": shared::info(),
        "servers": [{ "url": "/", "description": "This edge." }],
        "tags": shared::tags(),
        "security": [{ "session": [] }],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": shared::parameters(),
            "headers": shared::headers(),
            "securitySchemes": shared::security_schemes(),
        },
    })
}
