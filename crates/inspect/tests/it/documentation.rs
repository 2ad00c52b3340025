//! The document says of each kind and each reason what there is to say.

use std::path::Path;

use inspect::{Kind, Reason, Rules};

fn document() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/inspection.md")).unwrap()
}

#[test]
fn every_reason_stands_in_the_document_in_its_own_words() {
    let document = document();
    let expected: Vec<String> =
        Reason::ALL.iter().map(|why| format!("| `{}` | {why} | {} |", why.name(), why.advice())).collect();
    let found: Vec<&str> = {
        let part = document.split("## Reasons").nth(1).expect("there is a part on reasons");
        let part = part.split("\n## ").next().unwrap();
        part.lines().filter(|line| line.starts_with("| `")).collect()
    };
    assert_eq!(found, expected);
}

#[test]
fn every_kind_stands_in_the_document() {
    let document = document();
    let part = document.split("## Kinds").nth(1).expect("there is a part on kinds");
    let part = part.split("\n## ").next().unwrap();
    for kind in Kind::ALL {
        let first = part.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let rows = first.filter(|cell| format!("`{cell}").contains(&format!("`{kind}`")));
        assert_eq!(rows.count(), 1, "{kind}");
    }
}

#[test]
fn the_settings_in_the_document_are_the_default() {
    let document = document();
    let block = document.split("```toml\n").nth(1).expect("there are settings").split("```").next().unwrap();
    let rules: Rules = toml::from_str(block).unwrap();
    assert_eq!(rules, Rules::default());
    // All of them, none left to be filled in.
    assert_eq!(
        toml::from_str::<toml::Table>(block).unwrap(),
        toml::Table::try_from(Rules::default()).unwrap()
    );
}
