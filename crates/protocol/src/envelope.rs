//! What wraps an operation and its answer on the way in and out.
use serde::{Deserialize, Serialize};

use crate::{
    OperationId, Problem, Reply, Request, Spec, Token,
    bounds::{IdempotencyKey, Opaque, ShortName, Text},
    catalogue::older,
    wire::{self, WireError},
};

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The customer portal on the web.
    Portal,
    /// The mobile app.
    App,
    /// The WeChat mini-program.
    Wechat,
    /// The Alipay mini-program.
    Alipay,
    /// The hotline, through an agent or its menu.
    Hotline,
    /// A business hall's counter or kiosk.
    Hall,
    /// A partner's own system.
    Partner,
    /// The platform itself: callbacks, delivery results, health.
    System,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Channel; 8] = [
        Channel::Portal,
        Channel::App,
        Channel::Wechat,
        Channel::Alipay,
        Channel::Hotline,
        Channel::Hall,
        Channel::Partner,
        Channel::System,
    ];

    /// Its name, as in the `Gridesk-Channel` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Portal => "portal",
            Channel::App => "app",
            Channel::Wechat => "wechat",
            Channel::Alipay => "alipay",
            Channel::Hotline => "hotline",
            Channel::Hall => "hall",
            Channel::Partner => "partner",
            Channel::System => "system",
        }
    }
}

/// The language a person is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// 简体中文
    #[default]
    Zh,
    /// English
    En,
}

/// An operation on its way in. The operation's body is decoded against the catalogue at every hop.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestEnvelope {
    /// What goes along with it.
    pub head: RequestHead,
    /// What is asked.
    pub request: Request,
}

/// What goes along with every operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// 128 random bits, the same from the customer's answer to the last log line.
    pub request_id: [u8; 16],
    /// W3C trace context: trace id and the caller's span id.
    pub trace_id: [u8; 16],
    /// The caller's span.
    pub span_id: [u8; 8],
    /// Time left when it was sent, in ms. Clocks of zones are not compared, only what is left is passed on.
    pub deadline_ms: u32,
    /// Where it came in.
    pub channel: Channel,
    /// Which client program.
    pub client: ShortName,
    /// In which language to speak to the person.
    pub language: Language,
    /// The access token, if any.
    pub session: Option<Text<{ crate::session::MAX_TOKEN_LEN }>>,
    /// The idempotency key of a write.
    pub idempotency_key: Option<IdempotencyKey>,
    /// How long a write may wait for its result, in ms; 0: not at all.
    pub wait_ms: u32,
    /// What the reader has seen and insists on.
    pub token: Token,
    /// Whether a read that cannot be as fresh as the token asks is refused (`true`) or answered with what is under way.
    pub strict: bool,
}

/// The longest deadline a request may carry, in ms.
pub const MAX_DEADLINE_MS: u32 = 60_000;
/// The hard maximum of an encoded request, in bytes.
pub const MAX_REQUEST_LEN: usize = 32 * 1024;
/// The hard maximum of an encoded reply, in bytes.
pub const MAX_REPLY_LEN: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct RawRequest {
    head: RequestHead,
    operation: u16,
    version: u8,
    body: Opaque<MAX_REQUEST_LEN>,
}

/// Why a message may not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than its maximum.
    #[error("{len} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Not a well-formed message, or a value out of its bounds.
    #[error("malformed message")]
    Malformed,
    /// Not written in the one canonical form.
    #[error("message not in canonical form")]
    NotCanonical,
    /// No such operation in the catalogue.
    #[error("unknown operation {0:#06x}")]
    UnknownOperation(u16),
    /// A version of the operation that this program does not read.
    #[error("operation {0} has no version {1} here")]
    UnknownVersion(&'static str, u8),
    /// An operation that does not come from the extranet.
    #[error("operation {0} does not cross the gate")]
    MayNotCross(&'static str),
    /// A reply of another kind than the operation's.
    #[error("reply does not belong to operation {0}")]
    WrongReply(&'static str),
}

impl Refusal {
    /// A short name for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::TooLong { .. } => "too_long",
            Refusal::Malformed => "malformed",
            Refusal::NotCanonical => "not_canonical",
            Refusal::UnknownOperation(_) => "unknown_operation",
            Refusal::UnknownVersion(..) => "unknown_version",
            Refusal::MayNotCross(_) => "may_not_cross",
            Refusal::WrongReply(_) => "wrong_reply",
        }
    }
}

