//! Schemas as clients like them: one name each, what is a bound and no thing of its own written in place.
use std::collections::BTreeSet;

use protocol::bounds::{PerMille, QuotedWh, ShortName, Year};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use web::domain::{calendar::Month, tariff::TariffId};

const REF: &str = "#/components/schemas/";

/// The schemas under the names that they are published by, and those that no type describes.
pub(super) fn tidied(described: Value) -> Map<String, Value> {
    let mut out = Map::new();
    let Value::Object(described) = described else { return out };
    for (name, mut schema) in described {
        rename(&mut schema);
        out.insert(published(&name), schema);
    }
    // What only addresses use: their types describe themselves, but nobody collects them there.
    for (name, schema) in
        [of::<Month>(), of::<TariffId>(), of::<ShortName>(), of::<Year>(), of::<QuotedWh>(), of::<PerMille>()]
    {
        out.entry(name).or_insert(schema);
    }
    name_alternatives(&mut out);
    out.insert("Problem".into(), problem());
    out.insert("Accepted".into(), accepted());
    out.insert("Pending".into(), pending());
    out
}

fn of<T: ToSchema>() -> (String, Value) {
    (T::name().into_owned(), serde_json::to_value(T::schema()).unwrap_or_default())
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// Gives each alternative of a choice (`{"code": {…}}` or `{"latest_bill": {…}}`) a name: makers of clients need one.
fn name_alternatives(schemas: &mut Map<String, Value>) {
    let mut named = Map::new();
    for (name, schema) in schemas.iter_mut() {
        for choice in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
            let alternatives = choice.get_mut("properties").and_then(Value::as_object_mut);
            for (key, inner) in alternatives.into_iter().flatten() {
                if inner["type"] == "object" {
                    let words = key.split('_').map(capitalised);
                    let alternative = format!("{name}{}", words.collect::<String>());
                    let reference = json!({ "$ref": format!("{REF}{alternative}") });
                    named.insert(alternative, std::mem::replace(inner, reference));
                }
            }
        }
    }
    schemas.extend(named);
}

/// `requests.LoginStart` is published as `LoginStartRequest`, since replies have the plain names.
fn published(name: &str) -> String {
    name.strip_prefix("requests.").map_or_else(|| name.to_owned(), |name| format!("{name}Request"))
}

/// Changes every reference to the name that is published.
pub(super) fn rename(value: &mut Value) {
    each_reference(value, &mut |reference| {
        let name =
            published(reference["$ref"].as_str().and_then(|r| r.strip_prefix(REF)).unwrap_or_default());
        reference["$ref"] = format!("{REF}{name}").into();
    });
}

/// Takes links between Rust's own documents (``[`Bill::due_on`]``) out of descriptions.
pub(super) fn unlink(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            fields.values_mut().for_each(unlink);
        }
        Value::Array(items) => items.iter_mut().for_each(unlink),
        _ => {}
    }
}

/// Calls `what` for every object that is a reference to a schema.
fn each_reference(value: &mut Value, what: &mut impl FnMut(&mut Value)) {
    if value.get("$ref").and_then(Value::as_str).is_some_and(|r| r.starts_with(REF)) {
        what(value);
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_reference(item, what)),
        Value::Object(fields) => fields.values_mut().for_each(|field| each_reference(field, what)),
        _ => {}
    }
}

