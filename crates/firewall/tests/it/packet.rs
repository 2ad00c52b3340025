//! Packets that no stack sends, from raw sockets: IPv4 only, since IPv6 takes any source that an interface has.
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket},
};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A socket that takes whole packets; the kernel fills in length, identification and header checksum.
pub(crate) struct Raw(OwnedFd);

impl Raw {
    pub(crate) fn open() -> Self {
        Self(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap())
    }

    pub(crate) fn tcp(&self, from: SocketAddrV4, to: SocketAddrV4, flags: u8) {
        let mut segment = [0_u8; 20];
        segment[0..2].copy_from_slice(&from.port().to_be_bytes());
        segment[2..4].copy_from_slice(&to.port().to_be_bytes());
        segment[4..8].copy_from_slice(&12345_u32.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = flags;
        segment[14..16].copy_from_slice(&1024_u16.to_be_bytes());
        let sum = checksum(*from.ip(), *to.ip(), TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.send(*from.ip(), to, TCP, &segment);
    }

    pub(crate) fn udp(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let length = u16::try_from(8 + payload.len()).unwrap();
        let mut datagram = Vec::new();
        datagram.extend(from.port().to_be_bytes());
        datagram.extend(to.port().to_be_bytes());
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        let sum = checksum(*from.ip(), *to.ip(), UDP, &datagram);
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.send(*from.ip(), to, UDP, &datagram);
    }

    /// Asks for an answer to a ping.
    pub(crate) fn ping(&self, from: Ipv4Addr, to: Ipv4Addr) {
        self.icmp(from, to, &[8, 0, 0, 0, 0, 1, 0, 1]);
    }

    /// Says that a datagram which `to` sent to `from` was too long on its way.
    pub(crate) fn too_long(&self, from: SocketAddrV4, to: SocketAddrV4, mtu: u16) {
        let mut message = vec![3, 4, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        let length = 1400_u16.to_be_bytes();
        let mut header = vec![0x45, 0, length[0], length[1], 0, 7, 0x40, 0, 64, UDP, 0, 0];
        header.extend(to.ip().octets());
        header.extend(from.ip().octets());
        let sum = folded(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        message.extend(header);
        message.extend(to.port().to_be_bytes());
        message.extend(from.port().to_be_bytes());
        message.extend([length[0], length[1], 0, 0]);
        self.icmp(*from.ip(), *to.ip(), &message);
    }

    fn icmp(&self, from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) {
        let mut message = message.to_vec();
        let sum = folded(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        self.send(from, SocketAddrV4::new(to, 0), ICMP, &message);
    }

    fn send(&self, from: Ipv4Addr, to: SocketAddrV4, protocol: u8, payload: &[u8]) {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(from.octets());
        packet.extend(to.ip().octets());
        packet.extend(payload);
        // A full queue is a packet lost, as on a wire.
        sendto(&self.0, &packet, SendFlags::empty(), &to).ok();
    }
}

/// Over the pseudo-header too.
fn checksum(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend([0, protocol]);
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend(payload);
    folded(&bytes)
}

/// The checksum of RFC 1071.
fn folded(bytes: &[u8]) -> u16 {
    let pairs =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum: u32 = pairs.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}
