//! Bills.
use domain::{
    billing::{BillInput, Billed, Explanation, bill, explain},
    money::Wh,
    tariff::{Tariff, TierPeriod},
    usage::UsageMonth,
};
use jiff::civil::Date;
use protocol::{
    BillId, Problem, Reply,
    catalogue::{
        replies::{self, AlternativeBill, MonthAmount, TariffSource},
        requests,
    },
};
use storage::{
    rows::{BillDetail, BillHead, Entity},
    store::{BillView, Seen},
};

use super::{bill_brief, brief, day_number, made, month_number, terms};
use crate::{
    node::{Answer, Node, unavailable},
    views,
};

/// A page where none is asked for: this month and the same a year ago on one page.
const PAGE: u8 = 13;
/// The longest page.
const MOST: u8 = 60;

impl Node {
    pub(super) async fn bill_list(&self, asked: &requests::BillList) -> Result<Answer, Problem> {
        let today = self.today();
        let limit = if asked.limit == 0 { PAGE } else { asked.limit.min(MOST) };
        let before = asked.before.map_or(0, month_number);
        let (entity, view) = (Entity::Account(asked.account), views::bills(before, limit, day_number(today)));
        let make = async {
            let load = self.parts.store.bills(asked.account, asked.before, u32::from(limit) + 1);
            let Seen { value: rows, position } = load.await.map_err(unavailable)?;
            let more = rows.len() > usize::from(limit);
            let brief = |head| bill_brief(head, today, self.parts.rules.late_fee);
            let bills: Vec<_> = rows.iter().take(usize::from(limit)).map(brief).collect();
            let next_before = bills.last().filter(|_| more).map(|last| last.month);
            Ok(Seen { value: Some(Reply::BillList(replies::BillList { bills, next_before })), position })
        };
        self.reply(entity, view, "account", make).await
    }

    pub(super) async fn bill_get(&self, id: BillId) -> Result<Answer, Problem> {
        let today = self.today();
        let (entity, view) =
            (Entity::Account(id.account), views::bill(month_number(id.month), day_number(today)));
        let make = async {
            let seen = self.parts.store.bill(id).await.map_err(unavailable)?;
            made(seen, |row| Ok(Reply::BillGet(self.whole_bill(&row, today)?)))
        };
        self.reply(entity, view, "bill", make).await
    }

    fn whole_bill(&self, row: &BillView, today: Date) -> Result<replies::BillGet, Problem> {
        let tariff = self.tariff(&row.head.tariff)?;
        let usage = UsageMonth::from_days(row.head.id.month, &row.days)
            .ok()
            .filter(|u| u.total() == row.head.energy_wh);
        let history = row.history.iter().rev().map(|head| MonthAmount {
            month: head.id.month,
            energy_wh: head.energy_wh,
            amount_fen: head.amount_fen,
        });
        let by_hour_wh: Vec<Wh> =
            usage.as_ref().and_then(UsageMonth::by_hour).map(Vec::from).unwrap_or_default();
        Ok(replies::BillGet {
            bill: bill_brief(&row.head, today, self.parts.rules.late_fee),
            tariff: source(tariff, row.head.tariff_from),
            lines: row.detail.lines.clone(),
            used_before_wh: row.detail.used_before_wh,
            tier_limits_wh: row.detail.tier_limits_wh.clone(),
            by_hour_wh,
            alternative: usage.and_then(|usage| self.alternative(row, &usage)),
            history: history.collect(),
            against_previous: row.previous.as_ref().map(|before| against(before, row)),
            against_last_year: row.last_year.as_ref().map(|before| against(before, row)),
        })
    }

    /// The same month under the place's other tariff: single rate beside time-of-use.
    fn alternative(&self, row: &BillView, usage: &UsageMonth) -> Option<AlternativeBill> {
        let of_place = self.parts.rules.tariffs.for_division(&row.account.division)?;
        let billed_by = self.tariff(&row.head.tariff).ok()?;
        let other = if billed_by.is_time_of_use() { of_place.single } else { of_place.time_of_use }?;
        let used_before_wh = row.detail.used_before_wh;
        let draft =
            bill(&BillInput { tariff: other, usage, used_before_wh, terms: terms(&row.account) }).ok()?;
        Some(AlternativeBill { tariff: brief(other), lines: draft.lines, amount_fen: draft.amount_fen })
    }
}

/// Why a bill differs from an earlier one.
fn against((head, detail): &(BillHead, BillDetail), row: &BillView) -> Explanation {
    explain(&billed(head, detail), &billed(&row.head, &row.detail))
}

fn billed<'a>(head: &'a BillHead, detail: &'a BillDetail) -> Billed<'a> {
    Billed {
        month: head.id.month,
        tariff: &head.tariff,
        version: head.tariff_from,
        energy_wh: head.energy_wh,
        amount_fen: head.amount_fen,
        lines: &detail.lines,
    }
}

/// Where a tariff's figures come from, for a bill by the version that began on `valid_from`. A version that is no longer
/// in the book is not vouched for.
fn source(tariff: &Tariff, valid_from: Date) -> TariffSource {
    let version = tariff.versions.iter().find(|version| version.valid_from == valid_from);
    TariffSource {
        brief: brief(tariff),
        source_en: tariff.source_en.clone(),
        source_zh: tariff.source_zh.clone(),
        source_date: tariff.source_date,
        valid_from,
        valid_from_confirmed: version.is_some_and(|version| version.valid_from_confirmed),
        note_en: tariff.note_en.clone(),
        note_zh: tariff.note_zh.clone(),
        // All versions of a tariff count alike.
        tier_period: tariff.versions.first().map_or(TierPeriod::Year, |version| version.tier_period),
    }
}

#[cfg(test)]
mod tests {
    use domain::tariff::TariffBook;

    use super::*;

    #[test]
    fn a_first_day_that_nobody_read_in_the_source_is_not_said_to_be_confirmed() {
        for tariff in TariffBook::published().iter() {
            for version in &tariff.versions {
                let said = source(tariff, version.valid_from);
                assert_eq!(said.valid_from_confirmed, version.valid_from_confirmed, "{}", tariff.id);
                assert_eq!((said.tier_period, said.note_en), (version.tier_period, tariff.note_en.clone()));
            }
            assert!(!source(tariff, Date::MIN).valid_from_confirmed, "{}", tariff.id);
        }
    }
}
