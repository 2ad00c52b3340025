//! How money, energy, dates and account numbers are written, in each language.
use domain::{
    calendar::Month,
    money::{Fen, PriceE4, Wh},
};
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::Offset,
};
use protocol::{AccountId, envelope::Language};

/// Writes values as one language does. `¥706.24` and `25 Aug 2026`; `706.24 元` and `2026年8月25日`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    language: Language,
}

/// An amount in its parts, for pages that write the number large and the unit small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// What stands before the number: a minus sign, `¥`.
    pub before: &'static str,
    /// The number with two decimals.
    pub number: String,
    /// What stands after it: `元`, with no space.
    pub after: &'static str,
}

const MONTHS_EN: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS_EN: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const WEEKDAYS_ZH: [&str; 7] = ["周一", "周二", "周三", "周四", "周五", "周六", "周日"];

/// All of mainland China keeps one time, eight hours ahead of UTC, without daylight saving.
const CHINA_UTC_OFFSET_H: i8 = 8;

impl Format {
    /// The ways of `language`.
    pub fn of(language: Language) -> Self {
        Format { language }
    }

    fn is_en(self) -> bool {
        self.language == Language::En
    }

    /// `¥1,706.24`, `-¥0.05`; `1,706.24 元`.
    pub fn money(self, fen: Fen) -> String {
        let Amount { before, number, after } = self.amount(fen);
        if after.is_empty() { format!("{before}{number}") } else { format!("{before}{number} {after}") }
    }

    /// The amount in parts.
    pub fn amount(self, fen: Fen) -> Amount {
        let number = grouped(&Fen(fen.0.saturating_abs()).to_string());
        match (self.is_en(), fen.0 < 0) {
            (true, false) => Amount { before: "¥", number, after: "" },
            (true, true) => Amount { before: "-¥", number, after: "" },
            (false, false) => Amount { before: "", number, after: "元" },
            (false, true) => Amount { before: "-", number, after: "元" },
        }
    }

    /// Energy exactly, without needless zeros: `428.756`, `312`. No unit.
    pub fn energy_exact(self, energy: Wh) -> String {
        let text = energy.kwh().to_string();
        grouped(text.trim_end_matches('0').trim_end_matches('.'))
    }

    /// Energy in whole kWh, for columns of it. No unit.
    pub fn energy_whole(self, energy: Wh) -> String {
        let kwh = (energy.0.saturating_abs() + 500) / 1000 * energy.0.signum();
        grouped(&kwh.to_string())
    }

    /// Energy for reading: whole kWh from 100 on, one decimal below. No unit.
    pub fn energy_round(self, energy: Wh) -> String {
        if energy.0.saturating_abs() >= 100_000 {
            return self.energy_whole(energy);
        }
        let tenths = (energy.0.saturating_abs() + 50) / 100;
        let sign = if energy.0 < 0 && tenths > 0 { "-" } else { "" };
        if tenths % 10 == 0 {
            format!("{sign}{}", tenths / 10)
        } else {
            format!("{sign}{}.{}", tenths / 10, tenths % 10)
        }
    }

    /// `312 kWh`; `312 度`.
    pub fn energy(self, energy: Wh) -> String {
        format!("{} {}", self.energy_round(energy), self.energy_unit())
    }

    /// `428.756 kWh`; `428.756 度`.
    pub fn energy_full(self, energy: Wh) -> String {
        format!("{} {}", self.energy_exact(energy), self.energy_unit())
    }

