//! What `nft list table` prints, and how two of them differ.
use std::collections::BTreeMap;

/// The parts of a table in their order of name: the table itself, its counters, sets and chains, each with its lines.
type Parts = BTreeMap<String, Vec<String>>;

/// A line that only one of two listings has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// `chain input`.
    pub(crate) part: String,
    pub(crate) text: String,
    /// Whether it is there and should not be; else it should be and is not.
    pub(crate) extra: bool,
}

/// The lines by which what runs differs from what should.
pub(crate) fn differences(should: &str, runs: &str) -> Vec<Line> {
    let (should, runs) = (parts(should), parts(runs));
    let mut names: Vec<&String> = should.keys().chain(runs.keys()).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let whole = |extra| vec![Line { part: name.clone(), text: "the whole of it".into(), extra }];
        found.extend(match (should.get(name), runs.get(name)) {
            (Some(should), Some(runs)) => part_differences(name, should, runs),
            (Some(_), None) => whole(false),
            (None, Some(lines)) => {
                let mut all = whole(true);
                all.extend(lines.iter().map(|text| Line {
                    part: name.clone(),
                    text: text.clone(),
                    extra: true,
                }));
                all
            }
            (None, None) => Vec::new(),
        });
    }
    found
}

/// A listing is indented by tabs: the table at none, its parts at one, their lines at two and more.
fn parts(listing: &str) -> Parts {
    let mut parts = Parts::new();
    let mut part = "table".to_owned();
    for line in listing.lines() {
        let depth = line.chars().take_while(|c| *c == '\t').count();
        let text = line.trim();
        match (depth, text.strip_suffix(" {")) {
            (0, _) | (1, None) if text == "}" || text.is_empty() || depth == 0 => {
                "table".clone_into(&mut part)
            }
            (1, Some(name)) => {
                name.clone_into(&mut part);
                parts.entry(part.clone()).or_default();
            }
            _ => parts.entry(part.clone()).or_default().push(text.to_owned()),
        }
    }
    parts
}

/// By the longest common subsequence: order is part of what a chain means.
fn part_differences(part: &str, should: &[String], runs: &[String]) -> Vec<Line> {
    let width = runs.len() + 1;
    // For each pair of tails the length of what they have in common.
    let mut common = vec![0_usize; (should.len() + 1) * width];
    for i in (0..should.len()).rev() {
        for j in (0..runs.len()).rev() {
            common[i * width + j] = match should[i] == runs[j] {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let line = |text: &String, extra| Line { part: part.to_owned(), text: text.clone(), extra };
    let mut found = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < should.len() || j < runs.len() {
        let lacking =
            i < should.len() && (j == runs.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]);
        if i < should.len() && j < runs.len() && should[i] == runs[j] {
            (i, j) = (i + 1, j + 1);
        } else if lacking {
            found.push(line(&should[i], false));
            i += 1;
        } else {
            found.push(line(&runs[j], true));
            j += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTING: &str = "table inet gridesk {\n\tcomment \"host a\"\n\tcounter x {\n\t}\n\n\tset s {\n\t\ttype ipv4_addr\n\t\tsize 8\n\t}\n\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t\tiif \"lo\" accept\n\t\tdrop\n\t}\n}\n";

    fn shown(should: &str, runs: &str) -> Vec<String> {
        let sign = |line: &Line| if line.extra { '+' } else { '-' };
        differences(should, runs)
            .iter()
            .map(|line| format!("{}{}: {}", sign(line), line.part, line.text))
            .collect()
    }

    #[test]
    fn the_same_does_not_differ() {
        assert_eq!(shown(LISTING, LISTING), [""; 0]);
    }

    #[test]
    fn what_is_lacking_or_too_much_is_said_with_its_place() {
        let changed = LISTING.replace("\t\tdrop\n", "\t\ttcp dport 1 accept\n\t\tdrop\n");
        assert_eq!(shown(LISTING, &changed), ["+chain input: tcp dport 1 accept"]);
        assert_eq!(shown(&changed, LISTING), ["-chain input: tcp dport 1 accept"]);
        let open = LISTING.replace("policy drop", "policy accept");
        assert_eq!(
            shown(LISTING, &open),
            [
                "-chain input: type filter hook input priority filter; policy drop;",
                "+chain input: type filter hook input priority filter; policy accept;"
            ]
        );
        let dormant = LISTING.replace("\tcomment", "\tflags dormant\n\tcomment");
        assert_eq!(shown(LISTING, &dormant), ["+table: flags dormant"]);
        let bigger = LISTING.replace("size 8", "size 9");
        assert_eq!(shown(LISTING, &bigger), ["-set s: size 8", "+set s: size 9"]);
        let more =
            LISTING.replace("\tcounter x {\n\t}\n", "\tcounter x {\n\t}\n\n\tchain y {\n\t\taccept\n\t}\n");
        assert_eq!(shown(LISTING, &more), ["+chain y: the whole of it", "+chain y: accept"]);
        assert_eq!(shown(&more, LISTING), ["-chain y: the whole of it"]);
    }

    #[test]
    fn another_order_is_a_difference() {
        let moved = LISTING.replace("\t\tiif \"lo\" accept\n\t\tdrop\n", "\t\tdrop\n\t\tiif \"lo\" accept\n");
        assert_eq!(shown(LISTING, &moved).len(), 2);
    }

    proptest! {
        /// What is lacking taken away from what should be, and what is too much from what runs, leaves the same.
        #[test]
        fn the_differences_are_all_there_is(should in "[abc]{0,12}", runs in "[abc]{0,12}") {
            let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
            let (should, runs) = (lines(&should), lines(&runs));
            let found = part_differences("p", &should, &runs);
            let without = |all: &[String], extra: bool| {
                let mut gone: Vec<&str> = found.iter().filter(|l| l.extra == extra).map(|l| l.text.as_str()).collect();
                let mut left = all.to_vec();
                left.retain(|text| match gone.iter().position(|g| g == text) {
                    Some(at) => { gone.remove(at); false }
                    None => true,
                });
                left.sort();
                left
            };
            prop_assert_eq!(without(&should, false), without(&runs, true));
            prop_assert_eq!(found.is_empty(), should == runs);
        }
    }
}
