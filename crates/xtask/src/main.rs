//! Development only: `cargo xtask tidy` and `cargo xtask deny` check what no compiler checks; `cargo xtask openapi`
//! writes what is made from the code.
//!
//! Each check is a function over values that gives a list of findings; this file gathers the values, prints the
//! findings and ends with status 1 when there are any.

use std::process::ExitCode;

use anyhow::{Context, Result};

mod deny;
mod tidy;
mod tree;

const USAGE: &str = "usage: cargo xtask tidy | deny | openapi

  openapi  writes the documents that are made from the code: docs/openapi.json, docs/problems.md, docs/operations.md
  tidy     who may depend on whom, purity of domain and protocol, names, file lengths, leftovers
  deny     licences, banned crates and sources of everything in Cargo.lock, by supply-chain.toml";

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// A file from the root of the tree, with a line where there is one: `crates/edge/src/lib.rs:7`.
    place: String,
    /// What is wrong and what to do.
    advice: String,
}

impl Finding {
    fn new(place: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { place: place.into(), advice: advice.into() }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let findings = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => run(tidy::findings),
        ["deny"] => run(deny::findings),
        ["openapi"] => describe(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match findings {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Has the program write what is made from it: this crate links none of the others.
fn describe() -> Result<usize> {
    let tree = tree::Tree::find().context("cannot find the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package", "gridesk", "--bin", "gridesk", "--", "describe"])
        .arg(tree.root.join("docs"))
        .status()
        .context("cannot run cargo")?;
    Ok(usize::from(!status.success()))
}

/// Runs a check at the root of the tree; prints and counts what it finds.
fn run(check: fn(&tree::Tree) -> Result<Vec<Finding>>) -> Result<usize> {
    let tree = tree::Tree::find().context("cannot find the workspace")?;
    let mut findings = check(&tree)?;
    findings.sort();
    findings.dedup();
    for finding in &findings {
        eprintln!("{}: {}", finding.place, finding.advice);
    }
    match findings.len() {
        0 => println!("nothing to mend"),
        count => eprintln!("{count} to mend"),
    }
    Ok(findings.len())
}
