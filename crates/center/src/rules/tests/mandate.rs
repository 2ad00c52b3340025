//! Automatic debit and refunds: what customers, providers and time may do to them, in every order.
use protocol::{
    MandateId, PushId, RefundId,
    catalogue::replies::{DebitFailure, MandateState, RefundState},
    payment::{Instruction, ProviderFailure, verify_instruction},
    push::PushBody,
};
use storage::rows::{Mandate, Payment, Refund};

use super::*;
use crate::operation::{
    CustomerAccountRemove, DebitFail, MandateDue, MandateLeave, MandateSign, RefundDue, RefundEnd,
};

const HOUR: u64 = 3600 * SECOND;

impl World {
    async fn ask_mandate(&mut self, account: AccountId, limit_fen: i64) -> Result<MandateId, Code> {
        let (provider, limit_fen) = ("sim-pay".parse().unwrap(), limit_fen.try_into().unwrap());
        match self.ask(requests::MandateCreate { account, provider, limit_fen }).await? {
            Reply::MandateCreate(r) => {
                assert!(r.sign_url.starts_with(&format!("http://sim/mandate?mandate={}&", r.mandate)));
                Ok(r.mandate)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn sign(&mut self, account: AccountId, mandate: MandateId) {
        let sign = MandateSign {
            account,
            mandate,
            provider: "sim-pay".into(),
            agreement: "agr-1".into(),
            limit_fen: Fen(50_000),
        };
        self.own(Own::MandateSign(sign), account.bucket()).await.unwrap();
    }

    async fn signed_mandate(&mut self, account: AccountId) -> MandateId {
        let mandate = self.ask_mandate(account, 50_000).await.unwrap();
        self.sign(account, mandate).await;
        mandate
    }

    async fn mandate(&self, account: AccountId) -> Mandate {
        self.store.mandate(account).await.unwrap().value.unwrap()
    }

    async fn payment(&self, id: PaymentId) -> Payment {
        self.store.payment(id).await.unwrap().value.unwrap()
    }

    /// Does what is due about the mandate, as the schedule would; `false` where nothing is.
    async fn run_due(&mut self, account: AccountId) -> bool {
        let due = self.store.mandates_due(protocol::ShardId(0), self.now_ms, 10).await.unwrap();
        let Some((_, due_ms)) = due.iter().find(|(whose, _)| *whose == account) else { return false };
        let due = MandateDue { account, due_ms: *due_ms };
        self.own(Own::MandateDue(due), account.bucket()).await.unwrap();
        true
    }

    async fn debit_failed(&mut self, payment: PaymentId, reason: ProviderFailure) -> Result<Reply, Code> {
        let fail = DebitFail { payment, provider: "sim-pay".into(), reason };
        self.own(Own::DebitFail(fail), payment.bucket()).await
    }

    /// What the provider has been told, in order, each with its signature checked.
    async fn instructed(&self) -> Vec<Instruction> {
        let secret = *self.rules.providers[0].secret.bytes();
        let read = |id: PushId, body: PushBody| match body {
            PushBody::Instruction { timestamp_s, signature, body, .. } => {
                Some(verify_instruction(&secret, &id.to_string(), timestamp_s, &signature, &body).unwrap())
            }
            _ => None,
        };
        let pushes = self.store.waiting_pushes(protocol::ShardId(0), 100).await.unwrap();
        pushes.into_iter().filter_map(|push| read(push.id, push.body)).collect()
    }

    async fn refund(&mut self, payment: PaymentId, fen: i64) -> Result<RefundId, Code> {
        let amount_fen = fen.try_into().unwrap();
        match self.ask(requests::RefundCreate { payment, amount_fen }).await? {
            Reply::RefundCreate(r) => Ok(r.refund),
            other => panic!("{other:?}"),
        }
    }

    async fn refund_ended(
        &mut self,
        payment: PaymentId,
        refund: RefundId,
        outcome: Result<Fen, ProviderFailure>,
    ) -> Result<Reply, Code> {
        let end = RefundEnd { payment, refund, provider: "sim-pay".into(), outcome };
        self.own(Own::RefundEnd(end), payment.bucket()).await
    }

    async fn refunds(&self, payment: PaymentId) -> Vec<Refund> {
        self.payment(payment).await.refunds
    }
}

/// Nine in the morning in China, three days before January's bill is due.
fn first_run() -> u64 {
    days_after_due("2027-01", 0) - 3 * 24 * HOUR - 3 * HOUR
}

/// The same for February's.
fn second_run() -> u64 {
    days_after_due("2027-02", 0) - 3 * 24 * HOUR - 3 * HOUR
}

#[tokio::test]
async fn a_signed_mandate_debits_a_bill_once_before_it_is_due_and_then_waits_for_the_next() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let mandate = world.signed_mandate(account).await;
    assert_eq!(world.mandate(account).await.due_ms, Some(first_run()));
    world.now_ms = first_run() - 1;
    assert!(!world.run_due(account).await);
    world.now_ms = first_run();
    assert!(world.run_due(account).await);
    let payment = world.mandate(account).await.running.unwrap();
    let row = world.payment(payment).await;
    assert_eq!((row.amount_fen, row.mandate), (Fen(4883), Some(mandate)), "February's is not due yet");
    let told = world.instructed().await;
    assert!(
        matches!(&told[..], [Instruction::Debit { order, agreement, .. }]
            if *order == payment && **agreement == *"agr-1"),
        "{told:?}"
    );
    assert!(!world.run_due(account).await, "one at a time");
    assert_eq!(world.settle(payment, "t1", 4883).await, Ok(false));
    assert_eq!(world.balance(account).await, (4883, 0));
    let after = world.mandate(account).await;
    let february = second_run();
    assert_eq!((after.running, after.due_ms, after.tries), (None, Some(february), 0));
    assert_eq!(world.settle(payment, "t1", 4883).await, Ok(true), "said twice");
    world.now_ms = february;
    assert!(world.run_due(account).await);
    let next = world.mandate(account).await.running.unwrap();
    assert_ne!(next, payment);
    assert_eq!(world.settle(next, "t2", 4883).await, Ok(false));
    assert_eq!((world.balance(account).await, world.mandate(account).await.due_ms), ((0, 0), None));
}

#[tokio::test]
async fn a_debit_that_fails_is_tried_again_twice_and_then_left_to_the_customer() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.signed_mandate(account).await;
    world.now_ms = first_run();
    for (tries, pause_h) in [(1, Some(24)), (2, Some(48)), (3, None)] {
        assert!(world.run_due(account).await, "try {tries}");
        let payment = world.mandate(account).await.running.unwrap();
        assert!(world.debit_failed(payment, ProviderFailure::InsufficientFunds).await.is_ok());
        assert!(world.debit_failed(payment, ProviderFailure::InsufficientFunds).await.is_ok(), "said twice");
        let row = world.mandate(account).await;
        // After the last try the next bill is waited for.
        let again_ms = pause_h.map_or(second_run(), |hours| world.now_ms + hours * HOUR);
        assert_eq!((row.tries, row.due_ms, row.running), (tries, Some(again_ms), None));
        let failure = row.last_failure.unwrap();
        assert_eq!((failure.why, failure.amount_fen.0 >= 4883), (DebitFailure::InsufficientFunds, true));
        assert_eq!(world.payment(payment).await.failure, Some(ProviderFailure::InsufficientFunds));
        world.now_ms = if tries < 3 { again_ms } else { world.now_ms };
    }
    assert!(!world.run_due(account).await);
    // Paid by hand, and the mandate stays for the next bill.
    let view = world.store.account(account, Vec::new()).await.unwrap().value.unwrap();
    let owed = view.open_bills.iter().map(|bill| bill.open_fen().0).sum::<i64>();
    let by_hand = world.order(account, owed).await;
    assert_eq!(world.settle(by_hand, "t1", owed).await, Ok(false));
    assert_eq!(world.mandate(account).await.state, MandateState::Active);
}

#[tokio::test]
async fn what_would_not_change_is_not_tried_again() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let small = world.ask_mandate(account, 4000).await.unwrap();
    world.sign(account, small).await;
    assert_eq!(world.mandate(account).await.limit_fen, Fen(4000), "the lower of both limits");
    world.now_ms = first_run();
    assert!(world.run_due(account).await);
    let row = world.mandate(account).await;
    assert_eq!(
        (row.last_failure.unwrap().why, row.due_ms, row.running),
        (DebitFailure::OverLimit, Some(second_run()), None)
    );
    assert!(world.instructed().await.is_empty(), "nothing was ordered");

