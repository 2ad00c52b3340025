//! The bare side of uncached reads in a cluster: `pgbench`, which comes with PostgreSQL, on the slave that the node reads
//! from.
use std::{fs, process::Command, time::Duration};

use super::{During, Result, fixture::Home, site::Site};

/// As many as `pgbench` takes at once.
pub(super) const SCRIPTS: usize = 128;
/// Connections, as many as a node has to a slave.
const CLIENTS: &str = "16";

/// Session, holders and bills with where their lanes stand, in one snapshot: what a node reads to answer.
const PAGE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT generation, applied FROM lane WHERE id = {session_lane};
SELECT customer, generation, expires_ms, ended FROM session WHERE id = '\\x{session}';
SELECT generation, applied FROM lane WHERE id = {lane};
SELECT customer FROM holder WHERE account = {account} ORDER BY since_ms;
SELECT month, tariff, tariff_from, energy_wh, amount_fen, paid_fen, issued_on, due_on FROM bill WHERE account = {account} AND month < 9223372036854775807 ORDER BY month DESC LIMIT 14;
COMMIT;
";

/// Reads pages of these homes, which all live in the database at `conninfo`; how many a second.
pub(super) fn run(site: &Site, conninfo: &str, homes: &[Home], each: Duration) -> Result<f64> {
    let (map, doing) = (site.map()?, "running pgbench");
    let mut command = Command::new("pgbench");
    command.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--client", CLIENTS, "--time"]);
    command.arg(each.as_secs().max(1).to_string());
    for (n, home) in homes.iter().take(SCRIPTS).enumerate() {
        let script = PAGE
            .replace("{session_lane}", &map.lane(home.session.bucket()).0.to_string())
            .replace("{session}", &format!("{:032x}", home.session.bits()))
            .replace("{lane}", &map.lane(home.account.bucket()).0.to_string())
            .replace("{account}", &home.account.number().to_string());
        let file = site.path(&format!("page-{n}.sql"));
        fs::write(&file, script).during(doing)?;
        command.arg("--file").arg(file);
    }
    let said = command.arg(conninfo).output().during("starting pgbench, which comes with PostgreSQL")?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    match rate {
        Some(rate) if said.status.success() => Ok(rate),
        _ => Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()).during(doing),
    }
}
