//! Rows of files that are made for customers.
use protocol::{
    AccountId, CustomerId, ExportId,
    catalogue::{
        replies::{ExportFailure, ExportState},
        requests::ExportWhat,
    },
    envelope::Language,
    file::Hash,
};
use serde::{Deserialize, Serialize};

/// A file that is made for a customer. It lives with its account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// About which account.
    pub account: AccountId,
    /// Who asked.
    pub customer: CustomerId,
    /// What is in it.
    pub what: ExportWhat,
    /// In which language.
    pub language: Language,
    /// How it stands.
    pub state: ExportState,
    /// Why it was not made.
    pub failure: Option<ExportFailure>,
    /// Its hash, from when it is made until its bytes are gone.
    pub root: Option<Hash>,
    /// Its length in bytes; 0 until it is made.
    pub size: u64,
    /// When it was asked for, Unix ms.
    pub created_ms: u64,
    /// When it is to be looked at again, Unix ms: to make it, to end it, to remove its bytes, to forget it.
    pub due_ms: u64,
}

impl Export {
    /// Whether it counts among those that a customer may have at once.
    pub fn is_live(&self) -> bool {
        matches!(self.state, ExportState::Making | ExportState::Ready)
    }
}
