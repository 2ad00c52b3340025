//! clamd itself, and others in its place.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use inspect::clamd::{Address, ClamdError, Scan, ping, scan, scan_within};

const MAX: u64 = 64 << 20;

/// clamd on a socket of its own, with signatures made here; it ends with the test.
struct Clamd {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Clamd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Clamd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(path("signatures")).unwrap();
        // One by its bytes, as hexadecimal digits, and one by the whole file's checksum.
        let marker: String = b"gridesk-marker".iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(path("signatures/own.ndb"), format!("Gridesk.Marker:0:*:{marker}\n")).unwrap();
        std::fs::write(path("signatures/own.hdb"), "22c3683b094136c3398391ae71b20f04:13:Gridesk.Hello\n")
            .unwrap();
        let settings = format!(
            "LocalSocket {}\nDatabaseDirectory {}\nTemporaryDirectory {}\nForeground yes\nStreamMaxLength 2M\n\
             SelfCheck 0\nConcurrentDatabaseReload no\nLogFile {}\n",
            path("clamd.sock"),
            path("signatures"),
            folder.path().display(),
            path("clamd.log"),
        );
        std::fs::write(path("clamd.conf"), settings).unwrap();
        let child = Command::new(program())
            .arg("--config-file")
            .arg(path("clamd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("clamd is installed: `./test` does it, or use the profile `quick`");
        let clamd = Self { child, folder };
        let until = Instant::now() + Duration::from_secs(60);
        while ping(&clamd.address()).is_err() {
            let log = || std::fs::read_to_string(clamd.folder.path().join("clamd.log")).unwrap_or_default();
            assert!(Instant::now() < until, "clamd does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        clamd
    }

    fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("clamd.sock"))
    }
}

fn program() -> PathBuf {
    let usual = Path::new("/usr/sbin/clamd");
    if usual.exists() { usual.to_owned() } else { "clamd".into() }
}

#[test]
fn system_clamd_finds_what_it_knows() {
    let clamd = Clamd::start();
    let ask = |bytes: &[u8], max| scan(&clamd.address(), &mut &bytes[..], max);
    assert_eq!(ask(b"a photo", MAX).unwrap(), Scan::Clean);
    assert_eq!(ask(b"", MAX).unwrap(), Scan::Clean);
    let found = |bytes: &[u8]| match ask(bytes, MAX).unwrap() {
        Scan::Found(name) => name,
        Scan::Clean => panic!("clamd does not know its own signature"),
    };
    assert!(found(b"before gridesk-marker after").starts_with("Gridesk.Marker"));
    assert!(found(b"hello, world\n").starts_with("Gridesk.Hello"));
    // Beyond the first chunk, and in an archive that clamd itself opens.
    let late = [vec![b'x'; 1_000_000], b"gridesk-marker".to_vec()].concat();
    assert!(found(&late).starts_with("Gridesk.Marker"));
    let packed = crate::build::zip::Zip::new().deflated("a.txt", b"gridesk-marker").finish();
    assert!(found(&packed).starts_with("Gridesk.Marker"));

    // clamd's own limit, told while it is being sent to; and the caller's, told before.
    assert!(matches!(ask(&vec![b'x'; 8 << 20], MAX), Err(ClamdError::TooLarge)));
    assert!(matches!(ask(b"0123456789", 9), Err(ClamdError::TooLarge)));
    assert_eq!(ask(b"0123456789", 10).unwrap(), Scan::Clean);
    // A file that breaks off is not found clean.
    let mut broken = b"begin".chain(Failing);
    assert!(matches!(scan(&clamd.address(), &mut broken, MAX), Err(ClamdError::File(_))));
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::Other.into())
    }
}

/// Somebody in clamd's place: hears the file out, or does not, says this, and closes.
fn told(answer: &'static [u8], hears: bool) -> Result<Scan, ClamdError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let fake = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if hears {
            hear(&mut stream);
        }
        let _ = stream.write_all(answer);
    });
    let scanned = scan_within(&Address::Unix(path), &mut &[7; 300_000][..], MAX, Duration::from_secs(5));
    fake.join().unwrap();
    scanned
}

