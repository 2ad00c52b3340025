//! Office documents and OFD: zip files whose parts act, fetch, or hide.

use inspect::{Kind, Reason};

use crate::build::office::{docx, docx_parts, links, ofd_parts, pptx_parts, xlsx_parts};
use crate::build::replaced;
use crate::build::zip::{Zip, overlapping};
use crate::refused;

const LINKS: &str = "word/_rels/document.xml.rels";

fn linked(kind: &str, target: &str) -> Vec<u8> {
    docx_parts("").with(LINKS, links(&[(kind, target, true)])).finish()
}

#[test]
fn macros_are_refused_wherever_they_are_said_to_be() {
    let types = |from: &str, to: &str| {
        let part =
            format!("<Types><Override PartName=\"/word/document.xml\" ContentType=\"{from}\"/>{to}</Types>");
        docx_parts("").with("[Content_Types].xml", part).finish()
    };
    let enabled = "application/vnd.ms-word.document.macroEnabled.main+xml";
    let plain = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
    let project = "<Default Extension=\"bin\" ContentType=\"application/vnd.ms-office.vbaProject\"/>";
    let old = "\u{d0}\u{cf}";
    refused(vec![
        ("docm", types(enabled, ""), Kind::OfficeMacro, Some(Reason::Macro)),
        ("a docm's project in a docx", types(plain, project), Kind::OfficeMacro, Some(Reason::Macro)),
        ("escaped", types(&enabled.replace('m', "&#x6d;"), ""), Kind::OfficeMacro, Some(Reason::Macro)),
        (
            "a part by its name",
            docx_parts("").with("word/vbaProject.bin", old).finish(),
            Kind::Docx,
            Some(Reason::Macro),
        ),
        (
            "a sheet of macros",
            xlsx_parts("").with("xl/macrosheets/sheet1.xml", "<a/>").finish(),
            Kind::Xlsx,
            Some(Reason::Macro),
        ),
        (
            "a relation",
            { docx_parts("").with(LINKS, links(&[("vbaProject", "x.bin", false)])).finish() },
            Kind::Docx,
            Some(Reason::Macro),
        ),
        (
            "a control",
            docx_parts("").with("word/activeX/activeX1.xml", "<a/>").finish(),
            Kind::Docx,
            Some(Reason::ActiveContent),
        ),
    ]);
}

#[test]
fn what_fetches_or_acts_is_refused() {
    let field = |text: &str| docx(&format!("<w:p><w:fldChar/><w:instrText>{text}</w:instrText></w:p>"));
    let external = Some(Reason::ExternalReference);
    let active = Some(Reason::ActiveContent);
    refused(vec![
        ("a template elsewhere", linked("attachedTemplate", "http://x/a.dotm"), Kind::Docx, external),
        ("a picture elsewhere", linked("image", "\\\\host\\a.png"), Kind::Docx, external),
        ("an object elsewhere", linked("oleObject", "mhtml:http://x!y"), Kind::Docx, external),
        (
            "elsewhere, escaped",
            {
                replaced_part(
                    LINKS,
                    &links(&[("attachedTemplate", "http://x", true)]).replace("External", "Ext&#101;rnal"),
                )
            },
            Kind::Docx,
            external,
        ),
        ("a link", linked("hyperlink", "https://example.com/a?b=c"), Kind::Docx, None),
        ("a link that runs", linked("hyperlink", "ms-msdt:/id PCWDiagnostic"), Kind::Docx, active),
        ("a link to a script", linked("hyperlink", "java&#x73;cript:alert(1)"), Kind::Docx, active),
        ("a link to a host", linked("hyperlink", "\\\\host\\share"), Kind::Docx, active),
        ("DDE", field("DDEAUTO c:\\\\windows\\\\system32\\\\cmd.exe \"/k calc\""), Kind::Docx, active),
        ("DDE in pieces", field("DD</w:instrText><w:instrText>EAUTO cmd"), Kind::Docx, active),
        ("DDE by numbers", field("QUOTE 68 68 69 65 85 84 79"), Kind::Docx, active),
        ("a simple field", docx("<w:fldSimple w:instr=' DDE cmd '/>"), Kind::Docx, active),
        ("a page's number", field(" PAGE \\* MERGEFORMAT "), Kind::Docx, None),
        (
            "a link of a workbook",
            {
                xlsx_parts("")
                    .with("xl/externalLinks/externalLink1.xml", "<a><ddeLink ddeService='cmd'/></a>")
                    .finish()
            },
            Kind::Xlsx,
            active,
        ),
        (
            "a slide that runs",
            { pptx_parts("<a:hlinkClick xmlns:a='urn:a' action='ppaction://program?x'/>").finish() },
            Kind::Pptx,
            active,
        ),
        (
            "a slide that turns",
            pptx_parts("<a:hlinkClick xmlns:a='urn:a' action='ppaction://hlinkshowjump'/>").finish(),
            Kind::Pptx,
            None,
        ),
    ]);
}

fn replaced_part(name: &str, text: &str) -> Vec<u8> {
    docx_parts("").with(name, text).finish()
}

