//! What may be sent outward without being asked for.
use serde::{Deserialize, Serialize};

use crate::{
    PushId,
    bounds::{OneTimeCode, Opaque, Phone, ShortName, Text},
    envelope::Language,
};

/// Something for the extranet. Delivery is at least once: its receiver dedups by `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The same on every try.
    pub id: PushId,
    /// What it is.
    pub body: PushBody,
}

/// The outward allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushBody {
    /// A one-time code for a phone, to be delivered as a short message.
    OneTimeCode {
        /// To whom.
        phone: Phone,
        /// The code.
        code: OneTimeCode,
        /// What it is for.
        purpose: CodePurpose,
        /// For how long it is good, in seconds.
        expires_in_s: u32,
        /// In which language.
        language: Language,
    },
    /// What the edge needs to shed early. Not stored: sent anew on every connection and change.
    Settings(EdgeSettings),
    /// An instruction for a payment provider, exactly as it was signed; see [`crate::payment::Instruction`].
    Instruction {
        /// Which provider.
        provider: ShortName,
        /// The signed time, Unix seconds.
        timestamp_s: u64,
        /// The signature header.
        signature: Text<128>,
        /// The body, byte by byte.
        body: Opaque<4096>,
    },
}

/// Why a one-time code is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodePurpose {
    /// To log in.
    LogIn,
    /// To bind an account.
    BindAccount,
    /// To unbind an account.
    UnbindAccount,
    /// To make the phone one's own here.
    ChangePhone,
    /// To delete one's data.
    DeletePerson,
}

/// What the center tells every edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSettings {
    /// The public keys of session tokens, by key id; at most 8.
    pub session_keys: Vec<(u8, [u8; 32])>,
}

/// The edge's answer to a push: it is on its disk (or was already).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAck {
    /// Which push.
    pub id: PushId,
}

/// The hard maximum of an encoded push, in bytes.
pub const MAX_PUSH_LEN: usize = 16 * 1024;
