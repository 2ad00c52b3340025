//! Programs that listen, and the same seen from a client.
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::lab::Lab;

/// Answers on the ports, over IPv4 and IPv6, until the test's process ends.
pub(crate) fn listen(lab: &Lab, host: &str, tcp: &[u16], udp: &[u16]) {
    let (tcp, udp) = (tcp.to_vec(), udp.to_vec());
    let listening = lab.inside(host, move || {
        for port in tcp {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            thread::spawn(move || {
                // A connection that was reset before it was taken is no reason to stop.
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || echo(stream));
                }
            });
        }
        for port in udp {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // Answering may be refused by this host's own rules.
                    socket.send_to(&buffer[..length], from).ok();
                }
            });
        }
    });
    listening.join().unwrap();
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Whether a request over TCP is answered.
pub(crate) fn ask_tcp(to: SocketAddr, within: Duration) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&to, within) else { return false };
    ask(&stream, within)
}

pub(crate) fn ask(mut stream: &TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
}

/// Whether a datagram is answered; one that is lost is sent again.
pub(crate) fn ask_udp(to: SocketAddr, within: Duration) -> bool {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(within / 3)).unwrap();
    let until = Instant::now() + within;
    while Instant::now() < until {
        if let Err(error) = socket.send_to(b"x", to) {
            // A full queue, or rules of one's own.
            assert!(!matches!(error.kind(), ErrorKind::InvalidInput), "{error}");
        }
        if socket.recv_from(&mut [0; 8]).is_ok() {
            return true;
        }
    }
    false
}
