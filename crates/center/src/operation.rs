//! What travels in lanes: operations of the catalogue, and the center's own, which never cross a zone.
use domain::{billing::BillTerms, readings::DayReadings, tariff::TariffId};
use protocol::{
    AccountId, CustomerId, FileId, OutageId, Request, ServiceRequestId, SessionId,
    bounds::Phone,
    catalogue::replies::{NoticeBody, StepBy, StepKind},
    envelope::Refusal,
    wire,
};
use serde::{Deserialize, Serialize};
use storage::{message::Child, rows::OutageRow};

mod exports;
pub use exports::*;

mod payments;
pub use payments::*;

/// An operation of a lane.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// One of the catalogue.
    Asked(Request),
    /// One of the center's own.
    Own(Own),
}

/// The center's own operations.
#[derive(Clone, Debug, PartialEq)]
pub enum Own {
    /// A provider's verified message: a payment was made.
    Settle(Settle),
    /// Enters an account into a customer's list, after it was bound in the account's lane.
    CustomerAccountAdd(CustomerAccountAdd),
    /// Goes on with a session.
    SessionContinue(SessionContinue),
    /// Ends a session.
    SessionClose(SessionClose),
    /// Takes in readings and issues their bills.
    Import(Import),
    /// Takes an account off a customer's list, after it was unbound in the account's lane.
    CustomerAccountRemove(CustomerAccountRemove),
    /// Counts that a customer asks whose account a number is.
    PayeeAsk(PayeeAsk),
    /// Cuts an account's power off for arrears.
    SupplyCut(SupplyCut),
    /// Completes a reconnection that is due.
    SupplyRestore(SupplyRestore),
    /// A provider's verified message: a debit that runs by itself was not made.
    DebitFail(DebitFail),
    /// A provider's verified message: a mandate was signed.
    MandateSign(MandateSign),
    /// A provider's verified message: a customer ended a mandate there.
    MandateLeave(MandateLeave),
    /// Does what is due about a mandate: orders a debit, gives up waiting for its answer, or closes it unsigned.
    MandateDue(MandateDue),
    /// A provider's verified message: a refund ended.
    RefundEnd(RefundEnd),
    /// Tells a provider again of a refund that it has not answered.
    RefundDue(RefundDue),
    /// Opens a session in the customer's lane, where the phone they logged in with is in another.
    SessionOpen(SessionOpen),
    /// Makes a phone the customer's, after it was verified in the phone's lane.
    PersonPhone(PersonPhone),
    /// Lets a phone go that is a customer's no longer: whoever logs in with it begins anew.
    PhoneLeave(PhoneLeave),
    /// Takes a customer off an account, because they are there no longer.
    HolderRemove(CustomerAccountRemove),
    /// Goes on deleting a customer's data where it is too much for one operation.
    PersonForget(PersonForget),
    /// Gives up a file that was named and never came.
    FileExpire(FileExpire),
    /// Moves a request on.
    RequestAdvance(RequestAdvance),
    /// Publishes an outage, changes it, or says that power is back.
    OutagePut(OutagePut),
    /// Tells the rest of an outage's reports that power is back.
    OutageClose(OutageClose),
    /// Enters a fault report into its district.
    DivisionReport(DivisionReportAdd),
    /// Tells a customer something.
    NoticeAdd(NoticeAdd),
    /// A file that a customer asked for is in its place.
    ExportMade(ExportMade),
    /// A file that a customer asked for cannot be made.
    ExportFail(ExportFail),
    /// Does what is due about such a file: ends it, notes that its bytes are gone, forgets it.
    ExportDue(ExportDue),
}

/// See [`Own::RequestAdvance`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestAdvance {
    /// Which request.
    pub request: ServiceRequestId,
    /// Who moves it.
    pub by: StepBy,
    /// How.
    pub kind: StepKind,
    /// What is said; may be empty.
    pub text: String,
    /// The outage it is found to belong to.
    pub outage: Option<OutageId>,
}

