//! XML, read piece by piece and without ever building a tree.
//!
//! What makes XML dangerous is its document type: entities that grow, and entities that fetch. Neither is of use in what
//! a customer sends, so that any document type is refused where it begins, before anything of it could be expanded.

use std::borrow::Cow;
use std::io::{Read, Seek};

use crate::source::{Source, Stop};
use crate::{Reason, TextRules};

/// The longest tag: drawings hold data in attributes.
const TAG_BYTES_MAX: usize = 1024 * 1024;
/// How far into a document type it is looked whether it fetches.
const DOCTYPE_BYTES_MAX: usize = 4096;

/// Encodings in which `<` is always `<`, so that no tag can be hidden in a character.
const ENCODINGS: &[&str] =
    &["utf-8", "utf8", "us-ascii", "ascii", "gbk", "gb2312", "gb18030", "iso-8859-1", "windows-1252"];

/// Namespaces whose elements act or fetch, wherever they are named.
const ACTIVE_NAMESPACES: &[&[u8]] =
    &[b"http://www.w3.org/1999/XSL/Transform", b"http://www.w3.org/1999/xhtml"];
const FETCHING_NAMESPACES: &[&[u8]] = &[b"http://www.w3.org/2001/XInclude"];

/// What was read.
pub(crate) enum Event<'a> {
    /// A tag that opens or stands alone.
    Open(Tag<'a>),
    /// An element has ended.
    Close,
    /// Text, or a piece of it.
    Text(&'a [u8]),
    /// A processing instruction: `xml-stylesheet href="…"`.
    Instruction(&'a [u8]),
}

/// An opening tag.
#[derive(Clone, Copy)]
pub(crate) struct Tag<'a> {
    /// The name without its prefix.
    pub(crate) name: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> Tag<'a> {
    /// The attributes, names without their prefixes, values with the references to characters resolved.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>)> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let equals = memchr::memchr(b'=', rest)?;
            let name = rest[..equals].trim_ascii();
            let value = rest[equals + 1..].trim_ascii_start();
            let (quote, value) = value.split_first()?;
            let end = memchr::memchr(*quote, value)?;
            rest = &value[end + 1..];
            Some((local(name), resolved(&value[..end])))
        })
    }

    /// One attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.attributes().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }
}

fn local(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b':').next().unwrap_or(name)
}

