//! The documents that are made from the code, so that they cannot say anything else than it does: the API's description,
//! the problem codes, the table of operations. `cargo xtask openapi` writes them; a test finds where they are old.
use std::{fmt::Write as _, path::Path};

use center::authorize::{self, Relation, Role, Rule};
use protocol::{Code, Kind, catalogue};
use serde_json::Value;

/// A document: its name in `docs/`, and what makes it.
type Document = (&'static str, fn() -> String);

/// Every document made from the code.
pub const DOCUMENTS: [Document; 3] =
    [("openapi.json", edge::openapi::text), ("problems.md", problems), ("operations.md", operations)];

/// Writes all documents into a folder; gives the names of those that were not as they should be.
///
/// # Errors
/// A file that cannot be read or written.
pub fn write(folder: &Path) -> std::io::Result<Vec<&'static str>> {
    let mut changed = Vec::new();
    for (name, make) in DOCUMENTS {
        let (file, text) = (folder.join(name), make());
        if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            std::fs::write(file, text)?;
            changed.push(name);
        }
    }
    Ok(changed)
}

const MADE: &str = "<!-- Made from the code by `cargo xtask openapi`; changes by hand are lost. -->\n";

fn problems() -> String {
    let mut out = format!(
        "# Problem codes\n\n{MADE}\nEvery request that is not done is answered by a problem document (RFC 9457, \
         `application/problem+json`): `type`, `title`, `status`, `code`, `detail`, `request_id`, and `retry_after_s` \
         where trying again helps. Programs go by `code`, which does not change; titles and details may.\n\n\
         | code | status | meaning | what to do |\n| --- | --- | --- | --- |\n"
    );
    for code in Code::ALL {
        let (name, status) = (code.as_str(), code.status());
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "| `{name}` | {status} | {}. {} | {} |",
            code.title(),
            code.meaning(),
            code.advice()
        );
    }
    out
}

fn operations() -> String {
    let mut out = format!(
        "# Operations\n\n{MADE}\nWhat may cross the zones, from the catalogue; who may, from the center's one table; where \
         it is asked. The [API's description](openapi.json) has the rest.\n\n\
         | operation | version | kind | who may | HTTP | portal |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    for spec in catalogue::ALL {
        let rule = authorize::TABLE.iter().find(|rule| rule.operation == spec.name);
        let who = match rule {
            Some(rule) => who(rule),
            None if spec.kind == Kind::Gate => "anybody; the gate itself answers".into(),
            None => "nobody".into(),
        };
        let kind = match spec.kind {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Gate => "gate",
        };
        let http = addresses(spec.name).map(|(method, path)| format!("`{method} {path}`"));
        let http = http.collect::<Vec<_>>().join(", ");
        let pages = edge::portal::PAGES.iter().filter(|(operation, _)| *operation == spec.name);
        let pages = pages.map(|(_, page)| format!("`{page}`")).collect::<Vec<_>>().join(", ");
        let or_none = |text: String| if text.is_empty() { "–".to_owned() } else { text };
        let (http, pages) = (or_none(http), or_none(pages));
        let _ = writeln!(out, "| `{}` | {} | {kind} | {who} | {http} | {pages} |", spec.name, spec.version);
    }
    out
}

/// Where the API takes an operation.
fn addresses(operation: &str) -> impl Iterator<Item = (String, &'static str)> {
    let paths = edge::openapi::document()["paths"].as_object().into_iter().flatten();
    paths.flat_map(move |(path, methods)| {
        let of_path = methods.as_object().into_iter().flatten();
        let same = of_path.filter(move |(_, described)| described["operationId"] == operation);
        same.map(move |(method, _): (&String, &Value)| (method.to_uppercase(), path.as_str()))
    })
}

fn who(rule: &Rule) -> String {
    let role = match rule.role {
        Role::Anyone => "anybody",
        Role::Customer => "a customer",
        Role::System => "the platform's own programs",
    };
    let relation = match rule.relation {
        Relation::None => "",
        Relation::Own => ", about themselves",
        Relation::OwnFresh => ", about themselves, having logged in a short while ago",
        Relation::PayerInLane => " whose money it is: who ordered the payment, or signed the mandate",
        Relation::Holder | Relation::HolderInLane => " who has bound the account",
        Relation::HolderOrPayer => " who has bound the account, or has looked whose it is",
        Relation::PaymentHolderOrPayer => " who has bound the account, or ordered the payment",
        Relation::HolderIfNamed => " who has bound the account, where one is named",
        Relation::RequestParty => " who made the request; of a fault report, who has bound its account",
        Relation::ExportHolder => " who has bound the account that the file is about",
        Relation::Asker => " who asked for it",
        Relation::Signed => ", by what is signed",
    };
    format!("{role}{relation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_say_what_the_code_does() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        for (name, make) in DOCUMENTS {
            let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(committed == make(), "docs/{name} is old: cargo xtask openapi");
        }
    }

    #[test]
    fn every_operation_has_its_address_and_is_open_to_whom_the_table_says() {
        for spec in catalogue::ALL {
            let rule = authorize::TABLE.iter().find(|rule| rule.operation == spec.name);
            // Said by the platform's own programs; or asked by the edge for itself, on a customer's behalf.
            if rule.is_some_and(|rule| rule.role == Role::System) || spec.name == "request_form" {
                continue;
            }
            let (method, path) = addresses(spec.name).next().unwrap_or_else(|| {
                panic!(
                    "{}: give its handler #[utoipa::path(…, operation_id = {0:?})] and its line in edge::api",
                    spec.name
                )
            });
            let described = &edge::openapi::document()["paths"][path][method.to_lowercase()];
            let needs_session = rule.is_some_and(|rule| rule.role == Role::Customer);
            // Nothing said: what holds for the whole document, a session.
            assert_eq!(described["security"].is_null(), needs_session, "{}", spec.name);
        }
    }

    #[test]
    fn every_page_is_about_an_operation() {
        for (operation, _) in edge::portal::PAGES {
            assert!(catalogue::ALL.iter().any(|spec| spec.name == *operation), "{operation}");
        }
    }
}
