//! A paid bill's electronic invoice, as a PDF on A4. The tax platform is simulated: it says on its face that it is a sample.
//!
//! Made from the bill alone, so that the same bill gives the same bytes. Amounts are the bill's own integers.
mod sheet;

use domain::{
    billing::{BillLine, LineKind, LineNote},
    capitals::capitals,
    money::{Fen, Wh},
    tariff::PeriodName,
};
use jiff::civil::Date;
use protocol::BillId;

use self::sheet::{Document, INK, QUIET, RED, Sheet};

/// So many lines are on a page.
const LINES: usize = 20;
/// Edges of the sheet's table, in points from the left.
const LEFT: i32 = 48;
const RIGHT: i32 = 547;
/// The right ends of the columns of numbers.
const COLUMNS: [i32; 3] = [345, 440, RIGHT - 10];
const ROW: i32 = 20;

/// What an invoice says.
pub(super) struct Invoice<'a> {
    /// Of which bill.
    pub(super) bill: BillId,
    /// When the bill was issued.
    pub(super) issued_on: Date,
    /// When the last of it was paid; `None` where credit paid it.
    pub(super) paid_on: Option<Date>,
    /// The account's holder, masked.
    pub(super) buyer: String,
    /// Their address, masked.
    pub(super) address: String,
    /// The tariff's name.
    pub(super) tariff: String,
    /// The energy.
    pub(super) energy_wh: Wh,
    /// The amount.
    pub(super) amount_fen: Fen,
    /// What it is made of.
    pub(super) lines: &'a [BillLine],
}

impl Invoice<'_> {
    /// Its number: there is one invoice a bill, so it is the bill's. `YL` says that it is a sample (样例).
    fn number(&self) -> String {
        let month = self.bill.month;
        format!("YL{}{:04}{:02}", self.bill.account, month.year(), month.month())
    }
}

/// The invoice as a file.
pub(super) fn pdf(invoice: &Invoice<'_>) -> Vec<u8> {
    let parts: Vec<&[BillLine]> = match invoice.lines {
        [] => vec![&[]],
        lines => lines.chunks(LINES).collect(),
    };
    let pages = parts.len();
    let mut document = Document::new(&format!("电子发票（样例） {}", invoice.number()));
    for (n, lines) in parts.into_iter().enumerate() {
        let mut sheet = Sheet::new();
        head(&mut sheet, invoice);
        let mut y = parties(&mut sheet, invoice);
        y = table(&mut sheet, lines, y);
        if n + 1 == pages {
            totals(&mut sheet, invoice, y);
        }
        foot(&mut sheet, n + 1, pages);
        document.add(sheet);
    }
    document.finish()
}

fn head(sheet: &mut Sheet, invoice: &Invoice<'_>) {
    sheet.watermark("样例 SAMPLE");
    sheet.centred(297, 782, 20, INK, "电子发票（样例）");
    sheet.centred(297, 764, 10, QUIET, "Electronic invoice (sample)");
    sheet.outline((LEFT, 724), (RIGHT - LEFT, 28), RED);
    sheet.centred(297, 738, 11, RED, "样例 / SAMPLE — not a tax document");
    sheet.centred(297, 728, 7, RED, "税务平台为模拟环境，本文件不是税务票据，不得用于报销、抵扣或入账。");
    sheet.text(LEFT, 704, 9, QUIET, "发票号码 Number");
    sheet.text(LEFT + 84, 704, 9, INK, &invoice.number());
    sheet.text(370, 704, 9, QUIET, "出账日期 Issued");
    sheet.text(370 + 78, 704, 9, INK, &day(invoice.issued_on));
}

/// Buyer, seller, period; gives where the table may begin.
fn parties(sheet: &mut Sheet, invoice: &Invoice<'_>) -> i32 {
    let (top, height, middle) = (692, 76, 300);
    sheet.outline((LEFT, top - height), (RIGHT - LEFT, height), QUIET);
    sheet.line((middle, top), (middle, top - height), QUIET);
    let month = invoice.bill.month;
    let buyer = [
        ("购买方 Buyer", invoice.buyer.clone()),
        ("户号 Account", invoice.bill.account.to_string()),
        ("地址 Address", invoice.address.clone()),
        ("电价 Tariff", invoice.tariff.clone()),
    ];
    let seller = [
        ("销售方 Seller", "Gridesk 样例供电公司".to_owned()),
        ("税号 Tax id", "无（样例） none (sample)".to_owned()),
        ("账单 Bill", invoice.bill.to_string()),
        ("用电期间 Period", format!("{} – {}", day(month.first_day()), day(month.last_day()))),
    ];
    for (n, (left, right)) in (0..).zip(buyer.iter().zip(&seller)) {
        let y = top - 17 - n * 17;
        for (x, wide, (label, value)) in [(LEFT + 8, 66, left), (middle + 8, 74, right)] {
            sheet.text(x, y, 8, QUIET, label);
            let room = if x < middle { middle } else { RIGHT } - x - wide - 6;
            sheet.text(x + wide, y, 9, INK, &sheet::cut(value, 9, room));
        }
    }
    top - height - 16
}

