//! Money's rows: late fees, power cut off for them.
use domain::{late_fee::LateFee, money::Fen};
use gridesk_storage::rows::{Payment, Put, Settled, Supply, SupplyState};
use protocol::catalogue::replies::BillPart;

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
