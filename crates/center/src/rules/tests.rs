//! The rules, applied through a real store: what a customer, a provider or a thief may try, one operation at a time.
mod service;

use std::sync::Arc;

use domain::{
    billing::BillTerms,
    calendar::Month,
    forms::FormBook,
    late_fee::LateFeeRate,
    money::Fen,
    readings::{DayReadings, Quality},
    tariff::TariffBook,
};
use protocol::{
    AccountId, Bucket, ChallengeId, Channel, Code, CustomerId, OperationId, PaymentId, Problem, Reply,
    Request,
    catalogue::{
        replies::BillPart,
        requests::{self, BindProof},
    },
    envelope::Language,
    routing::ShardMap,
};
use storage::{
    message::{Ended, LaneMessage, NewMessage, Origin},
    store::{Batch, Layout, Store},
};

mod person;

use super::{DebitTerms, ExportTerms, Rules, SupplyTerms};
use crate::{
    config::{Provider, SharedSecret},
    keys::{CodeKey, ReceiptKey},
    operation::{Import, Operation, Own, SessionContinue, Settle},
};

mod export;
mod files;
mod mandate;
mod supply;

const START_MS: u64 = 1_800_000_000_000;
const SECOND: u64 = 1000;

/// One shard with one lane, and a clock that only moves when told.
struct World {
    store: Store,
    rules: Arc<Rules>,
    applied: u64,
    now_ms: u64,
    customer: Option<CustomerId>,
    session: Option<protocol::SessionId>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let map = ShardMap::even(1, 1).unwrap();
        let layout = Layout { folder: folder.path().join("shards"), map, readers: 1 };
        let (store, _) = Store::open(&layout).unwrap();
        let secret =
            SharedSecret::new(runtime::secret::load_or_create_key(&folder.path().join("pay")).unwrap());
        let provider = Provider {
            name: "sim-pay".parse().unwrap(),
            pay_url: "http://sim/pay".into(),
            mandate_url: Some("http://sim/mandate".into()),
            secret,
        };
        let rules = Rules {
            codes: CodeKey::load_or_create(folder.path()).unwrap(),
            receipts: ReceiptKey::load_or_create(folder.path()).unwrap(),
            tariffs: Arc::new(TariffBook::published().clone()),
            forms: Arc::new(FormBook::built_in()),
            providers: vec![provider],
            public_url: "http://portal".into(),
            late_fee: LateFeeRate::RESIDENTS,
            debit: DebitTerms::default(),
            supply: SupplyTerms { cut_after_overdue_days: 30, reconnect_after_s: 300 },
            exports: ExportTerms { has_place: true, keep_s: 7 * 24 * 3600 },
        };
        World {
            store,
            rules: Arc::new(rules),
            applied: 0,
            now_ms: START_MS,
            customer: None,
            session: None,
            _folder: folder,
        }
    }

    async fn apply(&mut self, operation: Operation, bucket: Bucket) -> Result<Reply, Code> {
        let id = OperationId::derive(bucket, "test", "", &self.applied.to_string());
        let origin = Origin {
            accepted_ms: self.now_ms,
            customer: self.customer,
            session: self.session,
            channel: Channel::Portal,
            language: Language::En,
            request_id: [0; 16],
            trace_id: [0; 16],
        };
        let (code, version, body) = (operation.code(), operation.version(), operation.encode());
        let lane = self.store.map().lane(bucket);
        let message = LaneMessage {
            sequence: self.applied + 1,
            message: NewMessage { operation: id, code, version, body, origin },
        };
        let epoch = self.store.claim(lane, None).await.unwrap().0;
        let batch = Batch { lane, epoch, generation: 1, after: self.applied, messages: vec![message] };
        self.applied = self.store.apply(batch, Arc::clone(&self.rules) as _).await.unwrap().sequence;
        match self.store.operation(id).await.unwrap().value.unwrap().ended {
            Ended::Applied(reply) => Ok(reply),
            Ended::Rejected(Problem { code, .. }) => Err(code),
            Ended::Failed(why) => panic!("{why}"),
        }
    }

    async fn ask(&mut self, request: impl Into<Request>) -> Result<Reply, Code> {
        let request = request.into();
        let bucket = request.bucket().or(self.customer.map(CustomerId::bucket)).unwrap();
        self.apply(Operation::Asked(request), bucket).await
    }

    async fn own(&mut self, own: Own, bucket: Bucket) -> Result<Reply, Code> {
        self.apply(Operation::Own(own), bucket).await
    }

    async fn challenge(&mut self, phone: &str) -> Result<ChallengeId, Code> {
        match self.ask(requests::LoginStart { phone: phone.parse().unwrap() }).await? {
            Reply::LoginStart(r) => Ok(r.challenge),
            other => panic!("{other:?}"),
        }
    }

    async fn finish(&mut self, challenge: ChallengeId, right: bool) -> Result<Reply, Code> {
        let code = self.rules.codes.code(challenge);
        let wrong = if code.as_str() == "000000" { "111111" } else { "000000" };
        let code = if right { code } else { wrong.parse().unwrap() };
        self.ask(requests::LoginFinish { challenge, code }).await
    }

    async fn log_in(&mut self, phone: &str) -> (CustomerId, protocol::SessionId) {
        let challenge = self.challenge(phone).await.unwrap();
        match self.finish(challenge, true).await.unwrap() {
            Reply::LoginFinish(r) => (r.customer, r.session),
            other => panic!("{other:?}"),
        }
    }

    /// An account with two open bills of 100 kWh at Beijing's first tier: 48.83 yuan each.
    async fn account(&mut self) -> AccountId {
        let account = AccountId::mint(11, 77).unwrap();
        let mut days = Vec::new();
        for month in ["2027-01", "2027-02"] {
            let mut day = DayReadings::new(month.parse::<Month>().unwrap().first_day(), 3600).unwrap();
            day.add(0, domain::money::Wh::from_kwh(100), Quality::Valid).unwrap();
            days.push(day);
        }
        let import = Import {
            account,
            holder: "样例".into(),
            phone: Some("19900000077".parse().unwrap()),
            address: "样例路 1 号".into(),
            division: "110105".into(),
            tariff: "bj-residential".parse().unwrap(),
            terms: BillTerms::default(),
            days,
        };
        self.own(Own::Import(import), account.bucket()).await.unwrap();
        account
    }

    async fn bound_account(&mut self) -> AccountId {
        let account = self.account().await;
        self.customer = Some(self.log_in("19900000001").await.0);
        let proof = BindProof::LatestBill { month: "2027-02".parse().unwrap(), amount_fen: 4883 };
        self.ask(requests::AccountBind { account, proof }).await.unwrap();
        account
    }

    async fn order(&mut self, account: AccountId, fen: i64) -> PaymentId {
        let ask = requests::PaymentCreate {
            account,
            amount_fen: fen.try_into().unwrap(),
            provider: "sim-pay".parse().unwrap(),
        };
        match self.ask(ask).await.unwrap() {
            Reply::PaymentCreate(r) => r.payment,
            other => panic!("{other:?}"),
        }
    }

    async fn settle(&mut self, payment: PaymentId, transaction: &str, fen: i64) -> Result<bool, Code> {
        let settle = Settle {
            payment,
            provider: "sim-pay".into(),
            transaction: transaction.into(),
            amount_fen: Fen(fen),
            paid_s: self.now_ms / 1000,
        };
        match self.own(Own::Settle(settle), payment.bucket()).await? {
            Reply::PaymentCallback(r) => Ok(r.duplicate),
            other => panic!("{other:?}"),
        }
    }

    /// (owed, credit), with the ledger saying the same and summing to zero.
    async fn balance(&self, account: AccountId) -> (i64, i64) {
        let view = self.store.account(account, Vec::new()).await.unwrap().value.unwrap();
        let owed: i64 = view.open_bills.iter().map(|b| b.open_fen().0 + b.late_fee.open_fen().0).sum();
        let sums = self.store.ledger_sums(protocol::ShardId(0)).await.unwrap();
        let of = |code: &str| sums.iter().find(|(c, _)| c == code).map_or(0, |(_, fen)| *fen);
        assert_eq!(sums.iter().map(|(_, fen)| fen).sum::<i64>(), 0, "{sums:?}");
        assert_eq!((of("receivable"), -of("credit")), (owed, view.account.credit_fen.0), "{sums:?}");
        (owed, view.account.credit_fen.0)
    }

    /// What stands on a code of the ledger, debit positive.
    async fn booked(&self, code: &str) -> i64 {
        let sums = self.store.ledger_sums(protocol::ShardId(0)).await.unwrap();
        sums.iter().find(|(found, _)| found == code).map_or(0, |(_, fen)| *fen)
    }
}

