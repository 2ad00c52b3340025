//! The accounts that are measured with: made up, written into a center's data folder, or into the databases of a cluster,
//! before the center starts.
use center::keys::SessionKeys;
use domain::{
    billing::{BillLine, LineKind},
    calendar::Month,
    late_fee::LateFee,
    money::{Fen, PriceE4, Wh},
    tariff::TariffId,
};
use jiff::{Timestamp, tz::Offset};
use protocol::{
    AccountId, BillId, Bucket, Channel, CustomerId, RequestEnvelope, ServiceRequestId, SessionId, ShardId,
    Token,
    bounds::Text,
    catalogue::{
        replies::{RequestKind, RequestState},
        requests,
    },
    envelope::{Language, MAX_DEADLINE_MS, RequestHead},
    session::{Claims, TokenUse},
};
use storage::{
    queue::Queue,
    rows::{Account, BillDetail, BillHead, Put, ServiceRequest, Session},
    store::{Closing, Layout, Store},
};
use tokio::runtime::Runtime;

use super::{During, Result, site::Site};

/// Tokens outlive any benchmark.
const TTL_S: u64 = 24 * 3600;
/// Numbers of homes of one province.
const PROVINCE: u64 = 10_000_000;
/// Rows of one filling transaction.
const CHUNK: usize = 5_000;
/// What each bill amounts to.
const BILL_FEN: i64 = 32_100;

/// An account with its holder, who is logged in.
pub(super) struct Home {
    pub(super) account: AccountId,
    pub(super) customer: CustomerId,
    pub(super) session: SessionId,
    /// The holder's access token.
    pub(super) token: String,
}

/// The account that says that a cluster's databases are for benchmarks.
const MARK: Size = Size { first: 9_999_999, accounts: 1, bills: 0, lines: 0, asked_of: 1 };

/// How much of everything.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// The number of the first account: no two benchmarks have the same accounts.
    pub(super) first: u64,
    pub(super) accounts: u64,
    pub(super) bills: u8,
    pub(super) lines: u8,
    /// One of so many has a holder who is logged in, and is answered; 0: none.
    pub(super) asked_of: u64,
}

impl Size {
    fn is_asked(self, n: u64) -> bool {
        self.asked_of > 0 && (n - self.first).is_multiple_of(self.asked_of)
    }
}

impl Home {
    /// What goes along with a question of the holder's.
    pub(super) fn head(&self) -> Result<RequestHead> {
        Ok(RequestHead {
            request_id: self.session.bits().to_be_bytes(),
            trace_id: self.session.bits().to_be_bytes(),
            span_id: [7; 8],
            deadline_ms: MAX_DEADLINE_MS,
            channel: Channel::Portal,
            client: "portal".parse().during("a client's name")?,
            language: Language::Zh,
            session: Some(Text::new(self.token.clone()).during("a token")?),
            idempotency_key: None,
            wait_ms: 0,
            token: Token::default(),
            strict: false,
        })
    }

    /// The encoded question for the account's first page of bills.
    pub(super) fn bill_list(&self) -> Result<Vec<u8>> {
        let asked = requests::BillList { account: self.account, before: None, limit: 0 };
        Ok(RequestEnvelope { head: self.head()?, request: asked.into() }.encode())
    }
}

/// A center's shards and lanes, opened in this process.
pub(super) struct Shards {
    pub(super) store: Store,
    pub(super) queue: Queue,
    /// What speaks to engines runs on it.
    pub(super) runtime: Runtime,
    closing: Option<Closing>,
}

