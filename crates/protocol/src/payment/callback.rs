//! The provider's message, signed after Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! In HTTP: `webhook-id` names the message (the same on every try), `webhook-timestamp` says when it was sent in Unix
//! seconds, `webhook-signature` holds `v1,` and the base64 HMAC-SHA256 of `{id}.{timestamp}.{body}`; several, separated
//! by spaces, while keys are being changed.
use data_encoding::BASE64;
use hmac::Mac;
use serde::{Deserialize, Serialize};

use super::{ProviderFailure, hmac_sha256};
use crate::{
    AccountId, MandateId, PaymentId, RefundId,
    bounds::{PayableFen, Text},
};

/// How far a signed time may be from now, in seconds, either way. Checked by who knows the time.
pub const SIGNATURE_TOLERANCE_S: u64 = 5 * 60;

/// No time after this is believed, in Unix seconds: the year 2200.
const LATEST_S: u64 = 7_258_118_400;
/// At most this many signatures are looked at.
const MAX_SIGNATURES: usize = 8;

/// The message's body, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum CallbackBody {
    /// The payer was debited.
    #[serde(rename = "payment.succeeded")]
    PaymentSucceeded(Paid),
    /// A debit that we ordered was not made, and will not be.
    #[serde(rename = "payment.failed")]
    PaymentFailed {
        /// The payment it is about.
        order: PaymentId,
        /// Why.
        reason: ProviderFailure,
    },
    /// A payer gave their leave to be debited.
    #[serde(rename = "mandate.signed")]
    MandateSigned {
        /// Which mandate.
        mandate: MandateId,
        /// For which account.
        account: AccountId,
        /// The provider's number of it.
        agreement: Text<64>,
        /// The most that one debit may take, in fen.
        limit_fen: PayableFen,
    },
    /// A payer took their leave back there.
    #[serde(rename = "mandate.ended")]
    MandateEnded {
        /// Which mandate.
        mandate: MandateId,
        /// For which account.
        account: AccountId,
    },
    /// Money went back to the payer.
    #[serde(rename = "refund.succeeded")]
    RefundSucceeded {
        /// Which refund.
        refund: RefundId,
        /// Of which payment.
        order: PaymentId,
        /// How much, in fen.
        amount_fen: PayableFen,
    },
    /// Money did not go back, and will not under this refund.
    #[serde(rename = "refund.failed")]
    RefundFailed {
        /// Which refund.
        refund: RefundId,
        /// Of which payment.
        order: PaymentId,
        /// Why.
        reason: ProviderFailure,
    },
}

/// A debit that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paid {
    /// The payment it is about.
    pub order: PaymentId,
    /// The provider's number for the debit; unique for ever.
    pub transaction: Text<64>,
    /// What was taken, in fen.
    pub amount_fen: PayableFen,
    /// When, Unix seconds.
    pub paid_s: u64,
}

/// Why a message was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// No signature in it is one of ours over these bytes.
    #[error("the message's signature is wrong")]
    Signature,
    /// Genuine, but not a message we understand.
    #[error("the message is not of a known form")]
    Malformed,
}

/// The signature header of a message: `v1,` and base64.
pub fn sign_callback(secret: &[u8], id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    let mac = hmac_sha256(secret, &signed_parts(id, &timestamp, body)).finalize().into_bytes();
    format!("v1,{}", BASE64.encode(&mac))
}

/// Checks the signature over the raw bytes, in constant time, and only then reads them. Whether `timestamp_s` is within
/// [`SIGNATURE_TOLERANCE_S`] of now is the caller's to check.
///
/// # Errors
/// [`CallbackError`].
pub fn verify_callback(
    secret: &[u8],
    id: &str,
    timestamp_s: u64,
    signature: &str,
    body: &[u8],
) -> Result<CallbackBody, CallbackError> {
    let timestamp = timestamp_s.to_string();
    let mac = hmac_sha256(secret, &signed_parts(id, &timestamp, body));
    let genuine = signature
        .split(' ')
        .take(MAX_SIGNATURES)
        .filter_map(|one| BASE64.decode(one.strip_prefix("v1,")?.as_bytes()).ok())
        .any(|one| mac.clone().verify_slice(&one).is_ok());
    // An id with a point could move the boundary between id and time.
    if !genuine || id.contains('.') {
        return Err(CallbackError::Signature);
    }
    let body: CallbackBody = serde_json::from_slice(body).map_err(|_| CallbackError::Malformed)?;
    match &body {
        CallbackBody::PaymentSucceeded(paid) if paid.paid_s > LATEST_S => Err(CallbackError::Malformed),
        _ => Ok(body),
    }
}

