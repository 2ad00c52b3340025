//! Text and tables.

use std::io::{Read, Seek};

use crate::active::Marks;
use crate::source::{Source, Stop};
use crate::{Kind, Reason, TextRules};

/// How the bytes of a text are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Without a byte-order mark: UTF-8, or GB18030 where it is not.
    Bytes,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    fn of(head: &[u8]) -> Self {
        match head {
            [0xff, 0xfe, ..] => Self::Utf16Le,
            [0xfe, 0xff, ..] => Self::Utf16Be,
            _ => Self::Bytes,
        }
    }
}

/// Whether what begins like this can be text: few control characters, and no zero byte outside of UTF-16.
pub(crate) fn can_be(head: &[u8]) -> bool {
    if Encoding::of(head) != Encoding::Bytes {
        return head.len() >= 4;
    }
    let odd = head.iter().filter(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r'));
    !head.contains(&0) && odd.count() * 4 <= head.len()
}

/// Whether a text that begins like this is a table: at least two lines, all with the same number of the same separator.
pub(crate) fn is_table(head: &[u8], whole: bool) -> bool {
    let wide = |unit: [u8; 2]| if unit[0] == 0 { unit[1] } else { b'x' };
    let units: Vec<u8> = match Encoding::of(head) {
        Encoding::Bytes => head.to_vec(),
        Encoding::Utf16Le => head[2..].chunks_exact(2).map(|c| wide([c[1], c[0]])).collect(),
        Encoding::Utf16Be => head[2..].chunks_exact(2).map(|c| wide([c[0], c[1]])).collect(),
    };
    [b',', b';', b'\t'].into_iter().any(|separator| {
        let (mut counts, mut count, mut quoted, mut filled) = (Vec::new(), 0u32, false, false);
        for unit in &units {
            match *unit {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => {
                    if filled {
                        counts.push(count);
                    }
                    (count, filled) = (0, false);
                }
                b'\r' => {}
                unit => {
                    filled = true;
                    count += u32::from(unit == separator && !quoted);
                }
            }
        }
        if whole && filled {
            counts.push(count);
        }
        counts.len() >= 2 && counts[0] > 0 && counts.iter().all(|count| *count == counts[0])
    })
}

/// The harmless file by which one tries whether a virus scanner works: refused here too, so that one can try it where
/// there is no scanner. Written in halves, so that this program is not taken for it.
const EICAR: [&[u8]; 2] = [b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR", b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"];

/// Checks a text or a table.
pub(crate) fn check<F: Read + Seek>(
    source: &mut Source<'_, F>,
    kind: Kind,
    rules: &TextRules,
) -> Result<(), Stop> {
    let size = source.size();
    let head = source.up_to(0, 128)?;
    if head.trim_ascii_end() == EICAR.concat() {
        return Err(Stop::Refuse(Reason::Malware));
    }
    let encoding = Encoding::of(head);
    let mut cells = Cells::new(kind == Kind::Csv, rules.line_bytes_max);
    let mut marks = Marks::default();
    if encoding == Encoding::Bytes {
        let (mut utf8, mut gb18030) = (Utf8::default(), Gb18030::default());
        source.each(0..size, |bytes| {
            marks.push(bytes, Reason::ActiveContent)?;
            // Most of most texts is ASCII, which is the same in both.
            if !(utf8.left == 0 && gb18030.at == 0 && bytes.is_ascii()) {
                for byte in bytes {
                    utf8.push(*byte);
                    gb18030.push(*byte);
                    if utf8.broken && gb18030.broken {
                        return Err(Stop::Refuse(Reason::TextEncoding));
                    }
                    if utf8.turned && !utf8.broken {
                        return Err(Stop::Refuse(Reason::ControlCharacters));
                    }
                }
            }
            cells.push(bytes)
        })?;
        if (utf8.broken || utf8.left > 0) && (gb18030.broken || gb18030.at != 0) {
            return Err(Stop::Refuse(Reason::TextEncoding));
        }
    } else {
        if !size.is_multiple_of(2) {
            return Err(Stop::Refuse(Reason::TextEncoding));
        }
        let (mut first, mut high, mut narrow) = (None, false, Vec::new());
        source.each(2..size, |bytes| {
            narrow.clear();
            for byte in bytes {
                let Some(before) = first.take() else {
                    first = Some(*byte);
                    continue;
                };
                let pair = [before, *byte];
                let unit = match encoding {
                    Encoding::Utf16Be => u16::from_be_bytes(pair),
                    _ => u16::from_le_bytes(pair),
                };
                let is_low = matches!(unit, 0xdc00..=0xdfff);
                if high != is_low {
                    return Err(Stop::Refuse(Reason::TextEncoding));
                }
                high = matches!(unit, 0xd800..=0xdbff);
                if matches!(unit, 0x7f..=0x9f | 0x202a..=0x202e) {
                    return Err(Stop::Refuse(Reason::ControlCharacters));
                }
                narrow.push(u8::try_from(unit).unwrap_or(0x80));
            }
            marks.push(&narrow, Reason::ActiveContent)?;
            cells.push(&narrow)
        })?;
        if high {
            return Err(Stop::Refuse(Reason::TextEncoding));
        }
    }
    cells.push(b"\n")?;
    if cells.formula { Err(Stop::Person(Reason::Formula)) } else { Ok(()) }
}

/// UTF-8 (RFC 3629), byte by byte.
#[derive(Default)]
struct Utf8 {
    broken: bool,
    /// It turns the direction of text, or holds a control character of the C1 set.
    turned: bool,
    left: u8,
    code: u32,
    least: u32,
}

impl Utf8 {
    fn push(&mut self, byte: u8) {
        match (self.left, byte) {
            (0, 0x00..=0x7f) => {}
            (0, 0xc2..=0xdf) => (self.left, self.code, self.least) = (1, u32::from(byte & 0x1f), 0x80),
            (0, 0xe0..=0xef) => (self.left, self.code, self.least) = (2, u32::from(byte & 0x0f), 0x800),
            (0, 0xf0..=0xf4) => (self.left, self.code, self.least) = (3, u32::from(byte & 0x07), 0x10000),
            (1.., 0x80..=0xbf) => {
                self.code = self.code << 6 | u32::from(byte & 0x3f);
                self.left -= 1;
                if self.left == 0 {
                    self.broken |= self.code < self.least || char::from_u32(self.code).is_none();
                    self.turned |= matches!(self.code, 0x80..=0x9f | 0x202a..=0x202e);
                }
            }
            _ => {
                self.broken = true;
                self.left = 0;
            }
        }
    }
}

/// GB18030, byte by byte: one, two or four bytes a character.
#[derive(Default)]
struct Gb18030 {
    broken: bool,
    at: u8,
}

impl Gb18030 {
    fn push(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (0, 0x00..=0x7f) => 0,
            (0 | 2, 0x81..=0xfe) => self.at + 1,
            (1, 0x40..=0x7e | 0x80..=0xfe) => 0,
            (1, 0x30..=0x39) => 2,
            (3, 0x30..=0x39) => 0,
            _ => {
                self.broken = true;
                0
            }
        };
    }
}

