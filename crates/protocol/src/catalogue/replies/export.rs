//! What questions about files that are made for customers are answered with.
use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeStruct,
};

use crate::{AccountId, ExportId, catalogue::requests::ExportWhat, file::Ticket};

replies! {
    /// A file is being made.
    ExportCreate {
        /// How it stands.
        export: Export,
    }
    /// Files that were made for an account.
    ExportList {
        /// Newest first; what expired or failed is listed for a month.
        exports: Vec<Export>,
    }
    /// A file that is made for a customer.
    Export {
        /// Its id.
        export: ExportId,
        /// About which account.
        account: AccountId,
        /// What is in it.
        what: ExportWhat,
        /// How it stands.
        state: ExportState,
        /// Why it was not made, where it was not.
        failure: Option<ExportFailure>,
        /// When it was asked for, Unix ms.
        created_ms: u64,
        /// What to call the file.
        name: String,
        /// Its length in bytes, once it is there.
        size: Option<u64>,
        /// Until when it can be had, Unix ms, once it is there.
        until_ms: Option<u64>,
    }
}

/// How a file that is made stands, and what it is fetched with.
///
/// The ticket goes as far as the edge, in our own encoding: in JSON, which customers and logs see, there is none.
#[derive(Clone, Debug, PartialEq, utoipa::ToSchema)]
pub struct ExportGet {
    /// How it stands.
    pub export: Export,
    /// To fetch it with, while it is ready; good for some minutes.
    #[schema(ignore)]
    pub ticket: Option<Ticket>,
}

impl Serialize for ExportGet {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            return (&self.export, &self.ticket).serialize(s);
        }
        let mut shown = s.serialize_struct("ExportGet", 1)?;
        shown.serialize_field("export", &self.export)?;
        shown.end()
    }
}

impl<'de> Deserialize<'de> for ExportGet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Shown {
            export: Export,
        }
        if d.is_human_readable() {
            let Shown { export } = Shown::deserialize(d)?;
            return Ok(ExportGet { export, ticket: None });
        }
        d.deserialize_tuple(2, Whole)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = ExportGet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file and its ticket")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ExportGet, A::Error> {
        let export = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let ticket = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        Ok(ExportGet { export, ticket })
    }
}

/// How a file that is made stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// It is being made.
    Making,
    /// It can be had.
    Ready,
    /// It could not be made.
    Failed,
    /// It was there, and is not any more.
    Expired,
}

/// Why a file was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFailure {
    /// There are no readings in these days.
    NoReadings,
    /// The bill is not there, or not wholly paid, any more.
    NotPaid,
    /// It would be too long.
    TooLarge,
    /// Something on our side kept it from being made.
    OurSide,
}

impl ExportWhat {
    /// The type of the file, as HTTP names it.
    pub fn content_type(&self) -> &'static str {
        match self {
            ExportWhat::UsageCsv { .. } => "text/csv; charset=utf-8",
            ExportWhat::GreenButton { .. } => "application/atom+xml",
            ExportWhat::Invoice { .. } => "application/pdf",
        }
    }

    /// What to call the file of an account: letters, digits, dots and hyphens alone.
    pub fn name(&self, account: AccountId) -> String {
        match self {
            ExportWhat::UsageCsv { from, to } => format!("usage-{account}-{from}-{to}.csv"),
            ExportWhat::GreenButton { from, to } => format!("green-button-{account}-{from}-{to}.xml"),
            ExportWhat::Invoice { bill } => format!("invoice-{bill}-sample.pdf"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::{Bucket, wire};

    #[test]
    fn a_ticket_goes_between_programs_and_never_into_json() {
        let (id, key) = (ExportId::mint(Bucket::FIRST, 9), SigningKey::from_bytes(&[7; 32]));
        let account = AccountId::mint(33, 1).unwrap();
        let what = ExportWhat::Invoice { bill: format!("{account}-2026-10").parse().unwrap() };
        let export = Export {
            export: id,
            account,
            what,
            state: ExportState::Ready,
            failure: None,
            created_ms: 5,
            name: what.name(account),
            size: Some(9),
            until_ms: Some(6),
        };
        let ticket = Ticket::sign((1, &key), (id.file(), 9, [3; 32]), 7);
        for ticket in [Some(ticket), None] {
            let reply = ExportGet { export: export.clone(), ticket };
            assert_eq!(wire::decode::<ExportGet>(&wire::encode(&reply)), Ok(reply.clone()));
            let json = serde_json::to_string(&reply).unwrap();
            assert!(!json.contains("ticket") && json.contains("-sample.pdf"), "{json}");
            let shown: ExportGet = serde_json::from_str(&json).unwrap();
            assert_eq!(shown, ExportGet { ticket: None, ..reply });
        }
    }
}
