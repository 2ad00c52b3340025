//! When homes are cooled and heated with electricity, by region.
//!
//! The regions are the building climate zones of GB 50176. The shares are made up to look plausible, they are no
//! statistic: north of the Huai river homes are heated by district heating, along the Yangtze by air conditioners, in
//! the south hardly.
use super::splitmix64;

/// A building climate zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Climate {
    /// 严寒: the north-east, Inner Mongolia, Xinjiang, Qinghai, Tibet.
    SevereCold,
    /// 寒冷: the rest of the north.
    Cold,
    /// 夏热冬冷: along the Yangtze.
    HotSummerColdWinter,
    /// 夏热冬暖: the south coast.
    HotSummerWarmWinter,
    /// 温和: Yunnan and Guizhou.
    Mild,
}

impl Climate {
    /// The zone most of a province lies in, by the first two digits of a GB/T 2260 code; [`Climate::Cold`] for a code
    /// that is none.
    pub fn of_division(division: &str) -> Climate {
        match division.get(..2) {
            Some("15" | "21" | "22" | "23" | "54" | "63" | "65") => Climate::SevereCold,
            Some("31" | "32" | "33" | "34" | "36" | "42" | "43" | "50" | "51") => {
                Climate::HotSummerColdWinter
            }
            Some("35" | "44" | "45" | "46" | "71" | "81" | "82") => Climate::HotSummerWarmWinter,
            Some("52" | "53") => Climate::Mild,
            _ => Climate::Cold,
        }
    }

    /// Usual shares of a year's energy for cooling and heating, in thousandths.
    pub(super) fn typical_shares_pm(self) -> (u16, u16) {
        match self {
            Climate::SevereCold => (30, 40),
            Climate::Cold => (120, 60),
            Climate::HotSummerColdWinter => (180, 140),
            Climate::HotSummerWarmWinter => (280, 30),
            Climate::Mild => (20, 60),
        }
    }

    /// The share of a year's cooling in a month (1 to 12), in thousandths.
    pub(super) fn cooling_pm(self, month: i8) -> u64 {
        const SOUTH: [u64; 12] = [0, 0, 0, 40, 120, 180, 200, 200, 160, 80, 20, 0];
        const YANGTZE: [u64; 12] = [0, 0, 0, 0, 30, 150, 350, 340, 130, 0, 0, 0];
        const NORTH: [u64; 12] = [0, 0, 0, 0, 20, 200, 400, 330, 50, 0, 0, 0];
        of_month(
            match self {
                Climate::HotSummerWarmWinter => &SOUTH,
                Climate::HotSummerColdWinter => &YANGTZE,
                _ => &NORTH,
            },
            month,
        )
    }

    /// The share of a year's heating in a month (1 to 12), in thousandths.
    pub(super) fn heating_pm(self, month: i8) -> u64 {
        // In the north air conditioners bridge the weeks before and after district heating.
        const NORTH: [u64; 12] = [160, 120, 190, 60, 0, 0, 0, 0, 0, 110, 200, 160];
        const ELSEWHERE: [u64; 12] = [330, 260, 80, 0, 0, 0, 0, 0, 0, 0, 80, 250];
        of_month(if matches!(self, Climate::SevereCold | Climate::Cold) { &NORTH } else { &ELSEWHERE }, month)
    }

    /// How strongly a day asks for cooling or heating, in 1/1024, on average 1: the same for all homes of a climate,
    /// and smoothed over three days, so that hot spells show in sums over many homes.
    pub(super) fn weather_e10(self, day_number: u64) -> u64 {
        let one = |day: u64| splitmix64(day ^ (self as u64) << 48) & 1023;
        512 + (one(day_number) + one(day_number + 1) + one(day_number + 2)) / 3
    }
}

/// Thousandths of a cooled day's cooling by hour: afternoons, evenings, the first half of the night.
pub(super) const COOLING_HOURS_PM: [u64; 24] =
    [48, 38, 30, 24, 18, 14, 10, 10, 10, 14, 20, 30, 46, 56, 58, 54, 48, 48, 58, 70, 78, 80, 74, 64];

/// Thousandths of a heated day's heating by hour: mornings and evenings.
pub(super) const HEATING_HOURS_PM: [u64; 24] =
    [24, 16, 14, 14, 14, 24, 52, 62, 52, 36, 28, 26, 28, 28, 26, 28, 34, 52, 74, 86, 90, 82, 66, 44];

fn of_month(year: &[u64; 12], month: i8) -> u64 {
    year[usize::from(month.clamp(1, 12).unsigned_abs()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole() {
        assert_eq!(COOLING_HOURS_PM.iter().sum::<u64>(), 1000);
        assert_eq!(HEATING_HOURS_PM.iter().sum::<u64>(), 1000);
        for climate in [
            Climate::SevereCold,
            Climate::Cold,
            Climate::HotSummerColdWinter,
            Climate::HotSummerWarmWinter,
            Climate::Mild,
        ] {
            assert_eq!((1..=12).map(|month| climate.cooling_pm(month)).sum::<u64>(), 1000, "{climate:?}");
            assert_eq!((1..=12).map(|month| climate.heating_pm(month)).sum::<u64>(), 1000, "{climate:?}");
        }
    }

    #[test]
    fn weather_averages_out() {
        let sum: u64 = (700_000..710_000).map(|day| Climate::Cold.weather_e10(day)).sum();
        assert!((1000..1048).contains(&(sum / 10_000)));
    }

    #[test]
    fn places_have_their_climate() {
        assert_eq!(Climate::of_division("330106"), Climate::HotSummerColdWinter);
        assert_eq!(Climate::of_division("4401"), Climate::HotSummerWarmWinter);
        assert_eq!(Climate::of_division("浙江"), Climate::Cold);
    }
}
