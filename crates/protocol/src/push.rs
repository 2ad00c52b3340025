//! What may be sent outward without being asked for.
use serde::{Deserialize, Serialize};

use crate::{
    PushId,
    bounds::{OneTimeCode, Opaque, Phone, ShortName, Text},
    envelope::Language,
    session::{STAFF_TTL_S, StaffClaims},
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
    /// Whose staff tokens are not good any more; at most [`STAFF_REVOCATIONS_MAX`]. Not stored: sent anew on every connection
    /// and change, before the settings, so that an edge believes no token before it knows them.
    StaffRevoked(Vec<StaffRevocation>),
}

impl PushBody {
    /// The catalogue's version from which on it may be pushed: a half of the version before is not told.
    pub fn since(&self) -> u8 {
        match self {
            PushBody::OneTimeCode { .. } | PushBody::Settings(_) | PushBody::Instruction { .. } => 1,
            PushBody::StaffRevoked(_) => 2,
        }
    }
}

/// As many names are revoked at once.
pub const STAFF_REVOCATIONS_MAX: usize = 256;

/// A member of the staff whose tokens are not good any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaffRevocation {
    /// Who.
    pub name: ShortName,
    /// Those made up to this time, Unix seconds. Logging in later makes one that is good.
    pub until_s: u64,
}

impl StaffRevocation {
    /// Whether a token is one of those.
    pub fn covers(&self, token: &StaffClaims) -> bool {
        self.name == token.name && token.expires_s <= self.until_s.saturating_add(STAFF_TTL_S)
    }

    /// Whether all tokens that it is about have expired by themselves.
    pub fn is_over(&self, now_s: u64) -> bool {
        self.until_s.saturating_add(STAFF_TTL_S) <= now_s
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bucket, wire};

    #[test]
    fn a_revocation_is_about_one_name_and_about_tokens_made_before() {
        let revoked = StaffRevocation { name: "li".parse().unwrap(), until_s: 1000 };
        let token = |name: &str, made_s: u64| StaffClaims {
            key_id: 1,
            name: name.parse().unwrap(),
            roles: vec![],
            expires_s: made_s + STAFF_TTL_S,
        };
        assert!(revoked.covers(&token("li", 0)) && revoked.covers(&token("li", 1000)));
        assert!(!revoked.covers(&token("li", 1001)) && !revoked.covers(&token("wang", 0)));
        assert!(!revoked.is_over(999 + STAFF_TTL_S) && revoked.is_over(1000 + STAFF_TTL_S));
    }

    #[test]
    fn as_many_revocations_as_there_may_be_fit_into_a_push_and_keep_their_place() {
        let longest = StaffRevocation { name: "x".repeat(32).parse().unwrap(), until_s: u64::MAX };
        let body = PushBody::StaffRevoked(vec![longest; STAFF_REVOCATIONS_MAX]);
        assert_eq!((body.since(), wire::encode(&body)[0]), (2, 3), "after those of version 1");
        let push = Push { id: PushId::mint(Bucket::FIRST, 1), body };
        let bytes = wire::encode(&push);
        assert!(bytes.len() <= MAX_PUSH_LEN, "{}", bytes.len());
        assert_eq!(wire::decode_exact::<Push>(&bytes), Ok(push));
    }
}
