//! Applying: once, in order, whole, and by nobody who has been replaced.
use std::collections::HashSet;

use domain::money::Fen;
use gridesk_storage::{
    StorageError,
    message::{Ended, body_digest},
    rows::Entity,
    store::Batch,
};
use protocol::{Bucket, Code, LaneId, Reply, routing::ShardMap};

use super::{
    Backend, LANE, SHARD, append, apply, apply_all, ended, message, next_batch, one_lane, operation_id,
    rules,
    rules::{Op, account, account_row, bill, bill_row, customer, payment, phone, reply, session},
    run,
};

fn open(n: u64) -> Op {
    Op::Open { account: n, credit_fen: 100 }
}

fn credit(n: u64, fen: i64) -> Op {
    Op::Credit { account: n, fen }
}

async fn credit_fen(backend: &impl Backend, n: u64) -> i64 {
    backend.store().account(account(n), Vec::new()).await.unwrap().value.unwrap().account.credit_fen.0
}

pub(crate) async fn an_operation_is_applied_once_whatever_comes_again<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    run(&backend, 0, &[open(1), credit(1, 5)]).await;
    // The same again, twice in one batch, and another body under its id.
    let other = message(1, &credit(1, 1_000));
    let again = vec![message(1, &credit(1, 5)), message(1, &credit(1, 5)), other.clone()];
    backend.queue().append(LANE, again).await.unwrap();
    let applied = apply_all(&backend, LANE, 10).await;
    assert_eq!((applied.repeated, applied.failed, applied.sequence), (3, 0, 5));
    assert_eq!(credit_fen(&backend, 1).await, 105);
    let row = ended(&backend, 1).await;
    assert_eq!(row.digest, body_digest(rules::CODE, 1, &message(1, &credit(1, 5)).body));
    assert_ne!(row.digest, body_digest(rules::CODE, 1, &other.body), "its sender can tell");
    assert_eq!(row.position.sequence, 2, "its first place is its place");
    // New ids twice in the batch in which they are new.
    let twice = vec![message(9, &credit(1, 1)), message(9, &credit(1, 1)), message(10, &credit(1, 1))];
    backend.queue().append(LANE, twice).await.unwrap();
    assert_eq!(apply_all(&backend, LANE, 10).await.repeated, 1);
    assert_eq!(credit_fen(&backend, 1).await, 107);
    // And after a power cut.
    let backend = backend.reopen().await;
    append(&backend, 9, &[credit(1, 1)]).await;
    assert_eq!(apply_all(&backend, LANE, 10).await.repeated, 1);
    assert_eq!(credit_fen(&backend, 1).await, 107);
}

pub(crate) async fn operations_are_applied_in_order<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, &[open(1)]).await;
    let ops: Vec<_> = (0..60).map(|n| if n % 2 == 0 { credit(1, 50) } else { credit(1, -50) }).collect();
    append(&backend, 1, &ops).await;
    // Any other order of debits would break the rule that credit is not below zero, or answer other sums.
    apply_all(&backend, LANE, 7).await;
    for n in 1..=60 {
        let row = ended(&backend, n).await;
        let sum = if n % 2 == 1 { "150" } else { "100" };
        assert_eq!(row.ended, Ended::Applied(reply(sum)), "operation {n}");
        assert_eq!(row.position.sequence, n + 1);
    }
}

pub(crate) async fn a_batch_is_all_or_nothing<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, &[open(1), open(2), open(3)]).await;
    let before = backend.dump();
    let mut mixed = next_batch(&backend, LANE, 10).await;
    mixed.messages.swap(1, 2);
    assert!(matches!(apply(&backend, mixed).await, Err(StorageError::Corrupt { .. })));
    assert_eq!(backend.dump(), before, "a batch out of order leaves nothing, not even its beginning");
    assert_eq!(apply_all(&backend, LANE, 10).await.sequence, 3);
    // What was applied stays applied together with its position.
    let backend = backend.reopen().await;
    assert_eq!(backend.store().lane(LANE).await.unwrap().sequence, 3);
    assert_eq!(backend.store().account_count(SHARD).await.unwrap(), 3);
}

