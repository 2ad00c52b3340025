//! XML events with a place, namespaces resolved, everything bounded, and nothing dangerous let through.
//!
//! Elements are known by local name in the ESPI or Atom namespace, or in none: exporters use prefixes, default
//! namespaces, or forget them. Elements in other namespaces are walked over like unknown ones.
use std::io::BufRead;

use quick_xml::errors::{Error as XmlError, IllFormedError, SyntaxError};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::measured::{Fault, Measured};
use super::{GreenButtonError, Limits, Place};

const ATOM: &str = "http://www.w3.org/2005/Atom";
const ESPI: &str = "http://naesb.org/espi";

/// Namespace declarations in force at once; a file needs five or so.
const BINDINGS: usize = 256;

macro_rules! tags {
    ($($tag:ident = $name:literal),* $(,)?) => {
        /// The elements that matter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Tag { $($tag,)* Other }

        impl Tag {
            fn of(name: &str) -> Tag {
                match name { $($name => Tag::$tag,)* _ => Tag::Other }
            }
        }
    };
}

tags! {
    Feed = "feed", Entry = "entry", Link = "link", Title = "title",
    UsagePoint = "UsagePoint", ServiceCategory = "ServiceCategory", Kind = "kind",
    MeterReading = "MeterReading",
    ReadingType = "ReadingType", AccumulationBehaviour = "accumulationBehaviour", Commodity = "commodity",
    DataQualifier = "dataQualifier", FlowDirection = "flowDirection", IntervalLength = "intervalLength",
    PowerOfTenMultiplier = "powerOfTenMultiplier", Uom = "uom",
    LocalTimeParameters = "LocalTimeParameters", DstEndRule = "dstEndRule", DstOffset = "dstOffset",
    DstStartRule = "dstStartRule", TzOffset = "tzOffset",
    IntervalBlock = "IntervalBlock", Interval = "interval", IntervalReading = "IntervalReading",
    TimePeriod = "timePeriod", Duration = "duration", Start = "start", Value = "value",
    ReadingQuality = "ReadingQuality", Quality = "quality",
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// An element begins; it is [`Xml::here`]. `link` has `rel` and `href` of an Atom link.
    Open { tag: Tag, link: Option<(String, String)> },
    /// The element [`Xml::here`] ends; it is left at the next step.
    Close,
    /// The document is complete.
    End,
}

/// An open element.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) tag: Tag,
    /// Whether an element was inside.
    pub(super) has_child: bool,
    pub(super) line: u64,
    pub(super) column: u64,
    path_bytes: usize,
    bindings: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Known,
    Foreign,
}

/// The reader of events.
pub(super) struct Xml<'l, R> {
    reader: Reader<Measured<R>>,
    buffer: Vec<u8>,
    limits: &'l Limits,
    stack: Vec<Open>,
    path: String,
    bindings: Vec<(String, Namespace)>,
    text: String,
    elements: u64,
    rooted: bool,
    closing: bool,
    /// Where the event that is being read begins.
    line: u64,
    column: u64,
}

