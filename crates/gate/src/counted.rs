//! What both halves count, bound and refuse in the same way.
use std::sync::Arc;

use protocol::{Code, Outcome, Problem, ReplyEnvelope, RequestEnvelope, Spec, envelope::Refusal, wire};
use runtime::{mux::CallError, peers::Told, shutdown::Shutdown, telemetry::RequestId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The requests that are open in this half. Cheap to clone.
#[derive(Clone)]
pub(crate) struct InFlight {
    permits: Arc<Semaphore>,
    max: u32,
}

/// One open request.
pub(crate) struct Open {
    _permit: OwnedSemaphorePermit,
}

impl InFlight {
    pub(crate) fn new(max: u32) -> Self {
        InFlight { permits: Arc::new(Semaphore::new(max as usize)), max }
    }

    /// Takes a place. `None`: as many are open as may be, or the shutdown has begun.
    pub(crate) fn enter(&self) -> Option<Open> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        metrics::gauge!("gate_in_flight").increment(1);
        Some(Open { _permit: permit })
    }

    /// Holds the shutdown until what is open has ended.
    pub(crate) fn hold(&self, shutdown: &Shutdown) {
        let (permits, max, begun) = (Arc::clone(&self.permits), self.max, shutdown.clone());
        shutdown.spawn(async move {
            begun.begun().await;
            // Nobody closes the semaphore.
            permits.acquire_many(max).await.ok();
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("gate_in_flight").decrement(1);
    }
}

/// One message that passed.
pub(crate) fn passed(direction: &'static str) {
    metrics::counter!("gate_messages_total", "direction" => direction).increment(1);
}

/// One message that was refused.
pub(crate) fn refused(reason: &'static str) {
    metrics::counter!("gate_refused_total", "reason" => reason).increment(1);
}

/// The name of a request in logs.
pub(crate) fn name(request_id: [u8; 16]) -> RequestId {
    RequestId::from_u128(u128::from_be_bytes(request_id))
}

/// Decodes a request that comes from the extranet, and checks that it may; with the version it is asked in.
pub(crate) fn decode_crossing(bytes: &[u8]) -> Result<(RequestEnvelope, Spec), Refusal> {
    let (envelope, asked) = RequestEnvelope::decode_asked(bytes)?;
    if asked.may_cross() { Ok((envelope, asked)) } else { Err(Refusal::MayNotCross(asked.name)) }
}

/// Counts and logs a refused request, and makes the answer to it. An encoded request begins with its id; where not even
/// that is there, the answer carries zeros.
pub(crate) fn refuse_request(bytes: &[u8], refusal: &Refusal) -> Vec<u8> {
    let request_id = bytes.first_chunk().copied().unwrap_or_default();
    refused(refusal.reason());
    tracing::warn!(request_id = %name(request_id), %refusal, "request refused");
    let code = match refusal {
        Refusal::TooLong { .. } => Code::TooLarge,
        _ => Code::InvalidRequest,
    };
    answer_problem(request_id, Problem::new(code, refusal.to_string()))
}

/// An encoded answer that says what went wrong.
pub(crate) fn answer_problem(request_id: [u8; 16], problem: Problem) -> Vec<u8> {
    wire::encode(&ReplyEnvelope::problem(request_id, problem))
}

/// What a half may use of the time that a request has left: a little less, so that its own word about a failure comes
/// before the asker has given up.
pub(crate) fn time_here_ms(deadline_ms: u32) -> u64 {
    u64::from(deadline_ms - (deadline_ms / 20).min(50))
}

/// Decodes and checks a reply to `asked`. `None`: it does not belong, or is none.
pub(crate) fn check_reply(bytes: &[u8], request_id: [u8; 16], asked: &Spec) -> Option<ReplyEnvelope> {
    let refusal = match ReplyEnvelope::decode_for(bytes, asked) {
        Ok(reply) if reply.request_id == request_id => return Some(reply),
        Ok(_) => Refusal::WrongReply(asked.name),
        Err(refusal) => refusal,
    };
    refused(refusal.reason());
    tracing::error!(request_id = %name(request_id), operation = asked.name, %refusal, "reply refused");
    None
}

/// The encoded answer to who asked `spec`, from how asking ended here. `away` is said where nobody could be asked.
pub(crate) fn answer(
    asked: Result<Told<Option<ReplyEnvelope>>, CallError>,
    request_id: [u8; 16],
    spec: &Spec,
    away: Problem,
) -> Vec<u8> {
    let error = match asked {
        Ok(Told { what: Some(mut reply), lost }) => {
            passed("outward");
            if let (Outcome::Problem(problem), true) = (&mut reply.outcome, lost)
                && problem.code.is_of_one_try()
            {
                spec.outcome_unknown().clone_into(&mut problem.detail);
            }
            return reply.encode_for(spec);
        }
        Ok(Told { what: None, .. }) => {
            let detail = "The answer was refused at the gate. Ask again; a write is not done twice.";
            return answer_problem(request_id, Problem::new(Code::GateUnavailable, detail));
        }
        Err(error) => error,
    };
    refused("no_answer");
    tracing::warn!(request_id = %name(request_id), operation = spec.name, %error, "no answer");
    let problem = match error {
        CallError::Away => away,
        CallError::Closed => Problem::new(away.code, spec.outcome_unknown()),
        CallError::Busy => Problem::new(Code::Overloaded, "Too much at once. Nothing was done."),
        CallError::TimedOut => Problem::new(Code::DeadlineExceeded, spec.outcome_unknown()),
    };
    answer_problem(request_id, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Request, catalogue::requests};

    #[test]
    fn a_lost_try_is_told_to_who_writes() {
        let request_id = [7; 16];
        let spec = Request::from(requests::SessionEnd {}).spec();
        let detail = |asked| {
            let bytes = answer(asked, request_id, spec, Problem::new(Code::Unavailable, "Away."));
            match ReplyEnvelope::decode_for(&bytes, spec).unwrap().outcome {
                Outcome::Problem(problem) => (problem.code, problem.detail.contains("is not known")),
                other => panic!("{other:?}"),
            }
        };
        let says = |code, lost| {
            let reply = ReplyEnvelope::problem(request_id, Problem::new(code, "Nothing was done."));
            Ok(Told { what: Some(reply), lost })
        };
        assert_eq!(detail(says(Code::Overloaded, false)), (Code::Overloaded, false));
        assert_eq!(detail(says(Code::Overloaded, true)), (Code::Overloaded, true));
        assert_eq!(detail(says(Code::Conflict, true)), (Code::Conflict, false));
        assert_eq!(detail(Err(CallError::Away)), (Code::Unavailable, false));
        assert_eq!(detail(Err(CallError::Closed)), (Code::Unavailable, true));
        assert_eq!(detail(Err(CallError::Busy)), (Code::Overloaded, false));
        assert_eq!(detail(Err(CallError::TimedOut)), (Code::DeadlineExceeded, true));
    }
}
