//! Power that is cut off for arrears and comes back when they are paid.
use storage::rows::SupplyState;

use super::*;
use crate::operation::{SupplyCut, SupplyRestore};

impl World {
    async fn cut(&mut self, account: AccountId) -> Result<Reply, Code> {
        self.own(Own::SupplyCut(SupplyCut { account }), account.bucket()).await
    }

    async fn restore(&mut self, account: AccountId, due_ms: u64) {
        self.own(Own::SupplyRestore(SupplyRestore { account, due_ms }), account.bucket()).await.unwrap();
    }

    async fn supply(&self, account: AccountId) -> (SupplyState, Option<u64>) {
        let row = self.store.account(account, Vec::new()).await.unwrap().value.unwrap().supply;
        row.map_or((SupplyState::Connected, None), |row| (row.state, row.reconnect_at_ms))
    }

    async fn pay(&mut self, account: AccountId, transaction: &str, fen: i64) {
        let payment = self.order(account, fen).await;
        assert_eq!(self.settle(payment, transaction, fen).await, Ok(false));
    }

    async fn due(&self) -> Vec<(AccountId, u64)> {
        self.store.supplies_due(protocol::ShardId(0), self.now_ms, 10).await.unwrap()
    }
}

#[tokio::test]
async fn power_is_cut_only_after_thirty_days_and_only_once() {
    let mut world = World::new();
    let account = world.bound_account().await;
    assert_eq!(world.cut(AccountId::mint(11, 78).unwrap()).await, Err(Code::NotFound));
    world.now_ms = days_after_due("2027-01", 30);
    assert_eq!(world.cut(account).await, Err(Code::Conflict));
    assert_eq!(world.supply(account).await.0, SupplyState::Connected);
    world.now_ms = days_after_due("2027-01", 31);
    assert!(world.cut(account).await.is_ok());
    assert_eq!(world.supply(account).await, (SupplyState::Cut, None));
    assert!(world.cut(account).await.is_ok(), "again: it is");
}

#[tokio::test]
async fn the_payment_that_closes_what_is_overdue_brings_it_back() {
    let mut world = World::new();
    let account = world.bound_account().await;
    // January's bill is 31 days late, February's three.
    world.now_ms = days_after_due("2027-01", 31);
    world.cut(account).await.unwrap();
    // 48.83 and 31 days of 0.04883.
    world.pay(account, "t1", 4883 + 151).await;
    assert_eq!(world.supply(account).await.0, SupplyState::Cut, "February is late too");
    world.pay(account, "t2", 4883).await;
    assert_eq!(world.supply(account).await.0, SupplyState::Cut, "its late fee is not paid");
    let (owed, _) = world.balance(account).await;
    world.pay(account, "t3", owed).await;
    let at = world.now_ms + 300 * SECOND;
    assert_eq!(world.supply(account).await, (SupplyState::Reconnecting, Some(at)));

    assert_eq!(world.due().await, vec![], "not yet");
    world.now_ms = at;
    assert_eq!(world.due().await, vec![(account, at)]);
    world.restore(account, at - 1).await;
    assert_eq!(world.supply(account).await.0, SupplyState::Reconnecting, "of another time");
    world.restore(account, at).await;
    assert_eq!(world.supply(account).await, (SupplyState::Connected, None));
    assert_eq!(world.due().await, vec![], "done, and not due any more");
}

#[tokio::test]
async fn who_is_connected_stays_so_and_what_is_not_due_holds_nothing_back() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.now_ms = days_after_due("2027-01", 1);
    world.pay(account, "t1", 100).await;
    assert_eq!(world.supply(account).await.0, SupplyState::Connected);
    world.rules = Arc::new(Rules {
        forms: Arc::clone(&world.rules.forms),
        codes: CodeKey::load_or_create(world._folder.path()).unwrap(),
        receipts: ReceiptKey::load_or_create(world._folder.path()).unwrap(),
        tariffs: Arc::clone(&world.rules.tariffs),
        providers: world.rules.providers.clone(),
        public_url: world.rules.public_url.clone(),
        late_fee: LateFeeRate::NONE,
        debit: DebitTerms::default(),
        supply: SupplyTerms { cut_after_overdue_days: 0, reconnect_after_s: 0 },
        exports: world.rules.exports,
    });
    world.cut(account).await.unwrap();
    world.pay(account, "t2", 4783).await;
    assert_eq!(
        world.supply(account).await.0,
        SupplyState::Cut,
        "the late fee charged with the first part is owed"
    );
    world.pay(account, "t3", 5).await;
    assert_eq!(world.supply(account).await.0, SupplyState::Reconnecting, "February is not due yet");
    world.restore(account, world.now_ms).await;
    assert_eq!(world.supply(account).await.0, SupplyState::Connected);
}