pub(crate) async fn a_replaced_applier_changes_nothing<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, &[open(1), open(2)]).await;
    let old_epoch = backend.store().claim(LANE, None).await.unwrap().0;
    let backend = backend.reopen().await;
    let good = next_batch(&backend, LANE, 1).await;
    let before = backend.dump();
    let wrong = [
        Batch { epoch: old_epoch, ..good.clone() },
        Batch { epoch: good.epoch + 1, ..good.clone() },
        Batch { generation: good.generation + 1, ..good.clone() },
        Batch { after: 1, messages: Vec::new(), ..good.clone() },
        Batch { lane: LANE, epoch: old_epoch, generation: 1, after: 0, messages: Vec::new() },
    ];
    for batch in wrong {
        let why = format!("{batch:?}");
        assert!(
            matches!(apply(&backend, batch).await, Err(StorageError::Replaced { lane: LANE, .. })),
            "{why}"
        );
    }
    assert_eq!(backend.dump(), before);
    apply(&backend, good.clone()).await.unwrap();
    let twice = apply(&backend, good).await;
    assert!(matches!(twice, Err(StorageError::Replaced { expected: 0, .. })), "the same batch again");
    assert_eq!(backend.store().account_count(SHARD).await.unwrap(), 1);
    assert_eq!(apply_all(&backend, LANE, 10).await.sequence, 2, "who is in place goes on");
}

pub(crate) async fn a_poison_operation_fails_alone<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    run(&backend, 0, &[open(1), Op::Bill { account: 1, month: 1, amount_fen: 500, paid_fen: 0 }]).await;
    let look = Op::Look { account: 1, customer: 99, phone: 1, payment: 1 };
    let ops = [
        credit(1, 1),                                     // 2
        look.clone(),                                     // 3
        Op::Paid { account: 1, month: 1, paid_fen: 501 }, // 4: more than the bill
        look.clone(),                                     // 5
        credit(1, -1_000),                                // 6: below zero
        credit(1, 1),                                     // 7
        Op::Panic { account: 1 },                         // 8
        Op::Ask { accounts: 100_000 },                    // 9
        Op::AskForEver,                                   // 10
        Op::Ask { accounts: 50 },                         // 11: many, but not too many
        Op::Paid { account: 1, month: 1, paid_fen: 500 }, // 12
        credit(77, 1),                                    // 13: by rule
        Op::Order { payment: 1, account: 1, fen: 7 },     // 14
        Op::Settle { payment: 1, transaction: 5 },        // 15
        Op::SettleBlindly { payment: 1, transaction: 5 }, // 16: the transaction is taken
        credit(1, 1),                                     // 17
    ];
    append(&backend, 2, &ops).await;
    let applied = apply_all(&backend, LANE, 100).await;
    assert_eq!(applied.failed, 6);
    let failed = |n| {
        let backend = &backend;
        async move {
            match ended(backend, n).await.ended {
                Ended::Failed(why) => why,
                other => panic!("operation {n} ended as {other:?}"),
            }
        }
    };
    for n in [4, 6, 16] {
        assert!(failed(n).await.contains("refused by the database"), "operation {n}");
    }
    assert!(failed(8).await.contains("no rule for 张1"));
    assert!(failed(9).await.contains("more than"));
    assert!(failed(10).await.contains("more than"));
    assert_eq!(
        ended(&backend, 3).await.ended,
        ended(&backend, 5).await.ended,
        "it left no trace for the next"
    );
    for (n, text) in [(2, "101"), (7, "102"), (11, "1"), (12, "done"), (15, "7 to credit"), (17, "110")] {
        assert_eq!(ended(&backend, n).await.ended, Ended::Applied(reply(text)), "operation {n}");
    }
    let Ended::Rejected(problem) = ended(&backend, 13).await.ended else { panic!("not rejected") };
    assert_eq!(problem.code, Code::NotFound);
    let seen = backend.store().session(session(99)).await.unwrap().value.unwrap();
    assert_eq!(seen.generation, 7, "from operation 12, not from 4");
    assert_eq!(credit_fen(&backend, 1).await, 110);
    let list = backend.store().failed(SHARD, 100).await.unwrap();
    let ids: HashSet<_> = list.iter().map(|row| row.id).collect();
    assert_eq!(ids, [4, 6, 8, 9, 10, 16].into_iter().map(operation_id).collect());
    assert!(list.is_sorted_by_key(|row| std::cmp::Reverse(row.accepted_ms)), "newest first");
    assert_eq!(backend.store().failed(SHARD, 2).await.unwrap().len(), 2);
}

