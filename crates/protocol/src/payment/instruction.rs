//! What the center has a provider do without the customer being there. It travels as a push: the edge, which cannot sign,
//! hands the bytes on.
//!
//! In HTTP: a POST of the bytes to the provider's `/instructions`, with `instruction-id` (the same on every try),
//! `instruction-timestamp` (Unix seconds) and `instruction-signature`: `v1,` and the base64 HMAC-SHA256 of
//! `instruction.{id}.{timestamp}.{body}`. The provider does the same instruction once, whenever it comes: what may grow
//! stale says itself until when it holds.
use data_encoding::BASE64;
use hmac::Mac;
use serde::{Deserialize, Serialize};

use super::hmac_sha256;
use crate::{
    AccountId, MandateId, PaymentId, RefundId,
    bounds::{PayableFen, Text},
};

/// The body, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Instruction {
    /// Debit the payer of a mandate, once an order.
    #[serde(rename = "debit")]
    Debit {
        /// The payment it is; the answer names it.
        order: PaymentId,
        /// Under which mandate.
        mandate: MandateId,
        /// The provider's number of the payer's leave.
        agreement: Text<64>,
        /// For which account; shown to the payer.
        account: AccountId,
        /// How much, in fen.
        amount_fen: PayableFen,
        /// Not after this, Unix seconds.
        expires_s: u64,
        /// Where the answer goes.
        notify_url: Text<512>,
    },
    /// Give money of an order back the way it came, once a refund.
    #[serde(rename = "refund")]
    Refund {
        /// The refund; the answer names it.
        refund: RefundId,
        /// Of which order.
        order: PaymentId,
        /// How much, in fen.
        amount_fen: PayableFen,
        /// Where the answer goes.
        notify_url: Text<512>,
    },
    /// The payer's leave is given back: no debit follows.
    #[serde(rename = "mandate.end")]
    MandateEnd {
        /// Which mandate.
        mandate: MandateId,
        /// The provider's number of the payer's leave.
        agreement: Text<64>,
    },
}

/// Why an instruction was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    /// It is not signed with the merchant's secret over these bytes.
    #[error("the instruction's signature is wrong")]
    Signature,
    /// Genuine, but not an instruction we understand.
    #[error("the instruction is not of a known form: {0}")]
    Malformed(String),
}

/// The signature header of an instruction: `v1,` and base64.
pub fn sign_instruction(secret: &[u8], id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    let mac = hmac_sha256(secret, &signed_parts(id, &timestamp, body)).finalize().into_bytes();
    format!("v1,{}", BASE64.encode(&mac))
}

/// Checks the signature over the raw bytes, in constant time, and only then reads them.
///
/// # Errors
/// [`InstructionError`].
pub fn verify_instruction(
    secret: &[u8],
    id: &str,
    timestamp_s: u64,
    signature: &str,
    body: &[u8],
) -> Result<Instruction, InstructionError> {
    let timestamp = timestamp_s.to_string();
    let mac = hmac_sha256(secret, &signed_parts(id, &timestamp, body));
    let said = signature.strip_prefix("v1,").and_then(|text| BASE64.decode(text.as_bytes()).ok());
    // An id with a point could move the boundary between id and time.
    let genuine = said.is_some_and(|said| mac.verify_slice(&said).is_ok());
    if !genuine || id.contains('.') {
        return Err(InstructionError::Signature);
    }
    serde_json::from_slice(body).map_err(|error| InstructionError::Malformed(error.to_string()))
}

fn signed_parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 6] {
    [b"instruction.", id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{CallbackError, sign_callback, verify_callback},
        *,
    };
    use crate::Bucket;

    fn debit() -> Instruction {
        Instruction::Debit {
            order: PaymentId::mint(Bucket::of(b"x"), 7),
            mandate: MandateId::mint(Bucket::of(b"x"), 8),
            agreement: Text::new("agr-1").unwrap(),
            account: AccountId::mint(33, 1).unwrap(),
            amount_fen: 4_883.try_into().unwrap(),
            expires_s: 1_800_000_000,
            notify_url: Text::new("http://n.example/").unwrap(),
        }
    }

    #[test]
    fn only_what_was_signed_verifies() {
        let bytes = serde_json::to_vec(&debit()).unwrap();
        assert!(bytes.starts_with(br#"{"kind":"debit","order":"py_"#), "{bytes:?}");
        let signature = sign_instruction(b"s", "pu_1", 5, &bytes);
        let verify = |secret: &[u8], id: &str, at, signature: &str, bytes: &[u8]| {
            verify_instruction(secret, id, at, signature, bytes)
        };
        assert_eq!(verify(b"s", "pu_1", 5, &signature, &bytes), Ok(debit()));
        let dearer = String::from_utf8(bytes.clone()).unwrap().replace("4883", "9883");
        let wrong = Err(InstructionError::Signature);
        assert_eq!(verify(b"s", "pu_1", 5, &signature, dearer.as_bytes()), wrong);
        assert_eq!(verify(b"t", "pu_1", 5, &signature, &bytes), wrong);
        assert_eq!(verify(b"s", "pu_2", 5, &signature, &bytes), wrong);
        assert_eq!(verify(b"s", "pu_1", 6, &signature, &bytes), wrong);
        assert_eq!(verify(b"s", "pu_1", 5, "v1,", &bytes), wrong);
        let moved = sign_instruction(b"s", "pu_1.5", 6, b"{}");
        assert_eq!(verify(b"s", "pu_1.5", 6, &moved, b"{}"), wrong);
        let unknown = br#"{"kind":"debit","extra":1}"#;
        let signature = sign_instruction(b"s", "pu_1", 5, unknown);
        let read = verify(b"s", "pu_1", 5, &signature, unknown);
        assert!(matches!(read, Err(InstructionError::Malformed(_))));
    }

    #[test]
    fn an_instruction_sent_back_is_no_message_of_the_provider() {
        let bytes = serde_json::to_vec(&debit()).unwrap();
        let ours = sign_instruction(b"s", "pu_1", 5, &bytes);
        assert_eq!(verify_callback(b"s", "pu_1", 5, &ours, &bytes), Err(CallbackError::Signature));
        let theirs = sign_callback(b"s", "pu_1", 5, &bytes);
        assert_eq!(verify_instruction(b"s", "pu_1", 5, &theirs, &bytes), Err(InstructionError::Signature));
    }
}
