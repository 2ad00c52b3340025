//! Documents that are zip files.

use super::zip::{Entry, Zip};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const WORD: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";

/// The parts of a document; a name that is there is replaced.
#[derive(Clone)]
pub(crate) struct Parts(Vec<(String, Vec<u8>)>);

impl Parts {
    pub(crate) fn with(mut self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.0.retain(|(there, _)| there != name);
        self.0.push((name.to_owned(), data.as_ref().to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(there, _)| there != name);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.iter().fold(Zip::new(), |zip, (name, data)| zip.entry(&Entry::deflated(name, data))).finish()
    }
}

fn package(main: &str, content: &str, body: String) -> Parts {
    let types = format!(
        "{XML}<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
         <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
         <Default Extension=\"xml\" ContentType=\"application/xml\"/>\
         <Override PartName=\"/{main}\" ContentType=\"{content}\"/></Types>"
    );
    let links = links(&[("officeDocument", main, false)]);
    Parts(Vec::new()).with("[Content_Types].xml", types).with("_rels/.rels", links).with(main, body)
}

/// Relations: kind, target, whether it lies elsewhere.
pub(crate) fn links(links: &[(&str, &str, bool)]) -> String {
    let one = |(kind, target, external): &(&str, &str, bool)| {
        let mode = if *external { " TargetMode=\"External\"" } else { "" };
        format!("<Relationship Id=\"r\" Type=\"{OFFICE}/{kind}\" Target=\"{target}\"{mode}/>")
    };
    let all: String = links.iter().map(one).collect();
    format!(
        "{XML}<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">{all}</Relationships>"
    )
}

pub(crate) fn docx_parts(body: &str) -> Parts {
    let content = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
    let body = format!("{XML}<w:document xmlns:w=\"{WORD}\"><w:body>{body}</w:body></w:document>");
    package("word/document.xml", content, body)
}

pub(crate) fn docx(body: &str) -> Vec<u8> {
    docx_parts(body).finish()
}

pub(crate) fn xlsx_parts(rows: &str) -> Parts {
    let content = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml";
    let space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let book = format!(
        "{XML}<workbook xmlns=\"{space}\"><sheets><sheet name=\"1\" sheetId=\"1\"/></sheets></workbook>"
    );
    let sheet = format!("{XML}<worksheet xmlns=\"{space}\"><sheetData>{rows}</sheetData></worksheet>");
    package("xl/workbook.xml", content, book).with("xl/worksheets/sheet1.xml", sheet)
}

pub(crate) fn xlsx(rows: &str) -> Vec<u8> {
    xlsx_parts(rows).finish()
}

pub(crate) fn pptx_parts(slide: &str) -> Parts {
    let content = "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml";
    let body = format!("{XML}<p:presentation xmlns:p=\"urn:p\"/>");
    package("ppt/presentation.xml", content, body).with("ppt/slides/slide1.xml", format!("{XML}{slide}"))
}

pub(crate) fn pptx() -> Vec<u8> {
    pptx_parts("<p:sld xmlns:p=\"urn:p\"/>").finish()
}

pub(crate) fn ofd_parts() -> Parts {
    let space = "http://www.ofdspec.org/2016";
    Parts(Vec::new())
        .with(
            "OFD.xml",
            format!("{XML}<ofd:OFD xmlns:ofd=\"{space}\" Version=\"1.1\"><ofd:DocBody/></ofd:OFD>"),
        )
        .with("Doc_0/Document.xml", format!("{XML}<ofd:Document xmlns:ofd=\"{space}\"/>"))
        .with("Doc_0/Attachs/original_invoice.xml", format!("{XML}<发票 金额=\"3.50\"/>"))
        .with("Doc_0/Signs/Sign_0/SignedValue.dat", [0x30, 0x82, 1, 0, 2, 1, 1])
}

pub(crate) fn ofd() -> Vec<u8> {
    ofd_parts().finish()
}
