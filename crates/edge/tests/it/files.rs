//! Files from the first byte to the receipt: tus as a client speaks it, the audit, the queue, and what breaks in between.
use std::time::Duration;

use data_encoding::BASE64;
use edge::{
    config::{FileSettings, Limits},
    gates::{FILES, MESSAGES},
};
use protocol::{
    Bucket, Code, FileId, Outcome, Reply, Request, ServiceRequestId,
    catalogue::{replies, requests},
};
use reqwest::{Method, Response};
use runtime::config::TimeSpan;

use crate::{
    files_fixture::{CHANNEL, FileGate, Says, customer, settings, token_of},
    world::{Gate, LONG, World, gate_path, problem},
};

const PORTION: &str = "application/offset+octet-stream";

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) gate: FileGate,
}

pub(crate) fn file_settings() -> FileSettings {
    FileSettings {
        keep_free_bytes: 0,
        keep_after_receipt: TimeSpan(Duration::from_secs(3600)),
        ..FileSettings::default()
    }
}

impl Site {
    async fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let settings = file_settings();
        Self::on(folder, settings).await
    }

    pub(crate) async fn on(folder: tempfile::TempDir, files: FileSettings) -> Site {
        let gate = FileGate::start(&folder.path().join("gates/1").join(FILES));
        let messages = Gate::start(&gate_path(folder.path()));
        let world =
            World::with_files(folder, messages, (Limits::default(), files), "http://127.0.0.1:9").await;
        world.gate.push(&settings(), LONG).await.unwrap();
        Site { world, gate }
    }

    /// Ends edge and gates; what is left can start others.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.gate.kill();
        let (folder, gate) = self.world.stop().await;
        gate.kill();
        // Its listener may outlive this by a moment.
        std::fs::remove_file(gate_path(folder.path())).unwrap();
        folder
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let client = self.world.client.request(method, self.world.url(path));
        client
            .header("tus-resumable", "1.0.0")
            .header("gridesk-channel", CHANNEL.as_str())
            .bearer_auth(token_of(customer(1)))
    }

    /// The center will name the next file so.
    pub(crate) fn names(&self, n: u128) -> FileId {
        let file = FileId::mint(Bucket::of(b"f"), n << 12);
        let reply = replies::FileCreate { file, expires_ms: 9_999_999_999_999 };
        self.world.gate.answers(Outcome::Done(Reply::FileCreate(reply)));
        file
    }

    pub(crate) fn creation(&self, size: u64, name: &str) -> reqwest::RequestBuilder {
        let request = ServiceRequestId::mint(Bucket::of(b"r"), 1 << 12).to_string();
        let metadata = format!(
            "filename {},request {}",
            BASE64.encode(name.as_bytes()),
            BASE64.encode(request.as_bytes())
        );
        self.ask(Method::POST, "/v1/files")
            .header("upload-length", size.to_string())
            .header("upload-metadata", metadata)
    }

    pub(crate) async fn create(&self, n: u128, size: u64) -> FileId {
        let file = self.names(n);
        let created = self.creation(size, "说明.txt").send().await.unwrap();
        assert_eq!(created.status(), 201, "{}", created.text().await.unwrap());
        assert_eq!(created.headers()["location"], format!("/v1/files/{file}").as_str());
        file
    }

    pub(crate) async fn patch(&self, file: FileId, offset: u64, bytes: Vec<u8>) -> Response {
        self.ask(Method::PATCH, &format!("/v1/files/{file}"))
            .header("content-type", PORTION)
            .header("upload-offset", offset.to_string())
            .body(bytes)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn head(&self, file: FileId) -> Response {
        self.ask(Method::HEAD, &format!("/v1/files/{file}")).send().await.unwrap()
    }

    async fn offset(&self, file: FileId) -> u64 {
        self.head(file).await.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn send(&self, n: u128, bytes: &[u8]) -> FileId {
        let file = self.create(n, bytes.len() as u64).await;
        let sent = self.patch(file, 0, bytes.to_vec()).await;
        assert_eq!(sent.status(), 204, "{}", sent.text().await.unwrap());
        file
    }

    pub(crate) async fn comes_to(&self, file: FileId, state: &str) {
        let waiting = async {
            loop {
                let head = self.head(file).await;
                if (state == "ended" && head.status() == 410)
                    || head.headers().get("gridesk-file-state").is_some_and(|found| found == state)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{file} never came to {state}"));
    }

    /// What the center was told of a file's end.
    pub(crate) async fn told(&self, file: FileId) -> String {
        let found = || {
            let seen = self.world.gate.seen.lock().unwrap();
            seen.iter().find_map(|asked| match &asked.request {
                Request::FileEnd(requests::FileEnd { file: ended, why }) if *ended == file => {
                    Some(why.to_string())
                }
                Request::FileResult(requests::FileResult { file: ended, why, .. }) if *ended == file => {
                    Some(why.to_string())
                }
                _ => None,
            })
        };
        crate::world::until(|| found().is_some()).await;
        found().unwrap()
    }
}

/// Text that neither is one piece nor shrinks to nothing.
fn long_text(len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 32);
    for n in 0u64.. {
        text.extend_from_slice(format!("{},{}\n", n, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes());
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len - 1);
    text.push(b'\n');
    text
}

#[tokio::test]
async fn a_file_comes_in_portions_passes_and_crosses_in_pieces() {
    let site = Site::start().await;
    let bytes = long_text(700_000);
    let file = site.create(1, bytes.len() as u64).await;
    let first = site.patch(file, 0, bytes[..300_000].to_vec()).await;
    assert_eq!(
        (first.status().as_u16(), first.headers()["upload-offset"].to_str().unwrap()),
        (204, "300000")
    );
    assert!(first.headers()["upload-expires"].to_str().unwrap().ends_with(" GMT"));
    assert_eq!(site.offset(file).await, 300_000);
    assert_eq!(site.patch(file, 300_000, bytes[300_000..].to_vec()).await.status(), 204);
    site.comes_to(file, "stored").await;
    assert_eq!(site.gate.has(file).as_deref(), Some(&bytes[..]));
    assert!(*site.gate.compressed.lock().unwrap() > 0, "text shrinks");
    assert_eq!(site.gate.offers.lock().unwrap().len(), 1);
    problem(site.ask(Method::DELETE, &format!("/v1/files/{file}")).send().await.unwrap(), Code::Conflict)
        .await;
}

#[tokio::test]
async fn what_a_tus_client_does_wrong_is_told_and_nothing_is_lost() {
    let site = Site::start().await;
    let file = site.create(1, 10).await;
    assert_eq!(site.patch(file, 0, b"12345".to_vec()).await.status(), 204);
    problem(site.patch(file, 0, b"12345".to_vec()).await, Code::UploadOffset).await;
    problem(site.patch(file, 9, b"1".to_vec()).await, Code::UploadOffset).await;
    problem(site.patch(file, 5, b"123456".to_vec()).await, Code::TooLarge).await;
    assert_eq!(site.offset(file).await, 5, "a portion that is too long is not kept");
    let path = format!("/v1/files/{file}");
    let portion = |sum: &str| {
        let asked = site.ask(Method::PATCH, &path).header("content-type", PORTION);
        asked.header("upload-offset", "5").header("upload-checksum", sum.to_owned()).body("abcd\n")
    };
    problem(portion("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=").send().await.unwrap(), Code::ChecksumMismatch).await;
    problem(portion("crc32 AAAA").send().await.unwrap(), Code::InvalidRequest).await;
    assert_eq!(site.offset(file).await, 5);
    let other = site.world.client.head(site.world.url(&path)).header("tus-resumable", "1.0.0");
    let other = other.bearer_auth(token_of(customer(2))).send().await.unwrap();
    assert_eq!(other.status(), 404, "another customer's");
    let nobody = site.world.client.patch(site.world.url(&path)).header("tus-resumable", "1.0.0");
    problem(nobody.send().await.unwrap(), Code::Unauthenticated).await;
    let old =
        site.world.client.patch(site.world.url(&path)).header("tus-resumable", "0.2.2").send().await.unwrap();
    assert_eq!(old.headers()["tus-version"], "1.0.0");
    problem(old, Code::TusVersion).await;
    let wrong_kind =
        site.ask(Method::PATCH, &path).header("upload-offset", "5").body("x").send().await.unwrap();
    problem(wrong_kind, Code::UnsupportedMediaType).await;
    let sum = "sha256 2R1Id2nnPhpPnBmo3PdJqrzKbEaFmRCIVvMIwb5p6+4=";
    problem(portion(sum).send().await.unwrap(), Code::ChecksumMismatch).await;
    let mut sha1 = sha1_of(b"abcd\n");
    sha1.insert_str(0, "sha1 ");
    assert_eq!(portion(&sha1).send().await.unwrap().status(), 204);
    site.comes_to(file, "stored").await;

    for (length, code) in
        [("0", Code::InvalidRequest), ("-1", Code::InvalidRequest), ("68719476736", Code::TooLarge)]
    {
        let asked = site.creation(1, "x").header("upload-length", length);
        // The second of the two headers: twice is wrong as well.
        problem(asked.send().await.unwrap(), Code::InvalidRequest).await;
        let alone = site.ask(Method::POST, "/v1/files").header("upload-length", length).header(
            "upload-metadata",
            format!(
                "request {}",
                BASE64.encode(ServiceRequestId::mint(Bucket::of(b"r"), 1 << 12).to_string().as_bytes())
            ),
        );
        problem(alone.send().await.unwrap(), code).await;
    }
    for name in ["a\nb", "\u{1b}[2J.pdf", "x\u{202e}fdp.exe"] {
        problem(site.creation(5, name).send().await.unwrap(), Code::InvalidRequest).await;
    }
    let abilities =
        site.world.client.request(Method::OPTIONS, site.world.url("/v1/files")).send().await.unwrap();
    assert_eq!(abilities.headers()["tus-version"], "1.0.0");
    assert!(abilities.headers()["tus-extension"].to_str().unwrap().contains("concatenation"));
}

fn sha1_of(bytes: &[u8]) -> String {
    use sha1::Digest;
    BASE64.encode(&sha1::Sha1::digest(bytes))
}

#[tokio::test]
async fn names_are_data_whatever_they_look_like() {
    let site = Site::start().await;
    let names = ["../../etc/passwd", "C:\\con", "/dev/null", "..", "证明文件 (1).txt", ".htaccess"];
    for (n, name) in (1..).zip(names) {
        let file = site.names(n);
        let created = site.creation(3, name).send().await.unwrap();
        assert_eq!(created.status(), 201, "{name}");
        assert_eq!(site.patch(file, 0, b"ab\n".to_vec()).await.status(), 204);
        site.comes_to(file, "stored").await;
    }
    let folder = site.world.folder.path().join("data/files");
    let found =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // Beside the folder of what was fetched from inside.
    assert!(found.filter(|name| name != "fetched").all(|name| name.parse::<FileId>().is_ok()));
}

#[tokio::test]
async fn creation_with_upload_and_parts_that_become_one() {
    let site = Site::start().await;
    let file = site.names(1);
    let created =
        site.creation(6, "x.txt").header("content-type", PORTION).body("whole\n").send().await.unwrap();
    assert_eq!(
        (created.status().as_u16(), &created.headers()["upload-offset"]),
        (201, &"6".parse().unwrap())
    );
    site.comes_to(file, "stored").await;

    let mut parts = Vec::new();
    for text in ["first\n", "second\n"] {
        let part = site
            .ask(Method::POST, "/v1/files")
            .header("upload-concat", "partial")
            .header("upload-length", text.len().to_string())
            .header("content-type", PORTION)
            .body(text)
            .send()
            .await
            .unwrap();
        assert_eq!(part.status(), 201);
        parts.push(part.headers()["location"].to_str().unwrap().to_owned());
    }
    let whole = site.names(2);
    let request = ServiceRequestId::mint(Bucket::of(b"r"), 1 << 12).to_string();
    let joined = site
        .ask(Method::POST, "/v1/files")
        .header("upload-concat", format!("final;{} {}", parts[0], parts[1]))
        .header("upload-metadata", format!("request {},filename eA==", BASE64.encode(request.as_bytes())));
    let joined = joined.send().await.unwrap();
    assert_eq!(joined.status(), 201, "{}", joined.text().await.unwrap());
    site.comes_to(whole, "stored").await;
    assert_eq!(site.gate.has(whole).unwrap(), b"first\nsecond\n");
    let asked = site
        .world
        .gate
        .seen
        .lock()
        .unwrap()
        .iter()
        .filter(|a| matches!(a.request, Request::FileCreate(_)))
        .count();
    assert_eq!(asked, 2, "parts are none of the center's business");
}

#[tokio::test]
async fn what_the_rules_refuse_goes_nowhere_and_the_center_is_told_why() {
    let site = Site::start().await;
    let file = site.send(1, b"#!/bin/sh\nrm -rf /\n").await;
    site.comes_to(file, "ended").await;
    let told = site.told(file).await;
    assert!(told.starts_with("kind"), "{told}");
    assert!(site.gate.offers.lock().unwrap().is_empty());
    let body = site.world.folder.path().join(format!("data/files/{file}"));
    crate::world::until(|| !body.exists()).await;

    site.gate.says(Says::Refused);
    let file = site.send(2, b"refused inside\n").await;
    site.comes_to(file, "ended").await;
    assert_eq!(site.told(file).await, "macro");
}

#[tokio::test]
async fn a_withdrawn_file_does_not_cross() {
    let site = Site::start().await;
    let file = site.create(1, 10).await;
    site.patch(file, 0, b"12345".to_vec()).await;
    let gone = site.ask(Method::DELETE, &format!("/v1/files/{file}")).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(site.head(file).await.status(), 410);
    problem(site.patch(file, 5, b"12345".to_vec()).await, Code::UploadGone).await;
    assert_eq!(site.told(file).await, "withdrawn");
}

#[tokio::test]
async fn an_edge_that_ends_goes_on_where_it_was() {
    let site = Site::start().await;
    let bytes = long_text(600_000);
    let half = site.create(1, bytes.len() as u64).await;
    site.patch(half, 0, bytes[..200_000].to_vec()).await;
    site.gate.says(Says::NotNow);
    let queued = site.send(2, b"to cross later\n").await;
    site.comes_to(queued, "queued").await;
    let folder = site.stop().await;
    // What was written behind what was said to be here is not believed, and what nobody has a row for goes.
    let stray = folder.path().join(format!("data/files/{}", FileId::mint(Bucket::FIRST, 99 << 12)));
    std::fs::write(&stray, b"x").unwrap();
    let body = folder.path().join(format!("data/files/{half}"));
    let mut torn = std::fs::read(&body).unwrap();
    torn.extend_from_slice(b"torn");
    std::fs::write(&body, torn).unwrap();

    let settings = file_settings();
    let site = Site::on(folder, settings).await;
    site.comes_to(queued, "stored").await;
    assert_eq!(site.offset(half).await, 200_000);
    assert_eq!(site.patch(half, 200_000, bytes[200_000..].to_vec()).await.status(), 204);
    site.comes_to(half, "stored").await;
    assert_eq!(site.gate.has(half).as_deref(), Some(&bytes[..]));
    assert!(!stray.exists());
}

#[tokio::test]
async fn a_file_whose_bytes_are_gone_ends_as_lost() {
    let site = Site::start().await;
    site.gate.says(Says::NotNow);
    let file = site.send(1, b"about to be lost\n").await;
    site.comes_to(file, "queued").await;
    let folder = site.stop().await;
    std::fs::remove_file(folder.path().join(format!("data/files/{file}"))).unwrap();
    let settings = file_settings();
    let site = Site::on(folder, settings).await;
    site.comes_to(file, "ended").await;
    assert_eq!(site.told(file).await, "lost");
}

#[tokio::test]
async fn a_connection_that_breaks_and_a_receipt_that_is_forged_cost_nothing() {
    let site = Site::start().await;
    site.gate.says(Says::BreaksOffAfter(1));
    let bytes = long_text(800_000);
    let file = site.send(1, &bytes).await;
    site.comes_to(file, "stored").await;
    assert_eq!(site.gate.offers.lock().unwrap().len(), 2);

    site.gate.says(Says::Forged);
    let file = site.send(2, b"forged\n").await;
    let offers = || site.gate.offers.lock().unwrap().iter().filter(|offer| offer.file == file).count();
    crate::world::until(|| offers() >= 2).await;
    assert_eq!(site.head(file).await.headers()["gridesk-file-state"], "queued");
    site.gate.says(Says::Stored);
    site.comes_to(file, "stored").await;
}

#[tokio::test]
async fn a_gate_that_dies_is_taken_over_by_another() {
    let site = Site::start().await;
    let (other, _messages) = second_gate(&site);
    site.gate.says(Says::NotNow);
    other.says(Says::NotNow);
    let mut files = Vec::new();
    for n in 1..=12 {
        files.push(site.send(n, format!("file {n}\n").as_bytes()).await);
    }
    let offered = |gate: &FileGate| !gate.offers.lock().unwrap().is_empty();
    crate::world::until(|| offered(&site.gate) && offered(&other)).await;
    site.gate.kill();
    other.says(Says::Stored);
    for file in files {
        site.comes_to(file, "stored").await;
    }
    assert_eq!(other.taken.lock().unwrap().len(), 12);
}

/// Another gate comes.
fn second_gate(site: &Site) -> (FileGate, Gate) {
    let folder = site.world.folder.path().join("gates/2");
    (FileGate::start(&folder.join(FILES)), Gate::start(&folder.join(MESSAGES)))
}

#[tokio::test]
async fn a_gate_that_is_taken_away_ends_what_crosses_it_and_gives_up_its_queue() {
    let site = Site::start().await;
    let (other, messages) = second_gate(&site);
    crate::world::until(|| messages.peers.connected() == 1).await;
    site.gate.says(Says::NotNow);
    other.says(Says::NotNow);
    let mut files = Vec::new();
    for n in 1..=12 {
        files.push(site.send(n, format!("file {n}\n").as_bytes()).await);
    }
    let offered = |gate: &FileGate| gate.offers.lock().unwrap().len();
    crate::world::until(|| offered(&site.gate) > 0 && offered(&other) > 0).await;
    // As is done before an outer half is ended.
    std::fs::remove_file(gate_path(site.world.folder.path())).unwrap();
    crate::world::until(|| site.world.gate.peers.connected() == 0).await;
    other.says(Says::Stored);
    for file in files {
        site.comes_to(file, "stored").await;
    }
    assert_eq!(other.taken.lock().unwrap().len(), 12);
    let before = messages.asked();
    assert_eq!(site.ask(Method::GET, "/v1/accounts").send().await.unwrap().status(), 200);
    assert_eq!(messages.asked(), before + 1);
}

#[tokio::test]
async fn quotas_hold_and_the_center_hears_of_what_has_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let settings = FileSettings { customer_files: 2, ..file_settings() };
    let site = Site::on(folder, settings).await;
    let first = site.create(1, 10).await;
    site.create(2, 10).await;
    let third = site.names(3);
    problem(site.creation(10, "x").send().await.unwrap(), Code::QuotaExceeded).await;
    assert_eq!(site.told(third).await, "no-room");
    assert_eq!(site.ask(Method::DELETE, &format!("/v1/files/{first}")).send().await.unwrap().status(), 204);
    let body = site.world.folder.path().join(format!("data/files/{first}"));
    crate::world::until(|| !body.exists()).await;
    // Its row follows its bytes.
    for n in 4..1000 {
        let file = site.names(n);
        let created = site.creation(10, "x").send().await.unwrap();
        if created.status() == 201 {
            assert_eq!(created.headers()["location"], format!("/v1/files/{file}").as_str());
            return;
        }
        problem(created, Code::QuotaExceeded).await;
        assert_eq!(site.told(file).await, "no-room");
    }
    panic!("its place is never free again");
}