pub(crate) async fn children_and_pushes_leave_with_their_operation<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let bind = Op::Bind { account: 1, customer: 5, since_ms: 3 };
    let applied = run(&backend, 0, &[open(1), bind, Op::Code { phone: 1, challenge: 1 }]).await;
    assert!(applied.children && applied.pushes);
    let backend = backend.reopen().await;
    let outbox = backend.store().outbox(SHARD, 10).await.unwrap();
    let row = ended(&backend, 1).await;
    assert_eq!(outbox.len(), 2);
    assert_eq!(row.children, outbox.iter().map(|row| row.message.operation).collect::<Vec<_>>());
    for (n, child) in (0..).zip(&outbox) {
        assert_eq!(child.bucket, customer(5).bucket());
        assert_eq!(child.message.operation, operation_id(1).child(customer(5).bucket(), n));
        assert_eq!(child.message.origin, message(1, &Op::AskForEver).origin, "who asked stays who asked");
    }
    // Sent, as the relay does it: into the lane first, then out of the outbox.
    let messages = outbox.iter().map(|row| row.message.clone()).collect();
    backend.queue().append(LANE, messages).await.unwrap();
    backend.store().outbox_sent(SHARD, outbox.iter().map(|row| row.id).collect()).await.unwrap();
    assert_eq!(backend.store().outbox(SHARD, 10).await.unwrap(), []);
    apply_all(&backend, LANE, 10).await;
    let bound = backend.store().customer(customer(5)).await.unwrap().value;
    assert_eq!(bound.accounts, [(account(1), 3)]);

    let pushes = backend.store().waiting_pushes(SHARD, 10).await.unwrap();
    assert_eq!(pushes.iter().map(|push| push.id).collect::<Vec<_>>(), [rules::push(1)]);
    backend.store().push_handed_over(SHARD, vec![rules::push(1)]).await.unwrap();
    assert_eq!(backend.store().waiting_pushes(SHARD, 10).await.unwrap(), []);
    let backend = backend.reopen().await;
    assert_eq!(backend.store().waiting_pushes(SHARD, 10).await.unwrap(), []);
    run(&backend, 20, &[Op::Delivered { push: 1, delivered: true }, Op::Code { phone: 1, challenge: 1 }])
        .await;
    assert_eq!(
        backend.store().waiting_pushes(SHARD, 10).await.unwrap(),
        [],
        "a push known is not sent again"
    );

    // One that fails leaves nothing in either.
    let applied =
        run(&backend, 30, &[Op::Paid { account: 9, month: 1, paid_fen: 0 }, credit(1, -5_000)]).await;
    assert_eq!((applied.children, applied.pushes, applied.failed), (false, false, 1));
}

pub(crate) async fn results_changes_and_position_are_of_one_snapshot<B: Backend>() {
    let map = ShardMap::even(1, 2).unwrap();
    let backend = B::fresh(map).await;
    let ops = [
        open(1),
        Op::Bill { account: 1, month: 2, amount_fen: 5, paid_fen: 0 },
        Op::Session { session: 4 },
        credit(77, 1),
        Op::Order { payment: 3, account: 1, fen: 5 },
        Op::Settle { payment: 3, transaction: 1 },
        Op::Bound { account: 1, customer: 6, since_ms: 1 },
        Op::WrongProof { account: 1 },
    ];
    let messages = (0..).zip(&ops).map(|(n, op)| message(n, op)).collect();
    backend.queue().append(LANE, messages).await.unwrap();
    let nothing = backend.store().changes(LANE, 0).await.unwrap();
    assert_eq!((nothing.value.len(), nothing.position.sequence), (0, 0));
    assert_eq!(backend.store().operation(operation_id(0)).await.unwrap().value, None);
    apply_all(&backend, LANE, 3).await;
    let seen = backend.store().changes(LANE, 0).await.unwrap();
    let (account, payment) = (Entity::Account(account(1)), Entity::Payment(payment(3)));
    let all = [
        vec![account],
        vec![account],
        vec![Entity::Session(session(4))],
        vec![],
        vec![account, payment],
        vec![account, payment],
        vec![Entity::Customer(customer(6))],
        vec![account],
    ];
    assert_eq!(seen.value, all.concat());
    assert_eq!((seen.position.lane, seen.position.generation, seen.position.sequence), (LANE, 1, 8));
    assert_eq!(backend.store().changes(LANE, 5).await.unwrap().value, all[5..].concat());
    assert_eq!(backend.store().changes(LANE, 8).await.unwrap().value, []);
    assert_eq!(backend.store().lane(LaneId(1)).await.unwrap().sequence, 0, "the other lane stands still");

    // While batches are applied, what a reader sees fits the position it is told.
    let store = backend.store().clone();
    let reading = tokio::spawn(async move {
        let id = rules::account(1);
        let mut seen = Vec::new();
        loop {
            let holders = store.account(id, Vec::new()).await.unwrap();
            let credit = holders.value.unwrap().account.credit_fen;
            let lane = protocol::Position { sequence: 0, ..holders.position };
            seen.push((lane, holders.position.sequence, credit));
            if credit == Fen(100 + 150) {
                return seen;
            }
        }
    });
    for part in 0..30 {
        append(&backend, 100 + part * 5, &vec![credit(1, 1); 5]).await;
        apply_all(&backend, LANE, 5).await;
    }
    let lane = backend.store().map().lane(rules::account(1).bucket());
    for (at, sequence, credit) in reading.await.unwrap() {
        assert_eq!(at.lane, lane);
        if lane == LANE {
            assert_eq!(credit, Fen(100 + (sequence as i64 - 8)));
        }
    }
}

