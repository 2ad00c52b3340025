//! The catalogue: every operation that may cross zones, with its code, version, kind and shapes. What is not here
//! does not cross.
//!
//! Adding an operation: a line in the table below, its request and reply types in [`requests`] and [`replies`], an
//! entry in the center's authorization table; at the table's end, since a reply is known on the wire by its place in it.
//! Changing one: a new version of it and of the catalogue, and how it was before in `older`; programs read version N and N−1.
pub(crate) mod older;
pub mod replies;
pub mod requests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{
    Ref, RefOr, Schema,
    schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type},
};

use crate::{Bucket, envelope::Refusal, wire};

/// The catalogue's version, settled in the hello of a link.
pub const VERSION: u8 = 2;
/// The oldest catalogue version this program reads.
pub const OLDEST_VERSION: u8 = 1;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Reads, from cache or slave.
    Read,
    /// Writes, through its lane.
    Write,
    /// Answered by the gate itself: nothing inside is asked.
    Gate,
}

/// One line of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its number on the wire; never reused.
    pub code: u16,
    /// Its version.
    pub version: u8,
    /// Its name, resource first.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
}

impl Spec {
    /// This operation as version `catalogue` of the catalogue has it, one of those that are read here.
    pub fn in_catalogue(&self, catalogue: u8) -> Spec {
        let version = if catalogue < VERSION { older::version(self) } else { self.version };
        Spec { version, ..*self }
    }

    /// Whether it may come from the extranet. What may not is asked by the gate's inner half itself.
    pub fn may_cross(&self) -> bool {
        self.name != "file_attach"
    }

    /// What to say when a request was sent on and no answer came.
    pub fn outcome_unknown(&self) -> &'static str {
        match self.kind {
            Kind::Write => {
                "Whether it was done is not known. Ask again with the same Idempotency-Key: it is not done twice."
            }
            _ => "No answer came from inside. Ask again.",
        }
    }
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident = $code:literal v $version:literal $name:literal $kind:ident;)*) => {
        /// An operation with what it needs to know, decoded and within bounds.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $($(#[$doc])* $variant(requests::$variant),)* }

        /// The answer to an operation that was done.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Reply { $($(#[$doc])* $variant(replies::$variant),)* }

        impl Request {
            /// This operation's line in the catalogue.
            pub fn spec(&self) -> &'static Spec {
                match self { $(Request::$variant(_) => {
                    const SPEC: Spec = Spec { code: $code, version: $version, name: $name, kind: Kind::$kind };
                    &SPEC
                })* }
            }

            /// Encodes the operation's body.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Request::$variant(body) => wire::encode(body),)* }
            }

            /// Decodes an operation's body against the catalogue, in its version or the one before.
            ///
            /// # Errors
            /// [`Refusal`]: what is not in the catalogue, out of its bounds, or not in the canonical form.
            pub fn decode(code: u16, version: u8, body: &[u8]) -> Result<Request, Refusal> {
                if let Some(decoded) = older::decode_request(code, version, body) {
                    return decoded;
                }
                match (code, version) {
                    $(($code, $version) => Ok(Request::$variant(wire::decode_exact(body)?)),)*
                    $(($code, other) => Err(Refusal::UnknownVersion($name, other)),)*
                    (other, _) => Err(Refusal::UnknownOperation(other)),
                }
            }
        }

        impl Reply {
            /// The code of the operation it answers.
            pub fn operation(&self) -> u16 {
                match self { $(Reply::$variant(_) => $code,)* }
            }
        }

        // A write's result, as its operation shows it: `{"PaymentCreate": {…}}`.
        impl utoipa::PartialSchema for Reply {
            fn schema() -> RefOr<Schema> {
                let result = |name: &str| {
                    ObjectBuilder::new()
                        .schema_type(Type::Object)
                        .property(name, Ref::from_schema_name(name))
                        .required(name)
                        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
                };
                let mut results = OneOfBuilder::new().description(Some("What a write came to, under its name."));
                $(if Kind::$kind == Kind::Write {
                    results = results.item(result(stringify!($variant)));
                })*
                results.into()
            }
        }

        impl utoipa::ToSchema for Reply {
            fn name() -> Cow<'static, str> {
                "OperationResult".into()
            }
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(if Kind::$kind == Kind::Write {
                    schemas.push((stringify!($variant).to_owned(), <replies::$variant as utoipa::PartialSchema>::schema()));
                    <replies::$variant as utoipa::ToSchema>::schemas(schemas);
                })*
            }
        }

        $(impl From<requests::$variant> for Request {
            fn from(body: requests::$variant) -> Request { Request::$variant(body) }
        })*

        $(impl TryFrom<Reply> for replies::$variant {
            type Error = Reply;
            fn try_from(reply: Reply) -> Result<Self, Reply> {
                match reply { Reply::$variant(body) => Ok(body), other => Err(other) }
            }
        })*

        $(impl Operation for requests::$variant { type Reply = replies::$variant; })*

        /// Every operation there is, in the order of the table.
        pub const ALL: &[Spec] = &[$(Spec { code: $code, version: $version, name: $name, kind: Kind::$kind },)*];
    };
}

