//! Whether a host runs the rules that its topology gives.
use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::{NftError, Ruleset, Topology, listing, nft, ruleset::TABLE};

/// One difference between what should run and what does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind.
    pub kind: Kind,
    /// Where: `chain input`, `table ip nat`.
    pub place: String,
    /// Which line, or what it is.
    pub text: String,
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It should be there and is not.
    Lacks,
    /// It is there and should not be.
    Extra,
    /// Others' rules are called for packets too, and the topology does not know them.
    Unknown,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Lacks => "lacks  ",
            Kind::Extra => "extra  ",
            Kind::Unknown => "unknown",
        };
        write!(f, "{kind} {}: {}", self.place, self.text)
    }
}

/// Compares what runs in this network namespace with what should.
///
/// # Errors
/// [`NftError`]: it could not be looked at.
pub fn check(topology: &Topology, rules: &Ruleset) -> Result<Vec<Difference>, NftError> {
    nft::need_root()?;
    let mut found = own(&rules.to_string())?;
    found.extend(foreign(nft::foreign_hooks()?, &topology.other_tables));
    Ok(found)
}

fn own(rules: &str) -> Result<Vec<Difference>, NftError> {
    let Some(runs) = nft::running()? else {
        let text = "the whole of it: nothing is filtered".into();
        return Ok(vec![Difference { kind: Kind::Lacks, place: format!("table {TABLE}"), text }]);
    };
    let differences = listing::differences(&nft::as_listed(rules)?, &runs);
    let difference = |line: listing::Line| Difference {
        kind: if line.extra { Kind::Extra } else { Kind::Lacks },
        place: line.part,
        text: line.text,
    };
    Ok(differences.into_iter().map(difference).collect())
}

/// An accept of others cannot open what we drop, but they may rewrite addresses, take packets before us or leave conntrack
/// out, and close what should be open.
fn foreign(hooks: Vec<nft::ForeignHook>, known: &BTreeSet<String>) -> Vec<Difference> {
    let unknown = hooks.into_iter().filter(|hook| !known.contains(&hook.table));
    unknown
        .map(|hook| Difference {
            kind: Kind::Unknown,
            place: format!("table {}", hook.table),
            text: hook.what,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_the_topology_names_are_known() {
        let hook = |table: &str| nft::ForeignHook { table: table.into(), what: "chain c at input".into() };
        let known = BTreeSet::from(["inet fail2ban".to_owned()]);
        let found = foreign(vec![hook("inet fail2ban"), hook("ip nat")], &known);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "unknown table ip nat: chain c at input");
    }
}