pub(crate) async fn every_row_reads_back_as_it_was_written<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let ops = [
        Op::Open { account: 2, credit_fen: 1 },
        Op::Bill { account: 2, month: 3, amount_fen: 300, paid_fen: 0 },
        Op::Bill { account: 2, month: -9, amount_fen: 70, paid_fen: 70 },
        Op::Bill { account: 2, month: 1, amount_fen: 100, paid_fen: 100 },
        Op::Bill { account: 2, month: 2, amount_fen: 200, paid_fen: 50 },
        Op::Bind { account: 2, customer: 4, since_ms: 10 },
        Op::Bind { account: 2, customer: 5, since_ms: 5 },
        Op::Bound { account: 2, customer: 4, since_ms: 10 },
        Op::Order { payment: 1, account: 2, fen: 400 },
        Op::Order { payment: 2, account: 2, fen: 9 },
        Op::Settle { payment: 1, transaction: 8 },
        Op::Session { session: 4 },
        Op::Code { phone: 2, challenge: 2 },
        Op::Code { phone: 2, challenge: 2 },
        Op::Person { customer: 6, codes: 2 },
        Op::Person { customer: 7, codes: 9 },
        Op::Payee { account: 7, customer: 6, asked_ms: 1 },
    ];
    run(&backend, 0, &ops).await;
    let backend = backend.reopen().await;
    let store = backend.store();
    let view = store.account(account(2), Vec::new()).await.unwrap().value.unwrap();
    // 400 fen paid 150 of February and 250 of March.
    assert_eq!(view.account, account_row(2, 1));
    assert_eq!(view.holders, [customer(5), customer(4)], "in the order of their binding");
    let (january, february) = (bill_row(2, 1, 100, 100), bill_row(2, 2, 200, 200));
    let march = bill_row(2, 3, 300, 250);
    assert_eq!(view.open_bills, std::slice::from_ref(&march.0));
    let last_march = bill_row(2, -9, 70, 70);
    let heads = [&march, &february, &january, &last_march].map(|bill| bill.0.clone());
    assert_eq!(view.bills, heads);
    let page = store.bills(account(2), Some(bill(2, 3).month), 1).await.unwrap().value;
    assert_eq!(page, std::slice::from_ref(&february.0));
    let one = store.bill(bill(2, 2)).await.unwrap().value.unwrap();
    assert_eq!((&one.head, &one.detail, &one.account), (&february.0, &february.1, &view.account));
    assert_eq!(one.history, heads[1..]);
    assert_eq!((one.previous, one.last_year), (Some(january), None));
    let newest = store.bill(bill(2, 3)).await.unwrap().value.unwrap();
    assert_eq!((newest.previous, newest.last_year), (Some(february.clone()), Some(last_march)));
    let oldest = store.bill(bill(2, -9)).await.unwrap().value.unwrap();
    assert_eq!((oldest.previous, oldest.last_year), (None, None));
    let past = async |from: i8, to: i8| {
        let past = store.past(account(2), bill(2, from).month, bill(2, to).month).await.unwrap().value;
        past.unwrap().bills.into_iter().map(|(head, _)| head.id).collect::<Vec<_>>()
    };
    assert_eq!(past(-10, 12).await, [bill(2, -9), bill(2, 1)], "no more than twelve months");
    assert_eq!(past(1, 2).await, [bill(2, 1), bill(2, 2)], "both ends are of it");
    assert_eq!(past(2, 1).await, []);
    assert_eq!(store.past(account(3), bill(2, 1).month, bill(2, 2).month).await.unwrap().value, None);
    assert_eq!(store.account_row(account(2)).await.unwrap().value, Some(account_row(2, 1)));
    assert_eq!(store.account_row(account(3)).await.unwrap().value, None);
    assert_eq!(store.bill(bill(2, 9)).await.unwrap().value, None);
    assert_eq!(store.holders(account(2)).await.unwrap().value.unwrap().len(), 2);
    assert_eq!(store.holders(account(3)).await.unwrap().value, None);
    let paid = store.payment(payment(1)).await.unwrap().value.unwrap().settled.unwrap();
    assert_eq!((paid.paid_fen, paid.credit_fen, paid.transactions), (Fen(400), Fen(0), vec!["8".to_owned()]));
    assert_eq!(
        paid.bills.iter().map(|part| (part.bill, part.amount_fen.0)).collect::<Vec<_>>(),
        [(bill(2, 2), 150), (bill(2, 3), 250)]
    );
    let list = store.payments(account(2), None, None, 10).await.unwrap().value;
    assert_eq!(list.iter().map(|p| p.id).collect::<Vec<_>>(), [payment(2), payment(1)], "newest first");
    assert_eq!(store.customer(customer(4)).await.unwrap().value.accounts, [(account(2), 10)]);
    assert_eq!(store.session(session(4)).await.unwrap().value.unwrap().generation, 0);
    assert_eq!(store.session(session(5)).await.unwrap().value, None);
    let row = store.session(session(4)).await.unwrap().value.unwrap();
    assert_eq!((row.begun_ms, row.used_ms, row.channel), (4, 0, Some(protocol::Channel::Hall)));
    assert_eq!(store.sessions_of(customer(4)).await.unwrap().value, [row]);
    assert_eq!(store.person(customer(6)).await.unwrap().value, Some(rules::person_row(6, 2)));
    assert_eq!(store.person(customer(7)).await.unwrap().value, Some(rules::person_row(7, 9)));
    let whole = store.person_view(customer(6)).await.unwrap().value;
    assert_eq!((whole.person, whole.payees.len()), (Some(rules::person_row(6, 2)), 1));
    assert_eq!((whole.customer.accounts.len(), whole.sessions.len()), (0, 0));
    let found = store.customer_of_phone(phone(2).parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(customer(2)));
    assert_eq!(store.customer_of_phone(phone(3).parse().unwrap()).await.unwrap(), None);
    let row = ended(&backend, 0).await;
    let payments = store.payments(account(2), Some(customer(1)), None, 1).await.unwrap().value;
    assert_eq!(payments.iter().map(|p| p.id).collect::<Vec<_>>(), [payment(2)], "who ordered it");
    assert_eq!(store.payments(account(2), Some(customer(4)), None, 9).await.unwrap().value, []);
    let origin = message(0, &Op::AskForEver).origin;
    assert_eq!((row.code, row.customer, row.accepted_ms), (rules::CODE, origin.customer, origin.accepted_ms));
    assert!(matches!(row.ended, Ended::Applied(Reply::GateProbe(_))));
}