impl Shards {
    /// Opens those in the site's folder, which nobody else has open, or those of its cluster.
    pub(super) fn open(site: &Site) -> Result<Shards> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, map) = (runtime.during("starting")?, site.map()?);
        let Some(engines) = site.engines() else {
            let layout = Layout { folder: site.path("center").join("shards"), map, readers: 4 };
            let (store, closing) = Store::open(&layout).during("opening the store")?;
            let queue = Queue::new(store.clone());
            return Ok(Shards { store, queue, runtime, closing: Some(closing) });
        };
        let settings = engines.settings().during("the engines' settings")?;
        let connect = async {
            let lanes = Queue::connect(&settings.nats, map.lanes());
            tokio::try_join!(Store::connect(&settings.postgres, &map), lanes)
        };
        let (store, queue) = runtime.block_on(connect).during("connecting to the engines")?;
        Ok(Shards { store, queue, runtime, closing: None })
    }

    /// Writes rows, each into its shard.
    pub(super) fn fill(&self, puts: Vec<(Bucket, Put)>) -> Result<()> {
        let map = self.store.map();
        let mut by_shard: Vec<Vec<Put>> = (0..map.shards()).map(|_| Vec::new()).collect();
        for (bucket, put) in puts {
            by_shard[usize::from(map.shard(bucket).0)].push(put);
        }
        let all = (0..).map(ShardId).zip(by_shard).map(|(shard, puts)| self.store.fill(shard, puts));
        self.runtime.block_on(futures_util::future::try_join_all(all)).during("filling the store").map(drop)
    }

    /// Refuses databases that hold what is not for benchmarks.
    fn mark(&self, keys: &SessionKeys) -> Result<()> {
        let mark = home(MARK.first, Some(keys))?;
        let known = async {
            let mut accounts = 0;
            for shard in (0..self.store.map().shards()).map(ShardId) {
                accounts += self.store.account_count(shard).await?;
            }
            Ok::<_, storage::StorageError>((accounts, self.store.account_row(mark.account).await?.value))
        };
        match self.runtime.block_on(known).during("looking what is there")? {
            (_, Some(_)) => Ok(()),
            (0, None) => {
                let mut puts = Vec::new();
                rows(&mark, MARK, &mut puts)?;
                self.fill(puts)
            }
            (accounts, None) => {
                let why = format!("{accounts} accounts are there: name engines that hold nothing");
                Err(why).during("looking what is there")
            }
        }
    }

    /// Closes what was opened.
    pub(super) fn close(self) {
        let Shards { store, queue, runtime, closing } = self;
        drop((store, queue));
        closing.into_iter().for_each(Closing::wait);
        runtime.shutdown_background();
    }
}

/// Makes accounts where the center has its data, before it starts; gives those whose holders are logged in.
pub(super) fn make(site: &Site, size: Size) -> Result<Vec<Home>> {
    let keys_folder = site.path("center").join("keys");
    std::fs::create_dir_all(&keys_folder).during("the center's keys")?;
    let keys = SessionKeys::load_or_create(&keys_folder).during("the center's keys")?;
    let shards = Shards::open(site)?;
    if site.engines().is_some() {
        shards.mark(&keys)?;
    }
    let mut homes = Vec::new();
    let part = (CHUNK / (usize::from(size.bills) + 4)) as u64;
    let end = size.first + size.accounts;
    for first in (size.first..end).step_by(part as usize) {
        site.check()?;
        let mut puts = Vec::with_capacity(CHUNK);
        for n in first..end.min(first + part) {
            let home = home(n, size.is_asked(n).then_some(&keys))?;
            rows(&home, size, &mut puts)?;
            homes.extend(Some(home).filter(|home| !home.token.is_empty()));
        }
        shards.fill(puts)?;
    }
    shards.close();
    Ok(homes)
}

/// Gives each home's holder an open request, in the center's data folder, which nobody else has open.
pub(super) fn requests(site: &Site, homes: Vec<Home>) -> Result<Vec<(Home, ServiceRequestId)>> {
    let now_ms = Timestamp::now().as_millisecond().unsigned_abs();
    let request = |home: &Home| ServiceRequest {
        id: ServiceRequestId::mint(home.customer.bucket(), u128::from(home.account.number()) << 64),
        account: None,
        customer: home.customer,
        kind: RequestKind::Consult,
        form: "billing-question".into(),
        title_en: "Ask about a bill".into(),
        title_zh: "电费咨询".into(),
        answers: Vec::new(),
        state: RequestState::Received,
        created_ms: now_ms,
        changed_ms: now_ms,
        answer_by_ms: None,
        paused_left_ms: None,
        outage: None,
        steps: 0,
    };
    let requests: Vec<_> = homes.iter().map(request).collect();
    let ids: Vec<_> = requests.iter().map(|request| request.id).collect();
    let shards = Shards::open(site)?;
    shards.fill(requests.into_iter().map(|one| (one.id.bucket(), Put::Request(one))).collect())?;
    shards.close();
    Ok(homes.into_iter().zip(ids).collect())
}

