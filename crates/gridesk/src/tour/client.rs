//! A customer's program: logs in with a code from the inbox, reads, writes with idempotency keys, waits for results.
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::{bounds::Phone, catalogue::replies};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Failed, Target, ensure};

const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// A result may take this long, and a short message to arrive.
const RESULT_WITHIN: Duration = Duration::from_secs(20);
/// How long to wait until another code may be asked for, where somebody has just asked for one.
const RESEND_WITHIN: Duration = Duration::from_secs(70);

/// A logged-in customer.
pub(super) struct Client {
    http: reqwest::Client,
    portal: String,
    sim: String,
    access_token: Option<String>,
    /// What was seen last: later reads insist on it.
    consistency: Mutex<Option<String>>,
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) detail: String,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Failed(format!("{} {}: {}", refusal.status, refusal.code, refusal.detail))
    }
}

impl From<reqwest::Error> for Failed {
    fn from(error: reqwest::Error) -> Self {
        // The source says why, such as a refused connection.
        let why = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Failed(format!("{error}{why}"))
    }
}

/// What a write was answered with.
pub(super) struct Written<T> {
    /// Under which operation it was taken, where the answer says so.
    pub(super) operation: Option<String>,
    pub(super) result: T,
}

/// A callback of the payment provider, and its answer.
#[derive(Deserialize)]
pub(super) struct Told {
    pub(super) transaction: String,
    pub(super) status: u16,
    pub(super) body: String,
}

impl Told {
    /// Fails unless the merchant took it.
    pub(super) fn taken(&self, what: &str) -> Result<(), Failed> {
        let Told { status, body, .. } = self;
        ensure!((200..300).contains(status), "{what} was answered {status} {body}");
        Ok(())
    }
}

impl Client {
    pub(super) fn new(target: &Target) -> Result<Self, reqwest::Error> {
        let policy = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(policy).timeout(REQUEST_WITHIN).build()?;
        Ok(Client {
            http,
            portal: target.portal.clone(),
            sim: target.sim.clone(),
            access_token: None,
            consistency: Mutex::new(None),
        })
    }

    /// Whether there is a system at all.
    pub(super) async fn portal_answers(&self) -> Result<(), reqwest::Error> {
        self.http.get(format!("{}/healthz", self.portal)).send().await.map(drop)
    }

    /// Asks for a code, reads it in the inbox, opens a session.
    pub(super) async fn log_in(&mut self, phone: &Phone) -> Result<(), Failed> {
        let before = self.inbox(phone, 0, 0).await?.next_after;
        let body = json!({ "phone": phone });
        let started: Written<replies::LoginStart> = self.start_log_in(&body).await?;
        let text =
            self.inbox(phone, before, u64::try_from(RESULT_WITHIN.as_millis()).unwrap_or(u64::MAX)).await?;
        let code = text.messages.iter().rev().find_map(|message| message.code.clone());
        let code = code.ok_or_else(|| Failed(format!("no code for {phone} in the inbox")))?;
        let body = json!({ "challenge": started.result.challenge, "code": code });
        let finished: Written<replies::LoginFinish> =
            self.write("/v1/login/finish", &body, &key("login")?).await?;
        let tokens = finished.result.tokens.ok_or_else(|| Failed("the session has no tokens".into()))?;
        self.access_token = Some(tokens.access_token);
        Ok(())
    }

    /// Asks for a code; where one was sent a moment ago, waits until the next may be.
    async fn start_log_in(&self, body: &serde_json::Value) -> Result<Written<replies::LoginStart>, Failed> {
        let begun = Instant::now();
        loop {
            match self.try_write("/v1/login/start", body, &key("login")?).await? {
                Err(refusal) if refusal.code == "too_many_requests" && begun.elapsed() < RESEND_WITHIN => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                ended => return Ok(ended?),
            }
        }
    }

