use super::*;

const PUT: &str = "INSERT INTO payment (id, a, b) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b";
const SETTLE: &str = "UPDATE payment SET a = ?2 WHERE id = ?1";
const RAISE: &str = "INSERT INTO notice_read VALUES (?1, ?2) ON CONFLICT (customer) DO UPDATE SET through =
               CASE WHEN excluded.through > notice_read.through THEN excluded.through ELSE notice_read.through END";
const NOTE: &str = "INSERT INTO change VALUES (?1, ?2)";
const FORGET: &str = "DELETE FROM request WHERE id IN (SELECT id FROM payment WHERE a = ?1)";

fn statement(sql: &'static str, values: &[i64]) -> Statement {
    Statement { sql, values: values.iter().map(|n| Value::Int(*n)).collect() }
}

fn grouped(statements: Vec<Statement>) -> Vec<(&'static str, Vec<Vec<i64>>)> {
    let int = |value: &Value<'_>| if let Value::Int(n) = value { *n } else { -1 };
    let rows = |group: &Group| group.rows.iter().map(|row| row.iter().map(int).collect()).collect();
    together(statements).iter().map(|group| (group.sql, rows(group))).collect()
}

#[test]
fn statements_alike_come_together_and_the_last_of_a_row_counts() {
    let found = grouped(vec![
        statement(PUT, &[1, 10, 10]),
        statement(NOTE, &[7, 1]),
        statement(PUT, &[2, 20, 20]),
        statement(NOTE, &[7, 1]),
        statement(PUT, &[1, 11, 11]),
    ]);
    let puts = (PUT, vec![vec![1, 11, 11], vec![2, 20, 20]]);
    assert_eq!(found, [puts, (NOTE, vec![vec![7, 1], vec![7, 1]])]);
}

#[test]
fn what_is_written_to_a_row_keeps_its_order() {
    let found = grouped(vec![
        statement(SETTLE, &[1, 5]),
        statement(PUT, &[2, 20, 20]),
        // Of another row than any after it: it goes to the first.
        statement(SETTLE, &[3, 6]),
        // After the insertion of its row.
        statement(SETTLE, &[2, 7]),
        // After the settlement just before, which is after the insertion.
        statement(PUT, &[2, 21, 21]),
    ]);
    assert_eq!(
        found,
        [
            (SETTLE, vec![vec![1, 5], vec![3, 6]]),
            (PUT, vec![vec![2, 20, 20]]),
            (SETTLE, vec![vec![2, 7]]),
            (PUT, vec![vec![2, 21, 21]]),
        ]
    );
}

#[test]
fn a_row_that_depends_on_the_one_before_is_written_after_it() {
    let found =
        grouped(vec![statement(RAISE, &[1, 9]), statement(RAISE, &[2, 9]), statement(RAISE, &[1, 3])]);
    assert_eq!(found, [(RAISE, vec![vec![1, 9], vec![2, 9]]), (RAISE, vec![vec![1, 3]])]);
}

#[test]
fn nothing_passes_a_statement_that_looks_at_other_tables() {
    let found =
        grouped(vec![statement(PUT, &[1, 1, 1]), statement(FORGET, &[1]), statement(PUT, &[2, 2, 2])]);
    assert_eq!(found.len(), 3);
    assert_eq!(found[1].0, FORGET);
}

#[test]
fn statements_are_written_over_arrays() {
    let types = [Type::INT8, Type::BYTEA];
    assert_eq!(
        over_arrays(
            "INSERT INTO push VALUES (?1, 'waiting', coalesce(?2, 0)) ON CONFLICT DO NOTHING",
            &types
        )
        .unwrap(),
        "INSERT INTO push SELECT v.c1, 'waiting', coalesce(v.c2, 0) FROM unnest($1::bigint[], $2::bytea[]) AS v (c1, c2) \
         ON CONFLICT DO NOTHING"
    );
    assert_eq!(
        over_arrays(SETTLE, &types).unwrap(),
        "UPDATE payment SET a = v.c2 FROM unnest($1::bigint[], $2::bytea[]) AS v (c1, c2) WHERE id = v.c1"
    );
    assert_eq!(
        over_arrays("DELETE FROM holder WHERE a = ?1 AND b = ?2", &types).unwrap(),
        "DELETE FROM holder USING unnest($1::bigint[], $2::bytea[]) AS v (c1, c2) WHERE a = v.c1 AND b = v.c2"
    );
    assert_eq!(
        over_arrays("SELECT a FROM t WHERE b = ?1 LIMIT ?2", &types).unwrap(),
        "SELECT q.*, v.n FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS v (c1, c2, n) \
         CROSS JOIN LATERAL (SELECT a FROM t WHERE b = v.c1 LIMIT v.c2) AS q"
    );
    assert_eq!(over_arrays(SETTLE, &[Type::INT4]), None);
}
