//! The search for names.

use std::collections::BTreeSet;

use crate::Reason;
use crate::source::Stop;

/// The longest name that is looked for is shorter.
const TOKEN_BYTES_MAX: usize = 64;
/// Actions that open an address, kept to see whether the document begins with one.
const ADDRESSES_MAX: usize = 10_000;

/// Names that make a document act or hide something, whatever they are part of.
const REFUSED: &[(&[u8], Reason)] = &[
    (b"JavaScript", Reason::ScriptInPdf),
    (b"Launch", Reason::ScriptInPdf),
    (b"EmbeddedFile", Reason::EmbeddedFile),
    (b"EmbeddedFiles", Reason::EmbeddedFile),
    (b"FileAttachment", Reason::EmbeddedFile),
    (b"GoToE", Reason::EmbeddedFile),
    (b"GoToR", Reason::ExternalReference),
    (b"SubmitForm", Reason::ActiveContent),
    (b"ImportData", Reason::ActiveContent),
    (b"RichMedia", Reason::ActiveContent),
    (b"RichMediaExecute", Reason::ActiveContent),
    (b"Rendition", Reason::ActiveContent),
    (b"Movie", Reason::ActiveContent),
    (b"Sound", Reason::ActiveContent),
    (b"GoTo3DView", Reason::ActiveContent),
];

/// Filters other than deflate that can stand before an object stream.
const FILTERS: &[&[u8]] = &[
    b"LZWDecode",
    b"LZW",
    b"ASCIIHexDecode",
    b"AHx",
    b"ASCII85Decode",
    b"A85",
    b"RunLengthDecode",
    b"RL",
    b"Crypt",
];

/// What the dictionary before a stream says about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dictionary {
    /// It holds objects.
    pub(super) objects: bool,
    flate: bool,
    other: bool,
    predictor: bool,
}

impl Dictionary {
    /// Whether the objects in it cannot be read by unpacking alone.
    pub(super) fn is_hidden(self, is_packed: bool) -> bool {
        self.other || self.predictor || self.flate && !is_packed
    }
}

/// A stream of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// Where its data begins.
    pub(super) at: u64,
    pub(super) dictionary: Dictionary,
}

/// What the name before asks of the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    OpenAction,
    /// `/S`, the kind of an action.
    Kind,
    Xfa,
}

/// Looks for names in what is handed to it piece by piece.
#[derive(Debug)]
pub(crate) struct Scanner {
    streams_max: usize,
    /// Searches what was unpacked; there are no streams in it.
    inner: bool,
    at: u64,
    token: Vec<u8>,
    is_name: bool,
    after: After,
    /// In the dictionary that stands as the opening action.
    opening: u32,
    /// The object that is the opening action.
    opened: Option<u32>,
    numbers: [Option<u32>; 2],
    object: Option<u32>,
    addresses: BTreeSet<u32>,
    address_inside: bool,
    objects: bool,
    encrypted: bool,
    unclear: bool,
    dictionary: Dictionary,
    streams: Vec<Stream>,
    /// After `stream`: its data begins behind the line's end.
    awaits: bool,
    last: u8,
}

impl Scanner {
    /// One that notes at most so many streams.
    pub(crate) fn new(streams_max: usize) -> Self {
        Self {
            streams_max,
            inner: false,
            at: 0,
            token: Vec::new(),
            is_name: false,
            after: After::Nothing,
            opening: 0,
            opened: None,
            numbers: [None; 2],
            object: None,
            addresses: BTreeSet::new(),
            address_inside: false,
            objects: false,
            encrypted: false,
            unclear: false,
            dictionary: Dictionary::default(),
            streams: Vec::new(),
            awaits: false,
            last: 0,
        }
    }

    /// One for what a stream of this file unpacks to.
    pub(super) fn within(&self) -> Self {
        Self { inner: true, ..Self::new(0) }
    }

    /// Takes over what was found in a stream.
    pub(super) fn absorb(&mut self, inner: &Self) {
        self.address_inside |= inner.address_inside;
        self.opened = self.opened.or(inner.opened);
    }

