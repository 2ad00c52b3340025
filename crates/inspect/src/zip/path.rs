//! Names in an archive.

use super::refuse;
use crate::Reason;
use crate::source::Stop;

const NAME_BYTES_MAX: usize = 1024;

/// Refuses a name that would lead out of the folder it is unpacked to, on any system, or hides what it is. Nothing is
/// unpacked here; but what passes will be, by others.
pub(super) fn check(name: &[u8]) -> Result<(), Stop> {
    let folderless = name.strip_suffix(b"/").unwrap_or(name);
    let parts = || folderless.split(|byte| matches!(byte, b'/' | b'\\'));
    let wrong = folderless.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.contains(&b'\\')
        || name.contains(&b':')
        || name.iter().any(u8::is_ascii_control)
        || parts().any(|part| part.is_empty() || part == b"." || part == b"..")
        || parts().any(|part| part.ends_with(b" ") || part.ends_with(b"."))
        || std::str::from_utf8(name).is_ok_and(|name| name.chars().any(turns));
    if wrong { refuse(Reason::ArchivePath) } else { Ok(()) }
}

/// Control characters beyond ASCII, and what turns or breaks the line.
fn turns(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The form under which two names are the same to some system.
pub(super) fn folded(name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    match std::str::from_utf8(name) {
        Ok(name) => name.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in
            ["a", "a/b.xml", "folder/", "[Content_Types].xml", "_rels/.rels", "户号/电表.jpg", "CON", "a..b"]
        {
            assert!(check(name.as_bytes()).is_ok(), "{name}");
        }
        for name in [
            "",
            "/",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/..",
            "..\\a",
            "C:\\a",
            "C:a",
            "\\\\host\\a",
            "a//b",
            "./a",
            "a\0b",
            "a\nb",
            "a\x1b[2Jb",
            "a\u{202e}b",
            "a\u{9b}b",
            "a:stream",
            "a.",
            "a /b",
            "...",
        ] {
            assert!(check(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(check(&[b'a'; 1025]).is_err());
        assert_eq!(folded("Ä/b/".as_bytes()), folded("ä/B".as_bytes()));
    }
}
