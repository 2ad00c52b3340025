//! The gateway's JSON: keys and values in base64, 64-bit numbers as text, what is zero or empty left out.
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use super::{EtcdError, LeaseId, encode};

/// A key with its value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// Its value; empty where it was deleted.
    pub value: Vec<u8>,
    /// The revision of the write that made it.
    pub create_revision: u64,
    /// The revision of its last write.
    pub mod_revision: u64,
    /// How often it was written since it was made.
    pub version: u64,
    /// The lease it is bound to.
    pub lease: Option<LeaseId>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was written.
    Put(KeyValue),
    /// It was deleted, or its lease ended.
    Delete {
        /// Which key.
        key: String,
        /// The revision of its end.
        revision: u64,
    },
}

impl Event {
    /// The revision at which it happened.
    pub fn revision(&self) -> u64 {
        match self {
            Event::Put(now) => now.mod_revision,
            Event::Delete { revision, .. } => *revision,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Headed {
    #[serde(default)]
    pub(super) header: Header,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawKey {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "number")]
    create_revision: u64,
    #[serde(default, deserialize_with = "number")]
    mod_revision: u64,
    #[serde(default, deserialize_with = "number")]
    version: u64,
    #[serde(default, deserialize_with = "signed")]
    lease: i64,
}

impl TryFrom<RawKey> for KeyValue {
    type Error = EtcdError;
    fn try_from(raw: RawKey) -> Result<Self, EtcdError> {
        let bytes = |text: &str| STANDARD.decode(text).map_err(|error| EtcdError::Form(error.to_string()));
        let key = String::from_utf8(bytes(&raw.key)?)
            .map_err(|_| EtcdError::Form("a key that is no text".to_owned()))?;
        Ok(KeyValue {
            key,
            value: bytes(&raw.value)?,
            create_revision: raw.create_revision,
            mod_revision: raw.mod_revision,
            version: raw.version,
            lease: (raw.lease != 0).then_some(LeaseId(raw.lease)),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<RawKey>,
    #[serde(default)]
    pub(super) more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Deleted {
    #[serde(default, deserialize_with = "number")]
    pub(super) deleted: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct TxnAnswer {
    #[serde(default)]
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    pub(super) responses: Vec<TxnPart>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TxnPart {
    #[serde(default)]
    pub(super) response_range: Option<Range>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Lease {
    #[serde(default, rename = "ID", deserialize_with = "signed")]
    pub(super) id: i64,
    #[serde(default, rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: u64,
}

/// One message of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Streamed<T> {
    pub(super) result: T,
}

#[derive(Debug, Deserialize)]
pub(super) struct WatchAnswer {
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default)]
    pub(super) cancel_reason: String,
    #[serde(default, deserialize_with = "number")]
    pub(super) compact_revision: u64,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Debug, Deserialize)]
struct RawEvent {
    #[serde(default, rename = "type")]
    kind: String,
    kv: RawKey,
}

impl WatchAnswer {
    pub(super) fn events(self) -> Result<Vec<Event>, EtcdError> {
        let event = |raw: RawEvent| {
            let kv = KeyValue::try_from(raw.kv)?;
            Ok(match raw.kind.as_str() {
                "DELETE" => Event::Delete { key: kv.key, revision: kv.mod_revision },
                _ => Event::Put(kv),
            })
        };
        self.events.into_iter().map(event).collect()
    }
}

/// A put, as a request or as a part of a transaction.
pub(super) fn put(key: &str, value: &[u8], lease: Option<LeaseId>) -> Value {
    let lease = lease.map_or(0, |lease| lease.0).to_string();
    json!({ "key": encode(key.as_bytes()), "value": encode(value), "lease": lease })
}

/// The code and the message of an answer that is an error: of a call, or of a stream.
pub(super) fn refusal(answer: &[u8]) -> Option<(i64, String)> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Value,
        #[serde(default)]
        code: i64,
    }
    // A long answer is none, and not worth being read twice.
    let Refusal { error, code } = (answer.len() < 4096).then(|| serde_json::from_slice(answer).ok())??;
    let words = |value: &Value| value.as_str().map(|text| text.chars().take(300).collect::<String>());
    match &error {
        Value::String(_) => Some((code, words(&error)?)),
        Value::Object(fields) => {
            let code = fields.get("grpc_code").and_then(Value::as_i64).unwrap_or(code);
            Some((code, fields.get("message").and_then(words).unwrap_or_default()))
        }
        _ => None,
    }
}

/// A number as text, as the gateway writes it, or as a number.
fn signed<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i64),
    }
    match Either::deserialize(d)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

fn number<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    u64::try_from(signed(d)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_the_gateway_writes_them() {
        let range: Range = serde_json::from_str(
            r#"{"header":{"cluster_id":"324","revision":"2"},"kvs":[{"key":"Zm9v","create_revision":"2",
                "mod_revision":"2","version":"1","value":"YmFy","lease":"7587"}],"count":"1"}"#,
        )
        .unwrap();
        assert_eq!(range.header.revision, 2);
        let kv = KeyValue::try_from(range.kvs.into_iter().next().unwrap()).unwrap();
        assert_eq!(
            (kv.key.as_str(), kv.value.as_slice(), kv.lease),
            ("foo", &b"bar"[..], Some(LeaseId(7587)))
        );
        let gone: Streamed<Lease> =
            serde_json::from_str(r#"{"result":{"header":{"revision":"1"},"ID":"123"}}"#).unwrap();
        assert_eq!((gone.result.id, gone.result.ttl), (123, 0));
        let seen: Streamed<WatchAnswer> = serde_json::from_str(
            r#"{"result":{"header":{"revision":"3"},"events":[{"kv":{"key":"Zm9v","create_revision":"2",
                "mod_revision":"2","version":"1","value":"YmFy"}},{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"3"}}]}}"#,
        )
        .unwrap();
        let events = seen.result.events().unwrap();
        assert_eq!(events[1], Event::Delete { key: "foo".into(), revision: 3 });
        assert_eq!(events.iter().map(Event::revision).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn errors_of_calls_and_of_streams_are_read() {
        let call = br#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#;
        assert_eq!(refusal(call), Some((14, "etcdserver: no leader".into())));
        let stream = br#"{"error":{"grpc_code":14,"http_code":503,"message":"no leader"}}"#;
        assert_eq!(refusal(stream), Some((14, "no leader".into())));
        assert_eq!(refusal(br#"{"header":{}}"#), None);
        assert_eq!(refusal(b"not found"), None);
    }
}
