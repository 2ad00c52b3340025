//! How supplies stand.
use protocol::AccountId;

use super::{Result, Snapshot, one, value::values};
use crate::rows::{Supply, SupplyState};

/// How an account's supply stands; `None` where it was never cut off.
pub(crate) async fn supply<S: Snapshot>(s: &S, account: AccountId) -> Result<Option<Supply>> {
    one(
        s,
        "reading an account's supply",
        "SELECT state, since_ms, reconnect_at_ms FROM supply WHERE account = ?1",
        &values![account],
        |row| {
            Ok(Supply {
                account,
                state: row.named("supply", 0, &STATES, state_name)?,
                since_ms: row.get(1)?,
                reconnect_at_ms: row.get(2)?,
            })
        },
    )
    .await
}

/// Reconnections that are to be completed by `now_ms`, longest due first: account and when.
pub(crate) async fn due<S: Snapshot>(s: &S, now_ms: u64, limit: usize) -> Result<Vec<(AccountId, u64)>> {
    s.query(
        "looking for reconnections that are due",
        "SELECT account, reconnect_at_ms FROM supply WHERE reconnect_at_ms <= ?1 ORDER BY reconnect_at_ms LIMIT ?2",
        &values![now_ms, limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .await
}

const STATES: [SupplyState; 3] = [SupplyState::Connected, SupplyState::Cut, SupplyState::Reconnecting];

/// How a supply's state is written.
pub(super) fn state_name(state: SupplyState) -> &'static str {
    match state {
        SupplyState::Connected => "connected",
        SupplyState::Cut => "cut",
        SupplyState::Reconnecting => "reconnecting",
    }
}
