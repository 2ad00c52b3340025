//! The API's description as pages: what there is, and each operation with its parameters, examples and problems.
use askama::Template;
use axum::{extract::Path, response::Response};
use protocol::Code;
use serde_json::Value;

use super::{
    shell::Shell,
    visit::{Made, Page, Stop, Visit},
};
use crate::api::openapi;

mod form;
mod words;

use form::{Field, form};
use words::DeveloperWords;

#[derive(Template)]
#[template(path = "developers.html")]
struct Overview {
    shell: Shell,
    d: &'static DeveloperWords,
    base: String,
    groups: Vec<Group>,
    codes: Vec<CodeRow>,
}

struct Group {
    name: String,
    lead: String,
    operations: Vec<Row>,
}

struct Row {
    id: String,
    method: String,
    path: String,
    summary: String,
    is_open: bool,
}

struct CodeRow {
    code: &'static str,
    status: u16,
    title: &'static str,
    advice: &'static str,
}

#[derive(Template)]
#[template(path = "developers_operation.html")]
struct One {
    shell: Shell,
    d: &'static DeveloperWords,
    row: Row,
    lead: String,
    parameters: Vec<Parameter>,
    curl: String,
    reply: Option<String>,
    shapes: Vec<Shape>,
    answers: Vec<Answer>,
}

struct Parameter {
    name: String,
    place: String,
    is_required: bool,
    form: String,
    what: String,
}

/// A schema with fields of its own.
struct Shape {
    name: String,
    what: String,
    /// Said where it has no fields.
    form: String,
    fields: Vec<Field>,
}

struct Answer {
    status: String,
    what: String,
}

/// `GET /developers`
pub(super) async fn page(visit: Visit) -> Response {
    let made = overview(&visit);
    visit.finish(made)
}

fn overview(visit: &Visit) -> Made {
    let d = DeveloperWords::of(visit.language);
    let document = openapi::document();
    let groups = document["tags"].as_array().into_iter().flatten().map(|tag| Group {
        name: text(&tag["name"]),
        lead: text(&tag["description"]),
        operations: operations().filter(|(.., one)| one["tags"][0] == tag["name"]).map(row).collect(),
    });
    let code = |code: &Code| CodeRow {
        code: code.as_str(),
        status: code.status(),
        title: code.title(),
        advice: code.advice(),
    };
    let page = Overview {
        shell: Shell::bare(visit, d.title),
        d,
        base: visit.portal.config.public_url.clone(),
        groups: groups.filter(|group| !group.operations.is_empty()).collect(),
        codes: Code::ALL.iter().map(code).collect(),
    };
    Ok(Page::html(page.render()?))
}

/// `GET /developers/{operation}`
pub(super) async fn operation(visit: Visit, Path(id): Path<String>) -> Response {
    let made = one(&visit, &id);
    visit.finish(made)
}

fn one(visit: &Visit, id: &str) -> Made {
    let found = operations().find(|(.., one)| one["operationId"] == id).ok_or(Stop::NotFound)?;
    let (_, path, described) = found;
    let parameters: Vec<&'static Value> =
        described["parameters"].as_array().into_iter().flatten().map(followed).collect();
    let success =
        described["responses"].as_object().into_iter().flatten().find(|(status, _)| status.starts_with('2'));
    let reply = success.and_then(|(_, response)| response.pointer("/content/application~1json"));
    let request = described.pointer("/requestBody/content/application~1json");
    let mut shapes = Vec::new();
    for schema in [request, reply].into_iter().flatten().map(|media| &media["schema"]) {
        form::shapes(schema, &mut shapes);
    }
    let request_example = request.and_then(|media| media.get("example"));
    let row = row(found);
    let page = One {
        shell: Shell::bare(visit, &row.id),
        d: DeveloperWords::of(visit.language),
        lead: text(&described["description"]),
        curl: curl(&visit.portal.config.public_url, path, &row, &parameters, request_example),
        reply: reply
            .and_then(|media| media.get("example"))
            .and_then(|e| serde_json::to_string_pretty(e).ok()),
        parameters: parameters.iter().map(|one| parameter(one)).collect(),
        shapes: shapes
            .into_iter()
            .map(|(name, schema)| Shape {
                name,
                what: text(&schema["description"]),
                form: form(schema),
                fields: form::fields(schema),
            })
            .collect(),
        answers: answers(described),
        row,
    };
    Ok(Page::html(page.render()?))
}

/// Every operation: method, path, description.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = openapi::document()["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, one)| (method.as_str(), path.as_str(), one))
    })
}

fn row((method, path, described): (&str, &str, &Value)) -> Row {
    Row {
        id: text(&described["operationId"]),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&described["summary"]),
        is_open: described["security"].is_array(),
    }
}

fn parameter(described: &Value) -> Parameter {
    Parameter {
        name: text(&described["name"]),
        place: text(&described["in"]),
        is_required: described["required"] == true,
        form: form(&described["schema"]),
        what: text(&described["description"]),
    }
}

fn answers(described: &Value) -> Vec<Answer> {
    let responses = described["responses"].as_object().into_iter().flatten();
    let answer = |(status, response): (&String, &Value)| Answer {
        status: status.clone(),
        what: text(&response["description"]),
    };
    responses.map(answer).collect()
}

/// The operation as somebody types it, with the example of everything that is needed.
fn curl(base: &str, path: &str, row: &Row, parameters: &[&'static Value], request: Option<&Value>) -> String {
    let (mut address, mut query, mut lines) = (path.to_owned(), Vec::new(), Vec::new());
    if !row.is_open {
        lines.push("-H \"Authorization: Bearer $ACCESS_TOKEN\"".to_owned());
    }
    for one in parameters {
        let name = text(&one["name"]);
        let example = form::example(one);
        match one["in"].as_str() {
            Some("path") => address = address.replace(&format!("{{{name}}}"), &example),
            Some("query") if one.get("example").is_some() => query.push(format!("{name}={example}")),
            Some("header") if name == "Idempotency-Key" => {
                lines.push("-H \"Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)\"".to_owned());
            }
            Some("header") if one["required"] == true => lines.push(format!("-H \"{name}: …\"")),
            _ => {}
        }
    }
    if let Some(request) = request {
        lines.push("-H \"Content-Type: application/json\"".to_owned());
        lines.push(format!("-d '{request}'"));
    }
    if !query.is_empty() {
        address = format!("{address}?{}", query.join("&"));
    }
    let method = if row.method == "GET" { String::new() } else { format!(" -X {}", row.method) };
    let first = format!("curl{method} \"{base}{address}\"");
    std::iter::once(first).chain(lines).collect::<Vec<_>>().join(" \\\n  ")
}

/// What a reference refers to.
fn followed(value: &'static Value) -> &'static Value {
    let place = value["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
    place.and_then(|place| openapi::document().pointer(place)).unwrap_or(value)
}

/// A text of the description, without its marks of code.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace('`', "")
}