/// See [`Own::OutagePut`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutagePut {
    /// The outage as it is from now on.
    pub outage: OutageRow,
}

/// See [`Own::OutageClose`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutageClose {
    /// Which outage.
    pub outage: OutageId,
    /// Reports up to this one have been told.
    pub after: ServiceRequestId,
}

/// See [`Own::FileExpire`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileExpire {
    /// Which file.
    pub file: FileId,
}

/// See [`Own::DivisionReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DivisionReportAdd {
    /// GB/T 2260 code of the district.
    pub division: String,
    /// The report.
    pub request: ServiceRequestId,
    /// When it was made, Unix ms.
    pub at_ms: u64,
}

/// See [`Own::NoticeAdd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeAdd {
    /// Whom.
    pub customer: CustomerId,
    /// When, Unix ms.
    pub at_ms: u64,
    /// What.
    pub body: NoticeBody,
}

/// See [`Own::CustomerAccountAdd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomerAccountAdd {
    /// Whose list.
    pub customer: CustomerId,
    /// Which account.
    pub account: AccountId,
    /// Since when, Unix ms.
    pub since_ms: u64,
}

/// See [`Own::SessionContinue`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionContinue {
    /// Which session.
    pub session: SessionId,
    /// The generation of the refresh token shown.
    pub generation: u32,
}

/// See [`Own::SessionClose`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionClose {
    /// Which session.
    pub session: SessionId,
}

/// See [`Own::Import`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// For which account; made if it is not there.
    pub account: AccountId,
    /// The holder's name of an account that is made.
    pub holder: String,
    /// The registered phone of an account that is made.
    pub phone: Option<Phone>,
    /// The address of an account that is made.
    pub address: String,
    /// The division of an account that is made.
    pub division: String,
    /// What to bill by.
    pub tariff: TariffId,
    /// What the contract says.
    pub terms: BillTerms,
    /// The readings, by day, in order.
    pub days: Vec<DayReadings>,
}

/// See [`Own::CustomerAccountRemove`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomerAccountRemove {
    /// Whose list.
    pub customer: CustomerId,
    /// Which account.
    pub account: AccountId,
}

/// See [`Own::PayeeAsk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PayeeAsk {
    /// Who asks.
    pub customer: CustomerId,
    /// About which account.
    pub account: AccountId,
}

/// See [`Own::SupplyCut`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupplyCut {
    /// Which account.
    pub account: AccountId,
}

/// See [`Own::SupplyRestore`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupplyRestore {
    /// Which account.
    pub account: AccountId,
    /// When the reconnection was due, Unix ms.
    pub due_ms: u64,
}

/// See [`Own::SessionOpen`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionOpen {
    /// The session; its bucket is the customer's.
    pub session: SessionId,
    /// Whose.
    pub customer: CustomerId,
    /// The phone they logged in with.
    pub phone: Phone,
}

/// See [`Own::PersonPhone`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonPhone {
    /// Whose.
    pub customer: CustomerId,
    /// The phone.
    pub phone: Phone,
}

/// See [`Own::PhoneLeave`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhoneLeave {
    /// Whose it was.
    pub customer: CustomerId,
    /// The phone.
    pub phone: Phone,
}

/// See [`Own::PersonForget`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonForget {
    /// Whose data.
    pub customer: CustomerId,
}

