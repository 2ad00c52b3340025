//! Bombs, lies, and names that lead out.

use inspect::{Kind, Reason, Rules, Verdict};

use crate::build::zip::{Entry, Zip, overlapping, patched, zip64_telling};
use crate::build::{deflate, joined, valid};
use crate::{harness, peak_memory_bytes, refused};

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

fn named(name: &str) -> Vec<u8> {
    Zip::new().stored(name, b"x").finish()
}

/// The builder's own two texts.
fn two() -> Vec<u8> {
    Zip::new().deflated("a.txt", b"hello hello hello").deflated("b.txt", b"world world world").finish()
}

#[test]
fn names_that_lead_out_are_refused() {
    let names = [
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/cron.d/x",
        "\\\\host\\share\\x",
        "C:\\x",
        "c:x",
        "a/../../x",
        "a//x",
        "./x",
        "x\0.txt",
        "x\n.txt",
        "x\x1b[2J.txt",
        "x\u{202e}txt.exe",
        "x:stream",
        "x.",
        "x ",
        "..",
        "/",
    ];
    let mut rows: Vec<_> =
        names.iter().map(|name| (*name, named(name), Kind::Zip, Some(Reason::ArchivePath))).collect();
    // Names that only Windows gives a meaning to are nobody's path here.
    rows.extend(["CON", "nul.txt", "COM1", "aux/x.txt"].map(|name| (name, named(name), Kind::Zip, None)));
    let link = Entry { attributes: 0o120_777 << 16, ..Entry::stored("x.txt", b"/etc/passwd") };
    let pipe = Entry { attributes: 0o010_644 << 16, ..Entry::stored("x.txt", b"") };
    let other_name = [&[0x75, 0x70, 14, 0, 1, 0, 0, 0, 0][..], b"../../xyz"].concat();
    let unicode = Entry { extra: other_name, ..Entry::stored("x.txt", b"x") };
    rows.push(("a symbolic link", Zip::new().entry(&link).finish(), Kind::Zip, Some(Reason::ArchivePath)));
    rows.push(("a pipe", Zip::new().entry(&pipe).finish(), Kind::Zip, Some(Reason::ArchivePath)));
    rows.push(("a second name", Zip::new().entry(&unicode).finish(), Kind::Zip, Some(Reason::ArchivePath)));
    refused(rows);
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let zeros = vec![b'x'; 3 << 20];
    let flat = Zip::new().deflated("a.txt", &zeros).finish();
    let many =
        (0..30).fold(Zip::new(), |zip, n| zip.stored(&format!("{n}.txt"), &vec![b'x'; 200_000])).finish();
    let crowd = (0..101).fold(Zip::new(), |zip, n| zip.stored(&format!("{n}.txt"), b"x")).finish();
    // What the directory tells is small, what comes out is not.
    let lying = patched(&flat, CENTRAL, 0, 24, &1000u32.to_le_bytes());
    let lying_twice = patched(&lying, LOCAL, 0, 22, &1000u32.to_le_bytes());
    refused(vec![
        ("flat", flat, Kind::Zip, Some(Reason::ArchiveRatio)),
        ("many", many, Kind::Zip, Some(Reason::ArchiveTooBig)),
        ("a crowd", crowd, Kind::Zip, Some(Reason::ArchiveTooManyEntries)),
        ("a small size in the directory", lying, Kind::Zip, Some(Reason::ArchiveLyingSizes)),
        ("a small size everywhere", lying_twice, Kind::Zip, Some(Reason::ArchiveLyingSizes)),
        ("overlapping", overlapping(40, 30_000), Kind::Zip, Some(Reason::ArchiveLyingSizes)),
        ("2^36 by 64 bits", zip64_telling("a", b"xxxx", 6, 1 << 36), Kind::Zip, Some(Reason::ArchiveTooBig)),
        ("2^36 packed", zip64_telling("a", b"xxxx", 1 << 36, 4), Kind::Zip, Some(Reason::ArchiveLyingSizes)),
        (
            "2^64 - 1 packed",
            zip64_telling("a", b"xxxx", u64::MAX, 4),
            Kind::Zip,
            Some(Reason::ArchiveLyingSizes),
        ),
    ]);
    // One that would come to 60 GB, by the rules of a production system.
    let bomb = overlapping(250, 200 << 20);
    let rules = Rules { allowed: [Kind::Zip].into(), ..Rules::default() };
    let why = Reason::ArchiveTooBig;
    assert_eq!(harness::judge_by(&bomb, &rules), Verdict::Refuse { kind: Some(Kind::Zip), why });
}

