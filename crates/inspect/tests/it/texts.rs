//! Text, tables and XML by themselves.

use inspect::{Kind, Reason};

use crate::{for_a_person, refused};

#[test]
fn texts_that_act_are_refused() {
    let eicar = [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR"[..], b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat();
    refused(vec![
        ("EICAR", eicar.clone(), Kind::Text, Some(Reason::Malware)),
        ("EICAR with a line's end", [&eicar[..], b"\r\n"].concat(), Kind::Text, Some(Reason::Malware)),
        (
            "an escape sequence",
            b"meter \x1b[2J\x1b]0;x\x07 broken\n".to_vec(),
            Kind::Text,
            Some(Reason::ControlCharacters),
        ),
        ("turned around", "meter\u{202e}gpj.exe\n".into(), Kind::Text, Some(Reason::ControlCharacters)),
        (
            "a page further down",
            b"hello\n<script>alert(1)</script>\n".to_vec(),
            Kind::Text,
            Some(Reason::ActiveContent),
        ),
        ("a table that runs", b"=cmd|'/k calc.exe'!A0\r\n".to_vec(), Kind::Text, Some(Reason::ActiveContent)),
        ("a line of 70 kB", vec![b'x'; 70_000], Kind::Text, Some(Reason::TextLine)),
        ("no encoding", b"caf\xe9\n".to_vec(), Kind::Text, Some(Reason::TextEncoding)),
    ]);
    for_a_person(vec![
        ("a table that reckons", b"a,b\n1,=A1*2\n".to_vec(), Kind::Csv, Reason::Formula),
        (
            "deep XML",
            { [b"<?xml version='1.0'?>".to_vec(), b"<a>".repeat(20_000), b"</a>".repeat(20_000)].concat() },
            Kind::Xml,
            Reason::TooComplex,
        ),
    ]);
}
