//! The cluster's backend: PostgreSQL, for each shard one master and its slaves.
//!
//! Writes go to masters, one lane's batch in one transaction; reads go to slaves that show enough of the lane they are
//! asked about, and to the master where none does. Statements are the shared ones, prepared once a connection; what does
//! not depend on each other travels together.
mod apply;
mod claim;
mod fill;
mod gather;
mod homes;
mod many;
mod migrate;
mod moving;
mod pool;
mod readers;
mod shards;
mod snapshot;

pub(crate) use moving::{Compared, Rows};
pub(crate) use shards::Shards;
pub(crate) use snapshot::cell;

use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::error::SqlState;

use crate::StorageError;

/// Where a cluster's databases are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// The shards, in their order.
    pub shards: Vec<ShardConfig>,
    /// Connections to a master for applying and for what else is written.
    #[serde(default = "defaults::writers")]
    pub writers: usize,
    /// Connections to each slave.
    #[serde(default = "defaults::readers")]
    pub readers: usize,
    /// How long one statement may take, in ms; also how long is waited for a connection.
    #[serde(default = "defaults::statement_ms")]
    pub statement_ms: u64,
    /// How far behind the master, in ms, a slave may be before reads leave it.
    #[serde(default = "defaults::lag_ms")]
    pub lag_ms: u64,
}

/// One shard's databases. Each text is a connection string: `host=… port=… dbname=… user=… password=…`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardConfig {
    /// The master. With Patroni, all members by comma: `target_session_attrs` finds the one that takes writes.
    pub master: String,
    /// Its slaves, in the node's own room. They are asked in turns.
    #[serde(default)]
    pub slaves: Vec<String>,
}

mod defaults {
    pub(super) fn writers() -> usize {
        8
    }
    pub(super) fn readers() -> usize {
        16
    }
    pub(super) fn statement_ms() -> u64 {
        5_000
    }
    pub(super) fn lag_ms() -> u64 {
        2_000
    }
}

impl PostgresConfig {
    fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_ms)
    }

    fn most_lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms)
    }
}

/// Names a failure by what was being done. A full disk is known when it is seen.
fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> StorageError {
    move |error| match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => StorageError::Full,
        _ => StorageError::Engine { engine: "PostgreSQL", doing, why: said(&error) },
    }
}

/// What the server said, else what the driver says.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => match told.detail() {
            Some(detail) => format!("{} ({}): {detail}", told.message(), told.code().code()),
            None => format!("{} ({})", told.message(), told.code().code()),
        },
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Whether a statement broke a rule of the schema: it would break it again.
fn is_rule(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("23"))
}

/// The shared SQL as PostgreSQL writes it: `$1` for `?1`, the next number for a bare `?`, `'\x00'` for `x'00'`, and no
/// hints for SQLite's planner.
fn translate(sql: &str) -> String {
    const HINT: &str = "INDEXED BY ";
    let mut plain = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    while let Some(at) = rest.find(HINT) {
        plain.push_str(&rest[..at]);
        let after = &rest[at + HINT.len()..];
        rest = after.find(char::is_whitespace).map_or("", |end| after[end..].trim_start());
    }
    plain.push_str(rest);
    let mut out = String::with_capacity(plain.len() + 16);
    let (mut next, mut letters) = (0, plain.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '?' => {
                next += 1;
                out.push('$');
                if !letters.peek().is_some_and(char::is_ascii_digit) {
                    out.push_str(&next.to_string());
                }
            }
            'x' if letters.peek() == Some(&'\'') && !out.ends_with(|c: char| c.is_alphanumeric()) => {
                letters.next();
                out.push_str("'\\x");
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn the_shared_sql_is_translated() {
        assert_eq!(
            translate("SELECT a FROM t WHERE b = ?1 AND c = ?12"),
            "SELECT a FROM t WHERE b = $1 AND c = $12"
        );
        assert_eq!(translate("INSERT INTO t VALUES (?, ?)"), "INSERT INTO t VALUES ($1, $2)");
        assert_eq!(
            translate("SELECT 1 FROM t INDEXED BY t_a WHERE a = x'00' AND max = ''"),
            "SELECT 1 FROM t WHERE a = '\\x00' AND max = ''"
        );
    }
}