/// The lines with their head; gives where they end.
fn table(sheet: &mut Sheet, lines: &[BillLine], top: i32) -> i32 {
    sheet.fill((LEFT, top - ROW), (RIGHT - LEFT, ROW), 0.94);
    let y = top - 13;
    sheet.text(LEFT + 8, y, 9, INK, "项目 Item");
    for (x, name) in COLUMNS.iter().zip(["电量 kWh", "单价 Unit price", "金额 Amount"]) {
        sheet.right(*x, y, 9, INK, name);
    }
    for (n, line) in (1..).zip(lines) {
        let y = top - n * ROW - 13;
        sheet.text(LEFT + 8, y, 9, INK, &item(line));
        let cells = [line.energy_wh.to_string(), line.price_e4.to_string(), line.amount_fen.to_string()];
        for (x, cell) in COLUMNS.iter().zip(&cells) {
            sheet.right(*x, y, 9, INK, cell);
        }
        sheet.line((LEFT, y - 7), (RIGHT, y - 7), QUIET);
    }
    let height = (lines.len() as i32 + 1) * ROW;
    sheet.outline((LEFT, top - height), (RIGHT - LEFT, height), QUIET);
    top - height
}

fn totals(sheet: &mut Sheet, invoice: &Invoice<'_>, top: i32) {
    let y = top - 20;
    sheet.text(LEFT + 8, y, 10, INK, "合计 Total");
    sheet.right(COLUMNS[0], y, 10, INK, &invoice.energy_wh.to_string());
    sheet.right(COLUMNS[2], y, 12, INK, &format!("¥{}", invoice.amount_fen));
    sheet.text(LEFT + 8, y - 22, 9, QUIET, "合计（大写） In words");
    sheet.text(LEFT + 118, y - 22, 11, INK, &format!("人民币{}", capitals(invoice.amount_fen)));
    sheet.text(LEFT + 8, y - 44, 9, QUIET, "缴清日期 Paid on");
    let paid = invoice.paid_on.map_or("由账户余额抵扣 from credit".to_owned(), day);
    sheet.text(LEFT + 118, y - 44, 9, INK, &paid);
    sheet.outline((LEFT, y - 54), (RIGHT - LEFT, 74), QUIET);
    let notes = [
        "电量为千瓦时，单价为元/千瓦时，金额为元；每行金额由电量乘以单价四舍五入到分。加价行为高档电量超出第一档电价的部分。",
        "Energy in kWh, prices in yuan per kWh, amounts in yuan; each line is energy times price, rounded to the fen.",
    ];
    for (n, note) in (0..).zip(notes) {
        sheet.text(LEFT, y - 70 - n * 11, 7, QUIET, note);
    }
}

fn foot(sheet: &mut Sheet, page: usize, pages: usize) {
    sheet.centred(297, 40, 8, QUIET, &format!("样例 / SAMPLE · {page} / {pages}"));
}

fn day(date: Date) -> String {
    date.to_string()
}

fn item(line: &BillLine) -> String {
    let name = match line.kind {
        LineKind::Tier(tier) => format!("第{tier}档电费 Tier {tier}"),
        LineKind::Period(period) => format!("{}段电费 {}", zh(period), en(period)),
        LineKind::Surcharge { tier, period: None } => format!("第{tier}档加价 Tier {tier} surcharge"),
        LineKind::Surcharge { tier, period: Some(period) } => {
            format!("第{tier}档{}段加价 Tier {tier} {} surcharge", zh(period), en(period))
        }
    };
    match line.note {
        Some(LineNote::SplitProRata) => name + " （按比例 pro rata）",
        None => name,
    }
}

fn zh(period: PeriodName) -> &'static str {
    match period {
        PeriodName::Sharp => "尖",
        PeriodName::Peak => "峰",
        PeriodName::Flat => "平",
        PeriodName::Valley => "谷",
    }
}

