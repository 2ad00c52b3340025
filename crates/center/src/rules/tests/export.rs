//! Files that are made for customers: who may ask for what, how many, and what becomes of them.
use protocol::{
    BillId, ExportId,
    catalogue::{
        replies::{ExportFailure, ExportState},
        requests::ExportWhat,
    },
};
use storage::rows::Export;

use super::*;
use crate::operation::{CustomerAccountRemove, ExportDue, ExportFail, ExportMade};

const DAY: u64 = 24 * 3600 * SECOND;

fn days(from: &str, to: &str) -> ExportWhat {
    ExportWhat::UsageCsv { from: from.parse().unwrap(), to: to.parse().unwrap() }
}

fn january(account: AccountId) -> ExportWhat {
    ExportWhat::Invoice { bill: bill(account, "2027-01") }
}

fn bill(account: AccountId, month: &str) -> BillId {
    BillId { account, month: month.parse().unwrap() }
}

impl World {
    async fn export(&mut self, account: AccountId, what: ExportWhat) -> Result<ExportId, Code> {
        match self.ask(requests::ExportCreate { account, what }).await? {
            Reply::ExportCreate(r) => {
                assert_eq!((r.export.state, r.export.size), (ExportState::Making, None));
                Ok(r.export.export)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn export_row(&self, id: ExportId) -> Option<Export> {
        self.store.export(id).await.unwrap().value
    }

    async fn export_made(&mut self, export: ExportId) {
        let made = ExportMade { export, root: [7; 32], size: 99 };
        self.own(Own::ExportMade(made), export.bucket()).await.unwrap();
    }

    async fn export_due(&mut self, export: ExportId) -> Result<Reply, Code> {
        let due_ms = self.export_row(export).await.map_or(0, |row| row.due_ms);
        self.own(Own::ExportDue(ExportDue { export, due_ms }), export.bucket()).await
    }
}

#[tokio::test]
async fn who_has_bound_the_account_may_ask_and_nobody_else() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let october = days("2026-10-01", "2026-10-31");
    let id = world.export(account, october).await.unwrap();
    let row = world.export_row(id).await.unwrap();
    assert_eq!((row.state, row.what, row.customer), (ExportState::Making, october, world.customer.unwrap()));
    assert_eq!(world.store.exports_due(protocol::ShardId(0), world.now_ms, 9).await.unwrap(), [row]);
    let holder = world.customer;
    world.customer = Some(world.log_in("19900000002").await.0);
    assert_eq!(world.export(account, october).await, Err(Code::NotFound));
    world.customer = None;
    assert_eq!(world.export(account, october).await, Err(Code::Unauthenticated));
    world.customer = holder;
    let elsewhere = AccountId::mint(11, 78).unwrap();
    assert_eq!(world.export(elsewhere, october).await, Err(Code::NotFound));
}

#[tokio::test]
async fn an_invoice_is_of_a_bill_of_that_account_that_is_wholly_paid() {
    let mut world = World::new();
    let account = world.bound_account().await;
    assert_eq!(world.export(account, january(account)).await, Err(Code::Conflict));
    let payment = world.order(account, 4882).await;
    world.settle(payment, "t1", 4882).await.unwrap();
    assert_eq!(world.export(account, january(account)).await, Err(Code::Conflict), "one fen is left");
    let payment = world.order(account, 1).await;
    world.settle(payment, "t2", 1).await.unwrap();
    world.export(account, january(account)).await.unwrap();
    let missing = ExportWhat::Invoice { bill: bill(account, "2026-12") };
    assert_eq!(world.export(account, missing).await, Err(Code::NotFound));
    let elsewhere = AccountId::mint(11, 78).unwrap();
    assert_eq!(world.export(account, january(elsewhere)).await, Err(Code::NotFound));
}

#[tokio::test]
async fn days_go_from_the_first_to_the_last_and_not_for_ever() {
    let mut world = World::new();
    let account = world.bound_account().await;
    for (from, to, is_right) in [
        ("2026-10-01", "2026-10-01", true),
        ("2026-10-02", "2026-10-01", false),
        ("2024-01-15", "2027-02-14", true),
        ("2024-01-15", "2027-02-15", false),
        ("-009999-01-01", "9999-12-31", false),
        ("9999-12-31", "9999-12-31", true),
    ] {
        let asked = world.export(account, days(from, to)).await;
        assert_eq!(asked.err(), (!is_right).then_some(Code::InvalidRequest), "{from} {to}");
    }
}

#[tokio::test]
async fn there_are_only_so_many_at_once() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let october = days("2026-10-01", "2026-10-31");
    let mut made = Vec::new();
    for _ in 0..20 {
        made.push(world.export(account, october).await.unwrap());
    }
    assert_eq!(world.export(account, october).await, Err(Code::Conflict));
    let fail = ExportFail { export: made[0], why: ExportFailure::NoReadings };
    world.own(Own::ExportFail(fail), account.bucket()).await.unwrap();
    world.export(account, october).await.unwrap();
    assert_eq!(world.export(account, october).await, Err(Code::Conflict));
}

#[tokio::test]
async fn without_a_place_for_files_none_are_made() {
    let mut world = World::new();
    let account = world.bound_account().await;
    Arc::get_mut(&mut world.rules).unwrap().exports.has_place = false;
    assert_eq!(world.export(account, days("2026-10-01", "2026-10-31")).await, Err(Code::Conflict));
}

#[tokio::test]
async fn a_file_is_made_once_ends_loses_its_bytes_and_is_forgotten() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let id = world.export(account, days("2026-10-01", "2026-10-31")).await.unwrap();
    // What is being made is nobody's to end.
    world.export_due(id).await.unwrap();
    world.export_made(id).await;
    let ready = world.export_row(id).await.unwrap();
    assert_eq!((ready.state, ready.root, ready.size), (ExportState::Ready, Some([7; 32]), 99));
    assert_eq!(ready.due_ms, world.now_ms + 7 * DAY);
    // Said again, or otherwise, by who did not know: nothing changes.
    let again = ExportMade { export: id, root: [8; 32], size: 1 };
    world.own(Own::ExportMade(again), account.bucket()).await.unwrap();
    let fail = ExportFail { export: id, why: ExportFailure::OurSide };
    world.own(Own::ExportFail(fail), account.bucket()).await.unwrap();
    let other_time = ExportDue { export: id, due_ms: 1 };
    world.own(Own::ExportDue(other_time), account.bucket()).await.unwrap();
    assert_eq!(world.export_row(id).await.unwrap(), ready);

