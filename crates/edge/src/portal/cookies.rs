//! Cookies: what the portal keeps with the customer between two pages.
use axum::http::{HeaderMap, HeaderValue, header};

/// What the cookies are for. Their names begin with `__Host-` where the portal is reached by https, so that no other
/// host of the domain can set them.
pub(super) mod name {
    /// The access token.
    pub(crate) const ACCESS: &str = "gd_access";
    /// The refresh token.
    pub(crate) const REFRESH: &str = "gd_refresh";
    /// The consistency token.
    pub(crate) const SEEN: &str = "gd_seen";
    /// What a form must send back.
    pub(crate) const FORM: &str = "gd_form";
    /// `zh` or `en`.
    pub(crate) const LANGUAGE: &str = "gd_lang";
    /// `large` or `normal`.
    pub(crate) const SIZE: &str = "gd_size";
    /// The account shown last.
    pub(crate) const ACCOUNT: &str = "gd_account";
    /// A member of the staff's token.
    pub(crate) const STAFF: &str = "gd_staff";
    /// A log-in under way.
    pub(crate) const LOGIN: &str = "gd_login";
    /// A binding under way.
    pub(crate) const BIND: &str = "gd_bind";
    /// An unbinding under way.
    pub(crate) const UNBIND: &str = "gd_unbind";
    /// A change of the phone under way.
    pub(crate) const PHONE: &str = "gd_phone";
    /// A deletion under way.
    pub(crate) const DELETE: &str = "gd_delete";
}

/// No cookie of ours is longer, in bytes: what is longer was not set by us.
const VALUE_MAX: usize = 2048;

/// The cookies of a request, and those its answer sets.
#[derive(Debug)]
pub(super) struct Cookies {
    secure: bool,
    sent: Vec<(String, String)>,
    set: Vec<(&'static str, String, i64)>,
}

impl Cookies {
    /// Reads what the browser sent. Values are taken as they are: each reader checks its own.
    pub(super) fn read(headers: &HeaderMap, secure: bool) -> Self {
        let mut sent = Vec::new();
        for line in headers.get_all(header::COOKIE).iter().take(8).filter_map(|value| value.to_str().ok()) {
            for (key, value) in line.split(';').take(64).filter_map(|pair| pair.trim().split_once('=')) {
                if value.len() <= VALUE_MAX {
                    sent.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        Cookies { secure, sent, set: Vec::new() }
    }

    fn full_name(&self, name: &str) -> String {
        if self.secure { format!("__Host-{name}") } else { name.to_owned() }
    }

    /// The value of a cookie, as set during this request, or else as sent; `None` where it is empty or not there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let set = self.set.iter().rev().find(|(key, _, _)| *key == name).map(|(_, value, _)| value.as_str());
        let full = self.full_name(name);
        let value =
            set.or_else(|| self.sent.iter().find(|(key, _)| *key == full).map(|(_, value)| value.as_str()));
        value.filter(|value| !value.is_empty())
    }

    /// Sets a cookie for `max_age_s` seconds. Values must be free of separators, as tokens and ids are.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>, max_age_s: i64) {
        self.set.retain(|(key, _, _)| *key != name);
        self.set.push((name, value.into(), max_age_s));
    }

    /// Removes a cookie.
    pub(super) fn remove(&mut self, name: &'static str) {
        self.set(name, "", 0);
    }

    /// Writes what was set into an answer.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for (name, value, max_age_s) in &self.set {
            let secure = if self.secure { "; Secure" } else { "" };
            let name = self.full_name(name);
            let line = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
            // A value that fits no header is not ours to send; nothing of ours is.
            if let Ok(line) = HeaderValue::from_str(&line) {
                headers.append(header::SET_COOKIE, line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(line))])
    }

    #[test]
    fn cookies_are_read_set_and_removed() {
        let mut cookies = Cookies::read(&sent("gd_lang=zh; other=1; gd_size=; broken"), false);
        assert_eq!((cookies.get(name::LANGUAGE), cookies.get(name::SIZE)), (Some("zh"), None));
        cookies.set(name::LANGUAGE, "en", 60);
        assert_eq!(cookies.get(name::LANGUAGE), Some("en"));
        cookies.remove(name::ACCESS);
        let mut headers = HeaderMap::new();
        cookies.write(&mut headers);
        let lines: Vec<_> = headers.get_all(header::SET_COOKIE).iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(lines[0], "gd_lang=en; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
        assert!(lines[1].starts_with("gd_access=; Path=/; Max-Age=0"));
    }

    #[test]
    fn by_https_only_cookies_of_this_host_count() {
        let mut cookies = Cookies::read(&sent("gd_lang=zh; __Host-gd_size=large"), true);
        assert_eq!((cookies.get(name::LANGUAGE), cookies.get(name::SIZE)), (None, Some("large")));
        cookies.set(name::LANGUAGE, "en", 60);
        let mut headers = HeaderMap::new();
        cookies.write(&mut headers);
        assert!(headers[header::SET_COOKIE].to_str().unwrap().ends_with("; Secure"));
    }
}
