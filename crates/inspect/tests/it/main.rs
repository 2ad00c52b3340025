//! Files as customers send them, and as attackers do.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use inspect::{Kind, Reason, Rules, Verdict};

mod archives;
mod build;
mod clamd;
mod documentation;
mod documents;
mod harness;
mod material;
mod pdfs;
mod pictures;
mod properties;
mod replay;
mod texts;

/// A file and what becomes of it. `None`: it passes as this kind.
type Row<'a> = (&'a str, Vec<u8>, Kind, Option<Reason>);

/// Holds that each file of a table is refused for the stated reason.
fn refused(rows: Vec<Row<'_>>) {
    for (name, bytes, kind, why) in rows {
        let expected = match why {
            Some(why) => Verdict::Refuse { kind: Some(kind), why },
            None => Verdict::Pass { kind },
        };
        assert_eq!(harness::judge(&bytes), expected, "{name}");
    }
}

/// Holds that each file of a table goes to a person for the stated reason.
fn for_a_person(rows: Vec<(&str, Vec<u8>, Kind, Reason)>) {
    for (name, bytes, kind, why) in rows {
        assert_eq!(harness::judge(&bytes), Verdict::NeedsPerson { kind, why }, "{name}");
    }
}

/// The largest amount of memory this process has held.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn what_customers_send_passes() {
    for (name, kind, bytes) in build::valid() {
        assert_eq!(harness::judge(&bytes), Verdict::Pass { kind }, "{name}");
    }
}

#[test]
fn the_rules_decide_what_passes() {
    let judge = |bytes: &[u8], rules: &Rules| harness::judge_by(bytes, rules);
    let rules = Rules::default();
    for (name, kind, bytes) in build::valid() {
        let expected = match rules.allowed.contains(&kind) {
            true => Verdict::Pass { kind },
            false => Verdict::Refuse { kind: Some(kind), why: Reason::KindNotAllowed },
        };
        assert_eq!(judge(&bytes, &rules), expected, "{name}");
    }
    let rules = Rules { needs_person: [Kind::Docx].into(), ..Rules::default() };
    let docx = build::office::docx("");
    assert_eq!(judge(&docx, &rules), Verdict::NeedsPerson { kind: Kind::Docx, why: Reason::KindNeedsPerson });
    // A person is not troubled with what is refused anyway.
    let hostile = build::office::docx_parts("").with("word/vbaProject.bin", "x").finish();
    assert_eq!(judge(&hostile, &rules), Verdict::Refuse { kind: Some(Kind::Docx), why: Reason::Macro });
    let rules = Rules { size_bytes_max: 10, ..Rules::default() };
    assert_eq!(judge(b"0123456789\n", &rules), Verdict::Refuse { kind: None, why: Reason::TooLarge });
    assert_eq!(judge(b"", &rules), Verdict::Refuse { kind: None, why: Reason::Empty });
    assert_eq!(judge(b"012345678\n", &rules), Verdict::Pass { kind: Kind::Text });
}

#[test]
fn a_file_that_is_not_of_its_size_is_no_verdict() {
    for size in [1, 11, u64::from(u32::MAX)] {
        let rules = Rules { size_bytes_max: 1 << 30, ..Rules::default() };
        let judged = inspect::inspect(&mut Cursor::new(b"0123456789"), size, &rules);
        let error = (size <= rules.size_bytes_max).then(|| judged.unwrap_err().kind());
        assert!(error.is_none_or(|kind| kind == std::io::ErrorKind::InvalidInput));
    }
}

