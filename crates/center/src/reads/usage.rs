//! A month's use, day by day.
use std::sync::Arc;

use domain::{
    calendar::Month,
    money::Wh,
    readings::{DayReadings, Quality},
    tariff::{PeriodName, Prices, Tariff},
    usage::UsageMonth,
};
use protocol::{
    Problem, Reply,
    catalogue::{
        replies::{self, DayUsage},
        requests,
    },
};
use storage::{rows::Entity, store::Seen};

use super::{done, month_number};
use crate::{
    node::{Answer, Node, unavailable},
    views,
};

impl Node {
    pub(super) async fn usage_month(&self, asked: &requests::UsageMonth) -> Result<Answer, Problem> {
        let (entity, view) = (Entity::Account(asked.account), views::usage(month_number(asked.month)));
        if let Some(found) = self.parts.cache.get::<Reply>(entity, view) {
            return Ok(done(found.value, found.position));
        }
        let range = vec![(asked.month.first_day(), asked.month.last_day())];
        let seen = self.parts.store.account(asked.account, range).await.map_err(unavailable)?;
        let Some(row) = seen.value else { return Err(Problem::not_found("account")) };
        let tariff = self.tariff(&row.account.tariff)?;
        let days: Vec<DayUsage> = row.days.iter().map(|day| day_usage(tariff, day)).collect();
        let reply = replies::UsageMonth {
            account: asked.account,
            month: asked.month,
            energy_wh: days.iter().map(|day| day.energy_wh).sum(),
            days,
            first_month: row.first_and_last.map(|(first, _)| Month::of(first)),
            last_month: row.first_and_last.map(|(_, last)| Month::of(last)),
        };
        let seen = Seen { value: Arc::new(Reply::UsageMonth(reply)), position: seen.position };
        self.parts.cache.fill(entity, view, &seen);
        Ok(done(seen.value, seen.position))
    }
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
