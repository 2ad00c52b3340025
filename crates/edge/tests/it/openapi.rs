//! The API's description against the API itself.
use protocol::{Kind, Outcome, Reply, catalogue};
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    files_fixture::{customer, settings, token_of},
    world::*,
};

/// One operation of the document.
struct Operation<'a> {
    document: &'a Value,
    path: &'a str,
    method: Method,
    described: &'a Value,
}

impl<'a> Operation<'a> {
    fn all(document: &'a Value) -> Vec<Operation<'a>> {
        let paths = document["paths"].as_object().unwrap().iter();
        let methods = paths.flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, described)| (path, method, described))
        });
        let make = |(path, method, described): (&'a String, &'a String, &'a Value)| Operation {
            document,
            path,
            method: method.to_uppercase().parse().unwrap(),
            described,
        };
        methods.map(make).collect()
    }

    fn id(&self) -> &'a str {
        self.described["operationId"].as_str().unwrap()
    }

    fn parameters(&self) -> Vec<&'a Value> {
        self.described["parameters"].as_array().unwrap().iter().map(|p| self.followed(p)).collect()
    }

    /// What a reference refers to.
    fn followed(&self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(place) => self.document.pointer(place.strip_prefix('#').unwrap()).unwrap(),
            None => value,
        }
    }

    /// Its address with the example of each part.
    fn url(&self) -> String {
        let (mut url, mut query) = (self.path.to_owned(), String::new());
        for parameter in self.parameters() {
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "path" => {
                    let schema = self.followed(&parameter["schema"]);
                    let value = schema["examples"][0].as_str().unwrap();
                    url = url.replace(&format!("{{{name}}}"), &value.replace(' ', "%20"));
                }
                "query" => {
                    if let Some(value) = parameter.get("example") {
                        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        query
                            .push_str(&format!("{}{name}={value}", if query.is_empty() { "?" } else { "&" }));
                    }
                }
                _ => {}
            }
        }
        assert!(!url.contains('{'), "{}: a part of {url} is not described", self.id());
        url + &query
    }

    fn request_example(&self) -> Option<&'a Value> {
        self.described.pointer("/requestBody/content/application~1json/example")
    }

    /// The status and the example of its reply.
    fn reply_example(&self) -> (u16, &'a Value) {
        let status = if self.described["responses"].get("201").is_some() { 201 } else { 200 };
        let place = format!("/responses/{status}/content/application~1json/example");
        let example = self.described.pointer(&place);
        (status, example.unwrap_or_else(|| panic!("{}: no reply in examples.json", self.id())))
    }
}

/// The variant of the catalogue that an operation's name stands for.
fn variant(name: &str) -> String {
    let part = |part: &str| part[..1].to_uppercase() + &part[1..];
    name.split('_').map(part).collect()
}

#[tokio::test]
async fn every_operation_takes_its_examples_and_answers_as_they_say() {
    let world = World::start().await;
    // What is written to this edge's own disk is not written for anybody whom it does not know.
    world.gate.push(&settings(), LONG).await.unwrap();
    let document: Value = world.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for operation in Operation::all(&document) {
        let id = operation.id();
        let spec = catalogue::ALL.iter().find(|spec| spec.name == id);
        assert!(spec.is_some(), "{id} is not in the catalogue");
        let (status, reply) = operation.reply_example();
        let ours = id != "gate_probe";
        if ours {
            let decoded: Reply = serde_json::from_value(json!({ variant(id): reply }))
                .unwrap_or_else(|error| panic!("{id}: its reply is none: {error}"));
            assert_eq!(
                serde_json::to_value(&decoded).unwrap()[variant(id)],
                *reply,
                "{id}: more than there is"
            );
            world.gate.answers(Outcome::Done(decoded));
        }
        let mut request = world.client.request(operation.method.clone(), world.url(&operation.url()));
        for parameter in operation.parameters() {
            if parameter["required"] == true && parameter["in"] == "header" {
                let name = parameter["name"].as_str().unwrap();
                let value = if name == "webhook-timestamp" { "1700000000" } else { "v1,key-1" };
                request = request.header(name, value);
            }
        }
        let body = operation.request_example();
        let takes_body = operation.described.get("requestBody").is_some() && id != "payment_callback";
        assert_eq!(body.is_some(), takes_body, "{id}: no request in examples.json");
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.bearer_auth(token_of(customer(1))).send().await.unwrap();
        let said = (response.status().as_u16(), response.json::<Value>().await.unwrap());
        if ours {
            assert_eq!(said, (status, reply.clone()), "{id}");
        } else {
            assert_eq!(said.0, status);
        }
        assert_eq!(world.gate.last().request.spec().name, id);
    }
}

