//! What a JetStream message holds: a version, then operations, in postcard.
use protocol::{OperationId, wire};
use serde::{Deserialize, Serialize};

use crate::{
    StorageError,
    message::{NewMessage, Origin},
};

/// The most operations of one message.
pub(super) const MOST_OPERATIONS: usize = 512;
/// The version that is written.
const VERSION: u8 = 1;
/// The most bytes that come before the operations: the version and their count.
pub(super) const HEAD_BYTES: usize = 4;

/// An operation as it is written.
#[derive(Serialize)]
struct Written<'a> {
    operation: OperationId,
    code: u16,
    version: u8,
    #[serde(serialize_with = "as_bytes")]
    body: &'a [u8],
    origin: &'a Origin,
}

/// An operation as it is read.
#[derive(Deserialize)]
struct Read<'a> {
    operation: OperationId,
    code: u16,
    version: u8,
    #[serde(borrow)]
    body: &'a [u8],
    origin: Origin,
}

/// As one run of bytes, where a slice would be written byte by byte.
fn as_bytes<S: serde::Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_bytes(bytes)
}

/// Writes one operation.
pub(super) fn encode_one(message: &NewMessage) -> Vec<u8> {
    let NewMessage { operation, code, version, body, origin } = message;
    wire::encode(&Written { operation: *operation, code: *code, version: *version, body, origin })
}

/// Joins operations that [`encode_one`] wrote to a message.
pub(super) fn join(operations: &[Vec<u8>]) -> Vec<u8> {
    let bytes: usize = operations.iter().map(Vec::len).sum();
    let mut message = Vec::with_capacity(HEAD_BYTES + bytes);
    message.extend(wire::encode(&(VERSION, operations.len() as u16)));
    operations.iter().for_each(|operation| message.extend_from_slice(operation));
    message
}

/// Reads a message.
///
/// # Errors
/// [`StorageError::Corrupt`] where it is of another version, empty or not well-formed.
pub(super) fn decode(message: &[u8]) -> Result<Vec<NewMessage>, StorageError> {
    let corrupt = |why: String| StorageError::Corrupt { what: "lane message", why };
    match message.first() {
        Some(&VERSION) => {}
        Some(other) => {
            return Err(corrupt(format!("written in version {other}, this program reads {VERSION}")));
        }
        None => return Err(corrupt("it is empty".to_owned())),
    }
    let (read, rest): (Vec<Read<'_>>, _) =
        postcard::take_from_bytes(&message[1..]).map_err(|e| corrupt(e.to_string()))?;
    if !rest.is_empty() {
        return Err(corrupt(format!("{} bytes follow its operations", rest.len())));
    }
    if read.is_empty() || read.len() > MOST_OPERATIONS {
        return Err(corrupt(format!("it holds {} operations", read.len())));
    }
    let message = |Read { operation, code, version, body, origin }| NewMessage {
        operation,
        code,
        version,
        body: body.to_vec(),
        origin,
    };
    Ok(read.into_iter().map(message).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use protocol::{Bucket, Channel, envelope::Language};

    use super::*;

    /// An operation with a body of some bytes.
    pub(in crate::queue::nats) fn message(n: u64, bytes: usize) -> NewMessage {
        let origin = Origin {
            accepted_ms: u64::MAX - n,
            customer: None,
            session: None,
            channel: Channel::Wechat,
            language: Language::En,
            request_id: [1; 16],
            trace_id: [2; 16],
        };
        let operation = OperationId::mint(Bucket::FIRST, u128::from(n) << 13);
        NewMessage { operation, code: 0x8001, version: 3, body: vec![n as u8; bytes], origin }
    }

    #[test]
    fn what_is_joined_is_read() {
        for count in [1, 2, 127, 128, MOST_OPERATIONS] {
            let messages: Vec<_> = (0..count).map(|n| message(n as u64, n * 3)).collect();
            let written: Vec<_> = messages.iter().map(encode_one).collect();
            let joined = join(&written);
            assert!(joined.len() <= HEAD_BYTES + written.iter().map(Vec::len).sum::<usize>());
            assert_eq!(decode(&joined).unwrap(), messages);
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = join(&[encode_one(&message(1, 9))]);
        let newer = [&[VERSION + 1], &good[1..]].concat();
        let longer = [&good[..], &[0]].concat();
        let why = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert!(why(&newer).contains("version 2"));
        assert!(why(&longer).contains("1 bytes follow"));
        assert!(why(&good[..good.len() - 1]).contains("lane message"));
        assert!(why(&join(&[])).contains("0 operations"));
        assert!(why(&[]).contains("empty"));
        // A length that the message does not hold allocates nothing.
        assert!(decode(&[VERSION, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }
}
