//! Payments settled by one applier: batches of 512 in one transaction each, as the center's appliers do it, beside the
//! same one per transaction.
//!
//! Both sides call [`Store::apply`] with the center's own rules in this process, on one lane of the same store, with
//! messages that were appended to it before: each payment is looked up, booked in the ledger, its bill and account written,
//! with dedup row, result and change rows. On the embedded profile there is no slave to wait for; each transaction is
//! flushed to the disk.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use center::{
    config::ProviderConfig,
    keys::{CodeKey, ReceiptKey},
    operation::{Own, Settle},
    rules::{DebitTerms, ExportTerms, Rules, SupplyTerms},
};
use domain::{forms::FormBook, late_fee::LateFeeRate, money::Fen, tariff::TariffBook};
use protocol::{Channel, LaneId, OperationId, PaymentId, envelope::Language};
use runtime::secret::load_or_create_key;
use storage::{
    message::{NewMessage, Origin},
    rows::{Payment, Put},
    store::{Batch, Decide},
};

use super::{
    During, Goal, Options, Result, Series,
    fixture::{self, Home, Shards, Size},
    in_turns,
    site::Site,
};
use crate::sim::PROVIDER;

const SIZE: Size = Size { first: 3_000_000, accounts: 10_000, bills: 2, lines: 3, asked_of: 1 };
const LANE: LaneId = LaneId(0);
/// As many as the center's appliers take.
const BATCH: usize = 512;
/// Payments prepared for each second of a side: more than it can apply.
const PREPARED_BATCHED: usize = 60_000;
const PREPARED_SINGLE: usize = 12_000;

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let homes = fixture::make(site, SIZE)?;
    let shards = Shards::open(site)?;
    let measured = measure(site, options, &shards, &homes);
    shards.close();
    measured
}

fn measure(site: &Site, options: &Options, shards: &Shards, homes: &[Home]) -> Result<Vec<Series>> {
    let mut series = [Series::new("batched", "/s", "the same one per transaction", Goal::RatioAtLeast(8.0))];
    let single = || side(site, options, shards, homes, PREPARED_SINGLE, 1).map(|rate| vec![rate]);
    let batched = || batched(site, options, shards, homes).map(|rate| vec![rate]);
    in_turns(site, options, &mut series, single, batched)?;
    Ok(series.into())
}

/// Operations that one applier applies in batches, a second.
pub(super) fn batched(site: &Site, options: &Options, shards: &Shards, homes: &[Home]) -> Result<f64> {
    side(site, options, shards, homes, PREPARED_BATCHED, BATCH)
}

fn side(
    site: &Site,
    options: &Options,
    shards: &Shards,
    homes: &[Home],
    count: usize,
    batch: usize,
) -> Result<f64> {
    let (map, rules) = (shards.store.map(), rules(site)?);
    let homes: Vec<&Home> = homes.iter().filter(|home| map.lane(home.account.bucket()) == LANE).collect();
    // Never the same again, also where an earlier run left what it did.
    let first = jiff::Timestamp::now().as_microsecond().unsigned_abs();
    let messages = prepare(shards, &homes, first, count * seconds(options.each))?;
    shards.runtime.block_on(async {
        append(shards, messages).await?;
        apply(shards, &rules, batch, options.each).await
    })
}

fn seconds(each: Duration) -> usize {
    each.as_secs_f64().ceil() as usize
}

