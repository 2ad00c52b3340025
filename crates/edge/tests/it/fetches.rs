//! Files from inside: fetched once, kept, fetched on where a gate dies, and never shown unless they are what the ticket says.
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use edge::{
    Fetched,
    config::{FetchedSettings, FileSettings, Limits},
    gates::{FILES, MESSAGES},
};
use futures_util::future::join_all;
use protocol::{Code, Problem, file::CHUNK_LEN};
use runtime::config::TimeSpan;

use crate::{
    fetches_fixture::{Gives, Outward, content, ticket},
    world::{Gate, LONG, World, until},
};

struct Site {
    world: World,
    outward: Outward,
    /// What else stands for a gate.
    _messages: Vec<Gate>,
}

impl Site {
    /// An edge with so many gates, which have these files.
    async fn start(gates: usize, files: &[Vec<u8>], set: impl FnOnce(&mut FileSettings)) -> Site {
        Self::on(tempfile::tempdir().unwrap(), gates, files, set).await
    }

    async fn on(
        folder: tempfile::TempDir,
        gates: usize,
        files: &[Vec<u8>],
        set: impl FnOnce(&mut FileSettings),
    ) -> Site {
        let outward = Outward::new(files);
        let mut messages = Vec::new();
        for gate in 1..=gates {
            let gate = folder.path().join("gates").join(gate.to_string());
            outward.start(&gate.join(FILES));
            messages.push(Gate::start(&gate.join(MESSAGES)));
        }
        let fetched = FetchedSettings { within: TimeSpan(LONG), ..FetchedSettings::default() };
        let mut settings = FileSettings { keep_free_bytes: 0, fetched, ..FileSettings::default() };
        set(&mut settings);
        let gate = messages[0].clone();
        let world =
            World::with_files(folder, gate, (Limits::default(), settings), "http://127.0.0.1:9").await;
        let count = || world.get("/readyz");
        for _ in 1..gates {
            while count().send().await.unwrap().json::<serde_json::Value>().await.unwrap()["gates"] != gates {
                tokio::task::yield_now().await;
            }
        }
        Site { world, outward, _messages: messages }
    }