macro_rules! own {
    ($($variant:ident = $code:literal v $version:literal $name:literal;)*) => {
        impl Own {
            /// Its code; own codes begin at 0x8000.
            pub fn code(&self) -> u16 {
                match self { $(Own::$variant(_) => $code,)* }
            }
            /// The version its body is written in.
            pub fn version(&self) -> u8 {
                match self { $(Own::$variant(_) => $version,)* }
            }
            /// Its name.
            pub fn name(&self) -> &'static str {
                match self { $(Own::$variant(_) => $name,)* }
            }
            /// Its body.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Own::$variant(body) => wire::encode(body),)* }
            }
            fn decode(code: u16, version: u8, body: &[u8]) -> Result<Own, Refusal> {
                match (code, version) {
                    $(($code, $version) => Ok(Own::$variant(wire::decode(body)?)),)*
                    $(($code, other) => Err(Refusal::UnknownVersion($name, other)),)*
                    (other, _) => Err(Refusal::UnknownOperation(other)),
                }
            }
            /// The name of an own operation's code.
            pub fn name_of(code: u16) -> Option<&'static str> {
                match code { $($code => Some($name),)* _ => None }
            }
        }
    };
}

own! {
    Settle = 0x8001 v 1 "payment_settle";
    CustomerAccountAdd = 0x8002 v 1 "customer_account_add";
    SessionContinue = 0x8003 v 1 "session_refresh";
    SessionClose = 0x8004 v 1 "session_end";
    Import = 0x8005 v 1 "readings_import";
    CustomerAccountRemove = 0x8020 v 1 "customer_account_remove";
    PayeeAsk = 0x8021 v 1 "payee_ask";
    SupplyCut = 0x8010 v 1 "supply_cut";
    SupplyRestore = 0x8011 v 1 "supply_restore";
    DebitFail = 0x8012 v 1 "debit_fail";
    MandateSign = 0x8013 v 1 "mandate_sign";
    MandateLeave = 0x8014 v 1 "mandate_leave";
    MandateDue = 0x8015 v 1 "mandate_due";
    RefundEnd = 0x8016 v 1 "refund_end";
    RefundDue = 0x8017 v 1 "refund_due";
    SessionOpen = 0x8022 v 1 "session_open";
    PersonPhone = 0x8023 v 1 "person_phone";
    PhoneLeave = 0x8024 v 1 "phone_leave";
    HolderRemove = 0x8025 v 1 "holder_remove";
    PersonForget = 0x8026 v 1 "person_forget";
    RequestAdvance = 0x8030 v 1 "request_advance";
    OutagePut = 0x8031 v 1 "outage_put";
    OutageClose = 0x8032 v 1 "outage_close";
    DivisionReport = 0x8033 v 1 "division_report_add";
    NoticeAdd = 0x8034 v 1 "notice_add";
    ExportMade = 0x8040 v 1 "export_made";
    ExportFail = 0x8041 v 1 "export_fail";
    ExportDue = 0x8042 v 1 "export_due";
    FileExpire = 0x8035 v 1 "file_expire";
}

impl Operation {
    /// Its code.
    pub fn code(&self) -> u16 {
        match self {
            Operation::Asked(request) => request.spec().code,
            Operation::Own(own) => own.code(),
        }
    }

    /// The version its body is written in.
    pub fn version(&self) -> u8 {
        match self {
            Operation::Asked(request) => request.spec().version,
            Operation::Own(own) => own.version(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Asked(request) => request.spec().name,
            Operation::Own(own) => own.name(),
        }
    }

    /// Its body.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Operation::Asked(request) => request.encode(),
            Operation::Own(own) => own.encode(),
        }
    }

    /// Reads a stored operation, of this version or the one before.
    pub fn decode(code: u16, version: u8, body: &[u8]) -> Result<Operation, Refusal> {
        if code >= 0x8000 {
            Own::decode(code, version, body).map(Operation::Own)
        } else {
            Request::decode(code, version, body).map(Operation::Asked)
        }
    }

    /// The name of a code.
    pub fn name_of(code: u16) -> &'static str {
        let asked = || protocol::catalogue::ALL.iter().find(|spec| spec.code == code).map(|spec| spec.name);
        Own::name_of(code).or_else(asked).unwrap_or("unknown")
    }
}

impl Own {
    /// This operation as one that another causes in `bucket`.
    pub fn child(self, bucket: protocol::Bucket) -> Child {
        Child { bucket, code: self.code(), version: self.version(), body: self.encode() }
    }
}