#[test]
fn the_worst_shapes_take_little_time() {
    let sheet = |tag: &str| build::office::docx(tag);
    let attributes = "x:a='' ".repeat(120_000);
    let object = build::pdf::stream("/Filter/Fl", &build::zlib(b"1 0 x"));
    let objects = vec![object.as_slice(); 19_000];
    let entries =
        (0..1000).fold(build::zip::Zip::new(), |zip, n| zip.stored(&format!("{n}.txt"), b"x")).finish();
    let rules = Rules { allowed: harness::open_rules().allowed, ..Rules::default() };
    for (name, bytes) in [
        ("attributes of one tag", sheet(&format!("<w:p xmlns:x='x' {attributes}/>"))),
        ("fields", sheet(&"<w:instrText>PAGE</w:instrText>".repeat(100_000))),
        ("references", sheet(&format!("<w:p a='{}'/>", "&#120;".repeat(150_000)))),
        ("streams", build::pdf::with("", &objects)),
        ("names", build::pdf::with("", &[&b"/".repeat(4 << 20)])),
        ("entries", entries),
        ("marks", b"<script".repeat(2 << 20)),
        ("cells", b"=,".repeat(30_000)),
        ("markers", [&build::picture::jpeg(4, 4)[..60], &b"\xff".repeat(4 << 20)].concat()),
    ] {
        let started = std::time::Instant::now();
        let verdict = harness::judge_by(&bytes, &rules);
        let took = started.elapsed();
        assert!(took.as_secs() < 5, "{name}: {verdict:?} after {took:?}");
        println!("{name}: {verdict:?} after {took:?}");
    }
}

#[test]
fn a_file_is_told_by_its_bytes_whatever_it_is_called() {
    let tar = [&[b'a'; 257][..], b"ustar\0", &[0; 249]].concat();
    for (bytes, kind) in [
        (&b"MZ\x90\0\x03\0\0\0\x04\0\0\0"[..], Kind::Executable),
        (b"\x7fELF\x02\x01\x01\0", Kind::Executable),
        (b"\xca\xfe\xba\xbe\0\0\0\x34", Kind::Executable),
        (b"\0asm\x01\0\0\0", Kind::Executable),
        (b"L\0\0\0\x01\x14\x02\0\0\0\0\0", Kind::Executable),
        (b"#!/bin/sh\nrm -rf ~\n", Kind::Script),
        (b"@echo off\r\n", Kind::Script),
        (b"<?php system($_GET[0]);", Kind::Script),
        (b"[InternetShortcut]\r\nURL=file://host/a.exe\r\n", Kind::Script),
        (b"%!PS-Adobe-3.0\n(%pipe%id) (r) file\n", Kind::Script),
        (b"ID;PWXL;N;E\r\n", Kind::Script),
        (b"\xef\xbb\xbf  <!DOCTYPE html><title>x</title>", Kind::Html),
        (b"<HTML><body onload=alert(1)>", Kind::Html),
        (b"<script>alert(1)</script>", Kind::Html),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", Kind::Svg),
        (b"<?xml version='1.0'?><!-- <a> --><svg xmlns='http://www.w3.org/2000/svg'/>", Kind::Svg),
        (b"<?xml version='1.0'?><x:html xmlns:x='http://www.w3.org/1999/xhtml'/>", Kind::Html),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", Kind::Ole),
        (b"{\\rtf1{\\object\\objdata 0105}}", Kind::Rtf),
        (b"From: a\nMIME-Version: 1.0\nContent-Type: multipart/mixed\n\n", Kind::Mime),
        (b"Rar!\x1a\x07\x01\0", Kind::Rar),
        (b"7z\xbc\xaf\x27\x1c\0\x04", Kind::SevenZip),
        (b"\x1f\x8b\x08\0\0\0\0\0", Kind::Gzip),
        (b"BZh91AY&SY\0\0", Kind::OtherArchive),
        (b"\xfd7zXZ\0\0\x04", Kind::OtherArchive),
        (b"MSCF\0\0\0\0", Kind::OtherArchive),
        (&tar, Kind::OtherArchive),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", Kind::Media),
        (b"RIFF\x10\0\0\0WAVEfmt ", Kind::Media),
        (b"\xff\xfb\x90\x64\0\0", Kind::Media),
        (b"\0\x01\x02\x03\x04\x05", Kind::Unknown),
    ] {
        let why = if kind == Kind::Unknown { Reason::KindUnknown } else { Reason::KindNotAllowed };
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(harness::judge(bytes), Verdict::Refuse { kind: Some(kind), why }, "{text}");
    }
    // Texts that begin like something else.
    for text in
        ["MZ 4711 defekt\n", "070701,3\n", "BZh\n", "From my house\n", "ID: 3\n", "GIF is what I sent.\n"]
    {
        let Verdict::Pass { kind: Kind::Text } = harness::judge(text.as_bytes()) else { panic!("{text}") };
    }
}
