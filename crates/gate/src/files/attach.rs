//! Asks the center to attach a file that is in the store.
use protocol::{
    Channel, Outcome, Problem, Reply, RequestEnvelope, Token,
    catalogue::requests,
    envelope::{Language, RequestHead},
    file::{Ended, Offer},
};
use runtime::{
    clock::Deadline,
    peers::{Peers, Verdict},
    telemetry::{RequestId, TraceContext},
};

use super::{counted::code, quarantine::Marker};
use crate::counted::check_reply;

/// How long the center may take in all, in ms.
const DEADLINE_MS: u32 = 8_000;
/// How long it waits for the operation's result, in ms.
const WAIT_MS: u32 = 6_000;

/// Said where there is no answer that ends the file: it stays verified, and its next offer only attaches.
const AWAY: &str = "center-away";

/// Attaches the file of `offer`, which is in the store, under its own id: asking again gives the same receipt.
pub(super) async fn attach(centers: &Peers, offer: &Offer, marker: &Marker) -> Ended {
    let away = || Ended::NotNow(code(AWAY));
    let id = offer.file.to_string();
    let (Ok(size), Ok(key)) = (offer.size.try_into(), id.parse()) else { return away() };
    let (file, root, kind) = (offer.file, offer.root, marker.kind.clone());
    let trace = TraceContext::random();
    let request_id = RequestId::random().to_u128().to_be_bytes();
    let mut envelope = RequestEnvelope {
        head: RequestHead {
            request_id,
            trace_id: trace.trace_id.to_be_bytes(),
            span_id: trace.span_id.to_be_bytes(),
            deadline_ms: DEADLINE_MS,
            channel: Channel::System,
            client: code("gate"),
            language: Language::default(),
            session: None,
            idempotency_key: Some(key),
            wait_ms: WAIT_MS,
            token: Token::default(),
            strict: false,
        },
        request: requests::FileAttach { file, size, root, kind }.into(),
    };
    let spec = envelope.request.spec();
    let asked = centers.ask(
        Deadline::from_remaining_ms(u64::from(DEADLINE_MS)),
        |left_ms| {
            envelope.head.deadline_ms = u32::try_from(left_ms).unwrap_or(u32::MAX).min(DEADLINE_MS);
            envelope.encode()
        },
        |bytes| Verdict::Taken(check_reply(&bytes, request_id, spec)),
    );
    match asked.await.map(|told| told.what.map(|reply| reply.outcome)) {
        Ok(Some(Outcome::Done(Reply::FileAttach(attached)))) => {
            let receipt = attached.receipt;
            if (receipt.file, receipt.size, receipt.root) == (file, offer.size, root) {
                return Ended::Stored(receipt);
            }
            tracing::error!(%file, "the center's receipt is of another file");
        }
        Ok(Some(Outcome::Problem(problem))) if is_final(&problem) => {
            tracing::warn!(%file, %problem, "the center does not take the file");
            return Ended::Refused(code(problem.code.as_str()));
        }
        Ok(other) => tracing::warn!(%file, ?other, "not attached yet"),
        Err(error) => tracing::warn!(%file, %error, "not attached yet"),
    }
    away()
}

/// Whether asking again would give the same answer: the state of what the file belongs to says no. A refusal of the question
/// itself is a fault between programs, which somebody mends.
fn is_final(problem: &Problem) -> bool {
    use protocol::Code;
    matches!(
        problem.code,
        Code::NotFound | Code::Conflict | Code::TooLarge | Code::IdempotencyMismatch | Code::OperationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_code_that_a_file_can_end_with() {
        for problem in protocol::Code::ALL {
            assert_eq!(code(problem.as_str()).to_string(), problem.as_str().replace('_', "-"));
        }
    }
}
