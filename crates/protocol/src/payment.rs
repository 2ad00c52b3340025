//! What the center and a payment provider say to each other: the signed order outward, the signed message back.
//!
//! Both are signed with a secret that only the center and the provider know. The order travels in the address of the
//! page that the customer is sent to, so the customer could change the amount: the provider believes nothing but the
//! signature. The message back passes the edge, which could forge "paid": the center believes nothing but the
//! signature, over the raw bytes. What a signature proves ends there: that order and amount fit is the center's to check.
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

mod callback;
mod order;

pub use callback::{
    CallbackBody, CallbackError, CallbackKind, SIGNATURE_TOLERANCE_S, sign_callback, verify_callback,
};
pub use order::{MAX_URL_LEN, OrderError, PayOrder, PercentEncoded};

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
