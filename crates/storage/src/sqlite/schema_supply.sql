-- Accounts whose power is not simply on: cut off for arrears, or being reconnected. No row: connected.
CREATE TABLE supply (
    account         INTEGER PRIMARY KEY,
    state           TEXT    NOT NULL CHECK (state IN ('connected', 'cut', 'reconnecting')),
    since_ms        INTEGER NOT NULL,
    reconnect_at_ms INTEGER
) STRICT;
CREATE INDEX supply_due ON supply (reconnect_at_ms) WHERE reconnect_at_ms IS NOT NULL;
