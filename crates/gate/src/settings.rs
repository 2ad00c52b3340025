//! The last settings for the edges: kept in memory, told to everybody who connects and whenever they change.
use ed25519_dalek::VerifyingKey;
use protocol::{
    envelope::Refusal,
    push::{MAX_PUSH_LEN, Push, PushAck, PushBody},
    wire,
};
use runtime::mux::Peer;
use tokio::sync::watch;

use crate::PUSH_WITHIN;

/// At most this many keys of session tokens are in force at once.
const SESSION_KEYS_MAX: usize = 8;

/// Decodes and checks a push, and encodes it anew.
pub(crate) fn check_push(bytes: &[u8]) -> Result<(Push, Vec<u8>), Refusal> {
    if bytes.len() > MAX_PUSH_LEN {
        return Err(Refusal::TooLong { len: bytes.len(), max: MAX_PUSH_LEN });
    }
    let push: Push = wire::decode_exact(bytes)?;
    if matches!(&push.body, PushBody::Settings(settings) if settings.session_keys.len() > SESSION_KEYS_MAX) {
        return Err(Refusal::Malformed);
    }
    let bytes = wire::encode(&push);
    Ok((push, bytes))
}

/// Whether `answer` acknowledges `push`.
pub(crate) fn is_ack(answer: &[u8], push: &Push) -> bool {
    wire::decode_exact::<PushAck>(answer).is_ok_and(|ack| ack.id == push.id)
}

/// The encoded acknowledgement of a push.
pub(crate) fn ack(push: &Push) -> Vec<u8> {
    wire::encode(&PushAck { id: push.id })
}

/// The last settings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Settings {
    last: watch::Sender<Option<(Push, Vec<u8>)>>,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Settings { last: watch::Sender::new(None) }
    }

    pub(crate) fn set(&self, push: Push, bytes: Vec<u8>) {
        self.last.send_replace(Some((push, bytes)));
    }

    /// The public keys by which the center signs, as far as they are known.
    pub(crate) fn keys(&self) -> Vec<(u8, VerifyingKey)> {
        let key = |(id, bytes): &(u8, [u8; 32])| VerifyingKey::from_bytes(bytes).ok().map(|key| (*id, key));
        match &*self.last.borrow() {
            Some((Push { body: PushBody::Settings(settings), .. }, _)) => {
                settings.session_keys.iter().filter_map(key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Tells `peer` the last settings, and every later ones, until its stream ends.
    pub(crate) fn tell(&self, peer: Peer) {
        let mut last = self.last.subscribe();
        tokio::spawn(async move {
            while !peer.is_closed() {
                let now = last.borrow_and_update().clone();
                if let Some((push, bytes)) = now {
                    match peer.push(bytes, PUSH_WITHIN).await {
                        Ok(answer) if is_ack(&answer, &push) => {}
                        // Not taken: again, unless newer ones have come.
                        _ => {
                            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                            continue;
                        }
                    }
                }
                tokio::select! {
                    changed = last.changed() => if changed.is_err() { return },
                    () = peer.closed() => return,
                }
            }
        });
    }
}
