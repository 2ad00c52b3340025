//! What a file is by its content, and whether such a thing may come in: the same rules as the edge's, asked again where
//! nobody in the extranet can change them.
use std::{
    io::{self, Read, Seek},
    sync::Arc,
};

use inspect::{Rules, Verdict};
use protocol::bounds::ShortName;

use super::counted::{self, code};

/// What was found.
pub(super) enum Inspected {
    /// It may come in, as this kind of file.
    Passed(ShortName),
    /// It may not; the reason's code.
    Refused(ShortName),
}

/// The rules; none where another program of the intranet inspects what is in the store. Cheap to clone.
#[derive(Clone)]
pub(super) struct Inspection(Option<Arc<Rules>>);

impl Inspection {
    pub(super) fn by(rules: Option<Rules>) -> Self {
        Inspection(rules.map(Arc::new))
    }

    /// Looks into a file of `size` bytes. What it finds counts only where all of it is verified. Blocking.
    ///
    /// What only a person can decide passes here: the edge lets nothing of the kind cross that no person has looked at.
    pub(super) fn inspected(&self, file: &mut (impl Read + Seek), size: u64) -> io::Result<Inspected> {
        let Some(rules) = &self.0 else { return Ok(Inspected::Passed(code("unknown"))) };
        Ok(match inspect::inspect(file, size, rules)? {
            Verdict::Pass { kind } | Verdict::NeedsPerson { kind, .. } => {
                Inspected::Passed(code(&kind.to_string()))
            }
            Verdict::Refuse { why, .. } => {
                counted::refused("inspection");
                Inspected::Refused(code(why.name()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use inspect::{Kind, Reason};

    use super::*;

    /// A code that is none would end the half that says it.
    #[test]
    fn every_kind_and_reason_is_a_code() {
        for reason in Reason::ALL {
            assert_eq!(code(reason.name()).as_str(), reason.name().replace('_', "-"));
        }
        for kind in Kind::ALL {
            assert_eq!(code(&kind.to_string()).as_str(), kind.to_string());
        }
    }
}
