//! Money's rows: late fees, power cut off for them.
use domain::{late_fee::LateFee, money::Fen};
use gridesk_storage::rows::{LastFailure, Mandate, Payment, Put, Refund, Settled, Supply, SupplyState};
use protocol::{
    MandateId, RefundId,
    catalogue::replies::{BillPart, DebitFailure, MandateState, RefundState},
    payment::ProviderFailure,
};

use super::{Backend, SHARD, one_lane, rules};

pub(crate) async fn a_bill_is_open_until_its_late_fee_is_paid<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let store = backend.store();
    let (account, bill) = (rules::account(1), rules::bill(1, 3));
    let (head, detail) = rules::bill_row(1, 3, 5000, 0);
    store
        .fill(SHARD, vec![Put::Account(rules::account_row(1, 0)), Put::Bill(head.clone(), detail)])
        .await
        .unwrap();
    let open = async || store.account(account, Vec::new()).await.unwrap().value.unwrap().open_bills;
    assert_eq!(open().await, std::slice::from_ref(&head));
    let charged =
        LateFee { accrued_e6: 49_500_000, through: Some("2026-05-05".parse().unwrap()), paid_fen: Fen(0) };
    let put = |late_fee| Put::BillLateFee { bill, late_fee };
    store.fill(SHARD, vec![put(charged), Put::BillPaid { bill, paid_fen: Fen(5000) }]).await.unwrap();
    let [left] = open().await.try_into().unwrap();
    assert_eq!((left.late_fee, left.open_fen(), left.late_fee.open_fen()), (charged, Fen(0), Fen(50)));
    store.fill(SHARD, vec![put(LateFee { paid_fen: Fen(49), ..charged })]).await.unwrap();
    assert_eq!(open().await.len(), 1, "half a fen is rounded up, here as in the rule");
    store.fill(SHARD, vec![put(LateFee { paid_fen: Fen(50), ..charged })]).await.unwrap();
    assert!(open().await.is_empty());

    let mut row = Payment {
        id: rules::payment(1),
        account,
        customer: rules::customer(1),
        amount_fen: Fen(5050),
        provider: "provider-sim".into(),
        created_ms: 1,
        expires_ms: 2,
        mandate: None,
        failure: None,
        refunds: Vec::new(),
        settled: None,
    };
    let part = |fen| vec![BillPart { bill, amount_fen: Fen(fen) }];
    row.settled = Some(Settled { bills: part(5000), late_fees: part(50), ..Settled::default() });
    store.fill(SHARD, vec![Put::Payment(row.clone())]).await.unwrap();
    assert_eq!(store.payment(row.id).await.unwrap().value, Some(row.clone()));
    let settled = Settled { bills: part(5000), ..Settled::default() };
    store
        .fill(
            SHARD,
            vec![Put::PaymentSettled { payment: row.id, account: row.account, settled: settled.clone() }],
        )
        .await
        .unwrap();
    assert_eq!(store.payment(row.id).await.unwrap().value.unwrap().settled, Some(settled));
}