    /// `GET path` → the reply, at least as fresh as what was seen before.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let begun = Instant::now();
        loop {
            let response = self.request(Method::GET, path).send().await?;
            let pending = response.headers().contains_key("gridesk-pending");
            match self.take(response).await {
                Ok((StatusCode::OK, value)) if !pending => return parse(path, value),
                Ok((StatusCode::OK, _)) => {}
                Ok((status, _)) => return Err(Failed(format!("GET {path} was answered {status}"))),
                Err(refusal) if refusal.code == "not_yet_visible" => {}
                Err(refusal) => return Err(Failed(format!("GET {path}: {}", Failed::from(refusal)))),
            }
            ensure!(begun.elapsed() < RESULT_WITHIN, "GET {path}: what was written does not become visible");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `POST path` → the result, waited for. A refusal is a failure.
    pub(super) async fn write<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Written<T>, Failed> {
        Ok(self.try_write(path, body, key).await??)
    }

    /// As `write`; a refusal is an answer.
    pub(super) async fn try_write<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Result<Written<T>, Refusal>, Failed> {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key);
        let response = request.header("Prefer", "wait=10").json(body).send().await?;
        let location = header(&response, "location");
        let operation =
            location.as_deref().and_then(|l| l.strip_prefix("/v1/operations/")).map(str::to_owned);
        let (status, value) = match self.take(response).await {
            Ok(taken) => taken,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if status != StatusCode::ACCEPTED {
            return Ok(Ok(Written { operation, result: parse(path, value)? }));
        }
        let Some(id) = &operation else {
            return Err(Failed(format!("POST {path} was accepted without saying as what")));
        };
        match self.result(id).await? {
            Ok(result) => Ok(Ok(Written { operation, result: parse(path, result)? })),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Waits for an accepted write's result.
    async fn result(&self, operation: &str) -> Result<Result<Value, Refusal>, Failed> {
        let begun = Instant::now();
        loop {
            let mut status: Value = self.read(&format!("/v1/operations/{operation}")).await?;
            match status["state"].as_str() {
                Some("accepted") => {}
                // `{"PaymentCreate": {…}}`: named by its operation.
                Some("applied") => {
                    let named = status["result"].as_object_mut().and_then(|named| named.values_mut().next());
                    return Ok(Ok(named.map(Value::take).unwrap_or_default()));
                }
                _ => {
                    let text = |name: &str| status["problem"][name].as_str().unwrap_or_default().to_owned();
                    return Ok(Err(Refusal { status: 422, code: text("code"), detail: text("detail") }));
                }
            }
            ensure!(begun.elapsed() < RESULT_WITHIN, "operation {operation} has no result in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Reads until what is read is as it should be.
    pub(super) async fn read_until<T: DeserializeOwned>(
        &self,
        path: &str,
        wanted: &str,
        is_so: impl Fn(&T) -> bool,
    ) -> Result<T, Failed> {
        let begun = Instant::now();
        loop {
            let seen: T = self.read(path).await?;
            if is_so(&seen) {
                return Ok(seen);
            }
            ensure!(begun.elapsed() < RESULT_WITHIN, "{wanted} did not come to be within {RESULT_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Has the simulated provider settle an order, as `how` says; gives the answers to its callbacks.
    pub(super) async fn settle(&self, order: &str, pay_url: &str, how: Value) -> Result<Vec<Told>, Failed> {
        #[derive(Deserialize)]
        struct Settled {
            callbacks: Vec<Told>,
        }
        let mut body = how;
        body["url"] = json!(pay_url);
        let url = format!("{}/pay/orders/{order}/settle", self.sim);
        let response = self.http.post(url).json(&body).send().await?;
        let (_, value) = self.take(response).await?;
        let settled: Settled = parse("settle", value)?;
        Ok(settled.callbacks)
    }

    async fn inbox(&self, phone: &Phone, after: i64, wait_ms: u64) -> Result<Inbox, Failed> {
        let url = format!("{}/inbox/messages?to={phone}&after={after}&wait_ms={wait_ms}", self.sim);
        let (_, value) = self.take(self.http.get(url).send().await?).await?;
        parse("the inbox", value)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.portal));
        if let Some(token) = &self.access_token {
            request = request.bearer_auth(token);
        }
        match &*self.consistency.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(token) => request.header("Consistency-Token", token),
            None => request,
        }
    }

    /// The status and body of an answer; anything from 400 on is a refusal.
    async fn take(&self, response: Response) -> Result<(StatusCode, Value), Refusal> {
        let status = response.status();
        if let Some(token) = header(&response, "consistency-token") {
            *self.consistency.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        }
        let text = response.text().await.unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.as_u16() < 400 {
            return Ok((status, value));
        }
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        let code = field("code").unwrap_or_default();
        let detail = field("detail").or_else(|| field("error"));
        let detail = detail.unwrap_or_else(|| text.chars().take(200).collect());
        Err(Refusal { status: status.as_u16(), code, detail })
    }
}

#[derive(Deserialize)]
struct Inbox {
    messages: Vec<InboxMessage>,
    next_after: i64,
}

#[derive(Deserialize)]
struct InboxMessage {
    code: Option<String>,
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn parse<T: DeserializeOwned>(what: &str, value: Value) -> Result<T, Failed> {
    serde_json::from_value(value)
        .map_err(|error| Failed(format!("{what}: the answer is not as documented: {error}")))
}

/// A fresh idempotency key.
pub(super) fn key(what: &str) -> Result<String, Failed> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failed(format!("no random numbers: {error}")))?;
    Ok(format!("tour-{what}-{}", data_encoding::HEXLOWER.encode(&bytes)))
}
