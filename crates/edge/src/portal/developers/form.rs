//! Schemas in a few words.
use serde_json::Value;

use super::{followed, text};

/// A field of an object.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) is_required: bool,
    pub(super) form: String,
    pub(super) what: String,
}

/// What a value looks like: `text, ^[0-9]{6}$`, `integer, 1 to 60`, `list of BillBrief`, `Month or null`.
pub(super) fn form(schema: &Value) -> String {
    if let Some(place) = schema["$ref"].as_str() {
        return place.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(all) = schema[several].as_array() {
            let mut forms: Vec<String> = all.iter().map(form).collect();
            // `null` is what it is where there is nothing: last.
            forms.sort_by_key(|form| form == "null");
            return forms.join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| value.to_string().replace('"', "")).collect::<Vec<_>>().join(" | ");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let mut out: Vec<String> = Vec::new();
    for kind in kinds {
        out.push(match kind {
            "array" => format!("list of {}", form(&schema["items"])),
            "string" => "text".to_owned(),
            "object" if schema["properties"].is_object() => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                let parts = properties.map(|(name, inner)| format!("{name}: {}", form(inner)));
                format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
            }
            other => other.to_owned(),
        });
    }
    let mut out = out.join(" or ");
    if let Some(format) = schema["format"].as_str().filter(|format| !format.starts_with("int")) {
        out.push_str(&format!(", {format}"));
    }
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => out.push_str(&format!(", {least} to {most}")),
        (Some(least), None) => out.push_str(&format!(", {least} or more")),
        (None, Some(most)) => out.push_str(&format!(", {most} or less")),
        (None, None) => {}
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        out.push_str(&format!(", {most} at most"));
    }
    match (schema["pattern"].as_str(), schema["maxLength"].as_u64()) {
        // Patterns with escapes say what is forbidden; the description says it in words.
        (Some(pattern), _) if !pattern.contains('\\') => out.push_str(&format!(", {pattern}")),
        (_, Some(most)) => out.push_str(&format!(", {most} characters at most")),
        _ => {}
    }
    out
}

/// The fields of an object.
pub(super) fn fields(schema: &Value) -> Vec<Field> {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let field = |(name, inner): (&String, &Value)| Field {
        name: name.clone(),
        is_required: required(name),
        form: form(inner),
        what: text(described(inner)),
    };
    properties.map(field).collect()
}

/// The description of a value; of one that may be `null`, the one of what it is otherwise.
fn described(schema: &Value) -> &Value {
    let otherwise = || schema["oneOf"].as_array()?.iter().find_map(|one| one.get("description"));
    schema.get("description").or_else(otherwise).unwrap_or(&Value::Null)
}

/// Collects what a schema is made of: first itself, each once. What is no object is said in its form alone.
pub(super) fn shapes(schema: &'static Value, found: &mut Vec<(String, &'static Value)>) {
    if let Some(place) = schema["$ref"].as_str() {
        let (name, inner) = (place.rsplit('/').next().unwrap_or_default(), followed(schema));
        if found.iter().any(|(known, _)| known == name) {
            return;
        }
        found.push((name.to_owned(), inner));
        return shapes(inner, found);
    }
    match schema {
        Value::Object(all) => {
            all.iter().filter(|(key, _)| *key != "examples").for_each(|(_, inner)| shapes(inner, found));
        }
        Value::Array(all) => all.iter().for_each(|inner| shapes(inner, found)),
        _ => {}
    }
}

/// The example of a parameter, as it stands in an address.
pub(super) fn example(parameter: &'static Value) -> String {
    let own = parameter.get("example");
    let of_schema = || followed(&parameter["schema"]).get("examples")?.get(0);
    let value = own.or_else(of_schema).cloned().unwrap_or_default();
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_said_in_a_few_words() {
        for (schema, words) in [
            (json!({ "type": "string", "pattern": "^[0-9]{6}$", "maxLength": 6 }), "text, ^[0-9]{6}$"),
            (
                json!({ "type": "string", "pattern": "^[^\\u0000]*$", "maxLength": 64 }),
                "text, 64 characters at most",
            ),
            (
                json!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 60 }),
                "integer, 0 to 60",
            ),
            (json!({ "type": ["string", "null"], "format": "date" }), "text or null, date"),
            (
                json!({ "type": "array", "items": { "$ref": "#/x/BillBrief" }, "maxItems": 60 }),
                "list of BillBrief, 60 at most",
            ),
            (json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/x/Month" }] }), "Month or null"),
            (json!({ "type": "string", "enum": ["open", "paid"] }), "open | paid"),
            (json!({ "type": "string", "const": "accepted" }), "\"accepted\""),
            (json!({ "type": "object", "properties": { "code": { "$ref": "#/x/Code" } } }), "{ code: Code }"),
        ] {
            assert_eq!(form(&schema), words);
        }
    }
}
