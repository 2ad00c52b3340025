//! Many accounts beside a hundredth of them: does it get slower as there is more?
//!
//! Both are in the same databases, first the few, then the many. `read-p99` is the slowest hundredth of uncached pages of
//! bills at a rate that the few can well bear; `apply` the rate of one applier's batches; both beside themselves with the
//! few. `load` is the filling in, beside `psql`'s own `\copy` of the same rows from files into empty tables made alike.
use std::{
    io::Write,
    path::PathBuf,
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use storage::store::PostgresConfig;

use super::{
    During, Goal, Options, Result, Series, apply,
    fixture::{self, Home, Shards, Size},
    load::{Center, DONE, Dice, on_one_thread, open_loop, quantile},
    read::over_socket,
    site::{Child, Site},
};

/// Accounts of this benchmark begin here.
const FIRST: u64 = 10_000_000;
/// How many of the accounts are asked about.
const ASKED: u64 = 10_000;
/// Accounts whose filling is measured beside `\copy`, in each run.
const LOADED: u64 = 20_000;
/// The share of what the few can bear at most, at which latency is measured.
const SHARE: f64 = 0.5;
/// How often a slave is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// The tables that accounts are filled into.
const TABLES: [&str; 4] = ["account", "holder", "customer_account", "bill"];

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let engines = site.engines().ok_or("it needs --profile cluster").during("beginning")?;
    let settings = engines.settings().during("the engines' settings")?;
    let shard = settings.postgres.shards.first().ok_or("no shard").during("the engines' settings")?;
    let (many, few) = (options.accounts, (options.accounts / 100).max(ASKED));
    if many < few * 2 {
        return Err(format!("--accounts: at least {}", few * 2)).during("beginning");
    }

    let mut load = Series::new("load", "rows/s", "psql's \\copy of the same rows", Goal::RatioAtLeast(0.5));
    let mut read = Series::new("read-p99", "ms", "the same with a hundredth", Goal::RatioAtMost(1.3));
    let mut applied = Series::new("apply", "/s", "the same with a hundredth", Goal::RatioAtLeast(0.77));
    let size = |first, accounts, asked_of| Size { first, accounts, bills: 2, lines: 3, asked_of };

    let few_homes = fixture::make(site, size(FIRST, few, few / ASKED))?;
    let mut rate = None;
    settle(&settings.postgres)?;
    let before = measure(site, options, &few_homes, &mut rate)?;

    let mut filled = few;
    for _ in 0..options.runs {
        let part = size(FIRST + filled, LOADED, 0);
        load.add(Some(copied(site, &shard.master, &few_homes)?), filling(site, part)?);
        filled += LOADED;
    }
    let begun = Instant::now();
    let rest = size(FIRST + filled, many.saturating_sub(filled), (many / ASKED).max(1));
    let many_homes = fixture::make(site, rest)?;
    say(&format!(
        "{} accounts more in {:.0} s: {:.0} accounts/s",
        rest.accounts,
        begun.elapsed().as_secs_f64(),
        rest.accounts as f64 / begun.elapsed().as_secs_f64()
    ));
    for (n, shard) in settings.postgres.shards.iter().enumerate() {
        let size = psql(&shard.master, "SELECT pg_size_pretty(pg_database_size(current_database()))")?;
        say(&format!("shard {n}: {}", size.trim()));
    }
    settle(&settings.postgres)?;
    let after = measure(site, options, &many_homes, &mut rate)?;
    for ((few_p99, few_rate), (many_p99, many_rate)) in before.into_iter().zip(after) {
        read.add(Some(few_p99), many_p99);
        applied.add(Some(few_rate), many_rate);
    }
    Ok(vec![load, read, applied])
}

/// What a database does by itself after a filling is done before anything is measured: and by the slaves, too.
fn settle(databases: &PostgresConfig) -> Result<()> {
    for shard in &databases.shards {
        psql(&shard.master, "VACUUM (FREEZE, ANALYZE)")?;
        let end = psql(&shard.master, "SELECT pg_current_wal_lsn()")?;
        for slave in &shard.slaves {
            let behind = format!("SELECT pg_last_wal_replay_lsn() < '{}'", end.trim());
            while psql(slave, &behind)?.trim() == "t" {
                std::thread::sleep(LOOK);
            }
        }
    }
    Ok(())
}

