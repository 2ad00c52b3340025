//! `gridesk tour`: the journeys that a newcomer should see, each with a verdict.
//!
//! It speaks only HTTP to the addresses that `up` prints, as a customer's program would; what it sees is what a customer
//! sees. What it recomputes it recomputes by itself.
use std::{fmt, time::Instant};

use protocol::bounds::Phone;
use runtime::shutdown::Shutdown;
use serde::Serialize;

use crate::up::{self, System, UpError, logs::Echo, plan::SIM_PORT_OFFSET};

mod bill;
mod client;
mod pay;

use client::Client;

/// How many customers a system of the tour's own has.
const OWN_CUSTOMERS: u32 = 200;

/// A running system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The portal, without a slash at the end.
    portal: String,
    /// The simulated outside world, likewise.
    sim: String,
    phone: Phone,
}

/// How a journey ended. `--json` prints it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its number.
    pub journey: u8,
    /// Its name.
    pub name: &'static str,
    /// Whether everything was as it should be.
    pub ok: bool,
    /// How long it took, in ms.
    pub ms: u64,
    /// What was seen; what was wrong where it was.
    pub detail: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { journey, name, ok, ms, detail } = self;
        write!(f, "{} {journey}. {name} ({ms} ms)\n        {detail}", if *ok { "pass" } else { "FAIL" })
    }
}

/// Why the tour could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TourError {
    /// The address is none.
    #[error("{0} is not the http address of a running system")]
    Address(String),
    /// The phone is none.
    #[error("{0}: {1}")]
    Phone(String, #[source] protocol::bounds::BoundsError),
    /// The tour's own system does not run.
    #[error(transparent)]
    Up(#[from] UpError),
    /// There is no folder for the tour's own system.
    #[error("no temporary folder: {0}")]
    Folder(#[source] std::io::Error),
    /// The HTTP client cannot be made.
    #[error("HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    /// Signals cannot be listened to.
    #[error("signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The tour's own system has nobody to log in as.
    #[error("the system has no demonstration customer")]
    NoPhone,
}

/// What was not as it should be, in words for whoever reads the tour's lines.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

/// Fails a journey unless it holds.
macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err($crate::tour::Failed(format!($($why)*)));
        }
    };
}
use ensure;

impl Target {
    /// A system whose portal is at `portal`. Its simulated outside world is at `sim`, or on the same host five ports up.
    ///
    /// # Errors
    /// [`TourError::Address`], [`TourError::Phone`].
    pub fn new(portal: &str, sim: Option<&str>, phone: &str) -> Result<Self, TourError> {
        let parse = |text: &str| {
            let url = reqwest::Url::parse(text).ok();
            url.filter(|url| url.scheme() == "http" && url.has_host())
                .ok_or_else(|| TourError::Address(text.to_owned()))
        };
        let plain = |url: &reqwest::Url| url.as_str().trim_end_matches('/').to_owned();
        let portal_url = parse(portal)?;
        let sim_url = match sim {
            Some(sim) => parse(sim)?,
            None => {
                let bad = || TourError::Address(portal.to_owned());
                let mut url = portal_url.clone();
                url.set_path("");
                let port =
                    portal_url.port_or_known_default().and_then(|port| port.checked_add(SIM_PORT_OFFSET));
                url.set_port(Some(port.ok_or_else(bad)?)).map_err(|()| bad())?;
                url
            }
        };
        let phone = phone.parse().map_err(|error| TourError::Phone(phone.to_owned(), error))?;
        Ok(Target { portal: plain(&portal_url), sim: plain(&sim_url), phone })
    }
}

/// Runs the journeys against a running system, or against a fresh one that is removed afterwards. Each outcome is
/// reported as soon as it is known.
///
/// # Errors
/// [`TourError`] where there is no system; a journey that fails is an outcome.
pub async fn run(against: Option<Target>, mut report: impl FnMut(Outcome)) -> Result<(), TourError> {
    if let Some(target) = against {
        return journeys(&target, &mut report).await;
    }
    let shutdown = Shutdown::on_signals().map_err(TourError::Signals)?;
    let folder = tempfile::Builder::new().prefix("gridesk-tour-").tempdir().map_err(TourError::Folder)?;
    let system = System::start(&up::Options {
        data: folder.path().join("data"),
        base_port: 0,
        fresh: false,
        demo_customers: OWN_CUSTOMERS,
        gates: 1,
        engines: None,
        nodes: 1,
        echo: Echo::Silent,
    })?;
    let toured = async {
        let addresses = system.ready(&shutdown, |_| {}).await?;
        let phone = addresses.phones.first().ok_or(TourError::NoPhone)?;
        let target = Target::new(&addresses.portal, None, phone.as_str())?;
        journeys(&target, &mut report).await
    };
    let ended = tokio::select! {
        ended = toured => ended,
        () = shutdown.begun() => Err(UpError::Interrupted.into()),
    };
    system.stop().await;
    ended
}

async fn journeys(target: &Target, report: &mut impl FnMut(Outcome)) -> Result<(), TourError> {
    let begun = Instant::now();
    let mut client = Client::new(target).map_err(TourError::Client)?;
    let why = match client.portal_answers().await {
        Ok(()) => client.log_in(&target.phone).await.err(),
        Err(_) => Some(Failed(format!("nothing answers at {}: is `gridesk up` running?", target.portal))),
    };
    if let Some(failed) = why {
        let detail = format!("cannot log in: {failed}");
        for (journey, name) in [(1, bill::NAME), (2, pay::NAME)] {
            report(outcome(journey, name, begun, Err(Failed(detail.clone()))));
        }
        return Ok(());
    }
    report(outcome(1, bill::NAME, begun, bill::journey(&client).await));
    let begun = Instant::now();
    report(outcome(2, pay::NAME, begun, pay::journey(&client).await));
    Ok(())
}

fn outcome(journey: u8, name: &'static str, begun: Instant, seen: Result<String, Failed>) -> Outcome {
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let ok = seen.is_ok();
    let detail = seen.unwrap_or_else(|failed| failed.0);
    Outcome { journey, name, ok, ms, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_world_is_five_ports_up_unless_named() {
        let target = Target::new("http://127.0.0.1:8080/", None, "19900000001").unwrap();
        assert_eq!(
            (target.portal.as_str(), target.sim.as_str()),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8085")
        );
        let target = Target::new("http://a", Some("http://b:1"), "19900000001").unwrap();
        assert_eq!(target.sim, "http://b:1");
        assert!(Target::new("ftp://a", None, "19900000001").is_err());
        assert!(Target::new("http://a:65533", None, "19900000001").is_err());
        assert!(Target::new("http://a", None, "1").is_err());
    }

    #[test]
    fn an_outcome_is_one_line_of_json() {
        let outcome = outcome(1, "x", Instant::now(), Err(Failed("bad".into())));
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(
            json.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["detail", "journey", "ms", "name", "ok"]
        );
        assert_eq!((json["ok"].as_bool(), json["detail"].as_str()), (Some(false), Some("bad")));
    }
}
