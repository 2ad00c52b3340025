//! Power cut off for arrears, and back again once what is overdue is paid.
//!
//! After the 《电力供应与使用条例》 (regulations on the supply and use of electricity): power may be cut off where a bill has
//! been overdue for more than thirty days. It comes back by itself: the payment that closes the last overdue bill starts it,
//! in its own transaction, and the schedule completes it once the meter has been switched.
use jiff::civil::Date;
use protocol::{Code, Problem, Reply, catalogue::replies};
use storage::{
    message::{Decision, NewMessage},
    rows::{BillHead, Put, Supply, SupplyState},
    working_set::WorkingSet,
};

use super::{Decided, Rules};
use crate::{
    day::day_of,
    operation::{SupplyCut, SupplyRestore},
};

/// When power is cut and how soon it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupplyTerms {
    /// Cut off only where a bill has been overdue for more days than this.
    pub cut_after_overdue_days: u16,
    /// How long reconnecting takes after what is overdue was paid, in seconds.
    pub reconnect_after_s: u32,
}

/// Cuts an account off. One that is cut off already is left as it is.
pub(super) fn cut(rules: &Rules, rows: &WorkingSet, message: &NewMessage, asked: &SupplyCut) -> Decided {
    let Some(state) = rows.account(&asked.account)? else {
        return Ok(Decision::rejected(Problem::not_found("account")));
    };
    let done = |puts| Decision::done(reply(asked.account), puts);
    if rows.supply(&asked.account)?.is_some_and(|supply| supply.state == SupplyState::Cut) {
        return Ok(done(Vec::new()));
    }
    let today = day_of(message.origin.accepted_ms);
    let days = rules.supply.cut_after_overdue_days;
    let overdue_for = |bill: &BillHead| (today - bill.due_on).get_days();
    if !state.open_bills.iter().any(|bill| overdue_for(bill) > i32::from(days)) {
        let why = format!(
            "No bill of this account has been overdue for more than {days} days. Nothing was cut off."
        );
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    Ok(done(vec![Put::Supply(Supply {
        account: asked.account,
        state: SupplyState::Cut,
        since_ms: message.origin.accepted_ms,
        reconnect_at_ms: None,
    })]))
}

/// Completes a reconnection, if it is still the one that was due then.
pub(super) fn restore(rows: &WorkingSet, message: &NewMessage, asked: &SupplyRestore) -> Decided {
    let supply = rows.supply(&asked.account)?;
    let is_due = supply.is_some_and(|supply| supply.reconnect_at_ms == Some(asked.due_ms));
    let on = Supply {
        account: asked.account,
        state: SupplyState::Connected,
        since_ms: message.origin.accepted_ms,
        reconnect_at_ms: None,
    };
    Ok(Decision::done(reply(asked.account), if is_due { vec![Put::Supply(on)] } else { Vec::new() }))
}

/// What it writes for the supply that money came in on `day`, after which these bills are still open.
pub(super) fn after_payment<'a>(
    terms: SupplyTerms,
    supply: Option<&Supply>,
    mut still_open: impl Iterator<Item = &'a BillHead>,
    day: Date,
    now_ms: u64,
) -> Option<Put> {
    let supply = supply.filter(|supply| supply.state == SupplyState::Cut)?;
    if still_open.any(|bill| bill.due_on < day) {
        return None;
    }
    Some(Put::Supply(Supply {
        account: supply.account,
        state: SupplyState::Reconnecting,
        since_ms: now_ms,
        reconnect_at_ms: Some(now_ms + u64::from(terms.reconnect_after_s) * 1000),
    }))
}

fn reply(account: protocol::AccountId) -> Reply {
    Reply::AccountBind(replies::AccountBind { account })
}
