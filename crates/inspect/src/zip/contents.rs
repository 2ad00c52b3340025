//! What lies in a zip file: each entry unpacked as far as it says, compared with its checksum, and looked at.

use std::io::{Read, Seek};

use super::{Archive, Entry, refuse};
use crate::active::Marks;
use crate::inflate::{Ended, Wrap, inflate};
use crate::pdf::Scanner;
use crate::source::{Source, Stop};
use crate::xml::{Event, Reader, Tag};
use crate::{Kind, Reason, Rules, detect};

/// Names of parts that hold or run macros and controls, in lower case.
const MACROS: &[&str] =
    &["vbaproject.bin", "vbadata.xml", "macrosheets/", "dialogsheets/", "vbaprojectsignature"];
const CONTROLS: &[&str] = &["activex/", "webextensions/", "customui/"];

/// Schemes of links that open a page or a letter, and nothing else.
const SCHEMES: &[&str] = &["http", "https", "mailto", "tel", "ftp"];

/// Text of a document's fields that is held at a time.
const FIELD_BYTES_MAX: usize = 64 * 1024;

/// Unpacks an entry. It must give what directory and header say, to the byte.
pub(super) fn unpack<F: Read + Seek>(
    source: &mut Source<'_, F>,
    entry: &Entry,
    mut piece: impl FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut crc = crc32fast::Hasher::new();
    let mut take = |bytes: &[u8]| {
        crc.update(bytes);
        piece(bytes)
    };
    if entry.deflated {
        let done = inflate(source, entry.data(), Wrap::Raw, entry.unpacked, &mut take)?;
        match done.ended {
            Ended::Complete if done.packed == entry.packed && done.unpacked == entry.unpacked => {}
            Ended::Complete | Ended::OverBudget => return refuse(Reason::ArchiveLyingSizes),
            Ended::Broken => return refuse(Reason::ArchiveTruncated),
        }
    } else {
        source.each(entry.data(), take)?;
    }
    if crc.finalize() == entry.crc { Ok(()) } else { refuse(Reason::ArchiveTruncated) }
}

pub(super) fn check<F: Read + Seek>(
    archive: &Archive,
    source: &mut Source<'_, F>,
    kind: Kind,
    rules: &Rules,
) -> Result<(), Stop> {
    for entry in &archive.entries {
        let mut part = Part::new(entry, kind, rules);
        unpack(source, entry, |bytes| part.push(bytes))?;
        part.finish()?;
    }
    Ok(())
}

/// One entry as it is unpacked.
struct Part<'a> {
    kind: Kind,
    rules: &'a Rules,
    name: String,
    size: u64,
    /// The beginning, until it is enough to tell what it is.
    head: Vec<u8>,
    looked: bool,
    xml: Option<Reader>,
    fields: Fields,
    marks: Marks,
    pdf: Option<Scanner>,
}

