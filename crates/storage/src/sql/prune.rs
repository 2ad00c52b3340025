//! What is forgotten after its keeping time, some thousand rows at a time, found by an index or from the front of its table.

/// How long a kind of rows is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// As long as messages.
    LikeMessages,
    /// As long as results.
    LikeResults,
}

/// The most rows of a kind in one go.
pub(crate) const MOST: i64 = 5_000;

/// Old results, but none that a person must look at; and what has no use any more: codes, sessions and orders long
/// expired, pushes that have ended, phones that never became a customer. Values: the time before which, and [`MOST`].
pub(crate) const STATEMENTS: [(&str, Kept); 10] = [
    (
        "DELETE FROM operation WHERE id IN
           (SELECT id FROM operation WHERE accepted_ms < ?1 AND state <> 'failed' LIMIT ?2)",
        Kept::LikeResults,
    ),
    (
        "DELETE FROM challenge WHERE id IN (SELECT id FROM challenge WHERE expires_ms < ?1 LIMIT ?2)",
        Kept::LikeMessages,
    ),
    (
        "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_ms < ?1 LIMIT ?2)",
        Kept::LikeMessages,
    ),
    ("DELETE FROM push WHERE id IN (SELECT id FROM push WHERE created_ms < ?1 LIMIT ?2)", Kept::LikeMessages),
    (
        "DELETE FROM payment WHERE id IN (SELECT id FROM payment WHERE settled IS NULL AND expires_ms < ?1 LIMIT ?2)",
        Kept::LikeResults,
    ),
    (
        "DELETE FROM notice WHERE (customer, number) IN (SELECT customer, number FROM notice WHERE at_ms < ?1 LIMIT ?2)",
        Kept::LikeResults,
    ),
    (
        "DELETE FROM division_report WHERE request IN (SELECT request FROM division_report
           INDEXED BY division_report_alone WHERE outage IS NULL AND at_ms < ?1 LIMIT ?2)",
        Kept::LikeMessages,
    ),
    (
        "DELETE FROM identity WHERE identity IN
           (SELECT identity FROM identity WHERE customer IS NULL AND code_window_ms < ?1 LIMIT ?2)",
        Kept::LikeMessages,
    ),
    (
        "DELETE FROM bind_tries WHERE (account, customer) IN
           (SELECT account, customer FROM bind_tries WHERE window_ms < ?1 LIMIT ?2)",
        Kept::LikeMessages,
    ),
    (
        "DELETE FROM payee WHERE (customer, account) IN
           (SELECT customer, account FROM payee WHERE asked_ms < ?1 LIMIT ?2)",
        Kept::LikeMessages,
    ),
];
