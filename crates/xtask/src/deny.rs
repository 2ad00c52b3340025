//! What comes from others: its licences, where it is fetched from, and what is not wanted at all.
//!
//! The rules stand in `supply-chain.toml`. Looked at is what Cargo.lock pins and the platform needs; nothing is
//! fetched for it that a build would not fetch.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::Finding;
use crate::tree::Tree;

const RULES: &str = "supply-chain.toml";

/// `supply-chain.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// Where crates may come from, as Cargo.lock writes it.
    sources: Vec<String>,
    /// SPDX names of licences that fit ours.
    licences: Vec<String>,
    /// Crates under another licence, each with a reason.
    #[serde(default)]
    exception: Vec<Exception>,
    /// Crates that are not wanted.
    #[serde(default)]
    ban: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    name: String,
    /// The SPDX expression that is accepted for it, whatever its manifest says.
    licence: String,
    #[allow(dead_code, reason = "for the reader of the file, who must find one")]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    name: String,
    reason: String,
    /// Crates of others that may use it for themselves; nothing else may, ours least of all.
    #[serde(default)]
    only_through: Vec<String>,
}

/// A crate of others.
#[derive(Clone, Debug)]
struct Foreign {
    name: String,
    version: String,
    licence: Option<String>,
    /// What names it in its manifest.
    dependents: Vec<String>,
}

/// Cargo.lock, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// Everything from others that breaks a rule. Crates that are there in two versions are printed, and break none.
pub(crate) fn findings(tree: &Tree) -> Result<Vec<Finding>> {
    let read = |name: &str| std::fs::read_to_string(tree.root.join(name)).with_context(|| name.to_owned());
    let rules: Rules = toml::from_str(&read(RULES)?).context(RULES)?;
    let lock: Lock = toml::from_str(&read("Cargo.lock")?).context("Cargo.lock")?;
    let members: Vec<&str> = tree.metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();

    // What the platform's dependency graph holds; Cargo.lock also pins what only other systems need.
    let needed = tree.metadata.resolve.as_ref().context("cargo metadata gave no graph")?;
    let foreign: Vec<Foreign> = needed
        .nodes
        .iter()
        .map(|node| &tree.metadata[&node.id])
        .filter(|package| !tree.metadata.workspace_members.contains(&package.id))
        .map(|package| {
            let names_it = needed.nodes.iter().filter(|node| node.dependencies.contains(&package.id));
            Foreign {
                name: package.name.to_string(),
                version: package.version.to_string(),
                licence: package.license.clone(),
                dependents: names_it.map(|node| tree.metadata[&node.id].name.to_string()).collect(),
            }
        })
        .collect();

    for (name, versions) in duplicates(&foreign) {
        println!("note: {name} is there {} times: {}", versions.len(), versions.join(", "));
    }
    let mut found = check_sources(&rules, &lock, &members);
    found.extend(check_bans(&rules, &foreign));
    found.extend(check_licences(&rules, &foreign)?);
    Ok(found)
}

fn check_sources(rules: &Rules, lock: &Lock, members: &[&str]) -> Vec<Finding> {
    let mut found = Vec::new();
    for Locked { name, version, source, checksum } in &lock.package {
        let problem = match source {
            None if members.contains(&name.as_str()) => continue,
            None => "lies outside the workspace".to_owned(),
            Some(source) if !rules.sources.contains(source) => format!("comes from {source}"),
            Some(_) if checksum.is_none() => "has no checksum".to_owned(),
            Some(_) => continue,
        };
        let advice =
            format!("{name} {version} {problem}: use a released version from {}", rules.sources.join(", "));
        found.push(Finding::new("Cargo.lock", advice));
    }
    found
}

fn check_bans(rules: &Rules, foreign: &[Foreign]) -> Vec<Finding> {
    let through = |ban: &Ban, package: &Foreign| {
        !ban.only_through.is_empty() && package.dependents.iter().all(|name| ban.only_through.contains(name))
    };
    let banned =
        |package: &Foreign| rules.ban.iter().find(|ban| ban.name == package.name && !through(ban, package));
    let found = foreign.iter().filter_map(|package| {
        let ban = banned(package)?;
        let see = format!("`cargo tree -i {}` shows who brings it", package.name);
        let advice = format!("{} {} is banned: {} ({see})", package.name, package.version, ban.reason);
        Some(Finding::new("Cargo.lock", advice))
    });
    found.collect()
}

