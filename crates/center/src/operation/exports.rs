//! Own operations about files that are made for customers.
use protocol::{ExportId, catalogue::replies::ExportFailure, file::Hash};
use serde::{Deserialize, Serialize};

/// See [`super::Own::ExportMade`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportMade {
    /// Which file.
    pub export: ExportId,
    /// Its hash.
    pub root: Hash,
    /// Its length in bytes.
    pub size: u64,
}

/// See [`super::Own::ExportFail`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportFail {
    /// Which file.
    pub export: ExportId,
    /// Why.
    pub why: ExportFailure,
}

/// See [`super::Own::ExportDue`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportDue {
    /// Which file.
    pub export: ExportId,
    /// When it was due, Unix ms.
    pub due_ms: u64,
}
