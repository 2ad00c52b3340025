//! What energy would cost, and what it would have cost under other tariffs.
use domain::{
    billing::{BillTerms, Quote, QuoteError, month_under},
    calendar::Month,
    money::{Fen, Wh},
    tariff::{Tariff, TariffBook, TierPeriod},
    usage::UsageMonth,
};
use protocol::{
    AccountId, Code, Problem, Reply,
    catalogue::{
        replies::{self, Cheapest, ComparedMonth, ComparedTariff, LeftOutMonth},
        requests,
    },
};
use storage::{
    rows::{Account, Entity},
    store::PastView,
};

use super::{brief, made, month_number, terms};
use crate::{
    node::{Answer, Node, unavailable},
    views,
};

/// How many whole months are compared.
const MONTHS: usize = 12;
/// The most tariffs that are compared.
const MOST_TARIFFS: usize = 8;

impl Node {
    pub(super) async fn tariff_quote(&self, asked: &requests::TariffQuote) -> Result<Answer, Problem> {
        let load = self.parts.store.account_row(asked.account);
        let seen = self.view(Entity::Account(asked.account), views::ACCOUNT, load).await?;
        let account = seen.value.as_ref().as_ref().ok_or_else(|| Problem::not_found("account"))?;
        let reply = quote(&self.parts.rules.tariffs, account, asked)?;
        Ok(Answer::done(Reply::TariffQuote(reply), seen.position))
    }

    pub(super) async fn tariff_compare(&self, account: AccountId) -> Result<Answer, Problem> {
        let to = Month::of(self.today()).prev();
        let (entity, view) = (Entity::Account(account), views::comparison(month_number(to)));
        let make = async {
            let from = months_up_to(to)[0];
            let seen = self.parts.store.past(account, from, to).await.map_err(unavailable)?;
            made(seen, |row| {
                let own = self.tariff(&row.account.tariff)?;
                Ok(Reply::TariffCompare(comparison(&self.parts.rules.tariffs, own, &row, to)))
            })
        };
        self.reply(entity, view, "account", make).await
    }
}

/// The tariffs an account may have: its own, and the others of its place.
fn offered<'a>(book: &'a TariffBook, own: &'a Tariff, division: &'a str) -> Vec<&'a Tariff> {
    let others = book.offered(division).filter(|tariff| tariff.id != own.id);
    std::iter::once(own).chain(others).take(MOST_TARIFFS).collect()
}

/// What the asked-for energy would cost.
fn quote(
    book: &TariffBook,
    account: &Account,
    asked: &requests::TariffQuote,
) -> Result<replies::TariffQuote, Problem> {
    let invalid = |why: String| Problem::new(Code::InvalidRequest, why);
    let own = book
        .get(account.tariff.as_str())
        .ok_or_else(|| Problem::new(Code::Internal, "The account's tariff is not in the book."))?;
    let wanted = asked.tariff.as_ref().unwrap_or(&own.id);
    let mut here = offered(book, own, &account.division).into_iter();
    let not_here = || invalid(format!("The tariff {wanted} is not offered at this place."));
    let tariff = here.find(|tariff| tariff.id == *wanted).ok_or_else(not_here)?;
    let terms = terms(account);
    let asked_for = Quote {
        tariff,
        month: asked.month,
        energy_wh: Wh(asked.energy_wh.get()),
        valley_per_mille: asked.valley_per_mille.map(|share| share.get()),
        used_before_wh: Wh(asked.used_before_wh.get()),
        terms,
    };
    let draft = asked_for.bill().map_err(|error| match error {
        QuoteError::NoShare => invalid("Say valley_per_mille: this tariff has prices by the hour.".into()),
        QuoteError::Billing(error) => invalid(format!("This cannot be billed: {error}.")),
    })?;
    let version = tariff.version_named(asked.month.first_day());
    Ok(replies::TariffQuote {
        account: account.id,
        tariff: brief(tariff),
        month: asked.month,
        energy_wh: draft.energy_wh,
        used_before_wh: draft.tier_status.used_in_period_wh - draft.energy_wh,
        tier_limits_wh: version
            .map(|v| v.limits_wh(asked.month, terms.household, terms.months_served(asked.month)))
            .unwrap_or_default(),
        lines: draft.lines,
        amount_fen: draft.amount_fen,
    })
}