#[test]
fn a_large_bomb_takes_little_memory() {
    // Seen from outside an ordinary file: 64 megabytes that pack a hundredfold.
    let line: Vec<u8> = (0..1000u32).flat_map(|n| (n * 7919).to_le_bytes()).collect();
    let entry = Entry::deflated("xl/media/a.bin", &line.repeat(16_000));
    let bytes = crate::build::office::xlsx_parts("").finish();
    let large = Zip::new().entry(&entry).finish();
    drop((line, entry));
    let before = peak_memory_bytes();
    let rules = Rules { allowed: [Kind::Zip, Kind::Xlsx].into(), ..Rules::default() };
    assert_eq!(harness::judge_by(&bytes, &rules), Verdict::Pass { kind: Kind::Xlsx });
    let judged = harness::judge_by(&large, &rules);
    assert_eq!(judged, Verdict::Refuse { kind: Some(Kind::Zip), why: Reason::ArchiveContent });
    let rules =
        Rules { archive: inspect::ArchiveRules { ratio_max: 1000, ..rules.archive.clone() }, ..rules };
    let mut parts = crate::build::office::xlsx_parts("");
    parts = parts.with("xl/media/a.bin", vec![7; 64 << 20]);
    let large = parts.finish();
    let before = before.max(peak_memory_bytes());
    let started = std::time::Instant::now();
    harness::judge_by(
        &large,
        &Rules { archive: inspect::ArchiveRules { ratio_max: 1032, ..rules.archive.clone() }, ..rules },
    );
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert!(peak_memory_bytes() - before < 16 << 20, "{} bytes more", peak_memory_bytes() - before);
}

#[test]
fn archives_that_lie_are_refused() {
    let two = two();
    let name = |nth, text: &[u8]| patched(&two, CENTRAL, nth, 46, text);
    let mut rows = vec![
        ("another name in the header", patched(&two, LOCAL, 0, 30, b"x"), Reason::ArchiveLyingSizes),
        ("another method in the header", patched(&two, LOCAL, 0, 8, &[0, 0]), Reason::ArchiveLyingSizes),
        ("another size in the header", patched(&two, LOCAL, 0, 18, &[1]), Reason::ArchiveLyingSizes),
        ("another checksum in the header", patched(&two, LOCAL, 0, 14, &[1]), Reason::ArchiveLyingSizes),
        (
            "a checksum that is wrong",
            {
                let once = patched(&two, LOCAL, 0, 14, &[1, 2, 3, 4]);
                patched(&once, CENTRAL, 0, 16, &[1, 2, 3, 4])
            },
            Reason::ArchiveTruncated,
        ),
        ("a header that is not there", patched(&two, CENTRAL, 0, 42, &[9]), Reason::ArchiveLyingSizes),
        (
            "a header beyond the file",
            patched(&two, CENTRAL, 0, 42, &u32::MAX.to_le_bytes()),
            Reason::ArchiveLyingSizes,
        ),
        (
            "two entries with one header",
            patched(&two, CENTRAL, 1, 42, &0u32.to_le_bytes()),
            Reason::ArchiveLyingSizes,
        ),
        ("one name twice", name(1, b"a"), Reason::ArchiveDuplicateEntry),
        ("one name twice, to some", name(1, b"A"), Reason::ArchiveDuplicateEntry),
        (
            "fewer entries than there are",
            {
                let once = patched(&two, END, 0, 8, &[1]);
                patched(&once, END, 0, 10, &[1])
            },
            Reason::ArchiveHiddenData,
        ),
        (
            "more entries than there are",
            {
                let once = patched(&two, END, 0, 8, &[3]);
                patched(&once, END, 0, 10, &[3])
            },
            Reason::ArchiveTruncated,
        ),
        ("no entry", Zip::new().finish(), Reason::Empty),
        ("several disks", patched(&two, END, 0, 4, &[1]), Reason::ArchiveLyingSizes),
        (
            "a directory elsewhere",
            patched(&two, END, 0, 16, &u32::MAX.to_le_bytes()),
            Reason::ArchiveLyingSizes,
        ),
        (
            "a directory of 4 GB",
            patched(&two, END, 0, 12, &u32::MAX.to_le_bytes()),
            Reason::ArchiveLyingSizes,
        ),
        (
            "encrypted",
            {
                let once = patched(&two, LOCAL, 0, 6, &[1]);
                patched(&once, CENTRAL, 0, 8, &[1])
            },
            Reason::ArchiveEncrypted,
        ),
        ("encrypted by the header alone", patched(&two, LOCAL, 0, 6, &[1]), Reason::ArchiveEncrypted),
        (
            "packed otherwise",
            {
                let once = patched(&two, LOCAL, 0, 8, &[12]);
                patched(&once, CENTRAL, 0, 10, &[12])
            },
            Reason::ArchiveMethod,
        ),
        (
            "hidden between two entries",
            { Zip::new().stored("a.txt", b"x").raw(b"something").stored("b.txt", b"y").finish() },
            Reason::ArchiveHiddenData,
        ),
        (
            "hidden before the directory",
            Zip::new().stored("a.txt", b"x").raw(b"something").finish(),
            Reason::ArchiveHiddenData,
        ),
        (
            "an entry that is not listed",
            {
                let whole = Zip::new().stored("a.txt", b"x").finish();
                let end = whole.len() - 22 - 51;
                Zip::new().raw(&whole[..end]).stored("b.txt", b"y").finish()
            },
            Reason::Polyglot,
        ),
        (
            "hidden in the comment",
            Zip::new().stored("a.txt", b"x").finish_with(b"%PDF-1.4 ..."),
            Reason::ArchiveHiddenData,
        ),
        (
            "an end in the comment",
            { Zip::new().stored("a.txt", b"x").finish_with(&Zip::new().finish()) },
            Reason::ArchiveLyingSizes,
        ),
        ("data after the end", joined(&[&two, b"more"]), Reason::TrailingData),
        (
            "data after the deflated data",
            {
                let packed = [deflate(b"hello"), b"hidden".to_vec()].concat();
                Zip::new().entry(&Entry { data: packed, ..Entry::deflated("a.txt", b"hello") }).finish()
            },
            Reason::ArchiveLyingSizes,
        ),
        (
            "no deflated data",
            {
                Zip::new()
                    .entry(&Entry { data: b"\xff\xff\xff".to_vec(), ..Entry::deflated("a.txt", b"hello") })
                    .finish()
            },
            Reason::ArchiveTruncated,
        ),
        (
            "a wrong descriptor",
            {
                let described = Zip::new().described("a.txt", b"hello hello").finish();
                patched(&described, b"PK\x07\x08", 0, 12, &[99])
            },
            Reason::ArchiveHiddenData,
        ),
        (
            "an archive of another kind",
            Zip::new().stored("a.7z", b"7z\xbc\xaf\x27\x1c\0\x04").finish(),
            Reason::ArchiveNested,
        ),
        ("an archive inside", Zip::new().deflated("b.zip", &two).finish(), Reason::ArchiveNested),
        (
            "a program inside",
            Zip::new().deflated("a.txt", b"MZ\x90\0\x03\0\0\0").finish(),
            Reason::ArchiveContent,
        ),
        ("a page inside", Zip::new().deflated("a.txt", b"<html><script>").finish(), Reason::ArchiveContent),
        (
            "a PDF with a script inside",
            {
                Zip::new()
                    .deflated("a.pdf", &crate::build::pdf::with("/OpenAction<</S/JavaScript>>", &[]))
                    .finish()
            },
            Reason::ScriptInPdf,
        ),
    ];
    for end in [two.len() - 1, two.len() - 30, two.len() / 2, 40, 4] {
        rows.push(("cut off", two[..end].to_vec(), Reason::ArchiveTruncated));
    }
    refused(rows.into_iter().map(|(name, bytes, why)| (name, bytes, Kind::Zip, Some(why))).collect());
}

