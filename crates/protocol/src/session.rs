//! Session tokens: made by the center with Ed25519, checked by the edge only to shed early, and again by the center.
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{CustomerId, SessionId, bounds::ShortName, wire};

/// How long an access token lives, in seconds.
pub const ACCESS_TTL_S: u64 = 15 * 60;
/// How long a refresh token lives, in seconds.
pub const REFRESH_TTL_S: u64 = 30 * 24 * 3600;
/// No token is longer than this, in bytes.
pub const MAX_TOKEN_LEN: usize = 512;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenUse {
    /// Asking for things.
    Access,
    /// Getting the next access token.
    Refresh,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claims {
    /// Which signing key, so that keys can be changed.
    pub key_id: u8,
    /// What it is good for.
    pub usage: TokenUse,
    /// The log-in it belongs to.
    pub session: SessionId,
    /// Who logged in.
    pub customer: CustomerId,
    /// Counts refreshes: an old refresh token shows that it was stolen or copied.
    pub generation: u32,
    /// Until when, Unix seconds.
    pub expires_s: u64,
}

/// Why a token was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Not a token at all.
    #[error("not a session token")]
    Malformed,
    /// Signed by a key we do not know, or not by it.
    #[error("the session token's signature is wrong")]
    Signature,
    /// Its time has passed.
    #[error("the session token has expired")]
    Expired,
}

const PREFIX: &str = "gs1.";
const SIGNATURE_LEN: usize = 64;
const CONTEXT: &[u8] = b"gridesk session token v1\0";

/// Signs `claims`.
pub fn sign(key: &SigningKey, claims: &Claims) -> String {
    signed(key, (PREFIX, CONTEXT), claims)
}

/// Checks a token's signature with `keys` (by key id) and its time against `now_s`.
pub fn verify(keys: &[(u8, VerifyingKey)], token: &str, now_s: u64) -> Result<Claims, SessionError> {
    let claims: Claims = verified(keys, token, (PREFIX, CONTEXT), |claims: &Claims| claims.key_id)?;
    if claims.expires_s <= now_s { Err(SessionError::Expired) } else { Ok(claims) }
}

/// How long a staff token lives, in seconds. It is not renewed: one logs in anew.
pub const STAFF_TTL_S: u64 = 8 * 3600;
const STAFF_PREFIX: &str = "gst1.";
const STAFF_CONTEXT: &[u8] = b"gridesk staff token v1\0";

/// What a member of the staff may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaffRole {
    /// Looks at customers' files at the edge, and lets them pass or refuses them.
    Auditor,
}

/// What a staff token says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StaffClaims {
    /// Which signing key.
    pub key_id: u8,
    /// Who.
    pub name: ShortName,
    /// As what.
    pub roles: Vec<StaffRole>,
    /// Until when, Unix seconds.
    pub expires_s: u64,
}

/// Signs a staff token. It is none of a customer's, and no customer's is one.
pub fn sign_staff(key: &SigningKey, claims: &StaffClaims) -> String {
    signed(key, (STAFF_PREFIX, STAFF_CONTEXT), claims)
}

/// Checks a staff token's signature with `keys` (by key id) and its time against `now_s`.
pub fn verify_staff(
    keys: &[(u8, VerifyingKey)],
    token: &str,
    now_s: u64,
) -> Result<StaffClaims, SessionError> {
    let claims: StaffClaims =
        verified(keys, token, (STAFF_PREFIX, STAFF_CONTEXT), |c: &StaffClaims| c.key_id)?;
    if claims.expires_s <= now_s { Err(SessionError::Expired) } else { Ok(claims) }
}

fn signed<T: Serialize>(key: &SigningKey, (prefix, context): (&str, &[u8]), claims: &T) -> String {
    let mut bytes = wire::encode(claims);
    let signature = key.sign(&[context, &bytes].concat());
    bytes.extend_from_slice(&signature.to_bytes());
    format!("{prefix}{}", BASE64URL_NOPAD.encode(&bytes))
}

fn verified<T: Serialize + DeserializeOwned>(
    keys: &[(u8, VerifyingKey)],
    token: &str,
    (prefix, context): (&str, &[u8]),
    key_id: impl FnOnce(&T) -> u8,
) -> Result<T, SessionError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(SessionError::Malformed);
    }
    let encoded = token.strip_prefix(prefix).ok_or(SessionError::Malformed)?;
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| SessionError::Malformed)?;
    let (body, signature) = bytes.split_last_chunk::<SIGNATURE_LEN>().ok_or(SessionError::Malformed)?;
    let claims: T = wire::decode_exact(body).map_err(|_| SessionError::Malformed)?;
    let key_id = key_id(&claims);
    let (_, key) = keys.iter().find(|(id, _)| *id == key_id).ok_or(SessionError::Signature)?;
    key.verify(&[context, body].concat(), &Signature::from_bytes(signature))
        .map_err(|_| SessionError::Signature)?;
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bucket;

    #[test]
    fn a_token_is_believed_only_whole_genuine_and_in_time() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let bucket = Bucket::of(b"c");
        let claims = Claims {
            key_id: 1,
            usage: TokenUse::Access,
            session: SessionId::mint(bucket, 1),
            customer: CustomerId::mint(bucket, 2),
            generation: 1,
            expires_s: 1000,
        };
        let token = sign(&key, &claims);
        let keys = [(1, key.verifying_key())];
        assert_eq!(verify(&keys, &token, 999), Ok(claims.clone()));
        assert_eq!(verify(&keys, &token, 1000), Err(SessionError::Expired));
        assert_eq!(verify(&[(2, key.verifying_key())], &token, 1), Err(SessionError::Signature));
        let other = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(verify(&[(1, other.verifying_key())], &token, 1), Err(SessionError::Signature));
        for i in PREFIX.len()..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(forged == token || verify(&keys, &forged, 1).is_err(), "changed at {i}");
        }
        assert_eq!(verify(&keys, "", 1), Err(SessionError::Malformed));
        assert!(verify_staff(&keys, &token, 1).is_err(), "a customer is no auditor");
    }

    #[test]
    fn a_staff_token_is_no_customers() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let name = "auditor".parse().unwrap();
        let claims = StaffClaims { key_id: 1, name, roles: vec![StaffRole::Auditor], expires_s: 1000 };
        let token = sign_staff(&key, &claims);
        let keys = [(1, key.verifying_key())];
        assert_eq!(verify_staff(&keys, &token, 999), Ok(claims));
        assert_eq!(verify_staff(&keys, &token, 1000), Err(SessionError::Expired));
        assert!(verify(&keys, &token, 1).is_err());
        let renamed = token.replacen(STAFF_PREFIX, PREFIX, 1);
        assert!(verify(&keys, &renamed, 1).is_err(), "under the other's name neither");
    }
}
