//! Asks a virus scanner: a client of clamd's `INSTREAM`.
//!
//! The scanner is not trusted to be well: it may be slow, gone, or not clamd at all. Only its own two words are an answer;
//! whatever else happens is an error, and never means that a file is clean.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// The path of a Unix socket, written from the root: `/run/clamav/clamd.ctl`.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clamd's address is host:port or the path of a Unix socket from the root")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(AddressError);
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(AddressError),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.pad(address),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// What clamd found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Nothing that it knows.
    Clean,
    /// Something, by the name clamd gives it: printable ASCII, at most [`FOUND_BYTES_MAX`].
    Found(String),
}

/// The longest name of a find.
pub const FOUND_BYTES_MAX: usize = 256;

/// Why there is no answer. In none of these cases has the file been found clean.
#[derive(Debug, thiserror::Error)]
pub enum ClamdError {
    /// Nobody listens there, or the connection broke. Trying again later may help.
    #[error("clamd cannot be reached")]
    Unreachable(#[source] io::Error),
    /// It did not answer in time. Trying again later may help.
    #[error("clamd did not answer in time")]
    TimedOut,
    /// The file is larger than clamd, or the caller, lets it be. It will be so again.
    #[error("the file is larger than clamd takes")]
    TooLarge,
    /// The answer is none that clamd gives to a scan; as far as it can be shown.
    #[error("clamd answered: {0}")]
    Answer(String),
    /// The file itself cannot be read.
    #[error("the file to be scanned cannot be read")]
    File(#[source] io::Error),
}

/// How long a scan may take, all in all, where nothing else is said.
pub const SCAN_WITHIN: Duration = Duration::from_secs(120);

/// What is sent at a time. clamd takes chunks of any length up to its `StreamMaxLength`.
const CHUNK_BYTES: usize = 64 * 1024;
/// The longest answer. A find's name is shorter, and nothing else that clamd says to a scan is longer.
const ANSWER_BYTES_MAX: usize = 1024;
/// How long to wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Sends a file of at most `max` bytes to clamd and says what it found, within [`SCAN_WITHIN`].
pub fn scan(address: &Address, file: &mut impl Read, max: u64) -> Result<Scan, ClamdError> {
    scan_within(address, file, max, SCAN_WITHIN)
}

/// As [`scan`], with another limit to the time it takes, all in all. Blocks; of a host's name, the look-up comes on top.
pub fn scan_within(
    address: &Address,
    file: &mut impl Read,
    max: u64,
    time: Duration,
) -> Result<Scan, ClamdError> {
    let mut connection = Connection::open(address, time)?;
    let mut chunk = vec![0; 4 + CHUNK_BYTES];
    let mut sent = 0;
    let mut sending = connection.send(b"zINSTREAM\0");
    while sending.is_ok() {
        let length = fill(file, &mut chunk[4..]).map_err(ClamdError::File)?;
        sent += length as u64;
        if sent > max {
            return Err(ClamdError::TooLarge);
        }
        let told = u32::try_from(length).unwrap_or(0);
        chunk[..4].copy_from_slice(&told.to_be_bytes());
        sending = connection.send(&chunk[..4 + length]);
        if length == 0 {
            break;
        }
    }
    match (sending, connection.answer()) {
        (Ok(()), answer) => verdict(&answer?),
        // It may have answered before it had heard all: that a file is too large, or that it is infected.
        (Err(_), Ok(answer)) if !answer.is_empty() => match verdict(&answer)? {
            Scan::Clean => Err(ClamdError::Answer("OK to half a file".to_owned())),
            found @ Scan::Found(_) => Ok(found),
        },
        (Err(error), _) => Err(error),
    }
}

/// Whether clamd is there and answers, within five seconds.
pub fn ping(address: &Address) -> Result<(), ClamdError> {
    let mut connection = Connection::open(address, CONNECT_WITHIN)?;
    connection.send(b"zPING\0")?;
    match connection.answer()?.as_slice() {
        b"PONG" => Ok(()),
        other => Err(ClamdError::Answer(shown(other))),
    }
}

/// Reads until `into` is full or the file ends.
fn fill(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Only the two answers that a scan has are taken at their word; everything else is no answer.
fn verdict(answer: &[u8]) -> Result<Scan, ClamdError> {
    if answer == b"stream: OK" {
        return Ok(Scan::Clean);
    }
    let found = answer.strip_prefix(b"stream: ").and_then(|rest| rest.strip_suffix(b" FOUND"));
    if let Some(name) = found
        && (1..=FOUND_BYTES_MAX).contains(&name.len())
        && name.iter().all(|byte| (b' '..=b'~').contains(byte))
    {
        return Ok(Scan::Found(String::from_utf8_lossy(name).into_owned()));
    }
    if answer == b"INSTREAM size limit exceeded. ERROR" {
        return Err(ClamdError::TooLarge);
    }
    Err(ClamdError::Answer(shown(answer)))
}

/// An answer as it can be shown and logged.
fn shown(answer: &[u8]) -> String {
    let plain = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' };
    answer.iter().take(120).map(plain).collect()
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct Connection {
    stream: Stream,
    until: Instant,
}

impl Connection {
    fn open(address: &Address, time: Duration) -> Result<Self, ClamdError> {
        let until = Instant::now() + time;
        let stream = match address {
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).map_err(unreachable)?),
            Address::Tcp(address) => {
                let within = CONNECT_WITHIN.min(time);
                let mut last = io::ErrorKind::AddrNotAvailable.into();
                let mut places = address.to_socket_addrs().map_err(unreachable)?.take(4);
                let connected = places.find_map(|place| {
                    TcpStream::connect_timeout(&place, within).map_err(|error| last = error).ok()
                });
                match connected {
                    Some(stream) => Stream::Tcp(stream),
                    None => return Err(unreachable(last)),
                }
            }
        };
        Ok(Self { stream, until })
    }

    /// What is left of the time, set for the next call on the socket: a peer that trickles gains nothing by it.
    fn left(&self) -> Result<(), ClamdError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClamdError::TimedOut);
        }
        match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
            }
        }
        .map_err(unreachable)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), ClamdError> {
        while !bytes.is_empty() {
            self.left()?;
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(bytes),
                Stream::Unix(stream) => stream.write(bytes),
            };
            match written {
                Ok(0) => return Err(unreachable(io::ErrorKind::WriteZero.into())),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreachable(error)),
            }
        }
        Ok(())
    }

    /// The answer up to its zero byte, after which there must be nothing.
    fn answer(&mut self) -> Result<Vec<u8>, ClamdError> {
        let mut answer = Vec::new();
        let mut piece = [0; 256];
        loop {
            self.left()?;
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut piece),
                Stream::Unix(stream) => stream.read(&mut piece),
            };
            match read {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // clamd closes while it is still being sent to: what it said before counts.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && answer.contains(&0) => break,
                Err(error) => return Err(unreachable(error)),
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(ClamdError::Answer(shown(&answer)));
            }
        }
        match answer.split_last() {
            Some((0, rest)) if !rest.contains(&0) => Ok(rest.to_vec()),
            _ => Err(ClamdError::Answer(shown(&answer))),
        }
    }
}

fn unreachable(error: io::Error) -> ClamdError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClamdError::TimedOut,
        _ => ClamdError::Unreachable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["/run/clamav/clamd.ctl", "127.0.0.1:3310", "[::1]:3310", "scanner.example:3310"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "clamd", ":3310", "host:0", "host:70000", "host:\n1", "run/clamd.ctl", "a b:1"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text:?}");
        }
    }
}