/// For each run: the slowest hundredth of reads in ms, and operations applied a second. Reads come at `rate` a second; the
/// first call finds it.
fn measure(
    site: &Site,
    options: &Options,
    homes: &[Home],
    rate: &mut Option<f64>,
) -> Result<Vec<(f64, f64)>> {
    let asks: Rc<[Vec<u8>]> = homes.iter().map(Home::bill_list).collect::<Result<_>>()?;
    let (mut read, each) = (Vec::new(), options.each);
    {
        let center = site.center(0)?;
        // Once for nothing: connections, statements, pages.
        let most = on_one_thread(over_socket(site, &center, &asks, each))?;
        let rate = *rate.get_or_insert(most * SHARE);
        for _ in 0..options.runs {
            site.check()?;
            read.push(on_one_thread(paced(site, &center, &asks, rate, each))?);
        }
    }
    site.stop_beside();
    let shards = Shards::open(site)?;
    let applied = (0..options.runs).map(|_| {
        site.check()?;
        apply::batched(site, options, &shards, homes)
    });
    let applied = applied.collect::<Result<Vec<_>>>();
    shards.close();
    Ok(read.into_iter().zip(applied?).collect())
}

async fn paced(site: &Site, child: &Child, asks: &Rc<[Vec<u8>]>, rate: f64, each: Duration) -> Result<f64> {
    let center = Center::connect(&site.path("center.sock"), child).await?;
    let mut dice = Dice::new(3);
    let took_ms = open_loop(rate, each, || {
        let (center, asks, n) = (center.clone(), Rc::clone(asks), dice.below(asks.len()));
        async move { center.ask(&asks[n], DONE).await }
    });
    Ok(quantile(&took_ms.await?, 0.99))
}

/// Fills accounts in; rows a second.
fn filling(site: &Site, size: Size) -> Result<f64> {
    let begun = Instant::now();
    fixture::make(site, size)?;
    // Account, holder, customer's account, bills.
    let rows = size.accounts * (3 + u64::from(size.bills));
    Ok(rows as f64 / begun.elapsed().as_secs_f64())
}

/// Copies rows of the first shard from files into empty tables; rows a second.
fn copied(site: &Site, conninfo: &str, homes: &[Home]) -> Result<f64> {
    let file = |table: &str| -> PathBuf { site.path(&format!("{table}.copy")) };
    let (mut rows, mut took) = (0, Duration::ZERO);
    let some = homes.first().map_or(0, |home| home.account.number());
    for table in TABLES {
        let (file, plain) = (file(table), format!("bench_{table}"));
        let limit = if table == "bill" { LOADED } else { LOADED / 2 };
        let chosen = if table == "customer_account" {
            String::new()
        } else {
            format!("WHERE {} >= {some}", if table == "account" { "id" } else { "account" })
        };
        let out = format!(
            "\\copy (SELECT * FROM {table} {chosen} LIMIT {limit}) TO '{}' (FORMAT binary)",
            file.display()
        );
        psql(conninfo, &out)?;
        psql(conninfo, &format!("DROP TABLE IF EXISTS {plain}"))?;
        psql(conninfo, &format!("CREATE TABLE {plain} (LIKE {table} INCLUDING ALL)"))?;
        let begun = Instant::now();
        let said = psql(conninfo, &format!("\\copy {plain} FROM '{}' (FORMAT binary)", file.display()))?;
        took += begun.elapsed();
        let copied = said.trim().strip_prefix("COPY ").and_then(|count| count.parse::<u64>().ok());
        rows += copied.ok_or(said).during("copying")?;
        psql(conninfo, &format!("DROP TABLE {plain}"))?;
    }
    Ok(rows as f64 / took.as_secs_f64())
}

fn psql(conninfo: &str, command: &str) -> Result<String> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", command]);
    let said = psql.arg(conninfo).output().during("starting psql, which comes with PostgreSQL")?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()).during("asking psql")
}

fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}