    let mut world = World::new();
    let account = world.bound_account().await;
    world.signed_mandate(account).await;
    world.now_ms = first_run();
    world.run_due(account).await;
    let payment = world.mandate(account).await.running.unwrap();
    world.debit_failed(payment, ProviderFailure::AgreementEnded).await.unwrap();
    let row = world.mandate(account).await;
    assert_eq!((row.state, row.due_ms), (MandateState::EndedThere, None));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_told_the_same_order_again_and_never_another() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.signed_mandate(account).await;
    world.now_ms = first_run();
    world.run_due(account).await;
    let lost = world.mandate(account).await.running.unwrap();
    for told in 2..=20 {
        world.now_ms = world.mandate(account).await.due_ms.unwrap();
        assert!(world.run_due(account).await);
        assert_eq!(world.mandate(account).await.running, Some(lost));
        let instructed = world.instructed().await;
        assert_eq!(instructed.len(), told);
        let same = |i: &Instruction| matches!(i, Instruction::Debit { order, .. } if *order == lost);
        assert!(instructed.iter().all(same), "{instructed:?}");
    }
    assert!(world.now_ms > first_run() + 10 * 24 * HOUR, "February's bill is due, and not debited beside it");
    world.now_ms = world.mandate(account).await.due_ms.unwrap();
    let due = MandateDue { account, due_ms: world.now_ms };
    let looked_at = world.own(Own::MandateDue(due), account.bucket()).await;
    assert_eq!(looked_at, Err(Code::OperationFailed), "a person asks the provider");
    let row = world.mandate(account).await;
    assert_eq!((row.running, row.last_failure.unwrap().why), (None, DebitFailure::NoAnswer));
    // It was debited all the same, and says so only now.
    assert_eq!(world.settle(lost, "t1", 4883).await, Ok(false));
    assert_eq!(world.balance(account).await.1, 0);
}

