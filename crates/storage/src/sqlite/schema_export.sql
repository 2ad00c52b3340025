-- Files that are made for customers. Their bytes are in the outward folder, each under the hash of its content.
CREATE TABLE export (
    id         BLOB    PRIMARY KEY,
    account    INTEGER NOT NULL,
    customer   BLOB    NOT NULL,
    what       BLOB    NOT NULL,
    language   BLOB    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('making', 'ready', 'failed', 'expired')),
    failure    BLOB,
    root       BLOB,
    size       INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    due_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX export_account ON export (account, created_ms);
CREATE INDEX export_due ON export (due_ms);
CREATE INDEX export_root ON export (root) WHERE root IS NOT NULL;
CREATE INDEX export_making ON export (created_ms) WHERE state = 'making';