    pub(super) fn has_objects(&self) -> bool {
        self.objects
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub(super) fn is_unclear(&self) -> bool {
        self.unclear
    }

    pub(super) fn take_streams(&mut self) -> Vec<Stream> {
        std::mem::take(&mut self.streams)
    }

    /// Whether the document opens an address by itself. Where the action lies among packed objects, its number is not
    /// looked up: it is for a person as soon as any of those opens an address.
    pub(super) fn check_opening(&self) -> Result<(), Stop> {
        match self.opened {
            Some(number) if self.addresses.contains(&number) => Err(Stop::Refuse(Reason::ActiveContent)),
            Some(_) if self.address_inside => Err(Stop::Person(Reason::ActiveContent)),
            _ => Ok(()),
        }
    }

    /// Reads on.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        for byte in bytes {
            self.byte(*byte)?;
            self.at += 1;
        }
        Ok(())
    }

    /// The end also ends a token.
    pub(crate) fn finish(&mut self) -> Result<(), Stop> {
        self.byte(b'\n')
    }

    fn byte(&mut self, byte: u8) -> Result<(), Stop> {
        // Readers take more than the line's end that the standard asks for, and packed data begins with none of these.
        if self.awaits && !matches!(byte, b'\r' | b'\n' | b' ' | b'\t') {
            self.awaits = false;
            self.note(self.at);
        }
        let is_blank = byte == 0 || byte.is_ascii_whitespace();
        let is_delimiter =
            matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%');
        if !is_blank && !is_delimiter {
            if self.token.len() < TOKEN_BYTES_MAX {
                self.token.push(byte);
            }
            self.last = byte;
            return Ok(());
        }
        if self.is_name || !self.token.is_empty() {
            self.token_ended(byte)?;
            self.token.clear();
        }
        self.is_name = byte == b'/';
        match byte {
            b'<' if self.last == b'<' => {
                if self.after == After::OpenAction {
                    self.opening = 1;
                    self.after = After::Nothing;
                } else if self.opening > 0 {
                    self.opening += 1;
                }
            }
            b'>' if self.last == b'>' => self.opening = self.opening.saturating_sub(1),
            b'[' if self.after == After::Xfa => return Err(Stop::Refuse(Reason::ActiveContent)),
            b'[' | b'(' => self.after = After::Nothing,
            _ => {}
        }
        // Two signs make one: the third begins anew.
        self.last = if self.last == byte && matches!(byte, b'<' | b'>') { 0 } else { byte };
        Ok(())
    }

    fn note(&mut self, at: u64) {
        if self.inner {
            return;
        }
        let dictionary = std::mem::take(&mut self.dictionary);
        if self.streams.len() < self.streams_max {
            self.streams.push(Stream { at, dictionary });
        } else {
            self.unclear = true;
        }
    }

    fn token_ended(&mut self, by: u8) -> Result<(), Stop> {
        if self.is_name {
            return self.name_ended();
        }
        match self.token.as_slice() {
            // The line's end is what makes it the keyword. The data begins behind it.
            b"stream" if matches!(by, b'\r' | b'\n' | b' ' | b'\t') => {
                self.awaits = true;
                self.after = After::Nothing;
            }
            b"obj" => {
                self.object = self.numbers[0];
                self.objects = true;
            }
            b"endobj" => {
                // An object stream that had no stream: something was hidden from this search.
                self.unclear |= std::mem::take(&mut self.dictionary).objects;
                self.object = None;
            }
            token => {
                let text = std::str::from_utf8(token).ok().filter(|_| token.len() <= 10);
                let number = text.and_then(|text| text.parse().ok());
                match (self.after, number) {
                    (After::OpenAction, Some(number)) => self.opened = Some(number),
                    (After::Xfa, Some(_)) => return Err(Stop::Refuse(Reason::ActiveContent)),
                    _ => {}
                }
                self.after = After::Nothing;
                self.numbers = [self.numbers[1], number];
            }
        }
        Ok(())
    }

    fn name_ended(&mut self) -> Result<(), Stop> {
        let decoded = decoded(&self.token);
        let name = decoded.as_slice();
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(Stop::Refuse(*why));
        }
        let before = std::mem::replace(&mut self.after, After::Nothing);
        match name {
            b"OpenAction" => self.after = After::OpenAction,
            b"S" => self.after = After::Kind,
            b"XFA" => self.after = After::Xfa,
            b"URI" if before == After::Kind => {
                if self.opening > 0 {
                    return Err(Stop::Refuse(Reason::ActiveContent));
                }
                match self.object {
                    _ if self.inner => self.address_inside = true,
                    Some(number) if self.addresses.len() < ADDRESSES_MAX => {
                        self.addresses.insert(number);
                    }
                    // Too many to tell apart, or outside of any object.
                    _ => self.address_inside = true,
                }
            }
            b"Encrypt" => self.encrypted = true,
            b"ObjStm" => self.dictionary.objects = true,
            b"FlateDecode" | b"Fl" => self.dictionary.flate = true,
            b"Predictor" => self.dictionary.predictor = true,
            name if FILTERS.contains(&name) => self.dictionary.other = true,
            _ => {}
        }
        Ok(())
    }
}

