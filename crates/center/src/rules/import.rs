//! Taking in readings: their days are stored and the bills of their months issued, all of it or nothing.
//!
//! A month is billed once. The same readings again are no change; other readings for a month that is billed are refused,
//! and so are months that would move the annual tiers of a later bill: a correction is another operation.
use std::collections::BTreeMap;

use domain::{
    billing::{BillDraft, BillInput, bill},
    calendar::Month,
    ledger::{self, LedgerError},
    money::{Fen, Wh},
    readings::DayReadings,
    tariff::{Household, Tariff, TariffBook, TierPeriod},
    usage::UsageMonth,
};
use protocol::{Code, Problem, Reply, catalogue::replies};
use storage::{
    message::{Decision, NewMessage},
    rows::{Account, BillHead, Put, Supply},
    working_set::{AccountState, WorkingSet},
};

use super::{
    Decided, Rules,
    arrears::{Arrears, ArrearsTerms},
    mandate, supply,
};
use crate::{
    day::day_of,
    import::{issue::issue, unknown_tariff},
    operation::Import,
};

pub(super) fn import(rules: &Rules, rows: &WorkingSet, message: &NewMessage, asked: &Import) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let mut decision = take_in(&rules.tariffs, rules.arrears_terms(), rows, now_ms, asked)?;
    let issued =
        decision.puts.iter().filter_map(|put| if let Put::Bill(head, _) = put { Some(head) } else { None });
    let issued: Vec<BillHead> = issued.cloned().collect();
    if !issued.is_empty() {
        let open = rows.account(&asked.account)?.map_or(&[][..], |state| &state.open_bills);
        let mandate = rows.mandate(&asked.account)?;
        decision.puts.extend(mandate::issued(&rules.debit, mandate, open.iter().chain(&issued), now_ms));
    }
    Ok(decision)
}

fn take_in(
    tariffs: &TariffBook,
    terms: ArrearsTerms,
    rows: &WorkingSet,
    now_ms: u64,
    asked: &Import,
) -> Decided {
    let state = rows.account(&asked.account)?;
    let supply = rows.supply(&asked.account)?;
    let billed = rows.bills(&asked.account)?.map_or(&[][..], Vec::as_slice);
    Ok(match puts(tariffs, terms, (state, supply), billed, now_ms, asked) {
        Ok(puts) => Decision::done(Reply::AccountBind(replies::AccountBind { account: asked.account }), puts),
        Err(problem) => Decision::rejected(problem),
    })
}

fn puts(
    tariffs: &TariffBook,
    terms: ArrearsTerms,
    (state, supply): (Option<&AccountState>, Option<&Supply>),
    billed: &[BillHead],
    now_ms: u64,
    asked: &Import,
) -> Result<Vec<Put>, Problem> {
    let tariff =
        tariffs.get(asked.tariff.as_str()).ok_or_else(|| unknown_tariff(tariffs, asked.tariff.as_str()))?;
    let account = account_of(state, asked)?;
    let mut puts = if state.is_none() { vec![Put::Account(account.clone())] } else { Vec::new() };
    let mut issued = Vec::new();
    for (days, draft) in unbilled_months(tariffs, tariff, billed, asked)? {
        puts.extend(days.iter().map(|day| Put::Readings {
            account: account.id,
            date: day.date,
            packed: day.pack(),
        }));
        let (head, detail) = issue(account.id, tariff, &asked.terms, draft, Some(day_of(now_ms)));
        let posting = ledger::post_bill(account.id.number(), head.amount_fen).map_err(refused_by_ledger)?;
        let text = format!("bill {}", head.id);
        puts.push(Put::Bill(head.clone(), detail));
        puts.extend(posting.map(|posting| Put::Posting { at_ms: now_ms, text, posting }));
        issued.push(head);
    }
    if !issued.is_empty() {
        let open = state.map_or(&[][..], |state| &state.open_bills);
        let arrears = Arrears::of(open.iter().chain(&issued), day_of(now_ms), terms.late_fee);
        puts.extend(use_credit(account, &arrears, (terms, supply), now_ms).map_err(refused_by_ledger)?);
    }
    Ok(puts)
}

/// The account as it is, or as it is made.
fn account_of(state: Option<&AccountState>, asked: &Import) -> Result<Account, Problem> {
    let first = asked.days.first().ok_or_else(|| invalid("There are no readings. Nothing was changed."))?;
    Ok(state.map(|state| state.account.clone()).unwrap_or_else(|| Account {
        id: asked.account,
        holder: asked.holder.clone(),
        phone: asked.phone.clone(),
        address: asked.address.clone(),
        division: asked.division.clone(),
        tariff: asked.tariff.clone(),
        large_household: asked.terms.household == Household::Large,
        opened: Month::of(first.date),
        credit_fen: Fen::ZERO,
        wrong_proofs: 0,
        proof_window_ms: 0,
    }))
}