fn check_licences(rules: &Rules, foreign: &[Foreign]) -> Result<Vec<Finding>> {
    let allowed = rules
        .licences
        .iter()
        .map(|name| Licensee::parse(name).with_context(|| format!("{RULES}: {name} is no SPDX licence")))
        .collect::<Result<Vec<_>>>()?;
    let mut found = Vec::new();
    for exception in &rules.exception {
        Expression::parse(&exception.licence)
            .with_context(|| format!("{RULES}: exception {}: licence", exception.name))?;
        if !foreign.iter().any(|package| package.name == exception.name) {
            let advice = format!("the exception for {} is not needed any more: remove it", exception.name);
            found.push(Finding::new(RULES, advice));
        }
    }
    let excepted = |package: &Foreign| rules.exception.iter().any(|exception| exception.name == package.name);
    for package in foreign.iter().filter(|package| !excepted(package)) {
        // Lax: older manifests write `MIT/Apache-2.0`.
        let parsed = package.licence.as_ref().map(|text| Expression::parse_mode(text, ParseMode::LAX));
        let problem = match parsed {
            None => "names no licence".to_owned(),
            Some(Err(error)) => format!("has a licence that is no SPDX expression ({})", error.reason),
            Some(Ok(licence)) => {
                match licence.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted))) {
                    true => continue,
                    false => format!("is under {licence}"),
                }
            }
        };
        let advice = format!(
            "{} {} {problem}, which {RULES} does not allow: use another crate, or add the licence if it fits ours",
            package.name, package.version
        );
        found.push(Finding::new("Cargo.lock", advice));
    }
    Ok(found)
}

fn duplicates(foreign: &[Foreign]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in foreign {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        toml::from_str(
            r#"
            sources = ["registry+x"]
            licences = ["MIT", "Apache-2.0"]
            [[exception]]
            name = "ring"
            licence = "ISC AND OpenSSL"
            reason = "its notice file"
            [[ban]]
            name = "openssl"
            reason = "rustls is used"
            "#,
        )
        .unwrap()
    }

    fn foreign(name: &str, licence: Option<&str>) -> Foreign {
        Foreign {
            name: name.into(),
            version: "1.0.0".into(),
            licence: licence.map(str::to_owned),
            dependents: Vec::new(),
        }
    }

    fn advice(found: &[Finding]) -> String {
        found.iter().map(|finding| finding.advice.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_licence_that_does_not_fit_is_found() {
        let check =
            |licence| check_licences(&rules(), &[foreign("ring", None), foreign("x", licence)]).unwrap();
        for good in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "MIT AND Apache-2.0", "Apache-2.0 OR Zlib"] {
            assert_eq!(check(Some(good)), [], "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "no licence at all"] {
            assert_eq!(check(Some(bad)).len(), 1, "{bad}");
        }
        assert!(advice(&check(None)).contains("x 1.0.0 names no licence"));
    }

    #[test]
    fn an_exception_that_nobody_needs_is_found() {
        let found = check_licences(&rules(), &[foreign("x", Some("MIT"))]).unwrap();
        assert!(advice(&found).contains("exception for ring"));
    }

    #[test]
    fn a_banned_crate_is_found() {
        assert_eq!(check_bans(&rules(), &[foreign("rustls", None)]), []);
        let found = check_bans(&rules(), &[foreign("openssl", None)]);
        assert!(advice(&found).contains("openssl 1.0.0 is banned: rustls is used"));
    }

    #[test]
    fn a_banned_crate_may_be_used_by_those_that_are_named_alone() {
        let mut rules = rules();
        rules.ban[0].only_through = vec!["client".to_owned()];
        let check = |dependents: &[&str]| {
            let dependents = dependents.iter().map(|name| (*name).to_owned()).collect();
            check_bans(&rules, &[Foreign { dependents, ..foreign("openssl", None) }]).len()
        };
        assert_eq!((check(&["client"]), check(&["client", "ours"]), check(&["ours"])), (0, 1, 1));
    }

    #[test]
    fn another_source_is_found() {
        let lock = |text: &str| toml::from_str::<Lock>(text).unwrap();
        let package = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n";
        let check = |rest: &str| check_sources(&rules(), &lock(&format!("{package}{rest}")), &["ours"]);
        assert_eq!(check("source = \"registry+x\"\nchecksum = \"0\""), []);
        assert!(advice(&check("source = \"git+https://example.org\"")).contains("comes from git+"));
        assert!(advice(&check("source = \"registry+x\"")).contains("has no checksum"));
        assert!(advice(&check("")).contains("outside the workspace"));
        assert_eq!(check_sources(&rules(), &lock(&package.replace("\"a\"", "\"ours\"")), &["ours"]), []);
    }

    #[test]
    fn two_versions_are_noted() {
        let mut list = vec![foreign("a", None), foreign("b", None), foreign("a", None)];
        list[2].version = "2.0.0".into();
        assert_eq!(duplicates(&list), BTreeMap::from([("a", vec!["1.0.0", "2.0.0"])]));
    }

    #[test]
    fn the_rules_of_this_tree_can_be_read() {
        let rules: Rules = toml::from_str(include_str!("../../../supply-chain.toml")).unwrap();
        assert!(rules.licences.iter().all(|name| Licensee::parse(name).is_ok()));
    }
}
