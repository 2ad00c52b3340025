//! The one binary encoding of everything that crosses: postcard, canonical and complete.
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a value of the expected shape, or out of its bounds.
    #[error("not a well-formed value")]
    Malformed,
    /// A well-formed value followed by something else, or written in another than its one shortest form.
    #[error("not in canonical form")]
    NotCanonical,
}

/// Encodes a value. Our own types always encode.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // postcard fails only where a type's own Serialize fails (sequences of unknown length, maps): ours have neither.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// Decodes a value that must fill `bytes` to the last one and be written in its one canonical form.
pub fn decode_exact<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| WireError::Malformed)?;
    if !rest.is_empty() || encode(&value) != bytes {
        return Err(WireError::NotCanonical);
    }
    Ok(value)
}

/// Decodes a value from a peer of the same zone, whose encoding need not be proven canonical.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes::<T>(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(WireError::NotCanonical),
        Err(_) => Err(WireError::Malformed),
    }
}