/// A name with its escapes (`#4A` is `J`) resolved.
fn decoded(name: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'#', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> (Scanner, Option<Reason>) {
        let mut scanner = Scanner::new(100);
        let done = scanner.push(text.as_bytes()).and_then(|()| scanner.finish());
        let why = match done.and_then(|()| scanner.check_opening()) {
            Ok(()) => None,
            Err(Stop::Refuse(why) | Stop::Person(why)) => Some(why),
            Err(Stop::Io(error)) => panic!("{error}"),
        };
        (scanner, why)
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for (text, why) in [
            ("<</S/JavaScript/JS(app.alert(1))>>", Some(Reason::ScriptInPdf)),
            ("<< /S /J#61vaScript >>", Some(Reason::ScriptInPdf)),
            ("<< /S /#4a#61#76#61#53#63#72#69#70#74>>", Some(Reason::ScriptInPdf)),
            ("/S/Launch", Some(Reason::ScriptInPdf)),
            ("/Names[/EmbeddedFiles 3 0 R]", Some(Reason::EmbeddedFile)),
            ("/XFA [", Some(Reason::ActiveContent)),
            ("/XFA 3 0 R", Some(Reason::ActiveContent)),
            ("/XFAx 3 0 R /JavaScripts /launch (JavaScript)", None),
            ("/OpenAction [3 0 R /Fit] 4 0 obj <</S/URI/URI(x)>> endobj", None),
            ("/OpenAction <</S/GoTo/D[3 0 R]>> 4 0 obj <</A<</S/URI>>>>", None),
            ("/OpenAction << /Type /Action /X << >> /S /URI >>", Some(Reason::ActiveContent)),
            ("/OpenAction 4 0 R 4 0 obj <</S/URI/URI(x)>> endobj", Some(Reason::ActiveContent)),
            ("4 0 obj <</S/URI/URI(x)>> endobj /OpenAction 4 0 R", Some(Reason::ActiveContent)),
            ("5 0 obj <</S/URI/URI(x)>> endobj /OpenAction 4 0 R", None),
        ] {
            assert_eq!(scanned(text).1, why, "{text}");
        }
    }

    #[test]
    fn streams_are_noted_with_what_is_said_of_them() {
        let text = "1 0 obj<</Type/ObjStm/Filter[/ASCIIHexDecode /FlateDecode]>>stream\r\nAB\nendstream endobj \
                    2 0 obj <</Length 3>> stream\nABC endstream";
        let (mut scanner, _) = scanned(text);
        let streams = scanner.take_streams();
        assert_eq!(streams.len(), 2);
        assert!(text[usize::try_from(streams[0].at).unwrap()..].starts_with("AB\n"));
        assert!(text[usize::try_from(streams[1].at).unwrap()..].starts_with("ABC"));
        assert!(streams[0].dictionary.objects && streams[0].dictionary.is_hidden(true));
        assert!(!streams[1].dictionary.objects);
        assert!(scanned("1 0 obj <</Type/ObjStm >> endobj").0.is_unclear());
    }
}