/// Reads a whole stream as clamd does, and gives its length.
fn hear(stream: &mut UnixStream) -> usize {
    let mut command = [0; 10];
    stream.read_exact(&mut command).unwrap();
    assert_eq!(&command, b"zINSTREAM\0");
    let mut total = 0;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let length = u32::from_be_bytes(length) as usize;
        assert!(length <= 64 * 1024, "chunks are bounded");
        if length == 0 {
            return total;
        }
        total += length;
        stream.read_exact(&mut vec![0; length]).unwrap();
    }
}

#[test]
fn only_its_own_two_words_are_an_answer() {
    assert_eq!(told(b"stream: OK\0", true).unwrap(), Scan::Clean);
    assert_eq!(told(b"stream: Win.Test FOUND\0", true).unwrap(), Scan::Found("Win.Test".to_owned()));
    for answer in [
        &b""[..],
        b"\0",
        b"OK\0",
        b"stream: OK",
        b"stream: OK\n",
        b"stream: OK\0stream: Win.Test FOUND\0",
        b"stream: OK \0",
        b"stream: ok\0",
        b"stream:  FOUND\0",
        b"stream: \x1b[2J FOUND\0",
        b"stream: a\nb FOUND\0",
        b"stream: Can't allocate memory ERROR\0",
        b"UNKNOWN COMMAND\0",
        b"HTTP/1.1 200 OK\r\n\r\nstream: OK\0",
        b"\xff\xfe\0\0",
    ] {
        let said = told(answer, true);
        assert!(
            matches!(&said, Err(ClamdError::Answer(text)) if !text.contains(char::is_control)),
            "{said:?}"
        );
    }
    assert!(matches!(told(b"INSTREAM size limit exceeded. ERROR\0", true), Err(ClamdError::TooLarge)));
    let long: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    assert!(matches!(told(long, true), Err(ClamdError::Answer(_))));
    let long: &'static [u8] =
        Box::leak([&b"stream: "[..], &[b'x'; 300], b" FOUND\0"].concat().into_boxed_slice());
    assert!(matches!(told(long, true), Err(ClamdError::Answer(_))));
}

#[test]
fn an_answer_to_half_a_file_is_never_clean() {
    for answer in [&b"stream: OK\0"[..], b"", b"stream: OK"] {
        let said = told(answer, false);
        assert!(said.is_err(), "{said:?}");
    }
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let slow = std::thread::spawn(move || {
        // One says nothing and hears nothing; one trickles an answer that would be right.
        let (_silent, _) = listener.accept().unwrap();
        let (mut trickling, _) = listener.accept().unwrap();
        hear(&mut trickling);
        for byte in b"stream: OK\0" {
            if wait.recv_timeout(Duration::from_millis(300)).is_ok() || trickling.write_all(&[*byte]).is_err()
            {
                return;
            }
        }
    });
    for _ in 0..2 {
        let started = Instant::now();
        let file = vec![7; 4 << 20];
        let said = scan_within(&Address::Unix(path.clone()), &mut &file[..], MAX, Duration::from_millis(700));
        assert!(matches!(said, Err(ClamdError::TimedOut)), "{said:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    drop(done);
    slow.join().unwrap();
}

#[test]
fn who_is_not_there_is_said_to_be_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [folder.path().join("none.sock").display().to_string(), port.to_string()] {
        let address: Address = address.parse().unwrap();
        assert!(matches!(scan(&address, &mut &b"x"[..], MAX), Err(ClamdError::Unreachable(_))), "{address}");
        assert!(matches!(ping(&address), Err(ClamdError::Unreachable(_))), "{address}");
    }
}

#[test]
fn clamd_is_also_asked_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let fake = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = [0; 10 + 4 + 5 + 4];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"zINSTREAM\0\0\0\0\x05hello\0\0\0\0");
        stream.write_all(b"stream: OK\0").unwrap();
    });
    assert_eq!(scan(&address, &mut &b"hello"[..], MAX).unwrap(), Scan::Clean);
    fake.join().unwrap();
}
