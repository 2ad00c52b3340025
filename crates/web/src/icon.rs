//! Icons, drawn by us on a grid of 24 with lines of 1.75, in the colour of the text around them.

/// One icon as an inline SVG element, hidden from screen readers: the words beside it say what it is. Its size is the
/// sheet's, and small without one. An unknown name gives a small circle, so that a slip is seen and nothing breaks.
pub fn icon(name: &str) -> String {
    let paths = PATHS.iter().find(|(known, _)| *known == name).map_or(UNKNOWN, |(_, paths)| paths);
    format!(
        r#"<svg class="icon" width="20" height="20" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{paths}</svg>"#
    )
}

const UNKNOWN: &str = r#"<circle cx="12" cy="12" r="4"/>"#;

/// Every icon by name.
const PATHS: &[(&str, &str)] = &[
    ("home", r#"<path d="M4 11.2 12 4.5l8 6.7"/><path d="M6 9.8V19h4.2v-5h3.6v5H18V9.8"/>"#),
    (
        "bill",
        r#"<path d="M6 3.5h12v17l-2.4-1.6-2.4 1.6-2.4-1.6-2.4 1.6L6 18.9z"/><path d="M9 8.5h6M9 12.5h6"/>"#,
    ),
    ("usage", r#"<path d="M4 20h16"/><path d="M7 17v-5M12 17V5M17 17V9" stroke-width="3"/>"#),
    ("pay", r#"<rect x="3.5" y="6" width="17" height="12.5" rx="2.2"/><path d="M3.5 10h17M7 15h4"/>"#),
    ("me", r#"<circle cx="12" cy="8" r="3.8"/><path d="M4.8 20c.7-4 3.6-5.8 7.2-5.8s6.5 1.8 7.2 5.8"/>"#),
    ("bolt", r#"<path d="M13 3 5.5 13.5H11L10.2 21 18.5 10H13z" fill="currentColor" stroke="none"/>"#),
    ("check", r#"<path d="m5 12.8 4.6 4.7L19.3 7"/>"#),
    ("alert", r#"<path d="M12 4 2.9 19.5h18.2z"/><path d="M12 10v4.6M12 17v.2"/>"#),
    ("info", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 11v5.2M12 7.7v.2"/>"#),
    ("clock", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 7v5.3l3.4 2"/>"#),
    ("left", r#"<path d="m14.5 5.5-6.5 6.5 6.5 6.5"/>"#),
    ("right", r#"<path d="m9.5 5.5 6.5 6.5-6.5 6.5"/>"#),
    ("down", r#"<path d="m6 9.5 6 6 6-6"/>"#),
    ("plus", r#"<path d="M12 5v14M5 12h14"/>"#),
    ("print", r#"<path d="M7.5 9V4h9v5"/><path d="M7.5 17H4.5V9h15v8h-3"/><path d="M7.5 14h9v6h-9z"/>"#),
    ("out", r#"<path d="M10 4.5H5.5v15H10"/><path d="M13.5 8l4 4-4 4M9.5 12h8"/>"#),
    ("house", r#"<path d="M4.5 20V9.5L12 4l7.5 5.5V20z"/><path d="M12.8 9 10 13.4h3.8L11.2 18"/>"#),
    ("up", r#"<path d="M12 19V5.5M6 11.3 12 5.3l6 6"/>"#),
    ("fall", r#"<path d="M12 5v13.5M6 12.7l6 6 6-6"/>"#),
    ("even", r#"<path d="M5 9.5h14M5 14.5h14"/>"#),
    ("request", r#"<path d="M5 4.5h14v12h-8l-4 3.5v-3.5H5z"/><path d="M8.5 8.5h7M8.5 12.5h4.5"/>"#),
    ("message", r#"<path d="M6.5 16.5V11a5.5 5.5 0 0 1 11 0v5.5l1.5 1.5H5z"/><path d="M10 20.5h4"/>"#),
    ("phone", r#"<rect x="7" y="3" width="10" height="18" rx="2.2"/><path d="M11 18h2"/>"#),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_icons_are_well_formed() {
        let mut names = std::collections::HashSet::new();
        for (name, paths) in PATHS {
            assert!(names.insert(name), "{name} twice");
            assert!(paths.matches("/>").count() == paths.matches('<').count(), "{name} is not closed");
        }
        assert!(icon("no such").contains("circle"));
    }
}