#[tokio::test]
async fn every_write_takes_a_key_and_every_text_of_a_request_has_bounds() {
    let world = World::start().await;
    let document: Value = world.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    for operation in Operation::all(&document) {
        let names: Vec<_> = operation.parameters().iter().map(|p| p["name"].as_str().unwrap()).collect();
        let spec = catalogue::ALL.iter().find(|spec| spec.name == operation.id()).unwrap();
        // A password is not asked for by an address.
        let is_got = spec.kind != Kind::Write && spec.name != "staff_login";
        assert_eq!(operation.method == Method::GET, is_got, "{}", operation.id());
        let is_write = spec.kind == Kind::Write && operation.id() != "payment_callback";
        assert_eq!(names.contains(&"Idempotency-Key"), is_write, "{}", operation.id());
        assert_eq!(operation.described["responses"].get("202").is_some(), is_write, "{}", operation.id());
        if operation.id() != "payment_callback" {
            bounded(&operation, &operation.described["requestBody"]["content"]["application/json"]["schema"]);
        }
    }
}

/// Looks for texts without a longest length and for objects that take what is not described.
fn bounded(operation: &Operation<'_>, schema: &Value) {
    let schema = match schema["$ref"].as_str() {
        Some(place) => operation.document.pointer(place.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    };
    let is = |name: &str| {
        schema["type"] == name || schema["type"].as_array().is_some_and(|t| t.contains(&json!(name)))
    };
    let known = ["maxLength", "enum", "const", "format"].iter().any(|bound| schema.get(bound).is_some());
    assert!(!is("string") || known, "{}: {schema}", operation.id());
    assert!(!is("object") || schema["additionalProperties"] == false, "{}: {schema}", operation.id());
    for inner in schema["properties"].as_object().into_iter().flatten().map(|(_, inner)| inner) {
        bounded(operation, inner);
    }
    for list in ["oneOf", "anyOf", "allOf"] {
        schema[list].as_array().into_iter().flatten().for_each(|inner| bounded(operation, inner));
    }
    if is("array") {
        bounded(operation, &schema["items"]);
    }
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_null() {
    fn walk(document: &Value, value: &Value, at: &str) {
        // In an example `null` is a value; in a schema it is a mistake.
        if matches!(at, "example" | "examples") {
            return;
        }
        assert!(!value.is_null(), "{at} is null");
        if let Some(place) = value["$ref"].as_str() {
            assert!(document.pointer(&place[1..]).is_some(), "{place} is not there");
        }
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, inner)| walk(document, inner, name)),
            Value::Array(items) => items.iter().for_each(|inner| walk(document, inner, at)),
            _ => {}
        }
    }
    let document = edge::openapi::document();
    walk(document, document, "");
}

#[tokio::test]
async fn the_document_itself_is_asked_for_again_only_when_it_has_changed() {
    let world = World::start().await;
    let first = world.get("/openapi.json").send().await.unwrap();
    let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(first.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(first.text().await.unwrap(), edge::openapi::text());
    let again = world.get("/openapi.json").header(header::IF_NONE_MATCH, tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.content_length()), (304, Some(0)));
    assert_eq!(world.gate.asked(), 0);
}

#[tokio::test]
async fn the_developers_pages_show_every_operation_in_both_languages() {
    let world = World::start().await;
    let document: Value = world.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    for (language, title) in [("en", "API for developers"), ("zh", "开发者接口")] {
        let page = async |path: String| {
            let response = world.get(&path).header("accept-language", language).send().await.unwrap();
            let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
            assert!(text.len() < 100 * 1024, "{path} has {} bytes", text.len());
            // Nothing from elsewhere: every address that is fetched is one of ours.
            assert!(!text.contains("src=\"http") && !text.contains("<link rel=\"stylesheet\" href=\"http"));
            (status, text)
        };
        let (status, overview) = page("/developers".into()).await;
        assert!(status == 200 && overview.contains(title));
        for code in protocol::Code::ALL {
            assert!(overview.contains(&format!("id=\"{}\"", code.as_str())), "{code:?}");
        }
        for operation in Operation::all(&document) {
            let href = format!("/developers/{}", operation.id());
            assert!(overview.contains(&format!("href=\"{href}\"")), "{href}");
            let (status, text) = page(href).await;
            assert!(status == 200 && text.contains(operation.path), "{}", operation.id());
            for parameter in operation.parameters() {
                assert!(
                    text.contains(parameter["name"].as_str().unwrap()),
                    "{}: {parameter}",
                    operation.id()
                );
            }
        }
        assert_eq!(page("/developers/nothing".into()).await.0, 404);
    }
    assert_eq!(world.gate.asked(), 0);
}
