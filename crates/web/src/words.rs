//! Words in English and 简体中文.
//!
//! A table is made with [`crate::words!`]: every key has both texts, so a missing translation does not compile, and
//! the table is a struct, so a page that asks for a key that is not there does not compile either. What a compiler
//! cannot see, [`check`] does: placeholders that differ, Chinese left in the English, English left in the Chinese.
use std::fmt::Write as _;

/// Declares a table of words: a struct with one `&'static str` field per key, `of(language)`, and `PAIRS` with all
/// of them as (key, English, Chinese) for tests. Placeholders are `{0}`, `{1}` …, filled by [`fill`].
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($key:ident: $en:literal, $zh:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        $vis struct $name { $(#[doc = $en] pub $key: &'static str,)* }

        impl $name {
            /// Every key with its English and its Chinese text.
            pub const PAIRS: &'static [(&'static str, &'static str, &'static str)] =
                &[$((stringify!($key), $en, $zh),)*];

            /// The words of a language.
            pub fn of(language: $crate::Language) -> &'static Self {
                static EN: $name = $name { $($key: $en,)* };
                static ZH: $name = $name { $($key: $zh,)* };
                match language {
                    $crate::Language::En => &EN,
                    $crate::Language::Zh => &ZH,
                }
            }
        }
    };
}

words! {
    /// What every page says, whichever face it is.
    pub struct SharedWords {
        skip_to_content: "Skip to content", "跳到正文";
        offline: "No connection. What you see may be old, and nothing can be sent; what you have typed stays here.", "网络已断开。页面内容可能不是最新，暂时无法提交；已填写的内容会保留。";
        skip_chart: "Skip the chart", "跳过图表";
        as_table: "Show as a table", "查看数据表";
        month: "Month", "月份";
        day: "Day", "日期";
        hour: "Hour", "时段";
        amount: "Amount", "金额";
        energy: "Energy", "用电量";
        energy_unit: "kWh", "度";
        peak: "Peak", "峰";
        valley: "Valley", "谷";
        total: "Total", "合计";
        yuan_axis: "¥", "元";
        this_bar: "this month", "本月";
        estimated: "partly estimated", "含估算数据";
    }
}

/// Fills the placeholders `{0}`, `{1}` … of a text. One that has no value stays as it is.
pub fn fill(text: &str, values: &[&dyn std::fmt::Display]) -> String {
    let mut out = String::with_capacity(text.len() + 16 * values.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let bytes = after.as_bytes();
        let value = match bytes {
            [b'{', digit @ b'0'..=b'9', b'}', ..] => values.get(usize::from(digit - b'0')),
            _ => None,
        };
        match value {
            Some(value) => {
                // Writing to a String does not fail.
                let _ = write!(out, "{value}");
                rest = &after[3..];
            }
            None => {
                out.push('{');
                rest = &after[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// What is wrong with a table, one sentence each; empty where all is well. Keys in `same` may be alike in both
/// languages (names, symbols).
pub fn check(pairs: &[(&str, &str, &str)], same: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let is_chinese =
        |c: char| matches!(c, '\u{3000}'..='\u{303f}' | '\u{4e00}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}');
    for (key, en, zh) in pairs {
        if en.trim().is_empty() || zh.trim().is_empty() {
            found.push(format!("{key}: empty"));
        }
        let holes = |text: &str| {
            let mut all: Vec<char> =
                text.match_indices('{').filter_map(|(at, _)| text[at + 1..].chars().next()).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        if holes(en) != holes(zh) {
            found.push(format!("{key}: the placeholders differ"));
        }
        if same.contains(key) {
            continue;
        }
        if en.chars().any(is_chinese) {
            found.push(format!("{key}: Chinese in the English text"));
        }
        let says_something = en.chars().any(char::is_alphabetic);
        if says_something && !zh.chars().any(is_chinese) {
            found.push(format!("{key}: no Chinese in the Chinese text"));
        }
        if zh.contains([',', '?', '!']) || zh.contains(". ") {
            found.push(format!("{key}: half-width punctuation in the Chinese text"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_words_are_whole() {
        assert_eq!(check(SharedWords::PAIRS, &[]), Vec::<String>::new());
    }

    #[test]
    fn placeholders_are_filled_in_any_order() {
        assert_eq!(fill("{1} of {0}, {1}", &[&"a", &2]), "2 of a, 2");
        assert_eq!(fill("no value {3} { 电 {", &[&"a"]), "no value {3} { 电 {");
        assert_eq!(fill("{0}", &[&"{0}"]), "{0}", "what is filled in is not looked at again");
    }

    #[test]
    fn a_table_that_is_not_whole_is_found() {
        let bad = [
            ("a", "Pay {0}", "缴费"),
            ("b", "电费", "电费"),
            ("c", "Pay", "Pay"),
            ("d", "", "空"),
            ("e", "Yes", "好,"),
        ];
        assert_eq!(check(&bad, &[]).len(), 5);
    }
}
