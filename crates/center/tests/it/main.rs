//! The program itself, as an operator starts it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
use std::process::Command;

#[test]
fn settings_that_are_wrong_are_named_and_end_it_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("center.toml");
    std::fs::write(&file, "data = '/nowhere'\nsokcet = '/nowhere/center.sock'\n").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_gridesk-center")).arg("--config").arg(&file).output().unwrap();
    // Which says to a supervisor that another start would end in the same way.
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("center.toml") && said.contains("sokcet"), "{said}");
}
