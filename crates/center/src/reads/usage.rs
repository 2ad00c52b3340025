//! A month's use, day by day.
use domain::{
    calendar::Month,
    money::Wh,
    readings::{DayReadings, Quality},
    tariff::{PeriodName, Prices, Tariff},
    usage::UsageMonth,
};
use jiff::civil::Date;
use protocol::{
    AccountId, Problem, Reply,
    bounds::Year,
    catalogue::{
        replies::{self, DayUsage, MonthUsage, PeriodUsage},
        requests,
    },
};
use storage::{
    rows::Entity,
    store::{AccountView, PastView},
};

use super::{made, month_number};
use crate::{
    node::{Answer, Node, unavailable},
    views,
};

impl Node {
    pub(super) async fn usage_month(&self, asked: &requests::UsageMonth) -> Result<Answer, Problem> {
        let (entity, view) = (Entity::Account(asked.account), views::usage(month_number(asked.month)));
        let make = async {
            let range = vec![(asked.month.first_day(), asked.month.last_day())];
            let seen = self.parts.store.account(asked.account, range).await.map_err(unavailable)?;
            made(seen, |row| Ok(Reply::UsageMonth(self.month(asked, &row)?)))
        };
        self.reply(entity, view, "account", make).await
    }

    fn month(&self, asked: &requests::UsageMonth, row: &AccountView) -> Result<replies::UsageMonth, Problem> {
        let tariff = self.tariff(&row.account.tariff)?;
        let days: Vec<DayUsage> = row.days.iter().map(|day| day_usage(tariff, day)).collect();
        Ok(replies::UsageMonth {
            account: asked.account,
            month: asked.month,
            energy_wh: days.iter().map(|day| day.energy_wh).sum(),
            days,
            first_month: row.first_and_last.map(|(first, _)| Month::of(first)),
            last_month: row.first_and_last.map(|(_, last)| Month::of(last)),
        })
    }
}

impl Node {
    pub(super) async fn usage_year(&self, account: AccountId, year: Year) -> Result<Answer, Problem> {
        let year = year.get();
        let (entity, view) = (Entity::Account(account), views::year(year));
        let make = async {
            let first = Month::of(Date::constant(year, 1, 1));
            let seen = self.parts.store.past(account, first, first.december()).await.map_err(unavailable)?;
            made(seen, |row| {
                let months = months_of(self.tariff(&row.account.tariff)?, &row, first);
                Ok(Reply::UsageYear(replies::UsageYear {
                    account,
                    year,
                    energy_wh: months.iter().map(|month| month.energy_wh).sum(),
                    months,
                    first_month: row.first_and_last.map(|(first, _)| Month::of(first)),
                    last_month: row.first_and_last.map(|(_, last)| Month::of(last)),
                }))
            })
        };
        self.reply(entity, view, "account", make).await
    }
}

/// The months of a year that have readings.
fn months_of(tariff: &Tariff, row: &PastView, january: Month) -> Vec<MonthUsage> {
    let year = std::iter::successors(Some(january), |month| Some(month.next())).take(12);
    let used = |month: Month| {
        let usage =
            UsageMonth::from_days(month, row.days.iter().filter(|day| month.contains(day.date))).ok()?;
        let bill = row.bills.iter().find(|(head, _)| head.id.month == month);
        (usage.days_read() > 0).then(|| MonthUsage {
            month,
            energy_wh: usage.total(),
            periods: by_period(tariff, &usage).unwrap_or_default(),
            days_read: usage.days_read(),
            estimated: usage.quality() != Quality::Valid,
            amount_fen: bill.map(|(head, _)| head.amount_fen),
        })
    };
    year.filter_map(used).collect()
}

/// A month's use by the tariff's periods; `None` where it has none, or readings are too coarse to tell.
fn by_period(tariff: &Tariff, usage: &UsageMonth) -> Option<Vec<PeriodUsage>> {
    let version = tariff.version_named(usage.month().first_day())?;
    let Prices::TimeOfUse { periods } = &version.prices else { return None };
    let part = |(period, energy_wh)| PeriodUsage { period, energy_wh };
    Some(usage.by_period(periods).ok()?.into_iter().map(part).collect())
}

fn day_usage(tariff: &Tariff, day: &DayReadings) -> DayUsage {
    DayUsage {
        date: day.date,
        energy_wh: day.total(),
        peak_wh: peak(tariff, day).unwrap_or(day.total()),
        by_hour_wh: day.by_hour().map(Vec::from).unwrap_or_default(),
        estimated: day.worst_quality() != Quality::Valid,
    }
}

/// What of a day falls in the peak period; `None` where the tariff has none, or readings are too coarse to tell.
fn peak(tariff: &Tariff, day: &DayReadings) -> Option<Wh> {
    let Prices::TimeOfUse { periods } = &tariff.version_named(day.date)?.prices else { return None };
    let usage = UsageMonth::from_days(Month::of(day.date), [day]).ok()?;
    let parts = usage.by_period(periods).ok()?;
    parts.into_iter().find(|(name, _)| *name == PeriodName::Peak).map(|(_, energy)| energy)
}