#[tokio::test]
async fn a_code_opens_one_session_and_five_wrong_ones_close_the_door() {
    let mut world = World::new();
    let challenge = world.challenge("19900000001").await.unwrap();
    assert_eq!(world.challenge("19900000001").await, Err(Code::TooManyRequests));
    assert_eq!(world.finish(challenge, false).await, Err(Code::CodeWrong));
    assert!(world.finish(challenge, true).await.is_ok());
    assert_eq!(world.finish(challenge, true).await, Err(Code::CodeExpired), "used twice");

    let challenge = world.challenge("19900000001").await.unwrap();
    for _ in 0..5 {
        assert_eq!(world.finish(challenge, false).await, Err(Code::CodeWrong));
    }
    assert_eq!(world.finish(challenge, true).await, Err(Code::TooManyAttempts));

    world.now_ms += 61 * SECOND;
    let challenge = world.challenge("19900000001").await.unwrap();
    world.now_ms += 300 * SECOND;
    assert_eq!(world.finish(challenge, true).await, Err(Code::CodeExpired));
}

#[tokio::test]
async fn codes_to_one_phone_are_few_an_hour() {
    let mut world = World::new();
    for _ in 0..8 {
        world.challenge("19900000001").await.unwrap();
        world.now_ms += 61 * SECOND;
    }
    assert_eq!(world.challenge("19900000001").await, Err(Code::TooManyRequests));
    assert!(world.challenge("19900000002").await.is_ok(), "another phone");
    world.now_ms += 3600 * SECOND;
    assert!(world.challenge("19900000001").await.is_ok());
}

