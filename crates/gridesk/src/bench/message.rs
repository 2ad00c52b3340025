//! A message of 1 KiB from the edge through both halves of the gate and back, beside a bare Unix socket.
//!
//! Here this process is the edge (by its own client, [`edge::inward::Inward`]), the halves are two children, and the inner
//! one answers itself; with several gates, as the edge spreads messages over them. The bare echo is a child too. Both are
//! persistent connections; one at a time, and 32 in flight.
use std::{
    io::{Read, Write},
    rc::Rc,
    time::{Duration, Instant},
};

use edge::inward::{Call, Inward};
use protocol::{Channel, bounds::Opaque, catalogue::requests::GateProbe};
use runtime::{clock::Clock, mux::Service, shutdown::Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use toml::Table;

use super::{
    During, Goal, Options, Result, Series,
    front::Gates,
    in_turns,
    load::{READY_WITHIN, closed_loop, on_one_thread, quantile},
    peer::BYTES,
    site::Site,
};

const IN_FLIGHT: usize = 32;
/// Round trips not counted at the start.
const SETTLE: usize = 200;

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let gates = Gates::start(site, options.gates, &Table::new())?;
    let (_echo, echo) = site.peer("echo")?;
    let (_echo_async, echo_async) = site.peer("echo-async")?;
    let mut series = [
        Series::new("rtt-p50", "µs", "bare Unix socket, one at a time", Goal::RatioAtMost(6.0)),
        Series::new("rtt-p99", "µs", "bare Unix socket, one at a time", Goal::RatioAtMost(12.0)),
        Series::new("rate-32", "/s", "bare Unix sockets, 32 in flight", Goal::RatioAtLeast(0.3)),
    ];
    let each = options.each;
    let bare = || {
        let (p50, p99) = bare_round_trips(&echo, each)?;
        Ok(vec![p50, p99, on_one_thread(bare_rate(&echo_async, each))?])
    };
    let gate = || {
        let work = async {
            let inward = connect(site, &gates).await?;
            let (p50, p99) = round_trips(&inward, each).await?;
            Ok(vec![p50, p99, rate(&inward, each).await?])
        };
        on_one_thread(work)
    };
    in_turns(site, options, &mut series, bare, gate)?;
    Ok(series.into())
}

/// The median and the 99th percentile, in µs.
fn percentiles(mut took_us: Vec<f64>) -> (f64, f64) {
    took_us.drain(..SETTLE.min(took_us.len().saturating_sub(1)));
    took_us.sort_by(f64::total_cmp);
    (quantile(&took_us, 0.5), quantile(&took_us, 0.99))
}

fn since_us(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e6
}

fn bare_round_trips(path: &str, each: Duration) -> Result<(f64, f64)> {
    let mut stream = std::os::unix::net::UnixStream::connect(path).during("connecting to the echo")?;
    let (message, mut answer) = ([b'x'; BYTES], [0; BYTES]);
    let (end, mut took_us) = (Instant::now() + each, Vec::new());
    while Instant::now() < end {
        let started = Instant::now();
        stream.write_all(&message).during("sending")?;
        stream.read_exact(&mut answer).during("receiving")?;
        took_us.push(since_us(started));
    }
    Ok(percentiles(took_us))
}

async fn bare_rate(path: &str, each: Duration) -> Result<f64> {
    let worker = |_| async {
        let mut stream = tokio::net::UnixStream::connect(path).await.during("connecting to the echo")?;
        Ok(async move || {
            let (message, mut answer) = ([b'x'; BYTES], [0; BYTES]);
            stream.write_all(&message).await.during("sending")?;
            stream.read_exact(&mut answer).await.during("receiving")?;
            Ok(())
        })
    };
    closed_loop(IN_FLIGHT, each, worker).await
}

/// Settings come with every connection of an edge; nothing else is pushed here.
#[derive(Clone)]
struct NoPushes;

impl Service for NoPushes {
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
    async fn push(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

/// Waits until all gates carry messages.
pub(super) async fn connect(site: &Site, gates: &Gates) -> Result<Inward> {
    let inward = Inward::new(Clock::system());
    for socket in gates.sockets(site) {
        inward.connect(&socket, CancellationToken::new(), &[], &NoPushes, &Shutdown::new());
    }
    let mut changes = inward.gates().changes();
    let all = changes.wait_for(|there| there.len() == gates.len());
    let ready = tokio::time::timeout(READY_WITHIN, all).await;
    ready.map_err(|_| gates.last_words()).during("connecting to the gates")?.during("connecting")?;
    // The halves meet: questions wait within their deadline until then.
    probe(&inward, &message()?).await?;
    Ok(inward)
}

fn message() -> Result<Opaque<4096>> {
    Opaque::new(vec![b'x'; BYTES]).during("making a message")
}

async fn probe(inward: &Inward, payload: &Opaque<4096>) -> Result<()> {
    let asked = inward.ask(&Call::new(Channel::System), GateProbe { payload: payload.clone() }).await;
    let answer =
        asked.and_then(edge::inward::Answer::done).map_err(|p| p.to_string()).during("asking the gate")?;
    if answer.payload == *payload { Ok(()) } else { Err("not what was sent").during("the gate's echo") }
}

pub(super) async fn round_trips(inward: &Inward, each: Duration) -> Result<(f64, f64)> {
    let payload = message()?;
    let (end, mut took_us) = (Instant::now() + each, Vec::new());
    while Instant::now() < end {
        let started = Instant::now();
        probe(inward, &payload).await?;
        took_us.push(since_us(started));
    }
    Ok(percentiles(took_us))
}

async fn rate(inward: &Inward, each: Duration) -> Result<f64> {
    let payload = Rc::new(message()?);
    let worker = |_| {
        let (inward, payload) = (inward.clone(), Rc::clone(&payload));
        std::future::ready(Ok(async move || probe(&inward, &payload).await))
    };
    closed_loop(IN_FLIGHT, each, worker).await
}
