//! Rows of service requests, outages and notices.
use protocol::{
    AccountId, CustomerId, FileId, OutageId, ServiceRequestId,
    catalogue::replies::{FileState, RequestKind, RequestState, RequestStep, ShownAnswer},
};
use serde::{Deserialize, Serialize};

/// Something a customer asked the service to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRequest {
    /// Its id.
    pub id: ServiceRequestId,
    /// About which account.
    pub account: Option<AccountId>,
    /// Who asked.
    pub customer: CustomerId,
    /// What it is.
    pub kind: RequestKind,
    /// By which form; empty for a fault report.
    pub form: String,
    /// Its name, English.
    pub title_en: String,
    /// Its name, 简体中文.
    pub title_zh: String,
    /// What was filled in, in the words of the form as it was then.
    pub answers: Vec<ShownAnswer>,
    /// How it stands.
    pub state: RequestState,
    /// When it was made, Unix ms.
    pub created_ms: u64,
    /// When it last moved, Unix ms.
    pub changed_ms: u64,
    /// Until when it is to be answered, Unix ms.
    pub answer_by_ms: Option<u64>,
    /// What was left of that time when the customer was asked something, in ms: the clock stands until they answer.
    pub paused_left_ms: Option<u64>,
    /// The outage it belongs to.
    pub outage: Option<OutageId>,
    /// How many steps it has.
    pub steps: u32,
}

/// A file of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// Its id.
    pub id: FileId,
    /// With which request it comes.
    pub request: ServiceRequestId,
    /// Whose it is.
    pub customer: CustomerId,
    /// Its name, as the customer has it: never a path.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// How it stands.
    pub state: FileState,
    /// Why it ended; else empty.
    pub why: String,
    /// What it is by its content; empty until it is stored.
    pub kind: String,
    /// Its BLAKE3 hash, by which the store knows it.
    pub root: Option<[u8; 32]>,
    /// When it was named, Unix ms.
    pub created_ms: u64,
    /// When it last changed, Unix ms.
    pub changed_ms: u64,
}

/// A request with what has happened to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// The request.
    pub request: ServiceRequest,
    /// Its steps, oldest first.
    pub steps: Vec<RequestStep>,
    /// Its files, oldest first.
    pub files: Vec<FileRow>,
}

/// A time without power in a district.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutageRow {
    /// Its id.
    pub id: OutageId,
    /// GB/T 2260 code of the district.
    pub division: String,
    /// Whether it was planned.
    pub planned: bool,
    /// Where, English.
    pub area_en: String,
    /// Where, 简体中文.
    pub area_zh: String,
    /// Why, English.
    pub cause_en: String,
    /// Why, 简体中文.
    pub cause_zh: String,
    /// When it begins or began, Unix ms.
    pub starts_ms: u64,
    /// When power is expected back, Unix ms.
    pub estimate_ms: Option<u64>,
    /// When power came back, Unix ms.
    pub restored_ms: Option<u64>,
}

/// A fault report, as its district's lane knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DivisionReport {
    /// The report.
    pub request: ServiceRequestId,
    /// When it was made, Unix ms.
    pub at_ms: u64,
    /// The outage it belongs to.
    pub outage: Option<OutageId>,
}

/// What a district's lane looks at: its newest outages, and the reports that belong to none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DivisionState {
    /// The newest outages, by their beginning, newest first; at most 100.
    pub outages: Vec<OutageRow>,
    /// Reports that belong to no outage, newest first; at most 1,000.
    pub alone: Vec<DivisionReport>,
}