/// The months of the readings that are not billed yet, each with its days and its bill. Months without a bill count as
/// unused.
fn unbilled_months<'a>(
    tariffs: &TariffBook,
    tariff: &Tariff,
    billed: &[BillHead],
    asked: &'a Import,
) -> Result<Vec<(&'a [DayReadings], BillDraft)>, Problem> {
    if !asked.days.is_sorted_by(|a, b| a.date < b.date) {
        return Err(invalid(
            "The days are not in order, or one of them is there twice. Nothing was changed.",
        ));
    }
    let mut used: BTreeMap<Month, Wh> = billed.iter().map(|bill| (bill.id.month, bill.energy_wh)).collect();
    let mut unbilled = Vec::new();
    for days in asked.days.chunk_by(|a, b| Month::of(a.date) == Month::of(b.date)) {
        let month = Month::of(days[0].date);
        let in_words = |why: &dyn std::fmt::Display| invalid(format!("{month}: {why}. Nothing was changed."));
        let usage = UsageMonth::from_days(month, days).map_err(|why| in_words(&why))?;
        let used_before_wh = used.range(month.january()..month).map(|(_, energy)| *energy).sum();
        let input = BillInput { tariff, usage: &usage, used_before_wh, terms: asked.terms };
        let draft = bill(&input).map_err(|why| in_words(&why))?;
        if let Some(known) = billed.iter().find(|bill| bill.id.month == month) {
            is_same(known, &draft)?;
            continue;
        }
        moves_no_tier(tariffs, billed, &draft)?;
        used.insert(month, draft.energy_wh);
        unbilled.push((days, draft));
    }
    Ok(unbilled)
}

fn is_same(known: &BillHead, draft: &BillDraft) -> Result<(), Problem> {
    let figures = |energy: Wh, amount: Fen| format!("{} kWh, {amount} yuan", energy.kwh());
    let same = known.energy_wh == draft.energy_wh
        && known.amount_fen == draft.amount_fen
        && known.tariff == draft.tariff
        && known.tariff_from == draft.version;
    if same {
        return Ok(());
    }
    Err(conflict(format!(
        "{} is billed already by {} ({}); these readings come to another bill by {} ({}). Nothing was changed.",
        known.id.month,
        known.tariff,
        figures(known.energy_wh, known.amount_fen),
        draft.tariff,
        figures(draft.energy_wh, draft.amount_fen),
    )))
}

/// Refuses energy before a bill whose annual tiers it would have filled.
fn moves_no_tier(tariffs: &TariffBook, billed: &[BillHead], draft: &BillDraft) -> Result<(), Problem> {
    let month = draft.period;
    let by_year = |bill: &&BillHead| {
        let version = tariffs.get(bill.tariff.as_str()).and_then(|t| t.version_named(bill.tariff_from));
        version.is_none_or(|version| version.tier_period == TierPeriod::Year)
    };
    let later = |bill: &&BillHead| bill.id.month > month && bill.id.month.year() == month.year();
    match billed.iter().filter(later).find(by_year) {
        Some(bill) if draft.energy_wh != Wh(0) => Err(conflict(format!(
            "{} is billed already, and its tiers count from January: {month} cannot be added before it. Nothing was changed.",
            bill.id.month
        ))),
        _ => Ok(()),
    }
}

/// Pays bills from what is to the customer's credit, oldest first.
fn use_credit(
    account: Account,
    arrears: &Arrears<'_>,
    (terms, supply): (ArrearsTerms, Option<&Supply>),
    now_ms: u64,
) -> Result<Vec<Put>, LedgerError> {
    let open = arrears.items();
    let Some(used) = ledger::apply_credit(account.id.number(), account.credit_fen, &open)? else {
        return Ok(Vec::new());
    };
    let text = format!("credit of {}", account.id);
    let mut puts = arrears.paid(&used.allocations, now_ms)?;
    puts.push(Put::Posting { at_ms: now_ms, text, posting: used.posting });
    let still_open = arrears.still_open(&used.allocations);
    puts.extend(supply::after_payment(terms.supply, supply, still_open, day_of(now_ms), now_ms));
    puts.push(Put::Account(Account { credit_fen: used.remaining_fen, ..account }));
    Ok(puts)
}

fn refused_by_ledger(error: LedgerError) -> Problem {
    Problem::new(Code::OperationFailed, format!("The ledger refuses it: {error}. Nothing was changed."))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

fn conflict(detail: String) -> Problem {
    Problem::new(Code::Conflict, detail)
}

#[cfg(test)]
mod tests;