    /// `kWh`; `度`.
    pub fn energy_unit(self) -> &'static str {
        if self.is_en() { "kWh" } else { "度" }
    }

    /// `¥0.5380`; `0.5380 元`. Per kWh; the page says so.
    pub fn price(self, price: PriceE4) -> String {
        if self.is_en() { format!("¥{price}") } else { format!("{price} 元") }
    }

    /// `¥0.5380 per kWh`; `0.5380 元/度`.
    pub fn price_per_unit(self, price: PriceE4) -> String {
        if self.is_en() { format!("¥{price} per kWh") } else { format!("{price} 元/度") }
    }

    /// `25 Aug 2026`; `2026年8月25日`.
    pub fn date(self, date: Date) -> String {
        if self.is_en() {
            format!("{} {} {}", date.day(), month_en(date.month()), date.year())
        } else {
            joined(&format!("{}年{}月{}日", date.year(), date.month(), date.day()))
        }
    }

    /// `25 Aug`; `8月25日`.
    pub fn day(self, date: Date) -> String {
        if self.is_en() {
            format!("{} {}", date.day(), month_en(date.month()))
        } else {
            joined(&format!("{}月{}日", date.month(), date.day()))
        }
    }

    /// `Tue`; `周二`.
    pub fn weekday(self, date: Date) -> &'static str {
        let index = date.weekday().to_monday_zero_offset().unsigned_abs() as usize;
        if self.is_en() { WEEKDAYS_EN[index] } else { WEEKDAYS_ZH[index] }
    }

    /// `Aug 2026`; `2026年8月`.
    pub fn month(self, month: Month) -> String {
        if self.is_en() {
            format!("{} {}", month_en(month.month()), month.year())
        } else {
            joined(&format!("{}年{}月", month.year(), month.month()))
        }
    }

    /// `Aug`; `8月`.
    pub fn month_short(self, month: Month) -> String {
        if self.is_en() { month_en(month.month()).to_owned() } else { format!("{}月", month.month()) }
    }

    /// `Aug ’26`; `26年8月`.
    pub fn month_of_year(self, month: Month) -> String {
        let year = month.year().rem_euclid(100);
        if self.is_en() {
            format!("{} ’{year:02}", month_en(month.month()))
        } else {
            format!("{year:02}年{}月", month.month())
        }
    }

    /// The day on which an instant falls in China: `25 Aug 2026`; `2026年8月25日`. Empty beyond the year 9999.
    pub fn instant_date(self, unix_ms: u64) -> String {
        china_time(unix_ms).map(|local| self.date(local.date())).unwrap_or_default()
    }

    /// An instant as China's clocks show it: `25 Aug 2026, 14:05`; `2026年8月25日 14:05`. Empty beyond the year 9999.
    pub fn instant(self, unix_ms: u64) -> String {
        let Some(local) = china_time(unix_ms) else { return String::new() };
        let comma = if self.is_en() { "," } else { "" };
        format!("{}{comma} {:02}:{:02}", self.date(local.date()), local.hour(), local.minute())
    }

    /// A share in whole percent: `12%`; the same in both languages. `None` where there is nothing to compare with.
    pub fn percent_change(self, now: i64, before: i64) -> Option<i64> {
        if before <= 0 {
            return None;
        }
        let change = (i128::from(now) - i128::from(before)) * 100;
        let half = i128::from(before) / 2 * change.signum();
        i64::try_from((change + half) / i128::from(before)).ok()
    }

    /// An account number grouped for reading: `3301 0000 00017`.
    pub fn account(self, account: AccountId) -> String {
        let digits = account.to_string();
        format!("{} {} {}", &digits[..4], &digits[4..8], &digits[8..])
    }
}

/// The day on which an instant falls in China. `None` beyond the year 9999.
pub fn china_date(unix_ms: u64) -> Option<Date> {
    china_time(unix_ms).map(|local| local.date())
}

fn china_time(unix_ms: u64) -> Option<DateTime> {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok())?;
    Some(Offset::constant(CHINA_UTC_OFFSET_H).to_datetime(at))
}

fn month_en(month: i8) -> &'static str {
    MONTHS_EN.get(usize::from(month.unsigned_abs()).wrapping_sub(1)).copied().unwrap_or("")
}