#[tokio::test]
async fn a_debit_that_runs_stands_in_the_way_of_a_new_mandate_until_it_cannot_be_made() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.signed_mandate(account).await;
    world.now_ms = first_run();
    world.run_due(account).await;
    world.ask(requests::MandateEnd { account }).await.unwrap();
    assert_eq!(world.ask_mandate(account, 50_000).await, Err(Code::Conflict));
    let running = world.mandate(account).await.running.unwrap();
    world.now_ms =
        world.mandate(account).await.due_ms.expect("the provider is asked again about a debit that runs");
    assert!(world.run_due(account).await);
    assert_eq!((world.mandate(account).await.running, world.mandate(account).await.told), (Some(running), 2));
    assert_eq!(world.settle(running, "t1", 4883).await, Ok(false), "it may still be made");
    assert_eq!(world.mandate(account).await.due_ms, None, "nothing is left to ask");
    assert!(world.ask_mandate(account, 50_000).await.is_ok());
}

#[tokio::test]
async fn a_bill_that_is_too_much_does_not_keep_the_next_from_being_debited() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let mandate = world.ask_mandate(account, 4883).await.unwrap();
    world.sign(account, mandate).await;
    // January's bill is late: its fee makes it more than the limit.
    world.now_ms = days_after_due("2027-01", 10);
    assert!(world.run_due(account).await);
    let row = world.mandate(account).await;
    let february = second_run();
    assert_eq!((row.last_failure.unwrap().why, row.due_ms), (DebitFailure::OverLimit, Some(february)));
    let by_hand = world.order(account, 4883 + 49).await;
    world.settle(by_hand, "t1", 4883 + 49).await.unwrap();
    world.now_ms = february;
    assert!(world.run_due(account).await);
    let payment = world.mandate(account).await.running.unwrap();
    assert_eq!(world.payment(payment).await.amount_fen, Fen(4883));
}

