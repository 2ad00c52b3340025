//! What the base layout needs to know of any page.
use protocol::envelope::Language;

use crate::{Format, assets, language, words::SharedWords};

/// The frame around a page: `templates/base.html` reads it as `shell.frame`.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The language of the page.
    pub language: Language,
    /// What the browser's tab says.
    pub title: String,
    /// Whether type is larger and contrast higher.
    pub elder: bool,
    /// Reloads the page, without script too, after so many seconds.
    pub refresh_s: Option<u32>,
    /// Where events say that what the page shows has changed; the page then looks at once.
    pub events: Option<String>,
    /// The shared words.
    pub words: &'static SharedWords,
    /// The ways of the language.
    pub format: Format,
}

impl Frame {
    /// A frame for a page of that title.
    pub fn new(language: Language, title: impl Into<String>, elder: bool) -> Self {
        let words = SharedWords::of(language);
        Frame {
            language,
            title: title.into(),
            elder,
            refresh_s: None,
            events: None,
            words,
            format: Format::of(language),
        }
    }

    /// The page's `lang` attribute.
    pub fn lang_tag(&self) -> &'static str {
        language::tag(self.language)
    }

    /// Whether it is in Chinese.
    pub fn is_zh(&self) -> bool {
        self.language == Language::Zh
    }

    /// Where the style sheet is.
    pub fn style_path(&self) -> String {
        assets::all().style.path()
    }

    /// Where the script is.
    pub fn script_path(&self) -> String {
        assets::all().script.path()
    }

    /// Where the tab's icon is.
    pub fn favicon_path(&self) -> String {
        assets::all().favicon.path()
    }
}
