-- What is held about a customer besides their accounts, in their own shard. Deleted, the row stays without anything of them
-- (gone_ms is set), so that what was under way then brings nothing back.
CREATE TABLE person (
    customer       BLOB    PRIMARY KEY,
    phone          TEXT,
    since_ms       INTEGER NOT NULL,
    name           TEXT    NOT NULL,
    language       BLOB,
    elder          INTEGER NOT NULL,
    notices        BLOB    NOT NULL,
    last_code_ms   INTEGER NOT NULL,
    codes          INTEGER NOT NULL,
    code_window_ms INTEGER NOT NULL,
    gone_ms        INTEGER
) STRICT, WITHOUT ROWID;

-- When and where sessions were opened: not noted for those from before.
ALTER TABLE session ADD COLUMN begun_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN channel TEXT NOT NULL DEFAULT '';
CREATE INDEX session_customer ON session (customer, begun_ms);
