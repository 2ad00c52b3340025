//! What an operator lets pass.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Kind;

const MIB: u64 = 1024 * 1024;

/// What passes, what a person looks at, and the limits of each kind.
///
/// The default takes what customers of a utility send: photos and scans, PDF and OFD, Word and Excel documents, tables
/// and text. No kind needs a person by itself: what cannot be looked through (an encrypted PDF, a table with formulas)
/// goes to one all the same. An operator who allows `zip` does well to put it into `needs_person`, because what lies
/// in an archive is judged by the beginning of each file only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Kinds that may pass.
    pub allowed: BTreeSet<Kind>,
    /// Kinds among them that a person looks at whatever the checks say.
    pub needs_person: BTreeSet<Kind>,
    /// The largest file.
    pub size_bytes_max: u64,
    /// For zip, and documents that are zip files.
    pub archive: ArchiveRules,
    /// For pictures.
    pub picture: PictureRules,
    /// For text, tables and XML.
    pub text: TextRules,
    /// For PDF.
    pub pdf: PdfRules,
}

/// Limits of archives. That there is no archive in an archive is no setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveRules {
    /// Files and folders in one archive.
    pub entries_max: u32,
    /// What all entries come to when unpacked.
    pub unpacked_bytes_max: u64,
    /// How much larger an entry may be than it is packed. Entries below a megabyte are not measured: a blank sheet
    /// packs well.
    pub ratio_max: u32,
}

/// Limits of pictures: whoever opens one needs memory for all of its pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PictureRules {
    /// Pixels of one picture, or of all that a file holds together.
    pub pixels_max: u64,
    /// The longer side.
    pub side_max: u32,
}

/// Limits of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextRules {
    /// The longest line of a text or a table.
    pub line_bytes_max: u32,
    /// How deep XML elements may stand in one another.
    pub xml_depth_max: u32,
}

/// Limits of PDF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PdfRules {
    /// How much is unpacked of one file in the search for scripts. A file that holds more needs a person.
    pub unpacked_bytes_max: u64,
    /// Streams that are looked into. A file that holds more needs a person.
    pub streams_max: u32,
}

impl Default for Rules {
    fn default() -> Self {
        use Kind::{Csv, Docx, Jpeg, Ofd, Pdf, Png, Text, Webp, Xlsx};
        Self {
            allowed: BTreeSet::from([Pdf, Jpeg, Png, Webp, Docx, Xlsx, Ofd, Csv, Text]),
            needs_person: BTreeSet::new(),
            size_bytes_max: 20 * MIB,
            archive: ArchiveRules::default(),
            picture: PictureRules::default(),
            text: TextRules::default(),
            pdf: PdfRules::default(),
        }
    }
}

impl Default for ArchiveRules {
    fn default() -> Self {
        Self { entries_max: 1000, unpacked_bytes_max: 200 * MIB, ratio_max: 200 }
    }
}

impl Default for PictureRules {
    fn default() -> Self {
        // Phones take up to 200 megapixels.
        Self { pixels_max: 220_000_000, side_max: 30_000 }
    }
}

impl Default for TextRules {
    fn default() -> Self {
        Self { line_bytes_max: 65_536, xml_depth_max: 128 }
    }
}

impl Default for PdfRules {
    fn default() -> Self {
        Self { unpacked_bytes_max: 64 * MIB, streams_max: 20_000 }
    }
}

/// A rule that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A kind that is only ever refused stands among the allowed.
    #[error("`allowed` names {0}, which is never let pass")]
    NeverPasses(Kind),
    /// A kind needs a person and is not allowed.
    #[error("`needs_person` names {0}, which `allowed` does not")]
    NotAllowed(Kind),
    /// A limit lies outside of what the checks are made for.
    #[error("`{field}` is {value}, it must be from {min} to {max}")]
    Limit {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least that may be set.
        min: u64,
        /// The most that may be set.
        max: u64,
    },
}

impl Rules {
    /// Whether the rules can be meant so. The upper limits keep the cost of one inspection bounded, whatever is set.
    pub fn validate(&self) -> Result<(), RulesError> {
        if let Some(kind) = self.allowed.iter().find(|kind| !kind.may_pass()) {
            return Err(RulesError::NeverPasses(*kind));
        }
        if let Some(kind) = self.needs_person.difference(&self.allowed).next() {
            return Err(RulesError::NotAllowed(*kind));
        }
        let limits = [
            ("size_bytes_max", self.size_bytes_max, 1, 1024 * MIB),
            ("archive.entries_max", self.archive.entries_max.into(), 1, 65_535),
            ("archive.unpacked_bytes_max", self.archive.unpacked_bytes_max, 1, 4096 * MIB),
            ("archive.ratio_max", self.archive.ratio_max.into(), 2, 1032),
            ("picture.pixels_max", self.picture.pixels_max, 1, 4_000_000_000),
            ("picture.side_max", self.picture.side_max.into(), 1, 100_000),
            ("text.line_bytes_max", self.text.line_bytes_max.into(), 80, 1024 * MIB),
            ("text.xml_depth_max", self.text.xml_depth_max.into(), 4, 4096),
            ("pdf.unpacked_bytes_max", self.pdf.unpacked_bytes_max, MIB, 4096 * MIB),
            ("pdf.streams_max", self.pdf.streams_max.into(), 1, 1_000_000),
        ];
        for (field, value, min, max) in limits {
            if !(min..=max).contains(&value) {
                return Err(RulesError::Limit { field, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_written_settings_fill_in_from_it() {
        assert_eq!(Rules::default().validate(), Ok(()));
        let rules: Rules = toml::from_str(
            "allowed = [\"pdf\", \"zip\"]\nneeds_person = [\"zip\"]\narchive.entries_max = 7\n",
        )
        .unwrap();
        assert_eq!(rules.validate(), Ok(()));
        assert_eq!((rules.archive.entries_max, rules.archive.ratio_max), (7, 200));
        assert!(toml::from_str::<Rules>("size = 1").is_err());
        assert!(toml::from_str::<Rules>("allowed = [\"exe\"]").is_err());
    }

    #[test]
    fn rules_that_cannot_be_meant_are_named() {
        let mut rules = Rules::default();
        rules.needs_person.insert(Kind::Zip);
        assert_eq!(rules.validate(), Err(RulesError::NotAllowed(Kind::Zip)));
        rules.allowed.extend([Kind::Zip, Kind::Html]);
        assert_eq!(rules.validate(), Err(RulesError::NeverPasses(Kind::Html)));
        let rules = Rules { size_bytes_max: u64::MAX, ..Rules::default() };
        let said = rules.validate().unwrap_err().to_string();
        assert!(said.starts_with("`size_bytes_max` is 18446744073709551615"), "{said}");
    }
}
