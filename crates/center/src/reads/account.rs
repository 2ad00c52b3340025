//! A customer's accounts, and an account at a glance.
use domain::{
    billing::tier_status,
    calendar::Month,
    late_fee::LateFeeRate,
    money::Wh,
    readings::DayReadings,
    tariff::{Tariff, TierPeriod},
};
use jiff::civil::Date;
use protocol::{
    AccountId, CustomerId, Problem, Reply,
    catalogue::replies::{
        self, Balance, BoundAccount, SupplyStanding, SupplyState, TierStanding, UsageSoFar,
    },
};
use storage::{
    rows::{BillHead, Entity},
    store::AccountView,
};

use super::{bill_brief, brief, day_number, made, mask_address, mask_name, terms};
use crate::{
    node::{Answer, Node, unavailable},
    views,
};

impl Node {
    pub(super) async fn account_list(&self, customer: CustomerId) -> Result<Answer, Problem> {
        let load = self.parts.store.customer(customer);
        let seen = self.view(Entity::Customer(customer), views::CUSTOMER, load).await?;
        let bound = |&(account, bound_ms): &(AccountId, u64)| BoundAccount { account, bound_ms };
        let accounts = seen.value.accounts.iter().map(bound).collect();
        Ok(Answer::done(Reply::AccountList(replies::AccountList { accounts }), seen.position))
    }

    pub(super) async fn account_summary(&self, account: AccountId) -> Result<Answer, Problem> {
        let today = self.today();
        let (entity, view) = (Entity::Account(account), views::summary(day_number(today)));
        let make = async {
            let month = Month::of(today);
            let whole = |month: Month| (month.first_day(), month.last_day());
            let ranges = vec![whole(month.last_year()), whole(month.prev()), whole(month)];
            let seen = self.parts.store.account(account, ranges).await.map_err(unavailable)?;
            made(seen, |row| Ok(Reply::AccountSummary(self.summary(&row, today)?)))
        };
        self.reply(entity, view, "account", make).await
    }

    fn summary(&self, row: &AccountView, today: Date) -> Result<replies::AccountSummary, Problem> {
        let tariff = self.tariff(&row.account.tariff)?;
        let month = Month::of(today);
        let this_month = so_far(row, month);
        Ok(replies::AccountSummary {
            account: row.account.id,
            holder: mask_name(&row.account.holder),
            address: mask_address(&row.account.address),
            division: row.account.division.clone(),
            tariff: brief(tariff),
            balance: balance(row, today, self.parts.rules.late_fee),
            supply: SupplyStanding {
                state: row.supply.map_or(SupplyState::Connected, |supply| supply.state),
                reconnect_at_ms: row.supply.and_then(|supply| supply.reconnect_at_ms),
                reconnect_after_s: self.parts.rules.supply.reconnect_after_s,
            },
            latest_bill: row.bills.first().map(|head| bill_brief(head, today, self.parts.rules.late_fee)),
            this_month,
            tier: standing(row, tariff, today)?,
        })
    }
}

/// Where the use up to now stands in the tiers.
pub(super) fn standing(row: &AccountView, tariff: &Tariff, today: Date) -> Result<TierStanding, Problem> {
    let month = Month::of(today);
    let this_month = so_far(row, month).energy_wh;
    let of_year = |bill: &&BillHead| bill.id.month.year() == month.year() && bill.id.month < month;
    let billed: Wh = row.bills.iter().filter(of_year).map(|bill| bill.energy_wh).sum();
    let version = tariff.version_named(today);
    let terms = terms(&row.account);
    let used = match version.map(|v| v.tier_period) {
        Some(TierPeriod::Month) => this_month,
        _ => billed + this_month,
    };
    let status = tier_status(tariff, month, used, &terms)
        .map_err(|e| Problem::new(protocol::Code::Internal, format!("The tariff cannot be read: {e}.")))?;
    let dearest = status.prices.iter().max_by_key(|p| p.price_e4).copied();
    Ok(TierStanding {
        tier: status.tier,
        used_wh: status.used_in_period_wh,
        left_wh: status.left_in_tier_wh,
        limits_wh: version
            .map(|v| v.limits_wh(month, terms.household, terms.months_served(month)))
            .unwrap_or_default(),
        price_e4: dearest.map(|p| p.price_e4).unwrap_or_default(),
        next_price_e4: dearest.and_then(|p| p.next_price_e4),
        resets_on: status.until.next().first_day(),
    })
}

pub(super) fn balance(row: &AccountView, today: Date, rate: LateFeeRate) -> Balance {
    let late_fee = |bill: &BillHead| bill.late_fee_on(today, rate).open_fen();
    let owed = |bill: &BillHead| bill.open_fen() + late_fee(bill);
    Balance {
        due_fen: row.open_bills.iter().map(owed).sum(),
        overdue_fen: row.open_bills.iter().filter(|bill| bill.due_on < today).map(owed).sum(),
        late_fee_fen: row.open_bills.iter().map(late_fee).sum(),
        due_on: row.open_bills.iter().map(|bill| bill.due_on).min(),
        credit_fen: row.account.credit_fen,
    }
}

/// This month's use, and that of last month and last year up to the same day.
fn so_far(row: &AccountView, month: Month) -> UsageSoFar {
    let through = row.days.iter().map(|day| day.date).filter(|date| month.contains(*date)).max();
    let up_to = through.map_or(0, |date| date.day());
    let sum = |of: Month| -> Wh {
        let counts = |day: &&DayReadings| of.contains(day.date) && day.date.day() <= up_to;
        row.days.iter().filter(counts).map(DayReadings::total).sum()
    };
    UsageSoFar {
        month,
        through,
        energy_wh: sum(month),
        last_month_wh: sum(month.prev()),
        last_year_wh: sum(month.last_year()),
    }
}