#[test]
fn files_in_a_document_are_refused() {
    let with = |name: &str, data: &[u8]| docx_parts("").with(name, data).finish();
    let inside = Zip::new().stored("a", b"x").finish();
    refused(vec![
        (
            "an object",
            with("word/embeddings/oleObject1.bin", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            Kind::Docx,
            Some(Reason::EmbeddedFile),
        ),
        (
            "an object under another name",
            with("word/media/a.png", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            Kind::Docx,
            Some(Reason::EmbeddedFile),
        ),
        (
            "anything embedded",
            with("word/embeddings/a.dat", b"\x01\x02\x03"),
            Kind::Docx,
            Some(Reason::EmbeddedFile),
        ),
        ("an archive", with("word/media/a.png", &inside), Kind::Docx, Some(Reason::ArchiveNested)),
        ("a program", with("word/media/a.png", b"MZ\x90\0\x03\0"), Kind::Docx, Some(Reason::ArchiveContent)),
        ("a PDF", with("word/media/a.png", b"%PDF-1.7"), Kind::Docx, Some(Reason::EmbeddedFile)),
        (
            "a drawing with a script",
            { with("word/media/a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>") },
            Kind::Docx,
            Some(Reason::ActiveContent),
        ),
        ("a picture", with("word/media/a.png", &crate::build::picture::png(4, 4)), Kind::Docx, None),
        (
            "OFD with a program",
            ofd_parts().with("Doc_0/Attachs/a.xml", "MZ\x03\0\x01\0").finish(),
            Kind::Ofd,
            Some(Reason::ArchiveContent),
        ),
        (
            "OFD with an archive",
            ofd_parts().with("Doc_0/Attachs/a.zip", &inside).finish(),
            Kind::Ofd,
            Some(Reason::ArchiveNested),
        ),
    ]);
}

#[test]
fn entities_are_refused_in_every_part() {
    let laughs = {
        let lines: String = (1..10)
            .map(|n| format!("<!ENTITY lol{n} \"{}\">", format!("&lol{};", n - 1).repeat(10)))
            .collect();
        format!("<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol0 'lol'>{lines}]><lolz>&lol9;</lolz>")
    };
    let fetch = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>";
    let remote = "<!DOCTYPE a PUBLIC '-//X' 'http://x/x.dtd'><a/>";
    refused(vec![
        ("laughs", laughs.clone().into(), Kind::Xml, Some(Reason::Doctype)),
        ("a fetch", fetch.into(), Kind::Xml, Some(Reason::ExternalEntity)),
        (
            "laughs in a document",
            replaced_part("word/document.xml", &laughs),
            Kind::Docx,
            Some(Reason::Doctype),
        ),
        (
            "a fetch in a document",
            replaced_part("word/document.xml", fetch),
            Kind::Docx,
            Some(Reason::ExternalEntity),
        ),
        (
            "a fetch in a part",
            replaced_part("customXml/item1.xml", remote),
            Kind::Docx,
            Some(Reason::ExternalEntity),
        ),
        ("a fetch in relations", replaced_part(LINKS, fetch), Kind::Docx, Some(Reason::ExternalEntity)),
        (
            "a fetch in the list of parts",
            replaced_part("[Content_Types].xml", fetch),
            Kind::Zip,
            Some(Reason::ExternalEntity),
        ),
        (
            "a fetch under a picture's name",
            replaced_part("word/media/a.png", fetch),
            Kind::Docx,
            Some(Reason::ExternalEntity),
        ),
        ("laughs in OFD", ofd_parts().with("OFD.xml", &laughs).finish(), Kind::Ofd, Some(Reason::Doctype)),
        (
            "UTF-16",
            replaced_part("word/document.xml", "\u{0}<\u{0}a/>"),
            Kind::Docx,
            Some(Reason::TextEncoding),
        ),
        (
            "cut off",
            replaced_part("word/document.xml", "<?xml version='1.0'?><a><b>"),
            Kind::Docx,
            Some(Reason::XmlBroken),
        ),
    ]);
}

#[test]
fn a_document_is_one_document() {
    let twice = "<Override PartName=\"/x.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.\
                 spreadsheetml.sheet.main+xml\"/></Types>";
    let types = |from: &str, to: &str| {
        let whole = docx_parts("").with("[Content_Types].xml", replaced_types(from, to));
        whole.finish()
    };
    refused(vec![
        ("two main parts", types("</Types>", twice), Kind::Zip, Some(Reason::Polyglot)),
        ("no main part", types("document.main+xml", "x"), Kind::OfficeOther, Some(Reason::KindNotAllowed)),
        (
            "a template",
            types("document.main+xml", "template.main+xml"),
            Kind::OfficeOther,
            Some(Reason::KindNotAllowed),
        ),
        (
            "its main part is missing",
            docx_parts("").without("word/document.xml").finish(),
            Kind::Zip,
            Some(Reason::DocumentBroken),
        ),
        (
            "office and OFD",
            docx_parts("").with("OFD.xml", "<a/>").finish(),
            Kind::Zip,
            Some(Reason::Polyglot),
        ),
        (
            "OpenDocument",
            Zip::new().stored("mimetype", b"application/vnd.oasis.opendocument.text").finish(),
            Kind::OfficeOther,
            Some(Reason::KindNotAllowed),
        ),
        (
            "a Java program",
            Zip::new().stored("META-INF/MANIFEST.MF", b"Main-Class: x").finish(),
            Kind::Executable,
            Some(Reason::KindNotAllowed),
        ),
        ("a bomb", overlapping(10, 10_000), Kind::Zip, Some(Reason::ArchiveLyingSizes)),
    ]);
}

fn replaced_types(from: &str, to: &str) -> Vec<u8> {
    let types = "<Types xmlns=\"urn:t\"><Override PartName=\"/word/document.xml\" ContentType=\"application/\
                 vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml\"/></Types>";
    replaced(types.as_bytes(), from.as_bytes(), to.as_bytes())
}