#[test]
fn an_archive_that_holds_itself_is_refused() {
    // A quine's one entry is the archive: whatever is inside is looked at once, and an archive there ends it.
    let inner = Zip::new().stored("r/r.zip", b"PK\x03\x04").finish();
    let outer = Zip::new().deflated("r/r.zip", &inner).finish();
    refused(vec![("nested", outer, Kind::Zip, Some(Reason::ArchiveNested))]);
}

#[test]
fn an_archive_behind_anything_is_found() {
    let zip = two();
    for (name, kind, bytes) in valid() {
        if matches!(kind, Kind::Zip | Kind::Docx | Kind::Xlsx | Kind::Pptx | Kind::Ofd) {
            continue;
        }
        // A text with an archive behind it is no text.
        let (kind, why) = match kind {
            Kind::Csv | Kind::Text | Kind::Xml => (Kind::Unknown, Reason::KindUnknown),
            kind => (kind, Reason::Polyglot),
        };
        let expected = Verdict::Refuse { kind: Some(kind), why };
        assert_eq!(harness::judge(&joined(&[&bytes, &zip])), expected, "{name}");
        // The same with the places in the directory moved, as tools for this do.
        let moved = Zip::after(&bytes).stored("a.txt", b"x").finish();
        assert_eq!(harness::judge(&moved), expected, "{name}");
    }
    let prefixed = Zip::after(b"PK\x03\x04 and then something").stored("a.txt", b"x").finish();
    refused(vec![("a prefix", prefixed, Kind::Zip, Some(Reason::Polyglot))]);
}
