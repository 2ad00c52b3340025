//! Cached reads: a page of bills of one of 10,000 accounts chosen at random, each asked by its own holder with a signed
//! access token; 64 in flight.
//!
//! `center` asks a center node over its Unix socket as a gate's inner half does; `path` asks the edge over HTTP, behind it
//! both halves of the gate and the same node. Beside both stands a bare axum that answers the same load generator with
//! 1 KiB over HTTP on the loopback.
use std::{net::SocketAddr, rc::Rc, time::Duration};

use toml::Table;

use super::{
    During, Goal, Options, Result, Series,
    fixture::{self, Home, Size},
    front::{Gates, start_edge},
    in_turns,
    load::{Center, DONE, Dice, Http, closed_loop, on_one_thread},
    site::{Child, Site},
};

pub(super) const IN_FLIGHT: usize = 64;
const SIZE: Size = Size { first: 0, accounts: 10_000, bills: 13, lines: 3, asked_of: 1 };
const CACHE_ENTITIES: u32 = 100_000;
/// More accounts than that are not asked for at once while the cache is warmed.
const WARMING: usize = 64;

pub(super) fn run(site: &Site, options: &Options) -> Result<Vec<Series>> {
    let homes = fixture::make(site, SIZE)?;
    let center = site.center(CACHE_ENTITIES)?;
    let (_axum, axum) = site.peer("axum")?;
    let axum: SocketAddr = axum.parse().during("where axum listens")?;
    let asks: Rc<[Vec<u8>]> = homes.iter().map(Home::bill_list).collect::<Result<_>>()?;
    let gets: Rc<[Vec<u8>]> = homes.iter().map(get).collect();
    let bare: Rc<[Vec<u8>]> = Rc::new([b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()]);
    let each = options.each;
    let baseline = || on_one_thread(http(axum, &bare, each)).map(|rate| vec![rate]);

    on_one_thread(warm(site, &center, &asks))?;
    let mut at_center = [Series::new("center", "/s", "bare axum, 1 KiB over HTTP", Goal::RatioAtLeast(0.5))];
    let figure = || on_one_thread(over_socket(site, &center, &asks, each)).map(|rate| vec![rate]);
    in_turns(site, options, &mut at_center, baseline, figure)?;

    let _gates = Gates::start(site, 1, &Table::new())?;
    let (_edge, edge) = start_edge(site, &site.gates(), "edge", Table::new())?;
    on_one_thread(warm_path(site, edge, &gets))?;
    let mut path = [Series::new("path", "/s", "bare axum, 1 KiB over HTTP", Goal::RatioAtLeast(0.25))];
    let figure = || on_one_thread(http(edge, &gets, each)).map(|rate| vec![rate]);
    in_turns(site, options, &mut path, baseline, figure)?;
    Ok(at_center.into_iter().chain(path).collect())
}

/// The page of bills, as a channel asks for it.
fn get(home: &Home) -> Vec<u8> {
    let Home { account, token, .. } = home;
    format!("GET /v1/accounts/{account}/bills HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

/// Asks for every account twice: the first time fills the cache, unless it has no cursor yet.
async fn warm(site: &Site, child: &Child, asks: &Rc<[Vec<u8>]>) -> Result<()> {
    let center = Center::connect(&site.path("center.sock"), child).await?;
    for _ in 0..2 {
        for part in asks.chunks(WARMING) {
            let asked = part.iter().map(|ask| center.ask(ask, DONE));
            futures_util::future::try_join_all(asked).await?;
        }
        site.check()?;
    }
    Ok(())
}

/// Asks for every account once over HTTP: the edge checks each token's signature once.
async fn warm_path(site: &Site, edge: SocketAddr, gets: &Rc<[Vec<u8>]>) -> Result<()> {
    let share = gets.len().div_ceil(WARMING);
    let connections = gets.chunks(share).map(|part| async move {
        let mut connection = Http::connect(edge).await?;
        for get in part {
            site.check()?;
            connection.ask(get).await?;
        }
        Ok(())
    });
    futures_util::future::try_join_all(connections).await.map(drop)
}

/// Random ones of `asks` over a node's socket, a second.
pub(super) async fn over_socket(
    site: &Site,
    child: &Child,
    asks: &Rc<[Vec<u8>]>,
    each: Duration,
) -> Result<f64> {
    let center = Center::connect(&site.path("center.sock"), child).await?;
    let worker = |n| {
        let (center, asks, mut dice) = (center.clone(), Rc::clone(asks), Dice::new(n as u64));
        std::future::ready(Ok(async move || center.ask(&asks[dice.below(asks.len())], DONE).await))
    };
    closed_loop(IN_FLIGHT, each, worker).await
}

/// Random ones of `gets` over HTTP, a second; a connection for each in flight.
async fn http(address: SocketAddr, gets: &Rc<[Vec<u8>]>, each: Duration) -> Result<f64> {
    let worker = |n| {
        let (gets, mut dice) = (Rc::clone(gets), Dice::new(n as u64));
        async move {
            let mut connection = Http::connect(address).await?;
            Ok(async move || connection.ask(&gets[dice.below(gets.len())]).await.map(drop))
        }
    };
    closed_loop(IN_FLIGHT, each, worker).await
}