#[tokio::test]
async fn the_same_phone_is_the_same_customer_and_sessions_end_when_a_token_is_used_twice() {
    let mut world = World::new();
    let (customer, session) = world.log_in("19900000001").await;
    assert_eq!(world.log_in("19900000001").await.0, customer);
    let go_on = |generation| Own::SessionContinue(SessionContinue { session, generation });
    assert!(world.own(go_on(1), session.bucket()).await.is_ok());
    assert!(world.own(go_on(2), session.bucket()).await.is_ok());
    assert_eq!(world.own(go_on(2), session.bucket()).await, Err(Code::Unauthenticated), "a copy was used");
    assert_eq!(
        world.own(go_on(3), session.bucket()).await,
        Err(Code::Unauthenticated),
        "and so nobody goes on"
    );
}

#[tokio::test]
async fn an_account_is_bound_only_with_its_own_proof() {
    let mut world = World::new();
    let account = world.account().await;
    world.customer = Some(world.log_in("19900000001").await.0);
    let bill = |fen| BindProof::LatestBill { month: "2027-02".parse().unwrap(), amount_fen: fen };
    for _ in 0..7 {
        assert_eq!(world.ask(requests::AccountBind { account, proof: bill(1) }).await, Err(Code::ProofWrong));
    }
    let nobody = AccountId::mint(11, 78).unwrap();
    let unknown = requests::AccountBind { account: nobody, proof: bill(4883) };
    assert_eq!(world.ask(unknown).await, Err(Code::ProofWrong), "as if it existed");

    let started = world.ask(requests::AccountBindStart { account }).await.unwrap();
    let Reply::AccountBindStart(started) = started else { panic!("{started:?}") };
    let late = requests::AccountBind { account, proof: bill(4883) };
    assert_eq!(world.ask(late).await, Err(Code::TooManyAttempts), "eight tries a day");

    world.now_ms += 24 * 3600 * SECOND;
    let again = world.ask(requests::AccountBindStart { account }).await.unwrap();
    let Reply::AccountBindStart(again) = again else { panic!("{again:?}") };
    let by_code = |challenge, of: &World| BindProof::Code { challenge, code: of.rules.codes.code(challenge) };
    let expired = requests::AccountBind { account, proof: by_code(started.challenge, &world) };
    assert_eq!(world.ask(expired).await, Err(Code::ProofWrong), "whatever is wrong with it");
    let right = requests::AccountBind { account, proof: by_code(again.challenge, &world) };
    assert!(world.ask(right).await.is_ok());
    let holders = world.store.holders(account).await.unwrap().value.unwrap();
    assert_eq!(holders, vec![world.customer.unwrap()]);
}

