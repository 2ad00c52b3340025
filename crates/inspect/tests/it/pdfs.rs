//! PDF files that act, hide, or are something else as well.

use inspect::{Kind, Reason};

use crate::build::pdf::{packed, plain, stream, with};
use crate::build::zip::Zip;
use crate::build::{joined, replaced, zlib};
use crate::{for_a_person, refused};

const ACTION: &[u8] = b"1 0 2 40 <</Type/Action/S/JavaScript/JS(app.alert(1))>>";

#[test]
fn what_acts_is_refused() {
    let script = Some(Reason::ScriptInPdf);
    let open = |action: &str| with(&format!("/OpenAction<<{action}>>"), &[]);
    refused(vec![
        ("a script when opened", open("/S/JavaScript/JS(app.alert(1))"), Kind::Pdf, script),
        ("escaped", open("/S/J#61va#53cript/JS(1)"), Kind::Pdf, script),
        ("escaped throughout", open("/S/#4A#61#76#61#53#63#72#69#70#74"), Kind::Pdf, script),
        ("on a page", with("", &[b"<</Type/Page/AA<</O<</S/JavaScript/JS 9 0 R>>>>>>"]), Kind::Pdf, script),
        ("by name", with("/Names<</JavaScript<</Names[(a)3 0 R]>>>>", &[]), Kind::Pdf, script),
        ("a program", open("/S/Launch/F(cmd.exe)"), Kind::Pdf, script),
        ("an address when opened", open("/S/URI/URI(http://x)"), Kind::Pdf, Some(Reason::ActiveContent)),
        (
            "an address when opened, elsewhere",
            { with("/OpenAction 3 0 R", &[b"<</S/URI/URI(http://x)>>"]) },
            Kind::Pdf,
            Some(Reason::ActiveContent),
        ),
        ("a link", with("", &[b"<</Type/Annot/A<</S/URI/URI(http://x)>>>>"]), Kind::Pdf, None),
        (
            "a form that is sent",
            with("", &[b"<</S/SubmitForm/F(http://x)>>"]),
            Kind::Pdf,
            Some(Reason::ActiveContent),
        ),
        ("a form of XML", with("/AcroForm<</XFA[(a)3 0 R]>>", &[]), Kind::Pdf, Some(Reason::ActiveContent)),
        ("a film", with("", &[b"<</Subtype/RichMedia>>"]), Kind::Pdf, Some(Reason::ActiveContent)),
        ("a file inside", with("/Names<</EmbeddedFiles 3 0 R>>", &[]), Kind::Pdf, Some(Reason::EmbeddedFile)),
        (
            "another document",
            open("/S/GoToR/F(\\\\\\\\host\\\\a)"),
            Kind::Pdf,
            Some(Reason::ExternalReference),
        ),
    ]);
}

#[test]
fn what_acts_is_found_where_it_is_packed() {
    let script = Some(Reason::ScriptInPdf);
    let nameless = |dictionary: &str| with("", &[&stream(dictionary, &zlib(ACTION))]);
    refused(vec![
        ("in an object stream", packed(ACTION), Kind::Pdf, script),
        ("in one that says nothing of it", nameless("/Filter/FlateDecode/N 1/First 8"), Kind::Pdf, script),
        (
            "in one that says it is a picture",
            nameless("/Subtype/Image/Filter/FlateDecode"),
            Kind::Pdf,
            script,
        ),
        ("in one that is called escaped", nameless("/Type/Obj#53tm/Filter/Fl"), Kind::Pdf, script),
        (
            "behind a comment",
            nameless("/Type/ObjStm %endobj 1 0 obj\n/Filter/FlateDecode"),
            Kind::Pdf,
            script,
        ),
        ("not packed at all", with("", &[&stream("/Type/ObjStm", ACTION)]), Kind::Pdf, script),
    ]);
}

#[test]
fn what_cannot_be_searched_needs_a_person() {
    let complex = Reason::TooComplex;
    let spare = b"1 0 2 40 <</Type/Page>> ".repeat(100_000);
    let many: Vec<Vec<u8>> = (0..300).map(|_| stream("", b"x")).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let hex = b"789c0300000000 01>";
    let opens_inside = {
        // Long enough that it is packed and not only wrapped.
        let objects = zlib(&b"3 0 4 40 <</S/GoTo/D[1 0 R]>> <</S/URI/URI(http://x)>> ".repeat(4));
        with("/OpenAction 3 0 R", &[&stream("/Type/ObjStm/Filter/FlateDecode", &objects)])
    };
    for_a_person(vec![
        (
            "encrypted",
            replaced(&plain(), b"/Root 1 0 R", b"/Root 1 0 R/Encrypt 9 0 R"),
            Kind::Pdf,
            Reason::Encrypted,
        ),
        ("more than the budget", packed(&spare), Kind::Pdf, complex),
        ("too many streams", with("", &many), Kind::Pdf, complex),
        (
            "another filter before",
            { with("", &[&stream("/Type/ObjStm/Filter[/ASCIIHexDecode/FlateDecode]", hex)]) },
            Kind::Pdf,
            complex,
        ),
        (
            "a predictor",
            {
                with(
                    "",
                    &[&stream(
                        "/Type/ObjStm/Filter/FlateDecode/DecodeParms<</Predictor 12>>",
                        &zlib(b"1 0 x"),
                    )],
                )
            },
            Kind::Pdf,
            complex,
        ),
        (
            "damaged",
            with("", &[&stream("/Type/ObjStm/Filter/FlateDecode", &zlib(ACTION)[..9])]),
            Kind::Pdf,
            complex,
        ),
        ("an opening action among others", opens_inside, Kind::Pdf, Reason::ActiveContent),
    ]);
}

#[test]
fn a_pdf_is_whole_and_nothing_else() {
    let plain = plain();
    let page = b"<html><script>alert(1)</script>";
    refused(vec![
        (
            "a page in its beginning",
            replaced(&plain, b"%\xe2\xe3\xcf\xd3", page),
            Kind::Pdf,
            Some(Reason::Polyglot),
        ),
        ("a page behind it", joined(&[&plain, page]), Kind::Pdf, Some(Reason::Polyglot)),
        ("a program behind it", joined(&[&plain, b"MZ\x90\0\x03\0\0\0"]), Kind::Pdf, Some(Reason::Polyglot)),
        ("noise behind it", joined(&[&plain, &[0x81; 2000]]), Kind::Pdf, Some(Reason::TrailingData)),
        ("far behind it", joined(&[&plain, &[0x81; 70_000]]), Kind::Pdf, Some(Reason::TrailingData)),
        (
            "zip behind it",
            joined(&[&plain, &Zip::new().stored("a", b"x").finish()]),
            Kind::Pdf,
            Some(Reason::Polyglot),
        ),
        ("blanks around it", joined(&[b"\r\n", &plain, b"\r\n\0\0"]), Kind::Pdf, None),
        ("a page before it", joined(&[page, &plain]), Kind::Html, Some(Reason::KindNotAllowed)),
        ("text before it", joined(&[b"hello\n", &plain]), Kind::Text, Some(Reason::Polyglot)),
        ("cut off", plain[..plain.len() - 30].to_vec(), Kind::Pdf, Some(Reason::PdfBroken)),
        ("nothing but its name", b"%PDF-1.4\n%%EOF".to_vec(), Kind::Pdf, Some(Reason::PdfBroken)),
    ]);
}
