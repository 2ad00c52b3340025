//! Text and lines on pages of A4.
//!
//! Chinese is in `STSong-Light`, one of the fonts that PDF readers have for it (PDF 32000-1, 9.7.5.2 and Adobe-GB1), in UTF-16;
//! letters and digits are in Helvetica. Neither is in the file, which so stays small.
use pdf_writer::{
    Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr,
    types::{CidFontType, FontFlags, SystemInfo},
};

/// A colour: red, green, blue.
pub(super) type Colour = [f32; 3];
pub(super) const INK: Colour = [0.10, 0.12, 0.14];
pub(super) const QUIET: Colour = [0.40, 0.44, 0.48];
pub(super) const RED: Colour = [0.75, 0.11, 0.11];

const LATIN: Name<'static> = Name(b"F1");
const CHINESE: Name<'static> = Name(b"F2");
/// A4 in points.
const PAGE: Rect = Rect { x1: 0.0, y1: 0.0, x2: 595.0, y2: 842.0 };

/// A point on the page, from its lower left corner; and a size.
pub(super) type Point = (i32, i32);

/// A page.
pub(super) struct Sheet(Content);

impl Sheet {
    pub(super) fn new() -> Sheet {
        Sheet(Content::new())
    }

    /// Large pale words across the page, under what is written next.
    pub(super) fn watermark(&mut self, text: &str) {
        let c = &mut self.0;
        c.set_fill_rgb(0.95, 0.88, 0.88);
        c.begin_text();
        // Turned by 45 degrees, about the middle.
        let half = std::f32::consts::FRAC_1_SQRT_2;
        c.set_text_matrix([half, half, -half, half, 110.0, 190.0]);
        runs(c, text, 84);
        c.end_text();
    }

    pub(super) fn text(&mut self, x: i32, y: i32, size: i32, colour: Colour, text: &str) {
        let c = &mut self.0;
        c.set_fill_rgb(colour[0], colour[1], colour[2]);
        c.begin_text();
        c.next_line(x as f32, y as f32);
        runs(c, text, size);
        c.end_text();
    }

    /// Text that ends at `x`.
    pub(super) fn right(&mut self, x: i32, y: i32, size: i32, colour: Colour, text: &str) {
        self.text(x - width(text, size), y, size, colour, text);
    }

    /// Text with its middle at `x`.
    pub(super) fn centred(&mut self, x: i32, y: i32, size: i32, colour: Colour, text: &str) {
        self.text(x - width(text, size) / 2, y, size, colour, text);
    }

    pub(super) fn line(&mut self, from: Point, to: Point, colour: Colour) {
        let c = &mut self.0;
        c.set_stroke_rgb(colour[0], colour[1], colour[2]).set_line_width(0.4);
        c.move_to(from.0 as f32, from.1 as f32).line_to(to.0 as f32, to.1 as f32).stroke();
    }

    pub(super) fn outline(&mut self, corner: Point, size: Point, colour: Colour) {
        let c = &mut self.0;
        c.set_stroke_rgb(colour[0], colour[1], colour[2]).set_line_width(0.7);
        c.rect(corner.0 as f32, corner.1 as f32, size.0 as f32, size.1 as f32).stroke();
    }

    pub(super) fn fill(&mut self, corner: Point, size: Point, gray: f32) {
        self.0.set_fill_gray(gray);
        self.0.rect(corner.0 as f32, corner.1 as f32, size.0 as f32, size.1 as f32).fill_nonzero();
    }
}

/// Shows text, each run in the font that has it; the reader sets one after the other.
fn runs(c: &mut Content, text: &str, size: i32) {
    let text: Vec<char> = text.chars().filter(|c| !c.is_control()).collect();
    for run in text.chunk_by(|a, b| is_latin(*a) == is_latin(*b)) {
        if is_latin(run[0]) {
            let bytes: Vec<u8> = run.iter().map(|c| latin(*c)).collect();
            c.set_font(LATIN, size as f32).show(Str(&bytes));
        } else {
            let text: String = run.iter().collect();
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            c.set_font(CHINESE, size as f32).show(Str(&bytes));
        }
    }
}

