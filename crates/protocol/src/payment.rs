//! What the center and a payment provider say to each other: signed orders and instructions outward, signed messages back.
//!
//! All are signed with a secret that only the center and the provider know. An order travels in the address of the page
//! that the customer is sent to, so the customer could change the amount: the provider believes nothing but the signature.
//! Instructions and messages pass the edge, which could forge "debit them" or "paid": neither side believes anything but
//! the signature, over the raw bytes. What a signature proves ends there: that order and amount fit is the center's to
//! check.
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

mod callback;
mod instruction;
mod mandate;
mod order;
mod signed_query;

pub use callback::{
    CallbackBody, CallbackError, Paid, SIGNATURE_TOLERANCE_S, sign_callback, verify_callback,
};
pub use instruction::{Instruction, InstructionError, sign_instruction, verify_instruction};
pub use mandate::MandateOrder;
pub use order::PayOrder;
pub use signed_query::{MAX_URL_LEN, OrderError, PercentEncoded};

type HmacSha256 = Hmac<Sha256>;

/// HMAC-SHA256 (RFC 2104) of the parts, one after the other. A key may have any length.
fn hmac_sha256(secret: &[u8], parts: &[&[u8]]) -> HmacSha256 {
    let mut mac = match HmacSha256::new_from_slice(secret) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Why a provider did not move money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderFailure {
    /// The payer has not enough money there.
    InsufficientFunds,
    /// It is more than the payer or their bank allows at once.
    LimitExceeded,
    /// The payer took their leave back there.
    AgreementEnded,
    /// The payer's account there is closed or blocked.
    PayerAccountClosed,
    /// Another reason, or none was given.
    Other,
}
