//! The contract between the zones.
//!
//! Both halves of the gate, the edge and the center share these types and nothing else. Every value that can come
//! from outside validates itself while it is decoded, so a decoded [`envelope::RequestEnvelope`] is well formed by
//! construction; whether its sender may do what it asks is the center's question, not this crate's.
pub mod bounds;
pub mod catalogue;
pub mod envelope;
pub mod file;
pub mod frame;
pub mod ids;
pub mod payment;
pub mod position;
pub mod problem;
pub mod push;
pub mod routing;
pub mod session;
pub mod wire;

pub use catalogue::{Kind, Reply, Request, Spec};
pub use envelope::{Channel, Outcome, ReplyEnvelope, RequestEnvelope};
pub use ids::{
    AccountId, BillId, Bucket, ChallengeId, CustomerId, ExportId, FileId, MandateId, OperationId, OutageId,
    PaymentId, PushId, RefundId, ServiceRequestId, SessionId,
};
pub use position::{LaneId, Position, ShardId, Token};
pub use problem::{Code, Problem};
