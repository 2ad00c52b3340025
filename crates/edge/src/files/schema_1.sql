-- Files on their way in. The bytes are on the disk under the row's id.
CREATE TABLE IF NOT EXISTS file (
    id         BLOB    PRIMARY KEY,
    customer   BLOB    NOT NULL,
    request    BLOB,                        -- none: a part of another file
    channel    TEXT    NOT NULL,
    name       TEXT    NOT NULL,            -- the customer's; never a path
    size       INTEGER NOT NULL,
    received   INTEGER NOT NULL DEFAULT 0,
    state      TEXT    NOT NULL,
    kind       TEXT    NOT NULL DEFAULT '',
    why        TEXT    NOT NULL DEFAULT '',
    root       BLOB,
    cvs        BLOB,
    attempts   INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    told       INTEGER NOT NULL DEFAULT 0,  -- whether the center knows how it ended
    on_disk    INTEGER NOT NULL DEFAULT 1,
    receipt    BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_state ON file (state, changed_ms);
CREATE INDEX IF NOT EXISTS file_here ON file (state, changed_ms, size) WHERE on_disk = 1;
CREATE INDEX IF NOT EXISTS file_customer ON file (customer, size) WHERE on_disk = 1;
CREATE INDEX IF NOT EXISTS file_untold ON file (changed_ms) WHERE state = 'ended' AND told = 0 AND request IS NOT NULL;
CREATE INDEX IF NOT EXISTS file_request ON file (request, created_ms) WHERE request IS NOT NULL;

-- How much of the disk is taken by what came over each channel: kept in step with the rows above by the database itself, so
-- that it need not be added up for each new file.
CREATE TABLE IF NOT EXISTS held (
    channel TEXT    PRIMARY KEY,
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS file_comes AFTER INSERT ON file WHEN new.on_disk = 1 BEGIN
    INSERT INTO held VALUES (new.channel, new.size) ON CONFLICT (channel) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS file_changes AFTER UPDATE OF size, on_disk ON file BEGIN
    UPDATE held SET bytes = bytes + new.size * new.on_disk - old.size * old.on_disk WHERE channel = new.channel;
END;

-- What was decided about each, by whom. Nothing is changed here or taken away: each row's hash covers the row before.
CREATE TABLE IF NOT EXISTS decision (
    n        INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    file     BLOB    NOT NULL,
    who      TEXT    NOT NULL,              -- 'rules', 'clamd', an auditor's name, 'customer'
    what     TEXT    NOT NULL,              -- 'passed', 'to-a-person', 'refused', 'withdrawn', 'expired', 'lost', 'stored'
    why      TEXT    NOT NULL,
    hash     BLOB    NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS decision_file ON decision (file, n);
