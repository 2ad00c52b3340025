//! Writes many rows at once, that no lane orders: a first filling.
//!
//! They go by COPY, table after table, in one transaction. Where one of them is there already, or two have the same key,
//! COPY refuses: then all of it is undone, and done again by the statements that put rows in each other's place.
use std::collections::HashMap;

use deadpool_postgres::Client;
use futures_util::pin_mut;
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};

use super::{
    failed, is_rule,
    pool::Pool,
    shards::Writing,
    snapshot::{Statement, translated},
};
use crate::sql::Result;

const DOING: &str = "filling in rows";
pub(super) async fn fill(master: &Pool, mut statements: Vec<Statement>) -> Result<()> {
    let writing = Writing::begin(master).await?;
    writing.transaction()?.number(&mut statements).await.map_err(failed(DOING))?;
    let mut tables: HashMap<&str, (String, Vec<&Statement>)> = HashMap::new();
    let mut others = Vec::new();
    for statement in &statements {
        if let Some((_, rows)) = tables.get_mut(statement.sql) {
            rows.push(statement);
        } else if let Some(copy) = copy(statement.sql) {
            tables.insert(statement.sql, (copy, vec![statement]));
        } else {
            others.push(statement.clone());
        }
    }
    let mut refused = false;
    for (copy, rows) in tables.values() {
        match copy_in(writing.client()?, copy, rows).await {
            Ok(()) => {}
            Err(error) if is_rule(&error) => {
                refused = true;
                break;
            }
            Err(error) => return Err(failed(DOING)(error)),
        }
    }
    if !refused {
        match writing.transaction()?.run_all(others).await {
            Ok(()) => return writing.commit().await,
            Err(error) if is_rule(&error) => {}
            Err(error) => return Err(failed(DOING)(error)),
        }
    }
    drop(writing);
    let writing = Writing::begin(master).await?;
    writing.transaction()?.run_all(statements).await.map_err(failed(DOING))?;
    writing.commit().await
}

/// Copies rows that are all written by the same statement.
async fn copy_in(
    client: &Client,
    copy: &str,
    rows: &[&Statement],
) -> std::result::Result<(), tokio_postgres::Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    // The types of its parameters are those of the columns.
    let types: Vec<Type> = client.prepare_cached(&translated(first.sql)).await?.params().to_vec();
    let sink = client.copy_in(copy).await?;
    let writer = BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    for row in rows {
        writer.as_mut().write_raw(row.values.as_slice()).await?;
    }
    writer.finish().await.map(drop)
}

/// The COPY that does what a plain insertion does: `INSERT INTO table (columns) VALUES (?1, ?2 …)`, whatever it says of
/// conflicts. `None` where the statement does something else.
fn copy(sql: &str) -> Option<String> {
    let (target, values) = sql.strip_prefix("INSERT INTO ")?.split_once(" VALUES (")?;
    let (values, _) = values.split_once(')')?;
    let is_next = |(n, value): (usize, &str)| {
        let number = value.trim().strip_prefix('?');
        number.is_some_and(|number| number.is_empty() || number.parse() == Ok(n + 1))
    };
    values.split(',').enumerate().all(is_next).then(|| format!("COPY {target} FROM STDIN (FORMAT binary)"))
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn plain_insertions_are_copied_and_nothing_else() {
        let plain = "INSERT INTO holder VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        assert_eq!(copy(plain).unwrap(), "COPY holder FROM STDIN (FORMAT binary)");
        let named =
            "INSERT INTO bill (account, month) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET x = 1";
        assert_eq!(copy(named).unwrap(), "COPY bill (account, month) FROM STDIN (FORMAT binary)");
        for other in [
            "INSERT INTO a VALUES (?2, ?1)",
            "INSERT INTO a VALUES (?1, coalesce(?2, 0))",
            "INSERT INTO a (b) SELECT ?1",
            "DELETE FROM a WHERE b = ?1",
        ] {
            assert_eq!(copy(other), None, "{other}");
        }
    }
}
