//! What comes from outside and is not meant well, against the edge.
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    lab::Lab,
    packet::{ACK, FIN, PSH, RST, Raw, SYN, URG},
    service::{ask, ask_tcp, listen},
};

const EDGE: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 10);
const PORTAL: SocketAddrV4 = SocketAddrV4::new(EDGE, 443);
const INET_1: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 101);
/// For what is there at once on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(10);

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !reached() {
        assert!(Instant::now() < end, "not reached: {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn netns_spoofed_sources_are_dropped_and_counted() {
    let lab = Lab::ruled();
    let (send, heard) = mpsc::channel();
    // The socket first, then whoever sends to it.
    let socket = lab.inside("edge", || UdpSocket::bind("[::]:443").unwrap()).join().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            send.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).ok();
        }
    });
    lab.ip(
        "inet-1",
        "addr add fd00:10:0:10::99/128 dev eth0 nodad\naddr add 2001:db8::99/128 dev eth0 nodad\n",
    );
    lab.inside("inet-1", || {
        let raw = Raw::open();
        let from = |address: [u8; 4]| SocketAddrV4::new(address.into(), 5000);
        raw.udp(from([10, 10, 0, 20]), PORTAL, b"an extranet host");
        raw.udp(from([10, 10, 30, 10]), PORTAL, b"an intranet host");
        raw.udp(from(EDGE.octets()), PORTAL, b"the edge itself");
        raw.udp(from([192, 168, 1, 1]), PORTAL, b"nobody's address");
        raw.udp(from([240, 0, 0, 1]), PORTAL, b"nobody's address");
        for source in ["fd00:10:0:10::99", "2001:db8::99"] {
            let socket = UdpSocket::bind((source, 0)).unwrap();
            socket.send_to(b"over IPv6", "[2a0f:11::10]:443").unwrap();
        }
        raw.udp(from(INET_1.octets()), PORTAL, b"genuine");
    })
    .join()
    .unwrap();
    assert_eq!(heard.recv_timeout(SOON).unwrap(), "genuine");
    assert!(heard.try_recv().is_err());
    assert_eq!((lab.count("edge", "drop-spoofed"), lab.count("edge", "drop-bogon")), (4, 3));

    // From inside. A host's own rules do not let it out; of a host without them the edge takes nothing either.
    let inside = || {
        let (from, to) = (Ipv4Addr::new(10, 10, 30, 10), Ipv4Addr::new(10, 10, 0, 10));
        Raw::open().udp(SocketAddrV4::new(from, 5000), SocketAddrV4::new(to, 443), b"an intranet host");
    };
    lab.inside("outer", inside).join().unwrap();
    assert_eq!(lab.count("outer", "drop-output"), 1);
    lab.unload("outer");
    lab.inside("outer", inside).join().unwrap();
    until("spoofing from inside is counted", || lab.count("edge", "drop-spoofed") == 5);
    assert!(heard.try_recv().is_err());
}

#[test]
fn netns_segments_that_no_stack_sends_are_dropped_and_counted() {
    let lab = Lab::ruled();
    let wrong = [0, SYN | FIN, SYN | RST, FIN | RST, FIN, PSH, URG, FIN | PSH | URG];
    let send = lab.inside("inet-1", move || {
        let raw = Raw::open();
        for flags in wrong {
            raw.tcp(SocketAddrV4::new(INET_1, 4000), PORTAL, flags);
        }
        // Of a connection that is none: first a segment that looks like the middle of one.
        raw.tcp(SocketAddrV4::new(INET_1, 4001), PORTAL, ACK);
        raw.tcp(SocketAddrV4::new(INET_1, 4002), PORTAL, SYN | ACK);
    });
    send.join().unwrap();
    until("flags are counted", || lab.count("edge", "drop-bad-flags") == wrong.len() as u64);
    let none = || lab.count("edge", "drop-not-syn") + lab.count("edge", "drop-invalid");
    until("parts of no connection are counted", || none() == 2);
    assert_eq!(lab.count("edge", "flow-internet-portal"), 0);
}

