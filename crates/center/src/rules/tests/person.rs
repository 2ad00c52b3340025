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
            let epoch = self.store.claim(lane, None).await.unwrap().0;
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

    async fn open_sessions(&self, customer: CustomerId) -> Vec<protocol::SessionId> {
        let sessions = self.store.sessions_of(customer).await.unwrap().value;
        sessions.iter().map(|session| session.id).collect()
    }

    async fn held(&self) -> storage::rows::Person {
        self.store.person(self.customer.unwrap()).await.unwrap().value.unwrap()
    }

    /// Asks what belongs to the customer who asks.
    async fn ask_own(&mut self, request: impl Into<Request>) -> Result<Reply, Code> {
        let bucket = self.customer.unwrap().bucket();
        self.apply(Operation::Asked(request.into()), bucket).await
    }

    async fn delete_code(&mut self) -> ChallengeId {
        match self.ask_own(requests::PersonDeleteStart {}).await.unwrap() {
            Reply::PersonDeleteStart(r) => r.challenge,
            other => panic!("{other:?}"),
        }
    }

    async fn delete(&mut self, challenge: ChallengeId) -> Result<Reply, Code> {
        let code = self.rules.codes.code(challenge);
        self.ask(requests::PersonDelete { challenge, code }).await
    }

    async fn change_phone(&mut self, phone: &str) -> Result<Reply, Code> {
        let started = self.ask(requests::PhoneChangeStart { phone: phone.parse().unwrap() }).await?;
        let Reply::PhoneChangeStart(started) = started else { panic!("{started:?}") };
        let (challenge, code) = (started.challenge, self.rules.codes.code(started.challenge));
        let changed = self.ask(requests::PhoneChange { challenge, code }).await?;
        self.carry().await;
        Ok(changed)
    }

    async fn holders(&self, account: AccountId) -> Vec<CustomerId> {
        self.store.holders(account).await.unwrap().value.unwrap()
    }
}

fn text(text: &str) -> protocol::bounds::Text<60> {
    protocol::bounds::Text::new(text).unwrap()
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

#[tokio::test]
async fn what_one_says_about_oneself_is_kept_and_corrected() {
    let mut world = World::new();
    world.customer = Some(world.log_in("19900000001").await.0);
    let person = world.held().await;
    assert_eq!((person.phone, person.since_ms), (Some("19900000001".parse().unwrap()), START_MS));
    let name = text("样例");
    world.ask_own(requests::PersonCorrect { name, language: Some(Language::En) }).await.unwrap();
    let notices = requests::Notices { outage: false, ..Default::default() };
    let set = requests::PreferencesSet { language: Some(Language::Zh), elder: true, notices };
    world.ask_own(set).await.unwrap();
    let person = world.held().await;
    assert_eq!((person.name.as_str(), person.language, person.elder), ("样例", Some(Language::Zh), true));
    assert_eq!(person.notices, notices);
    world.now_ms += SECOND;
    world.log_in("19900000001").await;
    assert_eq!(world.held().await, person, "logging in anew changes nothing of it");
}

#[tokio::test]
async fn sessions_are_listed_ended_by_another_and_never_too_many() {
    let mut world = World::new();
    let (customer, own) = world.log_in("19900000001").await;
    (world.customer, world.session) = (Some(customer), Some(own));
    world.now_ms += SECOND;
    let (_, second) = world.log_in("19900000001").await;
    world.now_ms += SECOND;
    let (_, third) = world.log_in("19900000001").await;
    assert_eq!(world.open_sessions(customer).await, [third, second, own], "newest first");
    let other = world.log_in("19900000002").await;
    let end = |session| requests::SessionEndOther { session };
    let ended = |reply| match reply {
        Ok(Reply::SessionEndOther(r)) => r.ended,
        other => panic!("{other:?}"),
    };
    assert_eq!(world.ask_own(end(Some(own))).await, Err(Code::Conflict), "not the one that asks");
    assert_eq!(ended(world.ask_own(end(Some(other.1))).await), 0, "not another's");
    assert_eq!(world.open_sessions(other.0).await, [other.1]);
    assert_eq!(ended(world.ask_own(end(Some(second))).await), 1);
    assert_eq!(ended(world.ask_own(end(Some(second))).await), 0, "it was ended before");
    assert_eq!(ended(world.ask_own(end(None)).await), 1);
    assert_eq!(world.open_sessions(customer).await, [own]);
    let go_on = Own::SessionContinue(SessionContinue { session: third, generation: 1 });
    assert_eq!(world.own(go_on, third.bucket()).await, Err(Code::Unauthenticated));

    for _ in 0..40 {
        world.now_ms += 10 * 60 * SECOND;
        world.log_in("19900000001").await;
    }
    let open = world.open_sessions(customer).await;
    assert_eq!((open.len(), open.contains(&own)), (32, false), "the oldest end");
}

#[tokio::test]
async fn a_phone_is_changed_with_a_code_to_the_new_one_and_the_old_begins_anew() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.carry().await;
    let customer = world.customer.unwrap();
    let (_, own) = world.log_in("19900000001").await;
    world.session = Some(own);
    world.now_ms += SECOND;
    world.log_in("19900000001").await;

    let (stranger, _) = world.log_in("19900000003").await;
    assert_eq!(world.change_phone("19900000003").await, Err(Code::Conflict), "somebody else's");
    let login = world.challenge("19900000004").await.unwrap();
    let code = world.rules.codes.code(login);
    let other_code = requests::PhoneChange { challenge: login, code };
    assert_eq!(world.ask(other_code).await, Err(Code::CodeExpired), "a code to log in is no code to change");
    assert_eq!(world.held().await.phone, Some("19900000001".parse().unwrap()));

    assert!(world.change_phone("19900000002").await.is_ok());
    assert_eq!(world.held().await.phone, Some("19900000002".parse().unwrap()));
    assert_eq!(world.open_sessions(customer).await, [own], "other sessions have ended");
    assert_eq!(world.list().await, [account]);
    let (same, session) = world.log_in("19900000002").await;
    world.carry().await;
    assert_eq!(same, customer, "the same person by the new phone");
    assert_eq!(session.bucket(), customer.bucket(), "with sessions where they are");
    assert!(world.open_sessions(customer).await.contains(&session));
    let (fresh, _) = world.log_in("19900000001").await;
    assert!(fresh != customer && fresh != stranger, "the old phone begins anew");
    assert!(world.change_phone("19900000002").await.is_ok(), "to the one that it is: nothing");
    assert_eq!(world.log_in("19900000002").await.0, customer);
}