pub(crate) async fn what_is_taken_away_is_gone_and_what_was_asked_is_kept_a_while<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let ops = [
        open(1),
        Op::Bind { account: 1, customer: 4, since_ms: 1 },
        Op::Bind { account: 1, customer: 5, since_ms: 2 },
        Op::Bound { account: 1, customer: 4, since_ms: 1 },
        Op::Bound { account: 2, customer: 4, since_ms: 1 },
        Op::Payee { account: 7, customer: 4, asked_ms: 100 },
        Op::Payee { account: 8, customer: 4, asked_ms: 300 },
        Op::Payee { account: 7, customer: 4, asked_ms: 200 },
        Op::Unbind { account: 1, customer: 4 },
        Op::Unbind { account: 1, customer: 9 },
    ];
    run(&backend, 0, &ops).await;
    let backend = backend.reopen().await;
    let store = backend.store();
    assert_eq!(store.holders(account(1)).await.unwrap().value, Some(vec![customer(5)]));
    assert_eq!(store.customer(customer(4)).await.unwrap().value.accounts, [(account(2), 1)]);
    let changed = store.changes(LANE, 8).await.unwrap().value;
    let of = |n| [Entity::Account(account(1)), Entity::Customer(customer(n))];
    assert_eq!(changed, [of(4), of(9)].concat());
    let payees = store.payees(customer(4)).await.unwrap().value;
    let kept: Vec<_> = payees.iter().map(|payee| (payee.account, payee.asked_ms)).collect();
    assert_eq!(kept, [(account(8), 300), (account(7), 200)], "newest first");
    store.prune(SHARD, 201, 0).await.unwrap();
    assert_eq!(store.payees(customer(4)).await.unwrap().value.len(), 1);
    // A session that was ended (by its fourth generation) is not among those that are open.
    let ops = [Op::ForgetPayees { customer: 4 }, Op::Session { session: 4 }, Op::Session { session: 4 }];
    run(&backend, 20, &ops).await;
    assert_eq!(backend.store().payees(customer(4)).await.unwrap().value, []);
    assert_eq!(backend.store().sessions_of(customer(4)).await.unwrap().value.len(), 1);
    run(&backend, 30, &[Op::Session { session: 4 }, Op::Session { session: 4 }]).await;
    assert_eq!(backend.store().sessions_of(customer(4)).await.unwrap().value, []);
}

