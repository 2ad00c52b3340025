//! Which language a person is spoken to in.
use protocol::envelope::Language;

/// The value of an HTML `lang` attribute.
pub fn tag(language: Language) -> &'static str {
    match language {
        Language::Zh => "zh-CN",
        Language::En => "en",
    }
}

/// The short name used in cookies and queries: `zh` or `en`.
pub fn short(language: Language) -> &'static str {
    match language {
        Language::Zh => "zh",
        Language::En => "en",
    }
}

/// Reads a short name or a tag: `zh`, `zh-CN`, `en`, `en-GB`. `None` for any other language.
pub fn parse(text: &str) -> Option<Language> {
    match text.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "zh" => Some(Language::Zh),
        "en" => Some(Language::En),
        _ => None,
    }
}

/// Chooses by an `Accept-Language` header (RFC 9110, 12.5.4): the best of the two we speak; Chinese where it names
/// neither, because that is where the customers are.
pub fn from_header(header: &str) -> Language {
    let mut best: Option<(u32, Language)> = None;
    for part in header.split(',').take(32) {
        let (range, weight) = part.split_once(";q=").unwrap_or((part, "1"));
        let Some(language) = parse(range.trim()) else { continue };
        let weight = (weight.trim().parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u32;
        if weight > 0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    best.map_or(Language::Zh, |(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_by_weight() {
        assert_eq!(from_header("en-GB,en;q=0.9,zh-CN;q=0.8"), Language::En);
        assert_eq!(from_header("en;q=0.5, zh-CN"), Language::Zh);
        assert_eq!(from_header("fr, de;q=0.9"), Language::Zh);
        assert_eq!(from_header("fr, en;q=0.1"), Language::En);
        assert_eq!(from_header("en;q=0"), Language::Zh);
        assert_eq!(from_header(""), Language::Zh);
        assert_eq!(from_header("en;q=NaN,;;;=,q="), Language::Zh);
    }
}
