//! Amounts in Chinese capital numerals (大写), as invoices write them: they cannot be altered by a stroke.
//!
//! The rules are those of the People's Bank for settlement documents (支付结算办法, annex 1): zeros between digits are
//! one 零; 零 stands before the fen where there are no jiao; what ends with yuan or jiao ends with 整.
use crate::money::Fen;

const DIGITS: [char; 10] = ['零', '壹', '贰', '叁', '肆', '伍', '陆', '柒', '捌', '玖'];
const UNITS: [&str; 4] = ["", "拾", "佰", "仟"];

/// `壹佰叁拾伍元伍角陆分`, `壹仟元整`, `零元整`; `负` stands before what is less than nothing.
pub fn capitals(amount: Fen) -> String {
    let fen = amount.0.unsigned_abs();
    let (yuan, jiao, fen) = (fen / 100, (fen / 10 % 10) as usize, (fen % 10) as usize);
    let mut out = String::from(if amount.0 < 0 { "负" } else { "" });
    if yuan > 0 {
        let digits: Vec<usize> = yuan.to_string().bytes().map(|digit| usize::from(digit - b'0')).collect();
        write(&digits, &mut out, &mut false);
        out.push('元');
    }
    match (jiao, fen) {
        (0, 0) if yuan == 0 => out.push_str("零元整"),
        (_, 0) => {
            if jiao > 0 {
                out.extend([DIGITS[jiao], '角']);
            }
            out.push('整');
        }
        (0, _) if yuan > 0 => out.extend(['零', DIGITS[fen], '分']),
        (0, _) => out.extend([DIGITS[fen], '分']),
        _ => out.extend([DIGITS[jiao], '角', DIGITS[fen], '分']),
    }
    out
}

/// Writes digits, the first first. `zero`: zeros are to be told by one 零 before the next digit that is none.
fn write(digits: &[usize], out: &mut String, zero: &mut bool) {
    for (below, unit) in [(8, '亿'), (4, '万')] {
        if digits.len() > below {
            let (high, low) = digits.split_at(digits.len() - below);
            write(high, out, zero);
            if high.iter().any(|digit| *digit > 0) {
                out.push(unit);
            }
            return write(low, out, zero);
        }
    }
    for (place, digit) in digits.iter().enumerate() {
        if *digit == 0 {
            *zero = true;
            continue;
        }
        if std::mem::take(zero) {
            out.push('零');
        }
        out.push(DIGITS[*digit]);
        out.push_str(UNITS[digits.len() - 1 - place]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_read_as_the_rules_write_them() {
        for (fen, said) in [
            (0, "零元整"),
            (5, "伍分"),
            (50, "伍角整"),
            (53, "伍角叁分"),
            (100, "壹元整"),
            (1_000, "壹拾元整"),
            (32_504, "叁佰贰拾伍元零肆分"),
            (140_950, "壹仟肆佰零玖元伍角整"),
            (168_032, "壹仟陆佰捌拾元叁角贰分"),
            (600_714, "陆仟零柒元壹角肆分"),
            (1_640_902, "壹万陆仟肆佰零玖元零贰分"),
            (10_700_053, "壹拾万零柒仟元伍角叁分"),
            (100_040_900, "壹佰万零肆佰零玖元整"),
            (10_000_000_100, "壹亿零壹元整"),
            (120_000_000_000_000, "壹万贰仟亿元整"),
            (-13_556, "负壹佰叁拾伍元伍角陆分"),
        ] {
            assert_eq!(capitals(Fen(fen)), said, "{fen}");
        }
    }

    /// What was written, read again.
    fn value(text: &str) -> i64 {
        let digit = |c| DIGITS.iter().position(|known| *known == c).map(|at| at as i64);
        let (mut whole, mut high, mut part, mut last, mut fen) = (0, 0, 0, 0, 0);
        for c in text.trim_start_matches('负').chars() {
            match c {
                '拾' | '佰' | '仟' => {
                    let unit = UNITS.iter().position(|unit| unit.starts_with(c)).unwrap() as u32;
                    part += last * 10_i64.pow(unit);
                    last = 0;
                }
                '万' => (high, part, last) = (high + (part + last) * 10_000, 0, 0),
                '亿' => (whole, high, part, last) = ((whole + high + part + last) * 100_000_000, 0, 0, 0),
                '元' => (fen, whole, high, part, last) = ((whole + high + part + last) * 100, 0, 0, 0, 0),
                '角' => (fen, last) = (fen + last * 10, 0),
                '分' => (fen, last) = (fen + last, 0),
                '整' => {}
                other => last = digit(other).unwrap(),
            }
        }
        if text.starts_with('负') { -fen } else { fen }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same_amount(fen in -99_999_999_999_999_i64..=99_999_999_999_999) {
            let text = capitals(Fen(fen));
            prop_assert_eq!(value(&text), fen, "{}", text);
            prop_assert!(!text.contains("零零") && !text.contains("零元") || fen.abs() == 0);
        }
    }

    #[test]
    fn no_amount_panics() {
        assert!(capitals(Fen(i64::MIN)).starts_with('负'));
        assert!(capitals(Fen(i64::MAX)).ends_with('分'));
    }
}