pub(crate) async fn pruning_keeps_what_is_not_applied<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, &[open(1), credit(1, 1), credit(1, -500), credit(1, 2), credit(1, 3)]).await;
    let batch = next_batch(&backend, LANE, 3).await;
    apply(&backend, batch).await.unwrap();
    let accepted = |n| message(n, &Op::AskForEver).origin.accepted_ms;
    if B::FORGETS_BY_ACCEPTANCE {
        // Only the first is old enough.
        backend.store().prune(SHARD, accepted(1), 0).await.unwrap();
        assert_eq!(backend.store().changes(LANE, 0).await.unwrap().value.len(), 1);
    }
    backend.store().prune(SHARD, u64::MAX >> 1, accepted(1)).await.unwrap();
    assert_eq!(backend.store().operation(operation_id(0)).await.unwrap().value, None, "forgotten");
    ended(&backend, 1).await;
    backend.store().prune(SHARD, u64::MAX >> 1, u64::MAX >> 1).await.unwrap();
    assert_eq!(backend.store().failed(SHARD, 9).await.unwrap().len(), 1, "an operator still sees it");
    assert_eq!(backend.store().prune(SHARD, u64::MAX >> 1, u64::MAX >> 1).await.unwrap(), 0);
    let backend = backend.reopen().await;
    let left = backend.queue().fetch(LANE, 3, 9).await.unwrap();
    assert_eq!(left.iter().map(|m| m.sequence).collect::<Vec<_>>(), [4, 5]);
    apply_all(&backend, LANE, 9).await;
    assert_eq!(credit_fen(&backend, 1).await, 106);
}

pub(crate) async fn epochs_grow_with_every_opening<B: Backend>() {
    let mut backend = B::fresh(ShardMap::even(2, 2).unwrap()).await;
    let lanes: Vec<_> = backend.store().map().lanes().collect();
    let mut before = vec![0; lanes.len()];
    for _ in 0..3 {
        let mut now = Vec::new();
        for lane in &lanes {
            now.push(backend.store().claim(*lane, None).await.unwrap().0);
        }
        assert!(now.iter().zip(&before).all(|(now, before)| now > before), "{before:?} {now:?}");
        before = now;
        backend = backend.reopen().await;
    }
}

pub(crate) async fn the_ledger_sums_to_zero<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let mut ops = vec![open(1)];
    for n in 1..=6 {
        ops.push(Op::Bill { account: 1, month: n, amount_fen: 100 * i64::from(n), paid_fen: 0 });
        ops.push(Op::Order { payment: n as u64, account: 1, fen: 90 * i64::from(n) });
        ops.push(Op::Settle { payment: n as u64, transaction: n as u64 / 2 });
    }
    run(&backend, 0, &ops).await;
    let sums = backend.store().ledger_sums(SHARD).await.unwrap();
    assert_eq!(sums.iter().map(|(_, fen)| fen).sum::<i64>(), 0);
    assert!(sums.iter().any(|(code, fen)| code == "revenue" && *fen != 0), "{sums:?}");
    assert_eq!(Bucket::try_from(0).map(|b| backend.store().map().shard(b)), Ok(SHARD));
}
