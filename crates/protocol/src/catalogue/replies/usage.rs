//! What questions about use, tiers and tariffs are answered with.
use domain::{
    billing::BillLine,
    calendar::Month,
    money::{Fen, PriceE4, Wh},
    tariff::{TariffId, TierPeriod},
};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Cheapest, ComparedTariff, LeftOutMonth, PeriodUsage};
use crate::AccountId;

replies! {
    /// A month's use.
    UsageMonth {
        /// Which account.
        account: AccountId,
        /// Which month.
        month: Month,
        /// Its days that have readings, in order.
        days: Vec<DayUsage>,
        /// The days' sum.
        energy_wh: Wh,
        /// The first and last month that have readings.
        first_month: Option<Month>,
        /// The last month that has readings.
        last_month: Option<Month>,
    }
    /// Where the use stands, and where its pace leads.
    TierGet {
        /// Which account.
        account: AccountId,
        /// What it is billed by.
        tariff: TariffBrief,
        /// Where the use stands in the tariff's tiers.
        standing: TierStanding,
        /// Where it leads; absent where none of the last 60 days has readings.
        pace: Option<TierPace>,
    }
    /// A year's use.
    UsageYear {
        /// Which account.
        account: AccountId,
        /// Which year.
        year: i16,
        /// Its months that have readings, in order.
        months: Vec<MonthUsage>,
        /// The months' sum.
        energy_wh: Wh,
        /// The first month that has readings.
        first_month: Option<Month>,
        /// The last month that has readings.
        last_month: Option<Month>,
    }
    /// What energy would cost.
    TariffQuote {
        /// Which account.
        account: AccountId,
        /// By which tariff.
        tariff: TariffBrief,
        /// In which month.
        month: Month,
        /// How much energy.
        energy_wh: Wh,
        /// Used before in the tier period.
        used_before_wh: Wh,
        /// The tiers' upper limits.
        tier_limits_wh: Vec<Wh>,
        /// The lines; their amounts sum to the quote's.
        lines: Vec<BillLine>,
        /// Their sum.
        amount_fen: Fen,
    }
    /// Past months under several tariffs.
    TariffCompare {
        /// Which account.
        account: AccountId,
        /// The first month looked at.
        from: Month,
        /// The last: the newest whole month.
        to: Month,
        /// The tariffs, the account's own first; at most 8.
        tariffs: Vec<ComparedTariff>,
        /// The months that could be compared, oldest first.
        months: Vec<ComparedMonth>,
        /// The months that could not.
        left_out: Vec<LeftOutMonth>,
        /// The cheapest, where there is something to compare.
        cheapest: Option<Cheapest>,
    }
    /// A tariff's name.
    TariffBrief {
        /// Its id.
        tariff: TariffId,
        /// English.
        name_en: String,
        /// 简体中文
        name_zh: String,
        /// Whether it prices by the hour of the day.
        time_of_use: bool,
    }
    /// A tariff with its source.
    TariffSource {
        /// Its name.
        brief: TariffBrief,
        /// Where its figures are published, in English.
        source_en: String,
        /// The same, 简体中文.
        source_zh: String,
        /// The day that source carries, where it is known.
        #[serde(with = "domain::calendar::day::option")]
        source_date: Option<Date>,
        /// Since when they are in force.
        #[serde(with = "domain::calendar::day")]
        valid_from: Date,
        /// Whether the source says so; otherwise the day is only early enough for the bill, and not to be shown as fact.
        valid_from_confirmed: bool,
        /// What is not confirmed about the tariff, in English.
        note_en: Option<String>,
        /// The same, 简体中文.
        note_zh: Option<String>,
        /// Over what its tiers count.
        tier_period: TierPeriod,
    }
    /// The month under way, beside the same days of others.
    UsageSoFar {
        /// Which month.
        month: Month,
        /// The last day with readings.
        #[serde(with = "domain::calendar::day::option")]
        through: Option<Date>,
        /// Use in it up to then.
        energy_wh: Wh,
        /// Use of last month up to the same day.
        last_month_wh: Wh,
        /// Use of the same month last year up to the same day.
        last_year_wh: Wh,
    }
    /// Where the use stands in the tiers.
    TierStanding {
        /// 1, 2 or 3.
        tier: u8,
        /// Used in the tier period so far.
        used_wh: Wh,
        /// What is left in this tier; absent in the last.
        left_wh: Option<Wh>,
        /// The upper limits of all tiers but the last, rising, for the tier period under way.
        limits_wh: Vec<Wh>,
        /// This tier's price (of its dearest period under time-of-use).
        price_e4: PriceE4,
        /// The next tier's.
        next_price_e4: Option<PriceE4>,
        /// When counting begins anew.
        #[serde(with = "domain::calendar::day")]
        resets_on: Date,
    }
    /// Where the pace leads.
    TierPace {
        /// Used a day, on average.
        daily_wh: Wh,
        /// Over how many days with readings that was taken: the newest, at most 30.
        days: u32,
        /// The last day whose use is counted.
        #[serde(with = "domain::calendar::day")]
        through: Date,
        /// When this tier will be used up at this pace; absent where counting begins anew before that.
        #[serde(with = "domain::calendar::day::option")]
        crossing_on: Option<Date>,
        /// The month under way.
        month: Month,
        /// What will have been used in it at its end.
        month_wh: Wh,
        /// What its bill will then be; absent where the readings do not tell the tariff's hours.
        month_fen: Option<Fen>,
    }
    /// A month's use.
    MonthUsage {
        /// Which month.
        month: Month,
        /// In all.
        energy_wh: Wh,
        /// By the tariff's periods of the day; empty where it has none or the readings do not tell the hours.
        periods: Vec<PeriodUsage>,
        /// How many of its days have readings.
        days_read: u32,
        /// Whether some of it was estimated or is missing.
        estimated: bool,
        /// The amount of its bill, where there is one.
        amount_fen: Option<Fen>,
    }
    /// A month that is compared.
    ComparedMonth {
        /// Which month.
        month: Month,
        /// What was used in it.
        energy_wh: Wh,
        /// What it costs under each tariff, in their order.
        amounts_fen: Vec<Fen>,
    }
    /// A day's use.
    DayUsage {
        /// Which day.
        #[serde(with = "domain::calendar::day")]
        date: Date,
        /// In all.
        energy_wh: Wh,
        /// In the tariff's peak period; equal to all of it where there is no period.
        peak_wh: Wh,
        /// Per hour, 24 values, where readings are fine enough; else empty.
        by_hour_wh: Vec<Wh>,
        /// Whether some of it was estimated or is missing.
        estimated: bool,
    }
}