#[tokio::test]
async fn credit_goes_back_only_to_who_brought_it() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let first = world.order(account, 2 * 4883 + 1000).await;
    world.settle(first, "t1", 2 * 4883 + 1000).await.unwrap();
    assert_eq!(world.balance(account).await, (0, 1000));
    // A bill uses it; then another pays too much.
    let mut march = DayReadings::new("2027-03-01".parse().unwrap(), 3600).unwrap();
    march.add(0, domain::money::Wh::from_kwh(100), Quality::Valid).unwrap();
    let import = Import {
        account,
        holder: String::new(),
        phone: None,
        address: String::new(),
        division: String::new(),
        tariff: "bj-residential".parse().unwrap(),
        terms: BillTerms::default(),
        days: vec![march],
    };
    world.own(Own::Import(import), account.bucket()).await.unwrap();
    assert_eq!(world.balance(account).await, (3883, 0));
    let payer = world.customer;
    world.customer = Some(world.log_in("19900000002").await.0);
    world.now_ms += SECOND;
    let second = world.order(account, 3883 + 700).await;
    world.settle(second, "t2", 3883 + 700).await.unwrap();
    let other = world.customer;
    world.customer = payer;
    assert_eq!(world.refund(first, 1).await, Err(Code::Conflict), "it has been used");
    world.customer = other;
    assert!(world.refund(second, 700).await.is_ok());
    assert_eq!(world.balance(account).await, (0, 0));
}

#[tokio::test]
async fn only_a_holder_sets_it_up_and_only_its_payer_ends_it() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let payer = world.customer;
    world.customer = Some(world.log_in("19900000002").await.0);
    assert_eq!(world.ask_mandate(account, 50_000).await, Err(Code::NotFound), "has not bound it");
    let stranger = world.customer;
    world.customer = payer;
    assert_eq!(world.ask(requests::MandateEnd { account }).await, Err(Code::NotFound));
    let mandate = world.signed_mandate(account).await;
    assert_eq!(world.ask_mandate(account, 50_000).await, Err(Code::Conflict), "one at a time");
    world.customer = stranger;
    assert_eq!(world.ask(requests::MandateEnd { account }).await, Err(Code::NotFound));
    let other = MandateLeave { account, mandate: MandateId::from_bits(7), provider: "sim-pay".into() };
    world.own(Own::MandateLeave(other), account.bucket()).await.unwrap();
    let elsewhere = MandateLeave { account, mandate, provider: "other-pay".into() };
    world.own(Own::MandateLeave(elsewhere), account.bucket()).await.unwrap();
    assert_eq!(world.mandate(account).await.state, MandateState::Active);
    world.customer = payer;
    assert!(world.ask(requests::MandateEnd { account }).await.is_ok());
    let row = world.mandate(account).await;
    assert_eq!((row.state, row.due_ms), (MandateState::EndedHere, None));
    let told = world.instructed().await;
    assert!(matches!(&told[..], [Instruction::MandateEnd { mandate: ended, .. }] if *ended == mandate));
}

#[tokio::test]
async fn a_mandate_ends_with_the_binding_and_a_signature_after_that_is_given_back() {
    for signed_before in [true, false] {
        let mut world = World::new();
        let account = world.bound_account().await;
        let customer = world.customer.unwrap();
        let mandate = world.ask_mandate(account, 50_000).await.unwrap();
        if signed_before {
            world.sign(account, mandate).await;
        }
        let gone = CustomerAccountRemove { customer, account };
        world.own(Own::HolderRemove(gone), account.bucket()).await.unwrap();
        assert_eq!(world.mandate(account).await.state, MandateState::EndedUnbound);
        if !signed_before {
            assert!(world.instructed().await.is_empty(), "there is nothing to give back yet");
            world.sign(account, mandate).await;
            assert_eq!(world.mandate(account).await.state, MandateState::EndedUnbound);
        }
        let told = world.instructed().await;
        assert!(matches!(&told[..], [Instruction::MandateEnd { .. }]), "{told:?}");
        world.now_ms = first_run();
        assert!(!world.run_due(account).await);
    }
}

