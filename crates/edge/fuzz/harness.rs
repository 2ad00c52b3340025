//! What holds for every header, whoever sends it: the fuzzer or the tests.
use data_encoding::BASE64;
use protocol::bounds::IdempotencyKey;

use crate::tus::{Checksum, Concat, Metadata, VERSION, is_spoken, number};

/// A byte for which header it is, and its text. What is taken is within its bounds, and written anew is taken for the same.
pub(crate) fn headers(bytes: &[u8]) {
    let [which, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match which {
        b'c' => concat(text),
        b'k' => key(text),
        b'm' => metadata(text),
        b'n' => length(text),
        b's' => checksum(text),
        b'v' => assert_eq!(is_spoken(text), text.as_bytes() == VERSION.as_bytes()),
        _ => {}
    }
}

fn concat(text: &str) {
    let Ok(read) = Concat::read(text) else { return };
    let again = match &read {
        Concat::Part => "partial".to_owned(),
        Concat::Final(parts) => {
            assert!((1..=64).contains(&parts.len()));
            let addresses: Vec<_> = parts.iter().map(|part| format!("/v1/files/{part}")).collect();
            format!("final;{}", addresses.join(" "))
        }
    };
    assert_eq!(Concat::read(&again), Ok(read));
}

fn key(text: &str) {
    let Ok(key) = text.parse::<IdempotencyKey>() else { return };
    assert_eq!(key.as_str(), text);
    assert!((1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
}

fn metadata(text: &str) {
    let Ok(read) = Metadata::read(text) else { return };
    let mut pairs = Vec::new();
    if let Some(request) = read.request {
        pairs.push(format!("request {}", BASE64.encode(request.to_string().as_bytes())));
    }
    if let Some(name) = &read.name {
        assert!(name.len() <= 255 && !name.chars().any(char::is_control));
        pairs.push(format!("filename {}", BASE64.encode(name.as_bytes())));
    }
    assert_eq!(Metadata::read(&pairs.join(",")), Ok(read));
}

fn length(text: &str) {
    let Ok(read) = number("upload-length", text) else { return };
    let digits = text.trim_start_matches('0');
    assert_eq!(if digits.is_empty() { "0" } else { digits }, read.to_string());
}

fn checksum(text: &str) {
    let again = match Checksum::read(text) {
        Ok(Checksum::Sha1(sum)) => format!("sha1 {}", BASE64.encode(&sum)),
        Ok(Checksum::Sha256(sum)) => format!("sha256 {}", BASE64.encode(&sum)),
        Err(_) => return,
    };
    assert_eq!(again, text);
}
