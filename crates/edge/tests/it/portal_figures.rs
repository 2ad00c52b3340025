//! The invented inside's figures of years, paces and tariffs.
use domain::{
    billing::{LeftOut, Quote},
    tariff::PeriodName,
};

use super::*;

pub(super) fn usage_year(account: AccountId, year: i16) -> replies::UsageYear {
    let months = (1..=12).map(|number| Month::new(year, number).unwrap());
    let used = |month: Month| {
        let usage = usage_month(account, month);
        let peak_wh: Wh = usage.days.iter().map(|day| day.peak_wh).sum();
        let part = |period, energy_wh| PeriodUsage { period, energy_wh };
        let periods = [part(PeriodName::Peak, peak_wh), part(PeriodName::Valley, usage.energy_wh - peak_wh)];
        let has_periods = tariff_ids(account).0.ends_with("-tou");
        let bill = bills(account).into_iter().find(|bill| bill.period == month);
        (!usage.days.is_empty()).then(|| MonthUsage {
            month,
            energy_wh: usage.energy_wh,
            periods: if has_periods { periods.to_vec() } else { Vec::new() },
            days_read: usage.days.len() as u32,
            estimated: usage.days.iter().any(|day| day.estimated),
            amount_fen: bill.map(|bill| bill.amount_fen),
        })
    };
    let months: Vec<MonthUsage> = months.filter_map(used).collect();
    let energy_wh = months.iter().map(|month| month.energy_wh).sum();
    let (first_month, last_month) = (Some("2025-01".parse().unwrap()), Some(Month::of(TODAY)));
    replies::UsageYear { account, year, months, energy_wh, first_month, last_month }
}

pub(super) fn tier_get(summary: AccountSummary) -> replies::TierGet {
    let daily_wh = Wh(summary.this_month.energy_wh.0 / i64::from(TODAY.day()));
    let pace = TierPace {
        daily_wh,
        days: 18,
        through: TODAY,
        crossing_on: summary
            .tier
            .left_wh
            .map(|left| {
                let days = (left.0 + daily_wh.0 - 1) / daily_wh.0;
                TODAY.checked_add(jiff::Span::new().days(days)).unwrap()
            })
            .filter(|on| *on < summary.tier.resets_on && summary.account == accounts()[0]),
        month: Month::of(TODAY),
        month_wh: Wh(daily_wh.0 * 31),
        month_fen: Some(Fen(daily_wh.0 * 31 * 6 / 100)),
    };
    replies::TierGet {
        account: summary.account,
        tariff: summary.tariff,
        standing: summary.tier,
        pace: Some(pace),
    }
}

pub(super) fn tariff_compare(account: AccountId) -> replies::TariffCompare {
    let (own, other) = tariff_ids(account);
    let (from, to): (Month, Month) = ("2025-08".parse().unwrap(), "2026-07".parse().unwrap());
    let left: Month = "2025-10".parse().unwrap();
    let ids: Vec<&str> = [own, other].into_iter().filter(|id| !id.is_empty()).collect();
    let billed: Vec<Vec<BillDraft>> = ids.iter().map(|id| bills_with(account, id)).collect();
    let counts = |bill: &&BillDraft| bill.period >= from && bill.period != left;
    let of = |index: usize| billed[index].iter().filter(counts);
    let total = |index: usize| of(index).map(|bill| bill.amount_fen).sum::<Fen>();
    let tariffs: Vec<ComparedTariff> = (0..)
        .zip(&ids)
        .map(|(index, id)| ComparedTariff {
            tariff: tariff_brief(id),
            own: index == 0,
            total_fen: total(index),
        })
        .collect();
    let amounts = |at: usize| (0..ids.len()).map(|index| of(index).nth(at).unwrap().amount_fen).collect();
    let months = of(0).enumerate().map(|(at, bill)| ComparedMonth {
        month: bill.period,
        energy_wh: bill.energy_wh,
        amounts_fen: amounts(at),
    });
    let cheapest = (ids.len() > 1).then(|| {
        let index = usize::from(total(1) < total(0));
        let saves_fen = total(1 - index) - total(index);
        Cheapest { tariff: tariff_brief(ids[index]).tariff, saves_fen }
    });
    replies::TariffCompare {
        account,
        from,
        to,
        months: months.collect(),
        tariffs,
        left_out: vec![LeftOutMonth { month: left, reason: LeftOut::Coarse }],
        cheapest,
    }
}

pub(super) fn tariff_quote(asked: &protocol::catalogue::requests::TariffQuote) -> replies::TariffQuote {
    let own = tariff_ids(asked.account).0.parse().unwrap();
    let tariff = tariff(asked.tariff.as_ref().unwrap_or(&own).as_str()).unwrap();
    let quote = Quote {
        tariff,
        month: asked.month,
        energy_wh: Wh(asked.energy_wh.get()),
        valley_per_mille: asked.valley_per_mille.map(|share| share.get()),
        used_before_wh: Wh(asked.used_before_wh.get()),
        terms: BillTerms { version: VersionChoice::Named, ..BillTerms::default() },
    };
    let draft = quote.bill().unwrap();
    let version = tariff.version_named(asked.month.first_day()).unwrap();
    replies::TariffQuote {
        account: asked.account,
        tariff: tariff_brief(tariff.id.as_str()),
        month: asked.month,
        energy_wh: draft.energy_wh,
        used_before_wh: quote.used_before_wh,
        tier_limits_wh: version.limits_wh(asked.month, Default::default(), 12),
        lines: draft.lines,
        amount_fen: draft.amount_fen,
    }
}
