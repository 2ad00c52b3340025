//! Who may depend on whom, and what a zone never links.

use crate::Finding;

/// For each crate of ours the crates of ours that it may name in its manifest (tests may name others).
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("gridesk-domain", &[]),
    ("gridesk-runtime", &[]),
    ("gridesk-inspect", &[]),
    ("gridesk-protocol", &["gridesk-domain"]),
    ("gridesk-web", &["gridesk-domain", "gridesk-protocol"]),
    ("gridesk-storage", &["gridesk-domain", "gridesk-protocol", "gridesk-runtime"]),
    ("gridesk-edge", &["gridesk-inspect", "gridesk-protocol", "gridesk-runtime", "gridesk-web"]),
    ("gridesk-gate", &["gridesk-inspect", "gridesk-protocol", "gridesk-runtime", "gridesk-web"]),
    ("gridesk-cluster", &["gridesk-protocol", "gridesk-runtime"]),
    ("gridesk-control", &["gridesk-cluster", "gridesk-protocol", "gridesk-runtime", "gridesk-web"]),
    (
        "gridesk-center",
        &[
            "gridesk-cluster",
            "gridesk-domain",
            "gridesk-protocol",
            "gridesk-runtime",
            "gridesk-storage",
            "gridesk-web",
        ],
    ),
    ("gridesk-firewall", &["gridesk-protocol", "gridesk-runtime"]),
    (
        "gridesk",
        &[
            "gridesk-cluster",
            "gridesk-domain",
            "gridesk-inspect",
            "gridesk-protocol",
            "gridesk-runtime",
            "gridesk-web",
            "gridesk-storage",
            "gridesk-edge",
            "gridesk-gate",
            "gridesk-center",
            "gridesk-control",
            "gridesk-firewall",
        ],
    ),
    (
        "gridesk-lab",
        &[
            "gridesk-cluster",
            "gridesk-domain",
            "gridesk-inspect",
            "gridesk-protocol",
            "gridesk-runtime",
            "gridesk-storage",
            "gridesk-edge",
            "gridesk-gate",
            "gridesk-center",
            "gridesk-control",
            "gridesk-firewall",
            "gridesk",
        ],
    ),
    ("xtask", &[]),
];

/// Drivers of the intranet's stores; ours speaks to etcd. A name that ends in `*` stands for all that begin so.
const STORE_DRIVERS: &[&str] = &[
    "tokio-postgres*",
    "deadpool-postgres",
    "postgres*",
    "bb8-postgres",
    "sqlx*",
    "diesel*",
    "fred*",
    "redis*",
    "deadpool-redis",
    "rustis",
    "async-nats",
    "nats*",
    "etcd*",
    "gridesk-cluster",
    "gridesk-storage",
];

/// Whatever opens a file, a socket, or waits for one.
const IO: &[&str] = &[
    "tokio*",
    "async-std",
    "async-io",
    "smol",
    "mio",
    "socket2",
    "hyper*",
    "axum*",
    "tower-http",
    "reqwest",
    "ureq",
    "rusqlite",
    "libsqlite3-sys",
    "rustls",
    "native-tls",
    "tempfile",
    "gridesk-runtime",
    "gridesk-storage",
];