#[tokio::test]
async fn one_that_is_not_signed_in_time_is_closed_and_a_late_signature_counts() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let mandate = world.ask_mandate(account, 50_000).await.unwrap();
    world.now_ms += 30 * 60 * SECOND;
    assert!(world.run_due(account).await);
    assert_eq!(world.mandate(account).await.state, MandateState::NotSigned);
    world.sign(account, mandate).await;
    assert_eq!(world.mandate(account).await.state, MandateState::Active);
    world.sign(account, mandate).await;
    assert!(world.instructed().await.is_empty(), "said twice, it is the same");
}

#[tokio::test]
async fn a_second_debit_goes_back_and_never_more_than_it() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let payment = world.order(account, 4883).await;
    world.settle(payment, "t1", 4883).await.unwrap();
    assert_eq!(world.refund(payment, 1).await, Err(Code::Conflict), "a bill that was paid does not go back");
    world.settle(payment, "t2", 4883).await.unwrap();
    assert_eq!(world.balance(account).await, (4883, 4883));
    let payer = world.customer;
    world.customer = Some(world.log_in("19900000002").await.0);
    assert_eq!(world.refund(payment, 1).await, Err(Code::NotFound), "another's money");
    world.customer = payer;
    assert_eq!(world.refund(payment, 4884).await, Err(Code::Conflict));
    let first = world.refund(payment, 1000).await.unwrap();
    assert_eq!(world.balance(account).await, (4883, 3883));
    assert_eq!(world.refund(payment, 3884).await, Err(Code::Conflict), "what is under way is gone");
    let told = world.instructed().await;
    assert!(matches!(&told[..], [Instruction::Refund { refund, .. }] if *refund == first), "{told:?}");
    assert_eq!(world.refund_ended(payment, first, Ok(Fen(999))).await, Err(Code::AmountMismatch));
    assert!(world.refund_ended(payment, first, Ok(Fen(1000))).await.is_ok());
    assert!(world.refund_ended(payment, first, Ok(Fen(1000))).await.is_ok(), "said twice");
    let contrary = world.refund_ended(payment, first, Err(ProviderFailure::Other)).await;
    assert_eq!(contrary, Err(Code::Conflict), "a person looks at it");
    assert_eq!(world.refunds(payment).await[0].state, RefundState::Done);
    assert_eq!(world.balance(account).await, (4883, 3883));
    assert_eq!(world.booked("clearing:sim-pay").await, 2 * 4883 - 1000);
}

#[tokio::test]
async fn a_refund_that_cannot_be_made_is_credit_again_and_one_unanswered_is_told_again() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let payment = world.order(account, 12_000).await;
    world.settle(payment, "t1", 12_000).await.unwrap();
    let credit = 12_000 - 2 * 4883;
    let refund = world.refund(payment, credit).await.unwrap();
    assert_eq!(world.balance(account).await, (0, 0));
    for told in 2..=4 {
        world.now_ms += 24 * HOUR;
        let due = world.store.refunds_due(protocol::ShardId(0), world.now_ms, 10).await.unwrap();
        let [(found, due_ms)] = due.try_into().unwrap();
        assert_eq!(found, payment);
        let due = Own::RefundDue(RefundDue { payment, due_ms });
        world.own(due.clone(), payment.bucket()).await.unwrap();
        world.own(due, payment.bucket()).await.unwrap();
        assert_eq!(world.instructed().await.len(), told, "once for each time it was due");
        assert_eq!(world.refunds(payment).await[0].told as usize, told);
    }
    assert!(world.refund_ended(payment, refund, Err(ProviderFailure::PayerAccountClosed)).await.is_ok());
    assert_eq!(world.balance(account).await, (0, credit));
    let [row] = world.refunds(payment).await.try_into().unwrap();
    assert_eq!((row.state, row.again_ms), (RefundState::Failed, None));
    assert!(world.refund(payment, credit).await.is_ok(), "it can be asked for anew");
}
