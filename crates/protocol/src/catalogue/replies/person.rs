//! What a customer is told about themselves: their accounts, whom they pay for, their data.
use domain::money::Fen;
use serde::{Deserialize, Serialize};

use crate::{AccountId, ChallengeId};

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
}
