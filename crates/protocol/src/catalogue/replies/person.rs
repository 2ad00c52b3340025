//! What a customer is told about themselves: their accounts, whom they pay for, their data.
use domain::money::Fen;
use serde::{Deserialize, Serialize};

use super::BoundAccount;
use crate::{
    AccountId, ChallengeId, Channel, CustomerId, SessionId, bounds::Phone, catalogue::requests::Notices,
    envelope::Language,
};

replies! {
    /// A code is on its way to the registered phone, if the account has one.
    AccountUnbindStart {
        /// To be named with the code.
        challenge: ChallengeId,
        /// For how long the code is good, in seconds.
        expires_in_s: u32,
    }
    /// The account is bound to this customer no longer.
    AccountUnbind {
        /// Which account.
        account: AccountId,
    }
    /// Whose account it is, as far as a payer may know.
    PayeeGet {
        /// Which account.
        account: AccountId,
        /// The holder's name, masked: 张*. Empty where the result is looked up later by its operation.
        holder: String,
        /// The premise's address, masked.
        address: String,
        /// What is owed.
        due_fen: Fen,
    }
    /// Everything that is held about a customer. Bills, readings, payments and the ledger belong to the accounts, and are
    /// read there.
    PersonGet {
        /// The number under which it is held: random, it says nothing.
        customer: CustomerId,
        /// Since when they are known here, Unix ms; absent where it was not noted.
        since_ms: Option<u64>,
        /// The phone by which they log in.
        phone: Option<Phone>,
        /// How they want to be called.
        name: String,
        /// Their preferences.
        preferences: PreferencesGet,
        /// Their accounts.
        accounts: Vec<BoundAccount>,
        /// Where they are logged in.
        sessions: Vec<SessionBrief>,
        /// About whose accounts they asked in order to pay for them; kept for a week.
        payees: Vec<PayeeAsked>,
    }
    /// It is corrected.
    PersonCorrect {}
    /// A code is on its way to the customer's phone.
    PersonDeleteStart {
        /// To be named with the code.
        challenge: ChallengeId,
        /// The phone, masked: 199****0001.
        phone: String,
        /// For how long the code is good, in seconds.
        expires_in_s: u32,
    }
    /// The personal data is deleted; what must stay belongs to the accounts.
    PersonDelete {}
    /// A code is on its way to the new phone.
    PhoneChangeStart {
        /// To be named with the code.
        challenge: ChallengeId,
        /// For how long the code is good, in seconds.
        expires_in_s: u32,
    }
    /// The phone is changed; other sessions have ended.
    PhoneChange {}
    /// What the customer wants to be told of, and how they are spoken to.
    PreferencesGet {
        /// In which language; absent: as each request says.
        language: Option<Language>,
        /// Whether type is large and choices are few.
        elder: bool,
        /// What they want a message about.
        notices: Notices,
    }
    /// They are set.
    PreferencesSet {}
    /// Where the customer is logged in.
    SessionList {
        /// Newest first; at most 32.
        sessions: Vec<SessionBrief>,
    }
    /// Other sessions have ended.
    SessionEndOther {
        /// How many were open.
        ended: u32,
    }
    /// A log-in.
    SessionBrief {
        /// Its id.
        session: SessionId,
        /// Where it was opened; absent where it was not noted.
        channel: Option<Channel>,
        /// When it was opened, Unix ms; absent where it was not noted.
        begun_ms: Option<u64>,
        /// When it was opened or last renewed, Unix ms; absent where it was not noted.
        used_ms: Option<u64>,
        /// Until when it lasts unless it is renewed, Unix ms.
        expires_ms: u64,
        /// Whether it is the one that asks.
        is_current: bool,
    }
    /// An account of somebody else that was asked about.
    PayeeAsked {
        /// Which account.
        account: AccountId,
        /// When, Unix ms.
        asked_ms: u64,
    }
}
