//! Strong tags of answers (RFC 9110, 8.8.3), so that who asks again is not sent again what has not changed.
use axum::http::{HeaderMap, header};
use protocol::envelope::Language;

/// Kept only by who asked, and never used without asking: what is owed may change at any moment.
pub(super) const CACHE_CONTROL: &str = "private, no-cache";
/// What an answer depends on besides its address.
pub(super) const VARY: &str = "authorization, accept-language, consistency-token";

/// The tag of a body in a language.
pub(super) fn of(language: Language, body: &[u8]) -> String {
    let mut hash = blake3::Hasher::new_derive_key("gridesk entity tag v1");
    hash.update(&[language as u8]).update(body);
    format!("\"{}\"", &hash.finalize().to_hex()[..32])
}

/// The tags that a reader has.
pub(super) struct Known(String);

impl Known {
    /// What `If-None-Match` says; anything that is no text counts as not said.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        Known(values.collect::<Vec<_>>().join(","))
    }

    /// Whether one of them is `tag` (RFC 9110, 13.1.2: compared weakly).
    pub(super) fn has(&self, tag: &str) -> bool {
        self.0.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_this_body_in_this_language() {
        let tag = of(Language::En, b"{}");
        assert_eq!(tag, of(Language::En, b"{}"));
        assert_ne!(tag, of(Language::Zh, b"{}"));
        assert_ne!(tag, of(Language::En, b"[]"));
        assert!(tag.len() == 34 && tag.starts_with('"') && tag.ends_with('"'));
    }

    #[test]
    fn any_of_several_tags_is_known() {
        let known = |text: &str| Known(text.to_owned()).has("\"a\"");
        for text in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*", " \"b\" ,W/\"a\" "] {
            assert!(known(text), "{text}");
        }
        for text in ["", "a", "\"A\"", "\"ab\"", "W/", ",,,"] {
            assert!(!known(text), "{text}");
        }
    }
}
