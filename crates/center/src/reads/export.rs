//! Files that are made for customers.
use protocol::{
    AccountId, CustomerId, ExportId, Problem, Reply,
    catalogue::replies::{self, ExportState},
};
use storage::rows::{Entity, Export};

use crate::{
    node::{Answer, Node, unavailable},
    rules::export_shown,
    views,
};

/// The most files of a list.
const MOST: usize = 50;
/// For how long a ticket is good, in ms: long enough to begin to fetch, and to go on after a break.
const TICKET_MS: u64 = 10 * 60 * 1000;

impl Node {
    /// How a file stands; with a ticket while it can be had, for who has bound its account now.
    pub(super) async fn export_get(&self, customer: CustomerId, id: ExportId) -> Result<Answer, Problem> {
        let not_found = || Problem::not_found("file");
        let seen = self.parts.store.export(id).await.map_err(unavailable)?;
        let row = seen.value.ok_or_else(not_found)?;
        if !self.holders(row.account).await?.value.contains(&customer) {
            return Err(not_found());
        }
        let now_ms = self.parts.clock.unix_ms();
        let export = export_shown(&row, now_ms);
        let ticket = row.root.filter(|_| export.state == ExportState::Ready).map(|root| {
            let until_ms = row.due_ms.min(now_ms + TICKET_MS);
            self.parts.rules.receipts.ticket((id.file(), row.size, root), until_ms)
        });
        Ok(Answer::done(Reply::ExportGet(replies::ExportGet { export, ticket }), seen.position))
    }

    pub(super) async fn export_list(&self, account: AccountId) -> Result<Answer, Problem> {
        let load = self.parts.store.exports(account);
        let seen = self.view(Entity::Account(account), views::EXPORTS, load).await?;
        let now_ms = self.parts.clock.unix_ms();
        let shown = |export: &Export| export_shown(export, now_ms);
        let exports = seen.value.iter().take(MOST).map(shown).collect();
        Ok(Answer::done(Reply::ExportList(replies::ExportList { exports }), seen.position))
    }
}