/// How much of a cell is held to see whether it is a formula.
const CELL_BYTES_MAX: usize = 256;

/// Lines, and what stands at the beginning of each cell: programs for tables run `=…`, and some of what they run starts
/// other programs (`=cmd|'/c …'!A1`).
struct Cells {
    is_table: bool,
    line_max: u32,
    line: u32,
    cell: Vec<u8>,
    formula: bool,
}

impl Cells {
    fn new(is_table: bool, line_max: u32) -> Self {
        Self { is_table, line_max, line: 0, cell: Vec::new(), formula: false }
    }

    /// Takes what comes next: a cell at a time, for a byte at a time takes ten times as long.
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let plain = bytes.iter().take_while(|byte| IS_PLAIN[usize::from(**byte)]).count();
            let (cell, rest) = bytes.split_at(plain);
            let end = rest.first().copied();
            if end.is_some_and(|byte| !matches!(byte, b',' | b';' | b'\t' | b'\n' | b'\r')) {
                return Err(Stop::Refuse(Reason::ControlCharacters));
            }
            let is_line_end = end == Some(b'\n');
            let more = plain + usize::from(end.is_some() && !is_line_end);
            self.line = self.line.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            if self.line > self.line_max {
                return Err(Stop::Refuse(Reason::TextLine));
            }
            if is_line_end {
                self.line = 0;
            }
            let first = &cell[..plain.min(CELL_BYTES_MAX - self.cell.len())];
            if end.is_some() && self.cell.is_empty() {
                self.formula |= is_formula(first)? && self.is_table;
            } else {
                self.cell.extend_from_slice(first);
                if end.is_some() {
                    self.formula |= is_formula(&self.cell)? && self.is_table;
                    self.cell.clear();
                }
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Which bytes neither end a cell nor are control characters.
const IS_PLAIN: [bool; 256] = {
    let (mut plain, mut byte) = ([true; 256], 0u8);
    while byte < 0x80 {
        plain[byte as usize] = !byte.is_ascii_control() && !matches!(byte, b',' | b';');
        byte += 1;
    }
    plain
};

/// Whether a program for tables would run a cell.
fn is_formula(cell: &[u8]) -> Result<bool, Stop> {
    let cell = cell.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cell);
    let cell = cell.trim_ascii_start();
    let cell = cell.strip_prefix(b"\"").unwrap_or(cell).trim_ascii_start();
    let Some((b'=' | b'+' | b'-' | b'@', rest)) = cell.split_first() else { return Ok(false) };
    let link = memchr::memchr(b'|', rest).zip(memchr::memrchr(b'!', rest));
    if link.is_some_and(|(bar, mark)| bar < mark) {
        return Err(Stop::Refuse(Reason::ActiveContent));
    }
    // Numbers, telephone numbers, dates, dashes and single words are what they look like.
    let is_plain = cell[0] != b'=' && !rest.contains(&b'(');
    Ok(!is_plain && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn judged(bytes: &[u8]) -> Result<(), Reason> {
        let kind = if is_table(bytes, true) { Kind::Csv } else { Kind::Text };
        let mut file = Cursor::new(bytes);
        let mut source = Source::new(&mut file, bytes.len() as u64).unwrap();
        match check(&mut source, kind, &TextRules::default()) {
            Ok(()) => Ok(()),
            Err(Stop::Refuse(why) | Stop::Person(why)) => Err(why),
            Err(Stop::Io(error)) => panic!("{error}"),
        }
    }

    fn utf16(text: &str) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn texts_in_the_usual_encodings_pass() {
        assert_eq!(judged("户号 3301\n电量 21\n".as_bytes()), Ok(()));
        assert_eq!(judged(b"\xbb\xa7\xba\xc5 \x81\x30\x81\x30\n"), Ok(()));
        assert_eq!(judged(&utf16("户号\t电量\n3301\t21\n😀\t-3\n")), Ok(()));
        assert_eq!(judged("date,kWh\n2026-01-01,-3.5\n2026-01-02,+86 571\n".as_bytes()), Ok(()));
        assert_eq!(judged("== Title ==\n-- \nline".as_bytes()), Ok(()));
    }

    #[test]
    fn what_is_no_plain_text_is_named() {
        for (bytes, why) in [
            (&b"a\x1b[2Jb"[..], Reason::ControlCharacters),
            (b"a\x7fb", Reason::ControlCharacters),
            ("a\u{9b}2Jb".as_bytes(), Reason::ControlCharacters),
            ("invoice\u{202e}fdp.exe".as_bytes(), Reason::ControlCharacters),
            (&utf16("a\u{202e}b"), Reason::ControlCharacters),
            (b"\xff\xff\xff", Reason::TextEncoding),
            (b"\xff\xfea\0\0\xd8", Reason::TextEncoding),
            (b"caf\xe9", Reason::TextEncoding),
            (&[b'x'; 70_000], Reason::TextLine),
            (b"see <script>alert(1)</script>", Reason::ActiveContent),
            (&utf16("see <script>alert(1)</script>"), Reason::ActiveContent),
            (b"=cmd|'/c calc'!A0", Reason::ActiveContent),
            (b"a,b\n1,\"=cmd|'/c calc'!A0\"\n", Reason::ActiveContent),
            (b"a,b\n1,=SUM(A1:A2)\n", Reason::Formula),
            (b"a;b\n1;@SUM(A1)\n", Reason::Formula),
            (&EICAR.concat(), Reason::Malware),
        ] {
            assert_eq!(judged(bytes), Err(why), "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
        }
    }
}
