//! Judges files by what they hold.
//!
//! A customer's file is looked at twice: by the edge before it may cross, and by the gate's inner half after it has.
//! Both ask [`inspect`], which goes by the bytes alone; the name is data ([`check_name`]) and says nothing about them.
//!
//! A file of a kind that may pass is walked from its first byte to its last by a walker for that kind, so that there is
//! no part of it that nobody looked at: what lies before, behind or between is itself a reason to refuse. Walkers read
//! through a fixed window, unpack within a budget, follow no recursion, and believe no length before it is checked, so
//! that time and memory are bounded whatever the file says.
//!
//! Known malware is found by others: [`clamd`] asks a virus scanner.
mod active;
pub mod clamd;
mod detect;
mod ending;
mod inflate;
mod kind;
mod name;
mod pdf;
mod picture;
mod reason;
mod rules;
mod source;
mod text;
mod xml;
mod zip;

use std::io::{self, Read, Seek};

use serde::{Deserialize, Serialize};

pub use kind::{Kind, UnknownKind};
pub use name::{NAME_BYTES_MAX, Name, NameProblem, check_name};
pub use reason::{Reason, UnknownReason};
pub use rules::{ArchiveRules, PdfRules, PictureRules, Rules, RulesError, TextRules};

use source::{Source, Stop};

/// What is to become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It may go on.
    Pass {
        /// What it is.
        kind: Kind,
    },
    /// It may go on once a person has looked at it.
    NeedsPerson {
        /// What it is.
        kind: Kind,
        /// Why it cannot be decided by rules.
        why: Reason,
    },
    /// It goes nowhere.
    Refuse {
        /// What it is, where that was looked at.
        kind: Option<Kind>,
        /// Why.
        why: Reason,
    },
}

/// Judges a file of `size` bytes by `rules`.
///
/// Fails only where the file cannot be read, or is not of that size. Time and memory are bounded by the rules, whatever
/// the file holds: at most a few hundred kilobytes and what the entries of an archive take to be listed.
pub fn inspect(file: &mut (impl Read + Seek), size: u64, rules: &Rules) -> io::Result<Verdict> {
    if size == 0 {
        return Ok(Verdict::Refuse { kind: None, why: Reason::Empty });
    }
    if size > rules.size_bytes_max {
        return Ok(Verdict::Refuse { kind: None, why: Reason::TooLarge });
    }
    let mut source = Source::new(file, size)?;
    let mut kind = None;
    match judge(&mut source, rules, &mut kind) {
        Ok(kind) => Ok(Verdict::Pass { kind }),
        Err(Stop::Refuse(why)) => Ok(Verdict::Refuse { kind, why }),
        Err(Stop::Person(why)) => Ok(match kind {
            Some(kind) => Verdict::NeedsPerson { kind, why },
            None => Verdict::Refuse { kind, why },
        }),
        Err(Stop::Io(error)) => Err(error),
    }
}

/// Sets `found` as soon as it is known, so that a refusal can say of what.
fn judge<F: Read + Seek>(
    source: &mut Source<'_, F>,
    rules: &Rules,
    found: &mut Option<Kind>,
) -> Result<Kind, Stop> {
    let mut kind = detect::whole(source)?;
    *found = Some(kind);
    let mut archive = None;
    if kind == Kind::Zip && rules.allowed.iter().any(|kind| kind.is_archive()) {
        let read = zip::Archive::read(source, &rules.archive)?;
        kind = read.kind(source, rules)?;
        *found = Some(kind);
        archive = Some(read);
    }
    match kind {
        Kind::Unknown => return Err(Stop::Refuse(Reason::KindUnknown)),
        Kind::OfficeMacro => return Err(Stop::Refuse(Reason::Macro)),
        kind if !kind.may_pass() || !rules.allowed.contains(&kind) => {
            return Err(Stop::Refuse(Reason::KindNotAllowed));
        }
        _ => {}
    }
    // Who reads a text while it comes is not to wait for its end before its beginning was looked at.
    let ends_last = matches!(kind, Kind::Xml | Kind::Csv | Kind::Text);
    if !ends_last {
        ending::no_other_kind(source, kind)?;
    }
    let checked = match (kind, archive) {
        (Kind::Pdf, _) => pdf::check(source, &rules.pdf),
        (Kind::Xml, _) => xml::check(source, &rules.text),
        (Kind::Csv | Kind::Text, _) => text::check(source, kind, &rules.text),
        (_, Some(archive)) => archive.check(source, kind, rules),
        _ => picture::check(source, kind, &rules.picture),
    };
    // What a person would have to look at is refused all the same where it is something else too.
    if ends_last && matches!(checked, Ok(()) | Err(Stop::Person(_))) {
        ending::no_other_kind(source, kind)?;
    }
    checked?;
    if rules.needs_person.contains(&kind) {
        return Err(Stop::Person(Reason::KindNeedsPerson));
    }
    Ok(kind)
}