fn en(period: PeriodName) -> &'static str {
    match period {
        PeriodName::Sharp => "Sharp",
        PeriodName::Peak => "Peak",
        PeriodName::Flat => "Flat",
        PeriodName::Valley => "Valley",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use domain::money::PriceE4;
    use jiff::civil::date;

    use super::*;

    pub(in crate::exports) fn sample(lines: &[BillLine]) -> Invoice<'_> {
        Invoice {
            bill: "3300000020009-2026-10".parse().unwrap(),
            issued_on: date(2026, 11, 1),
            paid_on: Some(date(2026, 11, 8)),
            buyer: "样***".into(),
            address: "浙江省温州市永嘉县示例街 *** 号 ** 幢 **** 室".into(),
            tariff: "居民生活 峰谷阶梯电价".into(),
            energy_wh: lines.iter().filter(|l| !l.kind.is_surcharge()).map(|l| l.energy_wh).sum(),
            amount_fen: lines.iter().map(|line| line.amount_fen).sum(),
            lines,
        }
    }

    fn line(kind: LineKind, wh: i64, price: i64) -> BillLine {
        let (energy_wh, price_e4) = (Wh(wh), PriceE4(price));
        BillLine { kind, energy_wh, price_e4, amount_fen: price_e4.charge(energy_wh), note: None }
    }

    fn lines() -> Vec<BillLine> {
        vec![
            line(LineKind::Period(PeriodName::Peak), 161_121, 5680),
            line(LineKind::Period(PeriodName::Valley), 69_431, 2880),
            line(LineKind::Surcharge { tier: 2, period: None }, 230_552, 500),
        ]
    }

    fn has(pdf: &[u8], text: &str) -> bool {
        pdf.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Whether letters are in it: as they are, or as hex where a dash stands among them.
    fn has_latin(pdf: &[u8], text: &str) -> bool {
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        has(pdf, text) || has(pdf, &hex)
    }

    /// Whether Chinese text is in it: as UTF-16, written as hex or bytes.
    fn has_zh(pdf: &[u8], text: &str) -> bool {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        has(pdf, &hex)
    }

    #[test]
    fn an_invoice_is_a_pdf_that_says_what_the_bill_does_and_that_it_is_a_sample() {
        let lines = lines();
        let pdf = pdf(&sample(&lines));
        assert!(pdf.starts_with(b"%PDF-1.") && pdf.trim_ascii_end().ends_with(b"%%EOF"));
        for text in [
            "SAMPLE",
            "not a tax document",
            "YL3300000020009202610",
            "161.121",
            "0.5680",
            "91.52",
            "20.00",
            "123.05",
            "2026-11-08",
        ] {
            assert!(has_latin(&pdf, text), "{text}");
        }
        for text in [
            "样例",
            "电子发票（样例）",
            "峰段电费",
            "人民币壹佰贰拾叁元零伍分",
            "样***".trim_end_matches('*'),
        ] {
            assert!(has_zh(&pdf, text), "{text}");
        }
        assert!(has(&pdf, "/STSong-Light") && has(&pdf, "/UniGB-UTF16-H") && has(&pdf, "/Helvetica"));
        assert!(has(&pdf, "/Count 1"));
        assert_eq!(pdf, super::pdf(&sample(&lines)), "the same bill, the same bytes");
    }

    #[test]
    fn the_table_of_objects_points_at_the_objects() {
        let pdf = pdf(&sample(&lines()));
        let text: Vec<u8> = pdf.clone();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(64)..]).into_owned();
        let at: usize =
            tail.split("startxref").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        assert!(pdf[at..].starts_with(b"xref"));
        let table = String::from_utf8_lossy(&pdf[at..]).into_owned();
        let rows: Vec<&str> = table.lines().skip(2).take_while(|row| row.trim().len() == 18).collect();
        assert!(rows.len() > 6);
        for (n, row) in rows.iter().enumerate().filter(|(_, row)| row.trim().ends_with('n')) {
            let at: usize = row[..10].parse().unwrap();
            assert!(pdf[at..].starts_with(format!("{n} 0 obj").as_bytes()), "object {n}");
        }
    }

    #[test]
    fn more_lines_take_more_pages_and_hostile_names_stay_text() {
        let many: Vec<BillLine> = (0..60).map(|n| line(LineKind::Tier(1), 1000 + n, 5000)).collect();
        let mut invoice = sample(&many);
        invoice.buyer = "a) Tj (b \\ 𠮷 \u{7}".into();
        let pdf = pdf(&invoice);
        assert!(has(&pdf, "/Count 3"));
        assert!(!has(&pdf, "a) Tj"), "a bracket is written as text");
        assert!(has(&super::pdf(&sample(&[])), "/Count 1"), "a bill without lines is one page");
    }
}
