//! What the cache holds of each entity, and the one way to read it: cache, else one load of a slave, then fill.
use std::{future::Future, sync::Arc};

use protocol::{AccountId, CustomerId, Problem, Reply};
use storage::{
    StorageError,
    cache::{Cached, View},
    rows::Entity,
    store::Seen,
};

use crate::node::{Answer, Node, unavailable};

const fn kind(kind: u8) -> View {
    View { kind, parameter: 0 }
}

pub(crate) const SESSION: View = kind(1);
pub(crate) const CUSTOMER: View = kind(2);
pub(crate) const HOLDERS: View = kind(3);
pub(crate) const PAYMENT: View = kind(4);

pub(crate) const REQUEST: View = kind(40);
pub(crate) const DIVISION: View = kind(41);
pub(crate) const OUTAGES: View = kind(42);

/// The first page of requests, of a length.
pub(crate) fn requests(limit: u32) -> View {
    View { kind: 43, parameter: u64::from(limit) }
}

/// The first page of payments, of a length.
pub(crate) fn payments(limit: u32) -> View {
    View { kind: 5, parameter: u64::from(limit) }
}

/// The first page of notices, of a length.
pub(crate) fn notices(limit: u32) -> View {
    View { kind: 44, parameter: u64::from(limit) }
}

/// An account's summary on a day (as yyyymmdd): what is overdue depends on it.
pub(crate) fn summary(day: u64) -> View {
    View { kind: 6, parameter: day }
}

/// A page of bills: before a month (yyyymm, 0: none), of a length, on a day.
pub(crate) fn bills(before: u64, limit: u8, day: u64) -> View {
    View { kind: 7, parameter: (day << 32) | (before << 8) | u64::from(limit) }
}

/// A bill of a month (yyyymm) on a day.
pub(crate) fn bill(month: u64, day: u64) -> View {
    View { kind: 8, parameter: (day << 32) | month }
}

/// The use of a month (yyyymm).
pub(crate) fn usage(month: u64) -> View {
    View { kind: 9, parameter: month }
}

/// An account's row.
pub(crate) const ACCOUNT: View = kind(10);

/// The payments of an account that became credit.
pub(crate) const CREDITS: View = kind(15);

/// An account's mandate.
pub(crate) const MANDATE: View = kind(14);

/// The files that are made for an account.
pub(crate) const EXPORTS: View = kind(16);

/// Standing and pace on a day.
pub(crate) fn tier(day: u64) -> View {
    View { kind: 11, parameter: day }
}

/// The use of a year.
pub(crate) fn year(year: i16) -> View {
    View { kind: 12, parameter: u64::from(year.unsigned_abs()) }
}

/// The twelve months up to one (yyyymm) under every tariff.
pub(crate) fn comparison(to: u64) -> View {
    View { kind: 13, parameter: to }
}

impl Node {
    /// A view from the cache, or loaded and stored there.
    pub(crate) async fn view<T: Cached>(
        &self,
        entity: Entity,
        view: View,
        load: impl Future<Output = Result<Seen<T>, StorageError>>,
    ) -> Result<Seen<Arc<T>>, Problem> {
        self.parts.cache.load(entity, view, async { load.await.map_err(unavailable) }).await
    }

    /// A whole reply from the cache, or made of what a slave shows and stored there; that there is no such thing (`what`)
    /// is stored too.
    pub(crate) async fn reply(
        &self,
        entity: Entity,
        view: View,
        what: &str,
        make: impl Future<Output = Result<Seen<Option<Reply>>, Problem>>,
    ) -> Result<Answer, Problem> {
        let seen = self.parts.cache.load(entity, view, make).await?;
        let reply = Arc::unwrap_or_clone(seen.value).ok_or_else(|| Problem::not_found(what))?;
        Ok(Answer::done(reply, seen.position))
    }

    /// Who has bound an account; `None` where there is no such account.
    pub(crate) async fn holders(&self, account: AccountId) -> Result<Seen<HoldersView>, Problem> {
        let load = self.parts.store.holders(account);
        let seen = self.view(Entity::Account(account), HOLDERS, load).await?;
        Ok(Seen { value: HoldersView(seen.value), position: seen.position })
    }
}

/// An account's holders, shared with the cache.
pub(crate) struct HoldersView(Arc<Option<Vec<CustomerId>>>);

impl HoldersView {
    pub(crate) fn contains(&self, customer: &CustomerId) -> bool {
        self.0.as_ref().as_ref().is_some_and(|holders| holders.contains(customer))
    }
}
