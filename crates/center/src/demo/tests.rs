use std::collections::BTreeMap;

use domain::{
    billing::{LineKind, recompute},
    calendar::Month,
    money::{Fen, Wh},
};
use jiff::civil::date;
use protocol::{BillId, CustomerId, routing::ShardMap};
use runtime::health::Readiness;
use storage::{
    rows::Payment,
    store::{AccountView, Layout},
};

use super::*;
use household::{FIRST_HOME, Standing};

const ASK: Demo = Demo { customers: 40, today: date(2026, 11, 22), seed: 2026 };

fn store(shards: u16) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let map = ShardMap::even(shards, 2).unwrap();
    let (store, _) = Store::open(&Layout { folder: folder.path().into(), map, readers: 2 }).unwrap();
    (folder, store)
}

fn part() -> ReadyPart {
    Readiness::new().part("demonstration")
}

async fn filled(store: &Store, ask: Demo) -> DemoReport {
    fill(store, TariffBook::published(), ask, &part()).await.unwrap()
}

fn household(n: u32) -> Household {
    Household::of(ASK.seed, n, TariffBook::published()).unwrap()
}

async fn view(store: &Store, account: AccountId) -> AccountView {
    let days = vec![(date(2000, 1, 1), date(2100, 1, 1))];
    store.account(account, days).await.unwrap().value.unwrap()
}

type Everything = (BTreeMap<u32, (AccountView, Vec<Payment>)>, Vec<Vec<(String, i64)>>);

/// All that a store shows of the demonstration, and its books.
async fn everything(store: &Store, ask: Demo) -> Everything {
    let mut accounts = BTreeMap::new();
    for n in 0..=ask.customers {
        let account = household(n).account;
        let payments = store.payments(account, None, None, 100).await.unwrap().value;
        accounts.insert(n, (view(store, account).await, payments));
    }
    let mut ledgers = Vec::new();
    for shard in (0..store.map().shards()).map(ShardId) {
        ledgers.push(store.ledger_sums(shard).await.unwrap());
    }
    (accounts, ledgers)
}

#[tokio::test]
async fn the_books_balance_and_owe_what_is_open() {
    let (_folder, store) = store(2);
    let report = filled(&store, ASK).await;
    assert_eq!(report.phones.len(), 20);
    assert_eq!(report.phones[0].0.as_str(), "19900000001");
    let (accounts, ledgers) = everything(&store, ASK).await;
    for (shard, sums) in (0..).map(ShardId).zip(&ledgers) {
        assert_eq!(sums.iter().map(|(_, fen)| fen).sum::<i64>(), 0, "{sums:?}");
        let here =
            || accounts.values().filter(|(view, _)| store.map().shard(view.account.id.bucket()) == shard);
        let open: Fen = here().flat_map(|(view, _)| &view.open_bills).map(|bill| bill.open_fen()).sum();
        let credit: Fen = here().map(|(view, _)| view.account.credit_fen).sum();
        let paid: Fen =
            here().flat_map(|(_, payments)| payments).map(|p| p.settled.as_ref().unwrap().paid_fen).sum();
        let on = |code: &str| sums.iter().find(|(found, _)| found == code).map_or(0, |(_, fen)| *fen);
        assert!(here().count() > 5);
        assert_eq!((on("receivable"), on("credit"), on("clearing:sim-pay")), (open.0, -credit.0, paid.0));
    }
    for (view, payments) in accounts.values() {
        assert_eq!(
            (view.bills.len(), view.first_and_last),
            (13, Some((date(2025, 10, 1), date(2026, 11, 21))))
        );
        assert_eq!(view.days.len(), 417);
        assert_eq!(payments.len() + view.open_bills.len(), 13);
        let yesterday_ms = date(2026, 11, 21).at(16, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        assert!(
            payments
                .iter()
                .all(|p| p.settled.as_ref().unwrap().paid_ms
                    < yesterday_ms.timestamp().as_millisecond() as u64)
        );
        for bill in &view.bills {
            let bill = store.bill(bill.id).await.unwrap().value.unwrap();
            recompute(&bill.detail.lines, bill.head.amount_fen).unwrap();
            assert_eq!(bill.days.iter().map(|day| day.total()).sum::<Wh>(), bill.head.energy_wh);
        }
    }
}

#[tokio::test]
async fn the_first_customer_has_two_homes_in_two_shards_and_a_bill_that_crosses_a_tier() {
    let (_folder, store) = store(2);
    filled(&store, ASK).await;
    let [first, second] = [household(FIRST_HOME), household(SECOND_HOME)];
    let customer = store.customer_of_phone(first.phone.clone()).await.unwrap().unwrap();
    let bound: Vec<_> =
        store.customer(customer).await.unwrap().value.accounts.iter().map(|(a, _)| *a).collect();
    assert_eq!(bound, [first.account, second.account]);
    assert_ne!(store.map().shard(first.account.bucket()), store.map().shard(second.account.bucket()));
    for account in &bound {
        assert_eq!(view(&store, *account).await.holders, [customer]);
    }
    let home = view(&store, first.account).await;
    assert_eq!((home.open_bills.len(), home.account.tariff.as_str()), (1, "zj-residential"));
    let bill = store.bill(home.open_bills[0].id).await.unwrap().value.unwrap();
    assert_eq!(bill.head.id, BillId { account: first.account, month: Month::new(2026, 10).unwrap() });
    let kinds: Vec<_> = bill.detail.lines.iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [LineKind::Tier(1), LineKind::Tier(2)]);
    let mut customers: Vec<CustomerId> = Vec::new();
    for n in 1..=20 {
        let home = household(n);
        let customer = store.customer_of_phone(home.phone.clone()).await.unwrap().unwrap();
        assert_eq!(customer.bucket(), Bucket::of_identity(&phone_identity(&home.phone)));
        assert_eq!(store.customer(customer).await.unwrap().value.accounts[0].0, home.account);
        assert_eq!(view(&store, home.account).await.account.phone, Some(home.phone));
        customers.push(customer);
    }
    customers.dedup();
    assert_eq!(customers.len(), 20);
    assert_eq!(store.customer_of_phone(household(21).phone).await.unwrap(), None);
    assert!(view(&store, household(21).account).await.holders.is_empty());
    assert_eq!(view(&store, household(3).account).await.open_bills.len(), 2);
    assert!(view(&store, household(4).account).await.account.credit_fen > Fen::ZERO);
}

