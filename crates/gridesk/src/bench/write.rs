//! Durably accepted writes: payments ordered at a center node's socket without waiting for their result, each with its
//! own idempotency key by the logged-in holder of one of 10,000 accounts chosen at random.
//!
//! Beside stands one publish per write with the same flush: a thread for each of as many SQLite files as the node has,
//! that inserts the same row into the same table in a transaction of its own (WAL, synchronous FULL), with the same
//! number of publishers waiting, in this process. On the cluster profile it is one publish per write to the same NATS, over
//! as many streams as there are lanes, kept alike. The node applies what it has accepted meanwhile, on the same cores; its
//! backlog is applied before the next measurement.
use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use protocol::{
    LaneId, OperationId, RequestEnvelope, bounds::PayableFen, catalogue::requests, envelope::RequestHead,
};
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    During, Goal, Options, Result, Series,
    fixture::{self, Home, Size},
    load::{ACCEPTED, Center, DONE, Dice, closed_loop, on_one_thread, open_loop, quantile},
    site::{Child, Site},
};
use crate::{sim::PROVIDER, up::engines::Engines};

mod nats;

const SIZE: Size = Size { first: 2_000_000, accounts: 10_000, bills: 1, lines: 3, asked_of: 1 };
const CACHE_ENTITIES: u32 = 100_000;
const AMOUNT_FEN: i64 = 100;
/// How long the node may take to apply what it has accepted before the next measurement.
const APPLIED_WITHIN_MS: u32 = 60_000;

/// The lane's table, as the store's schema has it.
const TABLE: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000;
    PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824; PRAGMA journal_size_limit = 67108864;
    CREATE TABLE IF NOT EXISTS lane_message (
        lane INTEGER NOT NULL, sequence INTEGER NOT NULL, operation BLOB NOT NULL, code INTEGER NOT NULL,
        version INTEGER NOT NULL, body BLOB NOT NULL, origin BLOB NOT NULL, accepted_ms INTEGER NOT NULL,
        PRIMARY KEY (lane, sequence)
    ) STRICT, WITHOUT ROWID;";
/// About what the origin of an operation takes when packed.
const ORIGIN_BYTES: usize = 80;

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let homes: Rc<[Home]> = fixture::make(site, SIZE)?.into();
    let center = site.center(CACHE_ENTITIES)?;
    let settings = site.engines().map(Engines::settings).transpose().during("the engines' settings")?;
    let orders = Orders::new(&homes)?;
    let lanes = one_of_each_lane(site, &homes)?;
    let beside = "one publish per write, same flush";
    let mut at_32 = Series::new("accept-32", "/s", beside, Goal::RatioAtLeast(3.0));
    let mut at_256 = Series::new("accept-256", "/s", beside, Goal::RatioAtLeast(8.0));
    let mut p99 = Series::new("accept-p99", "ms", "", Goal::ValueAtMost(20.0));
    let each = options.each;
    for run in 0..options.runs {
        for (in_flight, series) in [(32, &mut at_32), (256, &mut at_256)] {
            let bare = || match &settings {
                Some(settings) => on_one_thread(nats::publish_each(
                    settings,
                    lanes.len(),
                    &requests_body()?,
                    in_flight,
                    each,
                )),
                None => on_one_thread(publish_each(site, in_flight, each)),
            };
            let figure = || {
                let rate = on_one_thread(accept(site, &center, &orders, in_flight, each))?;
                on_one_thread(applied(site, &center, &orders, &lanes))?;
                Ok(rate)
            };
            let (base, rate) = if run % 2 == 0 {
                (bare()?, figure()?)
            } else {
                let rate = figure()?;
                (bare()?, rate)
            };
            series.add(Some(base), rate);
            site.check()?;
        }
        let rate = at_256.runs.last().map_or(0.0, |(_, rate)| rate / 2.0);
        p99.add(None, on_one_thread(paced(site, &center, &orders, rate, each))?);
        on_one_thread(applied(site, &center, &orders, &lanes))?;
        site.check()?;
    }
    Ok(vec![at_32, at_256, p99])
}

/// Makes orders, each with a key that no other has.
struct Orders {
    heads: Vec<(RequestHead, requests::PaymentCreate)>,
    next: Cell<u64>,
}

impl Orders {
    fn new(homes: &[Home]) -> Result<Rc<Self>> {
        let provider: protocol::bounds::ShortName = PROVIDER.parse().during("a provider's name")?;
        let amount_fen = PayableFen::try_from(AMOUNT_FEN).during("an amount")?;
        let order = |home: &Home| {
            let asked =
                requests::PaymentCreate { account: home.account, amount_fen, provider: provider.clone() };
            Ok((home.head()?, asked))
        };
        Ok(Rc::new(Orders { heads: homes.iter().map(order).collect::<Result<_>>()?, next: Cell::new(0) }))
    }