impl<'l, R: BufRead> Xml<'l, R> {
    pub(super) fn new(source: R, limits: &'l Limits) -> Xml<'l, R> {
        let mut reader = Reader::from_reader(Measured::new(source, limits.file_bytes, limits.event_bytes));
        reader.config_mut().expand_empty_elements = true;
        Xml {
            reader,
            buffer: Vec::new(),
            limits,
            stack: Vec::new(),
            path: String::new(),
            bindings: Vec::new(),
            text: String::new(),
            elements: 0,
            rooted: false,
            closing: false,
            line: 1,
            column: 1,
        }
    }

    /// The element that just began or ends.
    pub(super) fn here(&self) -> Option<&Open> {
        self.stack.last()
    }

    /// The tag `up` levels above the element that just began or ends.
    pub(super) fn above(&self, up: usize) -> Option<Tag> {
        let index = self.stack.len().checked_sub(up + 1)?;
        self.stack.get(index).map(|open| open.tag)
    }

    /// Whether one of the elements above has this tag.
    pub(super) fn inside(&self, tag: Tag) -> bool {
        self.stack.iter().rev().skip(1).any(|open| open.tag == tag)
    }

    /// The text of the element that ends, trimmed.
    pub(super) fn text(&self) -> &str {
        self.text.trim_matches([' ', '\t', '\r', '\n'])
    }

    /// The place of the element that just began or ends.
    pub(super) fn place(&self) -> Place {
        let (line, column) = self.here().map_or((self.line, self.column), |open| (open.line, open.column));
        Place { line, column, path: self.path.clone() }
    }

    /// The place of the event itself.
    fn event_place(&self) -> Place {
        Place { line: self.line, column: self.column, path: self.path.clone() }
    }

    pub(super) fn next(&mut self) -> Result<Step, GreenButtonError> {
        if std::mem::take(&mut self.closing) {
            self.leave();
        }
        // The buffer moves out while an event borrows it.
        let mut buffer = std::mem::take(&mut self.buffer);
        let step = loop {
            buffer.clear();
            (self.line, self.column) = (self.reader.get_ref().line, self.reader.get_ref().column);
            let event = self.reader.read_event_into(&mut buffer);
            if self.reader.get_ref().fault.is_some() {
                return Err(self.faulted());
            }
            self.reader.get_mut().event_done();
            match event {
                Err(error) => return Err(self.failed(error)),
                Ok(event) => {
                    if let Some(step) = self.take(event)? {
                        break step;
                    }
                }
            }
        };
        self.buffer = buffer;
        Ok(step)
    }

    /// One event; `None` where it is nothing to tell of.
    fn take(&mut self, event: Event<'_>) -> Result<Option<Step>, GreenButtonError> {
        match event {
            Event::Start(start) | Event::Empty(start) => return self.enter(&start).map(Some),
            Event::End(_) => {
                if let Some(open) = self.stack.last() {
                    (self.line, self.column) = (open.line, open.column);
                }
                self.closing = true;
                return Ok(Some(Step::Close));
            }
            Event::Text(text) => self.push_text(&text)?,
            Event::CData(text) => self.push_text(&text)?,
            Event::GeneralRef(reference) => {
                let character = if reference.is_char_ref() {
                    reference.resolve_char_ref().ok().flatten()
                } else {
                    match &*reference {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => None,
                    }
                };
                let Some(character) = character.filter(|&c| c >= ' ' || matches!(c, '\t' | '\r' | '\n'))
                else {
                    return Err(self.refused("entities are not accepted"));
                };
                self.push_text(character.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(self.refused("document type declarations are not accepted")),
            Event::Decl(declaration) => {
                if let Some(encoding) = declaration.encoding() {
                    let encoding = encoding.map_err(|error| self.malformed(error.to_string()))?;
                    if !["utf-8", "utf8", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
                    {
                        let shown: String = encoding.chars().take(40).collect();
                        return Err(self.refused(format!("only UTF-8 is accepted, the file says '{shown}'")));
                    }
                }
            }
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => {
                if let Some(open) = self.stack.last() {
                    let begun = format!("the file ends inside an element begun at line {}", open.line);
                    return Err(self.malformed(begun));
                }
                if !self.rooted {
                    let reason = "the file is empty or holds no element".into();
                    return Err(GreenButtonError::NotGreenButton { place: self.event_place(), reason });
                }
                return Ok(Some(Step::End));
            }
        }
        Ok(None)
    }

    fn enter(&mut self, start: &BytesStart<'_>) -> Result<Step, GreenButtonError> {
        self.elements += 1;
        self.limit(self.elements, self.limits.elements, "elements")?;
        self.limit(self.stack.len() as u64 + 1, self.limits.depth as u64, "levels of elements")?;
        let name = start.name();
        let name: &str = name.as_ref();
        self.limit(name.len() as u64, self.limits.name_bytes as u64, "bytes in an element's name")?;
        if !is_name(name) {
            return Err(self.malformed("an element's name holds a character that cannot be in one".into()));
        }
        if self.stack.is_empty() && std::mem::replace(&mut self.rooted, true) {
            return Err(self.malformed("a second root element".into()));
        }
        let bindings = self.bindings.len();
        let (mut rel, mut href) = (None, None);
        for (index, attribute) in start.attributes().enumerate() {
            self.limit(index as u64 + 1, self.limits.attributes as u64, "attributes of an element")?;
            let attribute = attribute.map_err(|error| self.malformed(error.to_string()))?;
            let key: &str = attribute.key.as_ref();
            self.limit(key.len() as u64, self.limits.name_bytes as u64, "bytes in an attribute's name")?;
            let limit = self.limits.attribute_bytes as u64;
            self.limit(attribute.value.len() as u64, limit, "bytes in an attribute's value")?;
            let value = quick_xml::escape::unescape(&attribute.value)
                .map_err(|error| self.refused(format!("entities are not accepted: {error}")))?;
            match key {
                "rel" => rel = Some(value.into_owned()),
                "href" => href = Some(value.into_owned()),
                "xmlns" => self.bind("", &value)?,
                _ => {
                    if let Some(prefix) = key.strip_prefix("xmlns:") {
                        self.bind(prefix, &value)?;
                    }
                }
            }
        }
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let bound =
            self.bindings.iter().rev().find(|(known, _)| known == prefix).map(|(_, namespace)| *namespace);
        let namespace = match bound {
            Some(namespace) => namespace,
            None if prefix.is_empty() => Namespace::Known,
            None if prefix == "xml" => Namespace::Foreign,
            None => return Err(self.malformed("an element's prefix is bound to no namespace".into())),
        };
        let tag = if namespace == Namespace::Known { Tag::of(local) } else { Tag::Other };
        if let Some(parent) = self.stack.last_mut() {
            parent.has_child = true;
        }
        let (line, column, path_bytes) = (self.line, self.column, self.path.len());
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(local);
        self.text.clear();
        self.stack.push(Open { tag, has_child: false, line, column, path_bytes, bindings });
        let link = if tag == Tag::Link { rel.zip(href) } else { None };
        Ok(Step::Open { tag, link })
    }

    fn leave(&mut self) {
        if let Some(open) = self.stack.pop() {
            self.path.truncate(open.path_bytes);
            self.bindings.truncate(open.bindings);
        }
        self.text.clear();
    }

    fn bind(&mut self, prefix: &str, uri: &str) -> Result<(), GreenButtonError> {
        let uri = uri.trim().trim_end_matches('/');
        let known = uri.is_empty() || uri == ATOM || uri == ESPI;
        self.limit(self.bindings.len() as u64 + 1, BINDINGS as u64, "namespace declarations in force")?;
        self.bindings.push((prefix.to_owned(), if known { Namespace::Known } else { Namespace::Foreign }));
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), GreenButtonError> {
        if self.stack.is_empty() {
            if text.trim_start_matches('\u{FEFF}').trim().is_empty() {
                return Ok(());
            }
            return Err(if self.rooted {
                self.malformed("text after the root element".into())
            } else {
                let reason = "it begins with something that is no XML".into();
                GreenButtonError::NotGreenButton { place: self.event_place(), reason }
            });
        }
        let bytes = self.text.len().saturating_add(text.len()) as u64;
        self.limit(bytes, self.limits.event_bytes as u64, "bytes of text in an element")?;
        self.text.push_str(text);
        Ok(())
    }

    fn limit(&self, count: u64, limit: u64, what: &'static str) -> Result<(), GreenButtonError> {
        if count <= limit {
            Ok(())
        } else {
            Err(GreenButtonError::Limit { place: self.event_place(), what, limit })
        }
    }

    fn refused(&self, reason: impl Into<String>) -> GreenButtonError {
        GreenButtonError::Refused { place: self.event_place(), reason: reason.into() }
    }

    fn malformed(&self, reason: String) -> GreenButtonError {
        GreenButtonError::Malformed { place: self.event_place(), reason }
    }

    /// The source refused its bytes.
    fn faulted(&self) -> GreenButtonError {
        let place = self.event_place();
        match self.reader.get_ref().fault {
            Some(Fault::EventBytes) | None => {
                let what = "bytes in one tag, text or comment";
                GreenButtonError::Limit { place, what, limit: self.limits.event_bytes as u64 }
            }
            Some(Fault::FileBytes) => {
                GreenButtonError::Limit { place, what: "bytes in the file", limit: self.limits.file_bytes }
            }
            Some(Fault::Encoding) => self.refused("only UTF-8 is accepted"),
            Some(Fault::Control(0)) => self.refused("NUL bytes are not accepted"),
            Some(Fault::Control(byte)) => {
                self.refused(format!("control character {byte:#04X} is not accepted"))
            }
        }
    }

    fn failed(&self, error: XmlError) -> GreenButtonError {
        match error {
            XmlError::Io(source) => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                GreenButtonError::Io { place: self.event_place(), source }
            }
            XmlError::Encoding(_) => self.refused("only UTF-8 is accepted, and these bytes are none"),
            XmlError::Syntax(SyntaxError::UnclosedDoctype) => {
                self.refused("document type declarations are not accepted")
            }
            XmlError::IllFormed(IllFormedError::MissingDoctypeName) => {
                self.refused("document type declarations are not accepted")
            }
            XmlError::IllFormed(IllFormedError::MismatchedEndTag { .. }) => {
                self.malformed("an end tag that does not match the element it is in".into())
            }
            XmlError::IllFormed(IllFormedError::UnmatchedEndTag(_)) => {
                self.malformed("an end tag without an element".into())
            }
            other => self.malformed(other.to_string()),
        }
    }
}

/// Whether `name` can be a qualified name; not as strict as XML, but nothing that would garble a message.
fn is_name(name: &str) -> bool {
    let local = name.rsplit(':').next().unwrap_or_default();
    !local.is_empty()
        && !local.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        && name.matches(':').count() <= 1
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '.' | '·'))
}
