//! The bare programs that figures are measured beside, as child processes of a benchmark.
use std::{
    io::{self, Read, Write},
    net::Ipv4Addr,
    path::Path,
};

use axum::{Router, routing::get};
use runtime::{shutdown::Shutdown, supervise::exit_when_parent_dies};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The bytes of one message or answer.
pub(super) const BYTES: usize = 1024;

/// Which bare program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// axum on a free port of the loopback, that answers `GET /` with 1 KiB.
    Axum,
    /// A Unix socket that gives back 1 KiB at a time; a thread for each connection, blocking.
    Echo,
    /// The same with a task for each connection.
    EchoAsync,
}

/// Serves until the parent is gone or a signal comes; says first, on standard output, where.
///
/// # Errors
/// What keeps it from listening.
pub async fn run(peer: Peer, socket: &Path) -> io::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    exit_when_parent_dies(&shutdown, std::time::Duration::ZERO);
    let say = |place: &str| writeln!(io::stdout().lock(), "{place}");
    match peer {
        Peer::Axum => {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            say(&listener.local_addr()?.to_string())?;
            let router = Router::new().route("/", get(async || [b'x'; BYTES].as_slice().to_vec()));
            let stop = async move { shutdown.begun().await };
            axum::serve(listener, router).with_graceful_shutdown(stop).await
        }
        Peer::Echo => {
            let listener = std::os::unix::net::UnixListener::bind(socket)?;
            say(&socket.to_string_lossy())?;
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    std::thread::spawn(move || echo(stream));
                }
            });
            shutdown.begun().await;
            Ok(())
        }
        Peer::EchoAsync => {
            let listener = tokio::net::UnixListener::bind(socket)?;
            say(&socket.to_string_lossy())?;
            let accepting = async {
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::spawn(echo_async(stream));
                }
            };
            tokio::select! {
                ended = accepting => ended,
                () = shutdown.begun() => Ok(()),
            }
        }
    }
}

fn echo(mut stream: std::os::unix::net::UnixStream) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    loop {
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
    }
}

async fn echo_async(mut stream: tokio::net::UnixStream) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    loop {
        stream.read_exact(&mut bytes).await?;
        stream.write_all(&bytes).await?;
    }
}
