//! The `nft` program. Rules go in by standard input, as one transaction.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::ruleset::TABLE;

/// Why `nft` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// Only root may.
    #[error("this reads or changes the kernel's rules: run it as root")]
    NotRoot,
    /// A program is missing.
    #[error("{program} cannot be run: {source} (Debian: apt-get install nftables util-linux)")]
    Missing {
        /// Which.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It said no. Nothing has changed.
    #[error("{what} failed: {said}")]
    Refused {
        /// What it was to do.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// It answered what nobody understands.
    #[error("{what} gave what cannot be read: {source}")]
    Answer {
        /// What it was to do.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// # Errors
/// [`NftError::NotRoot`].
pub(crate) fn need_root() -> Result<(), NftError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(NftError::NotRoot) }
}

/// Whether the kernel would take the rules; changes nothing.
pub(crate) fn try_rules(rules: &str) -> Result<(), NftError> {
    run("nft", &["-c", "-f", "-"], rules, "nft -c").map(drop)
}

/// Takes the rules, all or none.
pub(crate) fn load(rules: &str) -> Result<(), NftError> {
    run("nft", &["-f", "-"], rules, "nft -f").map(drop)
}

/// Our table as it runs, without what changes by itself (counts, remembered sources); `None` where there is none.
pub(crate) fn running() -> Result<Option<String>, NftError> {
    let tables: Answer = json(&["-j", "list", "tables"], "nft list tables")?;
    let ours = tables.nftables.iter().filter_map(|object| object.table.as_ref());
    let ours = ours.filter(|table| format!("{} {}", table.family, table.name) == TABLE).count();
    if ours == 0 {
        return Ok(None);
    }
    run("nft", &["-s", "-t", "list", "table", "inet", "gridesk"], "", "nft list table").map(Some)
}

/// The same rules as this kernel and this `nft` list them: they are loaded into a network namespace of their own, which
/// has no traffic and ends with the command. So nothing needs to know how a version of `nft` writes a rule.
pub(crate) fn as_listed(rules: &str) -> Result<String, NftError> {
    let script = "nft -f - && exec nft -s -t list table inet gridesk";
    run("unshare", &["--net", "sh", "-c", script], rules, "listing the rules in a namespace of their own")
}

/// A chain or flowtable of others that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ForeignHook {
    /// `family name`.
    pub(crate) table: String,
    /// What it is, in words.
    pub(crate) what: String,
}

/// Whatever else is called for packets, as far as nftables and the older iptables show it.
pub(crate) fn foreign_hooks() -> Result<Vec<ForeignHook>, NftError> {
    let answer: Answer = json(&["-j", "-t", "list", "ruleset"], "nft list ruleset")?;
    let mut rules: BTreeMap<(String, String), usize> = BTreeMap::new();
    for rule in answer.nftables.iter().filter_map(|object| object.rule.as_ref()) {
        *rules.entry((format!("{} {}", rule.family, rule.table), rule.chain.clone())).or_default() += 1;
    }
    let mut found = Vec::new();
    for object in answer.nftables {
        let (part, kind) = match (object.chain, object.flowtable) {
            (Some(part), _) => (part, "chain"),
            (_, Some(part)) => (part, "flowtable"),
            _ => continue,
        };
        let table = format!("{} {}", part.family, part.table);
        let Some(hook) = part.hook.filter(|_| table != TABLE) else { continue };
        let count = rules.get(&(table.clone(), part.name.clone())).copied().unwrap_or_default();
        let policy = part.policy.map(|policy| format!(", policy {policy}")).unwrap_or_default();
        let rules = if kind == "chain" { format!(", {count} rules") } else { String::new() };
        found.push(ForeignHook { table, what: format!("{kind} {} at {hook}{policy}{rules}", part.name) });
    }
    for (file, family) in [("/proc/net/ip_tables_names", "ip"), ("/proc/net/ip6_tables_names", "ip6")] {
        // The file is there only where the older iptables is loaded.
        let names = std::fs::read_to_string(file).unwrap_or_default();
        found.extend(names.lines().map(|name| ForeignHook {
            table: format!("{family} {name}"),
            what: "a table of the older iptables, which nft does not show".into(),
        }));
    }
    found.sort();
    Ok(found)
}

#[derive(Deserialize)]
struct Answer {
    nftables: Vec<Object>,
}

/// What a listing holds, as far as it matters here.
#[derive(Deserialize)]
struct Object {
    table: Option<Table>,
    chain: Option<Part>,
    flowtable: Option<Part>,
    rule: Option<Rule>,
}

#[derive(Deserialize)]
struct Table {
    family: String,
    name: String,
}

#[derive(Deserialize)]
struct Part {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    family: String,
    table: String,
    chain: String,
}

fn json(arguments: &[&str], what: &'static str) -> Result<Answer, NftError> {
    let text = run("nft", arguments, "", what)?;
    serde_json::from_str(&text).map_err(|source| NftError::Answer { what, source })
}

fn run(
    program: &'static str,
    arguments: &[&str],
    input: &str,
    what: &'static str,
) -> Result<String, NftError> {
    let missing = |source| NftError::Missing { program, source };
    // Not everybody who becomes root has the folders of root's programs in PATH.
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    path.push(":/usr/sbin:/sbin");
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    // Nothing is answered before all has been read, so that neither waits for the other. A broken pipe says itself
    // why, on standard error.
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(NftError::Refused { what, said })
}