struct Never {
    package: &'static str,
    lists: &'static [&'static [&'static str]],
    because: &'static str,
}

/// What a crate, and with it the zone's own program, never links, however indirectly.
const NEVER_LINKS: &[Never] = &[
    Never {
        package: "gridesk-domain",
        lists: &[IO, &["gridesk-protocol"]],
        because: "domain is pure and does no I/O",
    },
    Never { package: "gridesk-protocol", lists: &[IO], because: "protocol is pure and does no I/O" },
    Never {
        package: "gridesk-inspect",
        lists: &[IO],
        because: "inspect judges bytes it is handed and waits for nobody but clamd, by std alone",
    },
    Never {
        package: "gridesk-edge",
        lists: &[STORE_DRIVERS, &["gridesk-gate", "gridesk-center", "gridesk-control", "gridesk"]],
        because: "the extranet links no driver of the intranet's stores and no other zone's code",
    },
    Never {
        package: "gridesk-gate",
        lists: &[STORE_DRIVERS, &["gridesk-edge", "gridesk-center", "gridesk-control", "gridesk"]],
        because: "the gate links no driver of the intranet's stores and no other zone's code",
    },
    Never {
        package: "gridesk-center",
        lists: &[&["gridesk-edge", "gridesk-gate", "gridesk-control", "gridesk"]],
        because: "no crate reaches over a zone",
    },
    Never {
        package: "gridesk-control",
        lists: &[&["gridesk-edge", "gridesk-gate", "gridesk-center", "gridesk"]],
        because: "no crate reaches over a zone",
    },
    Never {
        package: "gridesk",
        lists: &[&["gridesk-lab", "xtask"]],
        because: "those are for development only",
    },
];

/// Checks the crates of ours that a manifest names.
pub(super) fn check_direct(package: &str, manifest: &str, direct: &[&str]) -> Vec<Finding> {
    let Some((_, allowed)) = MAY_DEPEND.iter().find(|(name, _)| *name == package) else {
        let advice =
            format!("crate {package} has no row in MAY_DEPEND of crates/xtask/src/tidy/crates.rs: add one");
        return vec![Finding::new(manifest, advice)];
    };
    let wrong = direct.iter().filter(|name| !allowed.contains(name));
    wrong
        .map(|name| {
            let advice = format!(
                "{package} may not depend on {name}: move what is shared to a crate that both may use (DESIGN, Crates)"
            );
            Finding::new(manifest, advice)
        })
        .collect()
}

/// Whether [`check_linked`] has something to say about the package.
pub(super) fn has_forbidden(package: &str) -> bool {
    NEVER_LINKS.iter().any(|rule| rule.package == package)
}

/// Checks everything that a package links.
pub(super) fn check_linked(package: &str, manifest: &str, linked: &[String]) -> Vec<Finding> {
    let rules = NEVER_LINKS.iter().filter(|rule| rule.package == package);
    rules
        .flat_map(|rule| {
            let forbidden = rule.lists.iter().copied().flatten();
            let wrong = forbidden.flat_map(|pattern| linked.iter().filter(|name| matches(pattern, name)));
            wrong.map(|name| {
                let see = format!("`cargo tree -p {package} -e normal -i {name}` shows the way");
                Finding::new(manifest, format!("{package} links {name}, but {}: {see}", rule.because))
            })
        })
        .collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// Checks that a member takes the workspace's lints and says what it is.
pub(super) fn check_manifest(manifest: &str, text: &str) -> Vec<Finding> {
    let Ok(table) = text.parse::<toml::Table>() else {
        return vec![Finding::new(manifest, "is no TOML")];
    };
    let mut found = Vec::new();
    let lints = table.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
    if lints != Some(true) {
        found.push(Finding::new(
            manifest,
            "add [lints] workspace = true: unsafe code is forbidden everywhere",
        ));
    }
    let description = table.get("package").and_then(|package| package.get("description")?.as_str());
    if description.unwrap_or_default().is_empty() {
        found.push(Finding::new(manifest, "say in `description` what the crate is for"));
    }
    found
}

/// Checks that the workspace forbids unsafe code.
pub(super) fn check_root_manifest(text: &str) -> Option<Finding> {
    let table = text.parse::<toml::Table>().ok();
    let level = table
        .as_ref()
        .and_then(|table| table.get("workspace")?.get("lints")?.get("rust")?.get("unsafe_code")?.as_str());
    (level != Some("forbid"))
        .then(|| Finding::new("Cargo.toml", "set unsafe_code = \"forbid\" in [workspace.lints.rust]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(package: &str, names: &[&str]) -> usize {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        check_linked(package, "Cargo.toml", &names).len()
    }

    #[test]
    fn a_dependency_outside_the_table_is_found() {
        assert!(check_direct("gridesk-center", "m", &["gridesk-storage", "gridesk-web"]).is_empty());
        let found =
            check_direct("gridesk-edge", "crates/edge/Cargo.toml", &["gridesk-web", "gridesk-storage"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "crates/edge/Cargo.toml");
        assert!(found[0].advice.starts_with("gridesk-edge may not depend on gridesk-storage"));
        assert_eq!(check_direct("gridesk-domain", "m", &["gridesk-runtime"]).len(), 1);
        for (package, _) in MAY_DEPEND {
            assert_eq!(check_direct(package, "m", &["gridesk-lab"]).len(), 1, "{package}");
        }
        assert!(check_direct("newcomer", "m", &[])[0].advice.contains("add one"));
    }

    #[test]
    fn a_driver_in_a_zone_is_found_however_deep() {
        assert_eq!(linked("gridesk-edge", &["tokio", "rusqlite", "serde"]), 0);
        for driver in [
            "tokio-postgres",
            "postgres-types",
            "deadpool-postgres",
            "fred",
            "redis",
            "async-nats",
            "etcd-client",
            "gridesk-cluster",
        ] {
            assert_eq!(linked("gridesk-edge", &["tokio", driver]), 1, "{driver}");
            assert_eq!(linked("gridesk-gate", &["tokio", driver]), 1, "{driver}");
            assert_eq!(linked("gridesk-center", &[driver]), 0, "{driver}");
        }
        assert_eq!(linked("gridesk-gate", &["gridesk-center"]), 1);
        assert_eq!(linked("gridesk-center", &["gridesk-edge"]), 1);
    }

    #[test]
    fn io_in_a_pure_crate_is_found() {
        for package in ["gridesk-domain", "gridesk-protocol"] {
            assert_eq!(linked(package, &["serde", "jiff", "ed25519-dalek"]), 0);
            for io in
                ["tokio", "tokio-util", "hyper-util", "axum-core", "reqwest", "rusqlite", "socket2", "mio"]
            {
                assert_eq!(linked(package, &[io]), 1, "{package} {io}");
            }
        }
    }

    #[test]
    fn each_rule_is_about_a_crate_of_the_table() {
        for rule in NEVER_LINKS {
            assert!(MAY_DEPEND.iter().any(|(name, _)| *name == rule.package), "{}", rule.package);
        }
        for (name, allowed) in MAY_DEPEND {
            for other in *allowed {
                assert!(MAY_DEPEND.iter().any(|(name, _)| name == other), "{name} → {other}");
            }
        }
    }

    #[test]
    fn a_manifest_without_lints_or_description_is_found() {
        let good = "[package]\ndescription = \"x\"\n[lints]\nworkspace = true\n";
        assert!(check_manifest("m", good).is_empty());
        assert_eq!(check_manifest("m", &good.replace("true", "false")).len(), 1);
        assert_eq!(check_manifest("m", &good.replace("\"x\"", "\"\"")).len(), 1);
        assert_eq!(check_manifest("m", "[package]").len(), 2);
        assert_eq!(check_manifest("m", "= =").len(), 1);
        assert!(check_root_manifest("[workspace.lints.rust]\nunsafe_code = \"forbid\"").is_none());
        assert!(check_root_manifest("[workspace.lints.rust]\nunsafe_code = \"warn\"").is_some());
    }
}
