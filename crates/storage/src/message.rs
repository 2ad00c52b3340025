//! What travels in a lane, and what becomes of it.
use protocol::{Bucket, Channel, CustomerId, OperationId, Problem, Reply, SessionId, envelope::Language};
use serde::{Deserialize, Serialize};

/// An operation before it has a place in its lane.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// Its id: the same on every retry.
    pub operation: OperationId,
    /// Which operation, by the catalogue's code or the center's own.
    pub code: u16,
    /// In which version its body is written.
    pub version: u8,
    /// The body.
    pub body: Vec<u8>,
    /// Who asked, from where, when.
    pub origin: Origin,
}

/// Who asked for an operation, from where and when. Stored with it, so that applying it again gives the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When it was accepted, Unix ms: the only "now" that applying knows.
    pub accepted_ms: u64,
    /// Whose session asked.
    pub customer: Option<CustomerId>,
    /// By which session.
    pub session: Option<SessionId>,
    /// Where it came in.
    pub channel: Channel,
    /// In which language the person is spoken to.
    pub language: Language,
    /// The request's id, for logs.
    pub request_id: [u8; 16],
    /// The trace it belongs to.
    pub trace_id: [u8; 16],
}

/// An operation in its lane.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneMessage {
    /// Its place: later ones are higher. Counts from 1 without a gap where the lane is embedded; in a cluster there are
    /// gaps, in which no message is missing.
    pub sequence: u64,
    /// The operation.
    pub message: NewMessage,
}

/// What applying an operation comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Its result, or the rule by which it is rejected.
    pub result: Result<Reply, Problem>,
    /// The rows it writes, in this order. A rejected operation may write too: a wrong attempt is counted.
    pub puts: Vec<crate::rows::Put>,
    /// The operations it causes on other lanes.
    pub children: Vec<Child>,
    /// Whether a person must look at it: a rejection is then kept among the failed operations.
    pub attention: bool,
}

impl Decision {
    /// Done, with these rows.
    pub fn done(reply: Reply, puts: Vec<crate::rows::Put>) -> Self {
        Decision { result: Ok(reply), puts, children: Vec::new(), attention: false }
    }

    /// Rejected, without effect.
    pub fn rejected(problem: Problem) -> Self {
        Decision { result: Err(problem), puts: Vec::new(), children: Vec::new(), attention: false }
    }

    /// Rejected, without effect; a person must look at it.
    pub fn rejected_for_attention(problem: Problem) -> Self {
        Decision { attention: true, ..Decision::rejected(problem) }
    }
}

/// An operation that another causes elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Where it belongs.
    pub bucket: Bucket,
    /// Which operation.
    pub code: u16,
    /// In which version.
    pub version: u8,
    /// The body.
    pub body: Vec<u8>,
}

/// The digest by which two requests under one id are compared.
pub fn body_digest(code: u16, version: u8, body: &[u8]) -> [u8; 16] {
    let mut hash = blake3::Hasher::new_derive_key("gridesk operation body v1");
    hash.update(&code.to_be_bytes()).update(&[version]).update(body);
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    digest
}

/// How an applied operation ended, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationRow {
    /// Which operation.
    pub id: OperationId,
    /// What it asked for.
    pub code: u16,
    /// The digest of its body.
    pub digest: [u8; 16],
    /// Whose session asked.
    pub customer: Option<CustomerId>,
    /// How it ended.
    pub ended: Ended,
    /// Its place.
    pub position: protocol::Position,
    /// When it was accepted, Unix ms.
    pub accepted_ms: u64,
    /// The operations it caused elsewhere.
    pub children: Vec<OperationId>,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lives only between a row and an answer")]
pub enum Ended {
    /// Done.
    Applied(Reply),
    /// Not done, by rule.
    Rejected(Problem),
    /// Not done, because it can never be: an operator sees it.
    Failed(String),
}
