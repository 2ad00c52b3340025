//! The store of files in a bucket, with an S3 server of others: what is put, what is not, what is left after a kill, what comes back.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{said, tool};

const LONG: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
const BUCKET: &str = "files";
const PREFIX: &str = "gridesk/";

/// An S3 server on a port of its own, with one empty bucket.
struct Objects {
    server: Child,
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Objects {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let server = Command::new(tool("moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut objects = Objects { server, url: String::new(), client, _folder: folder };
        until("the S3 server listens", async || {
            let log = fs::read_to_string(&log).unwrap();
            let line = log.lines().find_map(|line| line.split_once("Running on "));
            objects.url = line.map(|(_, url)| url.trim().to_owned()).unwrap_or_default();
            log.ends_with('\n') && !objects.url.is_empty()
        })
        .await;
        objects.ask(Method::PUT, "", Vec::new()).await;
        objects
    }

    async fn ask(&self, method: Method, key: &str, body: Vec<u8>) -> Vec<u8> {
        let asked = self.client.request(method, format!("{}/{BUCKET}{key}", self.url));
        // The server does not look at signatures yet, but at whether somebody asks.
        let somebody = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let asked = asked.header("authorization", somebody);
        // Bytes as they are: the server would take anything else for a form.
        let answer =
            asked.header("content-type", "application/octet-stream").body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.bytes().await.unwrap().to_vec()
    }

    /// All keys, with their ETags.
    async fn keys(&self) -> BTreeMap<String, String> {
        let page = String::from_utf8(self.ask(Method::GET, "?list-type=2", Vec::new()).await).unwrap();
        assert!(page.contains("<IsTruncated>false</IsTruncated>"), "{page}");
        let between = |text: &str, tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        page.split("<Contents>").skip(1).map(|one| (between(one, "Key"), between(one, "ETag"))).collect()
    }

    /// That the bucket has these files whole, and nothing else, begun or done.
    async fn has_just(&self, files: &[&Content]) {
        let expected: Vec<String> = files.iter().map(|file| file.key()).collect();
        let mut found: Vec<String> = self.keys().await.into_keys().collect();
        found.sort();
        assert_eq!(found, sorted(expected));
        for file in files {
            assert!(self.ask(Method::GET, &format!("/{}", file.key()), Vec::new()).await == file.bytes);
        }
    }

    async fn begun(&self) -> usize {
        let page = self.ask(Method::GET, "?uploads", Vec::new()).await;
        String::from_utf8(page).unwrap().matches("<Upload>").count()
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// What a file in the store holds.
struct Content {
    hash: String,
    bytes: Vec<u8>,
}

impl Content {
    /// Bytes that nothing shrinks, the same for the same seed.
    fn new(seed: u8, len: usize) -> Self {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        Content { hash: blake3::hash(&bytes).to_hex().to_string(), bytes }
    }

    fn key(&self) -> String {
        let (first, rest) = self.hash.split_at(2);
        format!("{PREFIX}{first}/{rest}")
    }
}

/// A store, the notes beside it, and where they are kept.
struct Store {
    folder: tempfile::TempDir,
    url: String,
}

impl Store {
    fn new(objects: &Objects) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        Store { folder, url: objects.url.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self, file: &Content) -> PathBuf {
        let (first, rest) = file.hash.split_at(2);
        self.path("store").join(first).join(rest)
    }

    /// Puts something there under the file's name, as the inner half does.
    fn hold(&self, file: &Content, bytes: &[u8]) {
        let place = self.place(file);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, bytes).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o400)).unwrap();
    }

    fn gridesk(&self, action: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk"));
        command.arg("store").args(action);
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        command.env_remove("GRIDESK_LOG");
        command
    }

    fn in_bucket(&self, action: &[&str]) -> Command {
        let mut command = self.gridesk(action);
        command.args(["--bucket", BUCKET, "--endpoint", &self.url, "--prefix", PREFIX, "--allow-http"]);
        command.arg("--store").arg(self.path("store"));
        command
    }

    fn keep(&self, options: &[&str]) -> Command {
        let mut command = self.in_bucket(&["keep"]);
        command.args(options).arg("--state").arg(self.path("state"));
        command
    }

    fn once(&self, options: &[&str]) -> Output {
        self.keep(options).arg("--once").output().unwrap()
    }

    fn get(&self, file: &Content, out: &Path) -> Output {
        self.in_bucket(&["get", &file.hash]).arg("--out").arg(out).output().unwrap()
    }

    /// What the notes say: how many are kept, how many are not, and all of it.
    fn status(&self) -> (u64, u64, String) {
        let output = self.gridesk(&["status", "--json", "--state"]).arg(self.path("state")).output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let first = text.lines().next().and_then(|line| serde_json::from_str(line).ok());
        let all: serde_json::Value = first.unwrap_or_default();
        (all["kept_files"].as_u64().unwrap_or(0), all["not_kept_files"].as_u64().unwrap_or(0), text)
    }
}

fn ended(output: &Output, code: i32, says: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    for word in says {
        assert!(said(output).contains(word), "{word}: {}", said(output));
    }
}

#[tokio::test]
async fn system_store_is_put_whole_and_what_is_damaged_is_not() {
    let objects = Objects::start().await;
    let store = Store::new(&objects);
    let good: Vec<Content> = [1, 1000, 8 * MIB - 1, 8 * MIB, 20 * MIB]
        .iter()
        .zip(0..)
        .map(|(len, seed)| Content::new(seed, *len))
        .collect();
    let damaged = [Content::new(10, 500), Content::new(11, 9 * MIB)];
    for file in &good {
        store.hold(file, &file.bytes);
    }
    for file in &damaged {
        let mut bytes = file.bytes.clone();
        *bytes.last_mut().unwrap() ^= 1;
        store.hold(file, &bytes);
    }
    fs::create_dir(store.path("store/aside")).unwrap();
    fs::write(store.path("store/aside/other"), "not of the store").unwrap();
    ended(&store.once(&[]), 1, &["2 files are not kept, 5 were put", "not what its name says"]);
    objects.has_just(&good.iter().collect::<Vec<_>>()).await;
    assert_eq!(objects.begun().await, 0);
    let etags = objects.keys().await;
    assert!(
        etags[&good[4].key()].trim_end_matches("&quot;").trim_end_matches('"').ends_with("-3"),
        "{etags:?}"
    );
    let (kept, not_kept, text) = store.status();
    assert_eq!((kept, not_kept), (5, 2), "{text}");
    assert!(damaged.iter().all(|file| text.contains(&file.hash)), "{text}");

    // Once they are whole again, they are put, and nothing else is.
    for file in &damaged {
        fs::remove_file(store.place(file)).unwrap();
        store.hold(file, &file.bytes);
    }
    ended(&store.once(&[]), 0, &["put=2"]);
    objects.has_just(&good.iter().chain(&damaged).collect::<Vec<_>>()).await;
    ended(&store.once(&[]), 0, &[]);
    let (kept, not_kept, text) = store.status();
    assert_eq!((kept, not_kept), (7, 0), "{text}");
    assert!(text.contains(r#""put":0"#), "{text}");
}

#[tokio::test]
async fn system_store_goes_on_after_a_kill_and_ends_when_it_is_told() {
    let objects = Objects::start().await;
    let store = Store::new(&objects);
    let lens = (0..60).map(|_| 100_000).chain([20 * MIB, 20 * MIB, 20 * MIB]);
    let files: Vec<Content> = lens.zip(0..).map(|(len, seed)| Content::new(seed, len)).collect();
    for file in &files {
        store.hold(file, &file.bytes);
    }
    for before in [3, 20] {
        let mut keeping = store.keep(&[]).stderr(Stdio::null()).spawn().unwrap();
        until("some are there", async || objects.keys().await.len() >= before).await;
        keeping.kill().unwrap();
        keeping.wait().unwrap();
        let (kept, _, text) = store.status();
        assert!(kept < files.len() as u64, "it was too fast to be killed in the middle: {text}");
    }
    ended(&store.once(&[]), 0, &[]);
    objects.has_just(&files.iter().collect::<Vec<_>>()).await;
    assert_eq!(store.status().0, files.len() as u64);

    // One that goes on finds what comes, lets no other beside it, and ends when it is told.
    let late = Content::new(200, 10 * MIB);
    let keeping = store.keep(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let (lock, holder) = (store.path("state/gridesk.lock"), format!("{} ", keeping.id()));
    until("it holds the notes", async || fs::read_to_string(&lock).unwrap().starts_with(&holder)).await;
    ended(&store.once(&[]), 1, &["is in use by process"]);
    store.hold(&late, &late.bytes);
    until("what came is kept", async || store.status().0 == files.len() as u64 + 1).await;
    kill_process(Pid::from_child(&keeping), Signal::TERM).unwrap();
    ended(&keeping.wait_with_output().unwrap(), 0, &["SIGTERM"]);
    objects.has_just(&files.iter().chain([&late]).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn system_store_says_what_to_do_where_the_bucket_does_not_take_it() {
    let mut objects = Objects::start().await;
    let store = Store::new(&objects);
    let file = Content::new(1, 1000);
    store.hold(&file, &file.bytes);
    ended(
        &store.keep(&["--once"]).env_remove("AWS_SECRET_ACCESS_KEY").output().unwrap(),
        1,
        &["AWS_SECRET_ACCESS_KEY is not set", "environment"],
    );
    let other = |bucket: &str, endpoint: &str| {
        let mut command = store.gridesk(&["keep", "--once", "--bucket", bucket, "--endpoint", endpoint]);
        command.arg("--store").arg(store.path("store")).arg("--state").arg(store.path("other"));
        command
    };
    ended(&other(BUCKET, &store.url).output().unwrap(), 1, &["is not encrypted", "--allow-http"]);
    // TLS is spoken, and what answers does not speak it.
    let tls = store.url.replace("http://", "https://");
    ended(&other(BUCKET, &tls).output().unwrap(), 1, &["cannot be reached"]);
    fs::remove_dir_all(store.path("other")).unwrap();
    let missing = other("no-such-bucket", &store.url).arg("--allow-http").output().unwrap();
    ended(&missing, 1, &["bucket no-such-bucket", "is not there itself"]);
    // Notes of one bucket are not believed of another.
    let another = other(BUCKET, &store.url).arg("--allow-http").output().unwrap();
    ended(&another, 1, &["a folder of its own"]);

    let strict = objects.client.post(format!("{}/moto-api/reset-auth", objects.url));
    let strict = strict.header("content-type", "application/octet-stream").body("0").send().await.unwrap();
    assert_eq!(strict.status(), StatusCode::OK);
    ended(&store.once(&[]), 1, &["refuses", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right"]);
    objects.server.kill().unwrap();
    objects.server.wait().unwrap();
    ended(&store.once(&[]), 1, &["cannot be reached", "--endpoint", "firewall"]);
    let (kept, not_kept, text) = store.status();
    assert_eq!((kept, not_kept), (0, 1), "{text}");
    assert!(text.contains("cannot be reached"), "{text}");
}

#[tokio::test]
async fn system_store_frees_what_is_kept_and_gets_it_back_verified() {
    let objects = Objects::start().await;
    let store = Store::new(&objects);
    let files = [Content::new(1, 1000), Content::new(2, 9 * MIB), Content::new(3, 2000)];
    for file in &files {
        store.hold(file, &file.bytes);
    }
    ended(&store.once(&["--free-after", "1"]), 0, &["put=3"]);
    assert!(files.iter().all(|file| store.place(file).exists()));
    // What the bucket lost is not freed, but put once more.
    objects.ask(Method::DELETE, &format!("/{}", files[2].key()), Vec::new()).await;
    ended(&store.once(&["--free-after", "0"]), 1, &["1 files are not kept"]);
    assert_eq!(files.each_ref().map(|file| store.place(file).exists()), [false, false, true]);
    ended(&store.once(&["--free-after", "0"]), 0, &["put=1"]);
    assert!(!store.place(&files[2]).exists());
    objects.has_just(&files.iter().collect::<Vec<_>>()).await;

    for (file, name) in files.iter().zip(["one", "two", "three"]) {
        let out = store.path(name);
        ended(&store.get(file, &out), 0, &[&objects.url]);
        assert!(fs::read(&out).unwrap() == file.bytes);
        ended(&store.get(file, &out), 1, &["is there already"]);
    }
    // What comes again is here again, is got from here, and freed again.
    store.hold(&files[0], &files[0].bytes);
    let here = store
        .gridesk(&["get", &files[0].hash, "--store"])
        .arg(store.path("store"))
        .arg("--out")
        .arg(store.path("here"))
        .output();
    ended(&here.unwrap(), 0, &["store"]);
    assert!(fs::read(store.path("here")).unwrap() == files[0].bytes);
    ended(&store.once(&["--free-after", "0"]), 0, &["freed=1"]);
    assert!(!store.place(&files[0]).exists());
    // What is damaged here comes from the bucket.
    store.hold(&files[0], b"something else");
    ended(&store.get(&files[0], &store.path("whole")), 0, &[&objects.url]);
    assert!(fs::read(store.path("whole")).unwrap() == files[0].bytes);

    // What was changed there, to the same length, is not handed out, nor is anything left of it.
    let mut bytes = files[1].bytes.clone();
    bytes[5 * MIB] ^= 1;
    objects.ask(Method::PUT, &format!("/{}", files[1].key()), bytes).await;
    let names = || {
        sorted(
            fs::read_dir(store.folder.path())
                .unwrap()
                .map(|one| one.unwrap().file_name().into_string().unwrap())
                .collect(),
        )
    };
    let before = names();
    ended(&store.get(&files[1], &store.path("changed")), 1, &["not what its hash says"]);
    ended(&store.get(&Content::new(99, 10), &store.path("none")), 1, &["has no gridesk/"]);
    assert_eq!(names(), before);
}
