//! The rule against a real store, whose applier asks it for rows as it does everywhere.
use std::sync::Arc;

use domain::{
    billing::{BillTerms, LineKind, VersionChoice},
    green_button,
    late_fee::LateFeeRate,
    readings::Quality,
};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use protocol::{AccountId, BillId, Channel, LaneId, OperationId, PaymentId, ShardId, routing::ShardMap};
use storage::{
    message::{Ended, LaneMessage, Origin},
    rows::BillDetail,
    store::{Batch, Decide, Layout, Store},
    working_set::NotLoaded,
};

use super::*;
use crate::operation::{Operation, Own};
use crate::rules::SupplyTerms;

/// The import rule alone.
struct OnlyImports;

impl Decide for OnlyImports {
    fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> Result<Decision, NotLoaded> {
        match Operation::decode(message.code, message.version, &message.body) {
            Ok(Operation::Own(Own::Import(asked))) => {
                let now_ms = message.origin.accepted_ms;
                let supply = SupplyTerms { cut_after_overdue_days: 30, reconnect_after_s: 300 };
                let terms = ArrearsTerms { late_fee: LateFeeRate::RESIDENTS, supply };
                take_in(TariffBook::published(), terms, rows, now_ms, &asked)
            }
            other => panic!("no import: {other:?}"),
        }
    }
}

struct World {
    store: Store,
    applied: u64,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let map = ShardMap::even(1, 1).unwrap();
        let (store, _) = Store::open(&Layout { folder: folder.path().into(), map, readers: 1 }).unwrap();
        World { store, applied: 0, _folder: folder }
    }

    /// Applies an import under an operation id of its own.
    async fn import(&mut self, asked: &Import) -> Result<Reply, Problem> {
        let own = Own::Import(asked.clone());
        let key = self.applied.to_string();
        let operation = OperationId::derive(asked.account.bucket(), "test", "", &key);
        let origin = Origin {
            accepted_ms: 1_800_000_000_000,
            customer: None,
            session: None,
            channel: Channel::System,
            language: protocol::envelope::Language::Zh,
            request_id: [0; 16],
            trace_id: [0; 16],
        };
        let message =
            NewMessage { operation, code: own.code(), version: own.version(), body: own.encode(), origin };
        let messages = vec![LaneMessage { sequence: self.applied + 1, message }];
        let lane = LaneId(0);
        let epoch = self.store.claim(lane, None).await.unwrap().0;
        let batch = Batch { lane, epoch, generation: 1, after: self.applied, messages };
        self.applied = self.store.apply(batch, Arc::new(OnlyImports)).await.unwrap().sequence;
        match self.store.operation(operation).await.unwrap().value.unwrap().ended {
            Ended::Applied(reply) => Ok(reply),
            Ended::Rejected(problem) => Err(problem),
            Ended::Failed(why) => panic!("{why}"),
        }
    }

    async fn bills(&self, account: AccountId) -> Vec<BillHead> {
        let mut bills = self.store.bills(account, None, 500).await.unwrap().value;
        bills.reverse();
        bills
    }

    async fn detail(&self, bill: BillId) -> BillDetail {
        self.store.bill(bill).await.unwrap().value.unwrap().detail
    }

    async fn account_row(&self) -> Account {
        self.store.account(account(), Vec::new()).await.unwrap().value.unwrap().account
    }

    async fn amounts(&self, account: AccountId) -> Vec<i64> {
        self.bills(account).await.iter().map(|bill| bill.amount_fen.0).collect()
    }

    async fn ledger(&self) -> Vec<(String, i64)> {
        let sums = self.store.ledger_sums(ShardId(0)).await.unwrap();
        assert_eq!(sums.iter().map(|(_, fen)| fen).sum::<i64>(), 0, "{sums:?}");
        sums
    }
}

fn account() -> AccountId {
    AccountId::mint(33, 7).unwrap()
}

/// A day with some energy at noon and some at two in the night.
fn day(date: Date, noon_kwh: i64, night_kwh: i64) -> DayReadings {
    let mut day = DayReadings::new(date, 3600).unwrap();
    day.add(12 * 3600, Wh::from_kwh(noon_kwh), Quality::Valid).unwrap();
    day.add(2 * 3600, Wh::from_kwh(night_kwh), Quality::Valid).unwrap();
    day
}

