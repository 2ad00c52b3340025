//! A headless Chromium, driven as a person drives it, over W3C WebDriver.
//!
//! The protocol is JSON over HTTP, and what the tests use of it is what is here. The crates that speak it bring a
//! licence that the project does not take, or a dozen further crates.
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

/// How long an element or an address is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// The key under which WebDriver names elements (W3C WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const MISSING: &str = "these tests drive a browser: apt-get install chromium chromium-driver fonts-noto-cjk \
                       (`./test` installs them; `./test --quick` does without)";

pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";

/// How the browser is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// A phone's screen instead of a desktop's.
    pub(crate) is_phone: bool,
    /// Whether pages may run scripts.
    pub(crate) has_script: bool,
}

pub(crate) const DESKTOP: Kind = Kind { is_phone: false, has_script: true };

/// A browser with a profile of its own. Dropping it ends it.
pub(crate) struct Browser {
    http: reqwest::Client,
    driver: Child,
    /// Kept, so that the driver can go on writing to it.
    _said: BufReader<ChildStdout>,
    session: String,
    /// Whether pages may run scripts.
    pub(crate) has_script: bool,
    /// Pages are asked for by their path here.
    home: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one whose pages are those of `home`, such as `http://127.0.0.1:8080`.
    pub(crate) async fn start(home: &str, kind: Kind) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let spawned =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = spawned.unwrap_or_else(|error| panic!("chromedriver: {error}; {MISSING}"));
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let lines = said.by_ref().lines().map_while(Result::ok);
        let port = lines.filter_map(|line| {
            line.rsplit_once("started successfully on port ")
                .map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        let port: u16 = port.filter_map(|port| port.parse().ok()).next().expect("chromedriver says its port");
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            "--lang=en-US",
        ]
        .map(String::from)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({
            "args": arguments,
            "prefs": { "intl.accept_languages": "en-US,en" },
        });
        if kind.is_phone {
            let screen =
                json!({ "width": 390, "height": 844, "pixelRatio": 1, "mobile": true, "touch": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": screen });
        }
        let mut browser = Browser {
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap(),
            driver,
            _said: said,
            session: format!("http://127.0.0.1:{port}/session"),
            has_script: kind.has_script,
            home: home.to_owned(),
            _profile: profile,
        };
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "implicit": PATIENCE.as_millis() as u64, "pageLoad": 30_000, "script": 20_000 },
        });
        let opened =
            browser.ask(Method::POST, "", json!({ "capabilities": { "alwaysMatch": wanted } })).await;
        let opened = opened.unwrap_or_else(|error| panic!("no browser: {error}; {MISSING}"));
        browser.session = format!("{}/{}", browser.session, opened["sessionId"].as_str().unwrap());
        if !kind.has_script {
            browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        }
        browser
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        let request = self.http.request(method.clone(), format!("{}{path}", self.session));
        let request = if method == Method::POST { request.json(&body) } else { request };
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let is_good = answer.status().is_success();
        let said: Value = answer.json().await.map_err(|error| error.to_string())?;
        if is_good { Ok(said["value"].clone()) } else { Err(format!("{path}: {}", said["value"]["message"])) }
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        match self.ask(Method::POST, path, body).await {
            Ok(value) => value,
            Err(error) => panic!("{error}\nat {}\n{}", self.url().await, self.text("body").await),
        }
    }

    /// A command of Chromium's own.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Opens a page by its path, or any by its address.
    pub(crate) async fn open(&self, place: &str) {
        let url = if place.starts_with('/') { format!("{}{place}", self.home) } else { place.to_owned() };
        self.post("/url", json!({ "url": url })).await;
    }

    pub(crate) async fn back(&self) {
        self.post("/back", json!({})).await;
    }

    /// Where one is; within the portal, the path.
    pub(crate) async fn url(&self) -> String {
        let url = self.get("/url").await.as_str().unwrap().to_owned();
        url.strip_prefix(&self.home).map(str::to_owned).unwrap_or(url)
    }

    /// Waits until the address is one like that.
    pub(crate) async fn until_at(&self, is_there: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let url = self.url().await;
            if is_there(&url) {
                return url;
            }
            assert!(begun.elapsed() < PATIENCE, "still at {url}\n{}", self.text("body").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn element(&self, css: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": css })).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// What can be read of the first element that fits, which is waited for.
    pub(crate) async fn text(&self, css: &str) -> String {
        let asked =
            self.ask(Method::POST, "/element", json!({ "using": "css selector", "value": css })).await;
        let Ok(found) = asked else {
            panic!("no {css} at {:?}", self.ask(Method::GET, "/url", Value::Null).await)
        };
        let element = found[ELEMENT].as_str().unwrap();
        self.get(&format!("/element/{element}/text")).await.as_str().unwrap().to_owned()
    }

    /// What can be read of all elements that fit, at least one.
    pub(crate) async fn texts(&self, css: &str) -> Vec<String> {
        let found = self.post("/elements", json!({ "using": "css selector", "value": css })).await;
        let mut texts = Vec::new();
        for element in found.as_array().unwrap() {
            let text = self.get(&format!("/element/{}/text", element[ELEMENT].as_str().unwrap())).await;
            texts.push(text.as_str().unwrap().to_owned());
        }
        texts
    }

    /// An attribute of the first element that fits.
    pub(crate) async fn attribute(&self, css: &str, name: &str) -> String {
        let element = self.element(css).await;
        self.get(&format!("/element/{element}/attribute/{name}"))
            .await
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into an emptied field.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/clear"), json!({})).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Chooses a file of this machine in a field for files.
    pub(crate) async fn choose_file(&self, css: &str, file: &std::path::Path) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": file.to_str().unwrap() })).await;
    }

    /// Presses and releases a key, wherever the focus is.
    pub(crate) async fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] });
        self.post("/actions", actions).await;
    }

    /// What the body of a function returns, run in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// What the body of an asynchronous function comes to, run in the page.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, (e) => done('' + e));"
        );
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    /// By how many pixels the page is wider than the screen.
    pub(crate) async fn excess_px(&self) -> i64 {
        let root = "document.documentElement";
        self.run(&format!("return {root}.scrollWidth - {root}.clientWidth")).await.as_i64().unwrap()
    }

    fn end_session(&self) -> std::io::Result<()> {
        let Some((host, path)) = self.session.trim_start_matches("http://").split_once('/') else {
            return Ok(());
        };
        let mut driver = TcpStream::connect(host)?;
        driver.set_read_timeout(Some(PATIENCE))?;
        write!(driver, "DELETE /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        // It answers when Chromium has ended, and keeps the connection.
        driver.read(&mut [0; 512]).map(|_| ())
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", json!({ "type": kind })).await.as_array().unwrap().clone()
    }

    /// Errors in the console since this was last asked for.
    pub(crate) async fn console_errors(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// Hosts that were sent requests since this was last asked for, as `127.0.0.1:8080`.
    pub(crate) async fn hosts_asked(&self) -> BTreeSet<String> {
        let entries = self.log("performance").await;
        let urls = entries.iter().filter_map(|entry| {
            let entry: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let sent = entry["message"]["method"] == "Network.requestWillBeSent";
            sent.then(|| entry["message"]["params"]["request"]["url"].as_str().map(str::to_owned)).flatten()
        });
        let hosts = urls.filter_map(|url| {
            let (scheme, rest) = url.split_once("://")?;
            scheme.starts_with("http").then(|| rest.split('/').next().unwrap_or_default().to_owned())
        });
        hosts.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session, not with its driver.
        self.end_session().ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}
