//! What somebody would try who has taken a half over. The tests run it: confined as the half itself confines itself, and
//! free, to show that it is the confinement which refuses.
//!
//! `captured outer|inner|free SETTINGS FOLDER PEER`: `FOLDER` has what it tries its hands at, `PEER` is a process outside. A line
//! for each try says `done`, or `refused` with the reason.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for tests")]
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::OpenOptionsExt,
            net::{SocketAddr, UnixStream},
        },
    },
    path::Path,
    process::Command,
};

use nix::{sched::CloneFlags, sys::ptrace, unistd::Pid};
use rustix::{
    net::{AddressFamily, SocketType, socket},
    process::test_kill_process,
    thread::set_thread_uid,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [half, settings, folder, peer] = &*arguments else { panic!("captured HALF SETTINGS FOLDER PEER") };
    let settings = Path::new(settings);
    // Held to the end: it is a half as it is when it begins to serve.
    let _half = match half.as_str() {
        "outer" => {
            let config = runtime::config::load(Some(settings), "CAPTURED").unwrap();
            (Some(gate::outer::open(config).unwrap()), None)
        }
        "inner" => {
            let config = runtime::config::load(Some(settings), "CAPTURED").unwrap();
            (None, Some(gate::inner::open(config).unwrap()))
        }
        _ => (None, None),
    };
    tries(Path::new(folder), peer.parse().unwrap());
}

fn tries(folder: &Path, peer: i32) {
    for (name, family) in [
        ("socket-ipv4", AddressFamily::INET),
        ("socket-ipv6", AddressFamily::INET6),
        ("socket-netlink", AddressFamily::NETLINK),
        ("socket-packet", AddressFamily::PACKET),
    ] {
        let kind = if name == "socket-packet" { SocketType::RAW } else { SocketType::DGRAM };
        say(name, socket(family, kind, None));
    }
    say("connect-abstract", abstract_address(peer).and_then(|address| UnixStream::connect_addr(&address)));
    say("connect-path", UnixStream::connect(folder.join("everybody.sock")));

    say("read-shadow", File::open("/etc/shadow"));
    // What every user may do: it is not the user that is kept from these.
    say("read-passwd", File::open("/etc/passwd"));
    say("list-root", fs::read_dir("/"));
    say("write-outside", File::create(folder.join("everybody/captured")));
    say("remove-outside", fs::remove_file(folder.join("everybody/victim")));
    say("listen-outside", std::os::unix::net::UnixListener::bind(folder.join("everybody/captured.sock")));

    say("program", Command::new("/bin/true").status());
    say("namespace", nix::sched::unshare(CloneFlags::CLONE_NEWUTS));
    say("root-again", set_thread_uid(rustix::process::Uid::ROOT));
    let other = rustix::process::Pid::from_raw(peer).unwrap();
    say("signal", test_kill_process(other));
    // It is let go when this process ends.
    say("ptrace", ptrace::seize(Pid::from_raw(peer), ptrace::Options::empty()));

    let given = folder.join("outward/ab/file");
    say("outward-read", File::open(&given));
    say("outward-list", fs::read_dir(folder.join("outward/ab")));
    say("outward-write", OpenOptions::new().append(true).open(&given));
    say("outward-make", File::create(folder.join("outward/ab/other")));
    say("outward-remove", fs::remove_file(&given));

    // What the inner half is there for, and what it has no more to do with then.
    let (part, shown) = (folder.join("quarantine/captured.part"), folder.join("store/ab/captured"));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
    say("quarantine-write", made);
    say("store-link", fs::hard_link(&part, &shown));
    say("quarantine-remove", fs::remove_file(&part));
    say("store-read", File::open(&shown));
    say("store-remove", fs::remove_file(&shown));
    say("store-make", File::create(folder.join("store/ab/other")));
}

fn abstract_address(peer: i32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("gridesk-captured-{peer}"))
}

fn say<T, E: Into<io::Error>>(name: &str, tried: Result<T, E>) {
    match tried {
        Ok(_) => println!("{name} done"),
        Err(error) => println!("{name} refused: {}", error.into()),
    }
}
