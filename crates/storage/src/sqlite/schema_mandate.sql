-- Under which mandate a payment is a debit that runs by itself; why it failed; what of it goes back, packed, and when the
-- provider is to be told again.
ALTER TABLE payment ADD COLUMN mandate BLOB;
ALTER TABLE payment ADD COLUMN failure BLOB;
ALTER TABLE payment ADD COLUMN refunds BLOB;
ALTER TABLE payment ADD COLUMN refund_due_ms INTEGER;
-- What it became credit, for finding the payments whose credit an account still has.
ALTER TABLE payment ADD COLUMN credit_fen INTEGER NOT NULL DEFAULT 0;
CREATE INDEX payment_credit ON payment (account, created_ms) WHERE credit_fen > 0;
CREATE INDEX payment_refund_due ON payment (refund_due_ms) WHERE refund_due_ms IS NOT NULL;

-- A customer's leave to be debited for an account's bills: the newest of each account.
CREATE TABLE mandate (
    account      INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL,
    customer     BLOB    NOT NULL,
    provider     TEXT    NOT NULL,
    limit_fen    INTEGER NOT NULL CHECK (limit_fen > 0),
    state        TEXT    NOT NULL,
    agreement    TEXT    NOT NULL,
    created_ms   INTEGER NOT NULL,
    expires_ms   INTEGER NOT NULL,
    ended_ms     INTEGER,
    due_ms       INTEGER,
    running      BLOB,
    tries        INTEGER NOT NULL,
    told         INTEGER NOT NULL,
    last_failure BLOB
) STRICT;
CREATE INDEX mandate_due ON mandate (due_ms) WHERE due_ms IS NOT NULL;
