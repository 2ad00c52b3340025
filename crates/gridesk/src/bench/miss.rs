//! Uncached reads: a page of bills (2 bills of 6 lines each) from a center node whose cache holds nothing, 64 in flight,
//! beside the same rows read by the same SQL with nothing around it.
//!
//! The bare side is SQLite called directly in this process: 2 threads, statements prepared, one snapshot for all of a
//! request's rows. There is no socket, no encoding, no task between; on the figure's side there are all of them. On
//! the cluster profile it is `pgbench` on the same slave of the first shard, and the node's Redis is away.
use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use protocol::ShardId;
use rusqlite::{Connection, OpenFlags, config::DbConfig, params};

use super::{
    During, Goal, Options, Result, Series,
    fixture::{self, Home, Size},
    in_turns,
    load::{Dice, on_one_thread},
    pgbench,
    read::over_socket,
    site::{Child, Site},
};

const SIZE: Size = Size { first: 1_000_000, accounts: 10_000, bills: 2, lines: 6, asked_of: 1 };
const THREADS: usize = 2;
/// As many as the node asks for: a page and one more, to know whether there are more.
const PAGE: u32 = 14;

/// What the bare side asks for: the same keys as the node.
struct Keys {
    file: PathBuf,
    session_file: PathBuf,
    lane: u16,
    session_lane: u16,
    account: i64,
    session: [u8; 16],
}

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let homes = fixture::make(site, SIZE)?;
    let center = site.center(0)?;
    let map = site.map()?;
    if let Some(engines) = site.engines() {
        let settings = engines.settings().during("the engines' settings")?;
        let shard = settings.postgres.shards.first().ok_or("no shard").during("the engines' settings")?;
        let slave =
            shard.slaves.first().ok_or("the first shard has no slave").during("the engines' settings")?;
        let here = |bucket| map.shard(bucket) == ShardId(0);
        let lives_here = |home: &Home| here(home.account.bucket()) && here(home.session.bucket());
        let homes: Vec<Home> = homes.into_iter().filter(lives_here).collect();
        return beside_pgbench(site, options, &center, slave, &homes);
    }
    let asks: Rc<[Vec<u8>]> = homes.iter().map(Home::bill_list).collect::<Result<_>>()?;
    let file = |shard| site.path("center").join("shards").join(format!("shard-{shard}.db"));
    let keys: Vec<Keys> = homes
        .iter()
        .map(|home| Keys {
            file: file(map.shard(home.account.bucket())),
            session_file: file(map.shard(home.session.bucket())),
            lane: map.lane(home.account.bucket()).0,
            session_lane: map.lane(home.session.bucket()).0,
            account: home.account.number().cast_signed(),
            session: home.session.bits().to_be_bytes(),
        })
        .collect();
    let each = options.each;
    let mut series =
        [Series::new("miss", "/s", "the same SQL in process, 2 threads", Goal::RatioAtLeast(0.5))];
    let baseline = || bare(&keys, each).map(|rate| vec![rate]);
    let figure = || on_one_thread(over_socket(site, &center, &asks, each)).map(|rate| vec![rate]);
    in_turns(site, options, &mut series, baseline, figure)?;
    Ok(series.into())
}

fn beside_pgbench(
    site: &Site,
    options: &Options,
    center: &Child,
    slave: &str,
    homes: &[Home],
) -> Result<Vec<Series>> {
    let asks: Rc<[Vec<u8>]> = homes.iter().map(Home::bill_list).collect::<Result<_>>()?;
    let each = options.each;
    let mut series =
        [Series::new("miss", "/s", "the same SQL by pgbench, 16 clients", Goal::RatioAtLeast(0.5))];
    let baseline = || pgbench::run(site, slave, homes, each).map(|rate| vec![rate]);
    let figure = || on_one_thread(over_socket(site, center, &asks, each)).map(|rate| vec![rate]);
    in_turns(site, options, &mut series, baseline, figure)?;
    Ok(series.into())
}

fn bare(keys: &[Keys], each: Duration) -> Result<f64> {
    let counts: Vec<Result<u64>> = std::thread::scope(|scope| {
        let work = |n: usize| move || one_thread(keys, Dice::new(n as u64), each);
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(work(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(0))).collect()
    });
    Ok(counts.into_iter().sum::<Result<u64>>()? as f64 / each.as_secs_f64())
}

fn one_thread(keys: &[Keys], mut dice: Dice, each: Duration) -> Result<u64> {
    let mut open: Vec<(&Path, Connection)> = Vec::new();
    for file in keys.iter().flat_map(|key| [&key.file, &key.session_file]) {
        if open.iter().all(|(other, _)| other != file) {
            open.push((file, connect(file).during("opening a shard")?));
        }
    }
    let of =
        |file: &Path| open.iter().find(|(other, _)| *other == file).map(|(_, c)| c).ok_or("no such shard");
    let (end, mut count) = (Instant::now() + each, 0);
    while Instant::now() < end {
        let key = &keys[dice.below(keys.len())];
        let (accounts, sessions) =
            (of(&key.file).during("reading")?, of(&key.session_file).during("reading")?);
        let bills = page(accounts, sessions, key).during("reading")?;
        if bills != usize::from(SIZE.bills) {
            return Err(format!("{bills} bills")).during("reading");
        }
        count += 1;
    }
    Ok(count)
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824;")?;
    Ok(connection)
}

/// Session, account, holders and bills with where their lanes stand: what a node reads to answer.
fn page(accounts: &Connection, sessions: &Connection, key: &Keys) -> rusqlite::Result<usize> {
    let elsewhere = !std::ptr::eq(accounts, sessions);
    let run = |c: &Connection, sql| c.prepare_cached(sql)?.execute([]).map(drop);
    run(accounts, "BEGIN")?;
    if elsewhere {
        run(sessions, "BEGIN")?;
    }
    let rows =
        |c: &Connection, sql: &str, of: &[&dyn rusqlite::ToSql], columns: usize| -> rusqlite::Result<usize> {
            let mut statement = c.prepare_cached(sql)?;
            let mut rows = statement.query(of)?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                for n in 0..columns {
                    std::hint::black_box(row.get_ref(n)?);
                }
                count += 1;
            }
            Ok(count)
        };
    const LANE: &str = "SELECT generation, applied, epoch FROM lane WHERE id = ?1";
    rows(sessions, LANE, params![key.session_lane], 3)?;
    rows(
        sessions,
        "SELECT customer, generation, expires_ms, ended FROM session WHERE id = ?1",
        params![key.session],
        4,
    )?;
    rows(accounts, LANE, params![key.lane], 3)?;
    rows(
        accounts,
        "SELECT holder, phone, address, division, tariff, large_household, opened, credit_fen, wrong_proofs,
         proof_window_ms FROM account WHERE id = ?1",
        params![key.account],
        10,
    )?;
    rows(
        accounts,
        "SELECT customer FROM holder WHERE account = ?1 ORDER BY since_ms",
        params![key.account],
        1,
    )?;
    let bills = rows(
        accounts,
        "SELECT month, tariff, tariff_from, energy_wh, amount_fen, paid_fen, issued_on, due_on FROM bill
         WHERE account = ?1 AND month < ?2 ORDER BY month DESC LIMIT ?3",
        params![key.account, i64::MAX, PAGE],
        8,
    )?;
    if elsewhere {
        run(sessions, "COMMIT")?;
    }
    run(accounts, "COMMIT")?;
    Ok(bills)
}
