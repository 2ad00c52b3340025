//! A ruleset as the text that `nft -f` takes.
use std::fmt::{Formatter, Result};

use super::{Chain, Counter, Ruleset, Set, TABLE};
use crate::address::Family;

pub(super) fn ruleset(rules: &Ruleset, f: &mut Formatter<'_>) -> Result {
    writeln!(f, "# Firewall of host {}, made from its topology: a change by hand is found by", rules.host)?;
    writeln!(f, "# `gridesk firewall check` and lost with the next `apply`.")?;
    // Making it first, so that removing it cannot fail; the two and the rest are one transaction.
    writeln!(f, "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{")?;
    writeln!(f, "\tcomment \"host {}\"", rules.host)?;
    for Counter { name, comment } in &rules.counters {
        writeln!(f, "\tcounter {name} {{\n\t\tcomment \"{comment}\"\n\t}}")?;
    }
    for one in &rules.sets {
        set(one, f)?;
    }
    for one in &rules.chains {
        chain(one, f)?;
    }
    writeln!(f, "}}")
}

fn set(set: &Set, f: &mut Formatter<'_>) -> Result {
    let kind = match set.family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    };
    writeln!(f, "\tset {} {{\n\t\ttype {kind}\n\t\tsize {}", set.name, set.size)?;
    match set.timeout_s {
        Some(seconds) => writeln!(f, "\t\tflags dynamic,timeout\n\t\ttimeout {seconds}s\n\t}}"),
        None => writeln!(f, "\t\tflags dynamic\n\t}}"),
    }
}

fn chain(chain: &Chain, f: &mut Formatter<'_>) -> Result {
    writeln!(f, "\n\tchain {} {{", chain.name)?;
    if let Some(base) = chain.base {
        writeln!(f, "\t\t{base}")?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{rule}")?;
    }
    writeln!(f, "\t}}")
}