fn signed_parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Bucket;

    fn body() -> CallbackBody {
        CallbackBody::PaymentSucceeded(Paid {
            order: PaymentId::mint(Bucket::of(b"x"), 7),
            transaction: Text::new("sim-1").unwrap(),
            amount_fen: 70_624.try_into().unwrap(),
            paid_s: 1_800_000_000,
        })
    }

    #[test]
    fn the_signature_is_the_one_of_standard_webhooks() {
        // The example of the Standard Webhooks libraries' tests.
        let secret = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            sign_callback(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_json_is_as_documented_and_strict() {
        let json = serde_json::to_string(&body()).unwrap();
        assert!(json.starts_with(r#"{"kind":"payment.succeeded","order":"py_"#), "{json}");
        assert!(json.ends_with(r#""transaction":"sim-1","amount_fen":70624,"paid_s":1800000000}"#), "{json}");
        for (from, to) in [("70624", "0"), ("70624", "-5"), ("succeeded", "maybe"), ("\"paid_s\"", "\"at\"")]
        {
            assert!(serde_json::from_str::<CallbackBody>(&json.replace(from, to)).is_err());
        }
        assert!(serde_json::from_str::<CallbackBody>(&json.replace('}', ",\"x\":1}")).is_err());
        let failed = json!({ "kind": "payment.failed", "order": PaymentId::from_bits(7), "reason": "insufficient_funds" });
        assert!(serde_json::from_value::<CallbackBody>(failed.clone()).is_ok());
        for (field, value) in [("reason", json!("bored")), ("x", json!(1)), ("kind", json!("refund.failed"))]
        {
            let mut other = failed.clone();
            other[field] = value;
            assert!(serde_json::from_value::<CallbackBody>(other).is_err(), "{field}");
        }
    }

    #[test]
    fn one_good_signature_among_several_is_enough() {
        let bytes = serde_json::to_vec(&body()).unwrap();
        let good = sign_callback(b"new", "m1", 5, &bytes);
        let old = sign_callback(b"old", "m1", 5, &bytes);
        assert_eq!(verify_callback(b"new", "m1", 5, &format!("{old} {good}"), &bytes), Ok(body()));
        let many = format!("{}{good}", "v1,AA== ".repeat(8));
        assert_eq!(verify_callback(b"new", "m1", 5, &many, &bytes), Err(CallbackError::Signature));
        for bad in ["", "v1,", "v1", &good[3..], &good.replace("v1,", "v2,")] {
            assert_eq!(verify_callback(b"new", "m1", 5, bad, &bytes), Err(CallbackError::Signature));
        }
        let noise = sign_callback(b"new", "m1", 5, b"{}");
        assert_eq!(verify_callback(b"new", "m1", 5, &noise, b"{}"), Err(CallbackError::Malformed));
    }

    proptest! {
        #[test]
        fn only_what_was_signed_verifies(
            secret in proptest::collection::vec(any::<u8>(), 0..100), id in "[a-z0-9_]{1,40}", time: u64,
            flip in 0usize..10_000, bit in 0u8..8,
        ) {
            let bytes = serde_json::to_vec(&body()).unwrap();
            let signature = sign_callback(&secret, &id, time, &bytes);
            prop_assert_eq!(verify_callback(&secret, &id, time, &signature, &bytes), Ok(body()));
            let wrong = Err(CallbackError::Signature);
            let mut changed = bytes.clone();
            let at = flip % changed.len();
            changed[at] ^= 1 << bit;
            prop_assert_eq!(verify_callback(&secret, &id, time, &signature, &changed), wrong.clone());
            prop_assert_eq!(verify_callback(&secret, &id, time.wrapping_add(1), &signature, &bytes), wrong.clone());
            prop_assert_eq!(verify_callback(&secret, &format!("{id}x"), time, &signature, &bytes), wrong.clone());
            let mut other = secret.clone();
            other.push(1);
            prop_assert_eq!(verify_callback(&other, &id, time, &signature, &bytes), wrong);
        }

        #[test]
        fn hostile_signatures_never_panic(signature in ".{0,300}", id in ".{0,20}") {
            prop_assert_eq!(verify_callback(b"k", &id, 1, &signature, b"{}"), Err(CallbackError::Signature));
        }
    }
}