/// The home of a number; with the keys its holder is logged in.
fn home(n: u64, keys: Option<&SessionKeys>) -> Result<Home> {
    // Serials have ten digits.
    let (province, serial) = (33 + (n / PROVINCE) as u8, n % PROVINCE * 997);
    let account = AccountId::mint(province, serial).ok_or("too many accounts").during("making accounts")?;
    let bucket = Bucket::of_identity(&format!("phone:199{n:08}"));
    let customer = CustomerId::mint(bucket, u128::from(n + 1) << 64);
    let session = SessionId::mint(bucket, u128::from(n + 1) << 65);
    let claims =
        Claims { key_id: 0, usage: TokenUse::Access, session, customer, generation: 1, expires_s: 0 };
    let now_s = Timestamp::now().as_second().unsigned_abs();
    let token = keys.map(|keys| keys.sign(TokenUse::Access, claims, now_s, TTL_S)).unwrap_or_default();
    Ok(Home { account, customer, session, token })
}

fn rows(home: &Home, size: Size, puts: &mut Vec<(Bucket, Put)>) -> Result<()> {
    let now = Timestamp::now();
    let today = Offset::constant(8).to_datetime(now).date();
    let now_ms = now.as_millisecond().unsigned_abs();
    let tariff: TariffId = "zj-residential".parse().during("a tariff's name")?;
    let Home { account, customer, session, .. } = *home;
    let opened = Month::new(2015, 1).during("a month")?;
    let own = Account {
        id: account,
        holder: "样例·晨光".to_owned(),
        phone: None,
        address: "样例路 1 号".to_owned(),
        division: "330106".to_owned(),
        tariff: tariff.clone(),
        large_household: false,
        opened,
        credit_fen: Fen(0),
        wrong_proofs: 0,
        proof_window_ms: 0,
    };
    let expires_ms = now_ms + TTL_S * 1000;
    let log_in = Session {
        id: session,
        customer,
        generation: 1,
        expires_ms,
        ended: false,
        begun_ms: now_ms,
        used_ms: now_ms,
        channel: None,
    };
    puts.push((account.bucket(), Put::Account(own)));
    puts.push((account.bucket(), Put::Holder { account, customer, since_ms: 1 }));
    puts.push((customer.bucket(), Put::CustomerAccount { customer, account, since_ms: 1 }));
    if !home.token.is_empty() {
        puts.push((session.bucket(), Put::Session(log_in)));
    }
    let mut month = Month::of(today);
    for age in 0..size.bills {
        month = month.prev();
        let head = BillHead {
            id: BillId { account, month },
            tariff: tariff.clone(),
            tariff_from: opened.first_day(),
            energy_wh: Wh(428_756 + i64::from(age)),
            amount_fen: Fen(BILL_FEN),
            // The newest is open, so that payments have something to pay.
            paid_fen: Fen(if age == 0 { 0 } else { BILL_FEN }),
            issued_on: month.next().first_day(),
            due_on: month.next().last_day(),
            late_fee: LateFee::default(),
        };
        let line = |n: u8| BillLine {
            kind: LineKind::Tier(n + 1),
            energy_wh: Wh(71_459),
            price_e4: PriceE4(5380),
            amount_fen: Fen(3844),
            note: None,
        };
        let lines = (0..size.lines).map(line).collect();
        let detail = BillDetail { lines, used_before_wh: Wh(0), tier_limits_wh: Vec::new() };
        puts.push((account.bucket(), Put::Bill(head, detail)));
    }
    Ok(())
}