impl<'a> Part<'a> {
    fn new(entry: &Entry, kind: Kind, rules: &'a Rules) -> Self {
        let name = String::from_utf8_lossy(&entry.name).to_ascii_lowercase();
        Self {
            kind,
            rules,
            name,
            size: entry.unpacked,
            head: Vec::new(),
            looked: false,
            xml: None,
            fields: Fields::default(),
            marks: Marks::default(),
            pdf: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.looked {
            return self.read(bytes);
        }
        let (begin, rest) = bytes.split_at(bytes.len().min(detect::HEAD - self.head.len()));
        self.head.extend_from_slice(begin);
        if self.head.len() == detect::HEAD || self.head.len() as u64 == self.size {
            self.look()?;
            let head = std::mem::take(&mut self.head);
            self.read(&head)?;
            return self.read(rest);
        }
        Ok(())
    }

    /// Judges the part by its beginning.
    fn look(&mut self) -> Result<(), Stop> {
        self.looked = true;
        let found = detect::of_head(&self.head, self.head.len() as u64 == self.size);
        if self.kind == Kind::Zip {
            if found.is_archive() {
                return refuse(Reason::ArchiveNested);
            }
            if found == Kind::Pdf {
                self.pdf = Some(Scanner::new(0));
            }
            return if self.rules.allowed.contains(&found) { Ok(()) } else { refuse(Reason::ArchiveContent) };
        }
        if self.is_named(MACROS) {
            return refuse(Reason::Macro);
        }
        if self.is_named(CONTROLS) {
            return refuse(Reason::ActiveContent);
        }
        let is_xml = [".xml", ".rels", ".vml"].iter().any(|ending| self.name.ends_with(ending));
        match found {
            Kind::Ole => return refuse(Reason::EmbeddedFile),
            Kind::Executable | Kind::Script | Kind::Mime => return refuse(Reason::ArchiveContent),
            found if found.is_archive() => return refuse(Reason::ArchiveNested),
            Kind::Pdf | Kind::Rtf => return refuse(Reason::EmbeddedFile),
            Kind::Html if !is_xml => return refuse(Reason::ActiveContent),
            _ => {}
        }
        if self.name.contains("embeddings/") {
            return refuse(Reason::EmbeddedFile);
        }
        if is_xml || matches!(found, Kind::Xml | Kind::Svg) {
            self.xml = Some(Reader::new(&self.rules.text));
        }
        Ok(())
    }

    fn is_named(&self, parts: &[&str]) -> bool {
        let office = matches!(self.kind, Kind::Docx | Kind::Xlsx | Kind::Pptx);
        office && parts.iter().any(|part| self.name.contains(part))
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let Self { xml, fields, name, marks, kind, pdf, .. } = self;
        if let Some(scanner) = pdf {
            scanner.push(bytes)?;
        }
        match xml {
            Some(reader) => {
                let is_links = name.ends_with(".rels");
                reader.push(bytes, &mut |event| {
                    match &event {
                        Event::Open(tag) if is_links => link(tag)?,
                        Event::Open(tag) => element(tag)?,
                        Event::Instruction(text) if text.starts_with(b"xml-stylesheet") => {
                            return refuse(Reason::ActiveContent);
                        }
                        _ => {}
                    }
                    fields.read(&event)
                })
            }
            None if *kind == Kind::Zip => marks.push(bytes, Reason::ArchiveContent),
            None => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), Stop> {
        self.fields.check()?;
        self.xml.as_ref().map_or(Ok(()), Reader::finish)
    }
}

/// A relation of a document to one of its parts, or to something elsewhere.
fn link(tag: &Tag<'_>) -> Result<(), Stop> {
    let text =
        |name| tag.attribute(name).map(|value| String::from_utf8_lossy(&value).trim().to_ascii_lowercase());
    let kind = text("Type").unwrap_or_default();
    if kind.ends_with("/vbaproject") || kind.ends_with("/xlmacrosheet") || kind.ends_with("/xlintlmacrosheet")
    {
        return refuse(Reason::Macro);
    }
    if text("TargetMode").as_deref() != Some("external") {
        return Ok(());
    }
    // A link waits to be clicked. Everything else is fetched when the document is opened: a template with macros, a
    // picture that tells who reads it.
    if !kind.ends_with("/hyperlink") {
        return refuse(Reason::ExternalReference);
    }
    let target = text("Target").unwrap_or_default();
    match target.split_once(':') {
        Some((scheme, _)) if SCHEMES.contains(&scheme) => Ok(()),
        None if !target.starts_with("\\\\") && !target.starts_with("//") => Ok(()),
        _ => refuse(Reason::ActiveContent),
    }
}

/// Elements that act.
fn element(tag: &Tag<'_>) -> Result<(), Stop> {
    if tag.name == b"ddeLink" || tag.name == b"oleLink" {
        return refuse(Reason::ActiveContent);
    }
    let starts = |(name, value): (&[u8], std::borrow::Cow<'_, [u8]>)| {
        name == b"action"
            && value.to_ascii_lowercase().starts_with(b"ppaction://")
            && [&b"program"[..], b"macro", b"ole"]
                .iter()
                .any(|word| value[11..].to_ascii_lowercase().starts_with(word))
    };
    if tag.attributes().any(starts) { refuse(Reason::ActiveContent) } else { Ok(()) }
}

/// The instructions of a Word document's fields, which may be cut into pieces anywhere.
#[derive(Default)]
struct Fields {
    inside: bool,
    text: Vec<u8>,
}

impl Fields {
    fn read(&mut self, event: &Event<'_>) -> Result<(), Stop> {
        match event {
            Event::Open(tag) if tag.name == b"instrText" || tag.name == b"delInstrText" => self.inside = true,
            Event::Open(tag) => {
                if tag.name == b"fldSimple"
                    && let Some(instruction) = tag.attribute("instr")
                {
                    self.text.extend_from_slice(&instruction);
                    self.text.push(b'\n');
                }
                // Each field begins anew.
                if tag.name == b"fldChar" {
                    self.text.push(b'\n');
                }
            }
            Event::Close => self.inside = false,
            Event::Text(text) if self.inside => self.text.extend_from_slice(text),
            _ => {}
        }
        if self.text.len() > FIELD_BYTES_MAX {
            self.check()?;
            self.text.clear();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Stop> {
        let acts = self.text.split(|byte| !byte.is_ascii_alphanumeric()).any(|word| {
            [&b"DDE"[..], b"DDEAUTO", b"MACROBUTTON", b"INCLUDETEXT", b"INCLUDEPICTURE", b"DATABASE"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known))
        });
        // Letters by their numbers: how `DDE` is written so that it is not found.
        let spelled = self.text.split(|byte| *byte == b'\n').any(|field| {
            let mut words = field.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"QUOTE"))
                && words.next().is_some_and(|word| word.iter().all(u8::is_ascii_digit))
        });
        if acts || spelled { refuse(Reason::ActiveContent) } else { Ok(()) }
    }
}
