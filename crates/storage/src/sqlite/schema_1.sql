-- A lane is one ordered stream of writes; applied is how far it has been applied in this very database.
CREATE TABLE lane (
    id         INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    applied    INTEGER NOT NULL
) STRICT;

CREATE TABLE lane_message (
    lane        INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    operation   BLOB    NOT NULL,
    code        INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    origin      BLOB    NOT NULL,
    accepted_ms INTEGER NOT NULL,
    PRIMARY KEY (lane, sequence)
) STRICT, WITHOUT ROWID;

-- One row an operation: its dedup row and its result.
CREATE TABLE operation (
    id          BLOB    PRIMARY KEY,
    code        INTEGER NOT NULL,
    digest      BLOB    NOT NULL,
    customer    BLOB,
    state       TEXT    NOT NULL CHECK (state IN ('applied', 'rejected', 'failed')),
    ended       BLOB    NOT NULL,
    lane        INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL,
    children    BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX operation_failed ON operation (accepted_ms) WHERE state = 'failed';
CREATE INDEX operation_accepted ON operation (accepted_ms);

-- What changed for readers, followed by every cache.
CREATE TABLE change (
    lane     INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    entity   BLOB    NOT NULL,
    PRIMARY KEY (lane, sequence, n)
) STRICT, WITHOUT ROWID;

-- Operations that an applied one causes on other lanes; deleted once they are in them.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    operation BLOB    NOT NULL,
    bucket    INTEGER NOT NULL,
    code      INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    body      BLOB    NOT NULL,
    origin    BLOB    NOT NULL
) STRICT;

-- Pushes on their way outward; body is emptied once the edge has them on its disk.
CREATE TABLE push (
    id         BLOB    PRIMARY KEY,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'handed over', 'delivered', 'failed')),
    created_ms INTEGER NOT NULL,
    body       BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX push_waiting ON push (created_ms) WHERE state = 'waiting';

CREATE TABLE account (
    id              INTEGER PRIMARY KEY,
    holder          TEXT    NOT NULL,
    phone           TEXT,
    address         TEXT    NOT NULL,
    division        TEXT    NOT NULL,
    tariff          TEXT    NOT NULL,
    large_household INTEGER NOT NULL,
    opened          INTEGER NOT NULL,
    credit_fen      INTEGER NOT NULL CHECK (credit_fen >= 0),
    wrong_proofs    INTEGER NOT NULL,
    proof_window_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE holder (
    account  INTEGER NOT NULL,
    customer BLOB    NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (account, customer)
) STRICT, WITHOUT ROWID;

CREATE TABLE bind_tries (
    account   INTEGER NOT NULL,
    customer  BLOB    NOT NULL,
    tries     INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    PRIMARY KEY (account, customer)
) STRICT, WITHOUT ROWID;

CREATE TABLE customer_account (
    customer BLOB    NOT NULL,
    account  INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (customer, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE bill (
    account     INTEGER NOT NULL,
    month       INTEGER NOT NULL,
    tariff      TEXT    NOT NULL,
    tariff_from INTEGER NOT NULL,
    energy_wh   INTEGER NOT NULL,
    amount_fen  INTEGER NOT NULL,
    paid_fen    INTEGER NOT NULL CHECK (paid_fen BETWEEN 0 AND amount_fen),
    issued_on   INTEGER NOT NULL,
    due_on      INTEGER NOT NULL,
    detail      BLOB    NOT NULL,
    PRIMARY KEY (account, month)
) STRICT, WITHOUT ROWID;

CREATE TABLE readings (
    account INTEGER NOT NULL,
    date    INTEGER NOT NULL,
    packed  BLOB    NOT NULL,
    PRIMARY KEY (account, date)
) STRICT, WITHOUT ROWID;

CREATE TABLE identity (
    identity       TEXT    PRIMARY KEY,
    customer       BLOB,
    last_code_ms   INTEGER NOT NULL,
    codes          INTEGER NOT NULL,
    code_window_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE challenge (
    id         BLOB    PRIMARY KEY,
    phone      TEXT    NOT NULL,
    purpose    BLOB    NOT NULL,
    account    INTEGER,
    expires_ms INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    used       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    id         BLOB    PRIMARY KEY,
    customer   BLOB    NOT NULL,
    generation INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    ended      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE payment (
    id         BLOB    PRIMARY KEY,
    account    INTEGER NOT NULL,
    customer   BLOB    NOT NULL,
    amount_fen INTEGER NOT NULL,
    provider   TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    settled    BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX payment_account ON payment (account, created_ms);

CREATE TABLE provider_transaction (
    provider    TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    payment     BLOB NOT NULL,
    PRIMARY KEY (provider, transaction_id)
) STRICT, WITHOUT ROWID;

-- Append-only double entry; every posting sums to zero, and so does the table.
CREATE TABLE posting (
    id    INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind  TEXT    NOT NULL,
    about TEXT    NOT NULL
) STRICT;
CREATE TABLE ledger_entry (
    posting    INTEGER NOT NULL REFERENCES posting (id),
    n          INTEGER NOT NULL,
    code       TEXT    NOT NULL,
    account    INTEGER,
    amount_fen INTEGER NOT NULL CHECK (amount_fen <> 0),
    PRIMARY KEY (posting, n)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ledger_entry_is_final_1 BEFORE UPDATE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_entry_is_final_2 BEFORE DELETE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
