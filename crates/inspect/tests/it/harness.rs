//! What holds for every input, whoever makes it: the fuzzer, the mutations, the tests.
#![allow(dead_code, reason = "the fuzzer's targets use one function each")]

use std::io::{Cursor, Read, Seek, SeekFrom};

use inspect::{ArchiveRules, Kind, PdfRules, Rules, Verdict, check_name, inspect};

/// Rules that let everything in that may be, so that every walker is reached, with limits that small files reach.
pub(crate) fn open_rules() -> Rules {
    Rules {
        allowed: Kind::ALL.iter().copied().filter(|kind| kind.may_pass()).collect(),
        archive: ArchiveRules { entries_max: 100, unpacked_bytes_max: 4 << 20, ..ArchiveRules::default() },
        pdf: PdfRules { unpacked_bytes_max: 1 << 20, streams_max: 200 },
        ..Rules::default()
    }
}

/// Counts what is read of it.
struct Counted<'a> {
    file: Cursor<&'a [u8]>,
    read: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(into)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// Judges by [`open_rules`] and sees to it that the verdict is one the rules can have given, for a bounded effort.
pub(crate) fn judge(bytes: &[u8]) -> Verdict {
    judge_by(bytes, &open_rules())
}

pub(crate) fn judge_by(bytes: &[u8], rules: &Rules) -> Verdict {
    let mut file = Counted { file: Cursor::new(bytes), read: 0 };
    let verdict = inspect(&mut file, bytes.len() as u64, rules).expect("memory can be read");
    // Each part of a file is read a few times; the window is read anew for what lies far away.
    let effort = 16 * bytes.len() as u64 + (256 << 16);
    assert!(file.read <= effort, "{} bytes read of a file of {}", file.read, bytes.len());
    if let Verdict::Pass { kind } | Verdict::NeedsPerson { kind, .. } = verdict {
        assert!(rules.allowed.contains(&kind), "{kind} passes and is not allowed");
    }
    verdict
}

/// Checks a name: what is taken is as it came, and what it is offered as is a plain file's name.
pub(crate) fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(name) = check_name(text) else { return };
    assert_eq!(name.as_str(), text);
    assert!(!text.chars().any(char::is_control) && text.len() <= 255);
    for kind in Kind::ALL {
        let offered = name.offered_as(*kind);
        assert!(check_name(&offered).is_ok(), "{offered:?}");
        assert!(!offered.contains(['/', '\\', ':', '"', '\0']) && !offered.starts_with('.'), "{offered:?}");
        assert!(offered.ends_with(&format!(".{}", kind.extension())), "{offered:?}");
    }
}