/// What Helvetica has under WinAnsiEncoding, as far as it is needed.
fn is_latin(c: char) -> bool {
    c.is_ascii() || matches!(c, '¥' | '·' | '–' | '—')
}

fn latin(c: char) -> u8 {
    match c {
        '–' => 0x96,
        '—' => 0x97,
        // U+00A5 and U+00B7 stand where they do in Latin 1.
        other => u8::try_from(u32::from(other)).unwrap_or(b'?'),
    }
}

/// The width of Helvetica's letters from the space on, in thousandths of the size (its font metrics, Adobe).
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// How wide text is, in points.
fn width(text: &str, size: i32) -> i32 {
    let one = |c: char| match c {
        ' '..='~' => i32::from(WIDTHS[c as usize - ' ' as usize]),
        '¥' | '–' => 556,
        '·' => 278,
        _ => 1000,
    };
    text.chars().map(one).sum::<i32>() * size / 1000
}

/// As much of a text as has room, in points.
pub(super) fn cut(text: &str, size: i32, room: i32) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept, size) > room - size {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

/// Pages in a file.
pub(super) struct Document {
    pdf: Pdf,
    pages: Vec<Ref>,
}

const CATALOG: Ref = Ref::new(1);
const TREE: Ref = Ref::new(2);
const LATIN_FONT: Ref = Ref::new(3);
const CHINESE_FONT: Ref = Ref::new(4);
const CID_FONT: Ref = Ref::new(5);
const DESCRIPTOR: Ref = Ref::new(6);
const INFO: Ref = Ref::new(7);
const FIRST_PAGE: i32 = 8;

impl Document {
    pub(super) fn new(title: &str) -> Document {
        let mut pdf = Pdf::new();
        pdf.set_version(1, 5);
        pdf.catalog(CATALOG).pages(TREE).lang(TextStr("zh-CN"));
        pdf.document_info(INFO).title(TextStr(title)).producer(TextStr("Gridesk"));
        let mut font = pdf.type1_font(LATIN_FONT);
        font.base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
        font.finish();
        let mut font = pdf.type0_font(CHINESE_FONT);
        font.base_font(Name(b"STSong-Light-UniGB-UTF16-H")).encoding_predefined(Name(b"UniGB-UTF16-H"));
        font.descendant_font(CID_FONT);
        font.finish();
        let mut cid = pdf.cid_font(CID_FONT);
        cid.subtype(CidFontType::Type0).base_font(Name(b"STSong-Light")).default_width(1000.0);
        cid.system_info(SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"GB1"), supplement: 4 });
        cid.font_descriptor(DESCRIPTOR);
        cid.finish();
        // As Adobe's own description of the font has it; readers choose a likeness by it.
        let mut descriptor = pdf.font_descriptor(DESCRIPTOR);
        descriptor.name(Name(b"STSong-Light")).flags(FontFlags::SYMBOLIC | FontFlags::SERIF);
        descriptor.bbox(Rect::new(-25.0, -254.0, 1000.0, 880.0)).italic_angle(0.0);
        descriptor.ascent(880.0).descent(-120.0).cap_height(880.0).stem_v(93.0);
        descriptor.finish();
        Document { pdf, pages: Vec::new() }
    }

    pub(super) fn add(&mut self, sheet: Sheet) {
        let page = Ref::new(FIRST_PAGE + 2 * self.pages.len() as i32);
        let content = Ref::new(page.get() + 1);
        let mut written = self.pdf.page(page);
        written.media_box(PAGE).parent(TREE).contents(content);
        written.resources().fonts().pair(LATIN, LATIN_FONT).pair(CHINESE, CHINESE_FONT);
        written.finish();
        self.pdf.stream(content, &sheet.0.finish());
        self.pages.push(page);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let count = self.pages.len() as i32;
        self.pdf.pages(TREE).kids(self.pages.iter().copied()).count(count);
        self.pdf.finish()
    }
}
