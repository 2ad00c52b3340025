//! How the catalogue's version before this one wrote what has changed since. All else it wrote as it is written now.
//!
//! | operation | version 1 | version 2 |
//! | --- | --- | --- |
//! | `gate_probe` | its reply is the echo alone | … and whether a node of the center is within reach |
//!
//! What is here goes once [`OLDEST_VERSION`](super::OLDEST_VERSION) has passed it.
use serde::{Deserialize, Serialize};

use super::{Reply, Request, Spec, replies};
use crate::{Outcome, ReplyEnvelope, Token, bounds::Opaque, envelope::Refusal, wire};

const GATE_PROBE: u16 = 0x0001;

/// The version that an operation had before.
pub(super) fn version(now: &Spec) -> u8 {
    match now.code {
        GATE_PROBE => 1,
        _ => now.version,
    }
}

/// Decodes an operation's body as it was written before; `None` where that version is none of before.
pub(super) fn decode_request(code: u16, version: u8, body: &[u8]) -> Option<Result<Request, Refusal>> {
    match (code, version) {
        (GATE_PROBE, 1) => Some(wire::decode_exact(body).map(Request::GateProbe).map_err(Refusal::from)),
        _ => None,
    }
}

/// Encodes an answer as it was written before; `None` where it was written as now.
pub(crate) fn encode_reply(reply: &ReplyEnvelope, asked: &Spec) -> Option<Vec<u8>> {
    match (asked.code, asked.version, &reply.outcome) {
        (GATE_PROBE, 1, Outcome::Done(Reply::GateProbe(done))) => Some(wire::encode(&Envelope {
            request_id: reply.request_id,
            outcome: Ended::Done(Done::GateProbe(GateProbe { payload: done.payload.clone() })),
            token: reply.token.clone(),
        })),
        _ => None,
    }
}

/// Decodes an answer as it was written before; `None` where what was asked is answered as now.
pub(crate) fn decode_reply(bytes: &[u8], asked: &Spec) -> Option<Result<ReplyEnvelope, Refusal>> {
    if (asked.code, asked.version) != (GATE_PROBE, 1) {
        return None;
    }
    Some(match wire::decode::<Envelope>(bytes) {
        Ok(Envelope { request_id, outcome: Ended::Done(Done::GateProbe(done)), token }) => {
            let done = Reply::GateProbe(replies::GateProbe { payload: done.payload, reaches_center: None });
            Ok(ReplyEnvelope { request_id, outcome: Outcome::Done(done), token })
        }
        Err(refused) => match wire::decode::<ReplyEnvelope>(bytes) {
            // Any other outcome is written as now; this one in the present version was not asked for.
            Ok(reply) if !matches!(reply.outcome, Outcome::Done(_)) => Ok(reply),
            _ => Err(refused.into()),
        },
    })
}

/// [`ReplyEnvelope`] with an outcome that was written otherwise.
#[derive(Serialize, Deserialize)]
struct Envelope {
    request_id: [u8; 16],
    outcome: Ended,
    token: Token,
}

/// The first of [`Outcome`]'s variants.
#[derive(Serialize, Deserialize)]
enum Ended {
    Done(Done),
}

/// The first of [`Reply`]'s variants.
#[derive(Serialize, Deserialize)]
enum Done {
    GateProbe(GateProbe),
}

#[derive(Serialize, Deserialize)]
struct GateProbe {
    payload: Opaque<4096>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_in_the_version_it_was_asked_in_only() {
        let probe = super::super::requests::GateProbe { payload: Opaque::new(b"ping".to_vec()).unwrap() };
        let now = *Request::from(probe.clone()).spec();
        let before = now.in_catalogue(1);
        let envelope = |outcome| ReplyEnvelope { request_id: [7; 16], outcome, token: Token::default() };
        for reaches_center in [None, Some(false), Some(true)] {
            let done = |reaches_center| {
                let payload = probe.payload.clone();
                envelope(Outcome::Done(Reply::GateProbe(replies::GateProbe { payload, reaches_center })))
            };
            let reply = done(reaches_center);
            let (old, new) = (reply.encode_for(&before), reply.encode_for(&now));
            assert_eq!(ReplyEnvelope::decode_for(&old, &before), Ok(done(None)));
            assert_eq!(ReplyEnvelope::decode_for(&new, &now), Ok(reply));
            assert!(ReplyEnvelope::decode_for(&new, &before).is_err(), "{reaches_center:?}");
            assert!(ReplyEnvelope::decode_for(&old, &now).is_err(), "{reaches_center:?}");
        }
        let problem = envelope(Outcome::Problem(crate::Problem::not_found("gate")));
        for asked in [now, before] {
            assert_eq!(ReplyEnvelope::decode_for(&problem.encode_for(&asked), &asked).as_ref(), Ok(&problem));
        }
    }
}
