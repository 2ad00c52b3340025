-- The files that came or are to come with requests. What they hold is in the store of the gate's inner half, by its hash.
CREATE TABLE request_file (
    id         BLOB    PRIMARY KEY,
    request    BLOB    NOT NULL,
    customer   BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    size       INTEGER NOT NULL CHECK (size > 0),
    state      BLOB    NOT NULL,
    why        TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    root       BLOB,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_file_request ON request_file (request, created_ms);