/// The months up to and with one, oldest first.
fn months_up_to(to: Month) -> [Month; MONTHS] {
    let mut months = [to; MONTHS];
    for index in (1..MONTHS).rev() {
        months[index - 1] = months[index].prev();
    }
    months
}

/// The months up to `to` under every tariff of the place.
fn comparison(book: &TariffBook, own: &Tariff, row: &PastView, to: Month) -> replies::TariffCompare {
    let tariffs = offered(book, own, &row.account.division);
    let terms: BillTerms = terms(&row.account);
    let (mut months, mut left_out) = (Vec::new(), Vec::new());
    let mut used = UsedBefore { row, own, month: None, wh: Wh(0) };
    for month in months_up_to(to) {
        let days = row.days.iter().filter(|day| month.contains(day.date));
        // Days that were stored are of their month, each once.
        let usage = UsageMonth::from_days(month, days).unwrap_or_else(|_| UsageMonth::new(month));
        let used_before_wh = used.before(month);
        match month_under(&tariffs, &usage, used_before_wh, &terms) {
            Ok(amounts_fen) => {
                months.push(ComparedMonth { month, energy_wh: usage.total(), amounts_fen });
            }
            Err(reason) => left_out.push(LeftOutMonth { month, reason }),
        }
        used.add(month, usage.total());
    }
    let total = |index: usize| -> Fen { months.iter().filter_map(|m| m.amounts_fen.get(index)).sum() };
    let compared: Vec<ComparedTariff> = (0..)
        .zip(&tariffs)
        .map(|(index, tariff)| ComparedTariff {
            tariff: brief(tariff),
            own: tariff.id == own.id,
            total_fen: total(index),
        })
        .collect();
    let cheapest = if months.is_empty() { None } else { cheapest(&compared) };
    replies::TariffCompare {
        account: row.account.id,
        from: months_up_to(to)[0],
        to,
        tariffs: compared,
        months,
        left_out,
        cheapest,
    }
}

/// The cheapest of several, the account's own among equals; what it saves is against the own one, or the next.
fn cheapest(compared: &[ComparedTariff]) -> Option<Cheapest> {
    if compared.len() < 2 {
        return None;
    }
    let first = compared.iter().min_by_key(|tariff| (tariff.total_fen, !tariff.own))?;
    let others = compared.iter().filter(|tariff| tariff.tariff.tariff != first.tariff.tariff);
    let beside = match first.own {
        true => others.map(|tariff| tariff.total_fen).min()?,
        false => compared.iter().find(|tariff| tariff.own)?.total_fen,
    };
    Some(Cheapest { tariff: first.tariff.tariff.clone(), saves_fen: beside - first.total_fen })
}

/// What was used in the year before each month: as its bill says, or else summed from the months before.
struct UsedBefore<'a> {
    row: &'a PastView,
    own: &'a Tariff,
    month: Option<Month>,
    wh: Wh,
}

impl UsedBefore<'_> {
    fn before(&mut self, month: Month) -> Wh {
        if self.month.is_none_or(|last| last.year() != month.year()) {
            self.wh = Wh(0);
        }
        let counts_by_year = self.own.versions.iter().all(|version| version.tier_period == TierPeriod::Year);
        let bill = self.row.bills.iter().find(|(head, _)| head.id.month == month);
        if let Some((_, detail)) = bill.filter(|_| counts_by_year) {
            self.wh = detail.used_before_wh;
        }
        self.wh
    }

    fn add(&mut self, month: Month, energy: Wh) {
        self.month = Some(month);
        let bill = self.row.bills.iter().find(|(head, _)| head.id.month == month);
        // Use that was fed in counts as none, as it does in a bill.
        self.wh += bill.map_or(energy, |(head, _)| head.energy_wh).max(Wh(0));
    }
}

#[cfg(test)]
mod tests;
