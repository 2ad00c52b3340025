//! A batch's working set shows what the database would: however operations are cut into batches, the end is the same.
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use super::{Backend, LANE, append, apply, next_batch, one_lane, rules::Op};

/// Few of each thing, so that operations meet; and every look answers all its rule sees.
fn op() -> impl Strategy<Value = Op> {
    let (few, month, fen) = (0..3u64, 1..4i8, 0..40i64);
    let since_ms = 0..5u64;
    prop_oneof![
        1 => (few.clone(), fen.clone()).prop_map(|(account, credit_fen)| Op::Open { account, credit_fen }),
        3 => (few.clone(), -30..40i64).prop_map(|(account, fen)| Op::Credit { account, fen }),
        2 => (few.clone(), month.clone(), fen.clone(), 0..3i64).prop_map(|(account, month, amount_fen, paid)| {
            Op::Bill { account, month, amount_fen, paid_fen: amount_fen * paid / 2 }
        }),
        2 => (few.clone(), month, fen.clone()).prop_map(|(account, month, paid_fen)| Op::Paid { account, month, paid_fen }),
        2 => (few.clone(), few.clone(), since_ms.clone())
            .prop_map(|(account, customer, since_ms)| Op::Bind { account, customer, since_ms }),
        2 => (few.clone(), few.clone(), since_ms.clone())
            .prop_map(|(account, customer, since_ms)| Op::Bound { account, customer, since_ms }),
        2 => (few.clone(), few.clone()).prop_map(|(account, customer)| Op::Unbind { account, customer }),
        1 => (few.clone(), few.clone(), since_ms)
            .prop_map(|(account, customer, asked_ms)| Op::Payee { account, customer, asked_ms }),
        1 => few.clone().prop_map(|customer| Op::ForgetPayees { customer }),
        1 => (few.clone(), 0..6u32).prop_map(|(customer, codes)| Op::Person { customer, codes }),
        1 => few.clone().prop_map(|session| Op::Session { session }),
        1 => (few.clone(), few.clone()).prop_map(|(phone, challenge)| Op::Code { phone, challenge }),
        1 => (few.clone(), few.clone(), 1..60i64).prop_map(|(payment, account, fen)| Op::Order { payment, account, fen }),
        2 => (few.clone(), few.clone()).prop_map(|(payment, transaction)| Op::Settle { payment, transaction }),
        1 => (few.clone(), few.clone())
            .prop_map(|(payment, transaction)| Op::SettleBlindly { payment, transaction }),
        1 => (few.clone(), any::<bool>()).prop_map(|(push, delivered)| Op::Delivered { push, delivered }),
        1 => few.clone().prop_map(|account| Op::WrongProof { account }),
        1 => few.clone().prop_map(|account| Op::Panic { account }),
        6 => (few.clone(), few.clone(), few.clone(), few)
            .prop_map(|(account, customer, phone, payment)| Op::Look { account, customer, phone, payment }),
    ]
}

pub(crate) async fn batches_of_any_size_come_to_the_same<B: Backend>() {
    let strategy = (prop::collection::vec(op(), 1..60), prop::collection::vec(1..20usize, 60));
    let mut runner =
        TestRunner::new(Config { cases: B::CASES, failure_persistence: None, ..Config::default() });
    let handle = Handle::current();
    let run = |(ops, cuts): (Vec<Op>, Vec<usize>)| {
        handle.block_on(async {
            let one_by_one = applied::<B>(&ops, &[1]).await;
            let cut = applied::<B>(&ops, &cuts).await;
            let at_once = applied::<B>(&ops, &[ops.len()]).await;
            for (table, rows) in &one_by_one {
                prop_assert_eq!(rows, &cut[table], "{} of batches", table);
                prop_assert_eq!(rows, &at_once[table], "{} of one batch", table);
            }
            Ok(())
        })
    };
    block_in_place(|| runner.run(&strategy, run)).unwrap();
}

async fn applied<B: Backend>(ops: &[Op], cuts: &[usize]) -> std::collections::BTreeMap<String, Vec<String>> {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, ops).await;
    for size in cuts.iter().cycle() {
        let batch = next_batch(&backend, LANE, *size).await;
        if batch.messages.is_empty() {
            break;
        }
        apply(&backend, batch).await.unwrap();
    }
    backend.dump()
}
