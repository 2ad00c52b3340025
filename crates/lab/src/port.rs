//! Free ports of 127.0.0.1.
use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// What this process has handed out and will not hand out again, since its server may be just about to listen.
static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// How long one question to a server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A port that nobody listens on. Another program may still be quicker; whoever starts a server tries again then.
pub(crate) fn free() -> Result<u16> {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = listener.local_addr().context("no free port")?.port();
        let mut handed_out = HANDED_OUT.lock().unwrap_or_else(|broken| broken.into_inner());
        if handed_out.get_or_insert_default().insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port")
}

/// The port if it is free, or else another.
pub(crate) fn free_or_other(port: u16) -> Result<u16> {
    if port == 0 || !is_free(port) {
        return free();
    }
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(|broken| broken.into_inner());
    handed_out.get_or_insert_default().insert(port);
    Ok(port)
}

/// Whether one could listen on the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether somebody listens on the port.
pub(crate) fn takes_connections(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER_WITHIN).is_ok()
}

/// Sends `question` to a port and gives the first bytes of what comes back, at most 1 KiB, up to `enough`.
pub(crate) fn ask(port: u16, question: &[u8], enough: &[u8]) -> std::io::Result<Vec<u8>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    let mut part = [0; 256];
    while answer.len() < 1024 && !answer.windows(enough.len()).any(|some| some == enough) {
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(answer)
}

/// Whether an HTTP server says status 200 to a GET of `path`.
pub(crate) fn says_ok(port: u16, path: &str) -> bool {
    let question = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    ask(port, question.as_bytes(), b"\r\n")
        .is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"))
}