#[tokio::test]
async fn a_login_code_does_not_bind_and_a_binding_code_does_not_log_in() {
    let mut world = World::new();
    let account = world.account().await;
    world.customer = Some(world.log_in("19900000001").await.0);
    let login = world.challenge("19900000077").await.unwrap();
    let proof = BindProof::Code { challenge: login, code: world.rules.codes.code(login) };
    assert_eq!(world.ask(requests::AccountBind { account, proof }).await, Err(Code::ProofWrong));
    let started = world.ask(requests::AccountBindStart { account }).await.unwrap();
    let Reply::AccountBindStart(started) = started else { panic!("{started:?}") };
    assert_eq!(world.finish(started.challenge, true).await, Err(Code::CodeExpired));
}

#[tokio::test]
async fn a_payment_pays_the_oldest_bill_first_and_once() {
    let mut world = World::new();
    let account = world.bound_account().await;
    assert_eq!(world.balance(account).await, (9766, 0));
    let payment = world.order(account, 5000).await;
    assert_eq!(world.balance(account).await, (9766, 0), "ordering takes nothing");
    assert_eq!(world.settle(payment, "t1", 4999).await, Err(Code::AmountMismatch));
    assert_eq!(world.balance(account).await, (9766, 0));
    assert_eq!(world.settle(payment, "t1", 5000).await, Ok(false));
    assert_eq!(world.balance(account).await, (4766, 0));
    assert_eq!(world.settle(payment, "t1", 5000).await, Ok(true), "the provider told it twice");
    assert_eq!(world.balance(account).await, (4766, 0));
    let bills = world.store.bills(account, None, 10).await.unwrap().value;
    assert_eq!(bills.iter().map(|b| b.paid_fen.0).collect::<Vec<_>>(), vec![117, 4883], "newest first");
}

#[tokio::test]
async fn a_second_debit_and_an_overpayment_become_credit_and_late_money_is_taken() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let payment = world.order(account, 5000).await;
    world.now_ms += 3600 * SECOND;
    assert_eq!(world.settle(payment, "t1", 5000).await, Ok(false), "late, but taken");
    assert_eq!(world.settle(payment, "t2", 5000).await, Ok(false));
    assert_eq!(world.balance(account).await, (4766, 5000), "a second debit is credit, whole");
    let more = world.order(account, 6000).await;
    assert_eq!(world.settle(more, "t3", 6000).await, Ok(false));
    assert_eq!(world.balance(account).await, (0, 6234));
    let row = world.store.payment(payment).await.unwrap().value.unwrap().settled.unwrap();
    assert_eq!((row.paid_fen.0, row.credit_fen.0, row.transactions.len()), (10_000, 5000, 2));
}