/// Puts commas between thousands of the whole part of a decimal number.
fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut out = String::with_capacity(number.len() + 6);
    out.push_str(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A Chinese date that no line end parts: without a joiner (U+2060) one may come between any two of its signs.
fn joined(date: &str) -> String {
    let mut text = String::with_capacity(date.len() * 2);
    for (before, sign) in std::iter::once(' ').chain(date.chars()).zip(date.chars()) {
        if before != ' ' && before.is_ascii_digit() != sign.is_ascii_digit() {
            text.push('\u{2060}');
        }
        text.push(sign);
    }
    text
}

/// Numbers of one column, each followed by its unit or not, with as many decimals as the one that has most.
pub(crate) fn alike(cells: &[&str]) -> Vec<String> {
    let parts = |cell: &&str| {
        let end =
            cell.find(|c: char| !c.is_ascii_digit() && !matches!(c, ',' | '.' | '-')).unwrap_or(cell.len());
        let decimals = cell[..end].split_once('.').map_or(0, |(_, decimals)| decimals.len());
        (end, decimals)
    };
    let is_number = |cell: &str| cell.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    let most = cells.iter().filter(|cell| is_number(cell)).map(|cell| parts(cell).1).max().unwrap_or(0);
    let padded = |cell: &&str| {
        let (end, decimals) = parts(cell);
        if !is_number(cell) || decimals == most {
            return (*cell).to_owned();
        }
        let point = if decimals == 0 { "." } else { "" };
        format!("{}{point}{}{}", &cell[..end], "0".repeat(most - decimals), &cell[end..])
    };
    cells.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const EN: Format = Format { language: Language::En };
    const ZH: Format = Format { language: Language::Zh };

    #[test]
    fn amounts_and_dates_read_as_people_write_them() {
        assert_eq!((EN.money(Fen(70_624)), ZH.money(Fen(70_624))), ("¥706.24".into(), "706.24 元".into()));
        assert_eq!(
            (EN.money(Fen(-123_456_789)), ZH.money(Fen(-5))),
            ("-¥1,234,567.89".into(), "-0.05 元".into())
        );
        let day = date(2026, 8, 25);
        assert_eq!(
            (EN.date(day), ZH.date(day)),
            ("25 Aug 2026".into(), "2026\u{2060}年\u{2060}8\u{2060}月\u{2060}25\u{2060}日".into())
        );
        assert_eq!((EN.day(day), ZH.day(day)), ("25 Aug".into(), "8\u{2060}月\u{2060}25\u{2060}日".into()));
        assert_eq!((EN.weekday(day), ZH.weekday(day)), ("Tue", "周二"));
        let month = Month::of(day);
        assert_eq!((EN.month_of_year(month), ZH.month_of_year(month)), ("Aug ’26".into(), "26年8月".into()));
        assert_eq!(
            (EN.month(month), ZH.month(month)),
            ("Aug 2026".into(), "2026\u{2060}年\u{2060}8\u{2060}月".into())
        );
        assert_eq!(EN.instant(1_787_637_900_000), "25 Aug 2026, 14:05");
        assert_eq!(
            ZH.instant(1_787_637_900_000),
            "2026\u{2060}年\u{2060}8\u{2060}月\u{2060}25\u{2060}日 14:05"
        );
        assert_eq!(EN.instant(u64::MAX), "");
    }

    #[test]
    fn numbers_under_one_another_have_as_many_decimals() {
        assert_eq!(alike(&["7.1", "6.05", "1,312", "-3"]), ["7.10", "6.05", "1,312.00", "-3.00"]);
        assert_eq!(alike(&["7.1 kWh", "12 kWh", "", "–"]), ["7.1 kWh", "12.0 kWh", "", "–"]);
        assert_eq!(alike(&["¥706.24", "5"]), ["¥706.24", "5"]);
    }

    #[test]
    fn energy_is_exact_on_bills_and_short_elsewhere() {
        assert_eq!(EN.energy_full(Wh(428_756)), "428.756 kWh");
        assert_eq!(ZH.energy_full(Wh(2_760_000)), "2,760 度");
        assert_eq!(EN.energy_full(Wh(1_500)), "1.5 kWh");
        assert_eq!(EN.energy(Wh(428_756)), "429 kWh");
        assert_eq!(EN.energy(Wh(14_260)), "14.3 kWh");
        assert_eq!(EN.energy(Wh(14_040)), "14 kWh");
        assert_eq!(EN.energy(Wh(-40)), "0 kWh");
    }

    #[test]
    fn an_account_number_is_grouped() {
        let account = AccountId::mint(33, 1_000_000_001).unwrap();
        assert_eq!(EN.account(account).replace(' ', ""), account.to_string());
        assert_eq!(EN.account(account).split(' ').map(str::len).collect::<Vec<_>>(), [4, 4, 5]);
    }

    #[test]
    fn changes_are_rounded_to_the_percent() {
        assert_eq!(EN.percent_change(112, 100), Some(12));
        assert_eq!(EN.percent_change(1, 3), Some(-67));
        assert_eq!(EN.percent_change(5, 0), None);
    }

    proptest! {
        #[test]
        fn no_value_panics(n: i64, m: i64, ms: u64) {
            for f in [EN, ZH] {
                f.money(Fen(n)); f.energy(Wh(n)); f.energy_full(Wh(n)); f.instant(ms); f.percent_change(n, m);
            }
        }

        #[test]
        fn grouping_only_adds_commas(n in -i64::MAX..i64::MAX) {
            prop_assert_eq!(EN.money(Fen(n)).replace([',', '¥'], ""), Fen(n).to_string());
        }
    }
}
