//! Sealed frames for the multiplexed stream, and which of them may go which way.
use protocol::frame::{FrameKind, Half, Opener, Sealer};
use runtime::mux::{CodecError, Decode, Encode, Kind, Packet};

/// A frame that may not go this way: the link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} may not go this way on the link")]
pub(crate) struct WrongWay(FrameKind);

/// Whether `half` may send `kind`: questions go inward, answers and pushes outward. A hello comes once, before.
fn may_send(half: Half, kind: FrameKind) -> bool {
    match half {
        Half::Outer => matches!(kind, FrameKind::Request | FrameKind::PushAck),
        Half::Inner => matches!(kind, FrameKind::Reply | FrameKind::Push),
    }
}

/// Seals what this half sends.
pub(crate) struct LinkEncoder {
    half: Half,
    sealer: Sealer,
}

impl LinkEncoder {
    pub(crate) fn new(half: Half, sealer: Sealer) -> Self {
        LinkEncoder { half, sealer }
    }
}

impl Encode for LinkEncoder {
    fn encode(&mut self, packet: &Packet, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let kind = match packet.kind {
            Kind::Request => FrameKind::Request,
            Kind::Reply => FrameKind::Reply,
            Kind::Push => FrameKind::Push,
            Kind::PushAck => FrameKind::PushAck,
        };
        if !may_send(self.half, kind) {
            return Err(WrongWay(kind).into());
        }
        Ok(self.sealer.seal(kind, packet.id, &packet.payload, out)?)
    }
}

/// Opens what the other half sends.
pub(crate) struct LinkDecoder {
    half: Half,
    opener: Opener,
}

impl LinkDecoder {
    pub(crate) fn new(half: Half, opener: Opener) -> Self {
        LinkDecoder { half, opener }
    }
}

impl Decode for LinkDecoder {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<(Packet, usize)>, CodecError> {
        let Some((frame, taken)) = self.opener.open(bytes)? else { return Ok(None) };
        let theirs = match self.half {
            Half::Outer => Half::Inner,
            Half::Inner => Half::Outer,
        };
        let kind = match frame.kind {
            kind if !may_send(theirs, kind) => return Err(WrongWay(kind).into()),
            FrameKind::Request => Kind::Request,
            FrameKind::Reply => Kind::Reply,
            FrameKind::Push => Kind::Push,
            FrameKind::PushAck => Kind::PushAck,
            // A hello comes once, before; files have a track of their own.
            kind => return Err(WrongWay(kind).into()),
        };
        Ok(Some((Packet { kind, id: frame.correlation, payload: frame.payload }, taken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::{Direction, LinkKey, Track};

    fn key(direction: Direction) -> LinkKey {
        LinkKey::for_session(&[1; 32], direction, &[2; 32], &[3; 32])
    }

    #[test]
    fn only_questions_and_acknowledgements_go_inward() {
        for kind in [Kind::Request, Kind::Reply, Kind::Push, Kind::PushAck] {
            let inward = matches!(kind, Kind::Request | Kind::PushAck);
            for (half, direction, allowed) in
                [(Half::Outer, Direction::Inward, inward), (Half::Inner, Direction::Outward, !inward)]
            {
                let sealer = Sealer::new(key(direction), Track::Messages);
                let packet = Packet { kind, id: 7, payload: b"x".to_vec() };
                let sent = LinkEncoder::new(half, sealer).encode(&packet, &mut Vec::new());
                assert_eq!(sent.is_ok(), allowed, "{half:?} {kind:?}");
            }
        }
    }

    #[test]
    fn what_the_other_half_may_not_send_closes_the_link() {
        for (kind, allowed) in [
            (FrameKind::Hello, false),
            (FrameKind::Request, true),
            (FrameKind::Reply, false),
            (FrameKind::Push, false),
            (FrameKind::PushAck, true),
            (FrameKind::FileOffer, false),
            (FrameKind::FileWanted, false),
            (FrameKind::FileChunk, false),
            (FrameKind::FileEnded, false),
            (FrameKind::FileFetch, false),
        ] {
            let mut bytes = Vec::new();
            Sealer::new(key(Direction::Inward), Track::Messages).seal(kind, 7, b"x", &mut bytes).unwrap();
            let opener = Opener::new(key(Direction::Inward), Track::Messages);
            let got = LinkDecoder::new(Half::Inner, opener).decode(&bytes);
            assert_eq!(got.is_ok(), allowed, "{kind:?}");
        }
    }
}
