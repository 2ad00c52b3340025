//! What the operations of the service's desk are answered with: requests, outages, notices.
use domain::{forms::Form, money::Fen};
use serde::{Deserialize, Serialize};

use super::{DebitFailure, MandateState, RefundState};
use crate::{AccountId, FileId, OutageId, PaymentId, ServiceRequestId, bounds::ShortName, file::Receipt};

replies! {
    /// The forms a customer can send in.
    FormList {
        /// In the order in which they are offered; at most 64.
        forms: Vec<Form>,
    }
    /// The request was taken.
    RequestCreate {
        /// Its id.
        request: ServiceRequestId,
        /// Until when it is to be answered, Unix ms.
        answer_by_ms: u64,
    }
    /// The report was taken.
    FaultReport {
        /// Its id.
        request: ServiceRequestId,
        /// Until when somebody is to see to it, Unix ms.
        answer_by_ms: u64,
    }
    /// A page of requests.
    RequestList {
        /// Newest first.
        requests: Vec<RequestBrief>,
        /// The cursor of the next page; `null` on the last.
        next_before: Option<u64>,
    }
    /// A request, whole.
    RequestGet {
        /// Its head.
        request: RequestBrief,
        /// What was filled in.
        answers: Vec<ShownAnswer>,
        /// What has happened, oldest first.
        steps: Vec<RequestStep>,
        /// The outage it belongs to, where it is one of many.
        outage: Option<OutageId>,
        /// The files that came or are to come with it, oldest first.
        files: Vec<FileBrief>,
    }
    /// The word was added.
    RequestNote {
        /// To which request.
        request: ServiceRequestId,
    }
    /// The request is withdrawn.
    RequestCancel {
        /// Which request.
        request: ServiceRequestId,
    }
    /// The file may come.
    FileCreate {
        /// Its id.
        file: FileId,
        /// Until when, Unix ms.
        expires_ms: u64,
    }
    /// What a request is, for who takes its files in.
    RequestForm {
        /// What it is.
        kind: RequestKind,
        /// Of which form; absent where it is none, as a fault report is.
        form: Option<ShortName>,
        /// The files that came or may come with it, oldest first; at most 20.
        files: Vec<FileId>,
    }
    /// It will not come.
    FileEnd {
        /// Which file.
        file: FileId,
    }
    /// It is noted.
    FileResult {
        /// Of which file.
        file: FileId,
    }
    /// It is attached.
    FileAttach {
        /// The word of it for who sent it.
        receipt: Receipt,
    }
    /// Outages at a premise.
    OutageList {
        /// Those under way first, then planned ones by their beginning, then those that ended in the last two days.
        outages: Vec<Outage>,
    }
    /// A page of notices.
    NoticeList {
        /// Newest first.
        notices: Vec<Notice>,
        /// How many are unread in all; 100 means 100 or more.
        unread: u32,
        /// The cursor of the next page; `null` on the last.
        next_before: Option<u64>,
    }
    /// They are marked.
    NoticeRead {
        /// Up to and with this number.
        through: u64,
    }
    /// The head of a request.
    RequestBrief {
        /// Its id.
        request: ServiceRequestId,
        /// What it is.
        kind: RequestKind,
        /// Its name, English.
        title_en: String,
        /// Its name, 简体中文.
        title_zh: String,
        /// About which account.
        account: Option<AccountId>,
        /// How it stands.
        state: RequestState,
        /// When it was made, Unix ms.
        created_ms: u64,
        /// When it last moved, Unix ms.
        changed_ms: u64,
        /// Until when it is to be answered, Unix ms; absent once it is, and while it waits for the customer.
        answer_by_ms: Option<u64>,
    }
    /// A file of a request.
    FileBrief {
        /// Its id.
        file: FileId,
        /// Its name, as the customer has it.
        name: String,
        /// Its length in bytes.
        size: u64,
        /// How it stands.
        state: FileState,
        /// Why it did not come, as a code; empty while it may.
        why: String,
        /// When it was named, Unix ms.
        created_ms: u64,
        /// When it last changed, Unix ms.
        changed_ms: u64,
    }
    /// What was filled into a form, as people read it.
    ShownAnswer {
        /// What was asked, English.
        label_en: String,
        /// What was asked, 简体中文.
        label_zh: String,
        /// The answer, English where it was chosen from a list.
        value_en: String,
        /// The answer, 简体中文 where it was chosen from a list.
        value_zh: String,
    }
    /// One thing that happened to a request.
    RequestStep {
        /// When, Unix ms.
        at_ms: u64,
        /// Who did it.
        by: StepBy,
        /// What.
        kind: StepKind,
        /// In their words; may be empty.
        text: String,
    }
    /// A time without power.
    Outage {
        /// Its id.
        outage: OutageId,
        /// Whether it was planned.
        planned: bool,
        /// How it stands.
        state: OutageState,
        /// Where, English.
        area_en: String,
        /// Where, 简体中文.
        area_zh: String,
        /// Why, English; may be empty.
        cause_en: String,
        /// Why, 简体中文; may be empty.
        cause_zh: String,
        /// When it begins or began, Unix ms.
        starts_ms: u64,
        /// When power is expected back, Unix ms.
        estimate_ms: Option<u64>,
        /// When power came back, Unix ms.
        restored_ms: Option<u64>,
    }
    /// Something the customer was told.
    Notice {
        /// Its number; grows.
        number: u64,
        /// When, Unix ms.
        at_ms: u64,
        /// Whether it has been read.
        read: bool,
        /// What.
        body: NoticeBody,
    }
}