/// Text with `&amp;`, `&#38;` and `&#x26;` resolved; what is no reference stays as it is.
fn resolved(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'&', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let end = rest.iter().take(16).position(|byte| *byte == b';');
        let reference = end.and_then(|end| std::str::from_utf8(&rest[1..end]).ok());
        let c = match reference {
            Some("amp") => Some('&'),
            Some("lt") => Some('<'),
            Some("gt") => Some('>'),
            Some("quot") => Some('"'),
            Some("apos") => Some('\''),
            Some(number) => number.strip_prefix('#').and_then(|number| {
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                code.ok().and_then(char::from_u32)
            }),
            None => None,
        };
        match (c, end) {
            (Some(c), Some(end)) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[end + 1..];
            }
            _ => {
                out.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After `<`, until it is clear what it is.
    Markup,
    /// In a tag; in quotes where there is one.
    Tag(Option<u8>),
    Instruction,
    Comment,
    CharacterData,
    Doctype,
}

/// Reads XML that is handed to it piece by piece.
pub(crate) struct Reader {
    state: State,
    /// The markup under way, without `<`.
    markup: Vec<u8>,
    /// Hashes of the names of the open elements.
    open: Vec<u64>,
    depth_max: usize,
    rooted: bool,
    begun: bool,
}

type On<'a> = &'a mut dyn FnMut(Event<'_>) -> Result<(), Stop>;

impl Reader {
    pub(crate) fn new(rules: &TextRules) -> Self {
        let depth_max = usize::try_from(rules.xml_depth_max).unwrap_or(usize::MAX);
        Self {
            state: State::Text,
            markup: Vec::new(),
            open: Vec::new(),
            depth_max,
            rooted: false,
            begun: false,
        }
    }

    /// Reads on.
    pub(crate) fn push(&mut self, mut bytes: &[u8], on: On<'_>) -> Result<(), Stop> {
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..]) {
                return Err(Stop::Refuse(Reason::TextEncoding));
            }
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if bytes.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r')) {
            return Err(Stop::Refuse(Reason::ControlCharacters));
        }
        while let Some((first, rest)) = bytes.split_first() {
            if self.state == State::Text {
                let end = memchr::memchr(b'<', bytes).unwrap_or(bytes.len());
                self.text(&bytes[..end], on)?;
                bytes = &bytes[end..];
                if !bytes.is_empty() {
                    self.state = State::Markup;
                    bytes = &bytes[1..];
                }
                continue;
            }
            self.byte(*first, on)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Whether it may end here.
    pub(crate) fn finish(&self) -> Result<(), Stop> {
        match self.state {
            State::Doctype => Err(Stop::Refuse(Reason::Doctype)),
            State::Text if self.rooted && self.open.is_empty() => Ok(()),
            _ => Err(broken()),
        }
    }

    fn text(&mut self, text: &[u8], on: On<'_>) -> Result<(), Stop> {
        if self.open.is_empty() {
            return if text.trim_ascii().is_empty() { Ok(()) } else { Err(broken()) };
        }
        if text.is_empty() { Ok(()) } else { on(Event::Text(text)) }
    }

    fn byte(&mut self, byte: u8, on: On<'_>) -> Result<(), Stop> {
        self.markup.push(byte);
        let markup = &self.markup;
        match self.state {
            State::Text => {}
            State::Markup => {
                self.state = match markup.as_slice() {
                    b"!" | b"!-" | b"![" | b"![C" | b"![CD" | b"![CDA" | b"![CDAT" | b"![CDATA" => {
                        return Ok(());
                    }
                    b"!--" => State::Comment,
                    b"![CDATA[" => State::CharacterData,
                    b"?" => State::Instruction,
                    markup if b"!DOCTYPE".eq_ignore_ascii_case(markup) => State::Doctype,
                    markup if b"!DOCTYPE"[..markup.len().min(8)].eq_ignore_ascii_case(markup) => {
                        return Ok(());
                    }
                    [b'!', ..] => return Err(broken()),
                    b"/" => State::Tag(None),
                    [first] if first.is_ascii_alphabetic() || *first == b'_' || *first >= 0x80 => {
                        State::Tag(None)
                    }
                    _ => return Err(broken()),
                };
                if matches!(self.state, State::Comment | State::CharacterData) {
                    self.markup.clear();
                }
            }
            State::Tag(Some(quote)) => {
                if byte == quote {
                    self.state = State::Tag(None);
                }
            }
            State::Tag(None) => match byte {
                b'"' | b'\'' => self.state = State::Tag(Some(byte)),
                b'<' => return Err(broken()),
                b'>' => {
                    let markup = std::mem::take(&mut self.markup);
                    self.state = State::Text;
                    self.tag(&markup[..markup.len() - 1], on)?;
                    self.reuse(markup);
                }
                _ => {}
            },
            State::Instruction => {
                if markup.ends_with(b"?>") && markup.len() > 2 {
                    let markup = std::mem::take(&mut self.markup);
                    self.state = State::Text;
                    instruction(&markup[1..markup.len() - 2], on)?;
                    self.reuse(markup);
                }
            }
            State::Comment => {
                if markup.ends_with(b"-->") {
                    self.state = State::Text;
                    self.markup.clear();
                } else if markup.len() > 64 {
                    self.markup.drain(..60);
                }
            }
            State::CharacterData => {
                let ended = markup.ends_with(b"]]>");
                if ended || markup.len() >= 1024 {
                    let mut markup = std::mem::take(&mut self.markup);
                    let keep = if ended { markup.len() } else { markup.len() - 2 };
                    self.text(&markup[..if ended { keep - 3 } else { keep }], on)?;
                    markup.drain(..keep);
                    self.markup = markup;
                    if ended {
                        self.state = State::Text;
                    }
                }
            }
            State::Doctype => {
                let fetches = [&b"SYSTEM"[..], b"PUBLIC"].iter().any(|word| markup.ends_with(word));
                if fetches {
                    return Err(Stop::Refuse(Reason::ExternalEntity));
                }
                let subset = memchr::memchr(b'[', markup).is_some();
                let ended = if subset { markup.ends_with(b"]>") } else { byte == b'>' };
                if ended || markup.len() > DOCTYPE_BYTES_MAX {
                    return Err(Stop::Refuse(Reason::Doctype));
                }
            }
        }
        if self.markup.len() > TAG_BYTES_MAX { Err(Stop::Person(Reason::TooComplex)) } else { Ok(()) }
    }

    /// Keeps the memory of what was read, unless it was unusually much.
    fn reuse(&mut self, mut markup: Vec<u8>) {
        if markup.capacity() <= 64 * 1024 {
            markup.clear();
            self.markup = markup;
        }
    }

    fn tag(&mut self, markup: &[u8], on: On<'_>) -> Result<(), Stop> {
        if let Some(name) = markup.strip_prefix(b"/") {
            if self.open.pop() != Some(hash(name.trim_ascii_end())) {
                return Err(broken());
            }
            return on(Event::Close);
        }
        let alone = markup.last() == Some(&b'/');
        let markup = if alone { &markup[..markup.len() - 1] } else { markup };
        let end = markup.iter().position(u8::is_ascii_whitespace).unwrap_or(markup.len());
        let (name, attributes) = markup.split_at(end);
        if self.open.is_empty() && self.rooted {
            return Err(broken());
        }
        self.rooted = true;
        let tag = Tag { name: local(name), attributes };
        // A prefix may be declared by any name, of which only the part behind the colon is left here.
        let declares = memchr::memmem::find(attributes, b"xmlns:").is_some();
        for (name, value) in tag.attributes() {
            let is_declaration = declares || name == b"xmlns";
            if is_declaration && ACTIVE_NAMESPACES.contains(&value.trim_ascii()) {
                return Err(Stop::Refuse(Reason::ActiveContent));
            }
            if is_declaration && FETCHING_NAMESPACES.contains(&value.trim_ascii()) {
                return Err(Stop::Refuse(Reason::ExternalEntity));
            }
        }
        if tag.name.eq_ignore_ascii_case(b"script") {
            return Err(Stop::Refuse(Reason::ActiveContent));
        }
        if self.open.len() >= self.depth_max {
            return Err(Stop::Person(Reason::TooComplex));
        }
        self.open.push(hash(name));
        on(Event::Open(tag))?;
        if alone {
            self.open.pop();
            on(Event::Close)?;
        }
        Ok(())
    }
}

fn instruction(text: &[u8], on: On<'_>) -> Result<(), Stop> {
    let name = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    if name.eq_ignore_ascii_case(b"xml") {
        let declaration = Tag { name, attributes: &text[name.len()..] };
        let encoding = declaration.attribute("encoding").map(|value| value.to_ascii_lowercase());
        let known = |value: &Vec<u8>| ENCODINGS.iter().any(|known| known.as_bytes() == value);
        if encoding.as_ref().is_some_and(|value| !known(value)) {
            return Err(Stop::Refuse(Reason::TextEncoding));
        }
    }
    on(Event::Instruction(text))
}

/// Names are compared by hash: a collision would only let two names that differ close each other.
fn hash(name: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn broken() -> Stop {
    Stop::Refuse(Reason::XmlBroken)
}

/// Checks a file that is XML by itself.
pub(crate) fn check<F: Read + Seek>(source: &mut Source<'_, F>, rules: &TextRules) -> Result<(), Stop> {
    let mut reader = Reader::new(rules);
    let size = source.size();
    source.each(0..size, |bytes| {
        reader.push(bytes, &mut |event| match event {
            // Drawings and pages are kinds of their own, and act in a browser wherever they stand.
            Event::Open(tag)
                if [&b"svg"[..], b"html"].iter().any(|name| tag.name.eq_ignore_ascii_case(name)) =>
            {
                Err(Stop::Refuse(Reason::ActiveContent))
            }
            // Opens a style sheet, or an office program that takes the text for a document of its own.
            Event::Instruction(text) if !text.starts_with(b"xml") || text.starts_with(b"xml-") => {
                Err(Stop::Refuse(Reason::ActiveContent))
            }
            _ => Ok(()),
        })
    })?;
    reader.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn judged(xml: &str) -> Option<Reason> {
        let mut file = Cursor::new(xml.as_bytes());
        let mut source = Source::new(&mut file, xml.len() as u64).unwrap();
        match check(&mut source, &TextRules::default()) {
            Ok(()) => None,
            Err(Stop::Refuse(why) | Stop::Person(why)) => Some(why),
            Err(Stop::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn well_formed_xml_passes_and_other_does_not() {
        let deep = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
        for (xml, why) in [
            ("<a/>", None),
            (
                "<?xml version='1.0' encoding=\"GB18030\"?>\n<a b='>'>x<!-- <b> --><![CDATA[</a>]]></a>\n",
                None,
            ),
            ("<电 表='1'/>", None),
            (&deep(128), None),
            (&deep(129), Some(Reason::TooComplex)),
            ("<a>", Some(Reason::XmlBroken)),
            ("<a></b>", Some(Reason::XmlBroken)),
            ("<a/><b/>", Some(Reason::XmlBroken)),
            ("<a/>x", Some(Reason::XmlBroken)),
            ("<a <b/>", Some(Reason::XmlBroken)),
            ("<a><!ELEMENT b></a>", Some(Reason::XmlBroken)),
            ("<a>\u{1b}[2J</a>", Some(Reason::ControlCharacters)),
            ("<?xml version='1.0' encoding='utf-7'?><a/>", Some(Reason::TextEncoding)),
            ("<?xml-stylesheet href='x.xsl'?><a/>", Some(Reason::ActiveContent)),
            ("<?mso-application progid='Word.Document'?><a/>", Some(Reason::ActiveContent)),
            ("<a xmlns:x='http://www.w3.org/1999/xhtml'><x:script/></a>", Some(Reason::ActiveContent)),
            ("<a xmlns:i='http://www.w3.org/2001/&#88;Include'/>", Some(Reason::ExternalEntity)),
            ("<!DOCTYPE a><a/>", Some(Reason::Doctype)),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", Some(Reason::Doctype)),
            (
                "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
                Some(Reason::ExternalEntity),
            ),
            ("<!DOCTYPE a PUBLIC 'x' 'y'><a/>", Some(Reason::ExternalEntity)),
            ("<!DOCTYPE a [", Some(Reason::Doctype)),
        ] {
            assert_eq!(judged(xml), why, "{xml}");
        }
    }

    #[test]
    fn attributes_are_read_as_programs_read_them() {
        let tag =
            Tag { name: b"a", attributes: b" x:Target = 'a&amp;b' TargetMode=\"Ext&#101;rn&#x61;l\" c" };
        assert_eq!(tag.attribute("Target").unwrap().as_ref(), b"a&b");
        assert_eq!(tag.attribute("TargetMode").unwrap().as_ref(), b"External");
        assert_eq!(tag.attribute("c"), None);
    }
}
