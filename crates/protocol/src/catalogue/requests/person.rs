//! What a customer asks about themselves: their accounts, whom they pay for, their data.
use serde::{Deserialize, Serialize};

use super::BindProof;
use crate::{
    AccountId, ChallengeId, SessionId,
    bounds::{OneTimeCode, Phone, Text},
    envelope::Language,
};

requests! {
    /// Sends a code, to unbind, to the phone that is registered with an account.
    AccountUnbindStart {
        /// Which account.
        account: AccountId,
    }
    /// Takes an account off the customer's list.
    AccountUnbind {
        /// Which account.
        account: AccountId,
        /// What shows that it is theirs to unbind: the same as for binding.
        proof: BindProof,
    }
    /// Whose account a number is, masked, and what is owed.
    PayeeGet {
        /// Which account.
        account: AccountId,
    }
    /// Everything that is held about the customer.
    PersonGet {}
    /// Corrects what the customer said about themselves: all of it.
    PersonCorrect {
        /// How they want to be called; may be empty.
        name: Text<60>,
        /// In which language they are spoken to; absent: as each request says.
        language: Option<Language>,
    }
    /// Sends a code, to delete their data, to the customer's phone.
    PersonDeleteStart {}
    /// Deletes the customer's personal data.
    PersonDelete {
        /// The challenge that `person_delete_start` named.
        challenge: ChallengeId,
        /// The code that came by phone.
        code: OneTimeCode,
    }
    /// Sends a code to the phone that is to be the customer's.
    PhoneChangeStart {
        /// The new phone.
        phone: Phone,
    }
    /// Changes the customer's phone.
    PhoneChange {
        /// The challenge that `phone_change_start` named.
        challenge: ChallengeId,
        /// The code that came to the new phone.
        code: OneTimeCode,
    }
    /// What the customer wants to be told of, and how they are spoken to.
    PreferencesGet {}
    /// Sets them: all of them.
    PreferencesSet {
        /// In which language they are spoken to; absent: as each request says.
        language: Option<Language>,
        /// Whether type is large and choices are few.
        elder: bool,
        /// What they want a message about.
        notices: Notices,
    }
    /// Where the customer is logged in.
    SessionList {}
    /// Ends other sessions of the customer, never the one that asks.
    SessionEndOther {
        /// Which one; absent: all others.
        session: Option<SessionId>,
    }
}

/// What a customer wants a short message about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = NoticeChoices)]
#[serde(deny_unknown_fields)]
pub struct Notices {
    /// A bill was issued.
    pub bill_issued: bool,
    /// A payment was received.
    pub payment_received: bool,
    /// An outage, planned or not, and its end.
    pub outage: bool,
    /// A request went on.
    pub request_progress: bool,
}

impl Default for Notices {
    /// All of them: who says nothing is told.
    fn default() -> Self {
        Notices { bill_issued: true, payment_received: true, outage: true, request_progress: true }
    }
}
