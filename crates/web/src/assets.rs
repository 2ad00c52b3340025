//! The few files that pages load: style sheet, script, icon. Each is served under a name that carries its content's
//! hash, so that it may be cached for ever and a new one is fetched at once.
use std::sync::LazyLock;

/// How an asset may be cached: its name changes with its content.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its name with the hash: `style.1f2e3d4c5b6a.css`.
    pub name: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub body: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, content_type: &'static str, body: &'static str) -> Self {
        let hash = blake3::hash(body.as_bytes()).to_hex();
        Asset { name: format!("{stem}.{}.{ending}", &hash[..12]), content_type, body }
    }

    /// The path pages link to: `/assets/` and the name.
    pub fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// All of them.
#[derive(Debug)]
pub struct Assets {
    /// The style sheet.
    pub style: Asset,
    /// The script; every page works without it.
    pub script: Asset,
    /// The icon in the browser's tab.
    pub favicon: Asset,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new("style", "css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    script: Asset::new("script", "js", "text/javascript; charset=utf-8", include_str!("../assets/script.js")),
    favicon: Asset::new("icon", "svg", "image/svg+xml", include_str!("../assets/icon.svg")),
});

/// The assets, with their names.
pub fn all() -> &'static Assets {
    &ASSETS
}

/// Finds an asset by its name with the hash.
pub fn find(name: &str) -> Option<&'static Asset> {
    let Assets { style, script, favicon } = all();
    [style, script, favicon].into_iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_hash_and_are_found() {
        let style = &all().style;
        assert!(style.name.starts_with("style.") && style.name.ends_with(".css") && style.name.len() == 22);
        assert_eq!(find(&style.name), Some(style));
        assert_eq!(find("style.css"), None);
        assert_eq!(find("../Cargo.toml"), None);
    }

    #[test]
    fn assets_ask_for_nothing_outside_and_are_small() {
        let Assets { style, script, favicon } = all();
        assert!(style.body.len() + script.body.len() < 48 * 1024);
        assert!(script.body.lines().count() <= 200);
        assert!(!style.body.contains("http") && !script.body.contains("http"), "an outside address");
        assert!(!style.body.contains("@import") && favicon.body.len() < 2048);
    }
}
