//! A fetched file as an HTTP response: streamed, whole or a part of it, and never shown by a browser as a page of ours.
use std::io::{Seek, SeekFrom};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use futures_util::stream::try_unfold;
use protocol::{Code, Problem, file::Ticket};
use tokio::io::AsyncReadExt;

use super::{Fetched, Files, blocking, broken};

/// So much is read at once.
const READ_LEN: usize = 64 * 1024;
/// No name is said longer, in characters.
const NAME_MAX: usize = 200;

impl Files {
    /// Answers with the file that a ticket is for, to be saved under a name. `asked` are the request's headers, of which `Range`
    /// and `If-Range` count.
    ///
    /// # Errors
    /// As of [`fetch`](Self::fetch).
    pub async fn download(
        &self,
        asked: &HeaderMap,
        ticket: &Ticket,
        file_name: &str,
        content_type: &'static str,
    ) -> Result<Response, Problem> {
        respond(self.fetch(ticket).await?, asked, file_name, content_type).await
    }
}

/// What of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From a byte on, so many.
    Of(u64, u64),
    /// Beyond its end.
    None,
}

async fn respond(
    fetched: Fetched,
    asked: &HeaderMap,
    file_name: &str,
    content_type: &'static str,
) -> Result<Response, Problem> {
    let Fetched { mut file, size, root } = fetched;
    let tag = format!("\"{}\"", &HEXLOWER.encode(&root)[..32]);
    let (status, start, len) = match part(asked, size, &tag) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Of(start, len) => (StatusCode::PARTIAL_CONTENT, start, len),
        Part::None => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let file = blocking(move || file.seek(SeekFrom::Start(start)).map(|_| file)).await;
    let file = tokio::fs::File::from_std(file.map_err(|error| broken(&error))?);
    let body = try_unfold((file, len), async |(mut file, left)| {
        let mut bytes = vec![0; left.min(READ_LEN as u64) as usize];
        match file.read(&mut bytes).await? {
            _ if left == 0 => Ok(None),
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            read => {
                bytes.truncate(read);
                Ok(Some((bytes, (file, left - read as u64))))
            }
        }
    });
    let mut response = (status, Body::from_stream(body)).into_response();
    let headers = response.headers_mut();
    let range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!("bytes {start}-{}/{size}", start + len - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{size}")),
        _ => None,
    };
    let said = [
        (header::CONTENT_DISPOSITION, Some(disposition(file_name))),
        (header::ETAG, Some(tag)),
        (header::CONTENT_RANGE, range),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            let value = HeaderValue::try_from(value);
            headers.insert(name, value.map_err(|error| Problem::new(Code::Internal, error.to_string()))?);
        }
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// What a request asks for (RFC 9110, 14): one range, or else all of it, also where a range is not understood, or is of
/// another content than this.
fn part(asked: &HeaderMap, size: u64, tag: &str) -> Part {
    let text = |name| asked.get(name).and_then(|value| value.to_str().ok());
    if asked.get(header::IF_RANGE).is_some() && text(header::IF_RANGE) != Some(tag) {
        return Part::Whole;
    }
    let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    let digits = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too long for one is beyond every end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (digits(first), digits(last)) {
        (Some(first), Some(last)) if first > last => Part::Whole,
        (Some(first), _) if first >= size && (last.is_empty() || digits(last).is_some()) => Part::None,
        (Some(first), Some(last)) => Part::Of(first, last.min(size - 1) - first + 1),
        (Some(first), None) if last.is_empty() => Part::Of(first, size - first),
        (None, Some(0)) if first.is_empty() => Part::None,
        (None, Some(suffix)) if first.is_empty() => {
            let len = suffix.min(size);
            Part::Of(size - len, len)
        }
        _ => Part::Whole,
    }
}

/// `Content-Disposition` (RFC 6266): to be saved, under a name of any script (RFC 8187), with one in ASCII for who cannot read it.
fn disposition(name: &str) -> String {
    let safe: String = name.chars().map(harmless).take(NAME_MAX).collect();
    let safe = match safe.trim_matches(['.', ' ']) {
        "" => "file",
        safe => safe,
    };
    let plain: String =
        safe.chars().map(|c| if c.is_ascii() && !matches!(c, '"' | '%') { c } else { '_' }).collect();
    let mut extended = String::new();
    for byte in safe.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            extended.push(char::from(byte));
        } else {
            extended.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

/// What could name another folder, break the line, or turn the name around on the screen becomes a stroke.
fn harmless(c: char) -> char {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns || matches!(c, '/' | '\\' | ':' | '\u{2028}' | '\u{2029}') { '_' } else { c }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_name_of_any_script_is_said_and_nothing_else() {
        for (name, says) in [
            ("usage-2026.csv", "filename=\"usage-2026.csv\"; filename*=UTF-8''usage-2026.csv"),
            (
                "电费 账单.pdf",
                "filename=\"__ __.pdf\"; filename*=UTF-8''%E7%94%B5%E8%B4%B9%20%E8%B4%A6%E5%8D%95.pdf",
            ),
            (
                "a\"b%c;d'e\\f/g\r\nh",
                "filename=\"a_b_c;d'e_f_g__h\"; filename*=UTF-8''a%22b%25c%3Bd%27e_f_g__h",
            ),
            ("../../etc/passwd", "filename=\"_.._etc_passwd\"; filename*=UTF-8''_.._etc_passwd"),
            ("x\u{202e}fdp.exe", "filename=\"x_fdp.exe\"; filename*=UTF-8''x_fdp.exe"),
            (" .. ", "filename=\"file\"; filename*=UTF-8''file"),
            ("", "filename=\"file\"; filename*=UTF-8''file"),
        ] {
            assert_eq!(disposition(name), format!("attachment; {says}"));
            assert!(HeaderValue::try_from(disposition(name)).is_ok());
        }
        assert!(disposition(&"电".repeat(1000)).len() < 10 * NAME_MAX + 100);
    }

    #[test]
    fn one_range_is_understood_and_all_else_is_the_whole() {
        let of = |range: &str, if_range: Option<&str>| {
            let mut asked = HeaderMap::new();
            asked.insert(header::RANGE, range.parse().unwrap());
            if let Some(tag) = if_range {
                asked.insert(header::IF_RANGE, tag.parse().unwrap());
            }
            part(&asked, 1000, "\"t\"")
        };
        for (range, is) in [
            ("bytes=0-0", Part::Of(0, 1)),
            ("bytes=10-19", Part::Of(10, 10)),
            ("bytes=990-", Part::Of(990, 10)),
            ("bytes=999-5000", Part::Of(999, 1)),
            ("bytes=0-99999999999999999999999", Part::Of(0, 1000)),
            ("bytes=-5", Part::Of(995, 5)),
            ("bytes=-5000", Part::Of(0, 1000)),
            ("bytes=-0", Part::None),
            ("bytes=1000-", Part::None),
            ("bytes=1000-1001", Part::None),
            ("bytes=99999999999999999999999-", Part::None),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=1000-x", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            assert_eq!(of(range, None), is, "{range}");
        }
        assert_eq!(of("bytes=0-0", Some("\"t\"")), Part::Of(0, 1));
        assert_eq!(of("bytes=0-0", Some("\"other\"")), Part::Whole);
        assert_eq!(of("bytes=0-0", Some("Wed, 21 Oct 2026 07:28:00 GMT")), Part::Whole);
        assert_eq!(part(&HeaderMap::new(), 1000, "\"t\""), Part::Whole);
    }

    #[tokio::test]
    async fn the_part_that_was_asked_for_is_streamed() {
        let bytes: Vec<u8> = (0..3 * READ_LEN + 17).map(|n| (n % 251) as u8).collect();
        let size = bytes.len() as u64;
        let answered = async |range: Option<&str>| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let mut asked = HeaderMap::new();
            if let Some(range) = range {
                asked.insert(header::RANGE, range.parse().unwrap());
            }
            let response =
                respond(Fetched { file, size, root: [0xab; 32] }, &asked, "用电.csv", "text/csv").await;
            let (parts, body) = response.unwrap().into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let says = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(says("content-length"), Some(body.len().to_string()));
            assert_eq!(says("etag"), Some(format!("\"{}\"", "ab".repeat(16))));
            for (name, value) in [
                ("cache-control", "private, no-store"),
                ("x-content-type-options", "nosniff"),
                ("content-security-policy", "sandbox"),
                ("content-type", "text/csv"),
            ] {
                assert_eq!(says(name).as_deref(), Some(value));
            }
            (parts.status.as_u16(), says("content-range"), body.to_vec())
        };
        assert_eq!(answered(None).await, (200, None, bytes.clone()));
        let range = Some(format!("bytes 70000-189999/{size}"));
        assert_eq!(answered(Some("bytes=70000-189999")).await, (206, range, bytes[70_000..190_000].to_vec()));
        let range = Some(format!("bytes */{size}"));
        assert_eq!(answered(Some("bytes=900000-")).await, (416, range, vec![]));
    }
}