#[tokio::test]
async fn nothing_is_ordered_for_no_account_and_of_no_provider() {
    let mut world = World::new();
    let account = world.account().await;
    world.customer = Some(world.log_in("19900000001").await.0);
    let ask = |account, provider: &str| requests::PaymentCreate {
        account,
        amount_fen: 100.try_into().unwrap(),
        provider: provider.parse().unwrap(),
    };
    assert_eq!(world.ask(ask(AccountId::mint(11, 78).unwrap(), "sim-pay")).await, Err(Code::NotFound));
    assert_eq!(world.ask(ask(account, "nobody")).await, Err(Code::InvalidRequest));
    let unknown = PaymentId::mint(account.bucket(), 1);
    assert_eq!(world.settle(unknown, "t1", 100).await, Err(Code::NotFound));
}

/// Noon in China on the day that a bill is due, `days` later.
fn days_after_due(month: &str, days: u64) -> u64 {
    let due = month.parse::<Month>().unwrap().next().first_day().with().day(25).build().unwrap();
    let noon = due.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::fixed(crate::day::CHINA)).unwrap();
    noon.timestamp().as_millisecond() as u64 + days * 24 * 3600 * SECOND
}

#[tokio::test]
async fn a_late_bill_costs_a_fee_as_of_the_day_its_payment_was_ordered() {
    let mut world = World::new();
    let account = world.bound_account().await;
    // January's bill is ten days late, February's is not due yet: 48.83 yuan and ten days of 0.04883.
    world.now_ms = days_after_due("2027-01", 10);
    let payment = world.order(account, 4883 + 49).await;
    world.now_ms += 20 * 60 * SECOND;
    assert_eq!(world.settle(payment, "t1", 4932).await, Ok(false));
    assert_eq!(world.balance(account).await, (4883, 0), "exactly what was late is closed");
    let settled = world.store.payment(payment).await.unwrap().value.unwrap().settled.unwrap();
    let january = protocol::BillId { account, month: "2027-01".parse().unwrap() };
    let part = |fen| vec![BillPart { bill: january, amount_fen: Fen(fen) }];
    assert_eq!((settled.bills, settled.late_fees, settled.credit_fen), (part(4883), part(49), Fen(0)));
    assert_eq!(world.booked("late-fees").await, -49);
    let bills = world.store.bills(account, None, 10).await.unwrap().value;
    assert_eq!((bills[1].late_fee.paid_fen, bills[1].is_open()), (Fen(49), false));
}

#[tokio::test]
async fn a_part_pays_the_amount_first_and_what_is_left_of_the_fee_stays_owed() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.now_ms = days_after_due("2027-01", 10);
    let part = world.order(account, 2000).await;
    assert_eq!(world.settle(part, "t1", 2000).await, Ok(false));
    // The fee so far, half up 48.83 fen, is charged: money has reached the bill.
    assert_eq!(world.balance(account).await, (2 * 4883 - 2000 + 49, 0));
    world.now_ms += 10 * 24 * 3600 * SECOND;
    let rest = world.order(account, 2883).await;
    assert_eq!(world.settle(rest, "t2", 2883).await, Ok(false));
    // 48.83 and ten days of 2.883: 77.66 fen, rounded once.
    assert_eq!(world.balance(account).await, (4883 + 78, 0));
    assert_eq!(world.booked("late-fees").await, -78);
    world.now_ms += 5 * 24 * 3600 * SECOND;
    let fee = world.order(account, 78).await;
    assert_eq!(world.settle(fee, "t3", 78).await, Ok(false), "a fee bears no fee");
    assert_eq!(world.balance(account).await, (4883, 0));
}

#[tokio::test]
async fn an_order_paid_after_its_time_pays_the_fee_of_the_day_it_was_paid() {
    let mut world = World::new();
    let account = world.bound_account().await;
    world.now_ms = days_after_due("2027-01", 0);
    let payment = world.order(account, 5000).await;
    world.now_ms = days_after_due("2027-01", 20);
    assert_eq!(world.settle(payment, "t1", 5000).await, Ok(false));
    assert_eq!(world.booked("late-fees").await, -98, "twenty days, not none");
    assert_eq!(world.balance(account).await, (4883 - (5000 - 4883 - 98), 0));
}