    fn shelf(&self) -> PathBuf {
        self.world.folder.path().join("data/files/fetched")
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(fetched: Result<Fetched, Problem>) -> Vec<u8> {
    let mut fetched = fetched.unwrap();
    let mut bytes = Vec::new();
    fetched.file.read_to_end(&mut bytes).unwrap();
    assert_eq!((bytes.len() as u64, *blake3::hash(&bytes).as_bytes()), (fetched.size, fetched.root));
    bytes
}

#[tokio::test]
async fn a_file_is_fetched_once_for_all_who_ask_and_kept() {
    let bytes = content(1, 9 * CHUNK_LEN + 5);
    let site = Site::start(1, std::slice::from_ref(&bytes), |_| {}).await;
    let ticket_1 = ticket(1, &bytes);
    site.outward.may.forget_permits(1_000_000);
    let asking: Vec<_> = (0..30).map(|_| site.world.files.fetch(&ticket_1)).collect();
    let giving_up = site.world.files.clone();
    let of_gone = ticket_1.clone();
    let gone = tokio::spawn(async move { giving_up.fetch(&of_gone).await.is_ok() });
    let release = async {
        until(|| site.outward.asked_from() == [0]).await;
        // One who asked goes away; that ends nothing.
        gone.abort();
        site.outward.may.add_permits(1000);
    };
    let (all, ()) = tokio::join!(join_all(asking), release);
    for fetched in all {
        assert!(read(fetched) == bytes);
    }
    // The same content under another id, too: the shelf knows content only.
    for number in [1, 2] {
        assert!(read(site.world.files.fetch(&ticket(number, &bytes)).await) == bytes);
    }
    assert_eq!(site.outward.asked_from(), [0]);
    let name = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(names(&site.shelf()), std::slice::from_ref(&name));

    // What is answered with it by HTTP.
    let asked = [(axum::http::header::RANGE, "bytes=10-19".parse().unwrap())].into_iter().collect();
    let response = site.world.files.download(&asked, &ticket_1, "用电.csv", "text/csv").await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-length"]),
        (206, &"10".parse().unwrap())
    );
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(body[..], bytes[10..20]);

    // A process that died in the middle of another one.
    let (folder, gate) = site.world.stop().await;
    gate.kill();
    let shelf = folder.path().join("data/files/fetched");
    std::fs::write(shelf.join(format!("{}.part", "0".repeat(64))), b"half").unwrap();
    std::fs::remove_dir_all(folder.path().join("gates")).unwrap();
    let site = Site::on(folder, 1, &[], |_| {}).await;
    assert_eq!(names(&site.shelf()), [name]);
    assert!(read(site.world.files.fetch(&ticket_1).await) == bytes);
    assert_eq!(site.outward.asked_from(), [0; 0]);
}

#[tokio::test]
async fn goes_on_at_another_gate_when_one_is_killed() {
    let bytes = content(2, 20 * CHUNK_LEN + 1);
    let site = Site::start(2, std::slice::from_ref(&bytes), |_| {}).await;
    site.outward.gives(Gives::DiesAfter(7));
    assert!(read(site.world.files.fetch(&ticket(1, &bytes)).await) == bytes);
    assert_eq!(site.outward.asked_from(), [0, 7], "what was here is not sent again");
    assert_eq!(site.outward.gates_asked(), 2);
}

#[tokio::test]
async fn what_is_not_the_file_is_never_shown() {
    let bytes = content(3, 3 * CHUNK_LEN + 9);
    for lie in ["changed", "skips", "longer", "garbage", "stored", "other content"] {
        let site = Site::start(2, std::slice::from_ref(&bytes), |_| {}).await;
        site.outward.gives(Gives::Lies(lie));
        let problem = site.world.files.fetch(&ticket(1, &bytes)).await.unwrap_err();
        assert_eq!((problem.code, problem.retry_after_s.is_some()), (Code::GateUnavailable, true), "{lie}");
        assert_eq!(site.outward.gates_asked(), 2, "{lie}: each is asked");
        assert!(names(&site.shelf()).is_empty(), "{lie}");
        // It is forgotten with the fetch that found it out.
        site.outward.gives(Gives::All);
        assert!(read(site.world.files.fetch(&ticket(1, &bytes)).await) == bytes, "{lie}");
        site.world.stop().await;
    }
}

#[tokio::test]
async fn why_a_file_does_not_come_is_said() {
    let files = [content(1, 2 * CHUNK_LEN), content(2, 100)];
    let soon = TimeSpan(Duration::from_millis(700));
    let site = Site::start(1, &files, |settings| settings.fetched.within = soon).await;
    let of = ticket(1, &files[0]);
    for (gives, code, is_to_come_again) in [
        (Gives::Refused("gone"), Code::ExportGone, false),
        (Gives::Refused("expired"), Code::ExportGone, false),
        (Gives::Refused("not-genuine"), Code::Internal, false),
        (Gives::NotNow("busy"), Code::Overloaded, true),
        (Gives::NotNow("gate-away"), Code::GateUnavailable, true),
        (Gives::NotNow("not-yet"), Code::GateUnavailable, true),
        (Gives::Lies("silent"), Code::GateUnavailable, true),
    ] {
        site.outward.gives(gives);
        let problem = site.world.files.fetch(&of).await.unwrap_err();
        assert_eq!((problem.code, problem.retry_after_s.is_some()), (code, is_to_come_again), "{gives:?}");
        assert!(names(&site.shelf()).is_empty(), "{gives:?}");
    }
    site.outward.gives(Gives::All);
    assert!(read(site.world.files.fetch(&of).await) == files[0]);
    site.world.stop().await;

    // What one gate refuses another may give: that a file is gone is believed when all say so.
    let site = Site::start(2, &files, |_| {}).await;
    site.outward.gives(Gives::Refused("gone"));
    assert_eq!(site.world.files.fetch(&of).await.unwrap_err().code, Code::ExportGone);
    assert_eq!(site.outward.gates_asked(), 2);
    site.world.stop().await;

    for (what, code) in [("file", Code::Internal), ("bytes", Code::StorageFull), ("disk", Code::StorageFull)]
    {
        let site = Site::start(1, &files, |settings| match what {
            "file" => settings.fetched.file_bytes_max = 2 * CHUNK_LEN as u64 - 1,
            "bytes" => settings.fetched.bytes = 2 * CHUNK_LEN as u64 - 1,
            _ => settings.keep_free_bytes = u64::MAX / 2,
        })
        .await;
        let problem = site.world.files.fetch(&of).await.unwrap_err();
        assert_eq!(problem.code, code, "{what}");
        assert_eq!(site.outward.asked_from(), [0; 0], "{what}");
        if what != "disk" {
            assert!(read(site.world.files.fetch(&ticket(2, &files[1])).await) == files[1], "{what}");
        }
        site.world.stop().await;
    }
}

#[tokio::test]
async fn what_was_fetched_gives_way_and_places_are_few() {
    let files = [content(1, 3 * CHUNK_LEN), content(2, 2 * CHUNK_LEN), content(3, 2 * CHUNK_LEN)];
    let site = Site::start(1, &files, |settings| {
        (settings.fetched.bytes, settings.fetched.at_once) = (5 * CHUNK_LEN as u64, 1);
    })
    .await;
    for (file, number) in files.iter().zip(0..) {
        assert!(read(site.world.files.fetch(&ticket(number, file)).await) == *file);
    }
    let hash = |file: &Vec<u8>| blake3::hash(file).to_hex().to_string();
    let mut last = [hash(&files[1]), hash(&files[2])];
    last.sort();
    assert_eq!(names(&site.shelf()), last, "the oldest made room");

    // While one is under way another waits; then it comes.
    let other = content(4, 50);
    site.outward.has(&other);
    site.outward.may.forget_permits(1_000_000);
    let (first, second) = (ticket(0, &files[0]), ticket(9, &other));
    let (first, second, ()) =
        tokio::join!(site.world.files.fetch(&first), site.world.files.fetch(&second), async {
            until(|| site.outward.asked_from().len() == 4).await;
            // If it did not wait, it would ask now.
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(site.outward.asked_from().len(), 4);
            site.outward.may.add_permits(1000);
        });
    let (first, second) = (read(first), read(second));
    assert!(first == files[0] && second == other);
    assert!(names(&site.shelf()).iter().all(|name| !name.ends_with(".part")));
}