fn rules(site: &Site) -> Result<Arc<dyn Decide>> {
    let secret_file = site.path("pay.key");
    load_or_create_key(&secret_file).during("the provider's key")?;
    let name = PROVIDER.parse().during("the provider's name")?;
    let pay_url = "http://127.0.0.1:9/pay".to_owned();
    let provider = ProviderConfig { name, pay_url, mandate_url: None, secret_file };
    Ok(Arc::new(Rules {
        codes: CodeKey::load_or_create(&site.path("center").join("keys")).during("the key of codes")?,
        receipts: ReceiptKey::load_or_create(&site.path("center").join("keys"))
            .during("the key of receipts")?,
        tariffs: Arc::new(TariffBook::published().clone()),
        forms: Arc::new(FormBook::built_in()),
        providers: vec![provider.load().during("the provider's key")?],
        public_url: "http://127.0.0.1:9".to_owned(),
        late_fee: LateFeeRate::RESIDENTS,
        debit: DebitTerms::default(),
        supply: SupplyTerms { cut_after_overdue_days: 30, reconnect_after_s: 300 },
        exports: ExportTerms { has_place: false, keep_s: 0 },
    }))
}

/// Writes payments that are ordered but not paid, and makes the messages that settle them.
fn prepare(shards: &Shards, homes: &[&Home], first: u64, count: usize) -> Result<Vec<NewMessage>> {
    let now_ms = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let (mut puts, mut messages) = (Vec::new(), Vec::with_capacity(count));
    for (n, home) in (first..).zip(homes.iter().cycle()).take(count) {
        let bucket = home.account.bucket();
        let id = PaymentId::mint(bucket, u128::from(n + 1) << 48);
        let payment = Payment {
            id,
            account: home.account,
            customer: home.customer,
            amount_fen: Fen(1),
            provider: PROVIDER.to_owned(),
            created_ms: now_ms,
            expires_ms: now_ms + 1_800_000,
            mandate: None,
            failure: None,
            refunds: Vec::new(),
            settled: None,
        };
        puts.push((bucket, Put::Payment(payment)));
        if puts.len() == 10_000 {
            shards.fill(std::mem::take(&mut puts))?;
        }
        let transaction = format!("bench-{n}");
        let operation = OperationId::derive(bucket, "provider", PROVIDER, &transaction);
        let settle = Settle {
            payment: id,
            provider: PROVIDER.to_owned(),
            transaction,
            amount_fen: Fen(1),
            paid_s: now_ms / 1000,
        };
        let own = Own::Settle(settle);
        let origin = Origin {
            accepted_ms: now_ms,
            customer: None,
            session: None,
            channel: Channel::System,
            language: Language::Zh,
            request_id: [0; 16],
            trace_id: [0; 16],
        };
        messages.push(NewMessage {
            operation,
            code: own.code(),
            version: own.version(),
            body: own.encode(),
            origin,
        });
    }
    shards.fill(puts)?;
    Ok(messages)
}

/// Appends messages to the lane.
async fn append(shards: &Shards, messages: Vec<NewMessage>) -> Result<()> {
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let part = messages.by_ref().take(BATCH).collect();
        shards.queue.append(LANE, part).await.during("appending to the lane")?;
    }
    Ok(())
}

/// Applies for `each`, or until all are applied; answers operations a second. What is left is applied too.
async fn apply(shards: &Shards, rules: &Arc<dyn Decide>, batch: usize, each: Duration) -> Result<f64> {
    let Shards { store, queue, .. } = shards;
    let (epoch, at) = store.claim(LANE, None).await.during("taking the lane")?;
    let mut after = at.sequence;
    let mut step = async |most: usize| -> Result<usize> {
        let messages = queue.fetch(LANE, after, most).await.during("reading the lane")?;
        let count = messages.len();
        if count > 0 {
            let batch = Batch { lane: LANE, epoch, generation: at.generation, after, messages };
            let done = store.apply(batch, Arc::clone(rules)).await.during("applying")?;
            if done.repeated + done.failed > 0 {
                return Err(format!("{} repeated, {} failed", done.repeated, done.failed)).during("applying");
            }
            after = done.sequence;
        }
        Ok(count)
    };
    let (started, mut applied) = (Instant::now(), 0);
    while started.elapsed() < each {
        match step(batch).await? {
            0 => break,
            count => applied += count,
        }
    }
    let rate = applied as f64 / started.elapsed().as_secs_f64();
    while step(BATCH).await? > 0 {}
    Ok(rate)
}