fn asked(tariff: &str, days: Vec<DayReadings>) -> Import {
    Import {
        account: account(),
        holder: "样例·测试".into(),
        phone: None,
        address: "样例路 1 号".into(),
        division: "330000".into(),
        tariff: tariff.parse().unwrap(),
        terms: BillTerms { version: VersionChoice::Named, ..BillTerms::default() },
        days,
    }
}

#[tokio::test]
async fn zhejiang_by_time_of_use_counts_from_january_over_imports() {
    let mut world = World::new();
    world.import(&asked("zj-residential-tou", vec![day(date(2025, 1, 9), 2600, 0)])).await.unwrap();
    world.import(&asked("zj-residential-tou", vec![day(date(2025, 2, 9), 210, 150)])).await.unwrap();
    let bills = world.bills(account()).await;
    assert_eq!(bills.iter().map(|bill| bill.amount_fen).collect::<Vec<_>>(), [Fen(147_680), Fen(17_248)]);
    assert_eq!((bills[1].issued_on, bills[1].due_on), (date(2027, 1, 15), date(2027, 2, 8)));
    let detail = world.detail(bills[1].id).await;
    assert_eq!(detail.used_before_wh, Wh::from_kwh(2600));
    assert_eq!(detail.tier_limits_wh, [Wh::from_kwh(2760), Wh::from_kwh(4800)]);
    let surcharge = detail.lines.last().unwrap();
    assert_eq!(
        (surcharge.kind, surcharge.amount_fen),
        (LineKind::Surcharge { tier: 2, period: None }, Fen(1000))
    );
    assert_eq!(world.ledger().await, [("receivable".into(), 164_928), ("revenue".into(), -164_928)]);
    let view = world
        .store
        .account(account(), vec![(date(2025, 1, 1), date(2025, 2, 28))])
        .await
        .unwrap()
        .value
        .unwrap();
    assert_eq!((view.days.len(), view.account.opened.to_string()), (2, "2025-01".to_owned()));
    assert_eq!(view.account.holder, "样例·测试");
}

#[tokio::test]
async fn guangzhou_counts_by_month_and_season() {
    let mut world = World::new();
    let days = vec![day(date(2025, 1, 31), 600, 0), day(date(2025, 7, 1), 0, 600)];
    world.import(&asked("gz-residential", days)).await.unwrap();
    assert_eq!(world.amounts(account()).await, [42_340, 37_040]);
    let july = BillId { account: account(), month: Month::new(2025, 7).unwrap() };
    let detail = world.detail(july).await;
    assert_eq!(detail.used_before_wh, Wh(0));
    assert_eq!(detail.tier_limits_wh, [Wh::from_kwh(260), Wh::from_kwh(600)]);
    // Tiers by month: an earlier month moves nobody's tier.
    world.import(&asked("gz-residential", vec![day(date(2025, 3, 1), 100, 0)])).await.unwrap();
    assert_eq!(world.amounts(account()).await, [42_340, 5890, 37_040]);
}

#[tokio::test]
async fn a_month_is_billed_once() {
    let mut world = World::new();
    let first = vec![day(date(2025, 1, 9), 100, 0), day(date(2025, 2, 1), 50, 0)];
    world.import(&asked("zj-residential", first.clone())).await.unwrap();
    let before = (world.bills(account()).await, world.ledger().await);
    world.import(&asked("zj-residential", first.clone())).await.unwrap();
    assert_eq!((world.bills(account()).await, world.ledger().await), before);

    let other =
        [first[..1].to_vec(), vec![day(date(2025, 2, 1), 51, 0), day(date(2025, 3, 1), 9, 0)]].concat();
    let problem = world.import(&asked("zj-residential", other)).await.unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    assert!(
        problem.detail.contains("2025-02 is billed already by zj-residential (50.000 kWh, 26.90 yuan)"),
        "{problem}"
    );
    let problem = world.import(&asked("zj-residential-tou", first)).await.unwrap_err();
    assert!(problem.detail.contains("2025-01"), "{problem}");
    let later = vec![day(date(2024, 12, 1), 9, 0), day(date(2025, 3, 1), 9, 0)];
    world.import(&asked("zj-residential", later)).await.unwrap();
    // It would have counted for March's tiers.
    let between = world.bills(account()).await;
    let mut gap = World::new();
    gap.import(&asked("zj-residential", vec![day(date(2025, 3, 1), 9, 0)])).await.unwrap();
    let problem = gap.import(&asked("zj-residential", vec![day(date(2025, 2, 1), 9, 0)])).await.unwrap_err();
    assert!(problem.code == Code::Conflict && problem.detail.contains("2025-03"), "{problem}");
    assert_eq!(between.len(), 4);
}