/// Joins an operation's request type with its reply type, so that a caller gets what it asked for.
pub trait Operation: Into<Request> {
    /// What it is answered with.
    type Reply: TryFrom<Reply, Error = Reply>;
}

catalogue! {
    /// Asks the gate itself for an echo: its health and its speed.
    GateProbe = 0x0001 v 2 "gate_probe" Gate;

    /// Sends a one-time code to a phone.
    LoginStart = 0x0010 v 1 "login_start" Write;
    /// Opens a session with the code.
    LoginFinish = 0x0011 v 1 "login_finish" Write;
    /// Exchanges a refresh token for the next pair.
    SessionRefresh = 0x0012 v 1 "session_refresh" Write;
    /// Ends a session.
    SessionEnd = 0x0013 v 1 "session_end" Write;

    /// The accounts a customer has bound.
    AccountList = 0x0020 v 1 "account_list" Read;
    /// What is owed, this month so far, the tier.
    AccountSummary = 0x0021 v 1 "account_summary" Read;
    /// Sends a code to the phone that is registered with an account.
    AccountBindStart = 0x0022 v 1 "account_bind_start" Write;
    /// Binds an account, with proof.
    AccountBind = 0x0023 v 1 "account_bind" Write;
    /// Takes an account off the customer's list, with proof.
    AccountUnbind = 0x0024 v 1 "account_unbind" Write;
    /// Whose account a number is, masked, for who wants to pay for somebody else.
    PayeeGet = 0x0025 v 1 "payee_get" Read;

    /// Where the use stands in the tiers, and where its pace leads.
    TierGet = 0x0026 v 1 "tier_get" Read;

    /// An account's bills, newest first.
    BillList = 0x0030 v 1 "bill_list" Read;
    /// One bill with lines that one can recompute.
    BillGet = 0x0031 v 1 "bill_get" Read;

    /// A month's use, day by day.
    UsageMonth = 0x0040 v 1 "usage_month" Read;
    /// A year's use, month by month.
    UsageYear = 0x0042 v 1 "usage_year" Read;
    /// What energy would cost at an account's place.
    TariffQuote = 0x0044 v 1 "tariff_quote" Read;
    /// Past months under every tariff of the place.
    TariffCompare = 0x0045 v 1 "tariff_compare" Read;

    /// Orders a payment.
    PaymentCreate = 0x0050 v 1 "payment_create" Write;
    /// A payment's state, and its receipt once paid.
    PaymentGet = 0x0051 v 1 "payment_get" Read;
    /// An account's payments, newest first.
    PaymentList = 0x0052 v 1 "payment_list" Read;
    /// A payment provider's signed message.
    PaymentCallback = 0x0053 v 1 "payment_callback" Write;

    /// Asks for credit back that a payment became.
    RefundCreate = 0x0054 v 1 "refund_create" Write;
    /// Asks a provider for leave to be debited for an account's bills.
    MandateCreate = 0x00b0 v 1 "mandate_create" Write;
    /// How automatic debit stands for an account.
    MandateGet = 0x00b1 v 1 "mandate_get" Read;
    /// Ends automatic debit for an account.
    MandateEnd = 0x00b2 v 1 "mandate_end" Write;

    /// The forms a customer can send in.
    FormList = 0x0080 v 1 "form_list" Read;
    /// Sends in a form.
    RequestCreate = 0x0081 v 1 "request_create" Write;
    /// Reports a fault.
    FaultReport = 0x0082 v 1 "fault_report" Write;
    /// An account's requests, or those about none, newest first.
    RequestList = 0x0083 v 1 "request_list" Read;
    /// A request and what has happened to it.
    RequestGet = 0x0084 v 1 "request_get" Read;
    /// Adds a word to a request.
    RequestNote = 0x0085 v 1 "request_note" Write;
    /// Withdraws a request.
    RequestCancel = 0x0086 v 1 "request_cancel" Write;
    /// Says that a file is to come with a request.
    FileCreate = 0x0087 v 1 "file_create" Write;
    /// Says that a file will not come.
    FileEnd = 0x0088 v 1 "file_end" Write;
    /// Attaches a file that is in the intranet's store. Asked by the gate's inner half, never over its link.
    FileAttach = 0x0089 v 1 "file_attach" Write;
    /// Outages at an account's premise, now and planned.
    OutageList = 0x0090 v 1 "outage_list" Read;
    /// What the customer was told, newest first.
    NoticeList = 0x00a0 v 1 "notice_list" Read;
    /// Marks what the customer was told as read.
    NoticeRead = 0x00a1 v 1 "notice_read" Write;

    /// How an accepted write stands.
    OperationGet = 0x0060 v 1 "operation_get" Read;

    /// Everything that is held about the customer.
    PersonGet = 0x00c0 v 1 "person_get" Read;
    /// Corrects what the customer said about themselves.
    PersonCorrect = 0x00c1 v 1 "person_correct" Write;
    /// Deletes the customer's personal data, with a code.
    PersonDelete = 0x00c2 v 1 "person_delete" Write;
    /// Sends a code to the phone that is to be the customer's.
    PhoneChangeStart = 0x00c3 v 1 "phone_change_start" Write;
    /// Changes the customer's phone, with the code.
    PhoneChange = 0x00c4 v 1 "phone_change" Write;
    /// Sends a code, to unbind, to the phone that is registered with an account.
    AccountUnbindStart = 0x00c5 v 1 "account_unbind_start" Write;
    /// Sends a code, to delete their data, to the customer's phone.
    PersonDeleteStart = 0x00c6 v 1 "person_delete_start" Write;
    /// What the customer wants to be told of, and how they are spoken to.
    PreferencesGet = 0x00c8 v 1 "preferences_get" Read;
    /// Sets what the customer wants to be told of, and how they are spoken to.
    PreferencesSet = 0x00c9 v 1 "preferences_set" Write;

    /// Where the customer is logged in.
    SessionList = 0x00d0 v 1 "session_list" Read;
    /// Ends other sessions of the customer.
    SessionEndOther = 0x00d1 v 1 "session_end_other" Write;

    /// Logs a member of the staff in.
    StaffLogin = 0x00e0 v 1 "staff_login" Read;

    /// How the delivery of a push ended.
    PushResult = 0x0070 v 1 "push_result" Write;

    /// Asks for a file to be made: an export of use, an invoice.
    ExportCreate = 0x0100 v 1 "export_create" Write;
    /// How a file that is made stands, and a ticket to fetch it.
    ExportGet = 0x0101 v 1 "export_get" Read;
    /// The files that were made for an account, newest first.
    ExportList = 0x0102 v 1 "export_list" Read;
    /// What a request is, by its kind and form, and which files it has: by this the edge knows what it may take.
    RequestForm = 0x008a v 1 "request_form" Read;
    /// Says how the audit of a file ended that does not come, with its reason for the request's timeline.
    FileResult = 0x008b v 1 "file_result" Write;
}

