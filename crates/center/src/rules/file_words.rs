//! What the timeline of a request says of a file that did not come, for whoever serves the customer and for the customer.
use protocol::catalogue::requests::FileEnding;

/// In both languages, since whoever reads a timeline may speak either: `原因 / reason`.
pub(super) fn not_taken(name: &str, how: FileEnding, why: &str, words: &str, rule: &str) -> String {
    let (zh, en) = match how {
        FileEnding::Refused | FileEnding::RefusedByPerson => ("未接收", "was not taken"),
        FileEnding::Withdrawn => ("已由客户撤回", "was withdrawn by the customer"),
        FileEnding::Expired => ("未在规定时间内送达", "did not arrive in time"),
        FileEnding::Lost => ("在传送中丢失，需重新上传", "was lost on the way and has to be sent again"),
    };
    let (reason_zh, reason_en) = match how {
        FileEnding::RefusedByPerson => (words, words),
        FileEnding::Refused => reason(why),
        FileEnding::Withdrawn | FileEnding::Expired | FileEnding::Lost => ("", ""),
    };
    let said = |reason: &str, colon: &str| match reason {
        "" => String::new(),
        reason => format!("{colon}{reason}"),
    };
    let (rule_zh, rule_en) = match rule {
        "" => (String::new(), String::new()),
        rule => (format!("（规则 {rule}）"), format!(" (rule {rule})")),
    };
    let (reason_zh, reason_en) = (said(reason_zh, "："), said(reason_en, ": "));
    format!("附件“{name}”{zh}{reason_zh}{rule_zh} / “{name}” {en}{reason_en}{rule_en}")
}

/// A code of the audit, in words.
fn reason(code: &str) -> (&'static str, &'static str) {
    match code {
        "malware" => ("病毒扫描发现异常", "a virus scanner found something in it"),
        "kind-not-allowed" => {
            ("此类工单不接收该类文件", "files of its kind are not taken with such a request")
        }
        "kind-unknown" => ("无法识别文件类型", "it is not clear what kind of file it is"),
        "empty" => ("文件为空", "it is empty"),
        "too-large"
        | "picture-too-large"
        | "archive-too-big"
        | "archive-too-many-entries"
        | "archive-ratio" => ("文件过大", "it is too large"),
        "macro" | "script-in-pdf" | "active-content" | "external-entity" | "doctype" => {
            ("文件含有宏、脚本或外部引用", "it holds macros, scripts or references to elsewhere")
        }
        "encrypted" | "archive-encrypted" => ("文件已加密", "it is locked with a password"),
        "formula" => ("文件含有公式", "it has formulas in it"),
        _ => ("文件内容异常", "it does not hold what its kind should"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_timeline_says_has_the_reason_in_both_languages() {
        let said = not_taken("a.pdf", FileEnding::Refused, "malware", "", "form:x");
        assert_eq!(
            said,
            "附件“a.pdf”未接收：病毒扫描发现异常（规则 form:x） / “a.pdf” was not taken: a virus scanner found something in it (rule form:x)"
        );
        let said = not_taken("a.pdf", FileEnding::RefusedByPerson, "refused", "看不清", "");
        assert_eq!(said, "附件“a.pdf”未接收：看不清 / “a.pdf” was not taken: 看不清");
        let said = not_taken("a.pdf", FileEnding::Expired, "expired", "", "");
        assert_eq!(said, "附件“a.pdf”未在规定时间内送达 / “a.pdf” did not arrive in time");
    }
}