    fn order(&self, home: usize, wait_ms: u32) -> Result<Vec<u8>> {
        let (head, asked) = &self.heads[home];
        let n = self.next.get();
        self.next.set(n + 1);
        let key = format!("bench-{n}").parse().during("a key")?;
        let head = RequestHead { idempotency_key: Some(key), wait_ms, ..head.clone() };
        Ok(RequestEnvelope { head, request: asked.clone().into() }.encode())
    }

    fn any(&self, dice: &mut Dice) -> Result<Vec<u8>> {
        self.order(dice.below(self.heads.len()), 0)
    }
}

/// An account of each lane, by its place in `homes`.
fn one_of_each_lane(site: &Site, homes: &[Home]) -> Result<Vec<usize>> {
    let map = site.map()?;
    let of = |lane: LaneId| homes.iter().position(|home| map.lane(home.account.bucket()) == lane);
    Ok(map.lanes().filter_map(of).collect())
}

async fn accept(
    site: &Site,
    child: &Child,
    orders: &Rc<Orders>,
    in_flight: usize,
    each: Duration,
) -> Result<f64> {
    let center = Center::connect(&site.path("center.sock"), child).await?;
    let worker = |n| {
        let (center, orders, mut dice) = (center.clone(), Rc::clone(orders), Dice::new(n as u64));
        std::future::ready(Ok(async move || center.ask(&orders.any(&mut dice)?, ACCEPTED).await))
    };
    closed_loop(in_flight, each, worker).await
}

/// Waits until all lanes have applied what was accepted: one more order in each, until its result is visible.
async fn applied(site: &Site, child: &Child, orders: &Rc<Orders>, lanes: &[usize]) -> Result<()> {
    let center = Center::connect(&site.path("center.sock"), child).await?;
    for home in lanes {
        center.ask(&orders.order(*home, APPLIED_WITHIN_MS)?, DONE).await?;
    }
    Ok(())
}

async fn paced(site: &Site, child: &Child, orders: &Rc<Orders>, rate: f64, each: Duration) -> Result<f64> {
    let center = Center::connect(&site.path("center.sock"), child).await?;
    let mut dice = Dice::new(1);
    let took_ms = open_loop(rate, each, || {
        let (center, order) = (center.clone(), orders.any(&mut dice));
        async move { center.ask(&order?, ACCEPTED).await }
    });
    Ok(quantile(&took_ms.await?, 0.99))
}

/// A row to be published, and who waits for it.
struct Publish {
    sequence: i64,
    done: oneshot::Sender<rusqlite::Result<()>>,
}

/// Publishes with `in_flight` waiting, one transaction each, a second.
async fn publish_each(site: &Site, in_flight: usize, each: Duration) -> Result<f64> {
    let body = requests_body()?;
    let files = (0..site.shards()).map(|n| {
        let connection = open(&site.path(&format!("publish-{n}.db")))?;
        let (sender, waiting) = mpsc::channel(in_flight);
        let body = body.clone();
        std::thread::spawn(move || publisher(&connection, &body, waiting));
        Ok(sender)
    });
    let files: Vec<mpsc::Sender<Publish>> =
        files.collect::<rusqlite::Result<_>>().during("opening a file")?;
    let sequence = Rc::new(Cell::new(jiff::Timestamp::now().as_microsecond()));
    let worker = |n: usize| {
        let (file, sequence) = (files[n % files.len()].clone(), Rc::clone(&sequence));
        std::future::ready(Ok(async move || {
            sequence.set(sequence.get() + 1);
            let (done, published) = oneshot::channel();
            file.send(Publish { sequence: sequence.get(), done }).await.during("publishing")?;
            published.await.during("publishing")?.during("publishing")
        }))
    };
    closed_loop(in_flight, each, worker).await
}

/// The body of an order, as it is in a lane.
fn requests_body() -> Result<Vec<u8>> {
    let account = protocol::AccountId::mint(33, 1).ok_or("no account").during("an order")?;
    let provider = PROVIDER.parse().during("an order")?;
    let amount_fen = PayableFen::try_from(AMOUNT_FEN).during("an order")?;
    Ok(protocol::Request::from(requests::PaymentCreate { account, amount_fen, provider }).encode())
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.execute_batch(TABLE)?;
    Ok(connection)
}

fn publisher(connection: &Connection, body: &[u8], mut waiting: mpsc::Receiver<Publish>) {
    while let Some(Publish { sequence, done }) = waiting.blocking_recv() {
        let id = OperationId::mint(protocol::Bucket::FIRST, u128::from(sequence.unsigned_abs()) << 64);
        let insert = || {
            let mut insert = connection
                .prepare_cached("INSERT INTO lane_message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
            let row =
                params![0, sequence, id.bits().to_be_bytes(), 0x50, 1, body, [0u8; ORIGIN_BYTES], sequence];
            insert.execute(row).map(drop)
        };
        // Nobody waits any more where the measurement has ended.
        done.send(insert()).ok();
    }
}
