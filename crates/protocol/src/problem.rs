//! Everything that can go wrong for a caller, with one stable code each (RFC 9457 problem details in HTTP).
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// A stable problem code. Clients switch on it; titles and details may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as text, as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
            /// The HTTP status it goes with.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
            /// What it says in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The request is not understood: JSON, a field, a value.
    InvalidRequest = "invalid_request", 400, "The request is not well formed";
    /// A write without `Idempotency-Key`.
    IdempotencyKeyRequired = "idempotency_key_required", 400, "A write needs an Idempotency-Key header";
    /// A `Consistency-Token` that no node gave out.
    TokenInvalid = "token_invalid", 400, "The Consistency-Token is not one of ours";
    /// No session, or one that has ended or is not genuine.
    Unauthenticated = "unauthenticated", 401, "Log in first";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, "Not allowed";
    /// The session was opened too long ago for what touches the log-in itself.
    SessionStale = "session_stale", 403, "Log in anew first";
    /// No such thing, or not one the caller may know about.
    NotFound = "not_found", 404, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "This address does not take that method";
    /// Nothing was done, because the thing is in another state.
    Conflict = "conflict", 409, "The state does not allow it";
    /// The body is larger than any this address takes.
    TooLarge = "too_large", 413, "The request is too large";
    /// A content type this address does not take.
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported content type";
    /// The same idempotency key came with another body.
    IdempotencyMismatch = "idempotency_mismatch", 422, "This Idempotency-Key was used for another request";
    /// Wrong or used-up one-time code.
    CodeWrong = "code_wrong", 422, "The code is not right";
    /// The one-time code's time has passed.
    CodeExpired = "code_expired", 422, "The code has expired";
    /// The proof does not fit the account.
    ProofWrong = "proof_wrong", 422, "The proof does not fit the account";
    /// The amount differs from what was ordered.
    AmountMismatch = "amount_mismatch", 422, "The amount differs from the order";
    /// A signature that does not verify.
    SignatureWrong = "signature_wrong", 401, "The signature is not right";
    /// A signed message whose time is too far from now.
    SignatureStale = "signature_stale", 401, "The signed time is too far from now";
    /// Asked too often.
    TooManyRequests = "too_many_requests", 429, "Too many requests";
    /// Too many wrong attempts.
    TooManyAttempts = "too_many_attempts", 429, "Too many attempts";
    /// The write ended without effect, for a reason that repeats for ever.
    OperationFailed = "operation_failed", 422, "The operation failed";
    /// Something on our side went wrong; logged under the request id.
    Internal = "internal", 500, "Something went wrong on our side";
    /// The gate refused or lost the message.
    GateUnavailable = "gate_unavailable", 503, "The way inside is closed for the moment";
    /// More at once than can be served.
    Overloaded = "overloaded", 503, "Too much at once";
    /// Data as fresh as the token asks for is not there in time.
    NotYetVisible = "not_yet_visible", 503, "Not visible yet";
    /// The center, or a store in it, is away.
    Unavailable = "unavailable", 503, "Not available for the moment";
    /// The deadline passed before there was an answer.
    DeadlineExceeded = "deadline_exceeded", 504, "No answer in time";
}

impl Code {
    /// Whether it speaks of one try and says nothing about a try before it: after a lost one, the outcome is unknown.
    pub fn is_of_one_try(self) -> bool {
        matches!(
            self,
            Code::GateUnavailable
                | Code::Overloaded
                | Code::Unavailable
                | Code::TooManyRequests
                | Code::DeadlineExceeded
        )
    }
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which problem.
    pub code: Code,
    /// One sentence for this case: what happened, whether anything was done, what to do.
    pub detail: String,
    /// When to try again, in seconds, where that helps.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem with a sentence about this case.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_s = matches!(code.status(), 429 | 503).then_some(1);
        Problem { code, detail: detail.into(), retry_after_s }
    }

    /// The same, to be tried again after `seconds`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Not found, in words that do not say whether it exists for somebody else.
    pub fn not_found(what: &str) -> Self {
        Problem::new(Code::NotFound, format!("There is no such {what}, or it is not yours to see."))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_say_what_json_says() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()));
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }
}