#[test]
fn netns_an_icmp_error_of_a_connection_passes_and_of_none_does_not() {
    let lab = Lab::ruled();
    listen(&lab, "edge", &[], &[443]);
    let route = || {
        let output = lab.command("edge", "ip").args(["route", "get", "11.0.0.101"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = lab.inside("inet-1", || {
        let socket = UdpSocket::bind((INET_1, 5000)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send_to(b"x", PORTAL).unwrap();
        socket.recv_from(&mut [0; 8]).unwrap();
        Raw::open().too_long(SocketAddrV4::new(INET_1, 5001), PORTAL, 1100);
    });
    said.join().unwrap();
    until("an error about no connection is dropped", || lab.count("edge", "drop-invalid") == 1);
    assert!(!route().contains("mtu"), "{}", route());
    let said = lab.inside("inet-1", || Raw::open().too_long(SocketAddrV4::new(INET_1, 5000), PORTAL, 1200));
    said.join().unwrap();
    until("the path's MTU is known", || route().contains("mtu 1200"));
}

#[test]
fn netns_ping_passes_where_it_is_declared() {
    let lab = Lab::ruled();
    let admin = Ipv4Addr::new(10, 10, 32, 10);
    let pings = lab.inside("admin", move || {
        let raw = Raw::open();
        raw.ping(admin, Ipv4Addr::new(10, 10, 30, 10));
        raw.ping(admin, Ipv4Addr::new(10, 10, 31, 10));
    });
    pings.join().unwrap();
    until("the declared one arrives", || lab.count("main", "flow-management-ping") == 1);
    assert_eq!((lab.count("admin", "flow-management-ping"), lab.count("admin", "drop-output")), (1, 1));
    let ping = lab.inside("inet-1", || Raw::open().ping(INET_1, EDGE));
    ping.join().unwrap();
    until("from the Internet it is dropped", || lab.count("edge", "drop-input") >= 1);
}

#[test]
fn netns_a_flood_from_one_source_leaves_the_others_alone() {
    let lab = Lab::ruled();
    listen(&lab, "edge", &[443], &[]);
    let flooding = Arc::new(AtomicBool::new(true));
    let goes_on = flooding.clone();
    // Bounded, however slow the machine: 20,000 SYNs are a hundred seconds' worth of what one source may send.
    let syns = lab.inside("inet-1", move || {
        let raw = Raw::open();
        for number in 0..20_000_u32 {
            if !goes_on.load(Ordering::Relaxed) {
                break;
            }
            raw.tcp(SocketAddrV4::new(INET_1, 20_000 + (number % 40_000) as u16), PORTAL, SYN);
            if number % 50 == 0 {
                sleep(Duration::from_millis(5));
            }
        }
    });
    let goes_on = flooding.clone();
    let opens = lab.inside("inet-1", move || {
        let mut open = Vec::new();
        for _ in 0..200 {
            if !goes_on.load(Ordering::Relaxed) {
                break;
            }
            open.extend(TcpStream::connect_timeout(&PORTAL.into(), Duration::from_millis(50)));
        }
        open
    });
    let others = lab.inside("inet-2", || {
        let mut answered = 0;
        for number in 0..60 {
            let to: SocketAddr =
                if number % 2 == 0 { PORTAL.into() } else { "[2a0f:11::10]:443".parse().unwrap() };
            answered += u32::from(ask_tcp(to, Duration::from_secs(4)));
            sleep(Duration::from_millis(20));
        }
        answered
    });
    let answered = others.join().unwrap();
    flooding.store(false, Ordering::Relaxed);
    syns.join().unwrap();
    let open = opens.join().unwrap();
    println!(
        "the other source: {answered} of 60 answered; the flooding one holds {} connections",
        open.len()
    );
    assert!(answered >= 57, "{answered} of 60 answered");
    assert!(open.len() <= 40, "{} connections from one source", open.len());
    assert!(lab.count("edge", "drop-syn-source") > 0);
    assert_eq!(lab.count("edge", "drop-syn-all"), 0);
}

#[test]
fn netns_one_source_has_no_more_connections_than_its_limit() {
    let lab = Lab::ruled();
    listen(&lab, "edge", &[443], &[]);
    let hold = |host: &str, to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        lab.inside(host, move || {
            let mut open = Vec::new();
            for _ in 0..50 {
                // Slower than the limit of new ones, so that only that of open ones is in the way.
                sleep(Duration::from_millis(15));
                let stream = TcpStream::connect_timeout(&to, Duration::from_millis(300));
                open.extend(stream.ok().filter(|stream| ask(stream, SOON)));
            }
            open
        })
    };
    let (v4, v6) = (hold("inet-1", "11.0.0.10:443"), hold("inet-1", "[2a0f:11::10]:443"));
    let (v4, v6) = (v4.join().unwrap(), v6.join().unwrap());
    assert_eq!((v4.len(), v6.len()), (40, 40));
    assert!(lab.count("edge", "drop-connections") >= 20);
    // What goes makes room for the next.
    drop(v4);
    let again = lab.inside("inet-1", || {
        until("there is room again", || ask_tcp(PORTAL.into(), Duration::from_millis(500)));
    });
    again.join().unwrap();
}

#[test]
fn netns_syns_from_everywhere_are_held_to_the_limit_of_all() {
    let lab = Lab::ruled();
    listen(&lab, "edge", &[443], &[]);
    let flood = lab.inside("inet-1", || {
        let raw = Raw::open();
        // Each from another address of the same net: none is above its own limit.
        for number in 0..8_000_u32 {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(23, 0, 0, 0)) + number);
            raw.tcp(SocketAddrV4::new(source, 5000), PORTAL, SYN);
        }
    });
    flood.join().unwrap();
    let dropped = lab.count("edge", "drop-syn-all");
    println!("{dropped} of 8000 dropped");
    assert!(dropped > 0);
    assert_eq!(lab.count("edge", "drop-syn-source"), 0);
    let after = lab.inside("inet-2", || {
        until("service is there again", || ask_tcp(PORTAL.into(), Duration::from_secs(2)));
    });
    after.join().unwrap();
}