pub(crate) async fn mandates_and_refunds_are_found_when_they_are_due<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let store = backend.store();
    let mandate = |n, state, due_ms| Mandate {
        id: MandateId::mint(rules::account(n).bucket(), 7),
        account: rules::account(n),
        customer: rules::customer(n),
        provider: "provider-sim".into(),
        limit_fen: Fen(50_000),
        state,
        agreement: "agr-1".into(),
        created_ms: 1,
        expires_ms: 2,
        ended_ms: state.has_ended().then_some(9),
        due_ms,
        running: due_ms.map(|_| rules::payment(n)),
        tries: 2,
        told: 3,
        last_failure: Some(LastFailure { at_ms: 8, amount_fen: Fen(50), why: DebitFailure::NoAnswer }),
    };
    let states = [
        (MandateState::Unsigned, Some(300)),
        (MandateState::Active, Some(100)),
        (MandateState::NotSigned, None),
        (MandateState::EndedHere, None),
        (MandateState::EndedThere, None),
        (MandateState::EndedUnbound, Some(400)),
    ];
    let rows: Vec<Mandate> = (1..).zip(states).map(|(n, (state, due))| mandate(n, state, due)).collect();
    store.fill(SHARD, rows.iter().cloned().map(Put::Mandate).collect()).await.unwrap();
    for row in &rows {
        assert_eq!(store.mandate(row.account).await.unwrap().value.as_ref(), Some(row));
    }
    let due = store.mandates_due(SHARD, 300, 10).await.unwrap();
    assert_eq!(due, [(rules::account(2), 100), (rules::account(1), 300)]);
    store.fill(SHARD, vec![Put::Mandate(mandate(2, MandateState::EndedHere, None))]).await.unwrap();
    assert_eq!(store.mandates_due(SHARD, 300, 10).await.unwrap(), [(rules::account(1), 300)]);

    let refund = |again_ms| Refund {
        id: RefundId::mint(rules::account(1).bucket(), 7),
        amount_fen: Fen(50),
        state: RefundState::UnderWay,
        asked_ms: 1,
        ended_ms: None,
        again_ms,
        told: 1,
    };
    let row = |n, again_ms| Payment {
        id: rules::payment(n),
        account: rules::account(1),
        customer: rules::customer(1),
        amount_fen: Fen(5050),
        provider: "provider-sim".into(),
        mandate: Some(rows[0].id),
        created_ms: 1,
        expires_ms: 2,
        failure: Some(ProviderFailure::InsufficientFunds),
        settled: None,
        refunds: vec![refund(None), refund(again_ms)],
    };
    let payments = [row(1, Some(200)), row(2, None)];
    store.fill(SHARD, payments.iter().cloned().map(Put::Payment).collect()).await.unwrap();
    for payment in &payments {
        assert_eq!(store.payment(payment.id).await.unwrap().value.as_ref(), Some(payment));
    }
    assert_eq!(store.refunds_due(SHARD, 199, 10).await.unwrap(), []);
    assert_eq!(store.refunds_due(SHARD, 200, 10).await.unwrap(), [(rules::payment(1), 200)]);
    let (payment, account) = (rules::payment(1), rules::account(1));
    let failure = ProviderFailure::Other;
    store
        .fill(
            SHARD,
            vec![
                Put::PaymentRefunds { payment, account, refunds: vec![refund(None)] },
                Put::PaymentFailed { payment, account, failure },
            ],
        )
        .await
        .unwrap();
    let read = store.payment(payment).await.unwrap().value.unwrap();
    assert_eq!((read.refunds, read.failure), (vec![refund(None)], Some(failure)));
    assert_eq!(store.refunds_due(SHARD, 200, 10).await.unwrap(), []);
}

pub(crate) async fn a_reconnection_is_found_when_it_is_due<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let store = backend.store();
    let row = |n, state, at| {
        Put::Supply(Supply { account: rules::account(n), state, since_ms: 7, reconnect_at_ms: at })
    };
    let account = rules::account(2);
    let cut = Supply { account, state: SupplyState::Cut, since_ms: 7, reconnect_at_ms: None };
    store.fill(SHARD, vec![Put::Account(rules::account_row(2, 0)), Put::Supply(cut)]).await.unwrap();
    let shown = async || store.account(account, Vec::new()).await.unwrap().value.unwrap().supply;
    assert_eq!(shown().await, Some(cut));
    let later = [(3, 300), (1, 100), (4, 400)].map(|(n, at)| row(n, SupplyState::Reconnecting, Some(at)));
    store.fill(SHARD, later.to_vec()).await.unwrap();
    let due = async |now_ms, most| store.supplies_due(SHARD, now_ms, most).await.unwrap();
    assert_eq!(due(99, 9).await, []);
    assert_eq!(due(300, 9).await, [(rules::account(1), 100), (rules::account(3), 300)]);
    assert_eq!(due(300, 1).await, [(rules::account(1), 100)]);
    store.fill(SHARD, vec![row(1, SupplyState::Connected, None)]).await.unwrap();
    assert_eq!(due(300, 9).await, [(rules::account(3), 300)]);
}