impl From<WireError> for Refusal {
    fn from(e: WireError) -> Self {
        match e {
            WireError::Malformed => Refusal::Malformed,
            WireError::NotCanonical => Refusal::NotCanonical,
        }
    }
}

impl RequestEnvelope {
    /// Encodes it in its one canonical form.
    ///
    /// Every operation of the catalogue fits: its values are bounded, and together they are far below the maximum.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(self.request.spec())
    }

    /// Encodes it in the canonical form of `spec`: its operation in the present version, or in the one before.
    pub fn encode_as(&self, spec: &Spec) -> Vec<u8> {
        let (operation, version) = (spec.code, spec.version);
        let Ok(body) = Opaque::new(self.request.encode()) else { return Vec::new() };
        wire::encode(&RawRequest { head: self.head.clone(), operation, version, body })
    }

    /// Decodes and checks everything: length, head, that the operation is in the catalogue, its body, its bounds, the
    /// canonical form.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::decode_asked(bytes).map(|(envelope, _)| envelope)
    }

    /// The same, with the operation in the version it was asked in: so it is to be [answered](ReplyEnvelope::encode_for).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn decode_asked(bytes: &[u8]) -> Result<(Self, Spec), Refusal> {
        if bytes.len() > MAX_REQUEST_LEN {
            return Err(Refusal::TooLong { len: bytes.len(), max: MAX_REQUEST_LEN });
        }
        let raw: RawRequest = wire::decode_exact(bytes)?;
        if raw.head.deadline_ms > MAX_DEADLINE_MS || raw.head.wait_ms > MAX_DEADLINE_MS {
            return Err(Refusal::Malformed);
        }
        let request = Request::decode(raw.operation, raw.version, &raw.body)?;
        let asked = Spec { version: raw.version, ..*request.spec() };
        Ok((RequestEnvelope { head: raw.head, request }, asked))
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives only as long as it takes to encode it; a box would be one more allocation"
)]
pub enum Outcome {
    /// It was answered.
    Done(Reply),
    /// A write was taken durably; its result is to be had under this id.
    Accepted(OperationId),
    /// Data as fresh as asked for is not visible yet; these operations are under way. (Only to reads not `strict`.)
    Pending(Vec<OperationId>),
    /// It was not done.
    Problem(Problem),
}

/// An answer on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplyEnvelope {
    /// The request's id.
    pub request_id: [u8; 16],
    /// How it ended.
    pub outcome: Outcome,
    /// How far its reader has seen now.
    pub token: Token,
}

impl ReplyEnvelope {
    /// An answer that says what went wrong.
    pub fn problem(request_id: [u8; 16], problem: Problem) -> Self {
        ReplyEnvelope { request_id, outcome: Outcome::Problem(problem), token: Token::default() }
    }

    /// Encodes it as an answer to `asked`, in its version.
    pub fn encode_for(&self, asked: &Spec) -> Vec<u8> {
        older::encode_reply(self, asked).unwrap_or_else(|| wire::encode(self))
    }

    /// Decodes an answer and checks that it is one `asked` can have, in its version.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn decode_for(bytes: &[u8], asked: &Spec) -> Result<Self, Refusal> {
        if bytes.len() > MAX_REPLY_LEN {
            return Err(Refusal::TooLong { len: bytes.len(), max: MAX_REPLY_LEN });
        }
        let reply = match older::decode_reply(bytes, asked) {
            Some(decoded) => decoded?,
            None => wire::decode(bytes)?,
        };
        match &reply.outcome {
            Outcome::Done(done) if done.operation() != asked.code => Err(Refusal::WrongReply(asked.name)),
            _ => Ok(reply),
        }
    }
}