#[tokio::test]
async fn what_cannot_be_billed_changes_nothing() {
    let mut world = World::new();
    let mut coarse = DayReadings::new(date(2025, 1, 1), 86_400).unwrap();
    coarse.add(0, Wh(9000), Quality::Valid).unwrap();
    let twice = vec![day(date(2025, 1, 1), 1, 1); 2];
    let mut negative = day(date(2025, 1, 1), 1, 1);
    negative.slots[3] = Wh(-900_000);
    for (asked, says) in [
        (asked("zj-residential-tou", vec![coarse]), "2025-01: readings of 86400 s cannot be told apart"),
        (asked("xx", twice.clone()), "Known are bj-residential, gz-residential,"),
        (asked("zj-residential", twice), "in order"),
        (asked("zj-residential", Vec::new()), "no readings"),
        (asked("zj-residential", vec![negative]), "2025-01: the energy of 2025-01 is negative"),
    ] {
        let problem = world.import(&asked).await.unwrap_err();
        assert_eq!(problem.code, Code::InvalidRequest);
        assert!(
            problem.detail.contains(says) && problem.detail.ends_with("Nothing was changed."),
            "{problem}"
        );
    }
    assert_eq!(world.store.account_count(ShardId(0)).await.unwrap(), 0);
    assert!(world.ledger().await.is_empty());
}

#[tokio::test]
async fn credit_pays_the_oldest_bills() {
    let mut world = World::new();
    world.import(&asked("zj-residential", vec![day(date(2025, 1, 9), 100, 0)])).await.unwrap();
    let state = world.store.account(account(), Vec::new()).await.unwrap().value.unwrap();
    let credited = Account { credit_fen: Fen(6000), ..state.account };
    let source = ledger::LedgerAccount::ProviderClearing { provider: "sim-pay".parse().unwrap() };
    let posting =
        ledger::post_payment::<PaymentId>(source, account().number(), Fen(6000), &[]).unwrap().posting;
    let puts = vec![Put::Account(credited), Put::Posting { at_ms: 0, text: String::new(), posting }];
    world.store.fill(ShardId(0), puts).await.unwrap();
    world.import(&asked("zj-residential", vec![day(date(2025, 2, 9), 50, 0)])).await.unwrap();
    let open: Vec<_> = world.bills(account()).await.iter().map(|bill| bill.open_fen().0).collect();
    assert_eq!(open, [0, 2690 - 620]);
    let state = world.store.account(account(), Vec::new()).await.unwrap().value.unwrap();
    assert_eq!(state.account.credit_fen, Fen(0));
    let ledger = world.ledger().await;
    assert!(
        ledger.contains(&("receivable".into(), 2070)) && ledger.contains(&("credit".into(), 0)),
        "{ledger:?}"
    );
}

#[tokio::test]
async fn a_bill_made_after_its_date_is_due_as_long_after_it_was_made() {
    let mut world = World::new();
    // Accepted on 15 January 2027.
    let days = vec![day(date(2025, 1, 9), 100, 0), day(date(2026, 12, 9), 50, 0)];
    world.import(&asked("zj-residential", days)).await.unwrap();
    let bills = world.bills(account()).await;
    assert_eq!((bills[0].issued_on, bills[0].due_on), (date(2027, 1, 15), date(2027, 2, 8)));
    assert_eq!((bills[1].issued_on, bills[1].due_on), (date(2027, 1, 1), date(2027, 1, 25)), "as ever");
}

