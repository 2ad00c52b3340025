//! Which document a zip file is.

use std::io::{Read, Seek};

use super::{Archive, contents, refuse};
use crate::source::{Source, Stop};
use crate::xml::{Event, Reader};
use crate::{Kind, Reason, Rules};

/// The list of a document's parts (ECMA-376 part 2).
const PARTS: &[u8] = b"[Content_Types].xml";

/// What tells the kind of an office document: the type of its main part.
const MAINS: &[(&str, Kind)] = &[
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml", Kind::Docx),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml", Kind::Xlsx),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml", Kind::Pptx),
];

/// What tells an archive of programs, by the names in it, in lower case.
const PROGRAMS: &[&[u8]] = &[b"meta-inf/manifest.mf", b"androidmanifest.xml", b"classes.dex"];

pub(super) fn kind<F: Read + Seek>(
    archive: &Archive,
    source: &mut Source<'_, F>,
    rules: &Rules,
) -> Result<Kind, Stop> {
    if PROGRAMS.iter().any(|name| archive.entry(name).is_some()) {
        return Ok(Kind::Executable);
    }
    let is_ofd = archive.entry(b"OFD.xml").is_some();
    if archive.entry(PARTS).is_some() {
        let kind = office(archive, source, rules)?;
        return if is_ofd { refuse(Reason::Polyglot) } else { Ok(kind) };
    }
    if is_ofd {
        return Ok(Kind::Ofd);
    }
    // OpenDocument and EPUB name themselves in an entry of this name.
    Ok(if archive.entry(b"mimetype").is_some() { Kind::OfficeOther } else { Kind::Zip })
}

fn office<F: Read + Seek>(
    archive: &Archive,
    source: &mut Source<'_, F>,
    rules: &Rules,
) -> Result<Kind, Stop> {
    let Some(parts) = archive.entry(PARTS) else { return Ok(Kind::Zip) };
    let mut reader = Reader::new(&rules.text);
    let (mut mains, mut macros) = (Vec::new(), false);
    let mut on = |event: Event<'_>| {
        if let Event::Open(tag) = event
            && let Some(content) = tag.attribute("ContentType")
        {
            let content = String::from_utf8_lossy(&content).to_ascii_lowercase();
            macros |= ["macroenabled", "vbaproject", "macrosheet"].iter().any(|word| content.contains(word));
            if let Some((_, kind)) = MAINS.iter().find(|(main, _)| content == *main) {
                let part = tag.attribute("PartName").map(|name| name.trim_ascii_start().to_vec());
                mains.push((*kind, part));
            }
        }
        Ok(())
    };
    contents::unpack(source, parts, |bytes| reader.push(bytes, &mut on))?;
    reader.finish()?;
    if macros {
        return Ok(Kind::OfficeMacro);
    }
    match mains.as_slice() {
        [(kind, Some(part))] => {
            let part = part.strip_prefix(b"/").unwrap_or(part);
            let whole = archive.entry(part).is_some() && archive.entry(b"_rels/.rels").is_some();
            if whole { Ok(*kind) } else { refuse(Reason::DocumentBroken) }
        }
        // The type of the main part may be given for all parts with its ending.
        [(kind, None)] => Ok(*kind),
        [] => Ok(Kind::OfficeOther),
        _ => refuse(Reason::Polyglot),
    }
}