#[tokio::test]
async fn a_filling_that_was_broken_off_is_gone_on_with() {
    let ((_a, whole), (_b, broken), (_c, other)) = (store(2), store(2), store(3));
    let report = filled(&whole, ASK).await;
    let expected = everything(&whole, ASK).await;

    let world = Arc::new(World { tariffs: TariffBook::published().clone(), ask: ASK });
    fill_accounts(&broken, &world, 17, &part()).await.unwrap();
    fill_log_in(&broken, &household(5), ASK.today).await.unwrap();
    assert_eq!(filled(&broken, ASK).await, report);
    assert_eq!(everything(&broken, ASK).await, expected, "as if it had not been broken off");

    // All there: nothing is done, on whatever day.
    filled(&broken, Demo { today: date(2027, 1, 2), ..ASK }).await;
    assert_eq!(everything(&broken, ASK).await, expected);

    // The same customers, however they are spread.
    filled(&other, ASK).await;
    assert_eq!(everything(&other, ASK).await.0, expected.0);
    assert_eq!(
        phones(ASK.customers, 1),
        report.phones.iter().map(|(phone, _)| phone.clone()).collect::<Vec<_>>()
    );
}

#[test]
fn on_every_day_of_the_year_the_newest_bill_crosses_and_nothing_is_of_tomorrow() {
    let tariffs = TariffBook::published();
    let mut today = date(2026, 1, 1);
    while today < date(2027, 1, 3) {
        let puts = history::rows(&household(FIRST_HOME), today, tariffs).unwrap();
        let newest = Month::of(today).prev();
        let crossed = puts.iter().any(|put| match put {
            Put::Bill(head, detail) => {
                head.id.month == newest && head.open_fen() > Fen::ZERO && {
                    let kinds: Vec<_> = detail.lines.iter().map(|line| line.kind).collect();
                    kinds == [LineKind::Tier(1), LineKind::Tier(2)]
                }
            }
            _ => false,
        });
        assert!(crossed, "{today}");
        for n in [2, 3, 4] {
            let midnight = today.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::Offset::constant(8))).unwrap();
            for put in history::rows(&household(n), today, tariffs).unwrap() {
                match put {
                    Put::Readings { date, .. } => assert!(date < today),
                    Put::Payment(p) => {
                        assert!(p.settled.unwrap().paid_ms < midnight.timestamp().as_millisecond() as u64);
                    }
                    _ => {}
                }
            }
        }
        today = today.checked_add(jiff::Span::new().days(5)).unwrap();
    }
}

#[test]
fn the_customers_are_mixed_and_cannot_be_taken_for_real() {
    let homes: Vec<_> = (1..=2000).map(household).collect();
    let share =
        |of: &dyn Fn(&Household) -> bool| homes.iter().filter(|home| of(home)).count() * 100 / homes.len();
    assert!((24..=31).contains(&share(&|home| home.time_of_use)));
    for (standing, percent) in
        [(Standing::Paid, 55), (Standing::NewestOpen, 35), (Standing::Overdue, 8), (Standing::Credit, 2)]
    {
        assert!(share(&|home| home.standing == standing).abs_diff(percent) <= 3, "{standing:?}");
    }
    assert!(
        share(&|home| home.large) >= 1 && homes.iter().all(|home| !home.large || home.place.city == "广州市")
    );
    let invented = |text: &str| ["样例", "示例", "虚构", "样板"].iter().any(|word| text.contains(word));
    assert!(homes.iter().all(|home| invented(&home.holder) && invented(&home.address)));
    let mut accounts: Vec<_> = homes.iter().map(|home| home.account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    assert_eq!(accounts.len(), 2000);
}

#[tokio::test]
async fn without_customers_or_tariffs_there_is_nobody() {
    let (_folder, store) = store(1);
    assert_eq!(filled(&store, Demo { customers: 0, ..ASK }).await, DemoReport::default());
    let none = TariffBook::from_toml("tariff = []").unwrap();
    assert!(matches!(fill(&store, &none, ASK, &part()).await, Err(DemoError::NoTariff)));
    let many = Demo { customers: MAX_CUSTOMERS + 1, ..ASK };
    assert!(matches!(fill(&store, &none, many, &part()).await, Err(DemoError::TooMany(_))));
    assert_eq!(store.account_count(ShardId(0)).await.unwrap(), 0);
}

/// How long a newcomer waits. Run by hand: `cargo nextest run --release -p gridesk-center --run-ignored only demo`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn five_thousand_take_seconds() {
    let (_folder, store) = store(2);
    let began = std::time::Instant::now();
    filled(&store, Demo { customers: 5000, ..ASK }).await;
    println!("5,000 customers in {:?}", began.elapsed());
    assert!(began.elapsed().as_secs() < 60);
}