impl Request {
    /// The bucket this operation belongs to, where the operation itself says so. `None`: it belongs to the customer who
    /// asks, or (a callback) only its verified content tells.
    pub fn bucket(&self) -> Option<Bucket> {
        match self {
            Request::LoginStart(r) => Some(Bucket::of_identity(&phone_identity(&r.phone))),
            Request::LoginFinish(r) => Some(r.challenge.bucket()),
            Request::AccountSummary(r) => Some(r.account.bucket()),
            Request::AccountBindStart(r) => Some(r.account.bucket()),
            Request::AccountBind(r) => Some(r.account.bucket()),
            Request::AccountUnbindStart(r) => Some(r.account.bucket()),
            Request::AccountUnbind(r) => Some(r.account.bucket()),
            Request::PayeeGet(r) => Some(r.account.bucket()),
            Request::PersonDelete(r) => Some(r.challenge.bucket()),
            Request::PhoneChangeStart(r) => Some(Bucket::of_identity(&phone_identity(&r.phone))),
            Request::PhoneChange(r) => Some(r.challenge.bucket()),
            Request::BillList(r) => Some(r.account.bucket()),
            Request::BillGet(r) => Some(r.bill.account.bucket()),
            Request::UsageMonth(r) => Some(r.account.bucket()),
            Request::TierGet(r) => Some(r.account.bucket()),
            Request::UsageYear(r) => Some(r.account.bucket()),
            Request::TariffQuote(r) => Some(r.account.bucket()),
            Request::TariffCompare(r) => Some(r.account.bucket()),
            Request::PaymentCreate(r) => Some(r.account.bucket()),
            Request::PaymentGet(r) => Some(r.payment.bucket()),
            Request::PaymentList(r) => Some(r.account.bucket()),
            Request::RefundCreate(r) => Some(r.payment.bucket()),
            Request::MandateCreate(r) => Some(r.account.bucket()),
            Request::MandateGet(r) => Some(r.account.bucket()),
            Request::MandateEnd(r) => Some(r.account.bucket()),
            Request::OperationGet(r) => Some(r.operation.bucket()),
            Request::RequestCreate(r) => r.account.map(|account| account.bucket()),
            Request::FaultReport(r) => Some(r.account.bucket()),
            Request::RequestList(r) => r.account.map(|account| account.bucket()),
            Request::RequestGet(r) => Some(r.request.bucket()),
            Request::RequestNote(r) => Some(r.request.bucket()),
            Request::RequestCancel(r) => Some(r.request.bucket()),
            Request::FileCreate(r) => Some(r.request.bucket()),
            Request::FileEnd(r) => Some(r.file.bucket()),
            Request::FileAttach(r) => Some(r.file.bucket()),
            Request::OutageList(r) => Some(r.account.bucket()),
            Request::PushResult(r) => Some(r.push.bucket()),
            Request::ExportCreate(r) => Some(r.account.bucket()),
            Request::ExportGet(r) => Some(r.export.bucket()),
            Request::ExportList(r) => Some(r.account.bucket()),
            Request::RequestForm(r) => Some(r.request.bucket()),
            Request::FileResult(r) => Some(r.file.bucket()),
            Request::GateProbe(_)
            | Request::SessionRefresh(_)
            | Request::SessionEnd(_)
            | Request::AccountList(_)
            | Request::FormList(_)
            | Request::StaffLogin(_)
            | Request::NoticeList(_)
            | Request::NoticeRead(_)
            | Request::PersonGet(_)
            | Request::PersonCorrect(_)
            | Request::PersonDeleteStart(_)
            | Request::PreferencesGet(_)
            | Request::PreferencesSet(_)
            | Request::SessionList(_)
            | Request::SessionEndOther(_)
            | Request::PaymentCallback(_) => None,
        }
    }
}

