//! The last settings for the edges: kept in memory, told to everybody who connects and whenever they change.
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use protocol::{
    envelope::Refusal,
    push::{MAX_PUSH_LEN, Push, PushAck, PushBody, STAFF_REVOCATIONS_MAX},
    wire,
};
use runtime::mux::{CallError, Peer};
use tokio::sync::watch;

use crate::PUSH_WITHIN;

/// At most this many keys of session tokens are in force at once.
const SESSION_KEYS_MAX: usize = 8;
/// The pause before who did not take something is told it again; and the longest, where all that matters was taken.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_LAST: Duration = Duration::from_secs(30);

/// Decodes and checks a push, and encodes it anew.
pub(crate) fn check_push(bytes: &[u8]) -> Result<(Push, Vec<u8>), Refusal> {
    if bytes.len() > MAX_PUSH_LEN {
        return Err(Refusal::TooLong { len: bytes.len(), max: MAX_PUSH_LEN });
    }
    let push: Push = wire::decode_exact(bytes)?;
    let has_too_many = match &push.body {
        PushBody::Settings(settings) => settings.session_keys.len() > SESSION_KEYS_MAX,
        PushBody::StaffRevoked(revoked) => revoked.len() > STAFF_REVOCATIONS_MAX,
        PushBody::OneTimeCode { .. } | PushBody::Instruction { .. } => false,
    };
    if has_too_many {
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

/// The last settings, and the last revocations of staff tokens.
#[derive(Clone, Default)]
struct Last {
    revoked: Option<(Push, Vec<u8>)>,
    settings: Option<(Push, Vec<u8>)>,
}

/// The last settings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Settings {
    last: watch::Sender<Last>,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Settings { last: watch::Sender::new(Last::default()) }
    }

    /// Keeps a push that is not for one edge's disk but for whoever is there; `false` where it is none.
    pub(crate) fn keep(&self, push: Push, bytes: Vec<u8>) -> bool {
        match push.body {
            PushBody::Settings(_) => self.last.send_modify(|last| last.settings = Some((push, bytes))),
            PushBody::StaffRevoked(_) => self.last.send_modify(|last| last.revoked = Some((push, bytes))),
            PushBody::OneTimeCode { .. } | PushBody::Instruction { .. } => return false,
        }
        true
    }

    /// The public keys by which the center signs, as far as they are known.
    pub(crate) fn keys(&self) -> Vec<(u8, VerifyingKey)> {
        let key = |(id, bytes): &(u8, [u8; 32])| VerifyingKey::from_bytes(bytes).ok().map(|key| (*id, key));
        match &self.last.borrow().settings {
            Some((Push { body: PushBody::Settings(settings), .. }, _)) => {
                settings.session_keys.iter().filter_map(key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Tells `peer`, which speaks version `catalogue`, the last settings, and every later ones, until its stream ends.
    /// Revocations come before the keys, so that no token is believed before they are known; while the peer has no time for
    /// them, its keys wait. One that does not take them in time, since it knows of no such thing, gets its keys all the same,
    /// and is asked again ever more rarely.
    pub(crate) fn tell(&self, peer: Peer, catalogue: u8) {
        let mut last = self.last.subscribe();
        tokio::spawn(async move {
            let (mut revoked, mut settings, mut pause) = (None, None, AGAIN);
            while !peer.is_closed() {
                let now = last.borrow_and_update().clone();
                let due = now.revoked.filter(|(push, _)| push.body.since() <= catalogue);
                let knows_revoked = told(&peer, due, &mut revoked).await;
                let knows_settings = match knows_revoked {
                    Err(CallError::Busy) => Err(CallError::Busy),
                    _ => told(&peer, now.settings, &mut settings).await,
                };
                let again = match (knows_settings, knows_revoked) {
                    (Ok(true), Ok(true)) => None,
                    (Ok(false) | Err(_), _) => Some(AGAIN),
                    (Ok(true), Ok(false) | Err(_)) => {
                        pause = (pause * 2).min(AGAIN_AT_LAST);
                        Some(pause)
                    }
                };
                tokio::select! {
                    changed = last.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(again.unwrap_or(AGAIN)), if again.is_some() => {}
                    () = peer.closed() => return,
                }
            }
        });
    }
}

/// Pushes what is due, unless it is what the peer was told last; whether it knows it now.
async fn told(
    peer: &Peer,
    due: Option<(Push, Vec<u8>)>,
    known: &mut Option<Vec<u8>>,
) -> Result<bool, CallError> {
    let Some((push, bytes)) = due else { return Ok(true) };
    if known.as_ref() == Some(&bytes) {
        return Ok(true);
    }
    let is_taken = is_ack(&peer.push(bytes.clone(), PUSH_WITHIN).await?, &push);
    if is_taken {
        *known = Some(bytes);
    }
    Ok(is_taken)
}
