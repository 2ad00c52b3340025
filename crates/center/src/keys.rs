//! The center's own keys: they sign sessions and make one-time codes. The same on every node.
use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use protocol::{
    ChallengeId, FileId,
    bounds::{OneTimeCode, ShortName},
    file::{Hash, Receipt, Ticket},
    push::EdgeSettings,
    session::{ACCESS_TTL_S, Claims, STAFF_TTL_S, StaffClaims, StaffRole, TokenUse},
};
use runtime::secret::{ExposeSecret, SecretError, load_or_create_key};

use crate::config::SharedSecret;

/// Signs and checks session tokens.
pub struct SessionKeys {
    signing: SigningKey,
    verifying: Vec<(u8, VerifyingKey)>,
}

/// The key in use. Others may be added to `verifying` while keys are being changed.
const KEY_ID: u8 = 1;

impl SessionKeys {
    /// Loads the key, or makes it at the first start.
    pub fn load_or_create(folder: &Path) -> Result<Self, SecretError> {
        let seed = load_or_create_key(&folder.join("session.key"))?;
        let signing = SigningKey::from_bytes(seed.expose_secret());
        let verifying = vec![(KEY_ID, signing.verifying_key())];
        Ok(SessionKeys { signing, verifying })
    }

    /// The public keys.
    pub fn public(&self) -> &[(u8, VerifyingKey)] {
        &self.verifying
    }

    /// What edges are told, so that they can shed early.
    pub fn edge_settings(&self) -> EdgeSettings {
        EdgeSettings { session_keys: self.verifying.iter().map(|(id, key)| (*id, key.to_bytes())).collect() }
    }

    /// Signs a token of `ttl_s` seconds.
    pub fn sign(&self, usage: TokenUse, claims: Claims, now_s: u64, ttl_s: u64) -> String {
        let claims = Claims { key_id: KEY_ID, usage, expires_s: now_s + ttl_s, ..claims };
        protocol::session::sign(&self.signing, &claims)
    }

    /// Signs a staff token.
    pub fn sign_staff(&self, name: ShortName, roles: Vec<StaffRole>, now_s: u64) -> String {
        let claims = StaffClaims { key_id: KEY_ID, name, roles, expires_s: now_s + STAFF_TTL_S };
        protocol::session::sign_staff(&self.signing, &claims)
    }

    /// How long an access token lives, in seconds.
    pub const ACCESS_TTL_S: u64 = ACCESS_TTL_S;
}

/// Signs the center's words about files, each under a context of its own.
pub struct ReceiptKey(SigningKey);

impl ReceiptKey {
    /// The key of the sessions, which edges know.
    pub fn load_or_create(folder: &Path) -> Result<Self, SecretError> {
        Ok(ReceiptKey(SessionKeys::load_or_create(folder)?.signing))
    }

    /// The receipt of a file with its length and hash, attached at a time.
    pub fn sign(&self, file: (FileId, u64, Hash), at_ms: u64) -> Receipt {
        Receipt::sign((KEY_ID, &self.0), file, at_ms)
    }

    /// A ticket for a file with its length and hash, good until a time.
    pub fn ticket(&self, file: (FileId, u64, Hash), until_ms: u64) -> Ticket {
        Ticket::sign((KEY_ID, &self.0), file, until_ms)
    }
}

/// Makes one-time codes: a keyed hash of the challenge's id, so that no code is ever stored and any node can check it.
#[derive(Clone)]
pub struct CodeKey(SharedSecret);

impl CodeKey {
    /// Loads the key, or makes it at the first start.
    pub fn load_or_create(folder: &Path) -> Result<Self, SecretError> {
        Ok(CodeKey(SharedSecret::new(load_or_create_key(&folder.join("codes.key"))?)))
    }

    /// The challenge's code: six digits.
    pub fn code(&self, challenge: ChallengeId) -> OneTimeCode {
        let hash = blake3::keyed_hash(self.0.bytes(), &challenge.bits().to_be_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        // 2^64 is so much more than a million that the remainder's bias does not matter.
        let digits = format!("{:06}", u64::from_be_bytes(bytes) % 1_000_000);
        digits.parse().unwrap_or_else(|_| unreachable!("six digits are a code"))
    }
}
