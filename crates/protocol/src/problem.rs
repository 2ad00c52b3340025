//! Everything that can go wrong for a caller, with one stable code each (RFC 9457 problem details in HTTP).
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal, $title:literal, $advice:literal;)*) => {
        /// A stable problem code. Clients switch on it; titles and details may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

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
            /// When it is said.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),*).trim_ascii(),)* }
            }
            /// What a client does about it.
            pub fn advice(self) -> &'static str {
                match self { $(Code::$name => $advice,)* }
            }
        }
    };
}

codes! {
    /// The request is not understood: JSON, a field, a value.
    InvalidRequest = "invalid_request", 400, "The request is not well formed",
        "Mend the request: `detail` names what is wrong. Sent again as it is, it fails again.";
    /// A write without `Idempotency-Key`.
    IdempotencyKeyRequired = "idempotency_key_required", 400, "A write needs an Idempotency-Key header",
        "Send a key of your own, a new one for each new write, the same one when you send a write again.";
    /// A `Consistency-Token` that no node gave out.
    TokenInvalid = "token_invalid", 400, "The Consistency-Token is not one of ours",
        "Present the token of an answer exactly as it came, or none.";
    /// No session, or one that has ended or is not genuine.
    Unauthenticated = "unauthenticated", 401, "Log in first",
        "Refresh the session; where that fails too, log in anew.";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, "Not allowed",
        "Do not send it again: it is not open to this caller.";
    /// The session was opened too long ago for what touches the log-in itself.
    SessionStale = "session_stale", 403, "Log in anew first",
        "Log in with a new code, then ask again.";
    /// No such thing, or not one the caller may know about.
    NotFound = "not_found", 404, "Not found",
        "Check the id. What belongs to somebody else is answered the same way.";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "This address does not take that method",
        "Use a method that the `Allow` header names.";
    /// Nothing was done, because the thing is in another state.
    Conflict = "conflict", 409, "The state does not allow it",
        "Read the thing anew, and decide by its state.";
    /// The body is larger than any this address takes.
    TooLarge = "too_large", 413, "The request is too large",
        "Send less.";
    /// A content type this address does not take.
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported content type",
        "Send JSON, as `application/json`.";
    /// The same idempotency key came with another body.
    IdempotencyMismatch = "idempotency_mismatch", 422, "This Idempotency-Key was used for another request",
        "A new request needs a new key. The first request under this key stands.";
    /// Wrong or used-up one-time code.
    CodeWrong = "code_wrong", 422, "The code is not right",
        "Let the person type the code again; after a few wrong ones, start anew.";
    /// The one-time code's time has passed.
    CodeExpired = "code_expired", 422, "The code has expired",
        "Ask for a new code.";
    /// The proof does not fit the account.
    ProofWrong = "proof_wrong", 422, "The proof does not fit the account",
        "Let the person check the proof against their bill or their phone.";
    /// The amount differs from what was ordered.
    AmountMismatch = "amount_mismatch", 422, "The amount differs from the order",
        "Tell the order's amount as it was ordered; nothing was booked as paid.";
    /// A signature that does not verify.
    SignatureWrong = "signature_wrong", 401, "The signature is not right",
        "Sign the raw bytes with the agreed key.";
    /// A signed message whose time is too far from now.
    SignatureStale = "signature_stale", 401, "The signed time is too far from now",
        "Set the clock, sign anew and send again.";
    /// Asked too often.
    TooManyRequests = "too_many_requests", 429, "Too many requests",
        "Wait for `Retry-After` seconds. Nothing was done.";
    /// Too many wrong attempts.
    TooManyAttempts = "too_many_attempts", 429, "Too many attempts",
        "Wait for `Retry-After` seconds, then start anew.";
    /// The write ended without effect, for a reason that repeats for ever.
    OperationFailed = "operation_failed", 422, "The operation failed",
        "Read `detail`. Trying again is a new write under a new key.";
    /// Something on our side went wrong; logged under the request id.
    Internal = "internal", 500, "Something went wrong on our side",
        "Report it with the `request_id`. A write may be sent again under the same key.";
    /// The gate refused or lost the message.
    GateUnavailable = "gate_unavailable", 503, "The way inside is closed for the moment",
        "Send it again after `Retry-After` seconds, a write under the same key: it is not done twice.";
    /// More at once than can be served.
    Overloaded = "overloaded", 503, "Too much at once",
        "Send it again after `Retry-After` seconds. Nothing was done.";
    /// Data as fresh as the token asks for is not there in time.
    NotYetVisible = "not_yet_visible", 503, "Not visible yet",
        "Ask again after `Retry-After` seconds with the same token.";
    /// The center, or a store in it, is away.
    Unavailable = "unavailable", 503, "Not available for the moment",
        "Send it again after `Retry-After` seconds, a write under the same key.";
    /// The deadline passed before there was an answer.
    DeadlineExceeded = "deadline_exceeded", 504, "No answer in time",
        "Send it again, a write under the same key: it is not done twice.";
    /// An upload is spoken of in another version of tus than 1.0.0.
    TusVersion = "tus_version", 412, "This version of tus is not spoken here",
        "Send `Tus-Resumable: 1.0.0`.";
    /// A portion of a file does not begin where the last one ended, or nothing more of it is to come.
    UploadOffset = "upload_offset", 409, "The portion does not begin where the file ends",
        "Ask by `HEAD` how much is here, and go on from there.";
    /// Somebody else is writing to the file.
    UploadLocked = "upload_locked", 423, "The file is being written to",
        "Wait a moment, ask by `HEAD` how much is here, and go on from there.";
    /// The file is not to come any more: withdrawn, refused, or its time is over.
    UploadGone = "upload_gone", 410, "The file is not to come any more",
        "Begin a new upload.";
    /// The bytes of a portion are not those that were summed.
    ChecksumMismatch = "checksum_mismatch", 460, "The checksum does not fit the portion",
        "Send the portion again; nothing of it was kept.";
    /// A customer has as many files under way as one may have.
    QuotaExceeded = "quota_exceeded", 403, "Too many files under way",
        "Wait until some are through, or withdraw one.";
    /// The disk for files has no room for more.
    StorageFull = "storage_full", 507, "No room for more files",
        "Try again after `Retry-After` seconds.";
    /// The file was made, and its time is over.
    ExportGone = "export_gone", 410, "The file is not there any more",
        "Ask for a new one.";
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

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Refusal)]
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
