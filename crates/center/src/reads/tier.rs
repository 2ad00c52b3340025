//! Where an account stands in its tiers, and where its pace leads.
use domain::{
    billing::{BillInput, Pace, bill, last_known},
    calendar::Month,
    tariff::Tariff,
    usage::UsageMonth,
};
use jiff::{Span, civil::Date};
use protocol::{
    AccountId, Problem, Reply,
    catalogue::replies::{self, TierPace, TierStanding},
};
use storage::{rows::Entity, store::AccountView};

use super::{account::standing, brief, day_number, made, terms};
use crate::{
    node::{Answer, Node, unavailable},
    views,
};

/// How far back days are looked for, today included: a month without readings in between does not end the pace.
const LOOK_BACK_DAYS: i64 = 60;

impl Node {
    pub(super) async fn tier_get(&self, account: AccountId) -> Result<Answer, Problem> {
        let today = self.today();
        let (entity, view) = (Entity::Account(account), views::tier(day_number(today)));
        let make = async {
            let from = today.checked_sub(Span::new().days(LOOK_BACK_DAYS - 1)).unwrap_or(Date::MIN);
            let seen = self.parts.store.account(account, vec![(from, today)]).await.map_err(unavailable)?;
            made(seen, |row| {
                let tariff = self.tariff(&row.account.tariff)?;
                let standing = standing(&row, tariff, today)?;
                let pace = pace(&row, tariff, &standing, Month::of(today));
                Ok(Reply::TierGet(replies::TierGet { account, tariff: brief(tariff), standing, pace }))
            })
        };
        self.reply(entity, view, "account", make).await
    }
}

fn pace(row: &AccountView, tariff: &Tariff, standing: &TierStanding, month: Month) -> Option<TierPace> {
    let pace = Pace::of(&row.days)?;
    let known = last_known(&row.days, month);
    let so_far = UsageMonth::from_days(month, row.days.iter().filter(|day| month.contains(day.date))).ok()?;
    let whole = pace.whole_month(&so_far, known);
    let used_before_wh = standing.used_wh - so_far.total();
    let input = BillInput { tariff, usage: &whole, used_before_wh, terms: terms(&row.account) };
    Some(TierPace {
        daily_wh: pace.daily_wh(),
        days: pace.days(),
        through: known,
        crossing_on: standing.left_wh.and_then(|left| pace.crossing_on(left, known, standing.resets_on)),
        month,
        month_wh: whole.total(),
        month_fen: bill(&input).ok().map(|draft| draft.amount_fen),
    })
}

#[cfg(test)]
mod tests;
