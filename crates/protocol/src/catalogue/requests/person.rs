//! What a customer asks about themselves: their accounts, whom they pay for, their data.
use serde::{Deserialize, Serialize};

use super::BindProof;
use crate::AccountId;

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
}