/// Texts and bytes that differ only in their longest length are no things of their own.
fn is_bound_only(name: &str) -> bool {
    ["Text", "Prose", "Opaque"].iter().any(|start| {
        name.strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Writes bounds in place of references to them, and strikes out what is then referred to by nothing.
pub(super) fn inline(schemas: &mut Map<String, Value>, paths: &mut Value) {
    let bounds: Map<String, Value> =
        schemas.iter().filter(|(name, _)| is_bound_only(name)).map(|(n, s)| (n.clone(), s.clone())).collect();
    let mut replace = |reference: &mut Value| {
        let name = target(reference).to_owned();
        if let Some(bound) = bounds.get(&name) {
            let mut bound = bound.clone();
            if let Some(said) = reference.get("description") {
                bound["description"] = said.clone();
            }
            *reference = bound;
        }
    };
    schemas.values_mut().for_each(|schema| each_reference(schema, &mut replace));
    each_reference(paths, &mut replace);
    let mut used = reachable(schemas, paths);
    used.extend(["Problem".to_owned(), "Code".to_owned()]);
    schemas.retain(|name, _| used.contains(name));
}

/// Says of all objects what holds for all: a reply has every field, `null` where there is nothing to say; a request may
/// leave out what may be `null`, and has nothing that is not described.
pub(super) fn settle(schemas: &mut Map<String, Value>, paths: &Value) {
    let operations =
        paths.as_object().into_iter().flatten().flat_map(|(_, methods)| methods.as_object()).flatten();
    let requests = operations.map(|(_, operation)| operation["requestBody"].clone()).collect();
    let of_requests = reachable(schemas, &requests);
    for (name, schema) in schemas.iter_mut() {
        if of_requests.contains(name) {
            close(schema);
        } else if name == "Problem" {
            // Not every problem says when to try again.
        } else if let Some(properties) = schema["properties"].as_object().filter(|all| !all.is_empty()) {
            schema["required"] = properties.keys().cloned().collect();
        }
    }
}

/// Refuses fields that are not described, in every object of a request: as `deny_unknown_fields` does.
fn close(schema: &mut Value) {
    if schema["type"] == "object" {
        schema["additionalProperties"] = false.into();
    }
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(fields) => fields.values_mut().for_each(close),
        _ => {}
    }
}

fn target(reference: &Value) -> &str {
    reference["$ref"].as_str().and_then(|r| r.strip_prefix(REF)).unwrap_or_default()
}

/// The names of all schemas that `from` refers to, directly or through others.
fn reachable(schemas: &Map<String, Value>, from: &Value) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(mut value) = next.pop() {
        each_reference(&mut value, &mut |reference| {
            let name = target(reference).to_owned();
            if found.insert(name.clone()) {
                next.extend(schemas.get(&name).cloned());
            }
        });
    }
    found
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Why a request was not done, as problem details (RFC 9457). Programs go by `code`; titles and details may change.",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": { "type": "string", "pattern": "^urn:gridesk:problem:[a-z_]+$", "description": "The code as a URN." },
            "title": { "type": "string", "description": "The problem in a few words." },
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "code": { "$ref": "#/components/schemas/Code" },
            "detail": { "type": "string", "description": "One sentence for this case." },
            "request_id": { "type": "string", "pattern": "^[0-9a-z]{26}$", "description": "Under which it is logged." },
            "retry_after_s": { "type": "integer", "format": "int32", "minimum": 1, "description": "When to try again, in seconds, where that helps." },
        },
        "examples": [{
            "type": "urn:gridesk:problem:not_found",
            "title": "Not found",
            "status": 404,
            "code": "not_found",
            "detail": "There is no such bill, or it is not yours to see.",
            "request_id": "01kb8m3s5t9w2x4y6z8a0b1c2d",
        }],
    })
}

fn accepted() -> Value {
    json!({
        "type": "object",
        "description": "The write is taken durably and will be done; its result is to be had under the operation.",
        "required": ["operation", "state"],
        "properties": {
            "operation": { "$ref": "#/components/schemas/OperationId" },
            "state": { "type": "string", "const": "accepted" },
        },
    })
}

fn pending() -> Value {
    json!({
        "type": "object",
        "description": "Data as fresh as the Consistency-Token asks for is not visible yet; these writes are under way. Sent only to who presents a token, with `Gridesk-Pending: true`; with `Prefer: handling=strict` it is the problem `not_yet_visible`.",
        "required": ["pending"],
        "properties": {
            "pending": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/OperationId" },
                "description": "The writes that are under way.",
            },
        },
    })
}