#[tokio::test]
async fn deleting_leaves_what_the_law_keeps_and_nothing_of_the_person() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let (customer, account_2) = (world.customer.unwrap(), AccountId::mint(11, 99).unwrap());
    let payment = world.order(account, 5000).await;
    world.settle(payment, "t1", 5000).await.unwrap();
    world.own(Own::PayeeAsk(PayeeAsk { customer, account: account_2 }), customer.bucket()).await.unwrap();
    world.ask_own(requests::PersonCorrect { name: text("样例"), language: None }).await.unwrap();
    let complaint =
        world.create("suggestion", None, &[("suggestion", "我的电话是 19900000001")]).await.unwrap();
    let fault = world.fault(account).await.unwrap();
    world.carry().await;
    let notices = async |world: &World| world.store.notices(customer, None, 10).await.unwrap().value.notices;
    assert_eq!(notices(&world).await.len(), 1, "of the payment");

    let login = world.challenge("19900000001").await.unwrap();
    assert_eq!(world.delete(login).await, Err(Code::CodeExpired), "a code to log in deletes nothing");
    world.now_ms += 61 * SECOND;
    let challenge = world.delete_code().await;
    let again = world.ask_own(requests::PersonDeleteStart {}).await;
    assert_eq!(again, Err(Code::TooManyRequests), "one code a minute");
    let stranger = world.log_in("19900000002").await.0;
    world.customer = Some(stranger);
    assert_eq!(world.delete(challenge).await, Err(Code::CodeExpired), "another's code is none");
    assert!(world.store.person(stranger).await.unwrap().value.unwrap().gone_ms.is_none());
    world.customer = Some(customer);
    assert_eq!(world.list().await, [account], "nothing was done");

    assert!(world.delete(challenge).await.is_ok());
    // Dead in the middle, and carried on later: nothing more is needed than what was caused.
    assert_eq!((world.list().await, world.open_sessions(customer).await), (vec![], vec![]));
    world.carry().await;
    assert_eq!(world.holders(account).await, []);
    let view = world.store.person_view(customer).await.unwrap().value;
    let person = view.person.unwrap();
    let emptied =
        storage::rows::Person { gone_ms: person.gone_ms, ..storage::rows::Person::new(customer, 0) };
    assert!(person == emptied && person.gone_ms.is_some() && view.payees.is_empty(), "{person:?}");
    assert_eq!(world.balance(account).await, (4766, 0), "bills and ledger stay");
    assert!(world.store.payment(payment).await.unwrap().value.unwrap().settled.is_some());
    assert!(world.delete(challenge).await.is_ok(), "again: nothing more");
    assert_eq!(notices(&world).await, []);
    assert!(world.store.request(complaint).await.unwrap().value.is_none(), "about no account");
    assert!(world.store.request(fault).await.unwrap().value.is_some(), "the account's");

    world.customer = Some(customer);
    let late = requests::PersonCorrect { name: text("x"), language: None };
    assert_eq!(world.ask_own(late).await, Err(Code::NotFound), "nothing comes back");
    let (fresh, session) = world.log_in("19900000001").await;
    assert_ne!(fresh, customer);
    assert_eq!(world.open_sessions(fresh).await, [session]);
    world.customer = Some(fresh);
    assert_eq!(world.list().await, []);
}

#[tokio::test]
async fn what_was_under_way_while_one_was_deleted_is_undone() {
    let mut world = World::new();
    let account = world.account().await;
    let (customer, _) = world.log_in("19900000001").await;
    world.customer = Some(customer);
    // Bound in the account's lane; deleted before the list hears of it.
    world.ask(requests::AccountBind { account, proof: by_bill(4883) }).await.unwrap();
    let challenge = world.delete_code().await;
    world.delete(challenge).await.unwrap();
    // A log-in with the phone before it is let go is of somebody new.
    let (fresh, _) = world.log_in("19900000001").await;
    assert_ne!(fresh, customer);
    world.carry().await;
    assert_eq!(world.list().await, []);
    assert_eq!(world.holders(account).await, []);
    assert_eq!(world.log_in("19900000001").await.0, fresh, "the phone is not taken from who has it now");
    // A session opened from another lane for one who is gone is none.
    let session = protocol::SessionId::mint(customer.bucket(), 7 << 20);
    let phone = "19900000009".parse().unwrap();
    let open = Own::SessionOpen(crate::operation::SessionOpen { session, customer, phone });
    assert_eq!(world.own(open, customer.bucket()).await, Err(Code::NotFound));
}
