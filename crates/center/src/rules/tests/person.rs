//! What a customer does about themselves: unbinding, asking whose account a number is.
use protocol::ShardId;

use super::*;
use crate::operation::PayeeAsk;

impl World {
    /// Applies what operations have caused elsewhere, until nothing is left.
    pub(super) async fn carry(&mut self) {
        loop {
            let rows = self.store.outbox(ShardId(0), 1_000).await.unwrap();
            if rows.is_empty() {
                return;
            }
            let ids = rows.iter().map(|row| row.id).collect();
            let messages: Vec<_> = (self.applied + 1..)
                .zip(rows)
                .map(|(sequence, row)| LaneMessage { sequence, message: row.message })
                .collect();
            let lane = self.store.map().lanes().next().unwrap();
            let epoch = self.store.epoch(lane).unwrap();
            let batch = Batch { lane, epoch, generation: 1, after: self.applied, messages };
            let applied = self.store.apply(batch, Arc::clone(&self.rules) as _).await.unwrap();
            assert_eq!(applied.failed, 0);
            self.applied = applied.sequence;
            self.store.outbox_sent(ShardId(0), ids).await.unwrap();
        }
    }

    async fn list(&self) -> Vec<AccountId> {
        let customer = self.store.customer(self.customer.unwrap()).await.unwrap().value;
        customer.accounts.iter().map(|(account, _)| *account).collect()
    }

    async fn holders(&self, account: AccountId) -> Vec<CustomerId> {
        self.store.holders(account).await.unwrap().value.unwrap()
    }
}

fn by_bill(amount_fen: i64) -> BindProof {
    BindProof::LatestBill { month: "2027-02".parse().unwrap(), amount_fen }
}

#[tokio::test]
async fn an_account_is_unbound_with_proof_and_goes_off_the_list() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.carry().await;
    assert_eq!(world.list().await, [account]);
    let unbind = |proof| requests::AccountUnbind { account, proof };
    assert_eq!(world.ask(unbind(by_bill(1))).await, Err(Code::ProofWrong));
    assert_eq!(world.list().await, [account], "nothing was done");
    assert!(world.ask(unbind(by_bill(4883))).await.is_ok(), "the last holder may go");
    assert_eq!(world.holders(account).await, []);
    world.carry().await;
    assert_eq!(world.list().await, []);
    assert_eq!(world.balance(account).await, (9766, 0), "what is owed stays");
    assert_eq!(world.ask(unbind(by_bill(4883))).await, Err(Code::NotFound), "not theirs any more");

    let again = requests::AccountBind { account, proof: by_bill(4883) };
    assert!(world.ask(again).await.is_ok());
    world.carry().await;
    assert_eq!(world.list().await, [account], "added anew");
}

#[tokio::test]
async fn only_a_code_for_unbinding_unbinds_and_tries_are_counted_together() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let (own, bound) = (world.customer, world.customer.unwrap());
    world.customer = Some(world.log_in("19900000002").await.0);
    let unbind = requests::AccountUnbind { account, proof: by_bill(4883) };
    assert_eq!(world.ask(unbind.clone()).await, Err(Code::NotFound), "with the right proof, but not bound");
    world.customer = own;

    let to_bind = world.ask(requests::AccountBindStart { account }).await.unwrap();
    let Reply::AccountBindStart(to_bind) = to_bind else { panic!("{to_bind:?}") };
    let started = world.ask(requests::AccountUnbindStart { account }).await.unwrap();
    let Reply::AccountUnbindStart(started) = started else { panic!("{started:?}") };
    let code = |of: &World, challenge| BindProof::Code { challenge, code: of.rules.codes.code(challenge) };
    let wrong = code(&world, to_bind.challenge);
    assert_eq!(world.ask(requests::AccountUnbind { account, proof: wrong }).await, Err(Code::ProofWrong));
    // One to bind, one code for each, one wrong proof: four are left of eight.
    for _ in 0..4 {
        let wrong = requests::AccountUnbind { account, proof: by_bill(1) };
        assert_eq!(world.ask(wrong).await, Err(Code::ProofWrong));
    }
    let right = requests::AccountUnbind { account, proof: code(&world, started.challenge) };
    assert_eq!(world.ask(right).await, Err(Code::TooManyAttempts));
    assert_eq!(world.holders(account).await, [bound]);
    world.now_ms += 24 * 3600 * SECOND;
    let started = world.ask(requests::AccountUnbindStart { account }).await.unwrap();
    let Reply::AccountUnbindStart(started) = started else { panic!("{started:?}") };
    let right = requests::AccountUnbind { account, proof: code(&world, started.challenge) };
    assert!(world.ask(right).await.is_ok());
    assert_eq!(world.holders(account).await, []);
}

#[tokio::test]
async fn one_holder_leaves_and_the_other_stays() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let first = world.customer.unwrap();
    world.customer = Some(world.log_in("19900000002").await.0);
    let second = world.customer.unwrap();
    world.ask(requests::AccountBind { account, proof: by_bill(4883) }).await.unwrap();
    world.customer = Some(first);
    world.ask(requests::AccountUnbind { account, proof: by_bill(4883) }).await.unwrap();
    assert_eq!(world.holders(account).await, [second]);
}

#[tokio::test]
async fn numbers_of_others_can_be_asked_about_twenty_times_a_day() {
    let mut world = World::new();
    let customer = world.log_in("19900000001").await.0;
    let number = |n| AccountId::mint(11, n).unwrap();
    let ask = |n| Own::PayeeAsk(PayeeAsk { customer, account: number(n) });
    for n in 0..20 {
        assert!(world.own(ask(n), customer.bucket()).await.is_ok(), "{n}");
        world.now_ms += SECOND;
    }
    assert_eq!(world.own(ask(20), customer.bucket()).await, Err(Code::TooManyAttempts));
    assert!(world.own(ask(7), customer.bucket()).await.is_ok(), "one that was asked about counts once");
    assert_eq!(world.store.payees(customer).await.unwrap().value.len(), 20, "the refused one is not let pay");
    let other = world.log_in("19900000002").await.0;
    let others = Own::PayeeAsk(PayeeAsk { customer: other, account: number(20) });
    assert!(world.own(others, other.bucket()).await.is_ok(), "another customer");
    world.now_ms += 24 * 3600 * SECOND;
    assert!(world.own(ask(20), customer.bucket()).await.is_ok(), "the next day");
}