    world.now_ms = ready.due_ms;
    world.export_due(id).await.unwrap();
    let ended = world.export_row(id).await.unwrap();
    assert_eq!((ended.state, ended.root, ended.due_ms), (ExportState::Expired, Some([7; 32]), world.now_ms));
    world.export_due(id).await.unwrap();
    let empty = world.export_row(id).await.unwrap();
    assert_eq!((empty.root, empty.due_ms), (None, world.now_ms + 30 * DAY));
    world.now_ms = empty.due_ms;
    world.export_due(id).await.unwrap();
    assert_eq!(world.export_row(id).await, None);
    assert_eq!(world.export_due(id).await, Err(Code::NotFound));
}

#[tokio::test]
async fn who_is_taken_off_an_account_leaves_no_file_there() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let (made, making) = (
        world.export(account, days("2026-10-01", "2026-10-31")).await.unwrap(),
        world.export(account, days("2026-09-01", "2026-09-30")).await.unwrap(),
    );
    world.export_made(made).await;
    let gone = CustomerAccountRemove { customer: world.customer.unwrap(), account };
    world.own(Own::HolderRemove(gone), account.bucket()).await.unwrap();
    let now_ms = world.now_ms;
    let ended = |row: Export| (row.state, row.due_ms);
    assert_eq!(
        ended(world.export_row(made).await.unwrap()),
        (ExportState::Expired, now_ms),
        "its bytes go next"
    );
    let row = world.export_row(making).await.unwrap();
    assert_eq!(ended(row), (ExportState::Expired, now_ms + 30 * DAY));
    // It was just being made: what came of it is not handed out.
    world.export_made(making).await;
    assert_eq!(world.export_row(making).await.unwrap().state, ExportState::Expired);
}