/// The identity that a phone number is.
pub fn phone_identity(phone: &crate::bounds::Phone) -> String {
    format!("phone:{phone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique() {
        let mut codes = std::collections::HashSet::new();
        let mut names = std::collections::HashSet::new();
        for spec in ALL {
            assert!(codes.insert(spec.code) && names.insert(spec.name), "{} twice", spec.name);
        }
    }

    /// A reply is known on the wire by its place in the table: what is there stays where it is, and what is new comes last.
    #[test]
    fn places_in_the_table_never_change() {
        let codes: Vec<u16> = ALL.iter().map(|spec| spec.code).collect();
        assert_eq!(codes[..PLACES.len()], PLACES);
    }

    const PLACES: [u16; 58] = [
        0x0001, 0x0010, 0x0011, 0x0012, 0x0013, 0x0020, 0x0021, 0x0022, 0x0023, 0x0024, 0x0025, 0x0026,
        0x0030, 0x0031, 0x0040, 0x0042, 0x0044, 0x0045, 0x0050, 0x0051, 0x0052, 0x0053, 0x0054, 0x00b0,
        0x00b1, 0x00b2, 0x0080, 0x0081, 0x0082, 0x0083, 0x0084, 0x0085, 0x0086, 0x0087, 0x0088, 0x0089,
        0x0090, 0x00a0, 0x00a1, 0x0060, 0x00c0, 0x00c1, 0x00c2, 0x00c3, 0x00c4, 0x00c5, 0x00c6, 0x00c8,
        0x00c9, 0x00d0, 0x00d1, 0x00e0, 0x0070, 0x0100, 0x0101, 0x0102, 0x008a, 0x008b,
    ];

    #[test]
    fn what_is_not_in_the_catalogue_is_refused() {
        assert_eq!(Request::decode(0xffff, 1, &[]), Err(Refusal::UnknownOperation(0xffff)));
        assert_eq!(Request::decode(0x0021, 9, &[]), Err(Refusal::UnknownVersion("account_summary", 9)));
        let body = requests::SessionEnd {}.clone();
        let mut bytes = Request::from(body).encode();
        bytes.push(0);
        assert_eq!(Request::decode(0x0013, 1, &bytes), Err(Refusal::NotCanonical));
    }
}
