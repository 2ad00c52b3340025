//! The link between the halves, and how two halves get to know each other on it.
//!
//! This is the only module that knows what the link is: a Unix socket at a path that both network namespaces can see.
//! A serial line or a device between two hosts takes its place by giving other [`Reader`] and [`Writer`] types here.
use std::{io, path::Path, time::Duration};

use protocol::frame::{
    Direction, FrameError, FrameKind, HEADER_LEN, Half, Hello, HelloError, LinkKey, MAC_LEN, Opener, Sealer,
    Track,
};
use runtime::{
    mux::{Limits, Peer, Service},
    peers::check_uid,
    secret::{ExposeSecret, SecretKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix},
};

use crate::codec::{LinkDecoder, LinkEncoder};

/// Reads from the link.
pub type Reader = unix::OwnedReadHalf;
/// Writes to the link.
pub type Writer = unix::OwnedWriteHalf;

/// Two halves that have not understood each other in this time part again.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// No hello is longer.
const HELLO_MAX: usize = 512;

/// Why two halves did not get together.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Reading or writing failed, or the peer may not be here.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No frame of somebody who knows the secret.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// They do not speak the same.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The first frame was none, or too long for one.
    #[error("the first frame is no hello")]
    NoHello,
    /// Too slow.
    #[error("no hello in time")]
    TimedOut,
}

/// Waits for the other half to come to the link.
pub(crate) async fn accept(listener: &UnixListener, uids: &[u32]) -> io::Result<(Reader, Writer)> {
    let (stream, _) = listener.accept().await?;
    check_uid(&stream, uids)?;
    Ok(stream.into_split())
}

/// Goes to the link.
pub(crate) async fn connect(path: &Path, uids: &[u32]) -> io::Result<(Reader, Writer)> {
    let stream = UnixStream::connect(path).await?;
    check_uid(&stream, uids)?;
    Ok(stream.into_split())
}

/// What this half brings to a link.
pub(crate) struct Side {
    pub(crate) half: Half,
    pub(crate) secret: SecretKey,
    pub(crate) limits: Limits,
}

impl Side {
    fn directions(&self) -> (Direction, Direction) {
        match self.half {
            Half::Outer => (Direction::Inward, Direction::Outward),
            Half::Inner => (Direction::Outward, Direction::Inward),
        }
    }

    /// Exchanges hellos on the message track and starts working. Gives the catalogue's version that was settled on, too.
    pub(crate) async fn start<S: Service>(
        &self,
        link: (Reader, Writer),
        service: S,
    ) -> Result<(Peer, u8), LinkError> {
        let greeted = self.greet(link, Track::Messages).await?;
        let Greeted { reader, writer, opener, sealer, catalogue } = greeted;
        let codec = (LinkDecoder::new(self.half, opener), LinkEncoder::new(self.half, sealer));
        let (peer, task) = Peer::start(reader, writer, codec, self.limits, service);
        tokio::spawn(async move {
            if let Ok(Err(error)) = task.await {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                metrics::counter!("gate_refused_total", "reason" => "frame").increment(1);
                tracing::warn!(%error, cause, "link closed");
            }
        });
        Ok((peer, catalogue))
    }

    /// Exchanges hellos on `track`; what follows is sealed with keys that are fresh for this connection.
    pub(crate) async fn greet(&self, link: (Reader, Writer), track: Track) -> Result<Greeted, LinkError> {
        let greeting = tokio::time::timeout(HELLO_WITHIN, self.exchange_hellos(link, track));
        greeting.await.map_err(|_| LinkError::TimedOut)?
    }

    async fn exchange_hellos(
        &self,
        (mut reader, mut writer): (Reader, Writer),
        track: Track,
    ) -> Result<Greeted, LinkError> {
        let secret = self.secret.expose_secret();
        let (out, back) = self.directions();
        let mut sealer = Sealer::new(LinkKey::for_hello(secret, out), track);
        let mut opener = Opener::new(LinkKey::for_hello(secret, back), track);

        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let ours = Hello::new(self.half, track, nonce);
        let mut bytes = Vec::new();
        sealer.seal(FrameKind::Hello, 0, &ours.encode(), &mut bytes)?;
        writer.write_all(&bytes).await?;

        let payload = read_hello(&mut reader, &mut opener).await?;
        let (theirs, catalogue) = ours.settle(&payload)?;
        let (outer, inner) = match self.half {
            Half::Outer => (ours.nonce, theirs.nonce),
            Half::Inner => (theirs.nonce, ours.nonce),
        };
        sealer.rekey(LinkKey::for_session(secret, out, &outer, &inner));
        opener.rekey(LinkKey::for_session(secret, back, &outer, &inner));
        tracing::info!(catalogue, ?track, "link stands");
        Ok(Greeted { reader, writer, opener, sealer, catalogue })
    }
}

/// A connection whose two halves have understood each other.
pub(crate) struct Greeted {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) opener: Opener,
    pub(crate) sealer: Sealer,
    /// The catalogue's version that both sides read.
    pub(crate) catalogue: u8,
}

/// Reads exactly one frame, so that nothing of what follows under the session's keys is taken with it.
async fn read_hello(reader: &mut Reader, opener: &mut Opener) -> Result<Vec<u8>, LinkError> {
    let mut bytes = vec![0; HEADER_LEN];
    reader.read_exact(&mut bytes).await?;
    // Checks the header before its length is believed.
    opener.open(&bytes)?;
    let len = bytes[8..12].iter().fold(0, |n, b| (n << 8) | usize::from(*b));
    if len > HELLO_MAX {
        return Err(LinkError::NoHello);
    }
    bytes.resize(HEADER_LEN + len + MAC_LEN, 0);
    reader.read_exact(&mut bytes[HEADER_LEN..]).await?;
    match opener.open(&bytes)? {
        Some((frame, _)) if frame.kind == FrameKind::Hello => Ok(frame.payload),
        _ => Err(LinkError::NoHello),
    }
}