#[tokio::test]
async fn credit_pays_late_fees_too() {
    let mut world = World::new();
    world.import(&asked("zj-residential", vec![day(date(2027, 1, 9), 100, 0)])).await.unwrap();
    let january = BillId { account: account(), month: Month::new(2027, 1).unwrap() };
    let bill = world.store.bill(january).await.unwrap().value.unwrap();
    let (mut head, detail) = (bill.head, bill.detail);
    head.due_on = date(2027, 1, 5);
    let credited = Account { credit_fen: Fen(5400), ..world.account_row().await };
    let source = ledger::LedgerAccount::ProviderClearing { provider: "sim-pay".parse().unwrap() };
    let posting =
        ledger::post_payment::<PaymentId>(source, account().number(), Fen(5400), &[]).unwrap().posting;
    let puts = vec![
        Put::Bill(head, detail),
        Put::Account(credited),
        Put::Posting { at_ms: 0, text: String::new(), posting },
    ];
    world.store.fill(ShardId(0), puts).await.unwrap();
    world.import(&asked("zj-residential", vec![day(date(2027, 2, 9), 50, 0)])).await.unwrap();
    let bills = world.bills(account()).await;
    // Ten days of 5.38 fen, half up 54, of which 20 fen were there.
    assert_eq!((bills[0].open_fen(), bills[0].late_fee.total_fen()), (Fen(0), Fen(54)));
    assert_eq!((bills[0].late_fee.open_fen(), bills[1].open_fen()), (Fen(34), Fen(2690)));
    let ledger = world.ledger().await;
    assert!(
        ledger.contains(&("receivable".into(), 2724)) && ledger.contains(&("late-fees".into(), -54)),
        "{ledger:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn importing_again_changes_nothing(
        energies in prop::collection::vec((0i64..400, 0i64..400), 1..120),
        step in 1i64..20,
        tariff in prop::sample::select(vec!["zj-residential", "zj-residential-tou", "gz-residential", "sh-residential-tou"]),
    ) {
        let date_of = |n: usize| date(2024, 11, 3).checked_add(jiff::Span::new().days(n as i64 * step)).unwrap();
        let days: Vec<_> =
            energies.iter().enumerate().map(|(n, (noon, night))| day(date_of(n), *noon, *night)).collect();
        let total: i64 = days.iter().map(|day| day.total().0).sum();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            let asked = asked(tariff, days);
            world.import(&asked).await.unwrap();
            let (bills, ledger) = (world.bills(account()).await, world.ledger().await);
            assert_eq!(bills.iter().map(|bill| bill.energy_wh.0).sum::<i64>(), total);
            for bill in &bills {
                domain::billing::recompute(&world.detail(bill.id).await.lines, bill.amount_fen).unwrap();
            }
            world.import(&asked).await.unwrap();
            assert_eq!((world.bills(account()).await, world.ledger().await), (bills, ledger));
        });
    }
}

/// The published figures of a real home; only where the file is there.
#[tokio::test]
async fn a_real_file_comes_to_the_published_figures() {
    let Some(folder) = std::env::var_os("GRIDESK_GREEN_BUTTON_DIR") else { return };
    let file = std::fs::File::open(std::path::Path::new(&folder).join("RetailCustomer_5.xml")).unwrap();
    let limits = green_button::Limits::default();
    let options = green_button::Options { default_offset_s: Some(28_800), ..Default::default() };
    let read = green_button::read_with(std::io::BufReader::new(file), limits, &options).unwrap();
    let days: Vec<DayReadings> = read.days.into_values().collect();
    for (tariff, months) in [
        (
            "zj-residential",
            [23067, 19400, 19560, 17977, 18093, 17777, 19957, 22629, 21689, 20983, 20786, 24490],
        ),
        (
            "zj-residential-tou",
            [20058, 16878, 17084, 15734, 15877, 15613, 17522, 19986, 19267, 18645, 18513, 21628],
        ),
    ] {
        let mut world = World::new();
        world.import(&asked(tariff, days.clone())).await.unwrap();
        assert_eq!(world.amounts(account()).await, months);
        let energy: Wh = world.bills(account()).await.iter().map(|bill| bill.energy_wh).sum();
        assert_eq!(energy, Wh(4_425_305));
    }
}
