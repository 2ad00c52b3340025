//! The standard household load profile: how a home's energy spreads over the hours of a year.
//!
//! Demonstration customers must look like homes, or nobody can judge a chart or a time-of-use comparison by them.
//! So they start from a measured profile: BDEW H25 (96 quarter-hours × 12 months × 3 day types, scaled to
//! 1,000,000 kWh a year), as shipped in PyPI demandlib 0.2.2 (MIT), carried in `data/bdew_h25.csv`.
use std::sync::LazyLock;

/// Energy by month, day type and hour, as shares of a year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProfile {
    /// In 1e-9 of the year's energy (Wh of a year of 1,000,000 kWh).
    shares_e9: [[[u32; 24]; DAY_TYPES]; 12],
}

const DAY_TYPES: usize = 3;

/// The kinds of day the profile tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DayType {
    /// Saturday.
    Saturday = 0,
    /// Sunday or public holiday.
    Holiday = 1,
    /// Any other day.
    Workday = 2,
}

/// Why a text is no load profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("load profile, line {line}: {problem}")]
pub struct ProfileError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

static H25: LazyLock<LoadProfile> = LazyLock::new(|| {
    LoadProfile::parse(include_str!("../data/bdew_h25.csv"))
        .expect("the built-in profile is checked by a test")
});

impl LoadProfile {
    /// BDEW H25.
    pub fn bdew_h25() -> &'static LoadProfile {
        &H25
    }

    /// The share of each hour of a day, in 1e-9 of the year's energy.
    ///
    /// `month` is 1 to 12; anything else is taken as the nearest of them.
    pub fn hours_e9(&self, month: i8, day_type: DayType) -> &[u32; 24] {
        &self.shares_e9[usize::from(month.clamp(1, 12).unsigned_abs()) - 1][day_type as usize]
    }

    /// Reads a profile: comment lines with `#`, two heading lines (months; day types SA, FT, WT), then 96 lines of a
    /// quarter-hour each with 36 figures of three decimals.
    ///
    /// # Errors
    /// [`ProfileError`] for another shape, a figure that is none, or a year that is not about 1,000,000 kWh.
    pub fn parse(text: &str) -> Result<LoadProfile, ProfileError> {
        let mut shares_e9 = [[[0u32; 24]; DAY_TYPES]; 12];
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let fail = |line: usize, problem| ProfileError { line: line + 1, problem };
        lines.next();
        let (at, heading) = lines.next().ok_or(fail(0, "is empty"))?;
        let in_order =
            heading.split(',').skip(1).zip(["SA", "FT", "WT"].iter().cycle()).all(|(a, b)| a == *b);
        if heading.split(',').count() != 37 || !in_order {
            return Err(fail(at, "is not the heading [kWh],SA,FT,WT,…"));
        }
        let mut quarters = 0usize;
        for (at, line) in lines {
            let mut cells = line.split(',').skip(1);
            if quarters == 96 {
                return Err(fail(at, "is a 97th quarter-hour"));
            }
            for cell_of_hour in shares_e9.iter_mut().flatten().map(|hours| &mut hours[quarters / 4]) {
                *cell_of_hour +=
                    cells.next().and_then(thousandths).ok_or(fail(at, "has a cell that is no figure"))?;
            }
            if cells.next().is_some() {
                return Err(fail(at, "has too many cells"));
            }
            quarters += 1;
        }
        let profile = LoadProfile { shares_e9 };
        match (quarters, profile.plain_year_e9()) {
            (96, 950_000_000..=1_050_000_000) => Ok(profile),
            (96, _) => Err(fail(0, "does not sum to 1,000,000 kWh a year")),
            _ => Err(fail(0, "does not have 96 quarter-hours")),
        }
    }

    /// The sum over a year in which each month has 5 workdays to a Saturday and a Sunday.
    fn plain_year_e9(&self) -> u64 {
        const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let day = |hours: &[u32; 24]| hours.iter().map(|share| u64::from(*share)).sum::<u64>();
        let month = |types: &[[u32; 24]; DAY_TYPES]| day(&types[0]) + day(&types[1]) + 5 * day(&types[2]);
        self.shares_e9.iter().zip(DAYS).map(|(types, days)| month(types) * days / 7).sum()
    }
}

/// `22.152` as 22,152: exactly three decimals, at most six digits before them.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.trim_end().split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 6 || fraction.len() != 3 {
        return None;
    }
    Some(whole.parse::<u32>().ok()? * 1000 + fraction.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profile_is_whole_and_looks_like_homes() {
        let text = include_str!("../data/bdew_h25.csv");
        let profile = LoadProfile::parse(text).unwrap();
        let january = profile.hours_e9(1, DayType::Saturday);
        // 00:00 to 01:00 on a Saturday in January: 22.152 + 20.809 + 19.757 + the fourth quarter-hour.
        assert!((80_000..84_000).contains(&january[0]), "{}", january[0]);
        assert!(january[19] > 2 * january[4], "evenings use more than nights");
        assert_eq!(LoadProfile::bdew_h25(), &profile);
    }

    #[test]
    fn other_files_are_refused() {
        let text = include_str!("../data/bdew_h25.csv");
        assert!(LoadProfile::parse("").is_err());
        assert!(LoadProfile::parse(&text.replace("SA,FT,WT", "WT,FT,SA")).is_err());
        assert!(LoadProfile::parse(&text.replacen("22.152", "22,152", 1)).is_err());
        assert!(LoadProfile::parse(&text.replacen("22.152", "9999999.152", 1)).is_err());
        let short: String = text.lines().take(80).map(|line| format!("{line}\n")).collect();
        assert_eq!(LoadProfile::parse(&short).unwrap_err().problem, "does not have 96 quarter-hours");
    }
}