/// What a request is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// 故障报修
    Fault,
    /// 咨询
    Consult,
    /// 投诉
    Complaint,
    /// 建议
    Suggestion,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Taken; nobody has it yet.
    Received,
    /// Somebody has it.
    Assigned,
    /// Being worked on.
    UnderWay,
    /// The customer was asked something.
    Waiting,
    /// Done.
    Done,
    /// Withdrawn by the customer.
    Cancelled,
}

/// How a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It is to come: sent, looked at, or on its way in.
    Expected,
    /// It is here.
    Stored,
    /// It did not come, and will not.
    Ended,
}

/// Who did something to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepBy {
    /// Who asked.
    Customer,
    /// The service's people.
    Service,
    /// The platform by itself.
    System,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It was taken.
    Received,
    /// Somebody has it now.
    Assigned,
    /// Work has begun; a crew is on its way.
    Started,
    /// The customer was asked something.
    Asked,
    /// Somebody added a word.
    Note,
    /// It was found to be part of an outage.
    Joined,
    /// It was answered, or done.
    Done,
    /// It was withdrawn.
    Cancelled,
    /// A file came with it.
    File,
}

/// How an outage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutageState {
    /// It has not begun.
    Planned,
    /// Power is away.
    Now,
    /// Power is back.
    Restored,
}

/// What a customer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeBody {
    /// A request moved.
    Request {
        /// Which.
        request: ServiceRequestId,
        /// Its name, English.
        title_en: String,
        /// Its name, 简体中文.
        title_zh: String,
        /// How it stands now.
        state: RequestState,
        /// What was said; may be empty.
        text: String,
    },
    /// A payment was made.
    Payment {
        /// Which.
        payment: PaymentId,
        /// For which account.
        account: AccountId,
        /// How much.
        amount_fen: Fen,
    },
    /// A refund ended.
    Refund {
        /// Of which payment.
        payment: PaymentId,
        /// For which account.
        account: AccountId,
        /// How much.
        amount_fen: Fen,
        /// How.
        state: RefundState,
    },
    /// Automatic debit was signed, or has ended.
    Mandate {
        /// For which account.
        account: AccountId,
        /// How it stands now.
        state: MandateState,
    },
    /// A debit was not made.
    DebitFailed {
        /// For which account.
        account: AccountId,
        /// How much it was for.
        amount_fen: Fen,
        /// Why.
        why: DebitFailure,
        /// When it is tried again, Unix ms; absent where it is not.
        again_ms: Option<u64>,
    },
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [RequestKind; 4] =
        [RequestKind::Fault, RequestKind::Consult, RequestKind::Complaint, RequestKind::Suggestion];

    /// Its name, as settings, records and the API write it.
    pub fn name(self) -> &'static str {
        match self {
            RequestKind::Fault => "fault",
            RequestKind::Consult => "consult",
            RequestKind::Complaint => "complaint",
            RequestKind::Suggestion => "suggestion",
        }
    }
}

impl RequestState {
    /// Whether nothing more will happen to it.
    pub fn is_closed(self) -> bool {
        matches!(self, RequestState::Done | RequestState::Cancelled)
    }
}
