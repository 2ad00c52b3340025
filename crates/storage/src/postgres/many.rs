//! Statements alike travel as one, over arrays of their values: a hundred rows cost the server little more than one.
//!
//! `INSERT INTO t VALUES ($1, $2)` becomes `INSERT INTO t SELECT v.c1, v.c2 FROM unnest($1, $2) AS v (c1, c2)`, and likewise
//! an update, a deletion and a query by its values. What a statement writes is read from its text, which is all our own.
use std::{collections::HashMap, sync::Arc};

use tokio_postgres::types::Type;

use super::snapshot::{Statement, translated};
use crate::sql::Value;

/// Statements with the same text, in their order.
pub(super) struct Group {
    pub(super) sql: &'static str,
    pub(super) rows: Vec<Vec<Value<'static>>>,
    shape: Arc<Shape>,
    /// Where the row of each key is.
    keys: HashMap<Vec<Value<'static>>, usize>,
}

/// What a statement writes.
#[derive(Debug, PartialEq)]
struct Shape {
    /// The one table it looks at; `None` where there may be others.
    table: Option<&'static str>,
    /// The columns by which it names a row, and the places of their values.
    key: Vec<(&'static str, usize)>,
    /// Whether the later of two of the same row makes the earlier one needless.
    replaces: bool,
}

/// Statements brought together, so that they come to the same as in their order: those of different tables have nothing to
/// do with each other, nor those of different rows.
pub(super) fn together(statements: Vec<Statement>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut shapes: HashMap<&'static str, Arc<Shape>> = HashMap::new();
    // Nothing joins a group before this one.
    let mut floor = 0;
    for Statement { sql, values } in statements {
        let shape = Arc::clone(shapes.entry(sql).or_insert_with(|| Arc::new(Shape::of(sql))));
        if shape.table.is_none() {
            groups.push(Group { sql, rows: vec![values], shape, keys: HashMap::new() });
            floor = groups.len();
            continue;
        }
        let key = shape.key_of(&values);
        match home(&groups[floor..], sql, &shape, &key).and_then(|at| groups.get_mut(floor + at)) {
            Some(group) => group.take(values, key),
            None => {
                let mut group = Group { sql, rows: Vec::new(), shape, keys: HashMap::new() };
                group.take(values, key);
                groups.push(group);
            }
        }
    }
    groups
}

/// The group that a statement may join: nothing of its row comes after it.
fn home(groups: &[Group], sql: &str, shape: &Shape, key: &[Value<'static>]) -> Option<usize> {
    for (at, group) in groups.iter().enumerate().rev() {
        if group.shape.table != shape.table {
            continue;
        }
        let is_there = group.keys.contains_key(key);
        if group.sql == sql {
            return (!is_there || shape.replaces).then_some(at);
        }
        let names = |shape: &Shape| shape.key.iter().map(|(column, _)| *column).collect::<Vec<_>>();
        if shape.key.is_empty() || names(shape) != names(&group.shape) || is_there {
            return None;
        }
    }
    None
}

impl Group {
    fn take(&mut self, values: Vec<Value<'static>>, key: Vec<Value<'static>>) {
        match self.keys.get(&key).and_then(|at| self.rows.get_mut(*at)) {
            Some(row) => *row = values,
            None => {
                if !key.is_empty() {
                    self.keys.insert(key, self.rows.len());
                }
                self.rows.push(values);
            }
        }
    }
}

impl Shape {
    fn of(sql: &'static str) -> Self {
        Shape::insertion(sql)
            .or_else(|| Shape::update(sql))
            .or_else(|| Shape::deletion(sql))
            .unwrap_or(Shape { table: None, key: Vec::new(), replaces: false })
    }

    /// `INSERT INTO table … VALUES (…)`: of an existing row's key, which leads its table's columns, where it replaces one.
    fn insertion(sql: &'static str) -> Option<Self> {
        let (target, rest) = sql.strip_prefix("INSERT INTO ")?.split_once("VALUES (")?;
        let table = target.split([' ', '(']).next()?;
        if rest.contains("SELECT") {
            return None;
        }
        let conflict = rest.split_once("ON CONFLICT (").and_then(|(_, rest)| rest.split_once(')'));
        let updates = conflict.and_then(|(key, rest)| Some((key, rest.split_once("DO UPDATE SET")?.1)));
        Some(match updates {
            Some((key, set)) => Shape {
                table: Some(table),
                key: key.split(',').map(str::trim).enumerate().map(|(n, column)| (column, n)).collect(),
                replaces: assignments(set)
                    .all(|(column, value)| value.strip_prefix("excluded.") == Some(column)),
            },
            None => Shape { table: Some(table), key: Vec::new(), replaces: false },
        })
    }

    /// `UPDATE table SET … WHERE key = ?1`.
    fn update(sql: &'static str) -> Option<Self> {
        let (table, rest) = sql.strip_prefix("UPDATE ")?.split_once(" SET ")?;
        let (set, conditions) = rest.split_once(" WHERE ")?;
        let is_given = |value: &str| value.starts_with(['?', '\'']) || value.starts_with("x'");
        let replaces = assignments(set).all(|(_, value)| is_given(value));
        Some(Shape { table: Some(table), key: key(conditions)?, replaces })
    }

    /// `DELETE FROM table WHERE key = ?1`.
    fn deletion(sql: &'static str) -> Option<Self> {
        let (table, conditions) = sql.strip_prefix("DELETE FROM ")?.split_once(" WHERE ")?;
        Some(Shape { table: Some(table), key: key(conditions)?, replaces: true })
    }

    fn key_of(&self, values: &[Value<'static>]) -> Vec<Value<'static>> {
        self.key.iter().filter_map(|(_, n)| values.get(*n).cloned()).collect()
    }
}

/// `a = x, b = y` as pairs.
fn assignments(set: &str) -> impl Iterator<Item = (&str, &str)> {
    set.split(',').map(|one| one.split_once(" = ").unwrap_or((one, ""))).map(|(a, b)| (a.trim(), b.trim()))
}

/// The columns that `a = ?1 AND b = ?2` compares with values, and the places of the values; anything else is no key.
fn key(conditions: &'static str) -> Option<Vec<(&'static str, usize)>> {
    let one = |condition: &'static str| {
        let (column, value) = condition.split_once(" = ")?;
        let n: usize = value.trim().strip_prefix('?')?.parse().ok()?;
        Some((column.trim(), n.checked_sub(1)?))
    };
    conditions.split(" AND ").map(one).collect()
}

/// A statement over arrays of its values; `None` where it cannot be written so. `types` are those of its values.
pub(super) fn over_arrays(sql: &str, types: &[Type]) -> Option<String> {
    let sql = translated(sql);
    let arrays: Option<Vec<String>> =
        types.iter().enumerate().map(|(n, ty)| Some(format!("${}::{}[]", n + 1, name(ty)?))).collect();
    let columns: Vec<String> = (1..=types.len()).map(|n| format!("c{n}")).collect();
    let (arrays, columns) = (arrays?.join(", "), columns.join(", "));
    if arrays.is_empty() {
        return None;
    }
    if sql.starts_with("SELECT ") {
        // A row's values and their number, and what the query finds with them.
        let inner = by_column(&sql);
        return Some(format!(
            "SELECT q.*, v.n FROM unnest({arrays}) WITH ORDINALITY AS v ({columns}, n) CROSS JOIN LATERAL ({inner}) AS q"
        ));
    }
    let given = format!("unnest({arrays}) AS v ({columns})");
    if sql.starts_with("INSERT INTO ") {
        let (head, rest) = sql.split_once("VALUES (")?;
        let end = closing(rest)?;
        let (values, tail) = (by_column(&rest[..end]), &rest[end + 1..]);
        return Some(format!("{head}SELECT {values} FROM {given}{tail}"));
    }
    let (head, conditions) = sql.split_once(" WHERE ")?;
    let (head, conditions) = (by_column(head), by_column(conditions));
    if sql.starts_with("UPDATE ") {
        return Some(format!("{head} FROM {given} WHERE {conditions}"));
    }
    sql.starts_with("DELETE FROM ").then(|| format!("{head} USING {given} WHERE {conditions}"))
}

/// `$1` as the column it comes in.
fn by_column(sql: &str) -> String {
    sql.replace('$', "v.c")
}

/// Where the parenthesis ends that has begun before.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(at, letter)| {
        match letter {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
        None
    })
}

fn name(ty: &Type) -> Option<&'static str> {
    Some(match *ty {
        Type::INT8 => "bigint",
        Type::BYTEA => "bytea",
        Type::TEXT => "text",
        _ => return None,
    })
}

/// The values of rows, column by column, as arrays are given.
pub(super) fn columns<'v>(rows: &'v [Vec<Value<'static>>], count: usize) -> Vec<Vec<&'v Value<'static>>> {
    (0..count).map(|n| rows.iter().filter_map(|row| row.get(n)).collect()).collect()
}

#[cfg(test)]
mod tests;
